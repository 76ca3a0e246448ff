"""Replays a history against a newsroom, and holds every file that was written against what the oracle says must change.

Used by `test_replay` and by `./bench replay`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from tests.history import Commit, Drop, History, Move
from tests.history_oracle import Oracle

How = Literal["events", "scans", "crashes"]
FEEDS = (".atom", ".rss", ".json")
Stamps = dict[str, tuple[int, int]]


class Room(Protocol):
    """The part of a newsroom (`newsroom.Newsroom`) that a replay needs."""

    now: int
    out: Path
    publisher: Any

    def put(self, path: str, text: str | bytes) -> None: ...
    def move(self, path: str, to: str) -> None: ...
    def drop(self, path: str) -> None: ...
    def see(self, *paths: str) -> None: ...
    def publish(self) -> None: ...
    def restart(self) -> None: ...


@dataclass
class Outcome:
    """Files by the number of the commit that they belong to; `written` and `expected` count live feeds and archives.

    `missed` should have changed and did not, `needless` was written all the same, `wrong` shows something else.
    """

    missed: list[tuple[int, str]] = field(default_factory=list)
    needless: list[tuple[int, str]] = field(default_factory=list)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    expected: int = 0
    written: int = 0
    quiet_commits: int = 0


def replay(room: Room, history: History, *, how: How, oracle: Oracle | None = None) -> Outcome:
    """Every commit at its time, and every release between two of them at its own.

    "events": feedd is told the paths of a commit; "scans": it finds them; "crashes": as with events, but at each tenth
    commit it ends without a word once it has read them, and starts again.
    """
    outcome, texts, stamps = Outcome(), dict[str, str](), Stamps()
    for number, commit in enumerate(history.commits):
        for due in _releases(oracle, commit.at) if oracle else _due(room, commit.at):
            room.now = due
            _publish(room, [], how)
            if oracle:
                stamps = _compare(room, stamps, oracle.wait(due), oracle, number, outcome)
        room.now = commit.at
        changed = _perform(room, commit, texts)
        if how == "crashes" and number % 10 == 9:
            room.see(*changed)
            room.restart()
        else:
            _publish(room, list(changed) if number else [], how if number else "scans")
        if oracle:
            expected = oracle.apply(changed, commit.at, initial=not number)
            stamps = _compare(room, stamps, expected, oracle, number, outcome)
    return outcome


def _releases(oracle: Oracle, until: int) -> Iterator[int]:
    while (due := oracle.next_release()) is not None and due < until:
        yield due


def _due(room: Room, until: int) -> Iterator[int]:
    while (due := room.publisher.store.next_release()) is not None and due < until:
        yield due


def _publish(room: Room, paths: list[str], how: How) -> None:
    if how == "scans":
        room.publish()
        return
    if paths:
        room.see(*paths)
    room.publisher.release(now=room.now)
    room.publisher.rebuild(now=room.now)


def _perform(room: Room, commit: Commit, texts: dict[str, str]) -> dict[str, str | None]:
    """Does to the folder what a commit did; returns each path it touched with its text."""
    touched: dict[str, str | None] = {}
    for operation in commit.operations:
        if isinstance(operation, Move):
            room.move(operation.path, operation.to)
            touched[operation.path], touched[operation.to] = None, texts[operation.path]
        elif isinstance(operation, Drop):
            room.drop(operation.path)
            touched[operation.path] = None
        else:
            room.put(operation.path, operation.text)
            touched[operation.path] = operation.text
        for path, text in touched.items():
            if text is None:
                texts.pop(path, None)
            else:
                texts[path] = text
    return touched


def stamps_of(folder: Path) -> Stamps:
    """Inode and mtime of every feed file below a folder: both are new whenever feedd writes one."""
    found: Stamps = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.endswith(FEEDS):
                path = os.path.join(parent, name)
                stat = os.stat(path)
                found[os.path.relpath(path, folder)] = (stat.st_ino, stat.st_mtime_ns)
    return found


def _compare(
    room: Room, before: Stamps, expected: set[str], oracle: Oracle, number: int, outcome: Outcome
) -> Stamps:
    now = stamps_of(room.out)
    written = {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
    outcome.missed += [(number, name) for name in sorted(expected - written)]
    outcome.needless += [(number, name) for name in sorted(written - expected)]
    for name in sorted(written | expected):
        if name.endswith(".json") and _items(room.out / name) != oracle.items_of(name):
            outcome.wrong.append((number, name))
    outcome.expected += len(expected)
    outcome.written += len(written)
    outcome.quiet_commits += not written
    return now


def _items(path: Path) -> list[tuple[Any, ...]] | None:
    """What a JSON feed says of its entries, as `Oracle.items_of` does."""
    if not path.exists():
        return None
    found = []
    for item in json.loads(path.read_bytes())["items"]:
        related = item.get("_feedd", {}).get("related", [])
        found.append((
            item["id"], item["title"], item["url"], item["summary"], _seconds(item["date_published"]),
            _seconds(item["date_modified"]),
            [(story.get("title", ""), story.get("url", ""), story.get("source", "")) for story in related],
        ))  # fmt: skip
    return found


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
