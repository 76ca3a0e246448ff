"""What publishing and link checks tell each other: which articles have new links, and what was found of links.

Links have a database of their own (`links`), so that neither waits for the other. `publish` notes here which articles
it touched, `linkcheck` reads that; `verdicts` notes here what feeds show of the links, `rebuild` reads that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from feedd.freshness.effects import Mark
from feedd.store.database import Database

_SHOWN = "a.id, b.data, a.position IS NOT NULL FROM article a JOIN body b ON b.article_id = a.id"
_values = msgspec.structs.astuple

Linked = tuple[bytes, bool]  # an article as bytes, and whether it is an entry of any feed


class Marks(Database):
    """The verbs. Raises sqlite3 errors as they are."""

    # -- for link checks ---------------------------------------------------------------------------------------------

    def state_id(self) -> str:
        """Which state this is: another one gives other numbers to its articles. Empty while it is first filled."""
        row = self._db.execute(
            "SELECT value FROM meta WHERE key = 'id' AND EXISTS (SELECT 1 FROM meta WHERE key = 'first_scan')"
        ).fetchone()
        return row[0] if row else ""

    def put_relinked(self, article_ids: Iterable[int]) -> None:
        """The links of these articles may be others from now on."""
        self._db.executemany("INSERT INTO relinked (article_id) VALUES (?)", ((i,) for i in article_ids))

    def newest_relinked(self) -> int:
        """The number of the newest note there ever was; 0 without any."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'relinked'").fetchone()
        return int(row[0]) if row else 0

    def list_relinked(self, after: int, limit: int) -> list[tuple[int, int]]:
        """(number, article) of the notes that follow, oldest first."""
        query = "SELECT seq, article_id FROM relinked WHERE seq > ? ORDER BY seq LIMIT ?"
        return list(self._db.execute(query, (after, limit)))

    def drop_relinked(self, up_to: int) -> None:
        """These notes were read."""
        self._db.execute("DELETE FROM relinked WHERE seq <= ?", (up_to,))

    def forget_links(self) -> None:
        """Nobody notes which links are new; who asks later has to look at every article."""
        self._db.execute("DELETE FROM relinked")
        self._db.execute("UPDATE meta SET value = lower(hex(randomblob(8))) WHERE key = 'id'")

    def list_linked(self, after_id: int, limit: int) -> list[tuple[int, bytes, bool]]:
        """(id, article, whether it is an entry) of public articles, in the order of their ids."""
        query = f"SELECT {_SHOWN} WHERE a.id > ? AND a.public AND a.path IS NOT NULL ORDER BY a.id LIMIT ?"
        return [(i, data, bool(shown)) for i, data, shown in self._db.execute(query, (after_id, limit))]

    def find_linked(self, ids: Sequence[int]) -> dict[int, Linked]:
        """Those of the articles that are public, and whose files are there."""
        query = f"SELECT {_SHOWN} WHERE a.public AND a.path IS NOT NULL AND a.id IN"
        return {i: (data, bool(shown)) for i, data, shown in self._in(query, ids)}

    # -- for readers -------------------------------------------------------------------------------------------------

    def has_marks(self) -> bool:
        """Whether anything is known of any link."""
        return self._db.execute("SELECT 1 FROM mark LIMIT 1").fetchone() is not None

    def find_marks(self, urls: Sequence[str]) -> dict[str, Mark]:
        """What readers see of the links, by normalised URL; nothing for a link that was never checked."""
        rows = self._in("SELECT * FROM mark WHERE url IN", urls)
        return {url: Mark(verdict, at, target, bool(changed)) for url, verdict, at, target, changed in rows}

    def put_marks(self, marks: Iterable[tuple[str, Mark]]) -> None:
        """From now on readers see this of the links; nothing of one that is unchecked."""
        rows = [(url, *_values(mark)) for url, mark in marks]
        self._db.executemany("DELETE FROM mark WHERE url = ?", ((row[0],) for row in rows if row[1] == "unchecked"))
        self._db.executemany(
            "INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?, ?)", (row for row in rows if row[1] != "unchecked")
        )

    def drop_marks(self) -> None:
        """Nothing is known of any link."""
        self._db.execute("DELETE FROM mark")
