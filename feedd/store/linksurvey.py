"""What the operator looks at of links beside the verbs of `links`: what died, moved or healed, and who has a link.

Reads only, and no more rows than were asked for: a link may be in every article, and there may be a million of each.
Called by the status.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from feedd import errors
from feedd.freshness.states import Verdict
from feedd.store.database import Database
from feedd.store.links import Links, open_links

WINDOW: Final = 50_000  # of all news, the newest, are looked through: a first run brings as many as there are links


class Change(Struct, frozen=True, array_like=True, gc=False):
    """A link died, moved or healed, which is what `now` says. `target`: where a link went that is moved still."""

    at: int
    was: Verdict
    now: Verdict
    url: str
    target: str


class Robots(Struct, frozen=True, array_like=True, gc=False):
    """When a host was asked last, and for its robots.txt, with the answer's status; 0 for never."""

    host: str
    last_at: int
    status: int
    at: int


@contextlib.contextmanager
def reading(folder: str) -> Iterator[Links]:
    """The links in the state folder as they are at one moment. Raises StateError, whatever is the matter with them."""
    try:
        links = open_links(folder, read_only=True)
        try:
            with links.snapshot():
                yield links
        finally:
            links.close()
    except (sqlite3.Error, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise errors.StateError(f"the links cannot be read now: {error}") from error


class LinkSurvey(Database):
    """The verbs, over the connection of a `Links`. Raises sqlite3 errors as they are."""

    @classmethod
    def of(cls, links: Links) -> LinkSurvey:
        """Of the same file, at the same moment."""
        return cls(links._db)

    def list_changes(self, limit: int) -> list[Change]:
        """What died, moved (also on to somewhere else) or came back from either, newest first."""
        rows = self._db.execute(
            "SELECT news.at, news.was, news.now, link.url, "
            "CASE WHEN news.now = 'moved' AND link.verdict = 'moved' THEN link.final_url ELSE '' END "
            "FROM news CROSS JOIN link ON link.id = news.link_id "
            "WHERE news.article_id IS NULL AND news.seq > (SELECT max(seq) FROM news) - ? AND ("
            "news.now = 'moved' OR (news.now = 'dead' AND news.was <> 'dead') "
            "OR (news.now = 'fresh' AND news.was IN ('dead', 'moved'))) ORDER BY news.seq DESC LIMIT ?",
            (WINDOW, limit),
        )
        return [Change(*row) for row in rows]

    def list_users(self, link_id: int, after: int, limit: int) -> list[int]:
        """Ids of the articles that have a link, in pages."""
        query = "SELECT article_id FROM use WHERE link_id = ? AND article_id > ? ORDER BY article_id LIMIT ?"
        return [row[0] for row in self._db.execute(query, (link_id, after, limit))]

    def find_robots(self, hosts: Sequence[str]) -> dict[str, Robots]:
        """What is noted of these hosts, without the files themselves; no more than a thousand at once."""
        marks = ", ".join("?" * len(hosts))
        query = f"SELECT host, last_at, robots_status, robots_at FROM host WHERE host IN ({marks})"
        return {row[0]: Robots(*row) for row in self._db.execute(query, tuple(hosts))}
