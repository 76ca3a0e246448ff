"""kill -9 of the real program, at any moment; what a restart must make good again.

After each history: `feeds/` is, byte for byte, what a clean rebuild from the same state writes, no temporary file is
left, every article that should be is there, and no entry has ever had two ids.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from newsroom import article, tree
from processes import DEADLINE_S, Daemon, Site, until

_ENTRY = re.compile(rb"<entry>\s*<id>([^<]+)</id>\s*<title[^>]*>([^<]+)</title>")


class Churn:
    """A folder of articles that somebody edits, renames and removes; knows what should be published."""

    def __init__(self, site: Site, seed: int, count: int) -> None:
        self.site, self.random = site, random.Random(seed)
        self.paths: dict[str, str] = {}  # title -> path of what is there
        self.texts: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, str] = {}  # title -> id, once it was seen
        self.number = 0
        for _ in range(count):
            self.add()

    def step(self) -> None:
        """One change of one file."""
        kind = self.random.choices(("add", "edit", "move", "drop", "silent"), (3, 5, 3, 2, 1))[0]
        title = self.random.choice(sorted(self.paths))
        if kind == "add":
            self.add()
        elif kind == "move":
            old = self.site.articles / self.paths[title]
            self.paths[title] = f"{self.random.randrange(4)}/moved-{self.number}-{old.name[-12:]}"
            (self.site.articles / self.paths[title]).parent.mkdir(exist_ok=True)
            old.rename(self.site.articles / self.paths[title])
        elif kind == "drop" and len(self.paths) > 10:
            (self.site.articles / self.paths.pop(title)).unlink()
        else:
            self.texts[title]["excerpt" if kind == "edit" else "heat"] = f"Edit {self.number}"
            self.write(title)
        self.number += 1

    def add(self) -> None:
        """A new file."""
        self.number += 1
        title = f"Story {self.number}"
        topics = self.random.sample(["AI", "Tides", "C++", "Boats"], 2)
        self.texts[title] = {"topics": topics, "publishedDateTime": f"2024-01-{self.number % 28 + 1:02}T00:00:00Z"}
        self.paths[title] = f"{self.random.randrange(4)}/{self.number}.md"
        self.write(title)

    def write(self, title: str) -> None:
        text = article(title, "Some words. " * 40, **self.texts[title])
        if self.random.random() < 0.5:
            self.site.put(self.paths[title], text)
        else:
            (self.site.articles / self.paths[title]).parent.mkdir(exist_ok=True)
            (self.site.articles / self.paths[title]).write_text(text)

    def look(self) -> set[str]:
        """The titles that subscribers can see, archives included; an id that was seen once never changes."""
        titles = set()
        for path in [self.site.out / "all.atom", *(self.site.out / "archives/all").glob("*.atom")]:
            for entry_id, title in _ENTRY.findall(path.read_bytes()) if path.exists() else ():
                assert self.ids.setdefault(title.decode(), entry_id.decode()) == entry_id.decode()
                titles.add(title.decode())
        return titles


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_of_a_busy_day(tmp_path: Path, seed: int) -> None:
    site = Site(tmp_path, feeds={"limit": 8}, articles={"settle_ms": 3, "max_wait_ms": 20})
    churn = Churn(site, seed, 40)
    for _ in range(12):
        with Daemon(site) as feedd:
            end = time.monotonic() + DEADLINE_S
            kill_after, lines = churn.random.randrange(30), churn.random.randrange(1, 25)
            while kill_after or len(feedd.lines) < lines:  # it is starting, scanning, writing feeds or archives
                if feedd.find("watching") and churn.random.random() < 0.7:
                    churn.step()
                    kill_after = max(0, kill_after - 1)
                else:
                    time.sleep(churn.random.random() * 0.002)
                assert time.monotonic() < end
            feedd.kill()
        churn.look()
        for _ in range(churn.random.randrange(4)):
            churn.step()  # while nobody watches
    with site.running():
        churn.add()
        until(lambda: churn.look() == churn.paths.keys(), "all articles, and no others")
        until(site.is_written, "everything is written")
        churn.look()
    site.check()
    assert not [name for name in tree(tmp_path) if "/.feedd-" in name]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 2,500 articles in 500 topics."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(2_500):
        (folder / f"{number}.md").write_text(
            article(f"Story {number}", topics=[f"Topic {number % 500}", f"Group {number % 7}"])
        )
    return folder


@pytest.fixture
def large(tmp_path: Path, many: Path) -> Site:
    """A site of so many articles that workers read and write them."""
    site = Site(tmp_path, feeds={"limit": 50, "compress": ["gzip"], "providers": False})
    site.articles.rmdir()
    shutil.copytree(many, site.articles)
    return site


@pytest.mark.parametrize("count", [1, None])
@pytest.mark.parametrize("moment", ["scanning", "scanned"])
def test_workers_that_are_killed_hold_up_nothing(large: Site, moment: str, count: int | None) -> None:
    with Daemon(large) as feedd:
        feedd.wait(moment, within_s=30)
        kill_workers(feedd, count)
        feedd.wait(LOST, within_s=30)
        feedd.wait("up to date", within_s=60)
        until(large.is_written, "everything is written", within_s=60)
        assert workers_of(feedd) == []
        assert not [name for name in tree(large.out) if "/.feedd-" in f"/{name}"]
    assert len(large.paths()) == 2_500
    large.check()


def test_a_build_whose_workers_are_killed_does_it_alone(large: Site) -> None:
    with Daemon(large, "build") as build:
        kill_workers(build, 1)
        assert build.end() == 0
        assert build.find(LOST)
    large.check()


LOST = "a worker process was ended, for want of memory perhaps; its work is done without any"


def kill_workers(feedd: Daemon, count: int | None) -> None:
    """As soon as there is one: so many of them, those that start now among them."""
    for pid in until(lambda: workers_of(feedd), "workers work")[:count]:
        os.kill(pid, signal.SIGKILL)


def workers_of(feedd: Daemon) -> list[int]:
    return [pid for pid in feedd.members() if "spawn_main" in command_of(pid)]


def command_of(pid: int) -> str:
    """Its command line; empty if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


@pytest.mark.parametrize("moment", ["reading", "writing", "archives"])
def test_killed_during_the_first_build(tmp_path: Path, many: Path, moment: str) -> None:
    site = Site(tmp_path, feeds={"limit": 50, "compress": ["gzip"], "providers": False})
    site.articles.rmdir()
    shutil.copytree(many, site.articles)
    with Daemon(site) as feedd:
        feedd.wait("scanning")
        if moment == "reading":
            until(lambda: len(feedd.members()) > 2, "workers read", within_s=30)
        elif moment == "writing":
            feedd.wait("scanned", within_s=30)
            until(lambda: (site.out / "topics").exists(), "feeds are written", within_s=30)
        else:
            until(lambda: (site.out / "archives/all").exists(), "archives are written", within_s=60)
        feedd.kill()
        until(lambda: feedd.members() == [], "its workers end by themselves")
    with site.running(ready=False) as feedd:
        feedd.wait("up to date", within_s=60)
        until(site.is_written, "everything is written", within_s=60)
    site.check()
    titles = {title for path in [site.out / "all.atom", *(site.out / "archives/all").glob("*.atom")]
              for _, title in _ENTRY.findall(path.read_bytes())}
    assert len(titles) == 2_500


def test_a_build_that_is_killed_is_finished_by_the_next_one(tmp_path: Path) -> None:
    site = Site(tmp_path, feeds={"limit": 5})
    churn = Churn(site, 3, 60)
    with Daemon(site, "build") as build:
        until(lambda: (site.out / "topics").exists(), "feeds are written")
        build.kill()
    site.command("build")
    assert churn.look() == churn.paths.keys()
    assert site.is_written()
    site.check()
