"""What the operator looks at, in pages: every row once, in the order of paths, and never more than was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedd import site
from feedd.plan import FeedRef
from feedd.store import Problem, Store, Topic, open_store
from feedd.store.survey import HubLoad
from feedd.web import overview

KINDS = ("all", "category", "custom", "provider", "topic")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path)) as opened:
        yield opened


@pytest.fixture
def feeds(store: Store) -> Store:
    """One feed of all, four of each other kind, and one that has no slug yet."""
    with store.transaction():
        for kind in KINDS:
            for n in range(1 if kind == "all" else 4):
                feed_id = store.put_feed(FeedRef(kind, f"{kind}{n}", f"The {kind} {n}"))  # type: ignore[arg-type]
                store.put_slugs([(feed_id, f"{'zyxw'[n]}-{n}")])
        store.put_feed(FeedRef("topic", "new", "New"))
    return store


def paths(store: Store) -> list[str]:
    """Where feeds are, from the whole list of them."""
    return sorted(site.base_path(feed.kind, feed.slug) for feed in store.list_feeds() if feed.slug is not None)


def test_problems_come_by_path_and_by_age(store: Store) -> None:
    rows = [Problem(f"{n}.md", n, 0, "title", "is missing", 100 + n % 3) for n in range(9)]
    with store.transaction():
        store.put_problems(rows)
    survey = store.survey
    assert survey.list_problems("", 99) == rows == survey.list_problems("", 3) + survey.list_problems("2.md", 99)
    assert survey.list_problems("9", 99) == []
    assert [row.path for row in survey.list_newest_problems(4)] == ["2.md", "5.md", "8.md", "1.md"]
    assert survey.count_problems() == 9


@pytest.mark.parametrize("limit", [1, 2, 7, 17, 99])
def test_feeds_come_in_the_order_of_their_paths(feeds: Store, limit: int) -> None:
    found, after = list[str](), ("", "")
    while rows := feeds.survey.list_live(after, limit):
        assert len(rows) <= limit
        found += [site.base_path(feed.kind, feed.slug or "") for feed, _ in rows]
        assert all(document.feed_id == feed.id and document.page == 0 for feed, document in rows)
        after = rows[-1][0].kind, rows[-1][0].slug or ""
    assert found == paths(feeds)
    assert feeds.survey.count_live() == len(found) == 17


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=9) | st.builds(
    "{}{}{}".format, st.sampled_from(["all", "categories", "feeds", "providers", "topics", "topic", "b"]),
    st.sampled_from(["", "/", "0", "."]), st.text(alphabet="wxyz-0123/", max_size=4),
))
def test_any_text_has_its_place_among_paths(feeds: Store, after: str) -> None:
    rows = feeds.survey.list_live(overview._place(after), 99)
    assert [site.base_path(f.kind, f.slug or "") for f, _ in rows] == [path for path in paths(feeds) if path > after]


def test_feeds_that_failed_and_those_written_last_are_found(feeds: Store) -> None:
    ids = {feed.key: feed.id for feed in feeds.list_feeds()}
    survey = feeds.survey
    assert (survey.count_failed(), survey.list_failed(9), survey.list_newest(9)) == (0, [], [])
    with feeds.transaction():
        for number, key in enumerate(("topic2", "all0", "topic1", "custom3")):
            feeds.mark_written([(ids[key], 0, 1, None, 0, 3, 900, 500 + number // 2 * 10)])
        for key in ("topic3", "topic1", "category0"):
            feeds.mark_failed(ids[key], 0, "no space left")
        feeds.put_document(ids["topic1"], 1, 5, 0)
        feeds.mark_failed(ids["topic1"], 1, "an archive")
    assert [feed.key for feed, _ in survey.list_newest(9)] == ["custom3", "topic1", "all0", "topic2"]
    assert len(survey.list_newest(3)) == 3
    assert [(feed.key, document.error) for feed, document in survey.list_failed(9)] == [
        ("category0", "no space left"), ("topic3", "no space left"), ("topic1", "no space left"),
    ]
    assert survey.count_failed() == 3
    assert len(survey.list_failed(2)) == 2


def test_hubs_are_told_with_their_oldest_failure(store: Store) -> None:
    hubs = ("https://a.example/", "https://b.example/")
    with store.transaction():
        for number in range(4):
            topic = Topic(f"https://feeds.example/{number}.atom", str(number), b"1")
            store.outbox.put_pings(hubs, [topic], 100 - number)
    with store.transaction():
        for ping in store.outbox.list_pings(hubs[1], 9)[1:]:
            store.outbox.put_ping_failure(ping, 900, f"it answered 50{ping.feed}")
    assert store.survey.list_hubs() == [HubLoad(hubs[0], 4), HubLoad(hubs[1], 4, 3, 98, "it answered 502")]
