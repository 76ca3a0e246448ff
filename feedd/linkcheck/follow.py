"""A job and the answer to its last request -> where it goes from there, or the trail that it came along.

Pure. Redirects are not followed by the fetcher, for every hop is a turn on its own host.
"""

from __future__ import annotations

from msgspec.structs import replace

from feedd.freshness.states import Answer, Request, Trail
from feedd.linkcheck.queues import Job

MOST_HOPS = 10
MOST_ROBOTS_HOPS = 5  # RFC 9309, section 2.3.1.2


def follow(job: Job, answer: Answer) -> Job | Trail:
    """The job with its next URL, or its end."""
    if not answer.location:
        return Trail(job.start, answer, job.hops)
    if len(job.hops) >= (MOST_ROBOTS_HOPS if job.kind == "robots" else MOST_HOPS):
        return Trail(job.start, answer, job.hops, "redirects")
    place = _place(answer.location)
    if place == _place(job.start) or any(place == _place(url) for _, url in job.hops):
        return Trail(job.start, answer, job.hops, "loop")
    return replace(
        job, url=answer.location, hops=(*job.hops, (answer.status, answer.location)), came=replace(answer, body=b"")
    )


def refused(job: Job) -> Trail:
    """The end of a job whose next URL robots.txt keeps from us."""
    return Trail(job.start, job.came or Answer(job.url), job.hops[:-1], "robots")


def request_for(job: Job, user_agent: str, headers: tuple[tuple[str, str], ...]) -> Request:
    """What to ask. Conditional where the validators came from: the URL that redirects led to when it last did well."""
    state = job.state
    if (state.etag or state.last_modified) and job.kind == "link" and job.url == (state.final_url or job.start):
        return Request(job.url, user_agent, state.etag, state.last_modified, headers)
    return Request(job.url, user_agent, "", "", headers)


def origin_of(url: str) -> str:
    """Scheme, host and port of a normalised URL, which has a path."""
    return url[: url.find("/", url.find("//") + 2)]


def _place(url: str) -> str:
    return url.partition("#")[0]
