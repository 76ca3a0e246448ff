"""News of paths -> batches of paths that nobody is writing to any more, each after a quiet gap.

Knows nothing of inotify or polling, which bring the news, nor of what is done with a batch. Called by `watch`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from msgspec import Struct

from feedd import files

_NEVER = float("inf")
_RENAMES_KEPT = 64


class Batch(Struct, frozen=True):
    """What to look at now. With `full_scan`, scan everything; else scan `folders`, and read `paths`.

    `paths` are article paths that nobody is writing to, as far as events tell: new, changed, gone, or as they were.
    A file that only a scan finds may be half-written: read it with `settle_ns`. `folders` may have come, gone, or
    become readable; none lies in another. `root_gone`: the root is away, and nothing is known about any article until
    the full scan that follows its return. `reason` is for the log. `since`: monotonic seconds of the first news in it,
    0 where there was none; batches of which the same is to be made are equal whenever they came.
    """

    paths: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    full_scan: bool = False
    root_gone: bool = False
    reason: str = "events"
    since: float = 0.0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Batch) and self._task() == other._task()

    def __hash__(self) -> int:
        return hash(self._task())

    def _task(self) -> tuple[object, ...]:
        return self.paths, self.folders, self.full_scan, self.root_gone, self.reason


class Waiting(Struct, frozen=True):
    """How many paths and folders are to be looked at, and since when (monotonic seconds); None where none are.

    Neither counts files that are being written: these are held back.
    """

    count: int = 0
    since: float | None = None


class _Hold(Struct, frozen=True, gc=False):
    """A file that is being written: `until` when to wait for its close, and `since` when nothing was written to it."""

    until: float
    since: float


class Inbox:
    """Where paths wait until they are settled. Every method may be called by any thread; only `take` waits.

    A batch is due when nothing came for `gap_s`, at the latest `max_wait_s` after its first path. A file being written
    is held back until it is closed, or until nothing was written to it for `open_wait_s`: hard links and files written
    through memory are never closed as far as events tell.
    """

    def __init__(self, gap_s: float, max_wait_s: float, open_wait_s: float) -> None:
        self._gap_s, self._max_wait_s, self._open_wait_s = gap_s, max_wait_s, open_wait_s
        self._news = threading.Condition(threading.Lock())
        self._closed = self._woken = False
        self._ready: set[str] = set()
        self._folders: set[str] = set()
        self._reasons: list[str] = []  # of the full scan asked for, if any
        self._gone = False
        self._waiting = False  # whether something was put into these four since the last batch
        self._first_at = self._last_at = self._since = 0.0  # monotonic seconds; news may be older than their waiting
        self._held: dict[str, _Hold] = {}  # what is being written, of any name
        self._held_until = _NEVER  # no later than the first of these
        self._renamed: dict[int, _Hold] = {}  # by the rename's number, what `_held` had for the old name

    def tune(self, gap_s: float, max_wait_s: float) -> None:
        """Other times hold from now on, for what waits already as well."""
        with self._news:
            self._gap_s, self._max_wait_s = gap_s, max_wait_s
            self._news.notify()

    def written(self, path: str) -> None:
        """The file was made or written to; it may be open still, even if it was settled before."""
        with self._news:
            self._ready.discard(path)
            now = time.monotonic()
            self._hold(path, _Hold(now + self._open_wait_s, now))

    def closed(self, path: str) -> None:
        """The file was closed after writing, or is gone."""
        with self._news:
            self._held.pop(path, None)
            self._settle(path)

    def touched(self, path: str) -> None:
        """The file's permissions or times changed: news, but of no weight while it is being written."""
        with self._news:
            if path not in self._held:
                self._settle(path)

    def renamed_from(self, path: str, number: int) -> None:
        """The path is gone: the file went to another, or out of the root."""
        with self._news:
            held = self._held.pop(path, None)
            if held is not None:
                if len(self._renamed) >= _RENAMES_KEPT:  # the oldest went out of the root
                    del self._renamed[next(iter(self._renamed))]
                self._renamed[number] = held
            self._settle(path)

    def renamed_to(self, path: str, number: int) -> None:
        """A whole file came to this path; but if it was being written under its old name, it still is."""
        with self._news:
            held = self._renamed.pop(number, None)
            if held is not None:
                self._ready.discard(path)
                self._hold(path, held)
            else:
                self._held.pop(path, None)
                self._settle(path)

    def hold(self, paths: Iterable[str], delay_s: float) -> None:
        """Hand these over after the delay, or when they are closed."""
        with self._news:
            now = time.monotonic()
            for path in paths:
                self._hold(path, _Hold(now + delay_s, now))

    def settled(self, paths: Iterable[str]) -> None:
        """These article paths changed, and are known to be settled."""
        with self._news:
            self._ready.update(paths)
            self._mark()

    def folder(self, path: str) -> None:
        """The folder came, went, or became readable."""
        with self._news:
            self._folders.add(path)
            self._mark()

    def full(self, reason: str) -> None:
        """Everything must be scanned; the root is there."""
        with self._news:
            if reason not in self._reasons:
                self._reasons.append(reason)
            self._gone = False
            self._mark()

    def gone(self) -> None:
        """The root is away: what was to be looked at cannot be, and is covered by the full scan at its return."""
        with self._news:
            self._gone = True
            self._ready.clear()
            self._folders.clear()
            self._reasons.clear()
            self._held.clear()
            self._mark()

    def wake(self) -> None:
        """Make one `take`, the waiting or the next one, return None at once."""
        with self._news:
            self._woken = True
            self._news.notify()

    def close(self) -> None:
        """Make every `take` return None, now and from now on."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def take(self, timeout: float | None) -> Batch | None:
        """Wait for the next batch; None after `timeout` seconds (None: no limit), when woken, or once closed."""
        with self._news:
            end = _NEVER if timeout is None else time.monotonic() + timeout
            while not self._closed:
                now = time.monotonic()
                if now >= self._held_until:
                    self._give_up_holding(now)
                due = min(self._last_at + self._gap_s, self._first_at + self._max_wait_s) if self._waiting else _NEVER
                if now >= due:
                    if batch := self._batch():
                        return batch
                elif self._woken or now >= end:
                    self._woken = False
                    return None
                else:
                    until = min(end, self._held_until, due)
                    self._news.wait(None if until == _NEVER else until - now)
            return None

    def waiting(self) -> Waiting:
        """What the next batch will bring, for who looks at how things go."""
        with self._news:
            count = len(self._ready) + len(self._folders) + bool(self._reasons)
            return Waiting(count, self._since) if count else Waiting()

    # The rest is called with the lock held.

    def _settle(self, path: str, since: float = _NEVER) -> None:
        """`since`: when news of it came, if that was not now."""
        if files.is_article_path(path):
            self._ready.add(path)
            self._mark()
            self._since = min(self._since, since)

    def _mark(self) -> None:
        self._last_at = time.monotonic()
        if not self._waiting:
            self._waiting = True
            self._first_at = self._since = self._last_at
            self._news.notify()

    def _hold(self, path: str, held: _Hold) -> None:
        self._held[path] = held
        if held.until < self._held_until:
            self._held_until = held.until
            self._news.notify()

    def _give_up_holding(self, now: float) -> None:
        late = [(path, held) for path, held in self._held.items() if held.until <= now]
        for path, held in late:
            del self._held[path]
            self._settle(path, held.since)
        self._held_until = min((held.until for held in self._held.values()), default=_NEVER)

    def _batch(self) -> Batch | None:
        """Take out what waits; None if all of it was opened again."""
        batch = Batch(
            frozenset(self._ready),
            frozenset(outermost(self._folders)),
            full_scan=bool(self._reasons),
            root_gone=self._gone,
            reason="root_gone" if self._gone else ", ".join(self._reasons) or "events",
            since=self._since,
        )
        self._ready, self._folders, self._reasons = set(), set(), []
        self._waiting = self._gone = False
        return batch if batch.paths or batch.folders or batch.full_scan or batch.root_gone else None


def outermost(folders: Iterable[str]) -> set[str]:
    """The folders less those that lie in another one of them."""
    kept: set[str] = set()
    for folder in sorted(folders):  # a folder comes before what is in it
        parts = folder.split("/")
        if not any("/".join(parts[:end]) in kept for end in range(1, len(parts))):
            kept.add(folder)
    return kept
