"""Whole corpora published: every feed made from them is valid, and every rejected file is named.

The samples are always there. The real corpus lies beside the project on its developers' machines (or where
FEEDD_SHARED says); it names real hosts, which nothing here talks to.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import feedparser
import pytest
from newsroom import Newsroom, settings_for

from feedd import lint, model

PROJECT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("FEEDD_SHARED", PROJECT.parent / "shared"))
CORPORA = [PROJECT / "articles", *(sorted((SHARED / "corpus" / "real").glob("*/")))]
FORMATS: dict[str, model.Format] = {".atom": "atom", ".rss": "rss", ".json": "json"}


def publish(folder: Path, corpus: Path, *, full_content: bool) -> Newsroom:
    (folder / "articles").symlink_to(corpus)
    room = Newsroom(folder, settings_for(limit=20, full_content=full_content))
    room.now = int(time.time())
    room.publish()
    return room


@pytest.mark.parametrize("full_content", [False, True], ids=["summary", "full"])
@pytest.mark.parametrize("corpus", CORPORA, ids=lambda path: path.name)
def test_every_feed_of_a_corpus_is_valid(tmp_path: Path, corpus: Path, full_content: bool) -> None:
    room = publish(tmp_path, corpus, full_content=full_content)
    found, seen = [], 0
    for path in sorted(room.out.rglob("*")):
        url = f"https://feeds.example/{path.relative_to(room.out)}"
        if path.suffix in FORMATS:
            seen += 1
            found += [(url, f) for f in lint.lint(path.read_bytes(), FORMATS[path.suffix], self_url=url, now=room.now)]
        elif path.suffix == ".opml":
            found += [(url, f) for f in lint.lint_opml(path.read_bytes())]
    assert found == []
    assert seen > 20
    room.check()
    room.close()


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda path: path.name)
def test_every_file_is_published_unpublished_or_named(tmp_path: Path, corpus: Path) -> None:
    room = publish(tmp_path, corpus, full_content=False)
    files = {str(path.relative_to(corpus)) for path in corpus.rglob("*") if path.is_file()}
    known = {row.path for row in room.store.iter_files()}
    assert files == known
    broken = {problem.path for problem in room.store.list_problems()}
    assert {row.path for row in room.store.iter_files() if row.article_id is None} == broken | {
        path for path in files if "_data/" in path
    }
    live = feedparser.parse((room.out / "all.atom").read_bytes())
    assert len(live.entries) == min(20, room.store.count()["entries"])
    room.close()
