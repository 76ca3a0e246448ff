"""The loop of the publishing thread: batches of paths in, feeds out; faults of the outside world are waited out.

Edge: reads the clock. Started and stopped by the daemon's life; nothing else publishes while it runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from feedd import bulk, catalog, errors, files, meters, ownership, publish, schedule, settle, store, watch
from feedd.daemon import checks, opening, pace, supervisor
from feedd.store.sqlite import set_aside

FEW_DOCUMENTS = 1_000  # so many archives are written before the daemon calls itself ready
GONE = "the folder of articles is gone, its feeds stay as they are"
RETRY_S = (2.0, 5.0, 10.0)  # after the output or the state could not be written
REST_S = 1.0  # without news: then there may be none for long
TIDY_S = 0.2  # what a stop may take longer
CALM = 100.0  # somebody who always changes the output takes a hundredth of the time at most


class Stopped(BaseException):
    """Raised inside long work when the process has been asked to stop; everything is left for the next start."""


class Work:
    """The loop of the publishing thread: batches of paths in, feeds out."""

    def __init__(
        self, state: store.Store, plan: bulk.Plan, log: FilteringBoundLogger, watcher: watch.Watcher,
        jobs: schedule.Schedule, ready: threading.Event, stopping: threading.Event,
        on_news: Callable[[Sequence[str]], None], checking: checks.Checks, counted: meters.Meters,
        watchdog: supervisor.Watchdog,
    ) -> None:
        """Holds the output folder. Raises OutputError where another process does."""
        self._meters, self._watchdog = counted, watchdog
        self._on_news, self._checks = on_news, checking
        self._plan = self._wanted = plan
        self._log, self._watcher, self._jobs = log, watcher, jobs
        self._ready, self._stopping = ready, stopping
        self._failures = self._edits = 0
        self._prepared = self._begun = self._scanned = self._replaced = False
        self._reconciled = True
        self._is_disturbed, self._calm_until = False, 0.0  # somebody else changed the output; monotonic seconds
        self._is_cold = True
        self._listing = pace.Pace()
        self._up_to_date = ""  # in words, from then on
        self._parallel = True  # until a worker was killed
        self._trouble = ""  # what cannot be done, as was said
        self._rescan = ""  # why all is to be scanned in the next round
        self.failure: BaseException | None = None
        self.removed: frozenset[str] = frozenset()  # feeds that configuration took away
        self._hold = ownership.Hold(plan.out)
        self._hold.take()
        self._publisher = self._new_publisher(state)

    def change(self, plan: bulk.Plan) -> None:
        """Publishes by another configuration from the next round on, which begins soon; from any thread."""
        self._wanted = plan
        self._watcher.wake()

    def close(self) -> None:
        """Lets go of the state, when the loop has ended."""
        self._checks.close()
        self._publisher.close()
        self._publisher.store.close()
        self._hold.close()

    def run(self) -> None:
        """Until the watcher is stopped; an unexpected error stops the process."""
        try:
            left = True
            sys.setswitchinterval(0.0005)  # threads that compress wait for this one less: a tenth of an edit's time
            while not self._stopping.is_set():
                patience_s = self._watchdog.every_s if self._publisher.is_at_rest else REST_S
                if self._failures:
                    patience_s = min(patience_s, RETRY_S[min(self._failures, len(RETRY_S)) - 1])
                else:
                    patience_s = min(patience_s, self._listing.left_s(time.monotonic()))
                batch = self._watcher.next_batch(0 if left else patience_s)
                if not (batch or left) and patience_s >= REST_S:
                    self._publisher.rest()
                left = self._guarded(batch)
                self._tell_supervisor()
            self._leave_in_order()
        except Stopped:
            pass
        except BaseException as error:
            self._log.critical("unexpected error, feedd stops", error=repr(error), exc_info=error)
            self.failure = error
        finally:
            if not self._stopping.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def _tell_supervisor(self) -> None:
        self._watchdog.turn()
        if status := " ".join(self._meters.health.troubles()) or self._up_to_date:
            self._watchdog.settled(status)

    def _guarded(self, batch: settle.Batch | None) -> bool:
        """One round; True if there is work left that need not wait. Faults of the outside world are retried."""
        try:
            return self._round(batch)
        except files.ExhaustedError as error:
            self._meters.fault("articles", str(error))
            self._retry("articles cannot be read now, their feeds stay as they are", error)
            self._rescan = "articles could not be read"
        except errors.OutputError as error:
            self._meters.fault("output", str(error))
            self._retry("the output cannot be written, the last good feeds stay", error)
            if not self._begun:  # so that what the batch told of was not looked at
                self._rescan = "start"
        except sqlite3.OperationalError as error:
            self._meters.fault("state", str(error))
            self._retry("the state cannot be written, the last good feeds stay", error)
            self._rescan = "the state could not be written"  # and so not what the batch told of; in its turn
        except sqlite3.DatabaseError as error:
            self._replace_state(error)
        except errors.WorkerError as error:
            self._log.error(f"{error}; its work is done without any")
            self._parallel = False
            self._publisher.go_alone()
            self._rescan = "a worker process was ended"
            return True
        except Exception as error:
            if self._replaced or not self._is_torn(error):
                raise
            self._replace_state(error)
        return False

    def _is_torn(self, error: Exception) -> bool:
        """Whether an unexpected error may come of a state whose bytes went bad without SQLite's notice."""
        try:
            return isinstance(error, UnicodeDecodeError | msgspec.DecodeError) or not self._publisher.store.is_sound()
        except sqlite3.OperationalError:
            return False  # a full disk, a lock: nobody can tell
        except sqlite3.DatabaseError:
            return True

    def _retry(self, what: str, error: Exception) -> None:
        self._failures += 1
        self._publisher.interrupted()
        self._say(what, reason=str(error), again_in_s=RETRY_S[min(self._failures, len(RETRY_S)) - 1])

    def _say(self, what: str, **fields: object) -> None:
        """Once, however often it is tried."""
        if what != self._trouble:
            self._trouble = what
            self._log.error(what, **fields)

    def _round(self, batch: settle.Batch | None) -> bool:
        self._adopt()
        publisher, now = self._publisher, int(time.time())
        if not self._prepared:
            is_due = publisher.prepare(now=now, clean=not self._begun)
            self._reconciled = self._reconciled and not (is_due and self._scanned)
            self._prepared = self._begun = True
        has_news = batch is not None
        if self._rescan and not (batch and (batch.full_scan or batch.root_gone)):
            batch = settle.Batch(full_scan=True, reason=self._rescan)
        if batch:
            self._meters.took(batch.since or time.monotonic(), len(batch.paths) + len(batch.folders))
        if batch:
            try:
                self._look(batch, now)
            except files.RootGoneError as error:  # it may be back before the watcher saw that it was away
                self._meters.fault("articles", str(error))
                self._say(GONE, reason=str(error), hint="make it, mount it, or set articles.path; feedd looks for it")
                self._rescan = "root_back"
        self._look_at_output(at_rest=not has_news)
        publisher.custody.own()
        if not self._reconciled:
            self._reconcile()
        publisher.release(now=now)
        self._take_verdicts(now)
        left = publisher.rebuild(now=now, archives=False)
        self._meters.done(time.monotonic(), is_scan=batch is not None and batch.full_scan)
        if not self._ready.is_set() and left <= FEW_DOCUMENTS:
            left = publisher.rebuild(now=now)
        if not self._ready.is_set() and self._scanned:
            self._ready.set()
            counts = publisher.store.count()
            self._up_to_date = f"Up to date: {counts['entries']} entries in {counts['feeds']} feeds when it started."
            self._log.info("up to date", **counts)
        self._plan_release()
        if publisher.totals.new + publisher.totals.updated > self._edits:
            self._edits = publisher.totals.new + publisher.totals.updated
            self._checks.soon()
        more = bool(left) and publisher.rebuild_archives(now=now)
        if not more:
            self._list_feeds(is_busy=has_news and not self._failures)
        is_undone = (left and not more) or not self._reconciled or self._rescan
        self._failures = self._failures + 1 if is_undone else 0
        if self._trouble and not self._failures:
            self._log.info("it works again", after=self._trouble)
            self._trouble = ""
        is_cold = self._is_cold and self._ready.is_set()
        if has_news and not more and (self._is_disturbed or is_cold):
            return True  # when there is nothing better to do, which the next look at the watcher tells
        if not self._failures:
            self._meters.well()
        if not (more or has_news) and is_cold:
            self._is_cold = more = publisher.warm()
        return more

    def _list_feeds(self, *, is_busy: bool) -> None:
        """Counts and times on the index page, which takes a second with 25,000 feeds: not while there are edits."""
        if not self._publisher.is_listing_stale():
            self._listing.drop()
        elif self._listing.is_due(time.monotonic(), is_busy=is_busy):
            self._publisher.write_listing()
            self._listing.done(time.monotonic())

    def _leave_in_order(self) -> None:
        """Writes counts that wait for a lull, unless a stop would take long by that: then the next start does."""
        if self._listing.takes_s <= TIDY_S and self._prepared and not self._failures:
            with contextlib.suppress(errors.OutputError, sqlite3.Error):
                self._publisher.write_listing()

    def _look_at_output(self, *, at_rest: bool) -> None:
        """Whether somebody else changes it, before this round does; to be put right when there is nothing else to do,
        and at the earliest after a while, for it may be files that are no feeds.
        """
        if self._scanned:
            self._is_disturbed = self._is_disturbed or self._publisher.custody.is_disturbed(at_rest=at_rest)
            if self._is_disturbed and at_rest and time.monotonic() >= self._calm_until:
                self._reconciled = False

    def _look(self, batch: settle.Batch, now: int) -> None:
        """What the files say. Raises RootGoneError."""
        if batch.root_gone:
            raise files.RootGoneError(self._plan.source.root, "not there")
        if batch.full_scan:
            self._scan(batch.reason)
            return
        unsettled: tuple[str, ...] = ()
        if batch.folders:
            unsettled = self._publisher.scan(now=now, now_ns=time.time_ns(), under=sorted(batch.folders))
        unsettled += self._publisher.ingest(batch.paths, now=now, now_ns=time.time_ns())
        self._watcher.retry(unsettled, 0.05)

    def _adopt(self) -> None:
        """Another configuration, as after a restart, but with the state that is open and without a scan, unless files
        are read otherwise by it.
        """
        wanted, plan = self._wanted, self._plan
        if wanted is plan:
            return
        self._plan, self._prepared, self._edits = wanted, False, 0
        self._publisher.close()
        self._publisher = self._new_publisher(self._publisher.store)
        is_first_scan_on = self._scanned and not self._ready.is_set()
        if is_first_scan_on or replace(plan.source, rules=wanted.source.rules) != wanted.source:
            self._rescan = self._rescan or "configuration"

    def _take_verdicts(self, now: int) -> None:
        """What link checks found; verdicts that cannot be read hold up no feed."""
        try:
            if self._scanned and (links := self._checks.news()):
                self._publisher.take_verdicts(links, now=now)
        except errors.StateError as error:
            self._checks.again()
            self._log.error("what was found of links cannot be read", reason=str(error))

    def _scan(self, reason: str) -> None:
        began = time.monotonic()
        self._log.log(10 if self._trouble else 20, "scanning", root=self._plan.source.root, reason=reason)
        publisher, now = self._publisher, int(time.time())
        unsettled = publisher.scan(now=now, now_ns=time.time_ns())
        self._watcher.found()
        self._watcher.retry(unsettled, 0.05)
        self._scanned, self._reconciled, self._rescan = True, False, ""
        self._meters.scans.observe(time.monotonic() - began)
        problems = publisher.store.survey.count_problems()
        self._log.info("scanned", seconds=round(time.monotonic() - began, 3), problems=problems)

    def _reconcile(self) -> None:
        """A file that cannot be removed holds up no feed; it is tried again."""
        began, was_disturbed = time.monotonic(), self._is_disturbed
        try:
            is_lost = self._publisher.reconcile()
            # What is still to be written hides what somebody does to the folder at that moment: one look more after it.
            self._is_disturbed = is_lost or (was_disturbed and self._publisher.is_listing_stale())
            self.removed = catalog.list_removed(self._publisher.store)
            self._reconciled = True
            if was_disturbed:
                self._calm_until = time.monotonic() + CALM * (time.monotonic() - began)
        except errors.OutputError as error:
            self._meters.fault("output", str(error))
            self._say("the output cannot be written, the last good feeds stay", reason=str(error))

    def _plan_release(self) -> None:
        """The next held article is a job of the scheduler: it needs no file event to appear."""
        at = self._publisher.store.next_release()
        if at is not None:
            self._jobs.at("release", at, self._watcher.wake)

    def _replace_state(self, error: Exception) -> None:
        error.with_traceback(None)  # lets go of queries that were not read to their end
        self._publisher.close()
        self._publisher.store.close()
        opening.tell_torn(self._log, set_aside(self._plan.state_folder, int(time.time())), error)
        self._hold.close()  # for the new state to take it
        self._publisher = self._new_publisher(store.open_store(self._plan.state_folder))
        self._prepared, self._replaced, self._edits = False, True, 0
        self._scanned, self._reconciled, self._is_disturbed = False, True, False  # a new state knows of no feed yet
        self._checks.again()
        self._watcher.ask("new state")

    def _new_publisher(self, state: store.Store) -> publish.Publisher:
        self._is_cold = True
        return publish.Publisher(
            state, self._plan, self._log, settle_ns=50_000_000, progress=self._check, on_news=self._on_news,
            counted=self._meters, parallel=self._parallel, hold=self._hold,
        )

    def _check(self, _what: str, _count: int) -> None:
        self._watchdog.turn()
        if self._stopping.is_set():
            raise Stopped
