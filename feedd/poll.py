"""Two looks at the article root -> paths that changed between them, where no events come.

Decides, too, whether events would come, and knows what is mounted below the root. Opens no article. Called by `watch`,
and by `publish` for what is mounted.
"""

from __future__ import annotations

import os
import re
import select
import sys
import time

from feedd import files, settle

# Changes made elsewhere (by another machine, or the host of a virtual one) raise no inotify events on these.
REMOTE_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "ceph", "cifs", "coda", "drvfs", "fuse", "gfs", "gfs2", "glusterfs", "lustre", "ncpfs", "nfs"}
    | {"nfs4", "ocfs2", "prl_fs", "smb", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs"}
)
_MOUNTS = "/proc/self/mounts"
_LOOKS_SHARE = 10  # rest at least so many times as long as the last look took


def why_poll(root: str, *, mounts_path: str = _MOUNTS) -> str:
    """Why inotify would not see every change below `root`; empty if it should."""
    if sys.platform != "linux":
        return "inotify is a part of Linux"
    try:
        with open(mounts_path, "rb") as mounts:
            lines = [line.split() for line in mounts]
    except OSError:  # nobody knows; the scheduled scans will have to do
        return ""
    real = _as_folder(os.path.realpath(root))
    at, kind_there = "", ""
    for _, point_field, kind_field, *_ in lines:
        point, kind = _as_folder(os.fsdecode(_unescape(point_field))), kind_field.decode()
        if real.startswith(point):
            if len(point) >= len(at):  # a later mount hides an earlier one
                at, kind_there = point, kind
        elif point.startswith(real) and _is_remote(kind):
            return f"{point} is of type {kind}"
    return f"{at} is of type {kind_there}" if _is_remote(kind_there) else ""


def mounts_below(root: str, *, mounts_path: str = _MOUNTS) -> frozenset[str]:
    """The folders below `root`, relative to it, at which something is mounted; none where nobody knows."""
    try:
        with open(mounts_path, "rb") as mounts:
            points = [os.fsdecode(_unescape(line.split()[1])) for line in mounts]
    except OSError:
        return frozenset()
    real = _as_folder(os.path.realpath(root))
    return frozenset(point.removeprefix(real) for point in points if point.startswith(real))


class Mounts:
    """What is mounted below `root`: no event tells that something is, and not always that it is no more."""

    def __init__(self, root: str) -> None:
        self._root, self._news = root, select.poll()
        try:
            self._file = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1
        else:
            self._news.register(self._file, select.POLLPRI | select.POLLERR)  # proc_pid_mounts(5)
        self._below = mounts_below(root)

    def have_changed(self) -> bool:
        """Whether they are others than at the start; costs a microsecond where nothing was mounted anywhere."""
        return self._file != -1 and bool(self._news.poll(0)) and mounts_below(self._root) != self._below

    def close(self) -> None:
        """Asks no more; nothing happens the second time."""
        if self._file != -1:
            os.close(self._file)
            self._file = -1


class Poller:
    """Finds changes by comparing scans of `root`, at most every `poll_s` seconds. Used by one thread.

    A change is handed to `inbox` when the file is the same at two times at least `confirm_s` apart, as no event says
    when it is closed.
    """

    def __init__(self, root: str, inbox: settle.Inbox, poll_s: float, confirm_s: float) -> None:
        self._root, self._inbox, self._poll_s, self._confirm_s = root, inbox, poll_s, confirm_s
        self._stopped = False
        self._known: dict[str, int] | None = None  # path -> hash of its stat: 25 MB for 100,000 articles
        self._unsure: dict[str, files.Stat | None] = {}  # changed, and perhaps still changing
        self._next_at = 0.0  # monotonic seconds

    def stop(self) -> None:
        """End the look that another thread is taking."""
        self._stopped = True

    def forget(self) -> None:
        """Make the next look the first one."""
        self._known = None
        self._unsure.clear()

    def rest_s(self) -> float:
        """Seconds until the next look."""
        until_next_s = max(0.0, self._next_at - time.monotonic())
        return min(self._confirm_s, until_next_s) if self._unsure else until_next_s

    def look(self) -> bool:
        """Hand over what has settled and, if it is time, look for changes; True if this was the first look.

        Raises RootGoneError, ExhaustedError.
        """
        files.identify(self._root)
        settled = []
        for path, before in list(self._unsure.items()):
            now = self._unsure[path] = files.find_stat(self._root, path)
            if now == before:
                del self._unsure[path]
                settled.append(path)
        if settled:
            self._inbox.settled(settled)
        started_at = time.monotonic()
        if started_at < self._next_at and self._known is not None:
            return False
        first = self._compare()
        ended_at = time.monotonic()
        self._next_at = ended_at + max(self._poll_s, _LOOKS_SHARE * (ended_at - started_at))
        return first

    def _compare(self) -> bool:
        known, found = self._known, {}
        unreadable: list[str] = []
        for path, stat in files.scan(self._root, on_problem=lambda path, _: unreadable.append(path)):
            if self._stopped:
                return False
            found[path] = hash(stat)
            if known is not None and known.get(path) != found[path]:
                self._unsure[path] = stat
        unknown = tuple(unreadable)
        for path, digest in (known or {}).items():
            if path not in found:
                if path.startswith(unknown):  # it, or a folder around it: that is not a change
                    found[path] = digest
                else:
                    self._unsure[path] = None
        self._known = found
        return known is None


def _as_folder(path: str) -> str:
    return path.rstrip("/") + "/"


def _unescape(field: bytes) -> bytes:
    """A field of /proc/self/mounts, where a space is \\040."""
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field)


def _is_remote(kind: str) -> bool:
    return kind in REMOTE_FILE_SYSTEMS or kind.startswith("fuse.")
