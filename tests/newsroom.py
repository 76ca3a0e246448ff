"""A newsroom for tests: a folder of articles, a publisher over it, a clock of its own, and the oracle.

The oracle is a clean rebuild: the same state, an empty output folder, every document written anew by the same
settings. `Newsroom.check` holds the published folder equal to it, byte for byte.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import yaml
from msgspec.structs import replace

from feedd import bulk, intake, ownership, publish, site
from feedd.plan import Known
from feedd.store import Store, open_store
from feedd.store.sqlite import NAME

START = 1_700_000_000
SITE = "https://news.example"


def settings_for(**own: Any) -> site.Settings:
    """Settings with small windows, so that a few articles fill archives."""
    given: dict[str, Any] = {
        "title": "Example News", "url": SITE, "public_url": "https://feeds.example", "tag_host": "news.example",
        "limit": 3,
    }
    return site.Settings(**given | own)


def article(title: str = "A title", body: str = "", **fields: Any) -> str:
    """The text of an article file; a field of None is left out."""
    data = {
        "title": title, "excerpt": f"About {title}", "publishedDateTime": "2023-01-01T00:00:00Z",
        "webUrl": f"https://www.source.example/{title.replace(' ', '-')}", "category": "news", "type": "article",
        "provider": {"name": "Source", "domain": "source.example"}, "topics": ["AI"], "published": True,
    } | fields
    known = {key: value for key, value in data.items() if value is not None}
    return f"---\n{yaml.safe_dump(known, allow_unicode=True, sort_keys=False)}---\n{body}"


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for the one that says whose it is."""
    found = (path for path in sorted(folder.rglob("*")) if path.name != ownership.NAME and path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class Newsroom:
    """Files are changed with `put`, `move` and `drop`; `publish` is one run of the daemon's round over all of them."""

    def __init__(self, folder: Path, settings: site.Settings | None = None, *, parallel: bool = False) -> None:
        self.articles, self.out, self.state = folder / "articles", folder / "feeds", folder / "state"
        self.articles.mkdir(parents=True, exist_ok=True)
        self.now = START
        self.parallel = parallel
        self.settings = settings or settings_for()
        self.open()

    @property
    def plan(self) -> bulk.Plan:
        """What a daemon with these settings would be given."""
        source = intake.Source(str(self.articles), self.settings.url, 1 << 20, self.settings.rules)
        return bulk.Plan(source, self.settings, str(self.state), str(self.out))

    def open(self) -> None:
        """Starts feedd: a state and a publisher."""
        self.store: Store = open_store(str(self.state))
        log: Any = structlog.get_logger()
        self.publisher = publish.Publisher(self.store, self.plan, log, settle_ns=0, parallel=self.parallel)
        self.publisher.prepare(now=self.now)

    def close(self) -> None:
        """Ends feedd, without a word to the state: as well as a kill does."""
        self.publisher.close()
        self.store.close()

    def restart(self, settings: site.Settings | None = None) -> None:
        """Ends and starts it, perhaps with another configuration, and lets it publish."""
        self.close()
        self.settings = settings or self.settings
        self.open()
        self.publish()

    def put(self, path: str, text: str | bytes) -> None:
        """Writes a file, as editors do: a temporary one first, then a rename."""
        target = self.articles / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(temporary, ns=(self.now * 10**9, self.now * 10**9 - 10**10 + len(text)))
        temporary.replace(target)

    def move(self, path: str, to: str) -> None:
        """Renames a file."""
        target = self.articles / to
        target.parent.mkdir(parents=True, exist_ok=True)
        (self.articles / path).rename(target)

    def drop(self, path: str) -> None:
        """Removes a file."""
        (self.articles / path).unlink()

    def see(self, *paths: str) -> None:
        """Ingests some paths only, as after events; publishes nothing."""
        self.publisher.ingest(paths, now=self.now, now_ns=self.now * 10**9)

    def scan(self) -> None:
        """Ingests what differs from the state."""
        self.publisher.scan(now=self.now, now_ns=self.now * 10**9)

    def publish(self) -> None:
        """Scans, releases what is due, and writes the feeds."""
        self.scan()
        self.publisher.release(now=self.now)
        self.publisher.reconcile()
        self.publisher.rebuild(now=self.now)

    def clean_rebuild(self) -> dict[str, bytes]:
        """What a clean rebuild from the same state writes."""
        folder = self.state.parent / "oracle"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        source = sqlite3.connect(self.state / NAME)
        with sqlite3.connect(folder / NAME) as copy:
            source.backup(copy)
        copy.close()
        source.close()
        with open_store(str(folder)) as store:
            with store.transaction():
                store.mark_all_dirty()
                store.put_meta("listing", "")
            oracle = replace(self.plan, state_folder=str(folder), out=str(folder / "feeds"))
            log: Any = structlog.get_logger()
            publisher = publish.Publisher(store, oracle, log, settle_ns=0, parallel=False)
            publisher.rebuild(now=self.now)
            publisher.close()
        return tree(folder / "feeds")

    def check(self) -> None:
        """The invariant: what is published is what a clean rebuild from the same state would write."""
        published, clean = tree(self.out), self.clean_rebuild()
        assert published.keys() == clean.keys()
        assert [name for name in clean if published[name] != clean[name]] == []

    def entries(self, feed: str = "all") -> list[dict[str, Any]]:
        """The entries of a feed, as its JSON shows them."""
        import json

        items: list[dict[str, Any]] = json.loads((self.out / f"{feed}.json").read_bytes())["items"]
        return items

    def titles(self, feed: str = "all") -> list[str]:
        """The titles of a feed's entries, in their order."""
        return [entry["title"] for entry in self.entries(feed)]

    def known(self, path: str) -> Known:
        """What the state knows of a file's article."""
        row = self.store.find_files([path])[path]
        assert row.article_id is not None
        return self.store.find_articles([row.article_id])[row.article_id]


def changed(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> set[str]:
    """The files that differ, came or went."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
