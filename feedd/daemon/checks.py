"""Link checks as configured: the job that a run is given, when the daemon starts one, and whom it tells.

Edge: built by the daemon, beside `push`. When is the scheduler's business, what is due the store's; so a restart
neither loses nor repeats a check.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from feedd import __version__, bulk, config, errors, logs, schedule
from feedd.linkcheck.hosts import HostRule
from feedd.linkcheck.process import Checker, Job
from feedd.linkcheck.settings import Plan
from feedd.store.linkrows import Run
from feedd.store.links import NAME, Links, open_links

T = TypeVar("T")

LATER_S = 60  # until it is tried again where a command checks links
JITTER = 0.05  # of the time between runs
LOOK_S = 5  # how often it is looked whether somebody checked links by hand


def job_of(settings: config.Config, plan: bulk.Plan) -> Job:
    """The configuration as the plain values that a run needs. Raises ConfigError where the environment lacks some."""
    links = settings.links
    agent = links.user_agent or f"feedd/{__version__}"
    rules = tuple(
        HostRule(
            pattern, rule.action, None if rule.gap_ms is None else rule.gap_ms / 1000, rule.user_agent,
            tuple(config.variables.header(f'links.host."{pattern}".headers', header) for header in rule.headers),
        )
        for pattern, rule in links.host.items()
    )
    run = Plan(
        user_agent=agent, contact=links.contact, gap_s=links.gap_ms / 1000, at_once=links.at_once,
        max_run_s=links.max_run_minutes * 60.0, max_links=links.max_run_links,
        max_bytes=links.max_run_mbytes * 1_000_000, rules=rules, robots=links.robots,
    )
    return Job(
        plan.state_folder, run, links.check, links.allow_networks, links.ports, links.proxy,
        links.archive if links.dead == "archive" else "",
    )


def _prepare(settings: config.Config) -> Callable[[], None]:
    """The log of a run's process."""
    return partial(logs.configure, settings.log.format, settings.log.level)


class Checks:
    """From `start` to `stop`: runs by the clock, and soon after articles with new links."""

    def __init__(
        self, settings: config.Config, plan: bulk.Plan, log: FilteringBoundLogger, jobs: schedule.Schedule,
        wake: Callable[[], None],
    ) -> None:
        self._settings, self._jobs, self._wake, self._folder = settings.links, jobs, wake, plan.state_folder
        self._log = log
        self._checker = self._new_checker(settings, plan)
        self._links: Links | None = None
        self._news = True  # whatever an earlier run left
        self._soon_at = self._by_hand = 0
        self._is_soon = False
        self._seen = self._stamp()

    def _new_checker(self, settings: config.Config, plan: bulk.Plan) -> Checker | None:
        if not settings.links.enabled:
            return None
        return Checker(job_of(settings, plan), self._log, self._heard, self._busy, _prepare(settings))

    def start(self) -> None:
        """From now on links are checked; until `stop`."""
        if self._checker is None:
            return
        now = int(time.time())
        if self._plan_runs(now):
            self.soon()
        self._jobs.every("link verdicts", LOOK_S, self._look, first_at=now + LOOK_S)

    def stop(self) -> None:
        """Ends a run that is on, whose answers are noted."""
        if self._checker:
            self._checker.stop()

    def change(self, settings: config.Config, plan: bulk.Plan) -> None:
        """Checks by another configuration. A run that is on goes on, or ends in order where there are to be none."""
        before, self._settings = self._settings, settings.links
        if self._checker is None:
            self._checker = self._new_checker(settings, plan)
            self._news = True
            self.start()
        elif not settings.links.enabled:
            for name in ("links", "new links", "link verdicts"):
                self._jobs.drop(name)
            self._checker.stop()
            self._checker, self._is_soon = None, False
        else:
            self._checker.change(job_of(settings, plan), _prepare(settings))
            is_other = (before.cron, before.every_minutes) != (settings.links.cron, settings.links.every_minutes)
            if is_other and self._plan_runs(int(time.time())):
                self.soon()

    def _plan_runs(self, now: int) -> bool:
        """Gives the scheduler the times of runs; True if one is overdue, and should begin soon."""
        assert self._checker
        if self._settings.cron:
            self._jobs.when("links", self._settings.cron, self._checker.start)
            return False
        every_s = self._settings.every_minutes * 60
        next_at = self._last_start() + every_s
        is_due = next_at <= now
        self._jobs.every(
            "links", every_s, self._checker.start, first_at=now + every_s if is_due else next_at,
            jitter_s=int(every_s * JITTER),
        )
        return is_due

    def soon(self) -> None:
        """There may be links that nobody has checked."""
        now, soon_s = int(time.time()), self._settings.soon_s
        if self._checker and not (self._is_soon and now <= self._soon_at <= now + soon_s):
            self._begin_at(now + soon_s)

    def _begin_at(self, at: int) -> None:
        self._soon_at, self._is_soon = at, True
        self._jobs.at("new links", at, self._begin)

    def _begin(self) -> None:
        """A run; after the one that is on, for that may have begun before the articles came."""
        self._is_soon = False
        if self._checker and not self._checker.start():
            self._begin_at(int(time.time()) + self._settings.soon_s)

    def _busy(self) -> None:
        if not self._is_soon:
            self._begin_at(int(time.time()) + LATER_S)

    def news(self) -> Links | None:
        """The links, if verdicts may have changed since it was last asked; for the thread that publishes alone."""
        if not self._news:
            return None
        self._news = False
        self.close()
        try:
            self._links = open_links(self._folder, read_only=True)
        except (errors.StateError, sqlite3.DatabaseError):
            return None  # none yet; or torn: the next run makes them anew
        return self._links

    def again(self) -> None:
        """What was taken last did not get as far as readers."""
        self._news = True

    def close(self) -> None:
        """Lets go of the links."""
        links, self._links = self._links, None
        if links:
            links.close()

    def _heard(self) -> None:
        self._news = True
        self._wake()

    def _look(self) -> None:
        """Whether another process, a command, wrote what readers are to see."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            by_hand, is_on = self._asked(lambda links: (links.count_by_hand(), self._is_on(links)), (0, False))
            if by_hand != self._by_hand or not is_on:
                self._by_hand = by_hand
                self._heard()

    def _is_on(self, links: Links) -> bool:
        """Whether somebody is checking links. Readers are shown what comes of it at its end: the first run may have
        news of every page.
        """
        runs = links.list_runs(1)
        since = time.time() - self._settings.max_run_minutes * 60
        return bool(runs) and not runs[0].finished_at and runs[0].started_at > since

    def _stamp(self) -> tuple[int, ...]:
        """Another one after each write to the links."""
        stamp: list[int] = []
        for name in (NAME, f"{NAME}-wal"):
            try:
                stat = os.stat(os.path.join(self._folder, name))
                stamp += (stat.st_ino, stat.st_mtime_ns, stat.st_size) if stat.st_size else ()
            except OSError:
                continue
        return tuple(stamp)

    def _last_start(self) -> int:
        """When the last run began; 0 if it did not come to its end, for then there is more to do."""
        runs: list[Run] = self._asked(lambda links: links.list_runs(1), [])
        is_over = runs and runs[0].finished_at and not runs[0].counts.get("stopped")
        return runs[0].started_at if is_over else 0

    def _asked(self, question: Callable[[Links], T], otherwise: T) -> T:
        """What the links say; `otherwise` where there are none, or torn ones: the next run sees to it."""
        try:
            with contextlib.closing(open_links(self._folder, read_only=True)) as links:
                return question(links)
        except (errors.StateError, sqlite3.DatabaseError):
            return otherwise
