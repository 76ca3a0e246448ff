"""`./bench rename`: a burst of files renamed into the watched folder, as a checkout or a sync does it.

What counts as in is read from the outside: every published article's link and title stand in the feed of all or in
one of its archives. The same is asked of a daemon that finds the files when it starts: the cold build to compare with.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import corpus, sites
from tests.bench.report import seconds, table, times

_DEADLINE_S = 600

Shown = frozenset[tuple[str, str]]
"""What feeds say: (link, title) of each article."""


class _Feeds:
    """What the feed of all shows, archives included; each file is read again only when it changed."""

    def __init__(self, feeds: Path) -> None:
        self._feeds = feeds
        self._seen: dict[Path, tuple[int, Shown]] = {}

    def _paths(self) -> Iterator[Path]:
        yield self._feeds / "all.atom"
        yield from (self._feeds / "archives/all").glob("*.atom")

    def read(self) -> Shown:
        for path in self._paths():
            try:
                written_ns = path.stat().st_ctime_ns
                if self._seen.get(path, (0,))[0] != written_ns:
                    self._seen[path] = (written_ns, frozenset(_entries(path)))
            except FileNotFoundError:
                continue
        return frozenset().union(*(shown for _, shown in self._seen.values()))


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    for entry in path.read_text(encoding="utf-8").split("<entry>")[1:]:
        title = re.search(r"<title[^>]*>([^<]*)</title>", entry)
        link = re.search(r'<link [^>]*rel="alternate"[^>]*>', entry)
        url = re.search(r'href="([^"]*)"', link[0]) if link else None
        if title and url:
            yield url[1], title[1]


def run(workshop: sites.Workshop, articles: int) -> None:
    """Found at the start; renamed in; then each replaced by a file with another title, as a checkout does."""
    first, second = workshop.home / "burst-first", workshop.home / "burst-second"
    for n, folder in enumerate((first, second)):
        _copy(workshop.corpus(articles), folder, f"Version {n}")
    wanted = [_published(folder) for folder in (first, second)]
    cold = sites.Site(workshop.home / "cold", first)
    sites.say(f"{articles:,} articles found at the start")
    start = time.time()
    with cold.daemon():
        cold_s, _ = _wait_for(cold, wanted[0], start)

    rows = [("found at the start", "", seconds(cold_s), "1", "0")]
    site = sites.Site(workshop.home / "burst", workshop.home / "burst-articles")
    paths = [path.relative_to(first) for path in first.rglob("*.md")]
    for folder in {path.parent for path in paths}:
        (site.articles / folder).mkdir(parents=True)
    with site.daemon():
        for what, source, shown in (
            ("renamed in, in one burst", first, wanted[0]), ("each replaced in one burst", second, wanted[1]),
        ):  # fmt: skip
            sites.say(f"{articles:,} articles {what}")
            start = time.time()
            for path in paths:
                (source / path).replace(site.articles / path)
            burst_s = time.time() - start
            taken_s, missed = _wait_for(site, shown, start)
            rows.append((what, seconds(burst_s), seconds(taken_s), times(taken_s / cold_s), f"{missed:,}"))
    head = (f"{articles:,} articles", "burst", "last live feed in place", "of a cold build", "missed")
    table("A burst of renames under a running daemon", head, rows)


def _copy(source: Path, target: Path, title: str) -> None:
    for path in source.rglob("*.md"):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(corpus.retitled(path.read_text(encoding="utf-8"), title), encoding="utf-8")


def _published(folder: Path) -> Shown:
    shown = set()
    for path in folder.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        link = re.search(r'^webUrl: "([^"]+)"$', text, re.MULTILINE)
        title = re.search(r'^title: "([^"]+)"$', text, re.MULTILINE)
        if link and title and "\npublished: true\n" in text:
            shown.add((link[1], title[1]))
    return frozenset(shown)


def _wait_for(site: sites.Site, shown: Shown, start: float) -> tuple[float, int]:
    """Seconds from `start`, on the wall clock, to the last live feed, once exactly that is shown and nothing moves.

    With it how many articles are not as they should be: 0, or what is left when time is up.
    """
    feeds, end, before = _Feeds(site.feeds), time.monotonic() + _DEADLINE_S, -1.0
    while time.monotonic() < end:
        time.sleep(0.5)
        last = max((path.stat().st_ctime for path in sites.live_feeds(site.feeds)), default=0.0)
        if feeds.read() == shown and last == before:
            return last - start, 0
        before = last
    return _DEADLINE_S, len(feeds.read() ^ shown)
