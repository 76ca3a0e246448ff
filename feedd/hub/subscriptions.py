"""Who is subscribed to what until when, and which version of it they were last sent: a database of the hub's own.

Apart from the state of publishing, so that neither waits for the other. A change is one row, whatever the number of
subscribers: what is to be delivered is what was delivered compared with it. Used by the hub's thread alone.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from urllib.parse import quote

from msgspec import Struct

from feedd import errors
from feedd.store.database import Database, as_torn, move_aside

NAME = "hub.sqlite"
VERSION_1 = """
-- A feed that somebody subscribes to. version counts the changes of its bytes, which digest stands for.
CREATE TABLE topic (
    id INTEGER PRIMARY KEY AUTOINCREMENT, url TEXT NOT NULL UNIQUE, digest BLOB NOT NULL, version INTEGER NOT NULL
);

-- delivered: the version that the subscriber has. attempts: failures in a row, the next try not before next_at.
CREATE TABLE subscription (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: an answer may come late
    topic_id   INTEGER NOT NULL REFERENCES topic (id),
    callback   TEXT NOT NULL,
    host       TEXT NOT NULL,
    secret     BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    delivered  INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    next_at    INTEGER NOT NULL,
    error      TEXT NOT NULL,
    UNIQUE (topic_id, callback)
);
CREATE INDEX subscription_page ON subscription (topic_id, id);
CREATE INDEX subscription_host ON subscription (host);
CREATE INDEX subscription_end ON subscription (expires_at);
CREATE INDEX subscription_retry ON subscription (next_at) WHERE attempts > 0;
"""
MIGRATIONS = (VERSION_1,)

_DUE = "s.id, s.topic_id, t.url, s.callback, s.host, s.secret, s.attempts"
_BEHIND = "FROM subscription s JOIN topic t ON t.id = s.topic_id WHERE s.delivered < t.version AND s.expires_at > :now"


class Figures(Struct, frozen=True):
    """How many subscriptions there are, and to how many of them the last delivery failed."""

    subscriptions: int
    failing: int


class Topic(Struct, frozen=True, array_like=True, gc=False):
    """A feed that is subscribed to, as it was when its bytes were last looked at."""

    id: int
    url: str
    digest: bytes
    version: int


class Due(Struct, frozen=True, array_like=True, gc=False):
    """A subscriber who has not the newest version of a topic."""

    id: int
    topic_id: int
    topic: str
    callback: str
    host: str
    secret: bytes
    attempts: int


class Delivered(Struct, frozen=True, gc=False):
    """What became of a delivery: `error` is empty for one that came to its end, and then `version` is had."""

    id: int
    version: int = 0
    error: str = ""
    next_at: int = 0
    is_gone: bool = False


class Subscriptions(Database):
    """The verbs. Raises sqlite3 errors as they are."""

    def check_writable(self) -> None:
        """Raises sqlite3.OperationalError where nothing can be noted, as on a full disk."""
        with self.transaction():
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    # -- topics ------------------------------------------------------------------------------------------------------

    def find_topic(self, url: str) -> Topic | None:
        """A feed that is subscribed to."""
        row = self._db.execute("SELECT id, url, digest, version FROM topic WHERE url = ?", (url,)).fetchone()
        return Topic(*row) if row else None

    def list_topics(self, after: int, limit: int) -> list[Topic]:
        """All of them, in pages."""
        query = "SELECT id, url, digest, version FROM topic WHERE id > ? ORDER BY id LIMIT ?"
        return [Topic(*row) for row in self._db.execute(query, (after, limit))]

    def put_topic(self, url: str, digest: bytes) -> Topic:
        """A topic with these bytes: a new version where they are others than before."""
        self._db.execute(
            "INSERT INTO topic (url, digest, version) VALUES (?1, ?2, 1) ON CONFLICT (url) DO UPDATE SET "
            "digest = ?2, version = version + 1 WHERE digest <> ?2", (url, digest),
        )
        row = self._db.execute("SELECT id, url, digest, version FROM topic WHERE url = ?", (url,)).fetchone()
        return Topic(*row)

    # -- subscriptions -----------------------------------------------------------------------------------------------

    def put(self, topic: Topic, callback: str, host: str, secret: bytes, expires_at: int) -> None:
        """Subscribes from the topic's version on, or renews: who renews is still owed what was not delivered.

        A renewal is a sign of life: what failed is tried again at once.
        """
        self._db.execute(
            "INSERT INTO subscription (topic_id, callback, host, secret, expires_at, delivered, attempts, next_at, "
            "error) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, '') ON CONFLICT (topic_id, callback) DO UPDATE SET "
            "secret = ?4, expires_at = ?5, attempts = 0, next_at = 0, error = ''",
            (topic.id, callback, host, secret, expires_at, topic.version),
        )

    def drop(self, url: str, callback: str) -> bool:
        """Ends a subscription; False where there is none."""
        query = "DELETE FROM subscription WHERE topic_id = (SELECT id FROM topic WHERE url = ?) AND callback = ?"
        return bool(self._db.execute(query, (url, callback)).rowcount)

    def has(self, url: str, callback: str) -> bool:
        """Whether there is such a subscription."""
        query = "SELECT 1 FROM subscription WHERE topic_id = (SELECT id FROM topic WHERE url = ?) AND callback = ?"
        return self._db.execute(query, (url, callback)).fetchone() is not None

    def drop_ended(self, now: int) -> int:
        """Ends subscriptions whose lease is over, and forgets topics without any; returns how many ended."""
        ended = self._db.execute("DELETE FROM subscription WHERE expires_at <= ?", (now,)).rowcount
        if ended:
            self._db.execute("DELETE FROM topic WHERE id NOT IN (SELECT topic_id FROM subscription)")
        return ended

    def count(self) -> int:
        """How many subscriptions there are."""
        return int(self._db.execute("SELECT count(*) FROM subscription").fetchone()[0])

    def count_host(self, host: str) -> int:
        """How many subscriptions deliver to one host."""
        return int(self._db.execute("SELECT count(*) FROM subscription WHERE host = ?", (host,)).fetchone()[0])

    # -- deliveries --------------------------------------------------------------------------------------------------

    def list_behind(self, now: int) -> list[int]:
        """Topics with subscribers who have not failed and have not the newest version."""
        query = f"SELECT DISTINCT t.id {_BEHIND} AND s.attempts = 0 ORDER BY t.id"
        return [row[0] for row in self._db.execute(query, {"now": now})]

    def list_fresh(self, topic_id: int, after: int, now: int, limit: int) -> list[Due]:
        """Such subscribers of a topic, in pages by their ids."""
        query = f"SELECT {_DUE} {_BEHIND} AND s.topic_id = :topic AND s.id > :after AND s.attempts = 0 "
        rows = self._db.execute(
            query + "ORDER BY s.id LIMIT :limit", {"topic": topic_id, "after": after, "now": now, "limit": limit}
        )
        return [Due(*row) for row in rows]

    def list_retries(self, now: int, limit: int) -> list[Due]:
        """Subscribers whose last delivery failed and is to be tried again by now."""
        query = f"SELECT {_DUE} {_BEHIND} AND s.attempts > 0 AND s.next_at <= :now ORDER BY s.next_at LIMIT :limit"
        return [Due(*row) for row in self._db.execute(query, {"now": now, "limit": limit})]

    def next_retry(self, now: int) -> int | None:
        """When the next is to be tried again."""
        query = f"SELECT s.next_at {_BEHIND} AND s.attempts > 0 AND s.next_at > :now ORDER BY s.next_at LIMIT 1"
        row = self._db.execute(query, {"now": now}).fetchone()
        return row[0] if row else None

    def apply(self, results: Iterable[Delivered]) -> None:
        """Notes what became of deliveries; of a subscription that ended meanwhile nothing is noted."""
        for done in results:
            if done.is_gone:
                self._db.execute("DELETE FROM subscription WHERE id = ?", (done.id,))
            elif done.error:
                self._db.execute(
                    "UPDATE subscription SET attempts = attempts + 1, next_at = ?, error = ? WHERE id = ?",
                    (done.next_at, done.error, done.id),
                )
            else:
                self._db.execute(
                    "UPDATE subscription SET delivered = max(delivered, ?), attempts = 0, next_at = 0, error = '' "
                    "WHERE id = ?", (done.version, done.id),
                )


@as_torn()
def open_subscriptions(folder: str) -> Subscriptions:
    """The database in the state folder, made or migrated if need be; for its owner alone, as it holds secrets.

    Raises StateTooNewError for a newer feedd's, StateError where none can be kept, sqlite3.DatabaseError if it is torn.
    """
    path = os.path.join(folder, NAME)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise errors.StateError(f"{path}: subscriptions cannot be kept there: {error.strerror}") from error
    # Nobody else writes to it; should somebody look with a tool that locks it, the loop must not stand still for long.
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.2)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA cache_size = -4000")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise errors.StateTooNewError(f"{path}: subscriptions of a newer feedd (version {version})")
        for number, step in enumerate(MIGRATIONS[version:], version + 1):
            database.executescript(f"BEGIN IMMEDIATE;\n{step}\nPRAGMA user_version = {number};\nCOMMIT;")
    except BaseException:
        database.close()
        raise
    return Subscriptions(database)


def find_figures(folder: str) -> Figures | None:
    """Of the database in the state folder, through another connection; None where it cannot be read now."""
    path = quote(os.path.join(folder, NAME))
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.2)) as database:
            query = "SELECT count(*), count(*) FILTER (WHERE attempts > 0) FROM subscription"
            return Figures(*database.execute(query).fetchone())
    except sqlite3.Error:
        return None


def set_aside(folder: str, now: int) -> str:
    """Moves a torn database out of the way; returns where it is. Subscribers come back when their leases end."""
    return move_aside(os.path.join(folder, NAME), now)
