"""How much there is of everything, for metrics: counts that indexes answer, however many articles there are.

Reads only, over the connection of a `Store` or a `Links`. Called by `web.metrics`; people are shown `survey`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from feedd.freshness.states import VERDICTS
from feedd.store.documents import Documents
from feedd.store.links import Links
from feedd.store.sqlite import Store

_FAILED = "document INDEXED BY document_dirty WHERE dirty_seq <> built_seq AND error <> ''"
_FEEDS = (
    "SELECT kind, count(*) FROM feed WHERE EXISTS (SELECT 1 FROM document WHERE feed_id = feed.id AND page = 0) "
    "GROUP BY kind ORDER BY kind"
)
_PINGS = "SELECT count(*), coalesce(sum(error <> ''), 0) FROM outbox WHERE hub IN"


class Publishing(Struct, frozen=True):
    """Of the state. `articles` by what became of them: published; held until their time; hidden (not to be published,
    or a copy of a story that is); gone, of which the id is remembered. `feeds` by kind.

    `documents`: live feeds and archives; of these `waiting` are to be written, and `failed` could not be.
    `pings`: what hubs elsewhere are still to be told; `pings_failing`: what they would not hear when last told.
    """

    articles: dict[str, int]
    feeds: dict[str, int]
    documents: int
    waiting: int
    failed: int
    problems: int
    pings: int
    pings_failing: int


class LinkFigures(Struct, frozen=True):
    """Of the links. `due`: those to be checked by now; `overdue_s`: for how long the first of them has been."""

    verdicts: dict[str, int]
    due: int
    overdue_s: int


class Figures(Documents):
    """The verbs. Raises sqlite3 errors as they are."""

    @classmethod
    def of(cls, state: Store) -> Figures:
        """Of the same file, at the same moment."""
        return cls(state._db)

    def find_publishing(self, hubs: Sequence[str]) -> Publishing:
        """All of it; `hubs`: those that are configured."""
        known, gone = self._count("article"), self._count("article WHERE path IS NULL")
        held = self._count("article INDEXED BY article_release WHERE release_at IS NOT NULL")
        everything = self.find_feed("all", "")  # the feed that every entry is in
        published = self.count_entries(everything) if everything is not None else 0
        pings, failing = self._db.execute(f"{_PINGS} ({', '.join('?' * len(hubs))})", tuple(hubs)).fetchone()
        return Publishing(
            articles={
                "published": published, "held": held, "hidden": max(0, known - gone - published - held), "gone": gone,
            },
            feeds=dict(self._db.execute(_FEEDS).fetchall()), documents=self._count("document"),
            waiting=self.count_dirty(), failed=self._count(_FAILED), problems=self._count("problem"),
            pings=pings, pings_failing=failing,
        )

    def _count(self, what: str) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def find_links(links: Links, now: int) -> LinkFigures:
    """Of the links at `now`, in seconds since 1970."""
    next_at = links.next_due_at()
    overdue_s = max(0, now - next_at) if next_at is not None else 0
    known = links.count_by_verdict()
    return LinkFigures({verdict: known.get(verdict, 0) for verdict in VERDICTS}, links.count_due(now), overdue_s)
