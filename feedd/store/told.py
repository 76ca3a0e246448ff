"""What was told of troubles, and the messages that are still to be delivered: a database of the alerts' own.

Apart from the state of publishing: neither waits for the other, and it outlives a state that is made anew. Used by
`alerts` alone, and read by the command line. Messages may name what is private, so it is for its owner alone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from urllib.parse import quote

import msgspec
from msgspec import Struct

from feedd import errors
from feedd.store.database import Database, move_aside
from feedd.troubles import Known

NAME = "alerts.sqlite"
VERSION_1 = """
-- A trouble that is open, or was not long ago; see troubles.Known.
CREATE TABLE trouble (
    key TEXT PRIMARY KEY, kind TEXT NOT NULL, since_at INTEGER NOT NULL, text TEXT NOT NULL, stage TEXT NOT NULL,
    told_at INTEGER NOT NULL, gone_at INTEGER NOT NULL, resolved_at INTEGER NOT NULL
) WITHOUT ROWID;

-- A message that a way (webhook, command) has not taken yet; seq is its place in the order of messages.
CREATE TABLE notice (
    seq INTEGER NOT NULL, way TEXT NOT NULL, at INTEGER NOT NULL, body BLOB NOT NULL, attempts INTEGER NOT NULL,
    next_at INTEGER NOT NULL, error TEXT NOT NULL,
    PRIMARY KEY (seq, way)
);
"""
MIGRATIONS = (VERSION_1,)
_values = msgspec.structs.astuple


class Notice(Struct, frozen=True, array_like=True, gc=False):
    """A message for one way, made `at`. `attempts` failed, the last with `error`; the next is not before `next_at`."""

    seq: int
    way: str
    at: int
    body: bytes
    attempts: int = 0
    next_at: int = 0
    error: str = ""


class Told(Database):
    """The verbs. Raises sqlite3 errors as they are."""

    def list_known(self) -> list[Known]:
        """Every trouble that is remembered."""
        return [Known(*row) for row in self._db.execute("SELECT * FROM trouble ORDER BY key")]

    def list_notices(self) -> list[Notice]:
        """What is to be delivered, in its order."""
        return [Notice(*row) for row in self._db.execute("SELECT * FROM notice ORDER BY seq, way")]

    def apply(
        self, *, put: Iterable[Known] = (), dropped: Iterable[str] = (), notices: Iterable[Notice] = (),
        done: Iterable[tuple[int, str]] = (),
    ) -> None:
        """All of it, or nothing: what is remembered from now on, and what is to be delivered; `done` are (seq, way)."""
        with self.transaction():
            self._db.executemany("DELETE FROM trouble WHERE key = ?", ((key,) for key in dropped))
            self._db.executemany("INSERT OR REPLACE INTO trouble VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(_values, put))
            self._db.executemany("DELETE FROM notice WHERE seq = ? AND way = ?", done)
            self._db.executemany("INSERT OR REPLACE INTO notice VALUES (?, ?, ?, ?, ?, ?, ?)", map(_values, notices))


def open_told(folder: str, *, read_only: bool = False) -> Told:
    """The database in the state folder, made or migrated if need be.

    Raises StateTooNewError for a newer feedd's, StateError where none can be kept or there is none to read,
    sqlite3.DatabaseError if it is torn.
    """
    path = os.path.join(folder, NAME)
    if read_only and not os.path.exists(path):
        raise errors.StateError(f"{path}: nothing was told yet; `feedd run` does, where [alerts] says how")
    if not read_only:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise errors.StateError(f"{path}: cannot be written: {error.strerror}") from error
    mode = "ro" if read_only else "rw"
    database = sqlite3.connect(
        f"file:{quote(path)}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    told = Told(database)
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise errors.StateTooNewError(f"{path}: alerts of a newer feedd (version {version})")
        if not read_only:
            told._log_ahead()
            database.execute("PRAGMA synchronous = FULL")  # hardly ever written; what was told is not told twice
            for number, step in enumerate(MIGRATIONS[version:], version + 1):
                database.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version = {number};\nCOMMIT;")
    except BaseException:
        told.close()
        raise
    return told


def open_or_renew(folder: str, now: int) -> tuple[Told, str]:
    """The database; where it is torn a new one, and where the torn one is now. Raises StateError."""
    try:
        return open_told(folder), ""
    except sqlite3.OperationalError as error:
        raise errors.StateError(f"{os.path.join(folder, NAME)}: cannot be used: {error}") from error
    except sqlite3.DatabaseError:
        aside = move_aside(os.path.join(folder, NAME), now)
        return open_told(folder), aside
