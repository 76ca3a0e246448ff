"""Disks that are full, that take nothing any more, or that are not there: each a small one, mounted for the test alone.

After each: the last good feeds were there all the time, what was held up is published, and `feeds/` is what a clean
rebuild from the same state writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import (
    bind,
    disk,
    filled,
    given_back,
    held,
    known_titles,
    namespaces,
    troubles,
    turn_read_only,
    turn_writable,
    unmount,
)
from newsroom import article, tree
from processes import Daemon, Site, until

NOT_WRITTEN = "feed not written, the last good one stays"
NO_OUTPUT = "the output cannot be written, the last good feeds stay"
NO_STATE = "the state cannot be written, the last good feeds stay"
GONE = "the folder of articles is gone, its feeds stay as they are"
FEEDS = {"all", "topics/ai", "providers/source.example", "categories/news"}


def site_with(folder: Path, *titles: str) -> Site:
    site = Site(folder, feeds={"full_content": True})
    for title in titles:
        site.put(f"{title.casefold()}.md", article(title))
    return site


def wait_until_known(site: Site, title: str) -> None:
    until(lambda: title in known_titles(site), f"{title} is noted")


def is_as_before(site: Site, before: dict[str, bytes]) -> bool:
    """Whether every file that was published is there, byte for byte."""
    now = tree(site.out)
    return {name: now.get(name) for name in before} == before


@contextmanager
def ending_well(site: Site, feedd: Daemon) -> Iterator[None]:
    """What a fault leaves behind: nothing but the feeds, right, and its memory, files and threads given back."""
    before = held(feedd)
    yield
    until(site.is_written, "everything is written")
    given_back(feedd, before)
    feedd.stop()
    site.check()


# --- the output -------------------------------------------------------------------------------------------------------


def test_a_full_disk_for_feeds_and_room_again(tmp_path: Path) -> None:
    site = site_with(tmp_path, "One")
    with disk(site.out, "size=400k"), site.running() as feedd, ending_well(site, feedd):
        before = tree(site.out)
        with filled(site.out):
            for number in range(2):  # each change is a new try
                site.put("two.md", article(f"Two {number}", "word " * 2_000))
                wait_until_known(site, f"Two {number}")
            said = feedd.wait(NOT_WRITTEN, feed="all")
            assert (said["level"], said["reason"].endswith("no space left on device")) == ("error", True)
            assert is_as_before(site, before)
        site.shows("One", "Two 1")
        assert {line["feed"] for line in feedd.find(NOT_WRITTEN)} <= FEEDS
        assert troubles(feedd)[NOT_WRITTEN] <= len(FEEDS), "each feed once, however often it was tried"


def test_an_output_that_turns_read_only_and_writable_again(tmp_path: Path) -> None:
    site = site_with(tmp_path, "One")
    with disk(site.out, "size=4m"), site.running() as feedd, ending_well(site, feedd):
        (site.out / "topics/stray.atom").write_text("of no feed")
        turn_read_only(site.out, "size=4m")
        before = tree(site.out)
        for number in range(2):
            site.put(f"two-{number}.md", article(f"Two {number}"))
            wait_until_known(site, f"Two {number}")
        said = feedd.wait(NOT_WRITTEN, feed="all")
        assert said["reason"].endswith("read-only file system")
        assert tree(site.out) == before
        turn_writable(site.out, "size=4m")
        site.shows("One", *(f"Two {number}" for number in range(2)))
        assert troubles(feedd)[NOT_WRITTEN] <= len(FEEDS)
        until(lambda: not (site.out / "topics/stray.atom").exists(), "the stray file goes")


def test_a_start_on_a_read_only_disk_waits_until_it_can_write(tmp_path: Path) -> None:
    site = site_with(tmp_path, "One")
    with disk(site.out, "size=4m"):
        with site.running():
            pass
        (site.out / "topics/stray.atom").write_text("of no feed")  # a start wants to remove it
        turn_read_only(site.out, "size=4m")
        site.put("two.md", article("Two"))
        with site.running(ready=False) as feedd:
            feedd.wait(NO_OUTPUT)
            assert site.titles() == ["One"]
            turn_writable(site.out, "size=4m")
            site.shows("One", "Two")
            feedd.wait_until_ready()
            until(lambda: not (site.out / "topics/stray.atom").exists(), "the stray file goes")
            until(site.is_written, "everything is written")
            feedd.stop()
            assert troubles(feedd)[NO_OUTPUT] == 1
        site.check()


# --- the state --------------------------------------------------------------------------------------------------------


def test_a_full_disk_for_the_state_and_room_again(tmp_path: Path) -> None:
    site = site_with(tmp_path, "One")
    titles = [f"Story {number}" for number in range(30)]
    with disk(site.state, "size=1m"), site.running() as feedd, ending_well(site, feedd):
        before = tree(site.out)
        with filled(site.state):
            for number, title in enumerate(titles):
                site.put(f"{number}.md", article(title, "word " * 200))
            feedd.wait(NO_STATE, level="error")
            assert tree(site.out) == before
            line = len(feedd.lines)
            for number, title in enumerate(titles[:10]):
                site.put(f"{number}.md", article(title, "words " * 200))
            feedd.wait("scanning", line, reason="the state could not be written")
            assert tree(site.out) == before
        site.shows("One", *titles)
        assert troubles(feedd)[NO_STATE] == 1, "once, however often it was tried"


def test_a_full_disk_before_the_first_start_is_a_sentence(tmp_path: Path) -> None:
    site = site_with(tmp_path, "One")
    with disk(site.state, "size=64k"):
        with filled(site.state):
            done = site.command("run")
            assert done.returncode == 3
            assert "Traceback" not in done.stderr
            assert str(site.state) in done.stderr
        # the smallest disk that holds nothing yet
        assert not site.out.exists() or tree(site.out) == {}


# --- the articles -----------------------------------------------------------------------------------------------------


def test_a_disk_of_articles_that_is_unmounted_and_mounted_again(tmp_path: Path) -> None:
    site = site_with(tmp_path)
    away = tmp_path / "disk"
    away.mkdir()
    for title in ("One", "Two"):
        (away / f"{title.casefold()}.md").write_text(article(title))
    with namespaces():
        bind(away, site.articles)
        with site.running() as feedd, ending_well(site, feedd):
            before, ids = tree(site.out), site.ids()
            for _ in range(3):
                line = len(feedd.lines)
                unmount(site.articles)
                assert os.listdir(site.articles) == []
                feedd.wait(GONE, line, level="error")
                assert tree(site.out) == before
                assert known_titles(site) == {"One", "Two"}
                gone = len(feedd.lines)
                bind(away, site.articles)
                feedd.wait("scanned", gone)
                feedd.wait("it works again", gone)  # else what comes next is the same trouble still
                assert tree(site.out) == before
                assert troubles(feedd, line)[GONE] == 1
            unmount(site.articles)  # and at once, before anybody saw it: events tell of files that cannot be seen
            (away / "two.md").write_text(article("Two", excerpt="Edited meanwhile"))
            (away / "three.md").write_text(article("Three"))
            (away / "one.md").unlink()
            bind(away, site.articles)
            site.shows("Two", "Three")
            assert site.ids()["Two"] == ids["Two"]
            assert [item["summary"] for item in site.items() if item["title"] == "Two"] == ["Edited meanwhile"]


def test_a_disk_of_articles_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    site = site_with(tmp_path)
    away = tmp_path / "disk"
    away.mkdir()
    (away / "one.md").write_text(article("One"))
    with namespaces():
        bind(away, site.articles)
        with site.running():
            before = tree(site.out)
        unmount(site.articles)
        with site.running(ready=False) as feedd:
            said = feedd.wait(GONE)
            assert said["reason"].endswith("empty, and not the folder that it was: is something not mounted?")
            assert tree(site.out) == before
            assert feedd.get("/readyz")[0] == 503
            assert feedd.get("/all.atom")[2] == before["all.atom"]
            bind(away, site.articles)
            feedd.wait_until_ready()
            assert tree(site.out) == before
            assert troubles(feedd)[GONE] == 1
        site.check()


def test_a_disk_that_goes_in_the_middle_of_the_first_reading_of_many_files(tmp_path: Path) -> None:
    site = Site(tmp_path, feeds={"compress": [], "archives": False}, log={"level": "info"})
    away = tmp_path / "disk"
    for number in range(2_000):  # so many that worker processes read them
        path = away / f"{number % 40}/{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(article(f"Story {number}"))
    with namespaces():
        bind(away, site.articles)
        with site.running(ready=False) as feedd:
            until(lambda: len(feedd.members()) > 2, "workers read")
            unmount(site.articles)
            feedd.wait(GONE)
            assert feedd.poll() is None
            line = len(feedd.lines)
            bind(away, site.articles)
            feedd.wait("up to date", line)
            assert len(known_titles(site)) == 2_000
            assert troubles(feedd).keys() <= {GONE, "watching anew", "the article folder is gone"}
            until(site.is_written, "everything is written")
            feedd.stop()
        site.check()


@pytest.mark.parametrize("is_running", [True, False])
def test_a_disk_below_the_folder_of_articles_that_is_unmounted_takes_none_of_its_articles_along(
    tmp_path: Path, is_running: bool
) -> None:
    site = site_with(tmp_path, "One")
    away, below = tmp_path / "disk", site.articles / "archive"
    (away / "deep").mkdir(parents=True)
    below.mkdir()
    (away / "two.md").write_text(article("Two"))
    (away / "deep/three.md").write_text(article("Three"))
    with namespaces():
        bind(away, below)
        with site.running() as feedd:
            before = tree(site.out)
            if is_running:
                line = len(feedd.lines)
                unmount(below)
                feedd.wait("scanned", line)
                site.put("four.md", article("Four"))
                site.shows("One", "Two", "Three", "Four")
                said = feedd.wait("article rejected", line)
                assert (said["path"], "something was mounted there" in said["reason"]) == ("archive/", True)
                (site.articles / "four.md").unlink()
                (away / "two.md").unlink()
                bind(away, below)
                site.shows("One", "Three")
                (away / "two.md").write_text(article("Two"))
                site.shows("One", "Two", "Three")
        if not is_running:
            unmount(below)
            with site.running() as feedd:
                assert tree(site.out) == before
                feedd.wait("article rejected", path="archive/")
                bind(away, below)
        site.check()
