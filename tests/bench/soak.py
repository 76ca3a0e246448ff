"""`./bench soak --minutes 60`: churn at 50 changes a second with readers polling, and what the daemon holds meanwhile.

Nine of ten changes mean nothing to a reader; the others edit, add, remove, rename and break articles, and mend them.
Memory, open files, threads and the folders' sizes are read as it goes: they must be flat. At the end `feedd verify`
compares feeds and state, and the status must count as many published articles as this module does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.bench import measure, sites
from tests.bench.report import megabytes, seconds, table

ARTICLES, A_SECOND, READERS, POLL_S = 2_000, 50, 40, 2.0
ROWS = 12  # of the table, about
_KINDS = ("silent",) * 90 + ("edit",) * 4 + ("add",) * 2 + ("remove",) * 2 + ("rename", "break")
_TOPICS = ("Harbours", "Energy", "Machines", "Tides", "Archives", "Gardens")


def run(workshop: sites.Workshop, minutes: float) -> None:
    """The whole of it."""
    site = sites.Site(workshop.home / "feedd-soak", workshop.home / "soak")
    newsroom = Newsroom(site.articles, random.Random(1))
    for _ in range(ARTICLES):
        newsroom.add()
    with site.daemon() as daemon:
        readers = Readers(daemon.port, [path.relative_to(site.feeds) for path in sites.live_feeds(site.feeds)])
        readers.start()
        samples = _churn(newsroom, site, daemon, minutes * 60)
        readers.stop()
        _until_quiet(daemon.port)
        published, log = _status(daemon.port)["counts"], (site.home / "log.txt").read_text(encoding="utf-8")
    verified = subprocess.run(
        sites.command(site.configure(), "verify"), cwd=site.home, env=sites.ENVIRONMENT, capture_output=True,
        text=True,
    )  # fmt: skip
    _report(samples, newsroom, readers, minutes)
    print(f"\nPublished: {published['entries']}, as they should: {newsroom.published}.", end=" ")
    print(f"`feedd verify`: exit code {verified.returncode}: {verified.stdout.strip().splitlines()[-1:]}")
    print("Log lines by level:", dict(Counter(line.split(maxsplit=2)[1] for line in log.splitlines() if " " in line)))


@dataclass
class Newsroom:
    """Changes files as publishers' machines do, and knows how many are published."""

    root: Path
    random: random.Random
    made: int = 0
    paths: list[Path] = field(default_factory=list)
    numbers: dict[Path, int] = field(default_factory=dict)  # of stories: two files with one link would be one entry
    broken: list[Path] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    @property
    def published(self) -> int:
        """A file that cannot be read keeps its last good version published."""
        return len(self.paths) + len(self.broken)

    def change(self) -> None:
        """One of them."""
        kind = self.random.choice(_KINDS)
        if kind == "add" or len(self.paths) < ARTICLES // 2:
            self.add()
        elif kind == "break" and len(self.broken) > 5:
            self.paths.append(self.broken.pop(0))
            self._edit(-1)
            kind = "mend"
        else:
            getattr(self, f"_{kind}")(self.random.randrange(len(self.paths)))
        self.done[kind] += 1

    def add(self) -> None:
        """A new article."""
        self.made += 1
        path = self.root / f"{self.made % 24:02}" / f"{self.made:06}.md"
        self.numbers[path] = self.made
        self._write(path, self._text(path, "Story"))
        self.paths.append(path)

    def _silent(self, at: int) -> None:
        text = self.paths[at].read_text(encoding="utf-8")
        head, _, rest = text.partition("heat: ")
        self._write(self.paths[at], f"{head}heat: {self.random.randrange(1000)}\n{rest.partition(chr(10))[2]}")

    def _edit(self, at: int) -> None:
        path = self.paths[at]
        self._write(path, self._text(path, f"Edited {self.random.random()}:"))

    def _remove(self, at: int) -> None:
        path = self._take(at)
        del self.numbers[path]
        path.unlink()

    def _rename(self, at: int) -> None:
        old = self._take(at)
        self.made += 1
        new = old.with_name(f"{self.made:06}.md")
        self.numbers[new] = self.numbers.pop(old)
        old.rename(new)
        self.paths.append(new)

    def _break(self, at: int) -> None:
        path = self._take(at)
        self._write(path, "---\ntitle: a: b\n---\n")
        self.broken.append(path)

    def _take(self, at: int) -> Path:
        self.paths[at], self.paths[-1] = self.paths[-1], self.paths[at]
        return self.paths.pop()

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)

    def _text(self, path: Path, title: str) -> str:
        number = self.numbers[path]
        day, minute = 1 + number % 28, number % 1440
        topics = ", ".join(sorted(self.random.sample(_TOPICS, 2)))
        return (
            f'---\ntitle: "{title} {number}"\nexcerpt: "What happened, and to whom, in {number} words."\n'
            f"publishedDateTime: 2026-01-{day:02}T{minute // 60:02}:{minute % 60:02}:00Z\n"
            f"webUrl: https://news.example/{number}\ncategory: news\nheat: 1\n"
            f"provider: {{name: Harbour Post, domain: harbourpost.example}}\ntopics: [{topics}]\npublished: true\n---\n"
            f"{'The body of a story. ' * 40}\n"
        )


class Readers:
    """Feed readers, each with a feed of its own, that ask on a condition, half of them for deltas; and time it."""

    def __init__(self, port: int, feeds: list[Path]) -> None:
        self._port, self._feeds = port, feeds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._poll_all()))
        self.statuses: Counter[str] = Counter()
        self.taken: list[float] = []

    def start(self) -> None:
        """They ask from now on."""
        self._thread.start()

    def stop(self) -> None:
        """And no more."""
        self._stopping.set()
        self._thread.join()

    async def _poll_all(self) -> None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self._port}") as session:
            await asyncio.gather(*(self._poll(session, number) for number in range(READERS)))

    async def _poll(self, session: aiohttp.ClientSession, number: int) -> None:
        feed, headers = self._feeds[number % len(self._feeds)], {"User-Agent": f"Reader/{number}"}
        if number % 2:
            headers["A-IM"] = "feed"
        await asyncio.sleep(POLL_S * number / READERS)
        while not self._stopping.is_set():
            began = time.perf_counter()
            try:
                async with session.get(f"/{feed}", headers=headers) as answer:
                    await answer.read()
                    self.statuses[str(answer.status)] += 1
                    headers["If-None-Match"] = answer.headers.get("ETag", "")
            except aiohttp.ClientError as error:
                self.statuses[type(error).__name__] += 1
            self.taken.append(time.perf_counter() - began)
            await asyncio.sleep(POLL_S)


@dataclass(frozen=True)
class Sample:
    """What the daemon held, `at_s` after the start."""

    at_s: float
    rss: int
    files: int
    connections: int
    threads: int
    state: int
    feeds: int


def _churn(newsroom: Newsroom, site: sites.Site, daemon: sites.Daemon, for_s: float) -> list[Sample]:
    samples: list[Sample] = []
    began, count = time.monotonic(), 0
    every_s = for_s / ROWS
    while (now_s := time.monotonic() - began) < for_s:
        if now_s >= len(samples) * every_s:
            samples.append(_sample(site, daemon.pid, now_s))
            sites.say(f"{now_s:.0f} s, {count} changes, {samples[-1]}")
        for _ in range(min(int(now_s * A_SECOND) - count, A_SECOND)):
            newsroom.change()
            count += 1
        time.sleep(0.01)
    return [*samples, _sample(site, daemon.pid, for_s)]


def _sample(site: sites.Site, pid: int, at_s: float) -> Sample:
    threads = len(os.listdir(f"/proc/{pid}/task"))
    files, connections = _open_files(pid)
    return Sample(
        at_s, measure.memory(pid).rss, files, connections, threads, _size(site.home / "state"), _size(site.feeds)
    )  # fmt: skip


def _open_files(pid: int) -> tuple[int, int]:
    """How many a process has open: those that are no sockets, and sockets."""
    kinds = Counter[bool]()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            kinds[os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")] += 1
    return kinds[False], kinds[True]


def _size(folder: Path) -> int:
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(base, name)).st_size
            except FileNotFoundError:
                continue  # replaced meanwhile
    return total


def _status(port: int) -> dict[str, dict[str, int]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/status.json") as answer:
        status: dict[str, dict[str, int]] = json.load(answer)
    return status


def _until_quiet(port: int) -> None:
    """Until nothing waits to be written, in three looks a second apart."""
    quiet = 0
    while quiet < 3:
        time.sleep(1)
        quiet = 0 if _status(port)["waiting"] else quiet + 1


def _report(samples: list[Sample], newsroom: Newsroom, readers: Readers, minutes: float) -> None:
    rows = [
        (
            f"{sample.at_s / 60:.0f} min", megabytes(sample.rss), str(sample.files), str(sample.connections),
            str(sample.threads), megabytes(sample.state), megabytes(sample.feeds),
        )
        for sample in samples
    ]  # fmt: skip
    head = ("after", "RSS", "open files", "sockets", "threads", "state", "feeds")
    table(f"{minutes:g} minutes of {A_SECOND} changes a second, {READERS} readers", head, rows)
    taken = sorted(readers.taken)
    print("\nChanges:", dict(newsroom.done))
    print(f"Answers: {dict(readers.statuses)}; median {seconds(statistics.median(taken))},", end=" ")
    print(f"99th percentile {seconds(taken[len(taken) * 99 // 100])}")
