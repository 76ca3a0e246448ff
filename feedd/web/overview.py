"""The state and the audience -> what the status shows, as values and no more of them than were asked for.

Called by `status`, in a thread of its own: reads the store, changes nothing.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from msgspec import Struct

from feedd import site
from feedd.render.text import rfc3339
from feedd.store import Ping, Problem, Store
from feedd.store.survey import HubLoad, LiveFeed
from feedd.web.audience import Audience, FeedAudience, Totals

SHOWN = 200  # rows of each kind on the page, and in a JSON answer unless it is asked for more or fewer
MOST = 1_000
MOST_READ = 20
# As `site.base_path` places feeds, in the order of paths.
_PLACES = sorted([("all", "all"), *((folder + "/", kind) for kind, folder in site.FOLDERS.items())])
_LAST = chr(0x10FFFF)


class OwnHub(Struct, frozen=True):
    """The built-in hub. `failing`: subscriptions whose last delivery failed. None for what cannot be known now."""

    hub: str
    subscriptions: int | None
    failing: int | None


class Configuration(Struct, frozen=True):
    """config.toml: since when feedd runs by what it said then; and if it says something else now, what is wrong with
    that (`problems`: the old one stays), or which keys wait for a restart (`needs_restart`).
    """

    path: str
    loaded_at: str
    problems: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


class About(Struct, frozen=True):
    """The process. `mode`: how it notices changes. `started_at`: seconds since 1970. `own_hub`: if there is one.
    `troubles`: a sentence for each thing that keeps it from its work.
    """

    version: str
    pid: int
    mode: str
    ready: bool
    started_at: int
    articles: str
    output: str
    own_hub: OwnHub | None = None
    configuration: Configuration | None = None
    troubles: tuple[str, ...] = ()


class Hubs(Struct, frozen=True):
    """Pings that hubs elsewhere are still to get, and those of them that failed when last tried.

    `subscriptions`: of the built-in hub, None without one.
    """

    waiting: int
    failing: int
    subscriptions: int | None


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
    """`/-/status.json`. `waiting`: documents to be written; `failed`: feeds that could not be. `troubles`: what keeps
    feedd from its work, a sentence each, as on `/readyz`.
    """

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
    hubs: Hubs
    requests: Requests
    configuration: Configuration | None
    troubles: tuple[str, ...]


class ProblemRow(Struct, frozen=True):
    """A file that cannot be used; `line` and `column` are 0 and `field` is empty where the reason has no place."""

    path: str
    line: int
    column: int
    field: str
    reason: str
    since: str


class FeedRow(Struct, frozen=True):
    """A feed's live document, all formats together. `title`: its name, as on the index. `waiting`: it is about to be
    written anew.
    """

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


class HubRow(Struct, frozen=True):
    """A hub elsewhere. `reason` and `since` are of the change that it would not hear for longest."""

    hub: str
    waiting: int
    failing: int
    reason: str
    since: str | None


class PingRow(Struct, frozen=True):
    """A change of a feed that a hub would not hear. `attempts` are counted from the last change on."""

    hub: str
    feed: str
    url: str
    since: str
    attempts: int
    next_at: str
    reason: str


class HubPage(Struct, frozen=True):
    """Every hub, and the failing pings, oldest first."""

    hubs: list[HubRow]
    own: OwnHub | None
    failing: list[PingRow]


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
    hubs: list[HubRow]
    own_hub: OwnHub | None
    most_read: list[MostRead]


def summary(store: Store, audience: Audience, about: About, now: float, configured: Sequence[str]) -> Summary:
    """What is running and how much there is of everything. `configured`: hubs elsewhere."""
    return _summary(store, audience, about, now, loads(store, configured))


def loads(store: Store, configured: Sequence[str]) -> list[HubLoad]:
    """What each of these hubs is still to be told."""
    found = {load.hub: load for load in store.survey.list_hubs()}
    return [found.get(hub) or HubLoad(hub, 0) for hub in configured]


def problems(store: Store, *, after: str, limit: int) -> ProblemPage:
    """The problems whose paths sort after `after`."""
    found = store.survey.list_problems(after, limit + 1)
    last = found[limit - 1].path if len(found) > limit else None
    return ProblemPage(store.survey.count_problems(), [_problem(row) for row in found[:limit]], last)


def feeds(
    store: Store, audience: Audience, settings: site.Settings, now: float, *, after: str, limit: int
) -> FeedPage:
    """The feeds whose paths sort after `after`."""
    found = store.survey.list_live(_place(after), limit + 1)
    rows = [_feed(row, store, settings, audience, now) for row in found[:limit]]
    return FeedPage(store.survey.count_live(), rows, rows[-1].feed if len(found) > limit else None)


def changes(store: Store, *, limit: int) -> ChangePage:
    """The last changes."""
    return ChangePage([ChangeRow(rfc3339(at), path, what) for at, path, what in store.list_changes(limit)])


def hubs(store: Store, configured: Sequence[str], own: OwnHub | None, *, limit: int) -> HubPage:
    """Hubs elsewhere, with at most `limit` pings that they would not hear; and the built-in one."""
    failing = [_ping(row) for row in store.outbox.list_failing(limit) if row.hub in configured]
    return HubPage([_hub(load) for load in loads(store, configured)], own, failing)


def overview(store: Store, audience: Audience, about: About, now: float, settings: site.Settings) -> Overview:
    """The page's content."""
    survey, found = store.survey, loads(store, settings.hubs)
    return Overview(
        summary=_summary(store, audience, about, now, found),
        problems=[_problem(row) for row in survey.list_newest_problems(SHOWN)],
        failed=[_feed(row, store, settings, audience, now) for row in survey.list_failed(SHOWN)],
        feeds=[_feed(row, store, settings, audience, now) for row in survey.list_newest(SHOWN)],
        changes=changes(store, limit=SHOWN).changes,
        hubs=[_hub(load) for load in found],
        own_hub=about.own_hub,
        most_read=most_read(audience.feeds(now)),
    )


def most_read(found: Iterable[FeedAudience]) -> list[MostRead]:
    """The feeds with the most subscribers."""
    best = heapq.nsmallest(MOST_READ, found, key=lambda feed: (-feed.subscribers, feed.feed))
    return [MostRead(feed.feed, feed.subscribers, feed.reported, feed.readers) for feed in best]


def _place(path: str) -> tuple[str, str]:
    """(kind, slug) that sorts among those of feeds as any text does among their paths: both have one order."""
    start, kind = next((place for place in reversed(_PLACES) if place[0] <= path), ("", ""))
    is_below = start.endswith("/") and path.startswith(start)
    return kind, path.removeprefix(start) if is_below else _LAST


def _summary(store: Store, audience: Audience, about: About, now: float, found: Sequence[HubLoad]) -> Summary:
    return Summary(
        version=about.version, pid=about.pid, mode=about.mode, ready=about.ready,
        started_at=rfc3339(about.started_at), uptime_s=max(0, int(now) - about.started_at),
        articles=about.articles, output=about.output,
        counts=store.count(), waiting=store.count_dirty(), failed=store.survey.count_failed(),
        hubs=Hubs(
            sum(load.waiting for load in found), sum(load.failing for load in found),
            about.own_hub.subscriptions if about.own_hub else None,
        ),
        requests=_requests(audience.totals()), configuration=about.configuration, troubles=about.troubles,
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


def _ping(row: Ping) -> PingRow:
    return PingRow(
        row.hub, row.feed, row.url, rfc3339(row.since_at), row.attempts, rfc3339(row.next_at), row.error
    )


def _hub(load: HubLoad) -> HubRow:
    since = rfc3339(load.since_at) if load.since_at is not None else None
    return HubRow(load.hub, load.waiting, load.failing, load.error, since)


def _feed(row: LiveFeed, store: Store, settings: site.Settings, audience: Audience, now: float) -> FeedRow:
    feed, document = row
    metadata = store.metadata_of(feed.kind, feed.key)
    path = site.base_path(feed.kind, feed.slug or "")
    heard = audience.find(path, now) or FeedAudience(path, 0, 0)
    return FeedRow(
        feed=path, title=site.feed_name(settings, feed.kind, feed.key, feed.label, metadata),
        entries=document.entries, bytes=document.bytes,
        written_at=rfc3339(document.written_at) if document.written_at is not None else None,
        waiting=document.dirty_seq != document.built_seq, error=document.error,
        subscribers=heard.subscribers, reported=heard.reported, readers=heard.readers,
    )
