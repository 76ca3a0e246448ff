"""Links follow the articles, whatever happened to either and wherever a kill came."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from feedd import model
from feedd.freshness import judge
from feedd.freshness.states import LinkState
from feedd.freshness.urls import Kind, links_of
from feedd.linkcheck import sync
from feedd.store.links import Links, open_links

NOW = 1_700_000_000
RELATED: tuple[Kind, ...] = ("related",)
BOTH: tuple[Kind, ...] = ("own", "related")


class Killed(BaseException):
    """The process ends here."""


class FakeArticles:
    """Articles by id, and the number of each one's last change. Dies at the call that `fuse` counts down to."""

    def __init__(self) -> None:
        self.state, self.number, self.fuse = 1, 0, -1
        self.is_filling = False
        self.articles: dict[int, tuple[model.Article, bool]] = {}
        self.changed: dict[int, int] = {}

    def put(self, article_id: int, names: Sequence[str], *, in_feed: bool = True) -> None:
        related = tuple(model.Related(name, f"https://{name}.example/") for name in names)
        article = model.Article("T", f"https://own.example/{article_id}", "S", related=related)
        self.articles[article_id] = article, in_feed
        self.note(article_id)

    def drop(self, article_id: int) -> None:
        self.articles.pop(article_id, None)
        self.note(article_id)

    def note(self, article_id: int) -> None:
        self.number += 1
        self.changed[article_id] = self.number

    def make_anew(self) -> None:
        """Another state from the same files: other ids, other numbers."""
        rows = list(self.articles.values())
        self.state, self.number = self.state + 1, 0
        self.articles = dict(enumerate(rows, 2))
        self.changed = {}

    def burn(self) -> None:
        self.fuse -= 1
        if self.fuse == 0:
            raise Killed

    # -- the protocol

    def state_id(self) -> str:
        self.burn()
        return "" if self.is_filling else str(self.state)

    def newest_relinked(self) -> int:
        self.burn()
        return self.number

    def list_relinked(self, after: int, limit: int) -> list[tuple[int, int]]:
        self.burn()
        return sorted((number, i) for i, number in self.changed.items() if number > after)[:limit]

    def list_linked(self, after_id: int, limit: int) -> list[tuple[int, bytes, bool]]:
        self.burn()
        ids = sorted(i for i in self.articles if i > after_id)[:limit]
        return [(i, msgspec.msgpack.encode(self.articles[i][0]), self.articles[i][1]) for i in ids]

    def find_linked(self, ids: Sequence[int]) -> dict[int, tuple[bytes, bool]]:
        self.burn()
        return {
            i: (msgspec.msgpack.encode(self.articles[i][0]), self.articles[i][1]) for i in ids if i in self.articles
        }


@pytest.fixture
def links(tmp_path: Path) -> Iterator[Links]:
    opened = open_links(str(tmp_path))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few articles are many transactions."""
    monkeypatch.setattr(sync, "AT_ONCE", 2)


def run(links: Links, articles: FakeArticles, kinds: Sequence[Kind] = RELATED, *, now: int = NOW) -> int:
    return sync.sync(links, articles, kinds, now)


def uses(links: Links) -> dict[int, dict[str, bool]]:
    """Article -> its links' URLs, and whether each is in a feed."""
    return {i: {link.url: link.in_feed for link in links.list_links_of(i)} for i in links.list_users(-1, 999)}


def names_of(links: Links) -> dict[int, list[str]]:
    return {i: [url.split("/")[2].partition(".")[0] for url in had] for i, had in uses(links).items()}


def test_links_are_those_of_the_public_articles_and_follow_them(links: Links) -> None:
    articles = FakeArticles()
    for article_id in range(1, 6):
        articles.put(article_id, ["a", f"b{article_id}"])
    assert run(links, articles) == 5
    assert names_of(links) == {i: ["a", f"b{i}"] for i in range(1, 6)}
    assert run(links, articles) == 0
    articles.put(2, ["c"])
    articles.drop(3)
    articles.put(9, ["a"], in_feed=False)
    assert run(links, articles) == 3
    assert names_of(links) == {1: ["a", "b1"], 2: ["c"], 4: ["a", "b4"], 5: ["a", "b5"], 9: ["a"]}
    assert run(links, articles) == 0


def test_states_of_links_outlive_a_state_of_articles(links: Links) -> None:
    articles = FakeArticles()
    for article_id in range(1, 6):
        articles.put(article_id, [f"b{article_id}"])
    run(links, articles)
    (link,) = links.list_links_of(5)
    dead = LinkState("dead", NOW, checked_at=NOW, next_check_at=NOW + 9, strikes=3)
    with links.transaction():
        links.put_checked([(link.id, dead)], NOW)
    articles.make_anew()
    articles.drop(2)
    run(links, articles)
    assert names_of(links) == {i: [f"b{i - 1}"] for i in range(3, 7)}
    assert [(link.url, link.state) for link in links.list_links_of(6)] == [("https://b5.example/", dead)]


def test_other_kinds_of_links_are_found_and_lost_by_a_walk_over_all(links: Links) -> None:
    articles = FakeArticles()
    for article_id in range(1, 4):
        articles.put(article_id, ["a"])
    run(links, articles)
    assert run(links, articles, BOTH) == 3
    assert names_of(links) == {i: ["a", "own"] for i in range(1, 4)}
    assert run(links, articles, ("related", "own")) == 0
    assert run(links, articles, ()) == 3
    assert names_of(links) == {}


def test_a_copy_of_the_state_that_was_put_back_is_walked_over(links: Links) -> None:
    articles = FakeArticles()
    articles.put(1, ["a"])
    articles.put(1, ["b"])
    run(links, articles)
    articles.put(1, ["a"])
    articles.number, articles.changed = 1, {1: 1}
    run(links, articles)
    assert names_of(links) == {1: ["a"]}


def test_while_articles_come_in_for_the_first_time_nothing_is_lost(links: Links) -> None:
    articles = FakeArticles()
    articles.put(1, ["a"])
    run(links, articles)
    articles.is_filling = True
    articles.drop(1)
    assert (run(links, articles), names_of(links)) == (0, {1: ["a"]})


def test_it_tells_how_far_it_read_the_changes(links: Links) -> None:
    articles = FakeArticles()
    assert sync.read_up_to(links, "1") == 0
    articles.put(1, ["a"])
    run(links, articles)
    assert (sync.read_up_to(links, "1"), sync.read_up_to(links, "2")) == (1, 0)
    for article_id in range(2, 7):
        articles.put(article_id, ["a"])
    run(links, articles)
    assert sync.read_up_to(links, "1") == 6


def test_it_ends_when_told_and_goes_on_from_there(links: Links) -> None:
    articles = FakeArticles()
    for article_id in range(1, 8):
        articles.put(article_id, [f"b{article_id}"])
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    assert sync.sync(links, articles, RELATED, NOW, stop=stop) == 4
    assert run(links, articles) == 3
    assert names_of(links) == {i: [f"b{i}"] for i in range(1, 8)}
    assert sync.sync(links, articles, BOTH, NOW, stop=lambda: True) == 0
    ticks = iter([True, False, False, True])
    articles.put(1, ["c"])
    assert sync.sync(links, articles, BOTH, NOW, stop=lambda: next(ticks)) == 0  # nothing is followed within a walk
    run(links, articles, BOTH)
    assert sorted(names_of(links)[1]) == ["c", "own"]


def test_what_changes_while_all_are_walked_over_is_looked_at_again(links: Links) -> None:
    articles = FakeArticles()
    for article_id in range(1, 8):
        articles.put(article_id, ["a"])
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        if len(asked) == 3:
            articles.put(1, ["b"])
            articles.put(7, ["c"])
            articles.drop(2)
        return False

    sync.sync(links, articles, RELATED, NOW, stop=stop)
    assert names_of(links) == {1: ["b"], **{i: ["a"] for i in range(3, 7)}, 7: ["c"]}


def test_links_come_into_feeds_and_leave_them_as_their_articles_do(links: Links) -> None:
    articles = FakeArticles()
    articles.put(1, ["a"], in_feed=False)
    run(links, articles)
    (link,) = links.list_links_of(1)
    assert link.state.next_check_at == judge.first_check_at(link.url, NOW, in_feed=False)
    articles.put(1, ["a"])
    run(links, articles, now=NOW + 9)
    assert links.list_links_of(1) == [
        replace(link, in_feed=True, state=judge.replan(link.url, link.state, NOW + 9, in_feed=True))
    ]


# --- kills ------------------------------------------------------------------------------------------------------------

names = st.lists(st.sampled_from("abcd"), max_size=3)
Step = Callable[[FakeArticles], object]


def putting(article_id: int, its: Sequence[str], in_feed: bool) -> Step:
    return lambda articles: articles.put(article_id, its, in_feed=in_feed)


def dropping(article_id: int) -> Step:
    return lambda articles: articles.drop(article_id)


steps = st.one_of(
    st.builds(putting, st.integers(1, 9), names, st.booleans()),
    st.builds(putting, st.integers(1, 9), names, st.booleans()),
    st.builds(dropping, st.integers(1, 9)),
    st.just(FakeArticles.make_anew),
)
rounds = st.tuples(
    st.lists(steps, max_size=8),
    st.sampled_from([RELATED, RELATED, BOTH]),
    st.integers(0, 12),  # the call of the articles' side at which it dies; 0: at none
    st.integers(0, 6),  # and the transaction of the links' side in which it does
)


class FragileLinks(Links):
    """Dies within a transaction, after its writes: none of them is there afterwards."""

    fuse = 0

    def put_meta(self, values: Mapping[str, str | None]) -> None:
        super().put_meta(values)
        self.fuse -= 1
        if self.fuse == 0:
            raise Killed


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rounds, min_size=1, max_size=6))
def test_after_kills_anywhere_the_next_sync_ends_where_a_clean_one_does(
    history: list[tuple[list[Step], tuple[Kind, ...], int, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        articles, kinds = FakeArticles(), RELATED
        for changes, kinds, fuse, fuse_within in history:
            for change in changes:
                change(articles)
            links = FragileLinks(open_links(folder)._db)
            links._db.execute("PRAGMA synchronous = OFF")
            articles.fuse, links.fuse = fuse, fuse_within
            try:
                run(links, articles, kinds)
            except Killed:
                pass
            else:
                assert_clean(links, articles, kinds)
            links.close()
            articles.fuse = -1
        again = open_links(folder)
        run(again, articles, kinds)
        assert_clean(again, articles, kinds)
        assert run(again, articles, kinds) == 0
        again.close()


def assert_clean(links: Links, articles: FakeArticles, kinds: Sequence[Kind]) -> None:
    """The uses, and what is counted of them, are those of the articles as they are."""
    had = {
        i: (urls, in_feed) for i, (article, in_feed) in articles.articles.items() if (urls := links_of(article, kinds))
    }
    assert {i: set(its) for i, its in uses(links).items()} == {i: set(its) for i, (its, _) in had.items()}
    counts: dict[str, tuple[int, bool]] = {}
    for urls, in_feed in had.values():
        for url in urls:
            number, fed = counts.get(url, (0, False))
            counts[url] = number + 1, fed or in_feed
    assert {link.url: (link.uses, link.in_feed) for link in links.iter_links()} == counts
