"""Which article has which link: part of links.sqlite, with the links that come and go as articles begin and end to.

Counts what each link is needed for, and has its next check planned anew when that changes. Called by
`linkcheck.sync` through `links.Links`, of which this is the base.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from feedd.freshness import judge
from feedd.freshness.states import Evidence, LinkState, Verdict
from feedd.freshness.urls import host_of
from feedd.store.database import Database
from feedd.store.linkrows import Link

# A link's state is all fields but `history` as they are, then `history` as bytes.
_STATE = ", ".join(LinkState.__struct_fields__)
LINK = f"id, url, host, uses, feed_uses, {_STATE}"
_NEW_LINK = (
    f"INSERT INTO link (id, url, host, uses, feed_uses, unused_at, lapses_at, {_STATE}) "
    f"VALUES (?, ?, ?, ?, ?, 0, 0{', ?' * len(LinkState.__struct_fields__)})"
)
_pack = msgspec.msgpack.Encoder().encode
_history_from = msgspec.msgpack.Decoder(tuple[Evidence, ...]).decode
_values = msgspec.structs.astuple
_V = TypeVar("_V", int, str)

Uses = tuple[int, Sequence[str], bool]  # article id, its links' normalised URLs, whether it is in a feed


class Replan(Protocol):
    """The state of a link that is new, came into a feed or left the last one: `freshness.judge.replan`."""

    def __call__(self, url: str, state: LinkState, now: int, *, in_feed: bool) -> LinkState: ...


class _Need(msgspec.Struct):
    """How many more articles have a link than before, and how many more in feeds."""

    uses: int = 0
    feed_uses: int = 0

    def add(self, uses: int, feed_uses: int) -> None:
        self.uses += uses
        self.feed_uses += feed_uses


class LinkUses(Database):
    """The verbs about articles and their links."""

    def put_uses(self, rows: Iterable[Uses], replan: Replan, now: int) -> None:
        """These articles have these links now, and no others; an article without any is none.

        That an article began to have a link of which something is known is news. For some hundred articles at a time;
        what is as it was is not written.
        """
        wanted = {article_id: (dict.fromkeys(urls), int(in_feed)) for article_id, urls, in_feed in rows}
        had: dict[int, dict[int, int]] = {article_id: {} for article_id in wanted}
        query = "SELECT article_id, link_id, in_feed FROM use WHERE article_id IN"
        for article_id, link_id, before in self._in(query, list(wanted)):
            had[article_id][link_id] = before
        urls = list({url: None for links, _ in wanted.values() for url in links})
        query = "SELECT url, id, verdict FROM link WHERE url IN"
        known: dict[str, tuple[int, Verdict]] = {url: (number, what) for url, number, what in self._in(query, urls)}
        new_ids = self._numbered([url for url in urls if url not in known])
        needs: dict[int, _Need] = {}
        gone, came, news = [], [], []
        for article_id, (links, in_feed) in wanted.items():
            left = had[article_id]
            for url in links:
                link_id, verdict = known.get(url) or (new_ids[url], "unchecked")
                before = left.pop(link_id, None)
                if before == in_feed:
                    continue
                came.append((link_id, article_id, in_feed))
                needs.setdefault(link_id, _Need()).add(before is None, in_feed - (before or 0))
                if before is None and verdict != "unchecked":
                    news.append((now, link_id, article_id, verdict, verdict))
            for link_id, before in left.items():
                gone.append((link_id, article_id))
                needs.setdefault(link_id, _Need()).add(-1, -before)
        self._put_new_links(new_ids, needs, replan, now)
        self._put_needs(needs, replan, now)
        self._db.executemany("DELETE FROM use WHERE link_id = ? AND article_id = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO use VALUES (?, ?, ?)", came)
        self._db.executemany("INSERT INTO news (at, link_id, article_id, was, now) VALUES (?, ?, ?, ?, ?)", news)

    def list_users(self, after: int, limit: int) -> list[int]:
        """Ids of articles that have links, in pages."""
        query = "SELECT DISTINCT article_id FROM use WHERE article_id > ? ORDER BY article_id LIMIT ?"
        return [row[0] for row in self._db.execute(query, (after, limit))]

    def list_links_of(self, article_id: int) -> list[Link]:
        """The links that an article has."""
        query = f"SELECT {LINK} FROM link WHERE id IN (SELECT link_id FROM use WHERE article_id = ?) ORDER BY id"
        return [link_from(row) for row in self._db.execute(query, (article_id,))]

    def _numbered(self, urls: Sequence[str]) -> dict[str, int]:
        """Ids for new links, none of which was ever used."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'link'").fetchone()
        return {url: number for number, url in enumerate(urls, (row[0] if row else 0) + 1)}

    def _put_new_links(self, new_ids: dict[str, int], needs: dict[int, _Need], replan: Replan, now: int) -> None:
        rows = []
        for url, link_id in new_ids.items():
            need = needs.pop(link_id)
            state = replan(url, LinkState(since_at=now), now, in_feed=need.feed_uses > 0)
            rows.append((link_id, url, host_of(url), need.uses, need.feed_uses, *columns(state)))
        self._db.executemany(_NEW_LINK, rows)

    def _put_needs(self, needs: dict[int, _Need], replan: Replan, now: int) -> None:
        """Counts, and plans the checks of links anew that came into a feed or left the last one."""
        plans = []
        query = f"SELECT {LINK}, feed_uses FROM link WHERE id IN"
        for *row, feed_uses in self._in(query, [link_id for link_id, need in needs.items() if need.feed_uses]):
            link, in_feed = link_from(row), feed_uses + needs[row[0]].feed_uses > 0
            if in_feed != link.in_feed:
                state = replan(link.url, link.state, now, in_feed=in_feed)
                plans.append((state.next_check_at, state.interval_days, judge.lapses_at(state), link.id))
        self._db.executemany("UPDATE link SET next_check_at = ?, interval_days = ?, lapses_at = ? WHERE id = ?", plans)
        self._db.executemany(
            "UPDATE link SET uses = uses + ?1, feed_uses = feed_uses + ?2, "
            "unused_at = CASE uses + ?1 WHEN 0 THEN ?3 ELSE 0 END WHERE id = ?4",
            ((need.uses, need.feed_uses, now, number) for number, need in needs.items() if need.uses or need.feed_uses),
        )


def columns(state: LinkState) -> tuple[Any, ...]:
    """A state as the columns of a link have it."""
    return (*_values(state)[:-1], _pack(state.history))


def link_from(row: Sequence[Any]) -> Link:
    """A row of `LINK` as a value."""
    state = LinkState(*(*row[5:-1], _history_from(row[-1])))
    return Link(row[0], row[1], row[2], row[3], row[4] > 0, state)
