"""The times of the output's folders -> whether somebody else's hand was there since feedd last wrote.

A folder's mtime moves when a name in it comes, goes or is replaced. Whatever feedd writes itself is noted; the rest was
another. A change of a folder while feedd itself writes there goes unseen until the next scan. Called by `publish`.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

AT_ONCE: Final = 500  # of the folders of archives, in turn: 1 ms


class Stamps:
    """Of folders below `root`, by their paths there; "" is the root itself. Reads no folder, only their times."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[str, int] = {}  # mtime in nanoseconds
        self._first: list[str] = []  # looked at each time
        self._others: deque[str] = deque()  # looked at in turn

    def put(self, known: Mapping[str, int]) -> None:
        """These folders there are, with their times when their names were read."""
        self._known = dict(known)
        self._first = [folder for folder in known if folder.count("/") <= 1]
        self._others = deque(folder for folder in known if folder.count("/") > 1)

    def take(self, folders: Iterable[str]) -> None:
        """Feedd wrote there: their times are now right as they are, and those of folders that it made on the way."""
        if not self._known:
            return
        for folder in folders:
            while self._take(folder) and folder:
                folder = os.path.dirname(folder)

    def forget(self) -> None:
        """Nothing is known: perhaps feedd wrote, and was interrupted."""
        self.put({})

    def knows(self) -> bool:
        """Whether there is anything to compare with."""
        return bool(self._known)

    def differ(self, *, all_of_them: bool = True) -> bool:
        """Whether a folder is another than it was; of those of archives, the ones whose turn it is, or none."""
        turn = list(self._first)
        if all_of_them:
            count = min(AT_ONCE, len(self._others))
            turn += itertools.islice(self._others, count)
            self._others.rotate(-count)
        return any(self._mtime_ns(folder) != self._known[folder] for folder in turn)

    def is_other(self, folder: str, mtime_ns: int) -> bool:
        """Whether a folder that was known had another time."""
        return self._known.get(folder, mtime_ns) != mtime_ns

    def _take(self, folder: str) -> bool:
        """True if the folder is new, so that the one above it is another, too."""
        is_new = folder not in self._known
        if is_new:
            (self._others if folder.count("/") > 1 else self._first).append(folder)
        self._known[folder] = self._mtime_ns(folder)
        return is_new

    def _mtime_ns(self, folder: str) -> int:
        try:
            return os.stat(os.path.join(self._root, folder)).st_mtime_ns
        except OSError:
            return 0
