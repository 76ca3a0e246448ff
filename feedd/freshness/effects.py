"""Verdicts on an article's related links -> the article as feeds show it: dead ones out, marked, or archived.

Pure. Nothing but the related stories changes, so an entry's dates and id stay. Called before an entry is rendered, and
by who decides which feeds a change of verdict touches.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, structs

from feedd import model, text
from feedd.freshness.states import Verdict


class Mark(Struct, frozen=True, array_like=True, gc=False):
    """What is known of a link, for those who show it.

    `target`: the URL to show instead, the archived copy of a dead link or where a moved one went; empty for none.
    `changed`: another content than the one verified first is there.
    """

    verdict: Verdict
    since_at: int = 0
    target: str = ""
    changed: bool = False


class Rules(Struct, frozen=True):
    """What the operator wants readers to see.

    `dead`: a dead link is shown as it is, left out, its title followed by `dead_mark`, or an archived copy is linked
    to (marked where there is none). `follow_moves`: a moved link is shown where it went.
    """

    dead: Literal["keep", "drop", "mark", "archive"] = "mark"
    dead_mark: str = "(dead link)"
    follow_moves: bool = False


class _Effect(Struct, frozen=True):
    """What becomes of one link: nothing, by default."""

    dropped: bool = False
    url: str = ""
    after_title: str = ""


_NONE = _Effect()


def apply(article: model.Article, marks: Mapping[str, Mark], rules: Rules) -> model.Article:
    """The article with its related links as `rules` have them; the same object if nothing changes.

    `marks` by URL, as the article has it; a link without one is shown as it is.
    """
    shown: list[model.Related] = []
    changed = False
    for related in article.related:
        effect = _effect(marks.get(related.url), rules) if related.url else _NONE
        after = related if effect == _NONE else _with_effect(related, effect)
        changed = changed or effect.dropped or after != related
        if not effect.dropped:
            shown.append(after)
    return structs.replace(article, related=tuple(shown)) if changed else article


def checked(article: model.Article, marks: Mapping[str, Mark], rules: Rules) -> dict[str, tuple[Verdict, int]]:
    """URL, as `apply` has it -> verdict and since when, of the related links that are known and shown."""
    found: dict[str, tuple[Verdict, int]] = {}
    for related in article.related:
        mark = marks.get(related.url)
        effect = _effect(mark, rules)
        if mark is not None and not effect.dropped:
            found[effect.url or related.url] = (mark.verdict, mark.since_at)
    return found


def shown_alike(old: Mark | None, new: Mark | None, rules: Rules) -> bool:
    """Whether feeds show a link with one mark as with the other. Pages tell verdicts apart that feeds do not."""
    return _effect(old, rules) == _effect(new, rules)


def _effect(mark: Mark | None, rules: Rules) -> _Effect:
    if mark is None:
        return _NONE
    if mark.verdict == "moved" and rules.follow_moves:
        return _Effect(url=text.clean_url(mark.target, ""))
    if mark.verdict != "dead" or rules.dead == "keep":
        return _NONE
    if rules.dead == "drop":
        return _Effect(dropped=True)
    url = text.clean_url(mark.target, "") if rules.dead == "archive" else ""
    return _Effect(url=url) if url else _Effect(after_title=rules.dead_mark)


def _with_effect(related: model.Related, effect: _Effect) -> model.Related:
    """A story without a title is shown by its provider's name or its URL: then that is what the mark follows."""
    if effect.url:
        return structs.replace(related, url=effect.url)
    if not effect.after_title:
        return related
    title = related.title or related.provider.name or related.url
    return structs.replace(related, title=f"{title} {effect.after_title}")
