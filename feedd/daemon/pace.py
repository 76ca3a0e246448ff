"""How long a chore takes -> when to do it, so that hardly anybody who comes meanwhile must wait for it.

Pure: the times are told. Used by the publishing loop.
"""

from __future__ import annotations

import math
from typing import Final

LULL: Final = 10.0  # times as long as the chore takes nothing must have happened
LATEST: Final = 100.0  # times as long it waits for that at most: it takes a hundredth of the time
LONGEST_S: Final = 1.0  # it counts as no longer: some chores wait for a slow disk once


class Pace:
    """Of one chore; times are monotonic seconds. The first time there is no waiting, for its length is not known."""

    def __init__(self) -> None:
        self.takes_s = 0.0
        self._began = self._since = self._at = math.inf

    def is_due(self, now: float, *, is_busy: bool) -> bool:
        """Whether to do it now; to be asked in each turn in which it is to be done. `is_busy`: something happened."""
        self._began, self._since = now, min(self._since, now)
        if is_busy or self._at == math.inf:
            self._at = min(now + LULL * self.takes_s, self._since + LATEST * self.takes_s)
        return now >= self._at

    def left_s(self, now: float) -> float:
        """Seconds until it is due if nothing happens; infinity where there is nothing to be done."""
        return max(self._at - now, 0.0)

    def done(self, now: float) -> None:
        """It was begun when it was due, and has ended."""
        self.takes_s = min(now - self._began, LONGEST_S)
        self.drop()

    def drop(self) -> None:
        """There is nothing to be done."""
        self._since = self._at = math.inf
