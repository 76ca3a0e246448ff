"""Kills in the middle of a run of link checks, torn files, and a disk that is full: nothing is lost, no rule broken."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from feedd.store.links import NAME
from feedd.store.sqlite import NAME as ARTICLES
from tests.farm import process
from tests.faults import disk, filled
from tests.linksite import (
    asked,
    breaches,
    checkers,
    fresh,
    put_state,
    run,
    site_of,
    state_of,
    story,
    tear,
    until_asked,
)
from tests.processes import until

SLOW_MS = 60
LOST = 4  # answers, at most, that a kill costs: one in flight, and those of the tenth of a second before they are noted


def test_kills_and_stops_in_the_middle_of_a_run_lose_nothing_and_break_no_rule(
    tmp_path: Path, farm: process.Farm
) -> None:
    site = site_of(tmp_path, farm, {"gap_ms": SLOW_MS})
    urls = farm.healthy_urls(40 * 28)[25::40]
    before = asked(farm, *urls)
    site.put("a.md", story("A", *urls))

    with site.running(ready=False) as feedd:
        until_asked(farm, before, urls, 3)
        assert len(checkers(feedd)) == 1
        feedd.kill()
        until(lambda: feedd.members() == [], "no child survives")
    known = fresh(site)
    once = asked(farm, *urls) - before
    assert known <= once.keys()
    assert len(once) - len(known) <= LOST

    with site.running(ready=False) as feedd:
        until_asked(farm, before, urls, once.total() + 3)
        assert feedd.stop() < 4
        assert feedd.find("links checked")[0]["left"] > 0
    stopped = asked(farm, *urls) - before
    assert len(stopped.keys() - fresh(site)) <= 1  # what was in flight

    with site.running() as feedd:
        until_asked(farm, before, urls, stopped.total() + 3)
        (checker,) = checkers(feedd)
        os.kill(checker, signal.SIGKILL)
        assert feedd.wait("link checks ended unexpectedly")["exit_code"] == -9
        site.put("b.md", story("B"))
        site.shows("A", "B")
        assert feedd.wait("links checked")["left"] == 0
    both = asked(farm, *urls) - before
    assert both.keys() == set(urls) == fresh(site)
    assert both.total() - len(urls) <= 2 * LOST + 1
    assert breaches(farm, urls, SLOW_MS) == []


def test_torn_files_are_set_aside_and_the_others_stay(tmp_path: Path, farm: process.Farm) -> None:
    site = site_of(tmp_path, farm)
    urls = farm.healthy_urls(20)
    for n in range(5):
        site.put(f"{n}.md", story(f"S{n}", *urls[4 * n : 4 * n + 4]))
    run(site, "build")
    run(site, "check-links")
    tear(site.state / NAME, "garbage")
    with site.running() as feedd:
        assert feedd.wait("links are torn, they are made anew, unchecked")["kept_as"]
        assert feedd.wait("links checked")["fresh"] == 20
        until(lambda: not checkers(feedd), "the run is over")
        for name in (NAME, f"{NAME}-wal"):
            if (site.state / name).exists():
                tear(site.state / name, "garbage")
        mark = len(feedd.lines)
        site.put("9.md", story("S9", urls[0]))
        feedd.wait("links are torn, they are made anew, unchecked", mark)
        assert feedd.wait("links checked", mark)["fresh"] == 20
        site.shows("S0", "S1", "S2", "S3", "S4", "S9")
    site.check()
    put_state(site, urls[0], archive_url="https://copies.example/kept")
    tear(site.state / ARTICLES, "garbage")
    ids = site.ids()
    with site.running() as feedd:
        feedd.wait("state is torn, it is made anew from the articles with the same entry ids")
        feedd.wait("links checked")
    assert site.ids() == ids
    assert state_of(site, urls[0]).archive_url == "https://copies.example/kept"
    site.check()


def test_a_disk_that_is_full_in_the_middle_of_a_run_is_said_and_costs_that_run_alone(
    tmp_path: Path, farm: process.Farm
) -> None:
    site = site_of(tmp_path, farm, {"gap_ms": SLOW_MS})
    urls = farm.healthy_urls(40 * 28)[33::40]
    before = asked(farm, *urls)
    site.put("a.md", story("A", *urls))
    with disk(site.state, "size=2m"):
        with site.running() as feedd:
            until_asked(farm, before, urls, 2)
            with filled(site.state):
                feedd.wait("links cannot be checked, their verdicts stay")
            site.put("b.md", story("B"))
            site.shows("A", "B")
            assert feedd.wait("links checked")["left"] == 0
        assert fresh(site) == set(urls)
        site.check()
