"""Dead links -> archived copies of what was there, from a Memento TimeGate (RFC 7089, section 4), one after the other.

Asked when a link has died, and again each time it is found dead. Called by `process` after a run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate

from feedd.freshness.states import Answer, LinkState, Request
from feedd.freshness.urls import normalise

Get = Callable[[Request], Awaitable[Answer]]
GAP_S = 1.0  # between two questions to the archive
AT_MOST = 200  # questions after one run


def question(archive: str, url: str, state: LinkState, user_agent: str) -> Request:
    """Asks for the copy that is nearest to when the link was last known to hold."""
    at = state.verified_at or state.first_failed_at or state.since_at
    when = formatdate(at, usegmt=True)
    return Request(f"{archive.rstrip('/')}/{url}", user_agent, headers=(("Accept-Datetime", when),))


def copy_in(answer: Answer) -> str:
    """The URL of the copy that the archive names, by a redirect or by answering with it; empty for none."""
    if answer.location and 300 <= answer.status < 400:
        return normalise(answer.location)
    if answer.status == 200 and "memento-datetime" in answer.headers:
        return answer.headers.get("content-location", "") or answer.url
    return ""


async def look_up(
    dead: list[tuple[str, LinkState]], get: Get, *, archive: str, user_agent: str, stop: asyncio.Event,
) -> dict[str, str]:
    """URL -> its copy, of those that have one. An archive that fails or wants to be left alone is left alone."""
    found: dict[str, str] = {}
    for url, state in dead[:AT_MOST]:
        answer = await get(question(archive, url, state, user_agent))
        if copy := copy_in(answer):
            found[url] = copy
        if answer.failure or answer.status == 429 or answer.status >= 500:
            break
        try:
            await asyncio.wait_for(stop.wait(), GAP_S)
            break
        except TimeoutError:
            continue
    return found
