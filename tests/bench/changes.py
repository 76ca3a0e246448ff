"""Which files are completed below a folder, and when: inotify, read directly, and at the cost of hardly any work.

Called by the benchmarks of edits and of bursts. A file counts when it is moved into place or closed after writing.
What watches must not take a core from what is watched: events are taken half a millisecond at a time, so that each
comes up to that much late, and are made sense of only when no more of them come.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import time
from pathlib import Path

_CLOSE_WRITE, _MOVED_TO, _OVERFLOW = 0x8, 0x80, 0x4000
_HEAD = struct.Struct("iIII")
_NAP_S = 0.0005
_libc = ctypes.CDLL(None, use_errno=True)


class Changes:
    """Watches every folder that is there when it is made; a context manager."""

    def __init__(self, root: Path) -> None:
        self._fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._folders: dict[int, str] = {}
        for folder, _, _ in os.walk(root):
            watch = int(_libc.inotify_add_watch(self._fd, os.fsencode(folder), _CLOSE_WRITE | _MOVED_TO))
            if watch < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", folder)
            self._folders[watch] = folder

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def collect(self, awaited: set[Path], *, quiet_s: float, deadline_s: float) -> dict[Path, float]:
        """Wait until each awaited file was written, and then for `quiet_s` without a write.

        Returns for each file written its last time, on `time.monotonic`. Raises TimeoutError after `deadline_s`.
        """
        last: dict[Path, float] = {}
        chunks: list[tuple[float, bytes]] = []
        end = time.monotonic() + deadline_s
        while True:
            if select.select([self._fd], [], [], quiet_s)[0]:
                time.sleep(_NAP_S)
                chunks.append((time.monotonic(), os.read(self._fd, 1 << 20)))
                continue
            for at, data in chunks:
                last |= dict.fromkeys(self._paths(data), at)
            chunks.clear()
            if awaited <= last.keys():
                return last
            if time.monotonic() > end:
                missing = sorted(map(str, awaited - last.keys()))
                raise TimeoutError(f"{len(missing)} of {len(awaited)} files not written, such as {missing[0]}")

    def _paths(self, data: bytes) -> list[Path]:
        offset, paths = 0, []
        while offset < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, offset)
            if mask & _OVERFLOW:
                raise OSError("the kernel dropped events: the queue was full")
            name = os.fsdecode(data[offset + _HEAD.size : offset + _HEAD.size + length].rstrip(b"\0"))
            paths.append(Path(self._folders[watch], name))
            offset += _HEAD.size + length
        return paths
