"""`feedd diff NEW.toml`: what subscribers would see by another configuration; nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from newsroom import article, tree
from processes import Site


@pytest.fixture
def news(tmp_path: Path) -> Site:
    """A site of four articles in two topics, published."""
    site = Site(tmp_path)
    for number, topic in enumerate(("AI", "AI", "Tides", "Tides"), 1):
        fields = {"quality": number * 10, "publishedDateTime": f"2023-01-0{number}T00:00:00Z", "webUrl": f"/{number}"}
        site.put(f"{number}.md", article(f"Story {number}", topics=[topic], **fields))
    assert site.command("build").returncode == 0
    return site


def wanted(site: Site, /, more: str = "", **tables: Any) -> str:
    """Another configuration, in a file elsewhere."""
    present, text = site.config, site.config.read_text()
    site.configure(**tables)
    path = site.folder / "else" / "where.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(site.config.read_text() + more)
    present.write_text(text)
    return str(path)


def diff(site: Site, path: str) -> dict[str, Any]:
    """What the command says as JSON; its exit code is held to that."""
    done = site.command("diff", path, "--json")
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == bool(found["feeds"] or found["entries"])
    return found


def test_the_same_configuration_is_no_difference_wherever_it_lies(news: Site) -> None:
    before = tree(news.folder)
    found = diff(news, wanted(news))
    assert found == {"feeds": [], "entries": [], "needs_restart": []}
    done = news.command("diff", str(news.config))
    assert (done.returncode, done.stdout) == (
        0, "feeds: 0 new, 0 changed, 0 removed; entries, summed over feeds: 0 new, 0 updated, 0 removed\n"
    )
    after = tree(news.folder)
    of_readers = {"state/feedd.db-wal", "state/feedd.db-shm"}  # SQLite makes these for whoever reads
    assert {name for name in after if after[name] != before.get(name)} - of_readers == {"else/where.toml"}


def test_feeds_that_come_go_and_look_otherwise(news: Site) -> None:
    own = '[feeds.topic.AI]\ntitle = "Machines"\n[feeds.custom.good]\nmin_quality = 30\n'
    path = wanted(news, own, feeds={"categories": False})
    found = diff(news, path)
    assert [(feed["feed"], feed["what"], feed["entries"]) for feed in found["feeds"]] == [
        ("categories/news", "removed", 4), ("feeds/good", "new", 2), ("topics/ai", "changed", 2),
    ]
    changed = found["feeds"][2]
    assert (changed["before"]["title"], changed["after"]["title"]) == ("AI – Example News", "Machines")
    assert found["entries"] == []
    lines = news.command("diff", path).stdout.splitlines()
    assert "categories/news: removed feed of 4 entries" in lines
    assert "topics/ai: title: AI – Example News -> Machines" in lines
    assert lines[-1].startswith("feeds: 1 new, 1 changed, 1 removed;")


def test_entries_that_come_and_go_with_conditions_and_limits(news: Site) -> None:
    news.config.write_text(news.config.read_text() + "[feeds.custom.good]\nmin_quality = 20\nlimit = 2\n")
    assert news.command("build").returncode == 0
    found = diff(news, wanted(news, "[feeds.custom.good]\nnot_topics = ['Tides']\nlimit = 3\n"))
    assert [(entry["feed"], entry["what"], entry["title"]) for entry in found["entries"]] == [
        ("feeds/good", "new", "Story 2"), ("feeds/good", "new", "Story 1"),
        ("feeds/good", "removed", "Story 4"), ("feeds/good", "removed", "Story 3"),
    ]
    assert found["feeds"][0]["after"] == {"entries at most": "3"}


def test_other_ids_make_every_entry_new_and_another_address_updates_what_is_resolved_against_it(news: Site) -> None:
    found = diff(news, wanted(news, site={"tag_host": "other.example"}))
    assert {entry["what"] for entry in found["entries"]} == {"new"}
    assert len([entry for entry in found["entries"] if entry["feed"] == "all"]) == 4
    found = diff(news, wanted(news, site={"url": "https://other.example", "tag_host": "news.example"}))
    assert {entry["what"] for entry in found["entries"]} == {"updated"}


def test_what_changed_in_files_is_no_difference_and_a_state_is_not_needed(news: Site) -> None:
    news.put("5.md", article("Story 5", topics=["AI"]))
    assert diff(news, wanted(news))["entries"] == []
    for path in news.state.iterdir():
        path.unlink()
    found = diff(news, wanted(news, "[feeds.custom.good]\nmin_quality = 30\n"))
    assert [(feed["feed"], feed["what"]) for feed in found["feeds"]] == [("feeds/good", "new")]
    assert not (news.state / "feedd.db").exists()


def test_what_needs_a_restart_and_what_is_wrong_is_said(news: Site) -> None:
    path = wanted(news, server={"port": 1})
    done = news.command("diff", path)
    assert (done.returncode, done.stderr) == (0, "a running feedd needs a restart for: server.port\n")
    assert diff_restart(news, path) == ["server.port"]
    bad = news.command("diff", wanted(news, feeds={"limit": 0}))
    assert bad.returncode == 2 and "[feeds] limit: 0 is not allowed" in bad.stderr
    missing = news.command("diff", str(news.folder / "none.toml"))
    assert missing.returncode == 2 and "there is no such file" in missing.stderr


def diff_restart(site: Site, path: str) -> list[str]:
    """The keys that need a restart, as JSON has them."""
    found: list[str] = diff(site, path)["needs_restart"]
    return found
