"""The state in one SQLite file (WAL): queries and nothing else; what the rows mean is decided in `plan` and `ingest`.

Bare sqlite3 rather than a layer over it: nothing more to import, one path for one row and many. One writer at a time,
held by a lock on a file beside the database; readers (status, lint, render workers) open it read-only.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

import msgspec

from feedd import errors, model, plan
from feedd.store import schema
from feedd.store.database import as_torn, move_aside
from feedd.store.documents import Documents
from feedd.store.marks import Marks
from feedd.store.outbox import Outbox
from feedd.store.rows import FileRow, Problem
from feedd.store.survey import Survey

NAME = schema.NAME
RESTORING = "restoring"  # a file that is there while `backup.restore` puts databases in place
_IS_READ = "EXISTS (SELECT 1 FROM body WHERE article_id = id)"
_KNOWN = ", ".join(plan.Known.__struct_fields__)
_article_from = msgspec.msgpack.Decoder(model.Article).decode
_metadata_from = msgspec.msgpack.Decoder(model.Metadata).decode
_pack = msgspec.msgpack.Encoder().encode


@as_torn()
def open_store(folder: str, *, read_only: bool = False) -> Store:
    """The state in `folder`, made or migrated if need be.

    Raises StateLockedError where another process writes to it, StateTooNewError for a newer feedd's, StateError where
    there is none to read, sqlite3.DatabaseError for one that is torn.
    """
    path = os.path.join(folder, NAME)
    if read_only:
        if not os.path.exists(path):
            raise errors.StateError(f"{path}: no state yet; start `feedd run` or `feedd build` first")
        address = f"file:{quote(path)}?mode=ro"
        database = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        store = Store(database, folder, None)
        store.check_version()
        return store
    lock = hold(folder)
    try:
        if os.path.exists(os.path.join(folder, RESTORING)):
            raise errors.StateError(f"{folder}: a restore was cut off half-way; `feedd restore` it once more")
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        store = Store(database, folder, lock)
        store.prepare()
    except BaseException:
        os.close(lock)
        raise
    return store


def hold(folder: str, name: str = "lock") -> int:
    """Takes a lock of the state in `folder`, which is made if need be: an open file, to be closed to let go.

    Raises StateLockedError where another process has it, StateError where no state can be kept.
    """
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        lock = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise errors.StateError(f"{folder}: cannot keep state there: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise errors.StateLockedError(f"{folder}: another feedd is working on this state") from error
    return lock


@contextlib.contextmanager
def errors_in_words() -> Iterator[None]:
    """What SQLite raises inside comes out as a StateError that is a sentence."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise errors.StateError(f"the state cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise errors.StateError(
            f"the state is torn ({error}); `feedd run` or `feedd build` makes it anew from the articles"
        ) from error


def set_aside(folder: str, now: int) -> str:
    """Moves a torn database out of the way, for whoever wants to look at it; returns where it is."""
    return move_aside(os.path.join(folder, NAME), now)


class Store(Documents):
    """Queries over one connection. Verbs: get/find/list/iter read, apply/put/mark/drop write (inside `transaction`)."""

    def __init__(self, database: sqlite3.Connection, folder: str, lock: int | None) -> None:
        super().__init__(database)
        self.folder, self._lock = folder, lock
        self.outbox, self.survey, self.marks = Outbox(database), Survey(database), Marks(database)

    # -- life ------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Settings, and the migrations that are due, in one transaction each."""
        version = self.check_version()  # before anything is written
        self._log_ahead()
        self._db.execute("PRAGMA cache_size = -16000")
        for number, step in enumerate(schema.MIGRATIONS[version:], version + 1):
            self._db.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version = {number}; COMMIT")

    def check_version(self) -> int:
        """The schema's number; raises StateTooNewError."""
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(schema.MIGRATIONS):
            raise errors.StateTooNewError(
                f"{self.folder}: this state was written by a newer feedd (schema {version}, "
                f"this one knows {len(schema.MIGRATIONS)}); run that version, or give this one another [state] path"
            )
        return int(version)

    def is_sound(self) -> bool:
        """SQLite's own quick check of every page; seconds for a state of a gigabyte."""
        return bool(self._db.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))

    def close(self) -> None:
        """Lets go of the file and of the lock; nothing happens the second time."""
        super().close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- meta ------------------------------------------------------------------------------------------------------

    def find_meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- files and problems ----------------------------------------------------------------------------------------

    def has_files(self) -> bool:
        return self._db.execute("SELECT 1 FROM file LIMIT 1").fetchone() is not None

    def iter_files(self, under: str = "") -> Iterator[FileRow]:
        """Files in the order of their paths; below the folder `under`, if given."""
        query = "SELECT * FROM file"
        if under:
            rows = self._db.execute(query + " WHERE path > ? AND path < ? ORDER BY path", (under + "/", under + "0"))
        else:
            rows = self._db.execute(query + " ORDER BY path")
        return (FileRow(*row) for row in rows)

    def find_files(self, paths: Sequence[str]) -> dict[str, FileRow]:
        return {row[0]: FileRow(*row) for row in self._in("SELECT * FROM file WHERE path IN", paths)}

    def put_files(self, rows: Sequence[FileRow]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?)", map(_values, rows))

    def assign_file(self, path: str, article_id: int) -> None:
        """Says which article a file is."""
        self._db.execute("UPDATE file SET article_id = ? WHERE path = ?", (article_id, path))

    def drop_files(self, paths: Sequence[str]) -> None:
        self._db.executemany("DELETE FROM file WHERE path = ?", ((path,) for path in paths))

    def put_problems(self, rows: Sequence[Problem]) -> None:
        """Keeps since when a path has had its problem."""
        self._db.executemany(
            'INSERT INTO problem VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET line = excluded.line, '
            '"column" = excluded."column", field = excluded.field, message = excluded.message',
            map(_values, rows),
        )

    def drop_problems(self, paths: Sequence[str]) -> None:
        self._db.executemany("DELETE FROM problem WHERE path = ?", ((path,) for path in paths))

    def has_problems(self) -> bool:
        return self._db.execute("SELECT 1 FROM problem LIMIT 1").fetchone() is not None

    def list_problems(self) -> list[Problem]:
        return [Problem(*row) for row in self._db.execute("SELECT * FROM problem ORDER BY path")]

    # -- articles --------------------------------------------------------------------------------------------------

    def find_articles(self, ids: Sequence[int]) -> dict[int, plan.Known]:
        return {row[0]: plan.Known(*row) for row in self._in(f"SELECT {_KNOWN} FROM article WHERE id IN", ids)}

    def list_stories(self, stories: Sequence[int]) -> list[plan.Known]:
        """Every article, gone ones too, of the stories given."""
        return [plan.Known(*row) for row in self._in(f"SELECT {_KNOWN} FROM article WHERE story IN", stories)]

    def list_gone(self, originals: Sequence[int]) -> list[plan.Known]:
        """Articles without a file that had one of the originalUrls given."""
        query = f"SELECT {_KNOWN} FROM article WHERE path IS NULL AND original IN"
        return [plan.Known(*row) for row in self._in(query, originals)]

    def list_minted(self, paths: Sequence[str]) -> list[plan.Known]:
        """Articles that were first seen at one of the paths."""
        return [plan.Known(*row) for row in self._in(f"SELECT {_KNOWN} FROM article WHERE entry_path IN", paths)]

    def list_entry_paths(self, paths: Sequence[str]) -> set[str]:
        """Which of the identities given are taken."""
        return {row[0] for row in self._in("SELECT entry_path FROM article WHERE entry_path IN", paths)}

    def next_article_id(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM article").fetchone()[0])

    def put_articles(self, rows: Sequence[plan.Known]) -> None:
        marks = ", ".join("?" * len(plan.Known.__struct_fields__))
        self._db.executemany(f"INSERT OR REPLACE INTO article ({_KNOWN}) VALUES ({marks})", map(_values, rows))

    def bump_revisions(self) -> None:
        """Every entry may show something else than it did."""
        self._db.execute("UPDATE article SET revision = revision + 1 WHERE position IS NOT NULL")

    def put_bodies(self, rows: Iterable[tuple[int, bytes]]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO body VALUES (?, ?)", rows)

    def drop_bodies(self, ids: Sequence[int]) -> None:
        self._db.executemany("DELETE FROM body WHERE article_id = ?", ((i,) for i in ids))

    def get_body(self, article_id: int) -> bytes:
        return bytes(self._db.execute("SELECT data FROM body WHERE article_id = ?", (article_id,)).fetchone()[0])

    @as_torn()
    def find_bodies(self, ids: Sequence[int]) -> dict[int, model.Article]:
        return {row[0]: _article_from(row[1]) for row in self._in("SELECT * FROM body WHERE article_id IN", ids)}

    def list_due(self, now: int) -> list[int]:
        """Held articles whose time has come. INDEXED BY: the planner would read every article, to have them by id.

        Not of those that were imported, and whose files were not read yet: nothing is known to publish.
        """
        return [row[0] for row in self._db.execute(
            f"SELECT id FROM article INDEXED BY article_release WHERE release_at <= ? AND {_IS_READ} "
            "ORDER BY release_at, id", (now,),
        )]

    def next_release(self) -> int | None:
        """When the next held article is due, in seconds."""
        row = self._db.execute(
            f"SELECT release_at FROM article INDEXED BY article_release WHERE release_at IS NOT NULL AND {_IS_READ} "
            "ORDER BY release_at LIMIT 1"
        ).fetchone()
        return row[0] if row else None

    def apply_memberships(self, gone: Iterable[tuple[int, int, int]], new: Iterable[tuple[int, int, int]]) -> None:
        """Rows are (feed id, position, article id)."""
        self._db.executemany("DELETE FROM membership WHERE feed_id = ? AND position = ? AND article_id = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO membership VALUES (?, ?, ?)", new)

    # -- metadata, changes, counts ---------------------------------------------------------------------------------

    def put_metadata(self, path: str, data: model.Metadata, key: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO metadata VALUES (?, ?, ?, ?)", (path, data.kind, key, _pack(data)))

    def drop_metadata(self, path: str) -> None:
        self._db.execute("DELETE FROM metadata WHERE path = ?", (path,))

    @as_torn()
    def find_metadata(self, path: str) -> model.Metadata | None:
        row = self._db.execute("SELECT data FROM metadata WHERE path = ?", (path,)).fetchone()
        return _metadata_from(row[0]) if row else None

    @as_torn()
    def metadata_of(self, kind: str, key: str) -> model.Metadata | None:
        """What is said of a topic or provider; the first file by path, where several speak of it."""
        query = "SELECT data FROM metadata WHERE kind = ? AND key = ? ORDER BY path LIMIT 1"
        row = self._db.execute(query, (kind, key)).fetchone()
        return _metadata_from(row[0]) if row else None

    def put_changes(self, rows: Sequence[tuple[int, str, str]], *, keep: int = 200) -> None:
        """(seconds, path, what happened); only the newest `keep` stay."""
        self._db.executemany("INSERT INTO change (at, path, what) VALUES (?, ?, ?)", rows[-keep:])
        self._db.execute("DELETE FROM change WHERE id <= (SELECT max(id) FROM change) - ?", (keep,))

    def list_changes(self, limit: int) -> list[tuple[int, str, str]]:
        return list(self._db.execute("SELECT at, path, what FROM change ORDER BY id DESC LIMIT ?", (limit,)))

    def count(self) -> dict[str, int]:
        """How many files, articles, entries, held articles, feeds, archives and problems there are."""
        queries = {
            "files": "file", "articles": "article WHERE path IS NOT NULL",
            "entries": "article WHERE position IS NOT NULL", "held": "article WHERE release_at IS NOT NULL",
            "feeds": "document WHERE page = 0", "archives": "document WHERE page > 0", "problems": "problem",
        }
        return {name: int(self._db.execute(f"SELECT count(*) FROM {q}").fetchone()[0]) for name, q in queries.items()}


_values = msgspec.structs.astuple
