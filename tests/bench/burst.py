"""`./bench rename`: a burst of files renamed into the watched folder, as a checkout or a sync does it.

What counts as in is read from the outside: every published article's link stands in the newest feed of all or in one of
its archives. The same is asked of a daemon that finds the files there when it starts: the cold build to compare with.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import sites
from tests.bench.report import seconds, table, times

_DEADLINE_S = 600


class _Links:
    """The links that the feed of all shows, archives included; each file is read again only when it changed."""

    def __init__(self, feeds: Path) -> None:
        self._feeds = feeds
        self._seen: dict[Path, tuple[int, set[str]]] = {}

    def _paths(self) -> Iterator[Path]:
        yield self._feeds / "all.atom"
        yield from (self._feeds / "archives/all").glob("*.atom")

    def read(self) -> set[str]:
        for path in self._paths():
            try:
                written_ns = path.stat().st_ctime_ns
                if self._seen.get(path, (0,))[0] != written_ns:
                    found = re.findall(r'<link [^>]*rel="alternate"[^>]*>', path.read_text(encoding="utf-8"))
                    links = {match[1] for link in found if (match := re.search(r'href="([^"]+)"', link))}
                    self._seen[path] = (written_ns, links)
            except FileNotFoundError:
                continue
        return set().union(*(links for _, links in self._seen.values()))


def run(workshop: sites.Workshop, articles: int) -> None:
    """Rename them in, and rename them again inside of the folder."""
    source = workshop.corpus(articles)
    published = _published(source)
    cold = sites.Site(workshop.home / "cold", source)
    sites.say(f"{articles:,} articles found at the start")
    start = time.time()
    with cold.daemon():
        cold_s = _wait_for(cold, published, start)

    site = sites.Site(workshop.home / "burst", workshop.home / "burst-articles")
    moves = [(path, site.articles / path.relative_to(source)) for path in source.rglob("*.md")]
    for folder in {target.parent for _, target in moves}:
        folder.mkdir(parents=True)
    rows = [("found at the start", "", seconds(cold_s), "1", "0")]
    sites.say(f"{articles:,} articles renamed in")
    try:
        with site.daemon():
            start = time.time()
            for old, new in moves:
                old.rename(new)
            burst_s = time.time() - start
            all_s = _wait_for(site, published, start)
            missed = len(published - _Links(site.feeds).read())
    finally:
        for old, new in moves:
            if new.exists():
                new.rename(old)
    rows.append(("renamed in, in one burst", seconds(burst_s), seconds(all_s), times(all_s / cold_s), f"{missed}"))
    head = (f"{articles:,} articles", "burst", "last live feed in place", "of a cold build", "missed")
    table("A burst of renames under a running daemon", head, rows)


def _published(corpus: Path) -> set[str]:
    links = set()
    for path in corpus.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        link = re.search(r'^webUrl: "([^"]+)"$', text, re.MULTILINE)
        if link and "\npublished: true\n" in text:
            links.add(link[1])
    return links


def _wait_for(site: sites.Site, published: set[str], start: float) -> float:
    """Seconds from `start`, on the wall clock, to the last live feed, once all links are there and nothing moves."""
    links, end, before = _Links(site.feeds), time.monotonic() + _DEADLINE_S, -1.0
    while time.monotonic() < end:
        if links.read() >= published:
            last = max((path.stat().st_ctime for path in sites.live_feeds(site.feeds)), default=0.0)
            if last == before:
                return last - start
            before = last
        time.sleep(0.5)
    raise TimeoutError(f"{len(published - links.read()):,} of {len(published):,} published articles are in no feed")
