"""When entries of a feed came -> for how long it may have none before that is unusual for it, and whether it is now.

Pure. A feed's rhythm is its pauses: the times between the hours in which entries came, so that a burst is one sign of
life. Asked by `alerts`, which has the times.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

SLOT_S: Final = 3_600
SLOTS: Final = 500  # newest hours with entries that are looked at: three weeks of a feed that never rests
LEAST: Final = 10  # pauses; of fewer nothing is usual
FLOOR_S: Final = 86_400  # no feed is silent sooner
NEWS_S: Final = 7 * 86_400  # what fell silent longer ago is over, or known: nobody need hear of it now


class Silence(Struct, frozen=True, gc=False):
    """No entry came since `last_at`, and from `since_at` on that is unusual; `is_news`: it became so of late."""

    last_at: int
    since_at: int
    is_news: bool


def limit_s(times: Sequence[int]) -> int | None:
    """Seconds without an entry after which a feed is silent, by the times of its entries in any order.

    None where there are too few to tell.

    (2.5 + 40/n) times the second longest of its n pauses. Nights, weekends and other rests come more than once, so they
    are the second longest; a single outage is not. Were entries to come by pure chance (exponential pauses), one pause
    in 4,500 would be a false alarm with 20 pauses known, one in 33,000 with 100, one in 430,000 with 400.
    """
    slots = sorted({at // SLOT_S for at in times})[-SLOTS:]
    pauses = sorted(later - sooner for sooner, later in pairwise(slots))
    if len(pauses) < LEAST:
        return None
    return max(FLOOR_S, int((2.5 + 40 / len(pauses)) * pauses[-2] * SLOT_S))


def find(last_at: int, limit: int | None, now: int) -> Silence | None:
    """The silence of a feed whose newest entry came at `last_at`, and whose `limit_s` is given; None if it is none."""
    if limit is None or now - last_at <= limit:
        return None
    since_at = last_at + limit
    return Silence(last_at, since_at, now - since_at <= NEWS_S)
