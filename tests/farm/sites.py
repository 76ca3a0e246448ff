"""What a host of the farm is: its pages, what it says to paths it does not have, its robots.txt, and for each page that
is a link the verdicts that the policy allows, after one run and after a fortnight of daily ones.

Values only; the sites themselves are in `behaviours`, `hostile` and `manners`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from tests.farm.replies import Answer, status

Verdicts = frozenset[str]


def verdicts(names: str) -> Verdicts:
    """`"fresh failing"` as a set."""
    return frozenset(names.split())


class Expected(Struct, frozen=True):
    """The verdicts that are right. `changed`: whether the flag is up after a fortnight; None where either will do."""

    first: Verdicts
    later: Verdicts
    changed: bool | None = None


def expected(first: str, later: str = "", *, changed: bool | None = None) -> Expected:
    """The same for both without `later`."""
    return Expected(verdicts(first), verdicts(later or first), changed)


# The table of link-freshness.md. Where it leaves a choice, both are right.
FRESH = expected("fresh", changed=False)
CHANGED = expected("fresh", changed=True)
MOVED = expected("fresh", "moved")
MISSING = expected("failing", "dead")  # strikes on days 0, 3 to 4, and 6 to 8
GONE = expected("failing", "dead")  # the second strike by day 4
# A first weak result is no strike, so the verdict may stay what it was. Three strikes take nine days of weak evidence.
WEAK = expected("unchecked failing", "failing dead")
BLOCKED = expected("blocked")
EXCLUDED = expected("excluded")
# It was refused or given up on the way; all that is certain is that the link is not good, and not proven gone either.
LED_ASTRAY = expected("excluded blocked failing unchecked")
WEAK_OR_BLOCKED = expected("unchecked failing blocked", "failing dead blocked")
ASTRAY_OR_WEAK = expected("blocked failing unchecked", "blocked failing dead unchecked")
# 2xx came, and then not what it promised: the head counts, or the failure does.
UNSURE = expected("fresh unchecked failing", "fresh failing dead")


class Page(Struct, frozen=True):
    """What a path answers; a link if something is expected of it."""

    answer: Answer
    expected: Expected | None = None


class Site(Struct, frozen=True):
    """A host. `forbids`: what its robots.txt does, as (product or "*", pattern of paths). Without `robots` it has none,
    and says 404 for it. `other`: what it says to paths that are no pages.
    """

    name: str
    pages: Mapping[str, Page]
    robots: Answer | None = None
    forbids: tuple[tuple[str, str], ...] = ()
    crawl_delay_s: float = 0.0
    other: Answer = status(404, "Not Found")
    secure: int = 0  # which of the hosts with TLS it is


def one(name: str, answer: Answer, expected: Expected, *, path: str = "", other: Answer | None = None) -> Site:
    """A host with one link."""
    pages = {path or f"/news/2024/{name}.html": Page(answer, expected)}
    return Site(name, pages, other=other) if other else Site(name, pages)
