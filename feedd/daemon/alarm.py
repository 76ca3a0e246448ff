"""Alerts as configured: by which ways somebody is told of troubles, and when the daemon looks for them.

Edge: built by the daemon, beside `push`. Where no way is configured, nothing is imported or run.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from feedd import __version__, bulk, config, schedule

if TYPE_CHECKING:
    from feedd import alerts


class Alarm:
    """From `start` to `stop`. An unexpected error in it stops the process.

    `is_ready`: whether the state says what is there now; `faults`: what keeps everything from being published at this
    moment, in sentences. Both are called from another thread.
    """

    def __init__(
        self, settings: config.Config, plan: bulk.Plan, log: FilteringBoundLogger, jobs: schedule.Schedule, *,
        is_ready: Callable[[], bool], faults: Callable[[], Sequence[str]],
    ) -> None:
        """Raises ConfigError."""
        self._folder, self._log, self._jobs = plan.state_folder, log, jobs
        self._is_ready, self._faults, self._articles = is_ready, faults, plan.source.root
        self._every_s, self._what = settings.alerts.every_s, _what(settings)
        self._alerts = self._make(settings)

    def start(self) -> None:
        """Delivers what an earlier run left, and looks for troubles."""
        if self._alerts:
            self._alerts.start()
            self._jobs.every("alerts", self._every_s, self._alerts.look, first_at=int(time.time()) + self._every_s)

    def stop(self) -> None:
        """Breaks off; what nobody took is delivered by the next start."""
        if self._alerts:
            self._alerts.stop()

    def change(self, settings: config.Config) -> None:
        """Goes on by another configuration. Raises ConfigError, and then goes on as before."""
        what = _what(settings)
        if what != self._what:
            new = self._make(settings)
            self.stop()
            self._jobs.drop("alerts")
            self._every_s, self._what, self._alerts = settings.alerts.every_s, what, new
            self.start()

    def _make(self, settings: config.Config) -> alerts.Alerts | None:
        if not (told := ways(settings)):
            return None
        from feedd import alerts, troubles
        from feedd.alerts.look import Look

        own = settings.alerts
        limits = alerts.Limits(
            articles_s=own.articles_minutes * 60, publishing_s=own.publishing_minutes * 60, silent=own.silent,
            dead_links=own.dead_links if settings.links.enabled else 0,
        )
        policy = troubles.Policy(again_s=own.again_hours * 3_600, per_hour=own.max_per_hour, resolved=own.resolved)
        return alerts.Alerts(
            self._folder, Look(self._folder, limits, is_ready=self._is_ready, faults=self._all_faults), told,
            sender(settings), self._log, random=Random(), failed=self._failed, policy=policy,
        )

    def _all_faults(self) -> Sequence[str]:
        gone = () if os.path.isdir(self._articles) else ("The folder of articles is gone.",)
        return *gone, *self._faults()

    def _failed(self, error: BaseException) -> None:
        self._log.critical("unexpected error, feedd stops", error=repr(error), exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


def _what(settings: config.Config) -> object:
    """All of the configuration that alerts depend on."""
    return settings.alerts, settings.site.title, settings.site.url, settings.site.public_url, settings.links.enabled


def sender(settings: config.Config) -> alerts.Sender:
    """Whose alerts they are."""
    from feedd import alerts

    return alerts.Sender(settings.site.title, settings.site.public_url)


def ways(settings: config.Config) -> tuple[alerts.Way, ...]:
    """The ways that are configured. Raises ConfigError where the environment has not what they need."""
    own = settings.alerts
    if not (own.webhook or own.command):
        return ()
    from feedd import alerts  # with aiohttp, which takes 20 MB

    found: list[alerts.Way] = []
    if own.webhook:
        url = config.variables.webhook(settings)
        headers = dict(config.variables.header("alerts.headers", header) for header in own.headers)
        found.append(alerts.Webhook(url, headers, f"feedd/{__version__} (+{settings.site.url})"))
    if own.command:
        found.append(alerts.Command(own.command))
    return tuple(found)
