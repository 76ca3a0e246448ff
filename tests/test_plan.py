"""Decisions alone: no files, no state."""

from __future__ import annotations

import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd import model, plan
from feedd.plan import Rules, feeds_of, matches

T = 1_700_000_000
ARTICLE = model.Article(
    title="A Robot reads", url="https://s.example/a", summary="s", published_at=100, category="News", type="article",
    provider=model.Provider("Source", "s.example"), topics=("AI", "Computer Vision"), quality=70.0, heat=None,
)


@pytest.mark.parametrize(("wanted", "taken"), [
    ({}, True),
    ({"topics": ("ai", "none")}, True),
    ({"topics": ("none",)}, False),
    ({"topics": ("AI",), "not_topics": ("computer vision",)}, False),
    ({"providers": ("S.example",)}, True),
    ({"providers": ("source",)}, True),
    ({"not_providers": ("s.example",)}, False),
    ({"categories": ("news",), "types": ("article", "video")}, True),
    ({"not_categories": ("news",)}, False),
    ({"not_types": ("article",)}, False),
    ({"languages": ("EN",)}, True),
    ({"languages": ("de",)}, False),
    ({"not_languages": ("en-GB",)}, True),
    ({"min_quality": 70}, True),
    ({"min_quality": 71}, False),
    ({"min_heat": -5}, False),
    ({"title_contains": ("robot", "x")}, True),
    ({"title_contains": ("human",)}, False),
])
def test_a_custom_feed_takes_what_meets_all_of_its_conditions(wanted: dict[str, object], taken: bool) -> None:
    assert matches(ARTICLE, model.FeedFilter(**wanted), "en") is taken  # type: ignore[arg-type]


def test_groups_can_be_left_out() -> None:
    kinds = {ref.kind for ref in feeds_of(ARTICLE, Rules(topics=False, providers=False, categories=False))}
    assert kinds == {"all"}
    bare = model.Article(title="t", url="https://s.example/", summary="s")
    assert [ref.kind for ref in feeds_of(bare, Rules())] == ["all"]


def test_a_provider_without_a_domain_has_a_feed_by_its_name() -> None:
    named = model.Article(title="t", url="https://s.example/", summary="s", provider=model.Provider("The Source", ""))
    (ref,) = [ref for ref in feeds_of(named, Rules()) if ref.kind == "provider"]
    assert (ref.key, ref.label) == ("the source", "The Source")


def test_topics_that_differ_in_case_only_are_one() -> None:
    twice = model.Article(title="t", url="https://s.example/", summary="s", topics=("AI", "ai", "Écran", "écran"))
    assert [ref.key for ref in feeds_of(twice, Rules()) if ref.kind == "topic"] == ["écran", "ai"]


@pytest.mark.parametrize(("path", "at"), [
    ("2023-01-02-title.md", 1_672_617_600), ("deep/2023-01-02_x.md", 1_672_617_600), ("2023-13-40-x.md", None),
    ("title-2023-01-02.md", None), ("2023-01-02/title.md", None),
])
def test_the_date_that_leads_a_name(path: str, at: int | None) -> None:
    assert plan.date_in_name(path) == at


def test_an_article_without_a_date_takes_that_of_its_name_then_the_time_it_was_first_seen() -> None:
    parsed = plan.summarise(model.Article(title="t", url="https://s.example/", summary="s"), Rules())

    def decide(old: plan.Known | None, path: str, now: int) -> plan.Known:
        return plan.decide(old, parsed, article_id=1, path=path, entry_path=path, feeds=b"", now=now, initial=False)

    first = decide(None, "x.md", T + 5_000)
    assert (first.published_at, decide(first, "x.md", T + 9_000).published_at) == (T + 5_000, T + 5_000)
    assert decide(None, "2023-01-02-x.md", T).published_at == 1_672_617_600


def test_an_edit_in_the_second_of_the_last_one_still_moves_updated_on() -> None:
    texts = [plan.summarise(model.Article(title=t, url="https://s.example/", summary="s"), Rules()) for t in "ab"]
    known = None
    seen = []
    for parsed in texts * 3:
        known = plan.decide(known, parsed, article_id=1, path="x", entry_path="x", feeds=b"", now=T, initial=True)
        seen.append(known.updated_us)
    assert seen == sorted(set(seen))


def test_a_clock_set_back_never_sets_updated_back() -> None:
    texts = [plan.summarise(model.Article(title=t, url="https://s.example/", summary="s"), Rules()) for t in "ab"]
    first = plan.decide(None, texts[0], article_id=1, path="x", entry_path="x", feeds=b"", now=T + 9_999, initial=False)
    later = plan.decide(first, texts[1], article_id=1, path="x", entry_path="x", feeds=b"", now=T + 50, initial=False)
    assert later.updated_us > first.updated_us


def test_a_held_article_whose_date_is_moved_to_the_past_is_public_from_now() -> None:
    held, moved = (
        plan.summarise(model.Article(title="t", url="https://s.example/", summary="s", published_at=at), Rules())
        for at in (T + 900, T + 100)
    )
    first = plan.decide(None, held, article_id=1, path="x", entry_path="x", feeds=b"", now=T + 500, initial=False)
    assert (first.release_at, plan.visible(first)) == (T + 900, False)
    second = plan.decide(first, moved, article_id=1, path="x", entry_path="x", feeds=b"", now=T + 600, initial=False)
    assert (second.release_at, second.public_at) == (None, T + 600)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 6)), max_size=12, unique_by=lambda pair: pair[0]))
def test_no_two_entries_of_a_feed_share_updated(entries: list[tuple[int, int]]) -> None:
    bumped = plan.distinct_updated(entries)
    shown = [bumped.get(article_id, at) for article_id, at in entries]
    assert len(set(shown)) == len(shown)
    assert all(new > dict(entries)[article_id] for article_id, new in bumped.items())


@given(st.lists(st.integers(0, 500), min_size=1), st.integers(1, 60))
def test_live_feed_and_archives_hold_every_entry(arrivals: list[int], limit: int) -> None:
    uncovered = 0
    for count in arrivals:
        uncovered += count
        pages = plan.pages_due(uncovered, limit)
        assert pages == 0 or uncovered > limit
        uncovered -= pages * limit
        assert 0 <= uncovered <= limit


@given(st.text(max_size=30))
def test_ids_are_uris_of_ascii(path: str) -> None:
    uri = plan.tag_uri("news.example", "2026-01-01", path.encode("utf-8", "ignore").decode())
    assert uri.isascii()
    assert not set(uri) & set(' "<>\\^`{|}#[]')


@given(st.text(max_size=30), st.text(max_size=30))
def test_ids_are_in_normal_form_and_differ_for_paths_that_differ(one: str, other: str) -> None:
    paths = [path.encode("utf-8", "ignore").decode() for path in (one, other, unicodedata.normalize("NFD", one))]
    uris = {path: plan.tag_uri("news.example", "2026-01-01", path) for path in paths}
    assert len(set(uris.values())) == len(uris)
    for uri in uris.values():
        path = unquote(uri)
        assert path == unicodedata.normalize("NFC", path)


def test_an_id_of_plain_text_is_its_path() -> None:
    assert plan.tag_uri("news.example", "2026-01-01", "caf\u00e9.md").endswith(":caf%C3%A9.md")
    assert "caf%C3%A9.md~" in plan.tag_uri("news.example", "2026-01-01", "cafe\u0301.md")


def test_minted_ids_never_meet() -> None:
    taken: set[str] = set()
    for _ in range(4):
        taken.add(plan.mint("a.md", taken))
    assert taken == {"a.md", "a.md~2", "a.md~3", "a.md~4"}


def test_links_that_lead_to_one_page_are_one_story() -> None:
    keys = {plan.link_key(url) for url in (
        "https://www.s.example/a/", "http://s.example/a", "https://s.example/a#part",
    )}
    assert len(keys) == 1
    assert plan.link_key("https://s.example/a?x=1") not in keys
    assert plan.link_key("") == 0
