"""A table as read -> its values, and a sentence for each that is wrong: key, what stands there, what is allowed.

Where a key's name says secret, or a value carries a password, the value stays out of it. Used by `config`.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from feedd.config.keys import Table, below, extra, fields
from feedd.config.values import toml

Problem = tuple[str, str]
"""A dotted key, and a sentence about it."""

_IS_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_NAMES_A_SECRET = re.compile(
    r"token|secret|webhook|passw|passphrase|credential|api_?key|headers?$|command", re.IGNORECASE
).search
_CREDENTIALS = re.compile(r"(//)[^/@\s]*@")

T = TypeVar("T", bound=Table)


def validate(table: type[T], raw: dict[str, Any]) -> tuple[T, list[Problem]]:
    """`raw` as that table, each wrong key at its default, and a problem for each. Takes wrong keys out of `raw`."""
    try:
        return table.model_validate(raw), []
    except ValidationError as error:
        wrong: dict[tuple[str, ...], Problem] = {}
        for each in error.errors(include_url=False):
            place, problem = _explain(table, each)
            wrong.setdefault(place, problem)
    for place in wrong:
        drop(raw, place)
    valid, more = validate(table, raw)
    return valid, [*wrong.values(), *more]


def _explain(table: type[Table], error: Any) -> tuple[tuple[str, ...], Problem]:
    """pydantic's error -> the place in the file (a list's items count as the list), and what to tell the user."""
    place, value = error["loc"], error["input"]
    inside: type[Table] | None = table  # the table that the next step names a key of
    named = False  # the next step is a name of the user's own choice
    field: FieldInfo | None = None
    keys: list[str] = []
    for step in place:
        if named:
            named = False
        elif inside is None or step == "[key]":
            break
        elif step not in inside.model_fields:
            return (*keys, step), (dotted([*keys, step]), _unknown(table, inside, step))
        else:
            field = inside.model_fields[step]
            inside, named = below(field)
        keys.append(step)
    key = dotted(keys)
    text = f"{_shown(key, value)} is not allowed; allowed: {extra(field)['allowed']}"
    if isinstance(value, dict) and (single := _SINGULAR.get(key)):
        text += f'; for the settings of one feed write [{single}."NAME"]'
    return tuple(keys), (key, text)


_SINGULAR = {"feeds.topics": "feeds.topic", "feeds.providers": "feeds.provider", "feeds.categories": "feeds.category"}


def _unknown(root: type[Table], table: type[Table], key: str) -> str:
    if close := difflib.get_close_matches(key, table.model_fields, 1):
        return f'unknown key; did you mean "{close[0]}"?'
    elsewhere = [known for known, _ in fields(root) if known.rpartition(".")[2] == key]
    if elsewhere:
        return f"unknown key here; did you mean {elsewhere[0]}?"
    return "unknown key; known here: " + ", ".join(table.model_fields)


def _shown(key: str, value: object) -> str:
    if _NAMES_A_SECRET(key):
        return "the value, which is kept out of messages,"
    if isinstance(value, dict):
        return "a table"
    text = _CREDENTIALS.sub(r"\1***@", toml(value))
    return text if len(text) <= 80 else text[:79] + "…"


def dotted(keys: list[str]) -> str:
    """The steps to a key as TOML writes them."""
    return ".".join(key if _IS_BARE_KEY(key) else toml(key) for key in keys)


def instead(what: str) -> str:
    """What a key comes to if this is wrong with it, and it is left out."""
    return "it is ignored" if what.startswith("unknown key") else "its default is used"


def drop(raw: dict[str, Any], place: tuple[str, ...]) -> None:
    """Takes a key out of a table, if it is there."""
    for step in place[:-1]:
        raw = raw.get(step, {})
    raw.pop(place[-1], None)
