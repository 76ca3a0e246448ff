"""Links and what was found of them -> what the status shows of it, as values and no more of them than were asked for.

Called by `linkpages` and `status`, in a thread of their own: reads, changes nothing. Articles are named by the state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from feedd import errors, site
from feedd.freshness.states import VERDICTS, Verdict
from feedd.freshness.urls import normalise
from feedd.linkcheck.hosts import without_port
from feedd.linkcheck.rows import EvidenceRow, LinkRow, evidence_row, link_row, time_of
from feedd.store import Store, linkrows
from feedd.store.links import NAME, Links
from feedd.store.linksurvey import Change, LinkSurvey, Robots, reading

OFF = "Links are not checked: [links] enabled is false in the configuration."
NONE_YET = "There are no links yet: the first run of checks finds them."
_COUNTS = ("checked", "requests", "bytes", "put_off", "left", "lapsed", "changed")
_ROBOTS = {0: "not asked for", 200: "read", 404: "none"}
_WHAT = {"dead": "died", "moved": "moved", "fresh": "healed"}


class NoLinksError(errors.FeeddError):
    """There are none to look at, and nothing is wrong with that."""


class RunRow(Struct, frozen=True):
    """A run of checks. `finished` and `seconds` are None for one that is on, or was killed.

    `put_off`: links whose hosts are to be left alone; `left`: what is still due; `lapsed`: fresh ones that became
    stale; `changed`: links that came to another verdict. `unreachable`: nothing could be reached, no link is blamed.
    """

    id: int
    started: str
    finished: str | None
    seconds: int | None
    by: str
    checked: int
    requests: int
    bytes: int
    put_off: int
    left: int
    lapsed: int
    changed: int
    unreachable: bool
    stopped: bool
    verdicts: dict[str, int]


class LinkSummary(Struct, frozen=True):
    """`/-/links/summary.json`. `due`: links that should have been checked by now; `next_check`: of all, the next."""

    known: int
    verdicts: dict[str, int]
    due: int
    next_check: str | None
    last_run: RunRow | None


class LinkPage(Struct, frozen=True):
    """In the order in which they became known; `next` is the `after` of the next page."""

    total: int
    links: list[LinkRow]
    next: str | None


class NextPage(Struct, frozen=True):
    """What is checked next, and what should have been by now; the longest due first."""

    due: int
    links: list[LinkRow]


class RunPage(Struct, frozen=True):
    """Newest first."""

    runs: list[RunRow]


class LinkHost(Struct, frozen=True):
    """How a host does. `pause_until`: it asked for that; `breaker_until`: it is left alone after `failures` in a row.

    Both are None once they are over. `robots`: whether its robots.txt could be read.
    """

    host: str
    failures: int
    pause_until: str | None
    breaker_until: str | None
    robots: str
    last_asked: str | None


class LinkHostRow(LinkHost, frozen=True):
    """A host that troubles: how many of its links do not hold."""

    dead: int
    failing: int
    blocked: int


class LinkHostPage(Struct, frozen=True):
    """Those with most links that do not hold first."""

    hosts: list[LinkHostRow]


class LinkNewsRow(Struct, frozen=True):
    """A link died, moved or healed. `target`: where it went, if it is moved still."""

    at: str
    what: str
    url: str
    was: str
    now: str
    target: str


class LinkNewsPage(Struct, frozen=True):
    """Newest first."""

    news: list[LinkNewsRow]


class LinkUserRow(Struct, frozen=True):
    """An article that has the link. `in_feed`: it is an entry of a feed."""

    path: str
    title: str
    in_feed: bool


class LinkDetail(Struct, frozen=True):
    """All that is known of one link. `history`: what the last checks showed, newest first. `host`: who is asked.

    `interval_days`: the planned time between checks; `weak_days`: days of weak evidence since the last strike;
    `moved_since`: when its target was first seen. `next` is the `after` of the next page of articles.
    """

    link: LinkRow
    in_feed: bool
    interval_days: int
    weak_days: int
    last_strike: str | None
    moved_since: str | None
    history: list[EvidenceRow]
    host: LinkHost
    articles: list[LinkUserRow]
    next: str | None


class Brief(Struct, frozen=True):
    """Links in a line. `note`: why there are none to count, else empty; `last_run_at`: 0 for never."""

    note: str = ""
    known: int = 0
    verdicts: dict[str, int] = {}
    last_run_at: int = 0


@contextmanager
def opened(folder: str, settings: site.Settings) -> Iterator[Links]:
    """The links in the state folder. Raises NoLinksError where there are none, StateError where they cannot be read."""
    if settings.links is None:
        raise NoLinksError(OFF)
    if not os.path.exists(os.path.join(folder, NAME)):
        raise NoLinksError(NONE_YET)
    with reading(folder) as links:
        yield links


def brief(folder: str, settings: site.Settings) -> Brief:
    """The line of the status, which stands whatever is the matter with links."""
    try:
        with opened(folder, settings) as links:
            verdicts, runs = _verdicts(links), links.list_runs(1)
            return Brief("", sum(verdicts.values()), verdicts, runs[0].started_at if runs else 0)
    except errors.FeeddError as error:
        return Brief(str(error))


def changes(folder: str, settings: site.Settings, limit: int) -> list[Change]:
    """What died, moved or healed, newest first; nothing where links cannot be looked at."""
    try:
        with opened(folder, settings) as links:
            return LinkSurvey.of(links).list_changes(limit)
    except errors.FeeddError:
        return []


def summary(links: Links, now: int) -> LinkSummary:
    """How many there are of each verdict, and what runs are doing."""
    verdicts, runs = _verdicts(links), links.list_runs(1)
    return LinkSummary(
        sum(verdicts.values()), verdicts, links.count_due(now), time_of(links.next_due_at() or 0),
        _run(runs[0]) if runs else None,
    )


def page(links: Links, verdict: Verdict | None, *, after: int, limit: int) -> LinkPage:
    """Links of a verdict, or of any."""
    found = links.list_by_verdict(verdict, after, limit + 1)
    counts = _verdicts(links)
    total = counts[verdict] if verdict else sum(counts.values())
    last = str(found[limit - 1].id) if len(found) > limit else None
    return LinkPage(total, [link_row(link) for link in found[:limit]], last)


def upcoming(links: Links, now: int, *, limit: int) -> NextPage:
    """What the next runs will ask for."""
    return NextPage(links.count_due(now), [link_row(link) for link in links.list_next(limit)])


def runs(links: Links, *, limit: int) -> RunPage:
    """The last runs."""
    return RunPage([_run(row) for row in links.list_runs(limit)])


def hosts(links: Links, now: int, *, limit: int) -> LinkHostPage:
    """Hosts whose links do not hold, or that are left alone now."""
    found = links.list_hosts_in_trouble(now, limit)
    known = LinkSurvey.of(links).find_robots([without_port(row.host) for row in found])
    return LinkHostPage([
        LinkHostRow(
            *_host(row.host, row.failures, row.pause_until, row.breaker_until, known.get(without_port(row.host)), now),
            row.dead, row.failing, row.blocked,
        )
        for row in found
    ])


def news(links: Links, *, limit: int) -> LinkNewsPage:
    """What died, moved or healed of late."""
    return LinkNewsPage([
        LinkNewsRow(time_of(row.at) or "", _WHAT[row.now], row.url, row.was, row.now, row.target)
        for row in LinkSurvey.of(links).list_changes(limit)
    ])


def detail(links: Links, state: Store, url: str, now: int, *, after: int, limit: int) -> LinkDetail | None:
    """All about one link, however its URL is spelt; None for one that no published article has or had."""
    link = links.find_link(normalise(url))
    if link is None:
        return None
    name, known = without_port(link.host), link.state
    articles, last = _users(links, state, link.id, after, limit)
    host = links.find_hosts([name]).get(name) or linkrows.Host(name)
    robots = Robots(name, host.last_at, host.robots_status, host.robots_at)
    return LinkDetail(
        link_row(link), link.in_feed, known.interval_days, known.weak_days, time_of(known.strike_at),
        time_of(known.moved_at), [evidence_row(seen) for seen in known.history],
        LinkHost(*_host(name, host.failures, host.pause_until, host.breaker_until, robots, now)), articles, last,
    )


def _verdicts(links: Links) -> dict[str, int]:
    """In the order of their definition, those without any too."""
    found = links.count_by_verdict()
    return {verdict: found.get(verdict, 0) for verdict in VERDICTS}


def _users(links: Links, state: Store, link_id: int, after: int, limit: int) -> tuple[list[LinkUserRow], str | None]:
    """A page of the articles that have a link. None where the ids are those of a state that is no more."""
    if links.find_meta("sync_of") != state.marks.state_id():
        return [], None
    ids = LinkSurvey.of(links).list_users(link_id, after, limit + 1)
    known = state.find_articles(ids[:limit])
    rows = [
        LinkUserRow(article.path or article.entry_path, article.title, article.position is not None)
        for article_id in ids[:limit] if (article := known.get(article_id))
    ]
    return rows, str(ids[limit - 1]) if len(ids) > limit else None


def _run(row: linkrows.Run) -> RunRow:
    counts = {name: row.counts.get(name, 0) for name in _COUNTS}
    return RunRow(
        id=row.id, started=time_of(row.started_at) or "", finished=time_of(row.finished_at),
        seconds=max(0, row.finished_at - row.started_at) if row.finished_at else None, by=row.by, **counts,
        unreachable=bool(row.counts.get("unreachable")), stopped=bool(row.counts.get("stopped")),
        verdicts={verdict: row.counts[verdict] for verdict in VERDICTS if verdict in row.counts},
    )


def _host(
    name: str, failures: int, pause_until: int, breaker_until: int, robots: Robots | None, now: int
) -> tuple[str, int, str | None, str | None, str, str | None]:
    """The fields of LinkHost."""
    return (
        name, failures, time_of(pause_until) if pause_until > now else None,
        time_of(breaker_until) if breaker_until > now else None,
        _ROBOTS.get(robots.status, "cannot be read") if robots else _ROBOTS[0],
        time_of(robots.last_at) if robots else None,
    )
