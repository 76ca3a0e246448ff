"""The folder of a state -> whether a feedd works on it, and what such a feedd is known by.

Looks at the lock file that `store.sqlite` takes; writes nothing. Used by the command line, which must not load a
database for it, by `doctor`, and by the daemon, which tells its identity to `feedd healthcheck`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os

_LOCK = "lock"


def is_held(folder: str) -> bool:
    """Whether a process works on the state. Raises OSError where that cannot be seen, as where there is no state.

    To know, the lock is had for a microsecond if nobody has it; a feedd that starts within that is told that another
    one works there, and is started again by whoever started it.
    """
    lock = os.open(os.path.join(folder, _LOCK), os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def is_running(folder: str) -> bool:
    """The same, and False where it cannot be seen."""
    try:
        return is_held(folder)
    except OSError:
        return False


def identity(folder: str) -> str:
    """What tells the state in a folder from every other one of this machine: of its lock file, device and inode.

    The same for whoever looks, from whichever container; says nothing of where it is. Raises OSError.
    """
    found = os.stat(os.path.join(folder, _LOCK))
    return hashlib.sha256(f"feedd {found.st_dev} {found.st_ino}".encode()).hexdigest()[:16]


def known_as(folder: str) -> str:
    """The same, and empty where it cannot be told."""
    try:
        return identity(folder)
    except OSError:
        return ""
