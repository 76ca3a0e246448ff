"""1,000,000 links known, 300 of them due: what it takes to find those.

The store is filled by one process; another, just started, looks for what is due as a run does. Started by `links`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from feedd.freshness.states import Evidence, LinkState
from feedd.store.links import open_links

_ROOT = Path(__file__).resolve().parents[2]
_AT_ONCE = 2_000  # articles in a transaction
_AN_ARTICLE = 10  # links
_NOW = 1_800_000_000


class Found(msgspec.Struct, frozen=True):
    """Seconds to find which are due and whose they are, to read them too, and of both again; bytes that the process
    held before and after.
    """

    due: int
    found_s: float
    first_s: float
    again_s: float
    before: int
    after: int


def measure(folder: Path, known: int, due: int) -> Found:
    """Both processes, one after the other."""
    command = [sys.executable, "-P", "-m", "tests.bench.link_known"]
    environment = os.environ | {"PYTHONPATH": str(_ROOT)}
    for step in ("fill", "find"):
        done = subprocess.run(
            [*command, step, str(folder), str(known), str(due)], stdout=subprocess.PIPE, check=True, cwd=_ROOT,
            env=environment,
        )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=Found)


def _url(number: int) -> str:
    return f"https://h{number % 5_000}.example/story/{number}"


def _fill(folder: Path, known: int, due: int) -> None:
    """Every link has been checked some times; `due` of them are to be checked again by now."""
    checked = LinkState(
        "fresh", _NOW - 9, _NOW - 9, _NOW - 9, _NOW + 9, status=200, etag='"0123456789abcdef"', fingerprint=b"x" * 16,
        interval_days=30, history=tuple(Evidence(_NOW - n, "good", "answered 200", 200) for n in range(8)),
    )  # fmt: skip
    owed = known // due

    def replan(url: str, state: LinkState, now: int, *, in_feed: bool) -> LinkState:
        return state

    def states(ids: range) -> Iterator[tuple[int, LinkState]]:
        for i in ids:
            at = _NOW - 60 if i % owed == 0 and i // owed <= due else _NOW + 60 + i
            yield i, msgspec.structs.replace(checked, next_check_at=at)

    with closing(open_links(str(folder))) as links, links.loading():
        for start in range(0, known, _AT_ONCE * _AN_ARTICLE):
            numbers = range(start, min(start + _AT_ONCE * _AN_ARTICLE, known), _AN_ARTICLE)
            rows = [(n // _AN_ARTICLE, [_url(n + m) for m in range(_AN_ARTICLE)], True) for n in numbers]
            with links.transaction():
                links.put_uses(rows, replan, _NOW - 999)
            with links.transaction():
                links.put_checked(list(states(range(start + 1, start + 1 + len(rows) * _AN_ARTICLE))), _NOW - 9)


def _find(folder: Path) -> Found:
    with closing(open_links(str(folder), read_only=True)) as links:
        before, taken, due = _resident(), [], 0
        for _ in range(2):
            began = time.perf_counter()
            ids = [i for i, _ in links.list_due_hosts(_NOW, 100_000)]
            taken.append(time.perf_counter() - began)
            due = len(links.find_links(ids))
            taken.append(time.perf_counter() - began)
        return Found(due, taken[0], taken[1], taken[3], before, _resident())


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def main() -> None:
    step, folder, known, due = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    if step == "fill":
        _fill(folder, known, due)
    else:
        print(json.dumps(msgspec.to_builtins(_find(folder))))


if __name__ == "__main__":
    main()
