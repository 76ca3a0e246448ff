"""A run of link checks from its first step to its last: articles' links, what is due, copies of what died.

One at a time for a state, whoever starts it: a process of the daemon's (`process`), or a command.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from random import Random

import uvloop
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from feedd import errors, fetch, verdicts
from feedd.freshness.states import LinkState
from feedd.linkcheck import archive
from feedd.linkcheck.dryrun import plan_of_run
from feedd.linkcheck.process import Job
from feedd.linkcheck.run import run
from feedd.linkcheck.settings import Planned, Progress, Summary
from feedd.linkcheck.sync import sync
from feedd.store import open_store
from feedd.store.links import Links, open_links, set_aside

_PIECE = 1_000


Told = Callable[[Progress], None]
Choose = Callable[[Links], Sequence[int]]


def check(
    job: Job, log: FilteringBoundLogger, *, by: str, stop: threading.Event, progress: Told | None = None,
    choose: Choose | None = None,
) -> Summary:
    """One run, in this thread. `choose`: the ids of the links that are to be checked, due or not; else what is due.

    Raises StateLockedError while another run is on, StateError where there is no state to check, sqlite3 errors.
    """
    with _links(job, log, stop) as links, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_check(job, links, by, stop, progress, choose(links) if choose else None))


def look_ahead(job: Job, log: FilteringBoundLogger, *, choose: Choose | None = None) -> Iterator[Planned]:
    """What `check` would do now, without a request. Raises what it raises."""
    with _links(job, log, threading.Event()) as links:
        yield from plan_of_run(job.plan, links, now=time.time(), only=choose(links) if choose else None)


@contextmanager
def _links(job: Job, log: FilteringBoundLogger, stop: threading.Event) -> Iterator[Links]:
    """The links as the articles have them by now."""
    with _alone(job.state_folder), open_store(job.state_folder, read_only=True) as state:
        links = _open(job.state_folder, log)
        try:
            now = int(time.time())
            sync(links, state.marks, job.kinds, now, stop=stop.is_set)
            with links.transaction():
                links.drop_unused(now)
                links.drop_news(verdicts.heard_of(state, links))
            yield links
        finally:
            links.close()


async def _check(
    job: Job, links: Links, by: str, stop: threading.Event, progress: Told | None, chosen: Sequence[int] | None
) -> Summary:
    began = int(time.time())
    stopping = asyncio.Event()
    watching = asyncio.create_task(_watch(stop, stopping))
    limits = fetch.Limits(at_once=job.plan.at_once)
    allowed = tuple(map(ip_network, job.allowed))
    try:
        async with fetch.Fetcher(limits, allowed=allowed, ports=job.ports, trust_env=job.trust_env) as fetcher:
            summary = await run(
                job.plan, links, fetcher.get, now=time.time, random=Random(), stop=stopping, progress=progress, by=by,
                only=chosen,
            )
            if job.archive and not stopping.is_set():
                dead = [link for link in _dead_since(links, began) if not link[1].archive_url]
                copies = await archive.look_up(
                    dead, fetcher.get, archive=job.archive, user_agent=job.plan.agent, stop=stopping
                )
                _note_copies(links, copies)
    finally:
        watching.cancel()
    return summary


async def _watch(stop: threading.Event, stopping: asyncio.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(0.1)
    stopping.set()


def _dead_since(links: Links, began: int) -> Iterator[tuple[str, LinkState]]:
    after = 0
    while found := links.list_by_verdict("dead", after, _PIECE):
        yield from ((link.url, link.state) for link in found if link.state.checked_at >= began)
        after = found[-1].id


def _note_copies(links: Links, copies: dict[str, str]) -> None:
    rows = [(link.id, replace(link.state, archive_url=copy)) for url, copy in copies.items()
            if (link := links.find_link(url))]
    with links.transaction():
        links.put_checked(rows, int(time.time()))


def _open(folder: str, log: FilteringBoundLogger) -> Links:
    """The links; those that are torn are set aside, and made anew from the articles."""
    try:
        return open_links(folder)
    except sqlite3.OperationalError as error:
        raise errors.StateError(f"{folder}: the links cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        aside = set_aside(folder, int(time.time()))
        log.error("links are torn, they are made anew, unchecked", reason=str(error), kept_as=aside)
        return open_links(folder)


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """One run at a time. Raises StateLockedError."""
    try:
        lock = os.open(os.path.join(folder, "links.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise errors.StateError(f"{folder}: no state yet; start `feedd run` or `feedd build` first") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise errors.StateLockedError(f"{folder}: links are being checked already") from error
    finally:
        os.close(lock)


def say(log: FilteringBoundLogger, summary: Summary) -> None:
    """What came of a run, in one line of the log."""
    if summary.unreachable:
        log.warning("no host could be reached, so no link is blamed", left=summary.left + summary.put_off)
    if summary.checked or summary.put_off:
        log.info(
            "links checked", checked=summary.checked, requests=summary.requests, bytes=summary.bytes,
            seconds=round(summary.seconds, 1), put_off=summary.put_off, left=summary.left, **summary.verdicts,
        )
