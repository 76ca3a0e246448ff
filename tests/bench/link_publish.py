"""What a run of link checks costs who publishes: one edit of 1,000 articles, without a run and while one is on.

The links are those of articles of their own, and lead to the farm; all others are left alone. The daemon starts the run
by itself, with no gap between requests, so that it takes all it can get.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from feedd.store.links import open_links
from tests.bench import edit, sites
from tests.bench.report import seconds, table, times
from tests.farm import addresses, process

ARTICLES, HOSTS, LINKS = 1_000, 1_000, 150_000
AN_ARTICLE = 250  # links
DELAY_MS = 20.0


def run(folder: Path) -> None:
    """Two rows, with and without."""
    workshop = sites.Workshop(folder, folder, peer=False)
    with process.running(folder / "farm.log", hosts=HOSTS, copies=0, delay_ms=DELAY_MS) as farm:
        articles = folder / "articles"
        shutil.copytree(workshop.corpus(ARTICLES), articles)
        urls = farm.healthy_urls(LINKS)
        for start in range(0, len(urls), AN_ARTICLE):
            (articles / f"links-{start}.md").write_text(_article(start, urls[start : start + AN_ARTICLE]))
        site = sites.Site(folder / "site", articles)
        site.build()
        quiet = [edit.of_feedd(site, settle_ms=settle_ms) for settle_ms in (20, 0)]
        checked = replace(site, links=_links(farm.ports.allowed))
        busy, done = [], []
        for settle_ms in (20, 0):
            before = _count(site)
            busy.append(edit.of_feedd(checked, settle_ms=settle_ms))
            done.append(_count(site) - before)
    rows = [
        (f"settle_ms = {settle_ms}", seconds(without.median_s), seconds(beside.median_s),
         times(beside.median_s / without.median_s), f"{links:,}", str(without.torn + beside.torn))
        for settle_ms, without, beside, links in zip((20, 0), quiet, busy, done, strict=True)
    ]  # fmt: skip
    head = ("an edit, until all of its feeds are in place", "no run", "a run is on", "ratio", "links checked", "torn")
    table(f"Publishing beside link checks, {ARTICLES:,} articles", head, rows)


def _count(site: sites.Site) -> int:
    """How many links were checked so far."""
    folder = site.home / "state"
    if not (folder / "links.sqlite").exists():
        return 0
    with closing(open_links(str(folder), read_only=True)) as links:
        counts = links.count_by_verdict()
        return sum(count for verdict, count in counts.items() if verdict not in ("unchecked", "excluded"))


def _links(ports: list[int]) -> str:
    return (
        f'enabled = true\nsoon_s = 1\ngap_ms = 0\nat_once = 128\nports = {list(ports)}\n'
        f'allow_networks = ["{addresses.NETWORK}"]\n'
        '[links.host."*.example"]\naction = "skip"\n'
    )


def _article(number: int, urls: list[str]) -> str:
    related = "".join(f'  - title: "Story {n}"\n    webUrl: "{url}"\n' for n, url in enumerate(urls))
    return (
        f'---\ntitle: "Links {number}"\npublishedDateTime: 2001-01-01T00:00:00Z\ncategory: links\npublished: true\n'
        f'webUrl: "https://links.example/{number}"\nprovider:\n  name: Links\n  domain: links.example\n'
        f"related:\n{related}---\n"
    )
