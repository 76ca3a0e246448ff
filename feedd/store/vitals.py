"""What tells how publishing and links are, in the fewest queries: alerts ask each minute, whatever the size of it all.

Reads only, over the connection of a `Store` or of `Links`. What is a trouble is decided by others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from feedd import model, plan
from feedd.store.database import Database
from feedd.store.links import Links
from feedd.store.rows import Problem
from feedd.store.sqlite import Store

_MOST_ROWS: Final = 50_000  # entries of a feed that are looked at for their times
DAY_S: Final = 86_400


class Newest(Struct, frozen=True, array_like=True, gc=False):
    """A feed, and when its newest entry came."""

    feed_id: int
    kind: model.FeedKind
    slug: str
    at: int


class Failed(Struct, frozen=True, array_like=True, gc=False):
    """A document that could not be written when that was last tried, and why."""

    kind: model.FeedKind
    slug: str
    page: int
    error: str


class Vitals(Database):
    """The verbs about publishing. Raises sqlite3 errors as they are."""

    @classmethod
    def of(cls, store: Store) -> Vitals:
        """Over the connection of a store that was opened to read."""
        return cls(store._db)

    def list_problems(self, before: int, limit: int) -> list[Problem]:
        """Files that have not been readable since before then, longest first."""
        query = "SELECT * FROM problem WHERE since_at <= ? ORDER BY since_at, path LIMIT ?"
        return [Problem(*row) for row in self._db.execute(query, (before, limit))]

    def list_failed(self, limit: int) -> list[Failed]:
        """Documents that could not be written, those of the oldest feeds first."""
        rows = self._db.execute(
            "SELECT f.kind, coalesce(f.slug, f.key), d.page, d.error FROM document d JOIN feed f ON f.id = d.feed_id "
            "WHERE d.dirty_seq <> d.built_seq AND d.error <> '' ORDER BY d.feed_id, d.page LIMIT ?", (limit,),
        )
        return [Failed(*row) for row in rows]

    def find_progress(self) -> tuple[int, int]:
        """(documents that wait to be written and did not fail, a number that changes with each that is written);
        (0, 0) if none wait.
        """
        query = "SELECT count(*) FROM document WHERE dirty_seq <> built_seq AND error = ''"
        if not (waiting := int(self._db.execute(query).fetchone()[0])):
            return 0, 0
        return waiting, int(self._db.execute("SELECT sum(built_seq) FROM document").fetchone()[0])

    def list_newest(self, kinds: Sequence[model.FeedKind]) -> list[Newest]:
        """Every written feed of these kinds that has an entry."""
        marks = ", ".join("?" * len(kinds))
        rows = self._db.execute(
            "SELECT * FROM (SELECT id, kind, slug, (SELECT position FROM membership WHERE feed_id = feed.id "
            f"ORDER BY position DESC LIMIT 1) >> {plan.TIE_BITS} AS at FROM feed WHERE slug IS NOT NULL "
            f"AND kind IN ({marks})) WHERE at IS NOT NULL", tuple(kinds),
        )
        return [Newest(*row) for row in rows]

    def list_times(self, feed_id: int, *, slot_s: int, slots: int) -> list[int]:
        """When its entries came, newest first; one for each of the newest `slots` spans of `slot_s` that have any."""
        rows = self._db.execute(
            f"SELECT position >> {plan.TIE_BITS} FROM membership WHERE feed_id = ? ORDER BY position DESC LIMIT ?",
            (feed_id, _MOST_ROWS),
        )
        times = list[int]()
        for (at,) in rows:
            if not times or at // slot_s != times[-1] // slot_s:
                if len(times) == slots:
                    break
                times.append(at)
        return times


class LinkVitals(Database):
    """The verb about links. Raises sqlite3 errors as they are."""

    @classmethod
    def of(cls, links: Links) -> LinkVitals:
        """Of the same file, at the same moment."""
        return cls(links._db)

    def count_deaths(self, now: int, days: int) -> list[tuple[int, str, int]]:
        """(days ago, host, links of it that died then and still are dead), but for what the operator called dead."""
        rows = self._db.execute(
            "SELECT (?1 - since_at) / ?2, host, count(*) FROM link INDEXED BY link_verdict "
            "WHERE verdict = 'dead' AND uses > 0 AND by_hand = '' AND since_at > ?1 - ?2 * ?3 AND since_at <= ?1 "
            "GROUP BY 1, 2", (now, DAY_S, days),
        )
        return list(rows)
