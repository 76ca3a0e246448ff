"""What of the two databases cannot be found again in articles or on the web: read to be exported, written by an import.

Apart from the verbs of publishing and checking, which never see it. Called by `portable` and `verify`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from feedd import model
from feedd.freshness import judge
from feedd.freshness.states import LinkState
from feedd.freshness.urls import host_of
from feedd.store.database import Database
from feedd.store.links import Links
from feedd.store.linkuses import LINK, columns, link_from

_PAGE: Final = 1_000
_TOLD: Final = "links_told"  # as `verdicts` notes it: the id of the database of links, and the last news of it
_KEPT = "id, entry_path, path, story, original, public_at, published_at, updated_us, release_at, editorial, title"
_KNOWN = "(verdict <> 'unchecked' OR checked_at > 0 OR by_hand <> '')"
_STATE = ", ".join(LinkState.__struct_fields__)
_NEW_LINK = (
    f"INSERT INTO link (url, host, uses, feed_uses, unused_at, lapses_at, {_STATE}) "
    f"VALUES (?, ?, 0, 0, ?, ?{', ?' * len(LinkState.__struct_fields__)})"
)


class Identity(Struct, frozen=True, array_like=True, gc=False):
    """An article as it is kept for ever; the fields are those of `plan.Known`."""

    entry_path: str
    path: str | None
    story: int
    original: int
    public_at: int | None
    published_at: int
    updated_us: int
    release_at: int | None
    editorial: bytes
    title: str


class Page(Struct, frozen=True, array_like=True, gc=False):
    """A document of a feed, 0 for the live one. `bound`: the highest position in an archive."""

    page: int
    bound: int | None
    updated_us: int


class NamedFeed(Struct, frozen=True, array_like=True, gc=False):
    """A feed that was written once; without pages if configuration took it away."""

    kind: model.FeedKind
    key: str
    label: str
    slug: str
    pages: tuple[Page, ...]


class Identities(Database):
    """The verbs, over the connection of a Store. Raises sqlite3 errors as they are."""

    @classmethod
    def of(cls, store: Database) -> Identities:
        """Of the same state, in its transactions."""
        return cls(store._db)

    def iter_feeds(self) -> Iterator[NamedFeed]:
        """Feeds with the names that they have for good."""
        for feed_id, kind, key, label, slug in self._db.execute(
            "SELECT id, kind, key, label, slug FROM feed WHERE slug IS NOT NULL ORDER BY kind, key"
        ).fetchall():
            rows = self._db.execute(
                "SELECT page, bound, updated_us FROM document WHERE feed_id = ? ORDER BY page", (feed_id,)
            )
            yield NamedFeed(kind, key, label, slug, tuple(Page(*row) for row in rows))

    def iter_identities(self) -> Iterator[Identity]:
        """Articles in the order in which they were first seen, those that are gone too. In pages."""
        after = 0
        query = f"SELECT {_KEPT} FROM article WHERE id > ? ORDER BY id LIMIT {_PAGE}"
        while rows := self._db.execute(query, (after,)).fetchall():
            for row in rows:
                yield Identity(*row[1:])
            after = rows[-1][0]

    def begin_import(self) -> None:
        """Makes the list of what was imported; it goes when the database is closed."""
        self._db.execute("CREATE TEMP TABLE imported (what TEXT, key TEXT, PRIMARY KEY (what, key)) WITHOUT ROWID")

    def claim(self, what: str, key: str) -> bool:
        """Whether nothing of this kind and key was imported before."""
        return bool(self._db.execute("INSERT OR IGNORE INTO temp.imported VALUES (?, ?)", (what, key)).rowcount)

    def forget_contents(self) -> None:
        """What articles say, and so the entries of feeds, is to be read from their files again; who they are stays."""
        self._db.execute(
            "UPDATE article SET public = 0, position = NULL, copies = 0, feeds = x'', shown_in = x'', rendered = x''"
        )
        self._db.execute("DELETE FROM body")
        self._db.execute("DELETE FROM membership")
        self._db.execute(
            "UPDATE file SET mtime_ns = 0, size = 0, inode = 0, digest = x'' WHERE article_id IS NOT NULL"
        )
        self._db.execute("UPDATE document SET dirty_seq = dirty_seq + 1")

    def put_feed(self, feed: NamedFeed, *, force: bool) -> bool:
        """Takes a feed in, to be written; False where it is known and stays as it is.

        A slug that another feed has is that one's, unless `force`d: the other gets a new one then.
        """
        known = self._db.execute("SELECT id FROM feed WHERE kind = ? AND key = ?", (feed.kind, feed.key)).fetchone()
        if known and not force:
            return False
        named = "WHERE kind = ? AND slug = ? AND key <> ?", (feed.kind, feed.slug, feed.key)
        slug: str | None = feed.slug
        if force:
            self._db.execute(f"UPDATE feed SET slug = NULL {named[0]}", named[1])
        elif self._db.execute(f"SELECT 1 FROM feed {named[0]}", named[1]).fetchone():
            slug = None
        row = self._db.execute(
            "INSERT INTO feed (kind, key, label, slug) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (kind, key) DO UPDATE SET label = excluded.label, slug = excluded.slug RETURNING id",
            (feed.kind, feed.key, feed.label, slug),
        ).fetchone()
        self._db.execute("DELETE FROM document WHERE feed_id = ?", row)
        self._db.executemany(
            "INSERT INTO document VALUES (?, ?, ?, NULL, 1, 0, ?, 0, 0, NULL, '')",
            ((*row, page.page, page.bound, page.updated_us) for page in feed.pages),
        )
        return True

    def put_identity(self, new: Identity, *, force: bool) -> bool:
        """Takes an article in; its file is to be read before it is in any feed. False where it is known, and stays.

        A file that is another article already is that one, unless `force`d: the other is gone then.
        """
        known = self._db.execute("SELECT id, path FROM article WHERE entry_path = ?", (new.entry_path,)).fetchone()
        if known and not force:
            return False
        article_id, was_at = known or (None, None)
        path, owner = new.path, None
        if path is not None:
            row = self._db.execute("SELECT article_id FROM file WHERE path = ?", (path,)).fetchone()
            owner = row[0] if row else None
        if owner is not None and owner != article_id:
            if force:
                self._db.execute("UPDATE article SET path = NULL, release_at = NULL WHERE id = ?", (owner,))
            else:
                path = None
        if was_at is not None and was_at != path:
            self._db.execute("UPDATE file SET article_id = NULL WHERE path = ?", (was_at,))
        (article_id,) = self._db.execute(
            "INSERT OR REPLACE INTO article VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?, ?, NULL, ?, x'', 0, 0, x'', x'', ?) "
            "RETURNING id",
            (article_id, new.entry_path, path, new.story, new.original, new.public_at, new.published_at,
             new.updated_us, new.release_at if path is not None else None, new.editorial, new.title),
        ).fetchone()
        if path is not None:
            self._db.execute("INSERT OR REPLACE INTO file VALUES (?, 0, 0, 0, x'', ?)", (path, article_id))
        return True

    def put_told(self, links: Links) -> None:
        """The marks are those of the links, as they were just imported, all of them."""
        self._db.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (_TOLD, f"{links.find_meta('id')}:{links.newest_news()}")
        )


class LinkStates(Database):
    """The verbs, over the connection of a Links. Raises sqlite3 errors as they are."""

    def __init__(self, links: Links) -> None:
        super().__init__(links._db)
        self._links = links

    def iter_known(self) -> Iterator[tuple[str, LinkState]]:
        """(URL, state) of links that were checked, or of which the operator said something. In pages."""
        after = 0
        query = f"SELECT {LINK} FROM link WHERE id > ? AND {_KNOWN} ORDER BY id LIMIT {_PAGE}"
        while rows := self._db.execute(query, (after,)).fetchall():
            for row in rows:
                link = link_from(row)
                yield link.url, link.state
            after = rows[-1][0]

    def has_known(self) -> bool:
        """Whether anything is known of any link."""
        return self._db.execute(f"SELECT 1 FROM link WHERE {_KNOWN} LIMIT 1").fetchone() is not None

    def put_known(self, url: str, state: LinkState, now: int, *, force: bool) -> bool:
        """Takes in what is known of a link; False where something is known already, which stays."""
        row = self._db.execute(f"SELECT id, {_KNOWN} FROM link WHERE url = ?", (url,)).fetchone()
        if row is None:
            self._db.execute(_NEW_LINK, (url, host_of(url), now, judge.lapses_at(state), *columns(state)))
        elif row[1] and not force:
            return False
        else:
            self._links.put_by_hand([(row[0], state)], now)
        return True
