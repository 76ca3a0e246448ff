"""What is the matter now, and what was told of it -> what is to be told, and what to remember. Nothing twice.

Pure: `alerts` looks and delivers, `store.told` keeps. A trouble is told when it is there, and again, as resolved, when
it has been gone for a while. One that comes and goes is told at most once within some hours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

Kind = Literal["publishing", "feeds", "articles", "silence", "links", "network"]
KINDS: Final[tuple[Kind, ...]] = ("publishing", "feeds", "articles", "silence", "links", "network")

# held: it is there, and not told: not again so soon, or there were too many messages. told: it is there, and was told.
# ending: it is gone, and that was not told yet. over: it is gone; remembered so that it is not told again so soon.
Stage = Literal["held", "told", "ending", "over"]
HOUR_S: Final = 3_600


class Trouble(Struct, frozen=True, gc=False):
    """What is the matter. The same `key` is the same trouble; `text` is a sentence, `details` are a few short lines.

    `is_news`: false for what is to be told only while it is known already, as it began long ago.
    """

    key: str
    kind: Kind
    since_at: int
    text: str
    details: tuple[str, ...] = ()
    is_news: bool = True


class Known(Struct, frozen=True, array_like=True, gc=False):
    """What is remembered of a trouble: when it was last told, and told as resolved; 0 for never. `gone_at`: when it was
    first missed, while it is ending.
    """

    key: str
    kind: Kind
    since_at: int
    text: str
    stage: Stage
    told_at: int = 0
    gone_at: int = 0
    resolved_at: int = 0


class Policy(Struct, frozen=True):
    """`again_s`: a trouble is told at most once in so long, an hour at least. `calm_s`: one that is gone for so long is
    resolved. `per_hour`: messages at most; what is more waits and comes as one. `resolved`: whether that is told.
    """

    again_s: int = 4 * HOUR_S
    calm_s: int = 300
    per_hour: int = 10
    resolved: bool = True


class Decision(Struct, frozen=True):
    """What to tell now, as one message (none if both are empty); what to remember instead, and what to forget."""

    told: tuple[Trouble, ...] = ()
    resolved: tuple[Known, ...] = ()
    put: tuple[Known, ...] = ()
    dropped: tuple[str, ...] = ()


def decide(
    known: Mapping[str, Known], present: Iterable[Trouble], *, now: int, policy: Policy,
    blind: Collection[Kind] = (),
) -> Decision:
    """What follows from the troubles that are there now; kinds that nobody could look at stay as they are."""
    has_room = _messages(known.values(), now) < policy.per_hour
    there = {trouble.key: trouble for trouble in present if trouble.kind not in blind}
    told, resolved, put, dropped = list[Trouble](), list[Known](), list[Known](), list[str]()
    for trouble in there.values():
        old = known.get(trouble.key)
        if old is None and not trouble.is_news:
            continue
        new = _there(old, trouble, now, policy, has_room)
        if new != old:
            put.append(new)
        if new.stage == "told" and (old is None or old.stage in ("held", "over")):
            told.append(trouble)
    for old in known.values():
        if old.key in there or old.kind in blind:
            continue
        if (gone := _gone(old, now, policy, has_room)) is None:
            dropped.append(old.key)
        elif gone != old:
            put.append(gone)
            if old.stage == "ending" and policy.resolved:
                resolved.append(old)
    return Decision(tuple(told), tuple(resolved), tuple(put), tuple(dropped))


def open_keys(known: Iterable[Known]) -> frozenset[str]:
    """The troubles that were there at the last look, or shortly before it."""
    return frozenset(each.key for each in known if each.stage != "over")


def is_mass(today: int, before: Sequence[int], least: int) -> bool:
    """Whether more links died within a day than is usual: `least` at least, and over twice what the second worst of the
    days before it saw, so that a single bad day is none to be measured by.
    """
    usual = sorted(before)[-2] if len(before) > 1 else 0
    return today >= max(least, 1) and today > 2 * usual


def _there(old: Known | None, trouble: Trouble, now: int, policy: Policy, has_room: bool) -> Known:
    if old and old.stage == "told":
        return old
    if old and old.stage == "ending":  # nobody heard that it had gone
        return replace(old, stage="told", gone_at=0)
    if has_room and not (old and _is_within(policy.again_s, old.told_at, now)):
        resolved_at = old.resolved_at if old else 0
        return Known(
            trouble.key, trouble.kind, trouble.since_at, trouble.text, "told", told_at=now, resolved_at=resolved_at
        )
    if old:
        return replace(old, stage="held")
    return Known(trouble.key, trouble.kind, trouble.since_at, trouble.text, "held")


def _gone(old: Known, now: int, policy: Policy, has_room: bool) -> Known | None:
    """What is remembered of a trouble that is not there; None for nothing."""
    if old.stage == "told":
        return replace(old, stage="ending", gone_at=now)
    if old.stage == "ending":
        if _is_within(policy.calm_s, old.gone_at, now) or (policy.resolved and not has_room):
            return old
        return replace(old, stage="over", gone_at=0, resolved_at=now if policy.resolved else old.resolved_at)
    if any(_is_within(policy.again_s, at, now) for at in (old.told_at, old.resolved_at)):
        return replace(old, stage="over")
    return None


def _is_within(seconds: int, at: int, now: int) -> bool:
    """Whether `at` is so recent. A time to come is not: the clock was set back, and nobody waits for it to catch up."""
    return at <= now < at + seconds


def _messages(known: Iterable[Known], now: int) -> int:
    """How many messages there were within the last hour, but for those about what was told again since."""
    times = {at for each in known for at in (each.told_at, each.resolved_at)}
    return sum(_is_within(HOUR_S, at, now) for at in times)
