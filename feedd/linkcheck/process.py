"""Runs of link checks in a process of their own, so that neither their interpreter nor their memory is publishing's.

Light: what a run needs is imported in that process. Built by the daemon's edge; `work` is what a run does.
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import structlog
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from feedd import errors, spawn
from feedd.freshness.urls import Kind
from feedd.linkcheck.settings import Plan, Progress

NICENESS = 10  # who publishes comes first
NEWS_S = 5.0  # at least so long between two times that publishing is told of news
LAST_S = 5.0  # how long a run that is asked to stop may take


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
    """Starts runs in a process of their own, never two at once. `on_news`: called when verdicts may be others.

    `prepare` is called in that process first; it sets up the log.
    """

    def __init__(
        self, job: Job, log: FilteringBoundLogger, on_news: Callable[[], None], prepare: Callable[[], None]
    ) -> None:
        self._job, self._log, self._on_news, self._prepare = job, log, on_news, prepare
        self._process: Any = None
        self._listener: threading.Thread | None = None
        self._guard = threading.Lock()
        self._stopped = False

    def start(self) -> bool:
        """Begins a run, unless one is on; from any thread."""
        with self._guard:
            if self._stopped or (self._listener and self._listener.is_alive()):
                return False
            ours, theirs = spawn.context.Pipe(duplex=False)
            self._process = spawn.context.Process(target=_main, args=(self._job, self._prepare, theirs), name="links")
            with spawn.without_signals():
                self._process.start()
            theirs.close()
            self._listener = threading.Thread(
                target=self._listen, args=(ours, self._process), name="links", daemon=True
            )
            self._listener.start()
            return True

    def stop(self) -> None:
        """Ends a run that is on: what was answered is noted. Starts none any more."""
        with self._guard:
            self._stopped = True
        process, listener = self._process, self._listener
        if process and listener:
            process.terminate()
            process.join(LAST_S)
            if process.exitcode is None:
                process.kill()
            listener.join()

    def _listen(self, connection: Connection, process: Any) -> None:
        with suppress(EOFError):
            while True:
                connection.recv_bytes()
                self._on_news()
        connection.close()
        process.join()
        if process.exitcode and not self._stopped:
            self._log.error("link checks ended unexpectedly", exit_code=process.exitcode)
        self._on_news()


def _main(job: Job, prepare: Callable[[], None], told: Connection) -> None:
    from feedd.linkcheck import work

    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    spawn.end_with_parent()
    os.nice(NICENESS)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    prepare()
    log: FilteringBoundLogger = structlog.get_logger("feedd")
    last = time.monotonic()

    def tell(_progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= NEWS_S:
            last = time.monotonic()
            told.send_bytes(b"news")

    try:
        summary = work.check(job, log, by="schedule", stop=stop, progress=tell)
    except errors.StateLockedError as error:
        log.info("links are not checked now", reason=str(error))
    except (errors.StateError, sqlite3.Error) as error:
        log.error("links cannot be checked, their verdicts stay", reason=str(error))
    else:
        work.say(log, summary)
