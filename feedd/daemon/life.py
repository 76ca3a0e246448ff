"""The life of the process on one page: build, start, work, stop in reverse.

Edge: sees the configuration, the clock and the signals, and hands plain values down.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from structlog.typing import FilteringBoundLogger

from feedd import bulk, config, errors, logs, meters, pulse, schedule, watch
from feedd.daemon import alarm, checks, opening, push, reload, supervisor, work
from feedd.service import running
from feedd.web import assembly, front

_STOP = {signal.SIGTERM, signal.SIGINT}
_NO_WATCH = {"auto": None, "polling": True, "inotify": False}


def run(settings: config.Config, config_path: str, log: FilteringBoundLogger) -> None:
    """Publishes until SIGTERM or SIGINT, by what config.toml says meanwhile.

    Raises FeeddError for what keeps it from starting, and unexpected errors.
    """
    plan = opening.plan_of(settings)
    ready, stopping = threading.Event(), threading.Event()
    manager = supervisor.of(os.environ, os.getpid(), log)
    beats = pulse.Pulse(supervisor.limits(serving=settings.server.enabled), time.monotonic)
    with ExitStack() as life, _signals() as heard:
        state = opening.open_state(plan.state_folder, log, now=int(time.time()))
        life.callback(state.close)
        with suppress(OSError):  # one that is not there is trouble from now on; any other is met when it is written to
            os.makedirs(plan.out, exist_ok=True)
        own = settings.articles
        watcher = watch.Watcher(
            plan.source.root, gap_s=own.settle_ms / 1000, max_wait_s=own.max_wait_ms / 1000,
            polling=_NO_WATCH[own.watch], poll_s=own.poll_interval_s,
            beat=partial(beats.beat, supervisor.WATCHING),
        )
        jobs = schedule.Schedule()
        counted = meters.Meters({"state": plan.state_folder, "output": plan.out})
        pushed = push.Push(settings, plan, log)
        checking = checks.Checks(settings, plan, log, jobs, watcher.wake)
        alarming = alarm.Alarm(settings, plan, log, jobs, is_ready=ready.is_set, faults=counted.health.troubles)
        watchdog = supervisor.Watchdog(manager, beats, log)
        loop = work.Work(state, plan, log, watcher, jobs, ready, stopping, pushed.tell, checking, counted, watchdog)
        reloads = reload.Reloads(config_path, settings, log, counted, watchdog)
        life.callback(loop.close)
        life.callback(pushed.stop)
        pushed.start()
        life.callback(checking.stop)
        checking.start()
        life.callback(alarming.stop)
        alarming.start()
        web = None
        if settings.server.enabled:
            web = _bound(settings, plan, assembly.Process(
                ready.is_set, lambda: watcher.mode, lambda: loop.removed, pushed.before, lambda: reloads.status,
                counted, watcher.waiting,
                front.Probes(
                    counted.health.troubles, lambda: beats.silent(time.monotonic()),
                    running.known_as(plan.state_folder),
                ),
                partial(beats.beat, supervisor.SERVING),
            ))
            web.server.start()
            life.callback(web.server.stop)
            log.info("serving", page=web.server.address + "/", ready=web.server.address + "/readyz")
        life.enter_context(watcher)
        jobs.start()
        life.callback(jobs.stop)
        _plan_scans(settings, jobs, watcher)
        worker = threading.Thread(target=loop.run, name="publish")

        def apply(old: config.Config, new: config.Config, plan: bulk.Plan) -> None:
            """Another configuration, for everything that runs: subscribers first, as the web names their hub."""
            logs.configure(new.log.format, new.log.level)
            watcher.tune(new.articles.settle_ms / 1000, new.articles.max_wait_ms / 1000)
            if new.articles.scan_interval_s != old.articles.scan_interval_s:
                _plan_scans(new, jobs, watcher)
            pushed.change(new, plan)
            checking.change(new, plan)
            alarming.change(new)
            if web:
                web.change(new, plan)
            loop.change(plan)

        worker.start()
        log.info("watching", articles=plan.source.root, mode=watcher.mode, feeds=plan.out)
        try:
            caught = reloads.until_stopped(heard, apply)
            manager.stopping()
            log.info("stopping", signal=caught.name)
        finally:
            stopping.set()
            jobs.stop()
            watcher.stop()
            worker.join()
    if loop.failure:
        raise loop.failure
    log.info("stopped")


def _bound(settings: config.Config, plan: bulk.Plan, process: assembly.Process) -> assembly.Site:
    """The web, at its address. Raises OutputError where that cannot be had."""
    try:
        return assembly.Site(settings, plan, process)
    except OSError as error:
        place = f"{settings.server.host}:{settings.server.port}"
        raise errors.OutputError(f"cannot listen on {place}: {error.strerror}; see [server]") from error


def _plan_scans(settings: config.Config, jobs: schedule.Schedule, watcher: watch.Watcher) -> None:
    interval_s = settings.articles.scan_interval_s
    jobs.every("scan", interval_s, lambda: watcher.ask("schedule"), first_at=int(time.time()) + interval_s)


@contextmanager
def _signals() -> Iterator[reload.Heard]:
    """Yields a function that waits for SIGTERM, SIGINT or SIGHUP, whichever thread is given it, or for some seconds.

    Not by blocking them for sigwait: multiprocessing unblocks them in the thread that first starts a process.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in (*_STOP, signal.SIGHUP)}
    before = signal.set_wakeup_fd(sender.fileno())

    def heard(seconds: float) -> signal.Signals | None:
        receiver.settimeout(seconds)
        try:
            return signal.Signals(receiver.recv(1)[0])
        except TimeoutError:
            return None

    try:
        yield heard
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        receiver.close()
        sender.close()
