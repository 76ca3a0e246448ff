"""A run of link checks from its first step to its last: articles' links, what is due, copies of what died.

One at a time for a state, whoever starts it: a process of the daemon's (`process`), or a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
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
from feedd.freshness import judge
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
    def go() -> Summary:
        with _links(job, log, stop) as links, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_check(job, links, by, stop, progress, choose(links) if choose else None))

    with _alone(job.state_folder):
        try:
            return go()
        except sqlite3.DatabaseError as error:
            if not _is_torn(error):
                raise
            if _are_articles_torn(job.state_folder):
                raise errors.StateError(f"the state of what was published is torn: {error}") from error
            _set_aside(job.state_folder, log, error)
            return go()


def look_ahead(job: Job, log: FilteringBoundLogger, *, choose: Choose | None = None) -> Iterator[Planned]:
    """What `check` would do now, without a request. Raises what it raises."""
    with _alone(job.state_folder), _links(job, log, threading.Event()) as links:
        yield from plan_of_run(job.plan, links, now=time.time(), only=choose(links) if choose else None)


@contextmanager
def _links(job: Job, log: FilteringBoundLogger, stop: threading.Event) -> Iterator[Links]:
    """The links as the articles have them by now."""
    with open_store(job.state_folder, read_only=True) as state:
        links = _open(job.state_folder, log)
        try:
            now = int(time.time())
            sync(links, state.marks, job.kinds, now, replan=_due_in_this_run, stop=stop.is_set)
            with links.transaction():
                links.drop_unused(now)
                links.drop_news(verdicts.heard_of(state, links))
            yield links
        finally:
            links.close()


def _due_in_this_run(url: str, state: LinkState, now: int, *, in_feed: bool) -> LinkState:
    """What is new to a feed is not spread over the seconds to come: there may be no other run for an hour."""
    return judge.replan(url, state, now - judge.SOON_S, in_feed=in_feed)


async def _check(
    job: Job, links: Links, by: str, stop: threading.Event, progress: Told | None, chosen: Sequence[int] | None
) -> Summary:
    began = int(time.time())
    limits = limits_of(job.plan.at_once)
    stopping = asyncio.Event()
    watching = asyncio.create_task(_watch(stop, stopping))
    allowed = tuple(map(ip_network, job.allowed))
    try:
        async with fetch.Fetcher(limits, allowed=allowed, ports=job.ports, trust_env=job.trust_env) as fetcher:
            summary = await run(
                job.plan, links, fetcher.get, now=time.time, random=Random(), stop=stopping, progress=progress, by=by,
                only=chosen,
            )
            if job.archive:
                dead = (link for link in _dead_since(links, began) if not link[1].archive_url)
                copies = archive.look_up(
                    dead, fetcher.get, archive=job.archive, user_agent=job.plan.agent, stop=stopping,
                    within_s=job.plan.max_run_s - summary.seconds,
                )
                async for url, copy in copies:
                    _note_copy(links, url, copy)
    finally:
        watching.cancel()
    return summary


def limits_of(at_once: int) -> fetch.Limits:
    """As many files as the system lets a process have, and no more than half of them for connections that are idle."""
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        most = hard
    limits = fetch.Limits(at_once=at_once)
    if most == resource.RLIM_INFINITY:
        return limits
    return replace(limits, idle=min(limits.idle, most // 4), idle_tls=min(limits.idle_tls, most // 4))


async def _watch(stop: threading.Event, stopping: asyncio.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(0.1)
    stopping.set()


def _dead_since(links: Links, began: int) -> Iterator[tuple[str, LinkState]]:
    after = 0
    while found := links.list_by_verdict("dead", after, _PIECE):
        yield from ((link.url, link.state) for link in found if link.state.checked_at >= began)
        after = found[-1].id


def _note_copy(links: Links, url: str, copy: str) -> None:
    with links.transaction():
        if link := links.find_link(url):
            links.put_checked([(link.id, replace(link.state, archive_url=copy))], int(time.time()))


def _open(folder: str, log: FilteringBoundLogger) -> Links:
    """The links; those that are torn are set aside, and made anew from the articles."""
    try:
        return open_links(folder)
    except sqlite3.OperationalError as error:
        raise errors.StateError(f"{folder}: the links cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        _set_aside(folder, log, error)
        return open_links(folder)


def _set_aside(folder: str, log: FilteringBoundLogger, error: Exception) -> None:
    error.with_traceback(None)  # lets go of queries that were not read to their end
    aside = set_aside(folder, int(time.time()))
    log.error("links are torn, they are made anew, unchecked", reason=str(error), kept_as=aside)


def _is_torn(error: sqlite3.DatabaseError) -> bool:
    """Whether a file is no database any more. All else, such as a full disk, leaves it as it is."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _are_articles_torn(folder: str) -> bool:
    """Whether it is not the links, but what was published, that cannot be read. The daemon sees to that."""
    try:
        with open_store(folder, read_only=True) as state:
            return not state.is_sound()
    except sqlite3.DatabaseError:
        return True


@contextmanager
def _alone(folder: str) -> Iterator[None]:
    """One run at a time. Raises StateLockedError."""
    try:
        lock = os.open(os.path.join(folder, "links.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError as error:
        raise errors.StateError(f"{folder}: no state yet; start `feedd run` or `feedd build` first") from error
    except OSError as error:
        raise errors.StateError(f"{folder}: links cannot be kept there: {errors.in_words(error)}") from error
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
