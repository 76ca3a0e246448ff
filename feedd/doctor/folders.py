"""The folders of articles, state and feeds, and config.toml -> findings: there, readable, writable, private, roomy.

Looks only; of the state it asks the databases themselves. Plain values come in; called by `doctor`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sqlite3
import stat as mode_bits
from collections.abc import Iterator
from urllib.parse import quote

from msgspec import Struct

from feedd import files
from feedd.doctor.findings import Finding, good, hint, size, trouble

STATE_SPARE = 300_000_000  # the write-ahead log while much comes in, and what SQLite sorts
OUTPUT_SPARE = 64_000_000
LEAST_BYTES = 64_000_000
LEAST_INODES = 1_000
UNREADABLE = (sqlite3.Error, ValueError)  # the second where SQLite's message quotes bytes that are no text
DATABASES = ("feedd.db", "links.sqlite", "hub.sqlite")
_TIMES = (  # what was written by the clock of this machine
    ("feedd.db", "SELECT max(written_at) FROM document"), ("feedd.db", "SELECT max(at) FROM change"),
    ("feedd.db", "SELECT max(since_at) FROM problem"), ("links.sqlite", "SELECT max(started_at) FROM run"),
)


class Tree(Struct, frozen=True, gc=False):
    """What lies below a folder, as far as it can be seen."""

    folders: int = 0
    files: int = 0
    articles: int = 0
    bytes: int = 0
    closed: tuple[str, ...] = ()
    """Folders that cannot be listed."""


def survey(folder: str, *, sizes: bool = True) -> Tree:
    """Everything below a folder, hidden folders left out. Without `sizes`, twice as fast."""
    folders = count = articles = total = 0
    closed: list[str] = []
    prefix = len(folder.rstrip("/")) + 1
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as entries:
                folders += 1
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if files.is_folder_name(entry.name):
                            pending.append(entry.path)
                        continue
                    count += 1
                    articles += files.is_article_path(entry.path[prefix:])
                    if sizes:
                        with contextlib.suppress(OSError):
                            total += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
        except OSError:
            closed.append(here)
    return Tree(folders, count, articles, total, tuple(closed))


def check_articles(folder: str, found: Tree) -> list[Finding]:
    """Whether they are there and can be read."""
    if not os.path.isdir(folder):
        return [trouble("articles", f"{folder}: there is no such folder", "make it, or set articles.path")]
    if folder in found.closed:
        return [trouble("articles", f"{folder}: cannot be listed by {_me()}", f"chmod or chown it for {_me()}")]
    said = f"{folder}: {found.articles} files in {found.folders} folders"
    if found.closed:
        todo = f"chmod or chown them for {_me()}; what was published from there stays as it is"
        return [trouble("articles", f"{said}; {len(found.closed)} folders cannot be listed, {found.closed[0]}", todo)]
    if not found.articles:
        suffixes = ", ".join(files.ARTICLE_SUFFIXES)
        return [hint("articles", f"{said}: nothing to publish", f"articles end in {suffixes}; see articles.path")]
    return [good("articles", said)]


def check_watching(folder: str, wanted: str, reason: str) -> Finding:
    """`wanted`: articles.watch. `reason`: why inotify would not see every change, empty if it should."""
    if wanted == "polling" or (reason and wanted == "auto"):
        return good("watching", f"{folder} is polled: {reason or 'articles.watch is polling'}")
    if reason:
        todo = 'articles.watch = "auto"'
        return trouble("watching", f"{folder}: {reason}, where changes made elsewhere raise no events", todo)
    return good("watching", f"{folder} is watched by inotify")


def check_room(name: str, folder: str, present: Tree, free: os.statvfs_result | None) -> list[Finding]:
    """Bytes and inodes. The rule of thumb: state doubles when it is migrated or restored; feeds are replaced one by
    one, and grow by a fifth before somebody looks again.
    """
    if free is None:
        return []
    here = size(present.bytes)
    need = present.bytes + STATE_SPARE if name == "state" else present.bytes // 5 + OUTPUT_SPARE
    room = free.f_bavail * free.f_frsize
    said = f"{name} takes {here}, {size(room)} are free, {size(need)} should be"
    todo = f"make room on the file system of {folder}, or move {'state' if name == 'state' else 'feeds'}.path"
    level = trouble if room < LEAST_BYTES else hint
    found = [good("disk", said) if room >= need else level("disk", said, todo)]
    if free.f_files and free.f_favail < max(LEAST_INODES, present.files // 5):  # btrfs and others have no such limit
        level = trouble if free.f_favail < LEAST_INODES else hint
        found.append(level("disk", f"{name} is {present.files} files, and only {free.f_favail} more can be made", todo))
    return found


def room_of(folder: str) -> os.statvfs_result | None:
    """The file system that a folder is on, or will be on."""
    try:
        return os.statvfs(_nearest(folder))
    except OSError:
        return None


def check_writable(name: str, folder: str) -> Finding:
    """Whether we may write there, or make it."""
    nearest = _nearest(folder)
    if not os.path.isdir(nearest):
        return trouble(name, f"{nearest}: is in the way of {folder}", f"set {name}.path to a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return trouble(name, f"{nearest}: cannot be written to by {_me()}", f"chown -R {_me()} {nearest}")
    return good(name, f"{folder}: writable by {_me()}" if nearest == folder else f"{folder}: can be made")


def check_private(config: str, has_secret: bool, state: str) -> Iterator[Finding]:
    """What others on this machine must not read: secrets in config.toml, and the state."""
    with contextlib.suppress(OSError):
        if has_secret and os.stat(config).st_mode & mode_bits.S_IROTH:
            yield trouble("permissions", f"{config}: holds a secret, and everybody can read it", f"chmod 640 {config}")
    with contextlib.suppress(OSError):
        mode = mode_bits.S_IMODE(os.stat(state).st_mode)
        if mode & 0o077:
            said = f"{state}: others may look into it ({mode:04o}); it knows unpublished articles"
            yield hint("permissions", said, f"chmod 700 {state}")


def check_public(out: str) -> Iterator[Finding]:
    """Whether a web server of another user could read the feeds."""
    name = os.path.join(out, "feeds.opml")
    with contextlib.suppress(OSError):
        if not os.stat(out).st_mode & mode_bits.S_IXOTH or not os.stat(name).st_mode & mode_bits.S_IROTH:
            todo = f"chmod -R o+rX {out}, and UMask=0022, if nginx or the like is to serve it"
            yield hint("permissions", f"{out}: other users, such as a web server's, cannot read it", todo)


def check_owner(state: str) -> Iterator[Finding]:
    """The doctor sees what its own user may do, and that should be the daemon's."""
    try:
        owner = os.stat(state).st_uid
    except OSError:
        return
    if owner != os.geteuid():
        said = f"this runs as {_me()}, and feedd as {name_of(owner)}: permissions and limits may be others"
        yield hint("user", said, f"sudo -u {name_of(owner)} feedd doctor")


# --- databases -------------------------------------------------------------------------------------------------------


def open_database(folder: str, name: str) -> sqlite3.Connection | None:
    """One database of the state, to be read; None where there is none."""
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return None
    return sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None, timeout=5)


def check_databases(folder: str, schemas: dict[str, int]) -> list[Finding]:
    """`schemas`: the version of each database that this feedd makes."""
    found: list[Finding] = []
    versions: list[str] = []
    for name, ours in schemas.items():
        try:
            database = open_database(folder, name)
            if database is None:
                continue
            with contextlib.closing(database):
                theirs = int(database.execute("PRAGMA user_version").fetchone()[0])
                database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except sqlite3.OperationalError as error:
            found.append(trouble("state", f"{folder}/{name}: cannot be used: {error}", "see permissions and disk"))
            continue
        except UNREADABLE as error:
            todo = "nothing: the next start sets it aside and makes it anew, with the same entry ids"
            found.append(trouble("state", f"{folder}/{name}: torn: {_words(error)}", todo))
            continue
        if theirs > ours:
            said = f"{folder}/{name}: schema {theirs}, and this feedd knows up to {ours}"
            found.append(trouble("state", said, "install the newer feedd again, or restore a backup"))
        elif theirs < ours:
            todo = "make a backup; the next start does the rest"
            found.append(hint("state", f"{folder}/{name}: schema {theirs} becomes {ours} at the next start", todo))
        else:
            versions.append(f"{name} {ours}")
    if versions:
        found.append(good("state", f"{folder}: schemas {', '.join(versions)}"))
    return found or [good("state", f"{folder}: none yet; the first start makes it")]


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, sqlite3.Error) else "database disk image is malformed"


def newest_time(folder: str) -> int:
    """The newest time in the state that this machine's clock gave; 0 where nothing is known."""
    newest = 0
    for name, query in _TIMES:
        with contextlib.suppress(*UNREADABLE):
            database = open_database(folder, name)
            if database is not None:
                with contextlib.closing(database):
                    newest = max(newest, database.execute(query).fetchone()[0] or 0)
    return newest


def check_dated(folder: str, now: float) -> Iterator[Finding]:
    """Files that come from the future were written by a machine with another clock."""
    with contextlib.suppress(*UNREADABLE):
        database = open_database(folder, "feedd.db")
        if database is not None:
            with contextlib.closing(database):
                query = "SELECT count(*), min(path) FROM file WHERE mtime_ns > ?"
                count, first = database.execute(query, (int((now + 120) * 1e9),)).fetchone()
            if count:
                said = f"{count} article files were changed in the future, {first}"
                yield hint("clock", said, "set the clock of whoever writes them; feedd publishes them all the same")


def name_of(user: int) -> str:
    """A user's name, or number."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _me() -> str:
    return name_of(os.geteuid())


def _nearest(folder: str) -> str:
    """The folder, or the nearest that there is around it."""
    while not os.path.lexists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder
