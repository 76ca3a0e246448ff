"""A database that others write to -> a copy as of one moment; and whether a file is the database that it should be.

Knows SQLite, and no table. Called by `backup` and `verify`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

from feedd import errors

_PAGES = 2_000  # copied between two words of progress

# Locked, no memory, read-only, input/output, full, not to be opened: nothing is said of what is in the file by these.
_OUT_OF_REACH = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
}

OnBytes = Callable[[int], None]


class Snapshot:
    """A database as it was when this was opened, whatever is written to it since.

    Writers are not held up: the transaction that is open here only keeps the write-ahead log from starting anew, so
    that grows by what they write until `close`.
    """

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)
        try:
            self._db.execute("BEGIN")
            self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # from here on it is this moment's
            (self.version,) = self._db.execute("PRAGMA user_version").fetchone()
        except BaseException:
            self._db.close()
            raise

    def copy_to(self, path: str, progress: OnBytes) -> None:
        """Writes it to a new file, which needs no other file beside it. Raises sqlite3 errors."""
        (size,) = self._db.execute("PRAGMA page_size").fetchone()
        done = 0

        def tell(_status: int, remaining: int, total: int) -> None:
            nonlocal done
            progress((total - remaining - done) * size)
            done = total - remaining

        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous = OFF")  # who asked for it syncs what is made of it
            self._db.backup(target, pages=_PAGES, progress=tell)  # begins anew for nobody: this transaction stays
            target.execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        """Lets go of that moment."""
        self._db.close()


def flaws(path: str, steps: Sequence[str], *, quick: bool = False, limit: int = 20) -> Iterator[str]:
    """What is wrong with a database that `steps` should have made, all or the first of them; nothing if it is sound.

    Every page, index and reference, and the tables themselves: none but those of the steps, for what stands in a
    schema is run. `quick`: indexes are not compared with their tables. Writes nothing. Raises StateTooNewError, and
    sqlite3 errors that say nothing of what is in the database.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            check = "quick_check" if quick else "integrity_check"
            for (said,) in database.execute(f"PRAGMA {check}({limit})"):
                if said != "ok":
                    yield str(said)
            for table, row, other, _ in database.execute("PRAGMA foreign_key_check"):
                yield f"row {row} of {table} refers to a row of {other} that is not there"
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version > len(steps):
                raise errors.StateTooNewError(f"{path}: of a newer feedd (schema {version}); use that version")
            yield from _other_schema(_schema(database), steps[:version])
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUT_OF_REACH:
            raise
        yield str(error)


def _other_schema(found: dict[tuple[str, str], str], steps: Sequence[str]) -> Iterator[str]:
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        for step in steps:
            model.executescript(step)
        wanted = _schema(model)
    for kind, name in sorted(found.keys() | wanted.keys()):
        if (kind, name) not in found:
            if kind != "index":  # which only makes answers come sooner
                yield f"there is no {kind} {name}"
        elif found[kind, name] != wanted.get((kind, name)):
            yield f"the {kind} {name} is not feedd's"


def _schema(database: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """(kind, name) -> how it was made, whatever its white space and comments."""
    rows = database.execute(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT GLOB 'sqlite_stat*'"
    )
    return {
        (kind, name): " ".join(" ".join(line.partition("--")[0] for line in sql.split("\n")).split())
        for kind, name, sql in rows
    }
