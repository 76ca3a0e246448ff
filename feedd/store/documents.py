"""Feeds, their documents and the entries of each: which are to be written, and what they show.

A part of `sqlite.Store`, over the same connection; what the rows mean is decided in `plan`, `ingest` and `rebuild`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from feedd import plan
from feedd.store.database import Database
from feedd.store.rows import Document, Feed

_SHOWN = ", ".join(f"a.{name}" for name in plan.Shown.__struct_fields__)


class Documents(Database):
    """Verbs: get/find/list/count read, put/mark/drop write (inside `transaction`). Raises sqlite3 errors as such."""

    def list_feeds(self) -> list[Feed]:
        return [Feed(*row) for row in self._db.execute("SELECT * FROM feed ORDER BY kind, key")]

    def find_feed(self, kind: str, key: str) -> int | None:
        query = (
            "SELECT id FROM feed WHERE kind = ? AND key = ? "
            "AND EXISTS (SELECT 1 FROM document WHERE feed_id = id AND page = 0)"
        )
        row = self._db.execute(query, (kind, key)).fetchone()
        return row[0] if row else None

    def get_feed(self, feed_id: int) -> Feed:
        return Feed(*self._db.execute("SELECT * FROM feed WHERE id = ?", (feed_id,)).fetchone())

    def put_feed(self, ref: plan.FeedRef) -> int:
        """A new feed and its live document, to be written. One that was dropped has its slug again, and a new id."""
        dropped = self._db.execute(
            "DELETE FROM feed WHERE kind = ? AND key = ? RETURNING slug", (ref.kind, ref.key)
        ).fetchone()
        row = self._db.execute(
            "INSERT INTO feed (kind, key, label, slug) VALUES (?, ?, ?, ?)",
            (ref.kind, ref.key, ref.label, dropped[0] if dropped else None),
        )
        feed_id = int(row.lastrowid or 0)
        self.put_document(feed_id, 0, None, 0)
        return feed_id

    def lower_label(self, feed_id: int, label: str) -> None:
        """Gives a feed that has no slug yet a label that sorts before its own."""
        self._db.execute(
            "UPDATE feed SET label = ?2 WHERE id = ?1 AND slug IS NULL AND label > ?2", (feed_id, label)
        )

    def list_unnamed(self) -> list[Feed]:
        """Feeds that have no slug yet."""
        return [Feed(*row) for row in self._db.execute("SELECT * FROM feed WHERE slug IS NULL ORDER BY kind, key")]

    def list_slugs(self, kind: str) -> list[str]:
        query = "SELECT slug FROM feed WHERE kind = ? AND slug IS NOT NULL"
        return [row[0] for row in self._db.execute(query, (kind,))]

    def put_slugs(self, rows: Iterable[tuple[int, str]]) -> None:
        """(feed id, slug) for feeds that have none."""
        self._db.executemany("UPDATE feed SET slug = ? WHERE id = ?", ((slug, feed_id) for feed_id, slug in rows))

    def drop_archives(self) -> None:
        self._db.execute("DELETE FROM document WHERE page > 0")

    def drop_feed(self, feed_id: int) -> None:
        for table, key in (("membership", "feed_id"), ("document", "feed_id")):
            self._db.execute(f"DELETE FROM {table} WHERE {key} = ?", (feed_id,))
        self._db.execute("DELETE FROM feed WHERE id = ? AND slug IS NULL", (feed_id,))

    def put_document(self, feed_id: int, page: int, bound: int | None, updated_us: int) -> None:
        """A new document, to be written."""
        self._db.execute(
            "INSERT INTO document VALUES (?, ?, ?, NULL, 1, 0, ?, 0, 0, NULL, '')", (feed_id, page, bound, updated_us)
        )

    def find_document(self, feed_id: int, page: int) -> Document | None:
        row = self._db.execute("SELECT * FROM document WHERE feed_id = ? AND page = ?", (feed_id, page)).fetchone()
        return Document(*row) if row else None

    def get_document(self, feed_id: int, page: int) -> Document:
        """A document that is known to be there; LookupError if it is not."""
        document = self.find_document(feed_id, page)
        if document is None:
            raise LookupError(f"no document {page} of feed {feed_id}")
        return document

    def list_documents(self, *, page: int | None = None) -> list[Document]:
        where = "" if page is None else f"WHERE page = {page:d}"
        return [Document(*row) for row in self._db.execute(f"SELECT * FROM document {where} ORDER BY feed_id, page")]

    def iter_pages(self) -> Iterator[tuple[int, int, bool]]:
        """(feed id, page, whether it is written as it should be) of every document."""
        for feed_id, page, is_written in self._db.execute("SELECT feed_id, page, dirty_seq = built_seq FROM document"):
            yield feed_id, page, bool(is_written)

    def list_dirty(self, *, live: bool, limit: int = -1) -> list[tuple[int, int]]:
        """(feed id, page) of documents that are not written as they should be."""
        return list(self._db.execute(
            f"SELECT feed_id, page FROM document WHERE dirty_seq <> built_seq AND page {'=' if live else '>'} 0 "
            "ORDER BY page, feed_id LIMIT ?", (limit,),
        ))

    def list_unwritten(self) -> frozenset[int]:
        """Feeds whose live document was never written."""
        return frozenset(row[0] for row in self._db.execute(
            "SELECT feed_id FROM document WHERE dirty_seq <> built_seq AND page = 0 AND built_seq = 0"
        ))

    def count_dirty(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM document WHERE dirty_seq <> built_seq").fetchone()[0])

    def find_page(self, feed_id: int, position: int) -> int | None:
        """The archive of a feed that holds a position; None for a position that only the live feed holds."""
        row = self._db.execute(
            "SELECT page FROM document WHERE feed_id = ? AND page > 0 AND bound >= ? ORDER BY page LIMIT 1",
            (feed_id, position),
        ).fetchone()
        return row[0] if row else None

    def last_page(self, feed_id: int) -> tuple[int, int]:
        """(number, bound) of the newest archive; (0, -1) without one."""
        row = self._db.execute(
            "SELECT page, bound FROM document WHERE feed_id = ? AND page > 0 ORDER BY page DESC LIMIT 1", (feed_id,)
        ).fetchone()
        return row or (0, -1)

    def mark_dirty(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """(feed id, page, microseconds of the change): one more change; `updated` never runs backwards."""
        self._db.executemany(
            "UPDATE document SET dirty_seq = dirty_seq + 1, updated_us = max(updated_us, ?3) "
            "WHERE feed_id = ?1 AND page = ?2", rows,
        )

    def mark_all_dirty(self, feed_ids: Iterable[int] | None = None) -> None:
        """Every document, or those of some feeds, must be looked at again."""
        if feed_ids is None:
            self._db.execute("UPDATE document SET dirty_seq = dirty_seq + 1")
        else:
            self._db.executemany(
                "UPDATE document SET dirty_seq = dirty_seq + 1 WHERE feed_id = ?", ((i,) for i in feed_ids)
            )

    def mark_written(self, rows: Iterable[tuple[int, int, int, int | None, int, int, int, int | None]]) -> None:
        """(feed id, page, seq that was read, floor, `updated` shown, entries, bytes, seconds or None if unchanged)."""
        self._db.executemany(
            "UPDATE document SET built_seq = ?3, floor = ?4, updated_us = max(updated_us, ?5), entries = ?6, "
            "bytes = ?7, written_at = coalesce(?8, written_at), error = '' "
            "WHERE feed_id = ?1 AND page = ?2 AND built_seq < ?3",
            rows,
        )

    def mark_failed(self, feed_id: int, page: int, error: str) -> None:
        """The document stays dirty; the last good one stays up."""
        self._db.execute("UPDATE document SET error = ? WHERE feed_id = ? AND page = ?", (error, feed_id, page))

    def list_window(self, feed_id: int, *, above: int, up_to: int | None, limit: int) -> list[plan.Shown]:
        """The newest `limit` entries of a feed whose position is in (above, up_to], newest first."""
        bound = up_to if up_to is not None else (1 << 63) - 1
        return [plan.Shown(*row) for row in self._db.execute(
            f"SELECT {_SHOWN} FROM membership m CROSS JOIN article a ON a.id = m.article_id "
            "WHERE m.feed_id = ? AND m.position > ? AND m.position <= ? ORDER BY m.position DESC, m.article_id "
            "LIMIT ?", (feed_id, above, bound, limit),
        )]

    def count_entries(self, feed_id: int, above: int = -1) -> int:
        query = "SELECT count(*) FROM membership WHERE feed_id = ? AND position > ?"
        return int(self._db.execute(query, (feed_id, above)).fetchone()[0])

    def list_bounds(self, feed_id: int, *, above: int, every: int, pages: int) -> list[int]:
        """The positions of every `every`-th entry above `above`, oldest first: the bounds of new archives."""
        rows = self._db.execute(
            "SELECT position FROM membership WHERE feed_id = ? AND position > ? ORDER BY position LIMIT ?",
            (feed_id, above, every * pages),
        )
        return [row[0] for number, row in enumerate(rows, 1) if number % every == 0]
