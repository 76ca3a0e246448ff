"""What link checks found shows in feeds and pages, in those alone that have the link, and moves no `updated`."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from newsroom import Newsroom, article, changed, settings_for, tree

from feedd import errors, verdicts
from feedd.freshness.effects import Rules
from feedd.freshness.judge import first_check_at
from feedd.freshness.states import VERDICTS, LinkState, Verdict
from feedd.linkcheck.sync import sync
from feedd.store.links import NAME, open_links

RIVER, LAKE = "https://far.example/river", "https://far.example/lake"


def story(title: str, *links: str, **fields: Any) -> str:
    related = [{"title": f"Of {link[-5:]}", "webUrl": link} for link in links]
    return article(title, related=related, **fields)


class Desk:
    """A newsroom whose links are checked: `find` is what a run would note."""

    def __init__(self, folder: Path, **rules: Any) -> None:
        self.room = Newsroom(folder, settings_for(links=Rules(**rules)))
        self.links = open_links(str(self.room.state))

    def publish(self) -> None:
        self.room.publish()
        sync(self.links, self.room.store.marks, ("related",), self.room.now)

    def find(self, url: str, verdict: Verdict, **state: Any) -> None:
        """The verdict on a link, or nothing if no article has it. As with the judge, it holds since it was entered."""
        link = self.links.find_link(url)
        if link is not None:
            since_at = link.state.since_at if link.state.verdict == verdict else self.room.now
            found = replace(link.state, verdict=verdict, since_at=since_at, **state)
            with self.links.transaction():
                self.links.put_checked([(link.id, found)], self.room.now)

    def hear(self) -> None:
        """What the daemon does when a run says that there are news."""
        reader = open_links(str(self.room.state), read_only=True)
        self.room.publisher.take_verdicts(reader, now=self.room.now)
        reader.close()
        self.room.publisher.rebuild(now=self.room.now)

    def close(self) -> None:
        self.links.close()
        self.room.close()


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path)
    made.room.put("a.md", story("Flood", RIVER, LAKE, topics=["Water"]))
    made.room.put("b.md", story("Drought", LAKE, topics=["Heat"]))
    made.room.put("c.md", story("Storm", topics=["Wind"]))
    made.publish()
    yield made
    made.close()


def links_of(desk: Desk, title: str) -> str:
    return next(str(entry["content_html"]) for entry in desk.room.entries() if entry["title"] == title)


def test_a_dead_link_is_marked_in_the_feeds_that_show_it_and_nowhere_else(desk: Desk) -> None:
    before, updated = tree(desk.room.out), [entry["date_modified"] for entry in desk.room.entries()]
    desk.find(RIVER, "dead")
    desk.hear()
    assert "(dead link)" in links_of(desk, "Flood")
    assert "(dead link)" not in links_of(desk, "Drought")
    touched = {name.partition(".")[0] for name in changed(before, tree(desk.room.out))}
    assert touched == {"all", "topics/water", "providers/source", "categories/news"}
    assert [entry["date_modified"] for entry in desk.room.entries()] == updated
    desk.room.check()


def test_a_verdict_that_changes_no_feed_changes_pages_alone(desk: Desk) -> None:
    before = tree(desk.room.out)
    desk.find(LAKE, "fresh")
    desk.hear()
    after = changed(before, tree(desk.room.out))
    assert {name for name in after if ".html" not in name} == set()
    assert {"topics/water.html", "topics/heat.html"} <= after
    assert 'data-verdict="fresh"' in (desk.room.out / "topics/heat.html").read_text()
    desk.room.check()


def test_a_check_that_changes_no_verdict_changes_no_byte(desk: Desk) -> None:
    desk.find(LAKE, "fresh")
    desk.hear()
    before = tree(desk.room.out)
    link = desk.links.find_link(LAKE)
    assert link is not None
    with desk.links.transaction():
        again = replace(link.state, checked_at=desk.room.now + 99, status=200)
        desk.links.put_checked([(link.id, again)], desk.room.now)
    desk.hear()
    assert changed(before, tree(desk.room.out)) == set()
    assert desk.room.store.count_dirty() == 0


@pytest.mark.parametrize(
    ("rules", "shown", "hidden"),
    [
        ({"dead": "keep"}, RIVER, "(dead link)"),
        ({"dead": "drop"}, LAKE, RIVER),
        ({"dead": "archive"}, "https://copies.example/1", RIVER),
        ({"dead": "mark", "dead_mark": "+"}, "Of river +", "(dead link)"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_dead_link_is_the_operators_choice(
    tmp_path: Path, rules: dict[str, Any], shown: str, hidden: str
) -> None:
    desk = Desk(tmp_path, **rules)
    desk.room.put("a.md", story("Flood", RIVER, LAKE))
    desk.publish()
    desk.find(RIVER, "dead", archive_url="https://copies.example/1")
    desk.hear()
    html = links_of(desk, "Flood")
    assert shown in html and hidden not in html
    desk.room.check()
    desk.close()


def test_a_moved_link_is_rewritten_only_if_that_was_asked_for(tmp_path: Path, desk: Desk) -> None:
    desk.find(RIVER, "moved", final_url="https://new.example/river")
    desk.hear()
    assert "new.example" not in links_of(desk, "Flood")
    desk.room.restart(settings_for(links=Rules(follow_moves=True)))
    assert "https://new.example/river" in links_of(desk, "Flood")
    desk.room.check()


def test_the_cause_is_said(desk: Desk) -> None:
    desk.find(RIVER, "dead")
    assert verdicts.heard_of(desk.room.store, desk.links) == 0
    reader = open_links(str(desk.room.state), read_only=True)
    (report,) = verdicts.apply(desk.room.store, reader, Rules(), now=desk.room.now)
    reader.close()
    assert {cause for cause, _ in report.causes.values()} == {f"link dead: {RIVER}"}
    assert (desk.room.now, "a.md", f"link dead: {RIVER}") in desk.room.store.list_changes(9)
    assert verdicts.heard_of(desk.room.store, desk.links) == desk.links.newest_news()


def test_an_article_that_comes_later_shows_what_is_known_of_its_links(desk: Desk) -> None:
    desk.find(RIVER, "dead")
    desk.hear()
    desk.room.put("d.md", story("Later", RIVER))
    desk.publish()
    assert "(dead link)" in links_of(desk, "Later")
    desk.hear()
    desk.room.check()


def test_a_link_that_heals_is_as_it_was(desk: Desk) -> None:
    before = tree(desk.room.out)
    desk.find(RIVER, "dead")
    desk.hear()
    desk.find(RIVER, "unchecked")
    desk.hear()
    assert {name for name in changed(before, tree(desk.room.out)) if not name.startswith("index")} == set()
    desk.room.check()


def test_with_other_links_all_is_learnt_anew(desk: Desk) -> None:
    desk.find(RIVER, "dead")
    desk.hear()
    desk.links.close()
    for path in desk.room.state.glob(NAME + "*"):
        path.unlink()
    desk.links = open_links(str(desk.room.state))
    desk.publish()
    desk.hear()
    assert "(dead link)" not in links_of(desk, "Flood")
    desk.room.check()
    desk.find(LAKE, "dead")
    desk.links.close()
    desk.links = open_links(str(desk.room.state))
    desk.hear()
    assert "(dead link)" in links_of(desk, "Drought")
    desk.room.check()


def test_without_link_checks_links_are_as_articles_have_them_and_later_all_are_looked_at(desk: Desk) -> None:
    desk.find(RIVER, "dead")
    desk.hear()
    state_id = desk.room.store.marks.state_id()
    desk.room.restart(settings_for(links=None))
    assert "(dead link)" not in links_of(desk, "Flood")
    desk.hear()
    desk.room.put("d.md", story("Later", "https://far.example/later"))
    desk.room.publish()
    desk.room.check()
    desk.room.restart(settings_for(links=Rules()))
    assert desk.room.store.marks.state_id() != state_id
    desk.publish()
    desk.hear()
    assert desk.links.find_link("https://far.example/later") is not None
    assert "(dead link)" in links_of(desk, "Flood")
    desk.room.check()


def test_links_that_cannot_be_read_change_nothing(desk: Desk) -> None:
    reader = open_links(str(desk.room.state), read_only=True)
    reader.close()
    with pytest.raises((errors.StateError, sqlite3.ProgrammingError)):
        desk.room.publisher.take_verdicts(reader, now=desk.room.now)
    desk.room.check()


STEPS = st.one_of(
    st.tuples(st.just("find"), st.sampled_from([RIVER, LAKE, "https://far.example/other"]), st.sampled_from(VERDICTS)),
    st.tuples(st.just("put"), st.sampled_from("abc"), st.lists(st.sampled_from([RIVER, LAKE]), max_size=2)),
    st.tuples(st.just("drop"), st.sampled_from("abc"), st.none()),
    st.tuples(st.just("hear"), st.none(), st.none()),
    st.tuples(st.just("sync"), st.none(), st.none()),
    st.tuples(st.just("restart"), st.none(), st.none()),
)


@given(st.lists(STEPS, max_size=14), st.sampled_from(["keep", "drop", "mark", "archive"]), st.booleans())
@settings(deadline=None, max_examples=25)
def test_after_any_history_the_feeds_are_those_of_a_clean_rebuild_and_tell_the_newest_verdicts(
    steps: list[tuple[str, Any, Any]], dead: Any, follow_moves: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder), dead=dead, follow_moves=follow_moves)
        desk.room.put("c.md", story("c", RIVER))
        for what, first, second in steps:
            desk.room.now += 3_600
            if what == "find":
                desk.find(first, second, final_url="https://new.example/", archive_url="https://copies.example/")
            elif what == "put":
                desk.room.put(f"{first}.md", story(first, *second, topics=[first]))
            elif what == "drop" and (desk.room.articles / f"{first}.md").exists():
                desk.room.drop(f"{first}.md")
            elif what == "hear":
                desk.hear()
            elif what == "sync":
                desk.publish()
            elif what == "restart":
                desk.room.restart()
        desk.publish()
        desk.hear()
        desk.room.check()
        published = tree(desk.room.out)
        with desk.room.store.transaction():
            desk.room.store.bump_revisions()
            desk.room.store.mark_all_dirty()
            desk.room.store.marks.drop_marks()
            after = 0
            while rows := desk.links.list_marks(after, 100):
                desk.room.store.marks.put_marks((row.url, verdicts.mark_of(row)) for row in rows)
                after = rows[-1].link_id
        desk.room.publisher.rebuild(now=desk.room.now)
        assert {name for name in changed(published, tree(desk.room.out)) if not name.startswith("index")} == set()
        desk.close()


def test_a_new_link_waits_for_its_first_check() -> None:
    assert LinkState().verdict == "unchecked"
    assert first_check_at(RIVER, 1_000) >= 1_000
