"""Significance, identity, order, holding, copies and removal, as readers see them; each on real files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import feedparser
import msgspec
import pytest
import structlog
from newsroom import SITE, START, Newsroom, article, changed, settings_for, tree
from structlog.testing import capture_logs

from feedd import model, plan, render
from feedd.rebuild import FragmentCache
from feedd.site import FeedSettings

DAY = 86_400


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Newsroom]:
    newsroom = Newsroom(tmp_path)
    yield newsroom
    newsroom.check()
    newsroom.close()


def test_an_article_is_in_the_feeds_of_everything_its_topics_provider_and_category(room: Newsroom) -> None:
    room.put("a.md", article("One", topics=["AI", "Computer Vision"]))
    room.publish()
    for feed in ("all", "topics/ai", "topics/computer-vision", "providers/source.example", "categories/news"):
        assert room.titles(feed) == ["One"]
        for suffix in (".atom", ".rss"):
            parsed = feedparser.parse((room.out / (feed + suffix)).read_bytes())
            assert [entry.title for entry in parsed.entries] == ["One"]
    assert {"feeds.opml", "index.html", "all.atom.gz", "all.atom.br"} <= tree(room.out).keys()


@pytest.mark.parametrize("silent", [
    {"secured": "something else"}, {"heat": 99}, {"quality": 7}, {"ratings": [1, 2]}, {"ampWebUrl": "https://a.example/"},
])
def test_a_silent_change_changes_no_byte_and_no_time_of_any_file(room: Newsroom, silent: dict[str, object]) -> None:
    room.put("a.md", article("One", secured="a secret of the publisher"))
    room.publish()
    before = {path: path.stat().st_mtime_ns for path in room.out.rglob("*")}
    content = tree(room.out)
    room.now += 10
    room.put("a.md", article("One", **{"secured": "a secret of the publisher"} | silent))
    room.publish()
    assert tree(room.out) == content
    assert {path: path.stat().st_mtime_ns for path in room.out.rglob("*")} == before
    assert not any(b"a secret" in data for data in (*content.values(), *tree(room.state).values()))


def test_key_order_and_white_space_are_silent(room: Newsroom) -> None:
    room.put("a.md", "---\ntitle: One\nexcerpt: Two\nwebUrl: https://s.example/\npublishedDateTime: 2023-01-01\n---\n")
    room.publish()
    before = tree(room.out)
    room.put("a.md", "---\nexcerpt:   Two\npublishedDateTime: 2023-01-01\n\nwebUrl: 'https://s.example/'\n"
             "title: One\n---\n\n")
    room.publish()
    assert tree(room.out) == before


def test_an_edit_moves_updated_and_keeps_the_id(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    (before,) = room.entries()
    room.now += DAY
    room.put("a.md", article("One", excerpt="Another excerpt", webUrl="https://other.example/x",
                             provider={"name": "Other", "domain": "other.example"}))
    room.publish()
    (after,) = room.entries()
    assert after["id"] == before["id"] == "tag:news.example,2026-01-01:a.md"
    assert after["date_modified"] > before["date_modified"]
    assert room.entries("providers/source.example") == []
    assert room.titles("providers/other.example") == ["One"]


def test_related_links_are_rendered_without_moving_updated(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    (before,) = room.entries()
    feed_before = feedparser.parse((room.out / "all.atom").read_bytes()).feed.updated
    room.now += DAY
    room.put("a.md", article("One", related=[{"title": "Other story", "webUrl": "https://r.example/1"}]))
    room.publish()
    (after,) = room.entries()
    assert "https://r.example/1" in json.dumps(after)
    assert after["date_modified"] == before["date_modified"]
    assert feedparser.parse((room.out / "all.atom").read_bytes()).feed.updated == feed_before


def test_flapping_published_leaves_at_once_and_comes_back_with_the_same_id_and_updated(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.put("b.md", article("Two"))
    room.publish()
    before = {entry["title"]: entry for entry in room.entries()}
    for _ in range(3):
        room.now += DAY
        room.put("a.md", article("One", published=False))
        room.publish()
        assert room.titles() == ["Two"]
        room.now += DAY
        room.put("a.md", article("One"))
        room.publish()
        assert {entry["title"]: entry for entry in room.entries()} == before


def test_removed_and_deleted_beat_published_and_absent_means_published(room: Newsroom) -> None:
    room.put("a.md", article("One", published=None))
    room.put("b.md", article("Two", removed=True))
    room.put("c.md", article("Three", deleted=True, published=True))
    room.publish()
    assert room.titles() == ["One"]


def test_an_article_made_public_late_enters_at_the_top_with_its_own_date(room: Newsroom) -> None:
    room.put("a.md", article("Old", publishedDateTime="2023-01-01T00:00:00Z", published=False))
    room.put("b.md", article("New", publishedDateTime="2023-02-01T00:00:00Z"))
    room.publish()
    room.now += DAY
    room.put("a.md", article("Old", publishedDateTime="2023-01-01T00:00:00Z"))
    room.publish()
    assert room.titles() == ["Old", "New"]
    assert room.entries()[0]["date_published"] == "2023-01-01T00:00:00Z"


def test_what_is_public_when_the_folder_is_first_seen_is_ordered_by_its_own_date(room: Newsroom) -> None:
    for day in (2, 1, 3):
        room.put(f"{9 - day}.md", article(f"Day {day}", publishedDateTime=f"2023-01-0{day}T00:00:00Z"))
    room.publish()
    assert room.titles() == ["Day 3", "Day 2", "Day 1"]


def test_a_future_article_is_held_and_appears_at_its_time_without_a_file_event(room: Newsroom) -> None:
    room.put("a.md", article("Now"))
    room.put("b.md", article("Later", publishedDateTime="2023-11-15T00:00:00Z"))
    room.publish()
    assert room.titles() == ["Now"]
    due = room.store.next_release()
    assert due == 1_700_006_400
    room.now = due - 1
    room.publisher.release(now=room.now)
    room.publisher.rebuild(now=room.now)
    assert room.titles() == ["Now"]
    room.now = due
    room.publisher.release(now=room.now)
    room.publisher.rebuild(now=room.now)
    assert room.titles() == ["Later", "Now"]
    assert room.store.next_release() is None


def test_one_story_in_two_files_is_one_entry_with_both_sources(room: Newsroom) -> None:
    url = "https://www.source.example/story"
    room.put("b.md", article("Copy", webUrl=url + "/", publishedDateTime="2023-01-02T00:00:00Z", topics=["Robots"],
                             provider={"name": "Second", "domain": "second.example"}))
    room.put("a.md", article("First", webUrl=url))
    room.publish()
    assert room.titles() == ["First"]
    assert room.titles("topics/robots") == ["First"]
    assert room.titles("providers/second.example") == ["First"]
    assert "Second" in (room.out / "all.atom").read_text()
    room.now += DAY
    room.drop("b.md")
    room.publish()
    assert room.titles("topics/robots") == []
    assert "Second" not in (room.out / "all.atom").read_text()


def test_a_copy_takes_over_when_the_first_file_is_unpublished(room: Newsroom) -> None:
    url = "https://www.source.example/story"
    room.put("a.md", article("First", webUrl=url))
    room.put("b.md", article("Copy", webUrl=url, publishedDateTime="2023-01-02T00:00:00Z"))
    room.publish()
    room.put("a.md", article("First", webUrl=url, published=False))
    room.publish()
    assert room.titles() == ["Copy"]
    room.put("a.md", article("First", webUrl=url))
    room.publish()
    assert room.titles() == ["First"]


@pytest.mark.parametrize("own_url", [True, False])
def test_a_renamed_file_keeps_its_id_and_changes_no_byte(room: Newsroom, own_url: bool) -> None:
    room.put("a.md", article("One") if own_url else article("One", webUrl=None))
    room.put("b.md", article("Two"))
    room.publish()
    before = {entry["title"]: entry["id"] for entry in room.entries()}
    content = tree(room.out)
    room.now += DAY
    room.move("a.md", "deep/er/c.md")
    room.publish()
    assert {entry["title"]: entry["id"] for entry in room.entries()} == before
    if own_url:
        assert tree(room.out) == content


def test_a_file_renamed_and_edited_keeps_its_id_by_its_original_url(room: Newsroom) -> None:
    room.put("a.md", article("One", originalUrl="https://o.example/1"))
    room.publish()
    (before,) = room.entries()
    room.now += DAY
    room.drop("a.md")
    room.publish()
    assert room.titles() == []
    room.put("b.md", article("Uno", originalUrl="https://o.example/1", webUrl="https://else.example/"))
    room.publish()
    (after,) = room.entries()
    assert (after["id"], after["title"]) == (before["id"], "Uno")


def test_a_file_copied_then_removed_was_renamed(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    content = tree(room.out)
    room.now += DAY
    room.put("z.md", article("One"))
    room.publish()
    room.now += DAY
    room.drop("a.md")
    room.publish()
    assert changed(tree(room.out), content) == set()
    assert room.known("z.md").entry_path == "a.md"


def test_two_files_that_swap_names_swap_nothing_for_readers(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.put("b.md", article("Two"))
    room.publish()
    content = tree(room.out)
    room.now += DAY
    room.move("a.md", "c.tmp")
    room.move("b.md", "a.md")
    room.move("c.tmp", "b.md")
    room.publish()
    assert tree(room.out) == content


def test_a_file_moved_over_another_takes_its_place_and_keeps_its_own_id(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.put("b.md", article("Two"))
    room.publish()
    ids = {entry["title"]: entry["id"] for entry in room.entries()}
    room.move("b.md", "a.md")
    room.publish()
    assert {entry["title"]: entry["id"] for entry in room.entries()} == {"Two": ids["Two"]}


def test_a_new_article_at_the_path_of_a_renamed_one_gets_an_id_of_its_own(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    room.move("a.md", "b.md")
    room.put("a.md", article("Another"))
    room.publish()
    ids = {entry["title"]: entry["id"] for entry in room.entries()}
    assert ids == {"One": "tag:news.example,2026-01-01:a.md", "Another": "tag:news.example,2026-01-01:a.md~2"}


def test_a_file_removed_and_made_again_comes_back_with_its_id(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    (before,) = room.entries()
    room.drop("a.md")
    room.publish()
    assert room.entries() == []
    room.now += DAY
    room.put("a.md", article("One"))
    room.publish()
    assert [entry["id"] for entry in room.entries()] == [before["id"]]


def test_a_broken_file_keeps_the_last_good_version_and_is_named(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    content = tree(room.out)
    room.put("a.md", "---\ntitle: One: two\n---\n")
    room.publish()
    assert tree(room.out) == content
    (problem,) = room.store.list_problems()
    assert (problem.path, problem.line) == ("a.md", 2)
    assert "quote" in problem.message
    room.put("a.md", article("Mended"))
    room.publish()
    assert room.store.list_problems() == []
    assert room.titles() == ["Mended"]


def test_an_unreadable_path_is_named_and_forgotten_when_it_is_gone(room: Newsroom) -> None:
    os.mkfifo(room.articles / "pipe.md")
    (room.articles / "out.md").symlink_to("/etc/hostname")
    room.put("a.md", article("One"))
    room.publish()
    assert [problem.path for problem in room.store.list_problems()] == ["out.md", "pipe.md"]
    room.drop("pipe.md")
    room.drop("out.md")
    room.publish()
    assert room.store.list_problems() == []


@pytest.mark.parametrize("scans", [True, False])
def test_a_problem_that_is_over_is_said_once(tmp_path: Path, scans: bool) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    paths = ("a.md", "big.md", "gone.md", "out.md")
    with capture_logs() as lines:
        room = Newsroom(tmp_path)
        look = room.scan if scans else lambda: room.see(*paths)
        room.put("a.md", "---\ntitle: 'One\n---\n")
        room.put("gone.md", "no front matter")
        room.put("big.md", article("Big", "x" * (1 << 20)))
        (room.articles / "out.md").symlink_to("/etc/hostname")
        room.scan()
        look()
        assert [problem.path for problem in room.store.list_problems()] == list(paths)
        room.put("a.md", article("One"))
        room.put("big.md", article("Big"))
        room.drop("gone.md")
        room.drop("out.md")
        for _ in range(2):
            look()
        assert room.store.list_problems() == []
        room.close()
    said = [(line["event"], line["path"]) for line in lines if "path" in line]
    assert {line for line in said if line[0] == "article rejected"} == {("article rejected", path) for path in paths}
    assert sorted(line for line in said if line[0] != "article rejected") == [
        ("article accepted again", "a.md"), ("article accepted again", "big.md"),
        ("rejected article is gone", "gone.md"), ("rejected article is gone", "out.md"),
    ]


def test_the_last_entry_of_a_feed_leaves_an_empty_feed(room: Newsroom) -> None:
    room.put("a.md", article("One", topics=["Robots"]))
    room.publish()
    before = feedparser.parse((room.out / "topics/robots.atom").read_bytes()).feed.updated
    room.now += DAY
    room.drop("a.md")
    room.publish()
    parsed = feedparser.parse((room.out / "topics/robots.atom").read_bytes())
    assert parsed.entries == []
    assert parsed.feed.updated > before


def test_older_entries_are_in_archives_that_growth_does_not_change(room: Newsroom) -> None:
    def add(number: int) -> None:
        room.put(f"{number:02}.md", article(f"N {number}", publishedDateTime=START - 1000 + number and None))

    def follow() -> list[str]:
        name, titles = "all", []
        while name:
            parsed = feedparser.parse((room.out / f"{name}.atom").read_bytes())
            titles.append([entry.title for entry in parsed.entries])
            links = {link.rel: link.href for link in parsed.feed.links}
            name = links.get("prev-archive", "").removeprefix("https://feeds.example/").removesuffix(".atom")
        return [title for page in titles for title in page]

    for number in range(4):
        room.now += 10
        add(number)
        room.publish()
    first = {name: data for name, data in tree(room.out).items() if name.startswith("archives/all/1.")}
    assert first
    for number in range(4, 12):
        room.now += 10
        add(number)
        room.publish()
        assert set(follow()) == {f"N {n}" for n in range(number + 1)}
        assert len(room.titles()) == 3
    grown = tree(room.out)
    second = {name: data for name, data in grown.items() if name.startswith("archives/all/1.")}
    room.now += 10
    add(12)
    room.publish()
    assert {name: tree(room.out)[name] for name in second} == second
    assert b"fh:archive" in grown["archives/all/1.atom"]
    assert b"fh:archive" in grown["archives/all/1.rss"]


def test_an_edit_in_an_archive_rewrites_that_archive_alone(room: Newsroom) -> None:
    for number in range(9):
        room.put(f"{number}.md", article(f"N {number}", publishedDateTime=f"2023-01-0{number + 1}T00:00:00Z"))
    room.publish()
    before = tree(room.out)
    room.now += DAY
    room.put("1.md", article("N 1", publishedDateTime="2023-01-02T00:00:00Z", excerpt="Corrected"))
    room.publish()
    names = {name.split(".")[0] for name in changed(before, tree(room.out))}
    assert {"archives/all/1", "archives/topics/ai/1"} <= names
    assert {name for name in names if not name.endswith("/1")} == {"archives/providers/source"}
    assert "index" not in names


def test_custom_feeds_take_what_their_conditions_say(tmp_path: Path) -> None:
    custom = (
        ("vision", model.FeedFilter(topics=("computer vision",), not_providers=("bad.example",), min_quality=50)),
        ("words", model.FeedFilter(title_contains=("ROBOT",), languages=("en",))),
    )
    room = Newsroom(tmp_path, settings_for(rules=plan.Rules(custom=custom)))
    room.put("a.md", article("A robot sees", topics=["Computer Vision"], quality=60))
    room.put("b.md", article("B", topics=["Computer Vision"], quality=40))
    room.put("c.md", article("C", topics=["Computer Vision"], quality=90, provider={"domain": "bad.example"}))
    room.put("d.md", article("D ein Roboter", language="de"))
    room.publish()
    assert room.titles("feeds/vision") == ["A robot sees"]
    assert room.titles("feeds/words") == ["A robot sees"]
    before = tree(room.out)
    room.now += DAY
    room.put("b.md", article("B", topics=["Computer Vision"], quality=55))
    room.publish()
    assert sorted(room.titles("feeds/vision")) == ["A robot sees", "B"]
    assert {name.split(".")[0] for name in changed(before, tree(room.out))} == {"feeds/vision", "index"}
    room.check()
    room.restart(settings_for(rules=plan.Rules(custom=custom[1:])))
    assert not (room.out / "feeds/vision.atom").exists()
    room.check()
    room.restart(settings_for(rules=plan.Rules(topics=False, custom=custom)))
    assert not (room.out / "topics").exists() or not list((room.out / "topics").iterdir())
    assert sorted(room.titles("feeds/vision")) == ["A robot sees", "B"]
    room.check()
    room.close()


def test_configuration_decides_formats_limits_titles_and_siblings(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    for number in range(5):
        room.put(f"{number}.md", article(f"N {number}", publishedDateTime=f"2023-01-0{number + 1}T00:00:00Z"))
    room.publish()
    feeds = {("topic", "ai"): FeedSettings(title="Machines", limit=1, language="de", author="Desk", formats=("atom",))}
    room.restart(settings_for(feeds=feeds, encodings=("gzip",), formats=("rss", "atom"), archives=False))
    names = set(tree(room.out))
    assert not any(name.endswith((".json", ".br")) or name.startswith("archives/") for name in names)
    parsed = feedparser.parse((room.out / "topics/ai.atom").read_bytes())
    assert (parsed.feed.title, parsed.feed.language, len(parsed.entries)) == ("Machines", "de", 1)
    assert "topics/ai.rss" not in names
    room.check()
    room.restart(settings_for())
    assert len(room.titles("topics/ai")) == 3
    room.check()
    room.close()


def test_metadata_names_feeds_and_its_change_rewrites_them(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    room.put("_data/topics/ai.yaml", "taxonomy: topic\nname: AI\ndescription: Machines that learn\n"
             "images:\n  - /assets/ai.png\n")
    room.put("_data/organizations/source.example.md", "---\nname: The Source\ndomain: source.example\n"
             "images:\n  - {url: /s.png, width: 50, height: 50}\n---\n")
    room.publish()
    parsed = feedparser.parse((room.out / "topics/ai.atom").read_bytes())
    assert parsed.feed.subtitle == "Machines that learn"
    assert SITE + "/assets/ai.png" in (room.out / "topics/ai.atom").read_text()
    assert "The Source" in (room.out / "providers/source.example.rss").read_text()
    assert "The Source" in (room.out / "feeds.opml").read_text()
    room.drop("_data/topics/ai.yaml")
    room.publish()
    assert "Machines that learn" not in (room.out / "topics/ai.atom").read_text()


def test_slugs_are_stable_and_stay_in_their_folder(room: Newsroom) -> None:
    topics = ["C", "C++", "C#", "..", "/", "機械学習", "x" * 300, "Économie", "AI & Robotics", "index", "con"]
    room.put("a.md", article("One", topics=topics))
    room.publish()
    names = {feed.key: feed.slug for feed in room.store.list_feeds() if feed.kind == "topic"}
    assert names["c"] == "c"
    assert len(set(names.values())) == len(topics)
    assert all(name and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for name in names.values())
    assert names["économie"] == "economie"
    room.put("b.md", article("Two", topics=["c-" + (names["c++"] or "")[2:]]))
    room.publish()
    again = {feed.key: feed.slug for feed in room.store.list_feeds() if feed.kind == "topic"}
    assert names.items() <= again.items()


def test_a_lost_state_gives_the_same_ids_and_leaves_no_stray_file(room: Newsroom) -> None:
    for number in range(7):
        room.put(f"{number}.md", article(f"N {number}", publishedDateTime=f"2023-01-0{number + 1}T00:00:00Z"))
    room.publish()
    before = {entry["title"]: entry["id"] for entry in room.entries()}
    (room.out / "topics/long-gone.atom").write_bytes(b"stale")
    (room.out / "notes.txt").write_bytes(b"the user's own")
    room.close()
    shutil.rmtree(room.state)
    room.open()
    room.publish()
    assert {entry["title"]: entry["id"] for entry in room.entries()} == before
    assert not (room.out / "topics/long-gone.atom").exists()
    (room.out / "notes.txt").unlink()


def test_files_lost_from_the_output_are_written_again(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    before = tree(room.out)
    for name in ("all.atom", "topics/ai.json.br", "index.html"):
        (room.out / name).unlink()
    room.publish()
    assert tree(room.out) == before


def test_a_torn_sibling_is_written_again_with_its_feed(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    before = tree(room.out)
    sibling = room.out / "all.atom.gz"
    sibling.write_bytes(b"torn")
    with room.store.transaction():
        room.store.mark_all_dirty()
    room.publish()
    assert tree(room.out) == before


def test_the_folder_of_articles_gone_is_not_the_same_as_empty(room: Newsroom) -> None:
    from feedd.files import RootGoneError

    room.put("a.md", article("One"))
    room.publish()
    room.articles.rename(room.articles.with_name("away"))
    with pytest.raises(RootGoneError):
        room.scan()
    assert room.titles() == ["One"]
    room.articles.with_name("away").rename(room.articles)
    room.publish()
    assert room.titles() == ["One"]


def test_an_empty_folder_in_the_place_of_the_one_read_before_is_not_the_same_as_empty(room: Newsroom) -> None:
    from feedd.files import RootGoneError

    room.put("a.md", article("One"))
    room.publish()
    room.articles.rename(room.articles.with_name("away"))
    room.articles.mkdir()
    with pytest.raises(RootGoneError, match="mounted"):
        room.scan()
    assert room.titles() == ["One"]
    room.articles.rmdir()
    room.articles.with_name("away").rename(room.articles)
    room.publish()
    assert room.titles() == ["One"]
    (room.articles / "a.md").unlink()
    room.publish()
    assert room.titles() == []


def test_another_folder_with_articles_takes_the_place_of_the_one_read_before(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    room.articles.rename(room.articles.with_name("away"))
    room.put("b.md", article("Two"))
    room.publish()
    assert room.titles() == ["Two"]


def test_many_files_through_worker_processes_give_the_same_bytes(tmp_path: Path) -> None:
    texts = {
        f"{number % 7}/{number}.md": article(
            f"N {number}", publishedDateTime=START - number * 60, topics=[f"T {number % 450}"], published=number % 5 > 0
        ).replace(f"publishedDateTime: {START - number * 60}", f"publishedDateTime: 2023-01-01T{number % 24:02}:00:00Z")
        for number in range(1_700)
    }
    rooms = [Newsroom(tmp_path / name, parallel=name == "many") for name in ("many", "one")]
    for room in rooms:
        for path, text in texts.items():
            room.put(path, text)
        room.publish()
        room.check()
    assert tree(rooms[0].out) == tree(rooms[1].out)
    for path in texts:
        rooms[0].move(path, f"moved/{path}")
    before = tree(rooms[0].out)
    rooms[0].now += DAY
    rooms[0].publish()
    assert tree(rooms[0].out) == before
    for room in rooms:
        room.close()


def test_a_feed_that_would_become_invalid_is_not_swapped_in(tmp_path: Path) -> None:
    room = Newsroom(tmp_path, settings_for(full_content=True))
    room.put("a.md", article("One", body="Good text"))
    room.put("b.md", article("Two", topics=["Robots"], provider=None))
    room.publish()
    before = tree(room.out)
    broken = model.Article(  # no parser of ours makes such a body; a later or an earlier one may
        title="One", url="https://s.example/", summary="s", content_html="<p>x<script>alert(1)</script></p>"
    )
    a = room.known("a.md")
    with room.store.transaction():
        room.store.put_bodies([(a.id, msgspec.msgpack.encode(broken))])
        room.store.mark_all_dirty()
    room.close()
    room.open()
    room.publisher.rebuild(now=room.now)
    assert tree(room.out) == before
    errors = {room.store.get_feed(d.feed_id).kind: d.error for d in room.store.list_documents(page=0)}
    assert "SecurityRisk" in errors["all"]
    assert "a.md" in errors["all"]
    assert room.store.get_document(room.store.find_feed("topic", "robots") or 0, 0).error == ""
    room.now += DAY
    room.put("a.md", article("One", body="Better text"))
    room.publish()
    assert "Better text" in (room.out / "all.atom").read_text()
    assert not any(document.error for document in room.store.list_documents())
    room.check()
    room.close()


def test_a_date_that_cannot_be_is_as_good_as_none(room: Newsroom) -> None:
    room.put("2023-02-03-a.md", article("One", publishedDateTime="1970-01-01T00:00:00Z"))
    room.publish()
    assert room.entries()[0]["date_published"] == "2023-02-03T00:00:00Z"


def test_the_fragment_cache_forgets_what_was_used_least() -> None:
    cache = FragmentCache(2_500)
    for number in range(4):
        cache.put((number,), 1, {"atom": bytes(100)})
        cache.find((0,), 1)
    assert [cache.find((number,), 1) is not None for number in range(4)] == [True, False, True, True]
    cache.put((0,), 2, {"atom": bytes(100)})
    assert [cache.find((0,), revision) is not None for revision in (1, 2)] == [False, True]
    assert [cache.find((number,), 1) is not None for number in range(1, 4)] == [False, True, True]


def test_the_fragment_cache_forgets_what_many_documents_did_not_show() -> None:
    cache = FragmentCache(1_000_000, documents=2)
    for number in range(2):
        cache.put((number,), 1, {"atom": b"1"})
    found = []
    for _ in range(4):
        cache.begin()
        found.append(cache.find((0,), 1) is not None)
    assert found == [True] * 4
    assert cache.find((1,), 1) is None
    cache.put((2,), 1, {"atom": bytes(998_000)})  # there is room for it: what was forgotten takes up none
    assert cache.find((0,), 1) and cache.find((2,), 1)


def test_after_a_rest_an_edit_renders_nothing_but_what_was_edited(
    room: Newsroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        room.put(f"{number}.md", article(f"Story {number}", topics=[f"Topic {number % 3}", "All"]))
    room.publish()
    room.restart()
    assert room.publisher.warm()
    for number in (2, 5, 8):
        room.drop(f"{number}.md")
    room.publish()  # a feed may be gone by the time its turn comes
    while room.publisher.warm():
        pass
    rendered: list[str] = []
    fragments = render.fragments

    def count(entry: model.Entry, *rest: Any) -> Any:
        rendered.append(entry.article.title)
        return fragments(entry, *rest)

    monkeypatch.setattr(render, "fragments", count)
    room.put("4.md", article("Edited", topics=["Topic 1", "All"]))
    room.publish()
    assert rendered == ["Edited"]
    room.check()


def test_an_edit_reads_no_table_from_end_to_end(room: Newsroom) -> None:
    for number in range(5):
        room.put(f"{number}.md", article(f"N {number}", publishedDateTime=f"2023-01-0{number + 1}T00:00:00Z"))
    room.publish()
    said: list[str] = []
    room.store._db.set_trace_callback(said.append)
    room.put("4.md", article("Edited", publishedDateTime="2023-01-05T00:00:00Z"))
    room.see("4.md")
    room.publisher.release(now=room.now)
    room.publisher.rebuild(now=room.now, archives=False)
    room.store.next_release()
    room.store._db.set_trace_callback(None)
    room.publisher.write_listing()
    scans = set()
    for statement in said:
        if statement.startswith("SELECT"):
            plans = room.store._db.execute("EXPLAIN QUERY PLAN " + statement)
            scans |= {f"{step[3]}: {statement}" for step in plans if step[3].startswith("SCAN")}
    # What is left: the partial index of dirty documents, and the list of problems, which one row answers for.
    allowed = ("SCAN document USING INDEX document_dirty", "SCAN document USING COVERING INDEX document_dirty",
               "SCAN problem", "SCAN feed USING INDEX feed_unnamed")
    assert {scan for scan in scans if not scan.startswith(allowed)} == set()
    assert len(said) > 20


def test_a_file_that_can_be_read_again_with_the_same_bytes_is_no_problem_any_more(room: Newsroom) -> None:
    room.put("a.md", article("One"))
    room.publish()
    (room.articles / "a.md").rename(room.articles / "kept")
    (room.articles / "a.md").symlink_to("/etc/hostname")
    room.see("a.md")
    assert [problem.path for problem in room.store.list_problems()] == ["a.md"]
    assert room.titles() == ["One"]
    (room.articles / "kept").replace(room.articles / "a.md")
    room.see("a.md")
    assert room.store.list_problems() == []
    assert room.titles() == ["One"]

