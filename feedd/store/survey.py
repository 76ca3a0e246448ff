"""What the operator looks at: problems, feeds and hubs in pages, whatever number of them there is.

Reads only, and keeps no more rows than were asked for; called by the status. Of a feed it tells what the live document
says; feeds that have no slug yet were never written, and are none here.
"""

from __future__ import annotations

from msgspec import Struct

from feedd.store.database import Database
from feedd.store.rows import Document, Feed, Problem

_LIVE = "FROM document d JOIN feed f ON f.id = d.feed_id WHERE d.page = 0 AND f.slug IS NOT NULL"
_ROW = "SELECT f.id, f.kind, f.key, f.label, f.slug, d.*"

LiveFeed = tuple[Feed, Document]


class HubLoad(Struct, frozen=True, gc=False):
    """What a hub is still to be told, and how many of these it would not hear when it was last told.

    `error` and `since_at` are of the change that has failed for longest; empty and None where none has.
    """

    hub: str
    waiting: int
    failing: int = 0
    since_at: int | None = None
    error: str = ""


class Survey(Database):
    """The verbs. Raises sqlite3 errors as they are."""

    def list_problems(self, after: str, limit: int) -> list[Problem]:
        """Problems by path, from behind the path `after` on."""
        rows = self._db.execute("SELECT * FROM problem WHERE path > ? ORDER BY path LIMIT ?", (after, limit))
        return [Problem(*row) for row in rows]

    def list_newest_problems(self, limit: int) -> list[Problem]:
        """The latest trouble first."""
        rows = self._db.execute("SELECT * FROM problem ORDER BY since_at DESC, path LIMIT ?", (limit,))
        return [Problem(*row) for row in rows]

    def count_problems(self) -> int:
        """How many files cannot be used."""
        return int(self._db.execute("SELECT count(*) FROM problem").fetchone()[0])

    def list_live(self, after: tuple[str, str], limit: int) -> list[LiveFeed]:
        """Feeds by (kind, slug), from behind `after` on."""
        return self._feeds(
            f"{_ROW} FROM feed f JOIN document d ON d.feed_id = f.id AND d.page = 0 "
            "WHERE (f.kind, f.slug) > (?, ?) AND f.slug IS NOT NULL ORDER BY f.kind, f.slug LIMIT ?", *after, limit,
        )

    def list_newest(self, limit: int) -> list[LiveFeed]:
        """The feeds that were written last."""
        return self._feeds(
            f"{_ROW} FROM (SELECT * FROM document WHERE page = 0 AND written_at IS NOT NULL "
            "ORDER BY written_at DESC, feed_id LIMIT ?) d JOIN feed f ON f.id = d.feed_id "
            "ORDER BY d.written_at DESC, f.kind, f.slug", limit,
        )

    def list_failed(self, limit: int) -> list[LiveFeed]:
        """Feeds that could not be written, by (kind, slug)."""
        return self._feeds(f"{_ROW} {_LIVE} AND d.error <> '' ORDER BY f.kind, f.slug LIMIT ?", limit)

    def count_live(self) -> int:
        """How many feeds there are."""
        return int(self._db.execute(f"SELECT count(*) {_LIVE}").fetchone()[0])

    def count_failed(self) -> int:
        """How many could not be written."""
        query = "SELECT count(*) FROM document WHERE page = 0 AND error <> ''"
        return int(self._db.execute(query).fetchone()[0])

    def list_hubs(self) -> list[HubLoad]:
        """Hubs that are still to be told of something, by their URLs."""
        failing = {row[0]: row[1:] for row in self._db.execute(  # `error` is of the row that has the least since_at
            "SELECT hub, count(*), min(since_at), error FROM outbox WHERE error <> '' GROUP BY hub"
        )}
        waiting = self._db.execute("SELECT hub, count(*) FROM outbox GROUP BY hub ORDER BY hub")
        return [HubLoad(hub, count, *failing.get(hub, ())) for hub, count in waiting]

    def _feeds(self, query: str, *parameters: object) -> list[LiveFeed]:
        return [(Feed(*row[:5]), Document(*row[5:])) for row in self._db.execute(query, parameters)]
