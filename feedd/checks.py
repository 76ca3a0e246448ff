"""Link checks as configured: the job that a run is given, when the daemon starts one, and whom it tells.

Edge: built by the daemon, beside `push`. When is the scheduler's business, what is due the store's; so a restart
neither loses nor repeats a check.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from structlog.typing import FilteringBoundLogger

from feedd import __version__, bulk, config, errors, logs, schedule
from feedd.linkcheck.hosts import HostRule
from feedd.linkcheck.process import Checker, Job
from feedd.linkcheck.settings import Plan
from feedd.store.links import Links, open_links

SOON_S = 20  # after an article with new links, and after the start
JITTER = 0.05  # of the time between runs
HEARD_S = 60  # how often it is looked whether somebody checked links by hand


def job_of(settings: config.Config, plan: bulk.Plan) -> Job:
    """The configuration as the plain values that a run needs."""
    links = settings.links
    agent = links.user_agent or f"feedd/{__version__}"
    rules = tuple(
        HostRule(
            pattern, rule.action, None if rule.gap_ms is None else rule.gap_ms / 1000, rule.user_agent,
            tuple(_header(header) for header in rule.headers),
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


def _header(text: str) -> tuple[str, str]:
    """A header and its value, which only the environment knows. Raises ConfigError where it does not."""
    name, _, variable = text.partition(": $")
    value = os.environ.get(variable)
    if value is None:
        raise errors.ConfigError("config.toml", [("links.host", f"{text}: the environment has no {variable}")])
    return name, value


class Checks:
    """From `start` to `stop`: runs by the clock, and soon after articles with new links."""

    def __init__(
        self, settings: config.Config, plan: bulk.Plan, log: FilteringBoundLogger, jobs: schedule.Schedule,
        wake: Callable[[], None],
    ) -> None:
        self._settings, self._jobs, self._wake, self._folder = settings.links, jobs, wake, plan.state_folder
        self._log = log
        prepare = partial(logs.configure, settings.log.format, settings.log.level)
        self._checker = (
            Checker(job_of(settings, plan), log, self._heard, prepare) if settings.links.enabled else None
        )
        self._links: Links | None = None
        self._news = True  # whatever an earlier run left
        self._soon_at = 0

    def start(self, life: ExitStack) -> None:
        """From now on links are checked; until `life` ends."""
        if self._checker is None:
            return
        life.callback(self._checker.stop)
        every_s, now = self._settings.every_minutes * 60, int(time.time())
        if self._settings.cron:
            self._jobs.when("links", self._settings.cron, self._checker.start)
        else:
            first_at = max(now + SOON_S, self._last_start() + every_s)
            self._jobs.every(
                "links", every_s, self._checker.start, first_at=first_at, jitter_s=int(every_s * JITTER)
            )
        self._jobs.every("link verdicts", HEARD_S, self._heard, first_at=now + HEARD_S)

    def soon(self) -> None:
        """There may be links that nobody has checked."""
        now = int(time.time())
        if self._checker and not now <= self._soon_at <= now + SOON_S:  # else a run is about to begin
            self._soon_at = now + SOON_S
            self._jobs.at("new links", self._soon_at, self._checker.start)

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

    def close(self) -> None:
        """Lets go of the links."""
        links, self._links = self._links, None
        if links:
            links.close()

    def _heard(self) -> None:
        self._news = True
        self._wake()

    def _last_start(self) -> int:
        try:
            links = open_links(self._folder, read_only=True)
        except (errors.StateError, sqlite3.DatabaseError):
            return 0
        try:
            runs = links.list_runs(1)
            return runs[0].started_at if runs else 0
        finally:
            links.close()
