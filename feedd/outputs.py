"""Bytes -> a file, in one step or not at all; what lies on disk is never half of anything.

The only place that writes what readers may be reading. Called by `rebuild`, `inline` and `publish`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat as mode_bits
from collections import Counter
from functools import cache
from typing import Self

from feedd import errors

TEMPORARY_PREFIX = ".feedd-"

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_BLANK_FLAGS = os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_TMPFILE", 0)
_MODE = 0o644  # less the umask, as for any file; mkstemp would give 0600
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE})  # what letting go of files may mend


class Stock:
    """What makes many writes quick, in the thread of one who writes again and again; a context manager for each batch.

    Blank files, which have no name yet, made when nobody waits: ext4 takes 130 us instead of 10 to make one once some
    thousands were freed, for it looks at each of the last minutes and gives it to nobody. And replaced files, kept
    open until the context is left: a rename that frees the blocks of an old file takes 95 us instead of 5.

    Whoever has blank files holds descriptors, and its file system from being mounted read-only: `free` them at rest.
    """

    def __init__(self, *, replaced: int = 200, blanks: int = 128 if hasattr(os, "O_TMPFILE") else 0) -> None:
        self._limits = replaced, min(blanks, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8)
        self._replaced: list[int] = []
        self._blanks: dict[str, list[int]] = {}
        self._written: Counter[str] = Counter()  # folder -> how many files since `refill`

    def keep(self, fd: int) -> None:
        """Takes over the descriptor of a replaced file."""
        if len(self._replaced) < self._limits[0]:
            self._replaced.append(fd)
        else:
            os.close(fd)

    def take(self, folder: str) -> int | None:
        """The descriptor of a blank file that may be named in a folder; None if there is none left."""
        self._written[folder] += 1
        blanks = self._blanks.get(folder)
        return blanks.pop() if blanks else None

    @property
    def has_blanks(self) -> bool:
        """Whether there is a blank file."""
        return any(self._blanks.values())

    def refill(self) -> None:
        """Makes ready for as many files in each folder as were written in it since the last time, if any were."""
        if not self._written:
            return
        room = self._limits[1]
        for folder in self._blanks.keys() - self._written.keys():
            _close_all(self._blanks.pop(folder))
        for folder, written in self._written.items():
            wanted = min(written, room)
            room -= wanted
            blanks = self._blanks.setdefault(folder, [])
            _close_all(blanks, but=wanted)
            try:
                while len(blanks) < wanted:
                    blanks.append(os.open(folder, _BLANK_FLAGS, _MODE))
            except OSError:  # too many are open, or the file system has no such files
                self.free()
                break
        self._written.clear()

    def free(self) -> bool:
        """Lets go of all files; False if there were none."""
        closed = [_close_all(fds) for fds in (self._replaced, *self._blanks.values())]
        return any(closed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _close_all(self._replaced)


def _close_all(fds: list[int], *, but: int = 0) -> bool:
    """Closes and forgets all but so many; False if there were none to be closed."""
    are_some = len(fds) > but
    while len(fds) > but:
        os.close(fds.pop())
    return are_some


def write(path: str, data: bytes, *, mtime_ns: int | None = None, stock: Stock | None = None) -> bool:
    """Make the file at `path` hold `data`, atomically; return False if it already did (its mtime stays then).

    Readers see the old bytes or the new ones. Missing folders are made. A symlink at `path` is replaced, not followed.
    Bytes and name are safe from a power cut only after `sync` of the file and of its folder, once per batch.
    `stock` gives a blank file, if it has one, and is given the old one.
    Raises OutputError with path and reason; the old file is then untouched and no temporary file is left.
    """
    old, size = _open_regular(path)
    try:
        if old is not None and size == len(data) and os.read(old, size + 1) == data:
            return False
        try:
            _replace(path, data, mtime_ns, stock)
        except OSError as error:
            if error.errno not in _NO_ROOM or stock is None or not stock.free():
                raise
            _replace(path, data, mtime_ns, None)
        if stock is not None and old is not None:
            stock.keep(old)
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


def _open_regular(path: str) -> tuple[int | None, int]:
    """A descriptor of the regular file at `path`, and its size; None if there is none that can be read."""
    try:
        fd = os.open(path, _READ_FLAGS)
    except OSError:
        return None, 0
    facts = os.fstat(fd)
    if mode_bits.S_ISREG(facts.st_mode):
        return fd, facts.st_size
    os.close(fd)
    return None, 0


def _replace(path: str, data: bytes, mtime_ns: int | None, stock: Stock | None) -> None:
    """Write a temporary file beside `path`, and put it in its place."""
    folder = os.path.dirname(path)
    temporary = os.path.join(folder, TEMPORARY_PREFIX + os.urandom(8).hex())
    try:
        blank = stock.take(folder) if stock is not None else None
        if blank is None or not _write_blank(blank, temporary, data, mtime_ns):
            _write_new(temporary, data, mtime_ns)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _write_blank(fd: int, path: str, data: bytes, mtime_ns: int | None) -> bool:
    """Fill a file that has no name, name it, and close it; False if that cannot be: another disk, or none of /proc."""
    try:
        _write_open(fd, data, mtime_ns)
        os.link(str(fd), path, src_dir_fd=_own_files(), follow_symlinks=True)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@cache
def _own_files() -> int:
    """The folder of this process's descriptors, open for good: its path takes as long to find as a link to make."""
    return os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _write_new(path: str, data: bytes, mtime_ns: int | None) -> None:
    """Make a file, and the folders that it is in if need be."""
    try:
        fd = os.open(path, _WRITE_FLAGS, _MODE)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, _WRITE_FLAGS, _MODE)
    try:
        _write_open(fd, data, mtime_ns)
    finally:
        os.close(fd)


def _write_open(fd: int, data: bytes, mtime_ns: int | None) -> None:
    """Write and, if asked, date an open file.

    With its blocks reserved first, a full disk is known before a byte is written; and ext4, which else starts writing
    a file back when it is renamed over another (auto_da_alloc), lets the rename pass in half the time.
    """
    if data:
        os.posix_fallocate(fd, 0, len(data))
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    if mtime_ns is not None:
        os.utime(fd, ns=(mtime_ns, mtime_ns))
