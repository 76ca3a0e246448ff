"""What WebSub hubs are still to be told: which changes, since when, after how many failures, and when next.

`publish` puts pings in the transaction that marks documents as written, so that a kill loses none; `notify` takes them
out, through a connection of its own.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from msgspec import Struct

from feedd.store import schema
from feedd.store.database import CHECKPOINT_PAGES, Database

_PING = "id, hub, url, feed, seq, since_at, attempts, next_at, error"


class Topic(Struct, frozen=True, array_like=True, gc=False):
    """A document of a live feed as it was just written: its URL is what WebSub calls a topic.

    `feed` is what logs call the feed; `digest` stands for the bytes: another one is a change.
    """

    url: str
    feed: str
    digest: bytes


class Ping(Struct, frozen=True, array_like=True, gc=False):
    """A hub is to be told of the change `seq` of a topic, made at `since_at`. `error`: why the last try failed."""

    id: int
    hub: str
    url: str
    feed: str
    seq: int
    since_at: int
    attempts: int
    next_at: int
    error: str


class Outbox(Database):
    """The verbs. Raises sqlite3 errors as they are."""

    def put_pings(self, hubs: Sequence[str], topics: Iterable[Topic], now: int) -> int:
        """Notes that every hub is to be told of the topics whose bytes are not those noted before; returns how many.

        Judged by what is noted here, not by what was on disk: a file that was replaced just before a kill is unchanged
        on disk at the next start, but was never told. What waits already waits for the newest change, from now on.
        """
        told = 0
        for topic in topics:
            changed = self._db.execute(
                "INSERT INTO announced VALUES (?1, ?2) ON CONFLICT (url) DO UPDATE SET digest = ?2 WHERE digest <> ?2",
                (topic.url, topic.digest),
            )
            if changed.rowcount:
                told += 1
                self._db.executemany(
                    "INSERT INTO outbox (hub, url, feed, seq, since_at, attempts, next_at, error) "
                    "VALUES (?1, ?2, ?3, 1, ?4, 0, ?4, '') ON CONFLICT (hub, url) DO UPDATE SET "
                    "feed = ?3, seq = seq + 1, since_at = ?4, attempts = 0, next_at = ?4",
                    ((hub, topic.url, topic.feed, now) for hub in hubs),
                )
        return told

    def find_announced(self, url: str) -> bytes | None:
        """What stands for the bytes of a topic that hubs were told of, or are about to be."""
        row = self._db.execute("SELECT digest FROM announced WHERE url = ?", (url,)).fetchone()
        return row[0] if row else None

    def list_hubs(self) -> list[str]:
        """Hubs that are still to be told of something."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT hub FROM outbox ORDER BY hub")]

    def list_pings(self, hub: str, limit: int) -> list[Ping]:
        """What a hub is to be told, what is due first before what is due later."""
        query = f"SELECT {_PING} FROM outbox WHERE hub = ? ORDER BY next_at, id LIMIT ?"
        return [Ping(*row) for row in self._db.execute(query, (hub, limit))]

    def list_failing(self, limit: int) -> list[Ping]:
        """What hubs would not hear when last told, oldest first; for the operator."""
        query = f"SELECT {_PING} FROM outbox WHERE error <> '' ORDER BY since_at, id LIMIT ?"
        return [Ping(*row) for row in self._db.execute(query, (limit,))]

    def count_pings(self) -> int:
        """How much hubs are still to be told."""
        return int(self._db.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def drop_ping(self, ping: Ping) -> bool:
        """The hub was told, or it is given up; False where the topic changed again meanwhile: that stays."""
        gone = self._db.execute("DELETE FROM outbox WHERE id = ? AND seq = ?", (ping.id, ping.seq))
        return bool(gone.rowcount)

    def put_ping_failure(self, ping: Ping, next_at: int, error: str) -> None:
        """The hub is to be told again at `next_at`; a newer change waits for nothing."""
        self._db.execute(
            "UPDATE outbox SET attempts = ?, next_at = ?, error = ? WHERE id = ? AND seq = ?",
            (ping.attempts + 1, next_at, error, ping.id, ping.seq),
        )

    def drop_other_hubs(self, hubs: Sequence[str]) -> int:
        """Forgets what hubs other than these were to be told; returns how much that was."""
        marks = ", ".join("?" * len(hubs))
        return self._db.execute(f"DELETE FROM outbox WHERE hub NOT IN ({marks})", hubs).rowcount


def open_outbox(folder: str) -> Outbox:
    """The outbox of a state that this process works on, through another connection.

    It never waits for a lock, so that nothing waits for who waits: a write while others write raises
    sqlite3.OperationalError, as everything does where there is no state.
    """
    path = quote(os.path.join(folder, schema.NAME))
    database = sqlite3.connect(f"file:{path}?mode=rw", uri=True, isolation_level=None, timeout=0)
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    return Outbox(database)
