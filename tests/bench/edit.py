"""`./bench edit`: one article of N edited, until every feed that shows it is in place, with its compressed copies.

From the close of the article file to the last of the files that showed it, found beforehand by its link. Then every one
of them must show the new title. In further, untimed edits a thread reads them all the while, to see torn ones.
"""

from __future__ import annotations

import gzip
import random
import statistics
import threading
import time
import xml.parsers.expat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import brotli

from tests.bench import changes, corpus, hugo, sites
from tests.bench.report import seconds, table

EDITS, WATCHED_EDITS, PEER_EDITS = 30, 10, 6
_DEADLINE_S = 60


@dataclass(frozen=True)
class Edits:
    """Seconds per edit, to the last file and to the last that is not compressed; how many files were waited for, were
    written besides, were read, and were read torn."""

    taken: list[float]
    plain: list[float]
    awaited: int
    besides: int
    reads: int
    torn: int

    @property
    def median_s(self) -> float:
        return statistics.median(self.taken)


def run(workshop: sites.Workshop, sizes: Iterable[int]) -> None:
    """Each size with the settling gap and without, and Hugo."""
    rows = []
    for articles in sizes:
        for settle_ms in (20, 0):
            edits = of_feedd(workshop.built(articles).site, settle_ms=settle_ms)
            rows.append(_row(f"feedd, {articles:,} articles, settle_ms = {settle_ms}", edits))
        if workshop.peer:
            rows.append(_row(f"Hugo {hugo.FOR_EDITS}, {articles:,} articles", _of_hugo(workshop.peer_site(articles))))
    head = (
        "", "median, uncompressed", "median, all files", "least", "most", "files an edit, at most", "other files",
        "torn of files read",
    )  # fmt: skip
    table("One edited article, until all of its feeds are in place", head, rows)


def of_feedd(site: sites.Site, *, settle_ms: int) -> Edits:
    """Edits under a running daemon; every copy in every format counts."""
    stories = corpus.newest_published(site.articles, EDITS)
    shown = {
        story: {
            Path(f"{base}.{format}{encoding}")
            for base in bases
            for format in ("atom", "rss", "json")
            for encoding in ("", ".gz", ".br")
        }
        for story, bases in _showing(site.feeds, stories, also=1).items()
    }
    with site.daemon(settle_ms=settle_ms):
        return _edit_all(site.feeds, shown, EDITS, quiet_s=0.2)


def _of_hugo(site: Path) -> Edits:
    stories, out = corpus.newest_published(site / "content", PEER_EDITS), site / "watched"
    sites.say(f"Hugo {hugo.FOR_EDITS} building, to be edited")
    with hugo.watch(site, out):
        bases = _showing(out, stories, also=0)
        shown = {story: {Path(f"{b}.{f}") for b in bases[story] for f in ("atom", "rss")} for story in stories}
        return _edit_all(out, shown, PEER_EDITS, quiet_s=1)


def _showing(out: Path, stories: list[corpus.Story], *, also: int) -> dict[corpus.Story, set[Path]]:
    """The feeds that show each story, without suffix: of everything, its provider, its topics, and `also` more."""
    found: dict[corpus.Story, set[Path]] = {story: set() for story in stories}
    for path in sites.live_feeds(out):
        if path.suffix == ".atom":
            text = path.read_text(encoding="utf-8")
            for story in stories:
                if f'"{story.url}"' in text:
                    found[story].add(path.with_suffix(""))
    for story, bases in found.items():
        if len(bases) != 2 + len(story.topics) + also:
            raise RuntimeError(f"{story.path} is shown by {len(bases)} feeds, of {2 + len(story.topics) + also}")
    return found


def _edit_all(out: Path, shown: dict[corpus.Story, set[Path]], count: int, *, quiet_s: float) -> Edits:
    originals = {story: story.path.read_bytes() for story in shown}
    stories, besides, phase = list(shown), 0, random.Random(1)
    taken: list[tuple[float, float]] = []
    with changes.Changes(out) as watch:

        def edit(n: int) -> None:
            nonlocal besides
            story = stories[n % len(stories)]
            time.sleep(phase.random() / 2)  # else edits fall in step with a watcher that wakes at intervals
            title = f"Edited {n} {time.monotonic_ns()}"
            start = _retitle(story.path, title)
            last = watch.collect(shown[story], quiet_s=quiet_s, deadline_s=_DEADLINE_S)
            plain = (path for path in shown[story] if path.suffix not in (".gz", ".br"))
            taken.append((max(last[path] for path in shown[story]) - start, max(map(last.__getitem__, plain)) - start))
            besides += sum(not _is_temporary(path) for path in last.keys() - shown[story])
            for path in shown[story]:
                if title not in _text(path):
                    raise RuntimeError(f"{path} does not show {title!r}")

        try:
            for n in range(count):
                edit(n)
            timed = tuple(zip(*taken, strict=True))
            reads, torn = _reading(sorted(set().union(*shown.values())), lambda: list(map(edit, range(WATCHED_EDITS))))
        finally:
            for story, data in originals.items():
                story.path.write_bytes(data)
        time.sleep(quiet_s * 5)  # the daemon takes the originals back before it is stopped
    return Edits(list(timed[0]), list(timed[1]), max(map(len, shown.values())), besides, reads, torn)


def _retitle(path: Path, title: str) -> float:
    path.write_text(corpus.retitled(path.read_text(encoding="utf-8"), title), encoding="utf-8")
    return time.monotonic()


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") or not path.exists()


def _text(path: Path) -> str:
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else brotli.decompress(data) if path.suffix == ".br" else data
    return data.decode()


def _reading(paths: list[Path], work: Callable[[], object]) -> tuple[int, int]:
    """Do `work` while a thread reads and parses the files over and over: how many were read, and how many were torn."""
    done, counts = threading.Event(), [0, 0]

    def read() -> None:
        while not done.is_set():
            for path in paths:
                counts[0] += 1
                counts[1] += not _is_whole(path)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        work()
    finally:
        done.set()
        reader.join()
    return counts[0], counts[1]


def _is_whole(path: Path) -> bool:
    try:
        text = _text(path)
        if ".json" in path.suffixes:
            return text.rstrip().endswith("}")
        xml.parsers.expat.ParserCreate().Parse(text, True)
    except (OSError, EOFError, UnicodeDecodeError, brotli.error, xml.parsers.expat.ExpatError):
        return False
    return True


def _row(name: str, edits: Edits) -> tuple[str, ...]:
    return (
        name, seconds(statistics.median(edits.plain)), seconds(edits.median_s), seconds(min(edits.taken)),
        seconds(max(edits.taken)), f"{edits.awaited}", f"{edits.besides}", f"{edits.torn:,} of {edits.reads:,}",
    )  # fmt: skip
