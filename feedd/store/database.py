"""One connection to the state, and its transactions: what every group of verbs over it shares."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator


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

    def close(self) -> None:
        """Lets go of the file; nothing happens the second time."""
        self._db.close()


def move_aside(path: str, now: int) -> str:
    """Moves a torn database out of the way, for whoever wants to look at it; returns where it is."""
    aside = f"{path}.torn-{now}"
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(path + suffix, aside + suffix)
    return aside
