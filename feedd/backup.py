"""The databases of a state -> one file that holds a copy of each as of one moment; and back into a state folder.

The file is a gzipped tar archive: manifest.json, then the databases. Not in it: config.toml, which may hold a token,
the articles, and the feeds, which follow from both. Called by `feedd backup` and `feedd restore`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, Final

import msgspec
from msgspec import Struct

from feedd import __version__, errors
from feedd.hub import subscriptions
from feedd.store import linkrows, open_store, schema
from feedd.store.copies import Snapshot, flaws
from feedd.store.database import move_aside
from feedd.store.links import open_links
from feedd.store.sqlite import RESTORING, errors_in_words, hold

FORMAT: Final = 1
DATABASES: Final = {
    schema.NAME: schema.MIGRATIONS, linkrows.NAME: linkrows.MIGRATIONS, subscriptions.NAME: subscriptions.MIGRATIONS,
}  # the state of publishing first: what the others note of it may be newer than it is, never older
LOCKS: Final = ("lock", "links.lock")  # of who publishes, and of who checks links
_MANIFEST, _MANIFEST_BYTES = "manifest.json", 65_536
_PIECE = 1 << 20
_STAGING = ".restore"

Progress = Callable[[str, int], None]  # what is done with bytes, and how many more of them


class NoBackupError(errors.StateError):
    """What was given is no backup. The sentence goes on after the name of the file."""


class Copy(Struct, frozen=True, forbid_unknown_fields=True):
    """One database in a backup. `schema` is the number of its last migration, `sha256` of its bytes, in hexadecimal."""

    name: str
    schema: int
    bytes: int
    sha256: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The first member of a backup. `feedd` is the version that made it; `created_at` is in seconds since 1970."""

    format: int
    feedd: str
    created_at: int
    databases: tuple[Copy, ...]


class _AnyManifest(Struct, frozen=True):
    """What manifests of every format say."""

    format: int


class Restored(Struct, frozen=True):
    """What was put back, and where what was there before is now."""

    manifest: Manifest
    aside: tuple[str, ...]


# -- backup ------------------------------------------------------------------------------------------------------------


def to_file(folder: str, path: str, *, force: bool, now: int, progress: Progress) -> Manifest:
    """Backs a state up, whoever works on it meanwhile. Readable by its owner alone: subscribers' secrets are in it.

    Raises what `new_file` does, and StateError where there is no state that is worth it.
    """
    with new_file(path, force=force, mode=0o600) as out:
        return write(folder, out, scratch=out.name + ".d", now=now, progress=progress)


@contextlib.contextmanager
def new_file(path: str, *, force: bool, mode: int) -> Iterator[IO[bytes]]:
    """A file that is there when all of it was written and is safe, and else not at all, or as it was.

    Raises OutputError where it is there already (unless `force`), or cannot be written.
    """
    if os.path.exists(path) and not force:
        raise errors.OutputError(f"{path}: is there already; choose another name, or --force to replace it")
    home = os.path.dirname(os.path.abspath(path))
    temporary = os.path.join(home, f".feedd-{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, mode)) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
        _sync_folder(home)
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be written: {errors.in_words(error)}") from error
    finally:
        with contextlib.suppress(OSError):  # it is in its place, or could not even be made
            os.unlink(temporary)


def write(folder: str, out: IO[bytes], *, scratch: str, now: int, progress: Progress) -> Manifest:
    """The same into an open file. The copies are made in the new folder `scratch`, which needs room for all of them."""
    os.mkdir(scratch, 0o700)
    try:
        copies = tuple(_copies(folder, scratch, progress))
        manifest = Manifest(FORMAT, __version__, now, copies)
        data = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
        with (
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=out, mtime=now) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as archive,
        ):
            _add(archive, _MANIFEST, len(data), io.BytesIO(data), now, progress)
            for copy in copies:
                with open(os.path.join(scratch, copy.name), "rb") as file:
                    _add(archive, copy.name, copy.bytes, file, now, progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest


def _copies(folder: str, scratch: str, progress: Progress) -> Iterator[Copy]:
    """Copies the databases that there are, all of them as they are now."""
    if not os.path.exists(os.path.join(folder, schema.NAME)):
        raise errors.StateError(f"{folder}: no state yet, so there is nothing to back up")
    with errors_in_words(), ExitStack() as opened:
        snapshots = {}
        for name in DATABASES:
            if os.path.exists(path := os.path.join(folder, name)):
                snapshots[name] = snapshot = Snapshot(path)
                opened.callback(snapshot.close)
                _check_version(name, snapshot.version)
        for name, snapshot in snapshots.items():
            snapshot.copy_to(os.path.join(scratch, name), lambda size: progress("copied", size))
            snapshot.close()  # its write-ahead log can start anew
    for name, snapshot in snapshots.items():
        path = os.path.join(scratch, name)
        for flaw in flaws(path, DATABASES[name], quick=True):
            raise errors.StateError(f"{name} is torn, and not backed up ({flaw}); `feedd verify --fix` sets it aside")
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield Copy(name, snapshot.version, os.path.getsize(path), digest)


def _check_version(name: str, version: int) -> None:
    known = len(DATABASES[name])
    if version > known:
        raise errors.StateTooNewError(
            f"{name} is of a newer feedd (schema {version}, this one knows {known}); use that version"
        )


def _add(archive: tarfile.TarFile, name: str, size: int, file: IO[bytes], now: int, progress: Progress) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, now, 0o600
    archive.addfile(member, file)
    progress("packed", size)


# -- restore -----------------------------------------------------------------------------------------------------------


def restore(folder: str, source: IO[bytes], *, now: int, progress: Progress) -> Restored:
    """Makes the state what it was. Nothing is touched before all of the backup was read and found sound.

    The databases that were there are kept beside those that come. The next start writes every feed anew, and takes
    articles that changed since for what they are: changes. Raises StateLockedError while a feedd works on the state,
    StateTooNewError, StateError for a backup that cannot be used, NoBackupError for anything but a backup.
    """
    staging = os.path.join(folder, _STAGING)
    with ExitStack() as held:
        for name in LOCKS:
            held.callback(os.close, hold(folder, name))
        try:
            shutil.rmtree(staging, ignore_errors=True)
            os.mkdir(staging, 0o700)
            held.callback(shutil.rmtree, staging, ignore_errors=True)
            manifest = _unpack(source, staging, progress)
            with errors_in_words():
                _prepare(staging, manifest)
            aside = _put_in_place(folder, staging, manifest, now)
        except OSError as error:
            raise errors.StateError(f"{folder}: the backup cannot be restored: {errors.in_words(error)}") from error
    return Restored(manifest, aside)


def _unpack(source: IO[bytes], staging: str, progress: Progress) -> Manifest:
    """Reads a backup into files. Names, kinds and sizes are those of the manifest, or it is none.

    Reads the headers itself: a reader of all that tar can be would follow links, paths, and headers of any size.
    """
    try:
        with gzip.GzipFile(fileobj=source) as packed:
            manifest = _read_manifest(packed)
            total = sum(copy.bytes for copy in manifest.databases)
            room = shutil.disk_usage(staging).free
            if total > room:
                raise errors.StateError(f"the backup needs {total} bytes, and there are {room} free")
            for copy in manifest.databases:
                if _next_size(packed, copy.name) != copy.bytes:
                    raise errors.StateError(f"{copy.name} has another size than the manifest says")
                _extract(packed, os.path.join(staging, copy.name), copy, progress)
    except EOFError as error:
        raise NoBackupError("only a part of a backup: it ends too soon") from error
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, UnicodeError) as error:
        raise NoBackupError("no backup of feedd's, or only a part of one") from error
    return manifest


def _read_manifest(packed: gzip.GzipFile) -> Manifest:
    size = _next_size(packed, _MANIFEST)
    if size > _MANIFEST_BYTES:
        raise NoBackupError(f"no backup of feedd's: its manifest has {size} bytes")
    data = _read(packed, size)
    packed.read(-size % tarfile.BLOCKSIZE)
    try:
        if msgspec.json.decode(data, type=_AnyManifest).format != FORMAT:
            raise errors.StateTooNewError(f"the backup is not of format {FORMAT}; use the feedd that made it")
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise errors.StateError(f"the manifest of the backup cannot be read: {error}") from error
    names = [copy.name for copy in manifest.databases]
    if names != [name for name in DATABASES if name in names] or schema.NAME not in names:
        raise errors.StateError(f"the backup holds other files than feedd's: {', '.join(names)}")
    for copy in manifest.databases:
        _check_version(copy.name, copy.schema)
        if copy.bytes < 0 or copy.schema < 0:
            raise errors.StateError(f"the manifest of the backup cannot be read: {copy.name} has a size below 0")
    return manifest


def _next_size(packed: gzip.GzipFile, name: str) -> int:
    """The size of the next member, which must be a plain file of this name."""
    member = tarfile.TarInfo.frombuf(packed.read(tarfile.BLOCKSIZE), "utf-8", "strict")
    if member.name != name or member.type != tarfile.REGTYPE or member.size < 0:
        raise NoBackupError(f"no backup of feedd's: {member.name!r} where {name} should be")
    return member.size


def _extract(packed: gzip.GzipFile, path: str, copy: Copy, progress: Progress) -> None:
    digest, left = hashlib.sha256(), copy.bytes
    mode = 0o600 if copy.name == subscriptions.NAME else 0o644
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        while left:
            piece = _read(packed, min(left, _PIECE))
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
            progress("read", len(piece))
    packed.read(-copy.bytes % tarfile.BLOCKSIZE)
    if digest.hexdigest() != copy.sha256:
        raise errors.StateError(f"{copy.name} is not what was backed up: its sha256 is another")
    for flaw in flaws(path, DATABASES[copy.name]):
        raise errors.StateError(f"{copy.name} in the backup is torn: {flaw}")


def _read(packed: gzip.GzipFile, size: int) -> bytes:
    data = packed.read(size)
    if len(data) != size:
        raise EOFError("it ends too soon")
    return data


def _prepare(staging: str, manifest: Manifest) -> None:
    """Brings the databases up to today's schemas, and what they note of the world outside up to having been away.

    Feeds on disk may be of a later state: each is to be looked at. Which articles have which links is gone over, too.
    """
    with open_store(staging) as store, store.transaction():
        store.mark_all_dirty()
        store.put_meta("listing", "")
    names = {copy.name for copy in manifest.databases}
    if linkrows.NAME in names:
        links = open_links(staging)
        with links.transaction():
            links.put_meta({"sync_of": None})
        links.close()
    if subscriptions.NAME in names:
        subscriptions.open_subscriptions(staging).close()


def _put_in_place(folder: str, staging: str, manifest: Manifest, now: int) -> tuple[str, ...]:
    """While this lasts, a mark keeps others from starting: half a state must not be taken for a new one."""
    mark, owner = os.path.join(folder, RESTORING), os.stat(folder)
    for copy in manifest.databases:
        path = os.path.join(staging, copy.name)
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    with open(mark, "wb"):
        _sync_folder(folder)
    aside = [
        move_aside(path, now, "replaced")
        for name in DATABASES if os.path.exists(path := os.path.join(folder, name))
    ]
    for copy in manifest.databases:
        os.replace(os.path.join(staging, copy.name), os.path.join(folder, copy.name))
    _sync_folder(folder)
    if os.geteuid() == 0:  # whoever restores: the state belongs to whom its folder does
        for name in (*LOCKS, *(copy.name for copy in manifest.databases)):
            os.chown(os.path.join(folder, name), owner.st_uid, owner.st_gid)
    os.unlink(mark)
    _sync_folder(folder)
    return tuple(aside)


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
