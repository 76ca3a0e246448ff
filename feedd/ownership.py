"""The output folder -> this process's own: a lock that one process holds at a time, with a note of who published last.

Without it, two of them with states of their own would each remove the other's feeds. The lock (flock(2)) ends with its
process, however that ends, so it never keeps out who comes after. Writes nothing but its own file. Called by `publish`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

import msgspec
from msgspec import Struct

from feedd import errors

NAME = ".feedd.lock"  # a dot: it is served by nobody, and no feed is called so
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_LONGEST = 8_192


class Publisher(Struct, frozen=True, gc=False):
    """Who publishes into a folder: the folder of its state, its process, a token of its hold; empty if nobody knows."""

    state: str = ""
    process: int = 0
    token: str = ""


_publisher_from = msgspec.json.Decoder(Publisher).decode


class Hold:
    """Of the folder at `path`, from a `take` that succeeds to `close`."""

    def __init__(self, path: str) -> None:
        self._folder, self._path = path, os.path.join(path, NAME)
        self._fd: int | None = None
        self._is_signed = False

    def take(self) -> Publisher | None:
        """Who published there last, to be answered by `sign`. None if that was done, and the folder is held still; or
        if it cannot be held now: it is not there, takes no files, or its file system knows no locks.

        The folder may be another one by now, or its files removed: then it is taken anew. Raises OutputError where
        another process holds it.
        """
        if self._fd is not None:
            if not _is_at(self._fd, self._path):
                self.close()
            elif self._is_signed:
                return None
        if self._fd is None:
            self._fd = self._lock()
        return None if self._fd is None else _read(self._fd)

    def sign(self, publisher: Publisher) -> bool:
        """Notes who publishes from now on; False where that cannot be written, and the lock must do meanwhile."""
        if self._fd is None:
            return False
        note = msgspec.json.encode(publisher) + b"\n"
        with contextlib.suppress(OSError):
            with open(os.open(self._path, os.O_WRONLY | _FLAGS), "wb", buffering=0) as file:
                file.write(note)  # over the old one, for which there is room even on a full disk
                file.truncate(len(note))
            self._is_signed = True
        return self._is_signed

    def close(self) -> None:
        """Lets go; nothing happens the second time. The file stays: whoever removed it might remove another's."""
        fd, self._fd, self._is_signed = self._fd, None, False
        if fd is not None:
            os.close(fd)

    def _lock(self) -> int | None:
        """Open to be read only, lest its file system could not be mounted read-only while feedd runs; NFS, which knows
        no other locks than those of files that are open to be written (flock(2)), has its way.
        """
        with contextlib.suppress(OSError):
            os.makedirs(self._folder, exist_ok=True)
        for access in (os.O_RDONLY, os.O_RDWR):
            try:
                return self._lock_by(access)
            except PermissionError as error:
                if os.path.lexists(self._path):
                    why = "cannot be opened; remove it, if no feedd of another user publishes there"
                    raise errors.OutputError(f"{self._path}: {why}: {errors.in_words(error)}") from error
            except OSError:
                continue
        return None

    def _lock_by(self, access: int) -> int:
        fd = os.open(self._path, access | os.O_CREAT | _FLAGS, 0o600)  # who could open it could keep feedd out
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(fd, self._path):
                raise FileNotFoundError(errno.ENOENT, "removed before it was locked")
        except BlockingIOError as error:
            other = _read(fd)
            os.close(fd)
            raise errors.OutputError(_refusal(self._folder, other)) from error
        except OSError:
            os.close(fd)
            raise
        return fd


def _is_at(fd: int, path: str) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False


def _read(fd: int) -> Publisher:
    try:
        return _publisher_from(os.pread(fd, _LONGEST, 0))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return Publisher()  # new, or torn by a full disk


def _refusal(folder: str, other: Publisher) -> str:
    details = f" (process {other.process}, with its state in {other.state})" if other.state else ""
    if other.process and not os.path.exists(f"/proc/{other.process}"):
        details = f", or whoever holds {NAME} there (feedd{details} was the last to sign it),"
    return f"{folder}: another feedd{details} publishes there; stop it, or give one of the two another feeds.path"
