"""The life of the process on one page: build, start, work, stop in reverse.

Edge: sees the configuration, the clock and the signals, and hands plain values down.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from structlog.typing import FilteringBoundLogger

from feedd import config, errors, schedule, watch
from feedd.daemon import checks, opening, push, work
from feedd.web import assembly

_STOP = {signal.SIGTERM, signal.SIGINT}


def run(settings: config.Config, log: FilteringBoundLogger) -> None:
    """Publishes until SIGTERM or SIGINT. Raises FeeddError for what keeps it from starting, and unexpected errors."""
    plan = opening.plan_of(settings)
    ready, stopping = threading.Event(), threading.Event()
    with ExitStack() as life, _stop_signals() as wait_for_stop:
        state = opening.open_state(plan.state_folder, log, now=int(time.time()))
        life.callback(state.close)
        watcher = watch.Watcher(
            plan.source.root, gap_s=settings.articles.settle_ms / 1000, max_wait_s=settings.articles.max_wait_ms / 1000,
            polling={"auto": None, "polling": True, "inotify": False}[settings.articles.watch],
            poll_s=settings.articles.poll_interval_s,
        )
        jobs = schedule.Schedule()
        pushed = push.Push(settings, plan, log)
        checking = checks.Checks(settings, plan, log, jobs, watcher.wake)
        loop = work.Work(state, plan, log, watcher, jobs, ready, stopping, pushed.tell, checking)
        life.callback(loop.close)
        pushed.start(life)
        checking.start(life)
        if settings.server.enabled:
            try:
                server = assembly.make(
                    settings, plan, ready.is_set, lambda: watcher.mode, lambda: loop.removed, pushed.before
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
        worker = threading.Thread(target=loop.run, name="publish")
        worker.start()
        log.info("watching", articles=plan.source.root, mode=watcher.mode, feeds=plan.out)
        caught = wait_for_stop()
        stopping.set()
        log.info("stopping", signal=caught.name)
        jobs.stop()
        watcher.stop()
        worker.join()
    if loop.failure:
        raise loop.failure
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
