"""Runs of link checks in a process of their own, so that neither their interpreter nor their memory is publishing's.

Light: what a run needs is imported in that process. Built by the daemon's edge; `work` is what a run does.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from feedd import errors, spawn
from feedd.freshness.urls import Kind
from feedd.linkcheck.settings import Plan

NICENESS = 10  # who publishes comes first
LAST_S = 5.0  # how long a run that is asked to stop may take
EXIT_DEFECT = 70  # of its process, as of feedd
EXIT_BUSY = 75  # somebody else checks links (EX_TEMPFAIL of sysexits.h)


class Job(Struct, frozen=True):
    """What configuration says of link checks, as values that go to another process.

    `allowed`: networks that are not public and yet let through. `archive`: a TimeGate that is asked for copies of dead
    links; empty for none.
    """

    state_folder: str
    plan: Plan
    kinds: tuple[Kind, ...] = ("related",)
    allowed: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    trust_env: bool = False
    archive: str = ""


class Checker:
    """Starts runs in a process of their own, never two at once. `on_news`: called when verdicts may be others;
    `on_busy`: when a run could not begin, for a command checks links.

    `prepare` is called in that process first; it sets up the log.
    """

    def __init__(
        self, job: Job, log: FilteringBoundLogger, on_news: Callable[[], None], on_busy: Callable[[], None],
        prepare: Callable[[], None],
    ) -> None:
        self._job, self._log, self._on_news, self._on_busy, self._prepare = job, log, on_news, on_busy, prepare
        self._process: Any = None
        self._listener: threading.Thread | None = None
        self._guard = threading.Lock()
        self._stopped = False

    def change(self, job: Job, prepare: Callable[[], None]) -> None:
        """For the runs that begin from now on; one that is on goes on as it began."""
        with self._guard:
            self._job, self._prepare = job, prepare

    def start(self) -> bool:
        """Begins a run, unless one is on; from any thread."""
        with self._guard:
            if self._stopped or (self._listener and self._listener.is_alive()):
                return False
            self._process = spawn.context.Process(target=_main, args=(self._job, self._prepare), name="links")
            with spawn.without_signals():
                self._process.start()
            self._listener = threading.Thread(target=self._listen, args=(self._process,), name="links", daemon=True)
            self._listener.start()
            return True

    def stop(self) -> None:
        """Ends a run that is on: what was answered is noted. Starts none any more."""
        with self._guard:
            self._stopped = True
        process, listener = self._process, self._listener
        if process and listener:
            process.terminate()
            listener.join(LAST_S)  # it alone waits for the process: of two who do, one is not told how it ended
            if listener.is_alive():
                process.kill()
            listener.join()

    def _listen(self, process: Any) -> None:
        process.join()
        if process.exitcode == EXIT_BUSY:
            self._on_busy()
        elif process.exitcode and not self._stopped:
            self._log.error("link checks ended unexpectedly", exit_code=process.exitcode)
        self._on_news()


def _main(job: Job, prepare: Callable[[], None]) -> None:
    from feedd.linkcheck import work

    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, partial(_stop, stop))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    spawn.end_with_parent()
    os.nice(NICENESS)
    prepare()
    log: FilteringBoundLogger = structlog.get_logger("feedd")
    try:
        summary = work.check(job, log, by="schedule", stop=stop)
    except errors.StateLockedError as error:
        log.info("links are not checked now", reason=str(error))
        sys.exit(EXIT_BUSY)
    except (errors.StateError, sqlite3.Error) as error:
        log.error("links cannot be checked, their verdicts stay", reason=str(error))
    except Exception as error:
        log.critical("unexpected error in link checks", error=repr(error), exc_info=error)
        sys.exit(EXIT_DEFECT)
    else:
        work.say(log, summary)


def _stop(stop: threading.Event, number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one, in the middle of `set`, would wait for itself
    stop.set()
