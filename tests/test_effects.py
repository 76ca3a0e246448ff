"""What verdicts do to the related stories of an entry, and when feeds need not be written again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from feedd import model
from feedd.freshness import effects, states
from feedd.freshness.effects import Mark, Rules

BBC = model.Provider("BBC", "bbc.example")
ONE = model.Related("One", "https://a.example/1", "An excerpt", 1_700_000_000, "article", BBC)
TWO = model.Related("Two", "https://b.example/2")
BARE = model.Related("No link")
ARTICLE = model.Article("Title", "https://site.example/t", "Summary", related=(ONE, TWO, BARE), topics=("AI",))
COPY = "https://archive.example/web/2020/https://a.example/1"
DEAD, ARCHIVED = Mark("dead", 1), Mark("dead", 1, COPY)


def shown(mark: Mark | None, related: model.Related = ONE, **rules: Any) -> tuple[tuple[str, str], ...]:
    """(title, URL) of the related stories of an article with one story and a second one."""
    article = structs.replace(ARTICLE, related=(related, TWO))
    marks = {related.url: mark} if mark else {}
    return tuple((story.title, story.url) for story in effects.apply(article, marks, Rules(**rules)).related)


AS_IT_IS = (("One", ONE.url), ("Two", TWO.url))


@pytest.mark.parametrize("verdict", [v for v in states.VERDICTS if v not in ("dead", "moved")])
@pytest.mark.parametrize("dead", ["keep", "drop", "mark", "archive"])
def test_a_link_that_is_not_dead_is_shown_as_it_is(verdict: states.Verdict, dead: str) -> None:
    marks = {ONE.url: Mark(verdict, 5, COPY, changed=True)}
    assert effects.apply(ARTICLE, marks, Rules(dead=dead, follow_moves=True)) is ARTICLE  # type: ignore[arg-type]


@pytest.mark.parametrize(("mark", "rules", "expected"), [
    (None, {}, AS_IT_IS),
    (DEAD, {"dead": "keep"}, AS_IT_IS),
    (DEAD, {"dead": "drop"}, AS_IT_IS[1:]),
    (DEAD, {}, (("One (dead link)", ONE.url), AS_IT_IS[1])),
    (DEAD, {"dead_mark": "†"}, (("One †", ONE.url), AS_IT_IS[1])),
    (DEAD, {"dead_mark": ""}, AS_IT_IS),
    (ARCHIVED, {"dead": "mark"}, (("One (dead link)", ONE.url), AS_IT_IS[1])),
    (ARCHIVED, {"dead": "archive"}, (("One", COPY), AS_IT_IS[1])),
    (DEAD, {"dead": "archive"}, (("One (dead link)", ONE.url), AS_IT_IS[1])),
    (Mark("dead", 1, "javascript:alert(1)"), {"dead": "archive"}, (("One (dead link)", ONE.url), AS_IT_IS[1])),
    (Mark("moved", 1, "https://a.example/new"), {}, AS_IT_IS),
    (Mark("moved", 1, "https://a.example/new"), {"follow_moves": True},
    (("One", "https://a.example/new"), AS_IT_IS[1])),
    (Mark("moved", 1, "ftp://a.example/new"), {"follow_moves": True}, AS_IT_IS),
    (Mark("moved", 1, "/new"), {"follow_moves": True}, AS_IT_IS),
    (Mark("moved", 1), {"follow_moves": True}, AS_IT_IS),
    (Mark("fresh", 1, "https://a.example/new"), {"follow_moves": True}, AS_IT_IS),
])  # fmt: skip
def test_what_becomes_of_a_link(mark: Mark | None, rules: dict[str, Any],
expected: tuple[tuple[str, str], ...]) -> None:
    assert shown(mark, **rules) == expected


@pytest.mark.parametrize(("related", "title"), [
    (model.Related("", ONE.url, provider=BBC), "BBC (dead link)"),
    (model.Related("", ONE.url), f"{ONE.url} (dead link)"),
])  # fmt: skip
def test_the_mark_follows_what_is_shown_where_there_is_no_title(related: model.Related, title: str) -> None:
    assert shown(DEAD, related)[0] == (title, ONE.url)


def test_every_story_with_the_url_is_marked_and_nothing_else_of_the_article_changes() -> None:
    article = structs.replace(ARTICLE, related=(ONE, BARE, TWO, structs.replace(ONE, title="Again")))
    after = effects.apply(article, {ONE.url: DEAD, "": DEAD, article.url: DEAD}, Rules())
    assert [story.title for story in after.related] == ["One (dead link)", "No link", "Two", "Again (dead link)"]
    assert structs.replace(after, related=article.related) == article
    assert structs.replace(after.related[0], title="One") == ONE


def test_a_move_to_where_the_link_leads_already_changes_nothing() -> None:
    assert effects.apply(ARTICLE, {ONE.url: Mark("moved", 1, ONE.url)}, Rules(follow_moves=True)) is ARTICLE


@pytest.mark.parametrize(("old", "new", "rules", "alike"), [
    (None, None, Rules(), True), (None, Mark("fresh"), Rules(), True), (Mark("fresh"), Mark("blocked"), Rules(), True),
    (Mark("failing"), DEAD, Rules(), False), (DEAD, Mark("fresh"), Rules(), False),
    (None, DEAD, Rules(dead="keep"), True),
    (DEAD, Mark("dead", 2, changed=True), Rules(), True), (DEAD, ARCHIVED, Rules(), True),
    (DEAD, ARCHIVED, Rules(dead="archive"), False), (DEAD, ARCHIVED, Rules(dead="drop"), True),
    (None, DEAD, Rules(dead_mark=""), True), (None, Mark("moved", 1, "https://x.example/"), Rules(), True),
    (None, Mark("moved", 1, "https://x.example/"), Rules(follow_moves=True), False),
    (Mark("moved", 1, "https://x.example/"), Mark("moved", 2, "https://x.example/"), Rules(follow_moves=True), True),
])  # fmt: skip
def test_feeds_are_alike_where_the_marks_make_no_difference(
    old: Mark | None, new: Mark | None, rules: Rules, alike: bool
) -> None:
    assert effects.shown_alike(old, new, rules) is effects.shown_alike(new, old, rules) is alike


@pytest.mark.parametrize(("mark", "rules", "expected"), [
    (None, Rules(), {}), (Mark("fresh", 7), Rules(), {ONE.url: ("fresh", 7)}), (DEAD, Rules(), {ONE.url: ("dead", 1)}),
    (DEAD, Rules(dead="drop"), {}), (ARCHIVED, Rules(dead="archive"), {COPY: ("dead", 1)}),
    (Mark("moved", 3, "https://a.example/new"), Rules(follow_moves=True), {"https://a.example/new": ("moved", 3)}),
])  # fmt: skip
def test_what_is_known_goes_by_the_url_that_is_shown(
    mark: Mark | None, rules: Rules, expected: dict[str, tuple[states.Verdict, int]]
) -> None:
    marks = {ONE.url: mark} if mark else {}
    assert effects.checked(ARTICLE, marks, rules) == expected
    assert expected.keys() <= {story.url for story in effects.apply(ARTICLE, marks, rules).related}


MARKS = st.none() | st.builds(
    Mark, st.sampled_from(states.VERDICTS), st.integers(0, 9), st.sampled_from(["", COPY, ONE.url, "x:y"]),
    st.booleans()
)
RULES = st.builds(
    Rules, st.sampled_from(["keep", "drop", "mark", "archive"]), st.sampled_from(["", "(dead)"]), st.booleans()
)


@given(MARKS, MARKS, RULES)
def test_what_is_shown_alike_is_the_same(old: Mark | None, new: Mark | None, rules: Rules) -> None:
    one, other = (effects.apply(ARTICLE, {ONE.url: mark} if mark else {}, rules) for mark in (old, new))
    if effects.shown_alike(old, new, rules):
        assert one == other
    assert one is ARTICLE or one != ARTICLE
