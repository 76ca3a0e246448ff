"""Bytes -> a file, in one step or not at all; what lies on disk is never half of anything.

The only place that writes what readers may be reading. Called by `rebuild`, `inline` and `publish`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as mode_bits
from typing import Self

from feedd import errors

TEMPORARY_PREFIX = ".feedd-"

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE})  # what letting go of replaced files may mend


class Replaced:
    """Files that lost their name to newer ones, kept open until the context is left, at most `limit` of them.

    A rename that frees the blocks of an old file takes twenty times as long on ext4 (95 us and 5 us here). Held open,
    they are freed when the whole batch of new files can be read already.
    """

    def __init__(self, limit: int = 200) -> None:
        self._limit = limit
        self._open: list[int] = []

    def keep(self, fd: int) -> None:
        """Takes over a descriptor."""
        if len(self._open) < self._limit:
            self._open.append(fd)
        else:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def free(self) -> bool:
        """Lets go of all of them; False if there were none."""
        kept, self._open = self._open, []
        for fd in kept:
            os.close(fd)
        return bool(kept)


def write(path: str, data: bytes, *, mtime_ns: int | None = None, replaced: Replaced | None = None) -> bool:
    """Make the file at `path` hold `data`, atomically; return False if it already did (its mtime stays then).

    Readers see the old bytes or the new ones. Missing folders are made. A symlink at `path` is replaced, not followed.
    Bytes and name are safe from a power cut only after `sync` of the file and of its folder, once per batch.
    `replaced` is given the old file, to be let go of later.
    Raises OutputError with path and reason; the old file is then untouched and no temporary file is left.
    """
    old = _open_regular(path)
    try:
        if old is not None and _holds(old, data):
            return False
        try:
            _replace(path, data, mtime_ns)
        except OSError as error:
            if error.errno not in _NO_ROOM or replaced is None or not replaced.free():
                raise
            _replace(path, data, mtime_ns)
        if replaced is not None and old is not None:
            replaced.keep(old)
            old = None
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be written: {errors.in_words(error)}") from error
    finally:
        if old is not None:
            os.close(old)
    return True


def sync(path: str) -> None:
    """Wait until a file's bytes, or a folder's names, are on disk; at once if it is gone. Raises OutputError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be synced: {errors.in_words(error)}") from error
    try:
        os.fsync(fd)
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be synced: {errors.in_words(error)}") from error
    finally:
        os.close(fd)


def date(path: str, mtime_ns: int) -> None:
    """Give a file another mtime. Raises OutputError."""
    try:
        os.utime(path, ns=(mtime_ns, mtime_ns))
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be dated: {errors.in_words(error)}") from error


def remove(path: str) -> None:
    """Make sure that there is no file at `path`. Raises OutputError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise errors.OutputError(f"{path}: cannot be removed: {errors.in_words(error)}") from error


def clean_temporaries(folder: str) -> int:
    """Remove what a killed `write` left at any depth of `folder`; return how many. Raises nothing."""
    removed = 0
    pending = [folder]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.name.startswith(TEMPORARY_PREFIX) and entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(OSError):
                        os.unlink(entry.path)
                        removed += 1
    return removed


def _open_regular(path: str) -> int | None:
    """A descriptor of the regular file at `path`, None if there is none that can be read."""
    try:
        fd = os.open(path, _READ_FLAGS)
    except OSError:
        return None
    if mode_bits.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def _holds(fd: int, data: bytes) -> bool:
    """True if an open file has exactly these bytes."""
    return os.fstat(fd).st_size == len(data) and os.read(fd, len(data) + 1) == data


def _replace(path: str, data: bytes, mtime_ns: int | None) -> None:
    """Write a temporary file beside `path`, and put it in its place."""
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, TEMPORARY_PREFIX + os.urandom(8).hex())
    try:
        fd = os.open(temporary, _WRITE_FLAGS, 0o644)  # less the umask, as for any file; mkstemp would give 0600
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        fd = os.open(temporary, _WRITE_FLAGS, 0o644)
    try:
        _write_open(fd, data, mtime_ns)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _write_open(fd: int, data: bytes, mtime_ns: int | None) -> None:
    """Write and, if asked, date an open file, and close it whatever happens.

    With its blocks reserved first, a full disk is known before a byte is written; and ext4, which else starts writing
    a file back when it is renamed over another (auto_da_alloc), lets the rename pass in half the time.
    """
    try:
        if data:
            os.posix_fallocate(fd, 0, len(data))
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if mtime_ns is not None:
            os.utime(fd, ns=(mtime_ns, mtime_ns))
    finally:
        os.close(fd)
