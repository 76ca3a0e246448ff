"""Hosts of written behaviour for runs of link checks in virtual time; every request is logged, and held to the rules.

A farm is what a fetcher is to a run. Nothing of it is on a net. `Room` is a store with links, and runs over it.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from feedd.freshness import judge, urls
from feedd.freshness.states import Answer, Evidence, Failure, LinkState, Request
from feedd.linkcheck.run import run
from feedd.linkcheck.settings import Plan, Progress, Summary
from feedd.store.linkrows import Link
from feedd.store.links import open_links
from tests import virtual

TAKES_S = 0.02
MADE_UP = "/link-check-of-"


class Page(Struct, frozen=True):
    """What a URL answers, after `takes` seconds."""

    status: int = 200
    body: bytes = b"text"
    headers: dict[str, str] = {}
    location: str = ""
    failure: Failure = ""
    takes: float = TAKES_S


Behaviour = Page | Callable[[Request], Page]
MISSING = Page(404, b"")


class Asked(Struct, frozen=True):
    """One request."""

    url: str
    began: float
    ended: float
    request: Request

    @property
    def host(self) -> str:
        return urls.host_of(self.url)


class Farm:
    """Answers requests; `pages` by URL, else `robots` by host, else what there is for all: no robots.txt, no page that
    is made up, and a text for everything else.
    """

    def __init__(self) -> None:
        self.pages: dict[str, Behaviour] = {}
        self.hosts: dict[str, Behaviour] = {}
        self.robots: dict[str, str] = {}
        self.asked: list[Asked] = []
        self.busy: Counter[str] = Counter()
        self.most_at_once = self.most_of_a_host = 0
        self.is_down: Callable[[float], bool] = lambda _: False

    def page(self, request: Request) -> Page:
        """What is there for a request."""
        host = urls.host_of(request.url)
        found = self.pages.get(request.url)
        if found is None and request.url.endswith("/robots.txt") and host in self.robots:
            found = Page(body=self.robots[host].encode())
        found = self.hosts.get(host) if found is None else found
        if found is None:
            found = MISSING if request.url.endswith("/robots.txt") or MADE_UP in request.url else Page()
        return found if isinstance(found, Page) else found(request)

    async def get(self, request: Request, *, body_bytes: int = 0, keep: bool = True) -> Answer:
        """One exchange."""
        loop = asyncio.get_running_loop()
        host, began = urls.host_of(request.url), loop.time()
        self.busy[host] += 1
        self.most_of_a_host = max(self.most_of_a_host, self.busy[host])
        self.most_at_once = max(self.most_at_once, self.busy.total())
        page = self.page(request)
        down = self.is_down(loop.time())
        try:
            await asyncio.sleep(0.5 if down else page.takes)
        finally:
            self.busy[host] -= 1
            self.asked.append(Asked(request.url, began, loop.time(), request))
        if down:
            return Answer(request.url, failure="lookup")
        return Answer(
            request.url, page.status if not page.failure else 0, page.failure, location=page.location,
            headers={"content-type": "text/plain"} | page.headers, body=page.body, read=len(page.body) + 100,
        )

    # -- what was asked ----------------------------------------------------------------------------------------------

    @property
    def urls(self) -> list[str]:
        """What was asked for, in order."""
        return [asked.url for asked in self.asked]

    @property
    def links(self) -> list[str]:
        """The same without robots.txt and made-up paths."""
        return [url for url in self.urls if not url.endswith("/robots.txt") and MADE_UP not in url]

    def shortest_gaps(self) -> dict[str, float]:
        """By host, seconds between the end of one request and the start of the next, at least."""
        by_host = defaultdict[str, list[Asked]](list)
        for asked in sorted(self.asked, key=lambda asked: asked.began):
            by_host[asked.host].append(asked)
        return {
            host: min((after.began - before.ended for before, after in pairwise(all_)), default=1e9)
            for host, all_ in by_host.items()
        }


class Room:
    """A store of links, and a clock that goes on from run to run."""

    def __init__(self, folder: Path, *given: str, farm: Farm | None = None) -> None:
        self.links = open_links(str(folder))
        self.farm = farm or Farm()
        self.at = virtual.START
        self.progress: list[Progress] = []
        self._articles = 0
        self.add(*given)

    def add(self, *given: str, in_feed: bool = True) -> None:
        """Links of a new article; new ones are due at once."""
        self._articles += 1
        with self.links.transaction():
            self.links.put_uses([(self._articles, given, in_feed)], _due_at_once, int(self.at))

    def run(self, plan: Plan | None = None, **own: Any) -> Summary:
        """One run, with time of its own; the next one is right after it."""
        async def main(now: Callable[[], float]) -> Summary:
            try:
                return await run(
                    plan or Plan(), self.links, self.farm.get, now=now, random=Random(1), progress=self.progress.append,
                    **{name: value() if callable(value) else value for name, value in own.items()},
                )
            finally:
                self.at = now()

        return virtual.run(main, at=self.at)

    def make_due(self, *given: str) -> None:
        """These links are due, or all of them."""
        ids = [self.link(url).id for url in given] or [link.id for link in self.links.iter_links()]
        with self.links.transaction():
            self.links.put_due(ids, int(self.at))

    def link(self, url: str) -> Link:
        found = self.links.find_link(url)
        assert found is not None, url
        return found

    def state(self, url: str) -> LinkState:
        return self.link(url).state

    def verdicts(self, given: Sequence[str]) -> list[str]:
        return [self.state(url).verdict for url in given]

    def know_as_fresh(self, *given: str) -> None:
        """Links that did well, and are not due."""
        self.add(*given)
        now = int(self.at)
        good = Evidence(now, "good", "answered 200", 200)
        rows = [(self.link(url).id, judge.judge(url, self.state(url), good, now)) for url in given]
        with self.links.transaction():
            self.links.put_checked(rows, now)


def _due_at_once(url: str, state: LinkState, now: int, *, in_feed: bool) -> LinkState:
    return replace(state, next_check_at=now)
