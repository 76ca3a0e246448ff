"""The state and the audience -> what the status shows, as values and no more of them than were asked for.

Called by `status`, in a thread of its own: reads the store, changes nothing.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

from msgspec import Struct

from feedd import site
from feedd.render.text import rfc3339
from feedd.store import Document, Problem, Store
from feedd.web.audience import Audience, FeedAudience, Totals

T = TypeVar("T")
SHOWN = 200  # rows of each kind on the page, and in a JSON answer unless it is asked for more or fewer
MOST = 1_000
MOST_READ = 20


class About(Struct, frozen=True):
    """The process. `mode`: how it notices changes. `started_at`: seconds since 1970."""

    version: str
    pid: int
    mode: str
    ready: bool
    started_at: int
    articles: str
    output: str


class Requests(Struct, frozen=True):
    """The server's totals since the start; see `audience.Totals`."""

    total: int
    by_status: dict[str, int]
    not_modified: int
    not_modified_ratio: float
    bytes_sent: int
    bytes_saved: int
    saved_by_not_modified: int
    saved_by_delta: int
    saved_by_compression: int


class Summary(Struct, frozen=True):
    """`/-/status.json`. `waiting`: documents to be written; `failed`: feeds that could not be."""

    version: str
    pid: int
    mode: str
    ready: bool
    started_at: str
    uptime_s: int
    articles: str
    output: str
    counts: dict[str, int]
    waiting: int
    failed: int
    requests: Requests


class ProblemRow(Struct, frozen=True):
    """A file that cannot be used; `line` and `column` are 0 and `field` is empty where the reason has no place."""

    path: str
    line: int
    column: int
    field: str
    reason: str
    since: str


class FeedRow(Struct, frozen=True):
    """A feed's live document, all formats together. `waiting`: it is about to be written anew."""

    feed: str
    title: str
    entries: int
    bytes: int
    written_at: str | None
    waiting: bool
    error: str
    subscribers: int
    reported: int
    readers: int


class ChangeRow(Struct, frozen=True):
    """What readers see differently since then, and which file's change was the cause."""

    at: str
    path: str
    what: str


class ProblemPage(Struct, frozen=True):
    """By path; `next` is the `after` of the next page."""

    total: int
    problems: list[ProblemRow]
    next: str | None


class FeedPage(Struct, frozen=True):
    """By path; `next` is the `after` of the next page."""

    total: int
    feeds: list[FeedRow]
    next: str | None


class ChangePage(Struct, frozen=True):
    """Newest first."""

    changes: list[ChangeRow]


class MostRead(Struct, frozen=True):
    """A feed and its estimated subscribers."""

    feed: str
    subscribers: int
    reported: int
    readers: int


class Overview(Struct, frozen=True):
    """All that the page shows: the newest of everything, and what is wrong before that."""

    summary: Summary
    problems: list[ProblemRow]
    failed: list[FeedRow]
    feeds: list[FeedRow]
    changes: list[ChangeRow]
    most_read: list[MostRead]


def summary(store: Store, audience: Audience, about: About, now: float) -> Summary:
    """What is running and how much there is of everything."""
    failed = sum(1 for document in store.list_documents(page=0) if document.error)
    return _summary(store, audience, about, now, failed)


def problems(store: Store, *, after: str, limit: int) -> ProblemPage:
    """The problems whose paths sort after `after`."""
    found = store.list_problems()
    rows, last = _page(found, attrgetter("path"), after, limit)
    return ProblemPage(len(found), [_problem(row) for row in rows], last)


def newest_problems(store: Store, limit: int) -> list[Problem]:
    """Those of the latest trouble, newest first."""
    return heapq.nsmallest(limit, store.list_problems(), key=lambda row: (-row.since_at, row.path))


def feeds(store: Store, audience: Audience, now: float, *, after: str, limit: int) -> FeedPage:
    """The feeds whose paths sort after `after`."""
    found = sorted(_feeds(store), key=attrgetter("path"))
    rows, last = _page(found, attrgetter("path"), after, limit)
    return FeedPage(len(found), [_feed(row, audience, now) for row in rows], last)


def changes(store: Store, *, limit: int) -> ChangePage:
    """The last changes."""
    return ChangePage([ChangeRow(rfc3339(at), path, what) for at, path, what in store.list_changes(limit)])


def overview(store: Store, audience: Audience, about: About, now: float) -> Overview:
    """The page's content."""
    found = _feeds(store)
    failed = sorted((row for row in found if row.document.error), key=attrgetter("path"))
    newest = heapq.nsmallest(SHOWN, found, key=lambda row: (-(row.document.written_at or 0), row.path))
    return Overview(
        summary=_summary(store, audience, about, now, len(failed)),
        problems=[_problem(row) for row in newest_problems(store, SHOWN)],
        failed=[_feed(row, audience, now) for row in failed[:SHOWN]],
        feeds=[_feed(row, audience, now) for row in newest],
        changes=changes(store, limit=SHOWN).changes,
        most_read=most_read(audience.feeds(now)),
    )


def most_read(found: Iterable[FeedAudience]) -> list[MostRead]:
    """The feeds with the most subscribers."""
    best = heapq.nsmallest(MOST_READ, found, key=lambda feed: (-feed.subscribers, feed.feed))
    return [MostRead(feed.feed, feed.subscribers, feed.reported, feed.readers) for feed in best]


class _Feed(Struct, frozen=True, gc=False):
    path: str
    title: str
    document: Document


def _feeds(store: Store) -> list[_Feed]:
    """Feeds that have a place: one that was never written has no slug yet, and is counted as waiting only."""
    live = {document.feed_id: document for document in store.list_documents(page=0)}
    return [
        _Feed(site.base_path(feed.kind, feed.slug), feed.label, live[feed.id])
        for feed in store.list_feeds() if feed.slug is not None and feed.id in live
    ]


def _page(found: Sequence[T], path: Callable[[T], str], after: str, limit: int) -> tuple[Sequence[T], str | None]:
    """`limit` of the rows, which are in the order of their paths; and the path to go on from, if there are more."""
    start = bisect_right(found, after, key=path) if after else 0
    rows = found[start : start + limit]
    return rows, path(rows[-1]) if start + limit < len(found) else None


def _summary(store: Store, audience: Audience, about: About, now: float, failed: int) -> Summary:
    return Summary(
        version=about.version, pid=about.pid, mode=about.mode, ready=about.ready,
        started_at=rfc3339(about.started_at), uptime_s=max(0, int(now) - about.started_at),
        articles=about.articles, output=about.output,
        counts=store.count(), waiting=store.count_dirty(), failed=failed, requests=_requests(audience.totals()),
    )


def _requests(totals: Totals) -> Requests:
    return Requests(
        total=totals.requests, by_status=totals.statuses, not_modified=totals.not_modified,
        not_modified_ratio=round(totals.not_modified_ratio, 4), bytes_sent=totals.bytes_sent,
        bytes_saved=totals.bytes_saved, saved_by_not_modified=totals.saved_not_modified,
        saved_by_delta=totals.saved_delta, saved_by_compression=totals.saved_compression,
    )


def _problem(row: Problem) -> ProblemRow:
    return ProblemRow(row.path, row.line, row.column, row.field, row.message, rfc3339(row.since_at))


def _feed(row: _Feed, audience: Audience, now: float) -> FeedRow:
    document, heard = row.document, audience.find(row.path, now) or FeedAudience(row.path, 0, 0)
    return FeedRow(
        feed=row.path, title=row.title, entries=document.entries, bytes=document.bytes,
        written_at=rfc3339(document.written_at) if document.written_at is not None else None,
        waiting=document.dirty_seq != document.built_seq, error=document.error,
        subscribers=heard.subscribers, reported=heard.reported, readers=heard.readers,
    )
