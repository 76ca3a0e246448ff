"""The life of the process on one page: build, start, work, stop in reverse.

Edge: sees the configuration, the clock and the signals, and hands plain values down.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec
from structlog.typing import FilteringBoundLogger

from feedd import bulk, catalog, checks, config, errors, files, intake, publish, push, schedule, settle, store, watch
from feedd.store.sqlite import set_aside
from feedd.web import assembly

FEW_DOCUMENTS = 1_000  # so many archives are written before the daemon calls itself ready
RETRY_S = (2.0, 5.0, 10.0)  # after the output or the state could not be written
_STOP = {signal.SIGTERM, signal.SIGINT}


class Stopped(BaseException):
    """Raised inside long work when the process has been asked to stop; everything is left for the next start."""


def plan_of(settings: config.Config) -> bulk.Plan:
    """The configuration as the plain values that the work needs."""
    feeds = config.settings(settings)
    source = intake.Source(
        os.path.abspath(settings.articles.path), settings.site.url, settings.articles.max_bytes, feeds.rules
    )
    return bulk.Plan(source, feeds, os.path.abspath(settings.state.path), os.path.abspath(settings.feeds.path))


def open_state(folder: str, log: FilteringBoundLogger, *, now: int) -> store.Store:
    """The state; one that is torn is set aside, and made anew from the articles with the same ids.

    Raises StateLockedError, StateTooNewError, StateError.
    """
    try:
        return store.open_store(folder)
    except sqlite3.OperationalError as error:
        raise errors.StateError(f"{folder}: the state cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        tell_torn(log, set_aside(folder, now), error)
        return store.open_store(folder)


def mending(folder: str, log: FilteringBoundLogger, work: Callable[[], int]) -> int:
    """What `work` returns; if it finds the state torn, once more over a new one. Raises sqlite3 errors."""
    try:
        return work()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        tell_torn(log, set_aside(folder, int(time.time())), error)
        return work()


def tell_torn(log: FilteringBoundLogger, aside: str, error: Exception) -> None:
    """Says what became of a torn state."""
    log.error(
        "state is torn, it is made anew from the articles with the same entry ids", reason=str(error), kept_as=aside
    )


def run(settings: config.Config, log: FilteringBoundLogger) -> None:
    """Publishes until SIGTERM or SIGINT. Raises FeeddError for what keeps it from starting, and unexpected errors."""
    plan = plan_of(settings)
    ready, stopping = threading.Event(), threading.Event()
    with ExitStack() as life, _stop_signals() as wait_for_stop:
        state = open_state(plan.state_folder, log, now=int(time.time()))
        life.callback(state.close)
        watcher = watch.Watcher(
            plan.source.root, gap_s=settings.articles.settle_ms / 1000, max_wait_s=settings.articles.max_wait_ms / 1000,
            polling={"auto": None, "polling": True, "inotify": False}[settings.articles.watch],
            poll_s=settings.articles.poll_interval_s,
        )
        jobs = schedule.Schedule()
        pushed = push.Push(settings, plan, log)
        checking = checks.Checks(settings, plan, log, jobs, watcher.wake)
        work = Work(state, plan, log, watcher, jobs, ready, stopping, pushed.tell, checking)
        life.callback(work.close)
        pushed.start(life)
        checking.start(life)
        if settings.server.enabled:
            try:
                server = assembly.make(
                    settings, plan, ready.is_set, lambda: watcher.mode, lambda: work.removed, pushed.before
                )
            except OSError as error:
                place = f"{settings.server.host}:{settings.server.port}"
                raise errors.OutputError(f"cannot listen on {place}: {error.strerror}; see [server]") from error
            server.start()
            life.callback(server.stop)
            log.info("serving", page=server.address + "/", ready=server.address + "/readyz")
        life.enter_context(watcher)
        jobs.start()
        life.callback(jobs.stop)
        interval_s = settings.articles.scan_interval_s
        jobs.every("scan", interval_s, lambda: watcher.ask("schedule"), first_at=int(time.time()) + interval_s)
        worker = threading.Thread(target=work.run, name="publish")
        worker.start()
        log.info("watching", articles=plan.source.root, mode=watcher.mode, feeds=plan.out)
        caught = wait_for_stop()
        stopping.set()
        log.info("stopping", signal=caught.name)
        jobs.stop()
        watcher.stop()
        worker.join()
    if work.failure:
        raise work.failure
    log.info("stopped")


@contextmanager
def _stop_signals() -> Iterator[Callable[[], signal.Signals]]:
    """Yields a function that waits for SIGTERM or SIGINT, whichever thread is given it.

    Not by blocking them for sigwait: multiprocessing unblocks both in the thread that first starts a process.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in _STOP}
    before = signal.set_wakeup_fd(sender.fileno())
    try:
        yield lambda: signal.Signals(receiver.recv(1)[0])
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        receiver.close()
        sender.close()


class Work:
    """The loop of the publishing thread: batches of paths in, feeds out."""

    def __init__(
        self, state: store.Store, plan: bulk.Plan, log: FilteringBoundLogger, watcher: watch.Watcher,
        jobs: schedule.Schedule, ready: threading.Event, stopping: threading.Event,
        on_news: Callable[[Sequence[str]], None], checking: checks.Checks,
    ) -> None:
        self._on_news, self._checks = on_news, checking
        self._plan, self._log, self._watcher, self._jobs = plan, log, watcher, jobs
        self._ready, self._stopping = ready, stopping
        self._failures = self._edits = 0
        self._prepared = self._scanned = self._replaced = self._rescan = False
        self._reconciled = True
        self.failure: BaseException | None = None
        self.removed: frozenset[str] = frozenset()  # feeds that configuration took away
        self._publisher = self._new_publisher(state)

    def close(self) -> None:
        """Lets go of the state, when the loop has ended."""
        self._checks.close()
        self._publisher.close()
        self._publisher.store.close()

    def run(self) -> None:
        """Until the watcher is stopped; an unexpected error stops the process."""
        try:
            left = True
            sys.setswitchinterval(0.0005)  # threads that compress wait for this one less: a tenth of an edit's time
            while not self._stopping.is_set():
                patience_s = RETRY_S[min(self._failures, len(RETRY_S)) - 1] if self._failures else None
                left = self._guarded(self._watcher.next_batch(0 if left else patience_s))
        except Stopped:
            pass
        except BaseException as error:
            self._log.critical("unexpected error, feedd stops", error=repr(error), exc_info=error)
            self.failure = error
        finally:
            if not self._stopping.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def _guarded(self, batch: settle.Batch | None) -> bool:
        """One round; True if there is work left that need not wait. Faults of the outside world are retried."""
        try:
            return self._round(batch)
        except files.RootGoneError as error:
            self._log.error("the folder of articles is gone, its feeds stay as they are", reason=str(error))
        except errors.OutputError as error:
            self._retry("the output cannot be written, the last good feeds stay", error)
        except sqlite3.OperationalError as error:
            self._retry("the state cannot be written, the last good feeds stay", error)
            self._rescan = True  # what the batch told of is not noted; in its turn, not at once and for ever
        except sqlite3.DatabaseError as error:
            self._replace_state(error)
        except Exception as error:
            if self._replaced or not self._is_torn(error):
                raise
            self._replace_state(error)
        return False

    def _is_torn(self, error: Exception) -> bool:
        """Whether an unexpected error may come of a state whose bytes went bad without SQLite's notice."""
        try:
            return isinstance(error, UnicodeDecodeError | msgspec.DecodeError) or not self._publisher.store.is_sound()
        except sqlite3.DatabaseError:
            return True

    def _retry(self, what: str, error: Exception) -> None:
        self._failures += 1
        self._log.error(what, reason=str(error), again_in_s=RETRY_S[min(self._failures, len(RETRY_S)) - 1])

    def _round(self, batch: settle.Batch | None) -> bool:
        publisher, now = self._publisher, int(time.time())
        if not self._prepared:
            publisher.prepare(now=now)
            self._prepared = True
        if self._rescan and not (batch and (batch.full_scan or batch.root_gone)):
            batch = settle.Batch(full_scan=True, reason="the state could not be written")
        if batch and batch.root_gone:
            self._log.error("the folder of articles is gone, its feeds stay as they are", root=self._plan.source.root)
        elif batch and batch.full_scan:
            self._scan(batch.reason)
        elif batch:
            unsettled: tuple[str, ...] = ()
            if batch.folders:
                unsettled = publisher.scan(now=now, now_ns=time.time_ns(), under=sorted(batch.folders))
            unsettled += publisher.ingest(batch.paths, now=now, now_ns=time.time_ns())
            self._watcher.retry(unsettled, 0.05)
        if not self._reconciled:
            self._reconcile()
        publisher.release(now=now)
        self._take_verdicts(now)
        left = publisher.rebuild(now=now, archives=False)
        if not self._ready.is_set() and left <= FEW_DOCUMENTS:
            left = publisher.rebuild(now=now)
        if not self._ready.is_set() and self._scanned:
            self._ready.set()
            self._log.info("up to date", **publisher.store.count())
        self._plan_release()
        if publisher.totals.new + publisher.totals.updated > self._edits:
            self._edits = publisher.totals.new + publisher.totals.updated
            self._checks.soon()
        more = bool(left) and publisher.rebuild_archives(now=now)
        self._failures = self._failures + 1 if (left and not more) or not self._reconciled else 0
        if not more and publisher.is_listing_stale():
            if batch:
                return True  # when there is nothing better to do, which the next look at the watcher tells
            publisher.write_listing()
        return more

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
        self._log.info("scanning", root=self._plan.source.root, reason=reason)
        publisher, now = self._publisher, int(time.time())
        unsettled = publisher.scan(now=now, now_ns=time.time_ns())
        self._watcher.retry(unsettled, 0.05)
        self._scanned, self._reconciled, self._rescan = True, False, False
        self._log.info("scanned", seconds=round(time.monotonic() - began, 3), problems=publisher.totals.problems)

    def _reconcile(self) -> None:
        """A file that cannot be removed holds up no feed; it is tried again."""
        try:
            self._publisher.reconcile()
            self.removed = catalog.list_removed(self._publisher.store)
            self._reconciled = True
        except errors.OutputError as error:
            self._log.error("the output cannot be written, the last good feeds stay", reason=str(error))

    def _plan_release(self) -> None:
        """The next held article is a job of the scheduler: it needs no file event to appear."""
        at = self._publisher.store.next_release()
        if at is not None:
            self._jobs.at("release", at, self._watcher.wake)

    def _replace_state(self, error: Exception) -> None:
        error.with_traceback(None)  # lets go of queries that were not read to their end
        self._publisher.close()
        self._publisher.store.close()
        tell_torn(self._log, set_aside(self._plan.state_folder, int(time.time())), error)
        self._publisher = self._new_publisher(store.open_store(self._plan.state_folder))
        self._prepared, self._replaced, self._edits = False, True, 0
        self._checks.again()
        self._watcher.ask("new state")

    def _new_publisher(self, state: store.Store) -> publish.Publisher:
        return publish.Publisher(
            state, self._plan, self._log, settle_ns=50_000_000, progress=self._check, on_news=self._on_news
        )

    def _check(self, _what: str, _count: int) -> None:
        if self._stopping.is_set():
            raise Stopped
