"""Dead links -> archived copies of what was there, from a Memento TimeGate (RFC 7089, section 4), one after the other.

Asked when a link has died, and again each time it is found dead. Fetches through `get` alone, and stores nothing.
Called by `work` after a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from email.utils import formatdate
from itertools import islice
from urllib.parse import urljoin

from feedd.freshness.states import Answer, LinkState, Request
from feedd.freshness.urls import normalise

Get = Callable[[Request], Awaitable[Answer]]
GAP_S = 1.0  # between two requests to the archive
AT_MOST = 200  # links after one run
MOST_STEPS = 4  # of one link: a TimeGate may send to another one, and that to a copy (section 4.5.2)


def question(archive: str, url: str, state: LinkState, user_agent: str) -> Request:
    """Asks for the copy that is nearest to when the link was last known to hold."""
    at = state.verified_at or state.first_failed_at or state.since_at
    when = formatdate(at, usegmt=True)
    return Request(f"{archive.rstrip('/')}/{url}", user_agent, headers=(("Accept-Datetime", when),))


def copy_in(answer: Answer) -> str:
    """The URL of the copy that an answer names, or is; empty for none.

    A TimeGate says by Vary that it chose by date (section 2.1.2): it redirects to the copy, or answers with it and says
    where it is. What has a Memento-Datetime (section 2.1.1) is a copy, be it of a page or of a redirect.
    """
    redirected = answer.location if 300 <= answer.status < 400 else ""
    if "memento-datetime" in answer.headers and (answer.status == 200 or redirected):
        try:
            return normalise(urljoin(answer.url, answer.headers.get("content-location", "")))
        except ValueError:  # what it says is no URL
            return ""
    if redirected and "accept-datetime" in answer.headers.get("vary", "").lower():
        return normalise(redirected)
    return ""


async def look_up(
    dead: Iterable[tuple[str, LinkState]], get: Get, *, archive: str, user_agent: str, stop: asyncio.Event,
    within_s: float,
) -> AsyncIterator[tuple[str, str]]:
    """(URL, its copy) of those that have one, as they are found. Ends early when `stop` is set, after `within_s`
    seconds, and where the archive fails or wants to be left alone.
    """
    until = asyncio.get_running_loop().time() + within_s
    for number, (url, state) in enumerate(islice(dead, AT_MOST)):
        request = question(archive, url, state, user_agent)
        for step in range(MOST_STEPS):
            if (number or step) and not await _done(asyncio.sleep(GAP_S), stop, until):
                return
            asked = asyncio.ensure_future(get(request))
            if not await _done(asked, stop, until):
                return
            answer = asked.result()
            if answer.failure or answer.status == 429 or answer.status >= 500:
                return
            if copy := copy_in(answer):
                yield url, copy
            if copy or not answer.location:
                break
            request = Request(answer.location, user_agent, headers=request.headers)


async def _done(work: Awaitable[object], stop: asyncio.Event, until: float) -> bool:
    """Whether it came to its end before `stop` was set and `until`; else it is broken off."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        left_s = max(until - asyncio.get_running_loop().time(), 0.0)
        done, _ = await asyncio.wait((working, stopping), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        return working in done and stopping not in done
    finally:
        stopping.cancel()
        working.cancel()
