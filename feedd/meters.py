"""What the loops tell of themselves as they turn -> counts, spreads of times and present troubles, for whoever looks.

Knows no format of metrics: `web.metrics` makes them of this. Each count has one thread that adds to it; any may read,
and may then be a step behind. Built by the daemon's life.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from errno import EACCES, EDQUOT, EIO, EMFILE, ENFILE, ENODEV, ENOENT, ENOSPC, EPERM, EROFS, ESTALE
from types import MappingProxyType
from typing import Final, Literal

from msgspec import Struct

from feedd import errors

CAUSES: Final = ("new", "edited", "removed", "related", "verdicts", "configuration", "archive", "repair", "unknown")
CHANGES: Final = ("new", "edited", "removed", "related")
Part = Literal["articles", "output", "state"]  # where a fault of publishing may be
PARTS: Final[tuple[Part, ...]] = ("articles", "output", "state")
ON_DISK_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SCAN_S: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

_CAUSE_OF = {
    "new": "new", "edited": "edited", "removed": "removed", "related or copies changed": "related",
    "links were checked": "verdicts", "configuration": "configuration",
    "missing": "repair", "changed": "repair",
}
# What keeps any file from being written there, not just the one that was tried.
_OF_THE_PLACE = frozenset(
    os.strerror(number).lower()
    for number in (EACCES, EDQUOT, EIO, EMFILE, ENFILE, ENODEV, ENOENT, ENOSPC, EPERM, EROFS, ESTALE)
)


def cause_of(said: str) -> str:
    """What the log says of a feed's cause, such as "edited: 2026/a.md and 3 more" -> one of CAUSES."""
    head = said.partition(":")[0].partition(" and ")[0]
    return _CAUSE_OF.get(head) or ("verdicts" if head.startswith("link ") else "unknown")


class Spread(Struct, frozen=True):
    """How often a time was at most each bound; the last count is of all. `total_s`: their sum."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total_s: float


class Times:
    """Counts of times by their bounds. One thread observes."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds, self._counts, self._total_s = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._total_s += seconds

    def read(self) -> Spread:
        """As they are now."""
        so_far, counts = 0, []
        for count in list(self._counts):
            so_far += count
            counts.append(so_far)
        return Spread(self._bounds, tuple(counts), self._total_s)


class Health:
    """Whether feedd can do its work now: what its loops could not do when they last tried, and what the system says.

    `folders`: where what must be writable lies. They are asked at hardly any cost, and nothing is written.
    """

    def __init__(self, folders: Mapping[Part, str] = MappingProxyType({})) -> None:
        self.folders = dict(folders)
        self._failed: dict[Part, str] = {}

    def fail(self, part: Part, reason: str) -> None:
        """It could not be used just now. Of `reason`, what stands behind the last colon is for anybody to read."""
        self._failed[part] = reason.rpartition(": ")[2]

    def clear(self, *parts: Part) -> None:
        """They could be used again."""
        for part in parts:
            self._failed.pop(part, None)

    def troubles(self) -> tuple[str, ...]:
        """A sentence for each of the folders that cannot be written to now; it names no path."""
        found = {part: self._failed.get(part) or _objection(folder) for part, folder in self.folders.items()}
        return tuple(f"The {part} cannot be written: {reason}." for part, reason in found.items() if reason)


def _objection(folder: str) -> str:
    """Why nothing can be written below a folder, as far as the system tells without a try; empty if it can."""
    try:
        room = os.statvfs(folder)
    except OSError as error:
        return errors.in_words(error)
    is_root = not os.geteuid()  # what is kept for it counts
    if room.f_flag & os.ST_RDONLY:
        return os.strerror(EROFS).lower()
    if not (room.f_bfree if is_root else room.f_bavail):
        return os.strerror(ENOSPC).lower()
    if room.f_files and not (room.f_ffree if is_root else room.f_favail):  # some file systems do not count files
        return "no more files can be made there"
    return "" if os.access(folder, os.W_OK | os.X_OK) else os.strerror(EACCES).lower()


class InHand(Struct, frozen=True):
    """What was taken and is not on disk yet, `since` when (monotonic seconds); None where there is nothing."""

    paths: int = 0
    since: float | None = None


class Reloads(Struct, frozen=True):
    """`succeeded_at`: seconds since 1970, 0 for never; `is_current`: whether the last one did."""

    succeeded: int = 0
    refused: int = 0
    succeeded_at: float = 0.0
    is_current: bool = True


class Meters:
    """The counts of one process, from its start. `folders`: see Health."""

    def __init__(self, folders: Mapping[Part, str] = MappingProxyType({})) -> None:
        self.health = Health(folders)
        self.on_disk = Times(ON_DISK_S)  # from the first news of articles to the last of the feeds they touched
        self.scans = Times(SCAN_S)
        self.written: Counter[str] = Counter()  # documents by cause
        self.bytes_written = 0  # before compression
        self.changes: Counter[str] = Counter()  # articles
        self.rejected = 0  # readings of files that cannot be used
        self.faults: Counter[str] = Counter()  # by part
        self.reloads = Reloads()
        self.in_hand = InHand()
        self._late_since: float | None = None  # the oldest news that a failed feed is still to show
        self._has_written = self._has_failed = self._has_fault = False

    # -- for publishing ----------------------------------------------------------------------------------------------

    def took(self, since: float, paths: int) -> None:
        """A batch is about to be published, of which the first news came at `since` (monotonic seconds)."""
        before = self.in_hand
        self.in_hand = InHand(before.paths + paths, since if before.since is None else min(before.since, since))

    def changed(self, what: str) -> None:
        """Readers see an article differently; `what` as `ingest` says it."""
        if (cause := cause_of(what)) in CHANGES:
            self.changes[cause] += 1

    def wrote(self, cause: str, size: int, *, archive: bool) -> None:
        """A document has other bytes on disk. `cause`: as the log says it."""
        self.written["archive" if archive else cause_of(cause)] += 1
        self.bytes_written += size
        self._has_written |= not archive

    def failed(self, reason: str, *, archive: bool) -> None:
        """A document could not be written, so that what it was to show waits. It may be at fault alone."""
        self._has_fault = True
        self._has_failed |= not archive
        if reason.rpartition(": ")[2] in _OF_THE_PLACE:
            self.health.fail("output", reason)

    def done(self, now: float, *, is_scan: bool = False) -> None:
        """What was taken is on disk, but for what failed. `now`: monotonic seconds.

        The time that a scan of everything takes says nothing of how soon news is published, and is not counted.
        """
        has_written, has_failed, has_fault = self._has_written, self._has_failed, self._has_fault
        self._has_written = self._has_failed = self._has_fault = False
        self.faults["output"] += has_fault
        if has_written and not has_fault:
            self.health.clear("output")
        hand, self.in_hand = self.in_hand, InHand()
        if has_failed:
            self._late_since = hand.since if self._late_since is None else self._late_since
        elif self._late_since is not None:
            self.on_disk.observe(now - self._late_since)
            self._late_since = None
        elif hand.since is not None and has_written and not is_scan:
            self.on_disk.observe(now - hand.since)

    def fault(self, part: Part, reason: str) -> None:
        """A round of publishing came to nothing, and will be tried again."""
        self.faults[part] += 1
        self.health.fail(part, reason)

    def well(self) -> None:
        """A round was done to its end, with nothing left that failed."""
        self.health.clear(*PARTS)

    # -- for others --------------------------------------------------------------------------------------------------

    def reloaded(self, now: float, *, succeeded: bool) -> None:
        """The configuration was read anew, and is applied; or refused, and the old one stays."""
        old = self.reloads
        self.reloads = Reloads(
            old.succeeded + succeeded, old.refused + (not succeeded), now if succeeded else old.succeeded_at, succeeded
        )

    def oldest(self, waiting_since: float | None) -> float | None:
        """When the first news came that is not on disk yet; `waiting_since`: of what was not taken yet."""
        return min((at for at in (waiting_since, self.in_hand.since, self._late_since) if at is not None), default=None)
