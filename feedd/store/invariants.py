"""What always holds between the tables of the two databases; where it does not, that is feedd's fault or a bad disk's.

Finds, and mends what can be found anew within the tables. Called by `verify`.
"""

from __future__ import annotations

from collections.abc import Iterator

from feedd import plan
from feedd.store.database import Database
from feedd.store.links import Links
from feedd.store.rows import unpack_ids

_SOME = 20  # of each kind of fault are named
_PIECE = 1_000
_KNOWN = ", ".join(plan.Known.__struct_fields__)
_OTHER_COUNT = (
    "(uses, feed_uses) <> (SELECT count(*), coalesce(sum(in_feed), 0) FROM use WHERE link_id = link.id)"
)


class Invariants(Database):
    """The verbs, over the connection of a Store. Raises sqlite3 errors as they are."""

    @classmethod
    def of(cls, store: Database) -> Invariants:
        """Of the same state."""
        return cls(store._db)

    def list_stray_files(self) -> list[str]:
        """Files that are said to be an article which is not said to be them."""
        return self._some(
            "SELECT path FROM file WHERE article_id IS NOT NULL "
            "AND NOT EXISTS (SELECT 1 FROM article WHERE id = file.article_id AND path = file.path)"
        )

    def list_lost_articles(self) -> list[str]:
        """The other way round."""
        return self._some(
            "SELECT path FROM article WHERE path IS NOT NULL "
            "AND NOT EXISTS (SELECT 1 FROM file WHERE path = article.path AND article_id = article.id)"
        )

    def list_empty_entries(self) -> list[str]:
        """Entries of which nothing is kept that could be shown."""
        return self._some(
            "SELECT entry_path FROM article WHERE position IS NOT NULL "
            "AND NOT EXISTS (SELECT 1 FROM body WHERE article_id = article.id)"
        )

    def list_misplaced(self) -> list[str]:
        """Entries at another place of the order than the one that is theirs."""
        found = (known.entry_path for known in self._entries() if known.position != plan.place(known))
        return [path for path, _ in zip(found, range(_SOME), strict=False)]

    def list_wrong_memberships(self) -> list[str]:
        """Feeds whose entries are not those that articles say."""
        self._expect_memberships()
        one, other = "SELECT * FROM temp.expected", "SELECT feed_id, position, article_id FROM membership"
        return self._some(
            f"SELECT kind || '/' || key FROM feed WHERE id IN (SELECT feed_id FROM ({one} EXCEPT {other})) "
            f"OR id IN (SELECT feed_id FROM ({other} EXCEPT {one})) ORDER BY kind, key"
        )

    def list_wrong_documents(self) -> list[str]:
        """Feeds whose documents are not numbered from 0 on, with rising bounds, or were written before they changed."""
        return self._some(
            "SELECT DISTINCT coalesce((SELECT kind || '/' || key FROM feed WHERE id = d.feed_id), d.feed_id) "
            "FROM document d LEFT JOIN document b ON b.feed_id = d.feed_id AND b.page = d.page - 1 "
            "WHERE (d.built_seq > d.dirty_seq "
            "OR (d.page > 0 AND (b.page IS NULL OR d.bound IS NULL OR d.bound <= coalesce(b.bound, -1))) "
            "OR NOT EXISTS (SELECT 1 FROM feed WHERE id = d.feed_id)) ORDER BY 1"
        )

    def put_places(self) -> None:
        """Files are the articles that say so; where two do, the first. What no article claims is found again."""
        self._db.execute("DROP TABLE IF EXISTS temp.place")
        self._db.execute("CREATE TEMP TABLE place (path TEXT PRIMARY KEY, id INTEGER) WITHOUT ROWID")
        self._db.execute(
            "INSERT OR IGNORE INTO temp.place SELECT path, id FROM article WHERE path IS NOT NULL ORDER BY id"
        )
        self._db.execute(
            "UPDATE article SET path = NULL, release_at = NULL "
            "WHERE path IS NOT NULL AND id <> (SELECT id FROM temp.place WHERE path = article.path)"
        )
        self._db.execute("UPDATE file SET article_id = (SELECT id FROM temp.place WHERE path = file.path)")
        self._db.execute("INSERT OR IGNORE INTO file SELECT path, 0, 0, 0, x'', id FROM temp.place")

    def put_memberships(self) -> None:
        """The entries of feeds are those that articles say; every document is to be looked at."""
        self._expect_memberships()
        self._db.execute("DELETE FROM membership")
        self._db.execute("INSERT INTO membership SELECT * FROM temp.expected")
        self._db.execute("UPDATE document SET dirty_seq = dirty_seq + 1")

    def _expect_memberships(self) -> None:
        self._db.execute("DROP TABLE IF EXISTS temp.expected")
        self._db.execute(
            "CREATE TEMP TABLE expected (feed_id INTEGER, position INTEGER, article_id INTEGER, "
            "PRIMARY KEY (feed_id, position, article_id)) WITHOUT ROWID"
        )
        self._db.executemany("INSERT INTO temp.expected VALUES (?, ?, ?)", (
            (feed_id, known.position, known.id) for known in self._entries() for feed_id in unpack_ids(known.shown_in)
        ))
        self._db.execute(  # of a feed that configuration took away articles know until they are read again
            "DELETE FROM temp.expected WHERE feed_id NOT IN (SELECT feed_id FROM document WHERE page = 0)"
        )

    def _entries(self) -> Iterator[plan.Known]:
        after = 0
        query = f"SELECT {_KNOWN} FROM article WHERE id > ? AND position IS NOT NULL ORDER BY id LIMIT {_PIECE}"
        while rows := [plan.Known(*row) for row in self._db.execute(query, (after,))]:
            yield from rows
            after = rows[-1].id

    def _some(self, query: str) -> list[str]:
        return [str(row[0]) for row in self._db.execute(f"{query} LIMIT {_SOME}")]


class LinkInvariants(Database):
    """The verbs, over the connection of a Links. Raises sqlite3 errors as they are."""

    @classmethod
    def of(cls, links: Links) -> LinkInvariants:
        """Of the same links."""
        return cls(links._db)

    def list_miscounted(self) -> list[str]:
        """Links that are said to be in other numbers of articles than those that have them."""
        return [row[0] for row in self._db.execute(f"SELECT url FROM link WHERE {_OTHER_COUNT} LIMIT {_SOME}")]

    def list_uses(self, after: int, up_to: int) -> dict[int, dict[str, bool]]:
        """Article -> its links' URLs, and whether it is in a feed."""
        found: dict[int, dict[str, bool]] = {}
        for article_id, url, in_feed in self._db.execute(
            "SELECT article_id, url, in_feed FROM use JOIN link ON link.id = link_id "
            "WHERE article_id > ? AND article_id <= ?", (after, up_to),
        ):
            found.setdefault(article_id, {})[url] = bool(in_feed)
        return found

    def recount(self) -> None:
        """How many articles have each link is counted anew."""
        self._db.execute(
            "UPDATE link SET (uses, feed_uses) = "
            "(SELECT count(*), coalesce(sum(in_feed), 0) FROM use WHERE link_id = link.id)"
        )
