"""The job table: what runs at which time. The only module that imports APScheduler.

Jobs run on the scheduler's thread and should only wake the one who does the work.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

LOOK_S = 5.0  # how often the clock is looked at: it may be set, and a machine may sleep, while waits go by another one
CRON_JITTER_S = 59.0  # less than cron's own minute, or one would be passed over
_JUMP_S = 2.0
_RANDOM = Random()

Job = Callable[[], object]


class _Scheduler(BackgroundScheduler):  # type: ignore[misc] # no type information published
    """Follows the clock wherever it is set: ahead, what is due by then runs at once; back, intervals go on as they were
    and do not wait for the clock to catch up.
    """

    _ahead_s = 0.0  # the clock, of the monotonic one

    def start(self) -> None:
        self._ahead_s = time.time() - time.monotonic()
        super().start()

    def _process_jobs(self) -> float:
        before, self._ahead_s = self._ahead_s, time.time() - time.monotonic()
        back_s = before - self._ahead_s
        if back_s > _JUMP_S:
            for job in self.get_jobs():
                if isinstance(job.trigger, IntervalTrigger):
                    job.modify(next_run_time=job.next_run_time - timedelta(seconds=back_s))
        wait_s: float | None = super()._process_jobs()
        return LOOK_S if wait_s is None else min(wait_s, LOOK_S)


class _Cron(CronTrigger):  # type: ignore[misc] # no type information published
    """Up to a minute after each time that it names, so that not all sites ask at one second. APScheduler's own jitter
    goes both ways, and what runs early runs again at its time.
    """

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        named: datetime | None = super().get_next_fire_time(previous, now)
        return named and named + timedelta(seconds=_RANDOM.uniform(0, CRON_JITTER_S))


def cron(fields: str) -> CronTrigger:
    """The times that five fields of cron name, in UTC, and a little later. Raises ValueError where they name none."""
    return _Cron.from_crontab(fields, timezone=UTC)


class Schedule:
    """Jobs by name, each at most once at a time; one that was due while the machine slept runs once."""

    def __init__(self) -> None:
        self._scheduler = _Scheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    def start(self) -> None:
        """Starts the scheduler's thread."""
        self._scheduler.start()

    def stop(self) -> None:
        """Runs nothing any more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def every(self, name: str, interval_s: int, job: Job, *, first_at: int, jitter_s: int = 0) -> None:
        """Runs `job` at `first_at` (seconds), and every `interval_s` from then on, sooner or later by the jitter."""
        self._scheduler.add_job(
            job, "interval", seconds=interval_s, next_run_time=datetime.fromtimestamp(first_at, UTC), id=name,
            name=name, replace_existing=True, jitter=jitter_s or None,
        )

    def when(self, name: str, fields: str, job: Job) -> None:
        """Runs `job` when the five fields of cron say, in UTC, or up to a minute later. Raises ValueError where they
        name no time.
        """
        self._scheduler.add_job(job, cron(fields), id=name, name=name, replace_existing=True)

    def drop(self, name: str) -> None:
        """Forgets the job of that name, if there is one."""
        with contextlib.suppress(JobLookupError):  # there was none, or it has just run
            self._scheduler.remove_job(name)

    def at(self, name: str, when_at: int, job: Job) -> None:
        """Runs `job` once, at `when_at` (seconds), or at once if that is past; takes the place of one of that name."""
        self._scheduler.add_job(
            job, "date", run_date=datetime.fromtimestamp(when_at, UTC), id=name, name=name, replace_existing=True
        )
