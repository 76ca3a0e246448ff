"""What the doctor says: one sentence for each thing looked at, and what to do about it. Values only."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Level = Literal["good", "hint", "trouble"]
"""`hint`: it works, and might not for ever or not as well as it could. `trouble`: something does not work."""


class Finding(Struct, frozen=True, gc=False):
    """`check`: what was looked at. `todo`: what to do, empty where nothing is."""

    level: Level
    check: str
    said: str
    todo: str = ""


def good(check: str, said: str) -> Finding:
    """All is well."""
    return Finding("good", check, said)


def hint(check: str, said: str, todo: str) -> Finding:
    """It could be better."""
    return Finding("hint", check, said, todo)


def trouble(check: str, said: str, todo: str) -> Finding:
    """Something does not work."""
    return Finding("trouble", check, said, todo)


def size(count: float) -> str:
    """Bytes for people: 980 B, 12.3 MB."""
    units = ["TB", "GB", "MB", "kB"]
    if count < 1000:
        return f"{int(count)} B"
    while True:
        count, unit = count / 1000, units.pop()
        if count < 999.95 or not units:
            return f"{count:.1f} {unit}"
