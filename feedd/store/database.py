"""One connection to the state, and its transactions: what every group of verbs over it shares."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

CHECKPOINT_PAGES = 4_000
LOADING_PAGES = 64_000  # 256 MB, while much comes in: each checkpoint syncs pages from all over the file
_CHUNK = 500  # SQLite's oldest limit on parameters is 999


@contextlib.contextmanager
def as_torn() -> Iterator[None]:
    """What Python makes of torn bytes inside comes out as sqlite3.DatabaseError, as SQLite's own findings do.

    SQLite's message may quote the bytes, and then Python fails to decode it.
    """
    try:
        yield
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise sqlite3.DatabaseError(f"database disk image is malformed ({type(error).__name__})") from error


class Database:
    """A connection in autocommit mode; several writes belong inside `transaction`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the writes inside, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # SQLite may have rolled back by itself: full disk
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads inside see one state."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    @contextlib.contextmanager
    def loading(self, pages: int = LOADING_PAGES) -> Iterator[None]:
        """Many transactions inside: half the time at 300,000 articles, for a write-ahead log of so many `pages`.

        It is emptied in the end, as far as that is possible at once: whoever reads just then is not waited for, and the
        next transactions see to what is left.
        """
        self._db.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        try:
            yield
        finally:
            self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        (wait_ms,) = self._db.execute("PRAGMA busy_timeout").fetchone()
        self._db.execute("PRAGMA busy_timeout = 0")
        with contextlib.suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._db.execute(f"PRAGMA busy_timeout = {wait_ms}")

    def _log_ahead(self) -> None:
        """The settings of a database that this process writes to."""
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")

    def _in(self, query: str, values: Sequence[int] | Sequence[str]) -> Iterator[Any]:
        """The rows of `query`, which ends in IN, over any number of values: asked for in pieces."""
        for start in range(0, len(values), _CHUNK):
            piece = values[start : start + _CHUNK]
            yield from self._db.execute(f"{query} ({', '.join('?' * len(piece))})", piece).fetchall()

    def close(self) -> None:
        """Lets go of the file; nothing happens the second time."""
        self._db.close()


def move_aside(path: str, now: int, why: str = "torn") -> str:
    """Moves a database (a torn one, as a rule) out of the way, for whoever wants to look at it; returns where it is."""
    while os.path.exists(aside := f"{path}.{why}-{now}"):
        now += 1
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(path + suffix, aside + suffix)
    return aside
