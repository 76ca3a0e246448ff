"""What is told and when, over histories: nothing twice, nothing for ever unsaid; and which pauses are silence."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd import silence, troubles
from feedd.troubles import Decision, Known, Policy, Trouble

DAY, HOUR, MINUTE = 86_400, 3_600, 60
NOW = 1_700_000_000
POLICY = Policy(again_s=4 * HOUR, calm_s=300, per_hour=10)


def trouble(key: str = "publishing", kind: troubles.Kind = "publishing", *, is_news: bool = True) -> Trouble:
    return Trouble(key, kind, NOW, f"{key} is in trouble", is_news=is_news)


class Desk:
    """Decisions one after another, as the service makes them; `told` and `resolved` are (second, key)."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy, self.known = policy, dict[str, Known]()
        self.told, self.resolved, self.messages = list[tuple[int, str]](), list[tuple[int, str]](), list[int]()

    def at(self, now: int, *present: Trouble, blind: tuple[troubles.Kind, ...] = ()) -> Decision:
        done = troubles.decide(self.known, present, now=now, policy=self.policy, blind=blind)
        self.known.update({each.key: each for each in done.put})
        for key in done.dropped:
            del self.known[key]
        self.told += [(now, each.key) for each in done.told]
        self.resolved += [(now, each.key) for each in done.resolved]
        if done.told or done.resolved:
            self.messages.append(now)
        return done


# --- telling ----------------------------------------------------------------------------------------------------------


def test_a_trouble_is_told_once_and_resolved_once() -> None:
    desk = Desk()
    for minute in range(20):
        desk.at(NOW + minute * MINUTE, trouble())
    for minute in range(20, 40):
        desk.at(NOW + minute * MINUTE)
    assert desk.told == [(NOW, "publishing")]
    assert desk.resolved == [(NOW + 25 * MINUTE, "publishing")]
    assert troubles.open_keys(desk.known.values()) == frozenset()
    desk.at(NOW + 6 * HOUR)
    assert desk.known == {}
    desk.at(NOW + 7 * HOUR, trouble())
    assert desk.told[1:] == [(NOW + 7 * HOUR, "publishing")]


def test_what_is_gone_for_a_moment_was_never_gone() -> None:
    desk = Desk()
    for minute in range(60):
        desk.at(NOW + minute * MINUTE, *([] if minute % 5 == 4 else [trouble()]))
    assert (desk.told, desk.resolved) == ([(NOW, "publishing")], [])


def test_one_that_comes_back_soon_is_told_when_it_may_be_and_is_still_there() -> None:
    desk = Desk()
    desk.at(NOW, trouble())
    desk.at(NOW + HOUR)
    desk.at(NOW + HOUR + 300)
    for minute in range(90, 300):
        desk.at(NOW + minute * MINUTE, trouble())
    assert desk.told == [(NOW, "publishing"), (NOW + 4 * HOUR, "publishing")]
    assert desk.resolved == [(NOW + HOUR + 300, "publishing")]


def test_one_that_comes_back_and_goes_unsaid_is_not_resolved_twice() -> None:
    desk = Desk()
    desk.at(NOW, trouble())
    for after in (HOUR, HOUR + 300):
        desk.at(NOW + after)
    desk.at(NOW + 2 * HOUR, trouble())
    for after in range(3, 9):
        desk.at(NOW + after * HOUR)
    assert (len(desk.told), len(desk.resolved), desk.known) == (1, 1, {})


def test_without_resolved_an_end_is_only_noted() -> None:
    desk = Desk(Policy(resolved=False))
    desk.at(NOW, trouble())
    for minute in range(1, 20):
        desk.at(NOW + minute * MINUTE)
    assert (len(desk.told), desk.resolved, desk.known["publishing"].stage) == (1, [], "over")


def test_what_began_long_ago_is_not_news_but_stays_open() -> None:
    desk = Desk()
    old = trouble("silent:all", "silence", is_news=False)
    assert desk.at(NOW, old) == Decision()
    desk.at(NOW, trouble("silent:all", "silence"))
    for day in range(9):
        desk.at(NOW + day * DAY, old)
    assert (len(desk.told), desk.resolved) == (1, [])


def test_what_nobody_could_look_at_stays_as_it_is() -> None:
    desk = Desk()
    desk.at(NOW, trouble("links", "links"))
    for hour in range(1, 9):
        assert desk.at(NOW + hour * HOUR, blind=("links",)) == Decision()
    assert desk.at(NOW + DAY, trouble("network", "network"), blind=("links", "network")) == Decision()


def test_many_at_once_are_one_message_and_too_many_messages_wait_for_one() -> None:
    desk = Desk(Policy(per_hour=3))
    present = list[Trouble]()
    for minute in range(70):
        present += [trouble(f"articles:{minute}.{n}", "articles") for n in range(5)]
        desk.at(NOW + minute * MINUTE, *present)
    assert desk.messages == [NOW, NOW + MINUTE, NOW + 2 * MINUTE] + [NOW + HOUR + m * MINUTE for m in range(3)]
    assert len(desk.told) == len(set(desk.told)) == 63 * 5
    assert troubles.open_keys(desk.known.values()) == {each.key for each in present}


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    desk = Desk()
    desk.at(NOW, trouble())
    desk.at(NOW - DAY)
    desk.at(NOW - DAY + 300)
    desk.at(NOW - DAY + 600, trouble())
    assert [key for _, key in desk.told] == ["publishing", "publishing"]
    assert desk.resolved == [(NOW - DAY + 300, "publishing")]


STEPS = st.lists(st.tuples(st.integers(1, 90 * MINUTE), st.frozensets(st.sampled_from("abcd"))), max_size=60)


@given(STEPS, st.integers(1, 5), st.booleans())
def test_beginnings_and_ends_take_turns_and_none_is_lost(
    steps: list[tuple[int, frozenset[str]]], per_hour: int, resolved: bool
) -> None:
    desk, now = Desk(Policy(again_s=4 * HOUR, per_hour=per_hour, resolved=resolved)), NOW
    for wait_s, keys in steps:
        now += wait_s
        desk.at(now, *(trouble(key, "articles") for key in sorted(keys)))
    last = steps[-1][1] if steps else frozenset[str]()
    for _ in range(30):  # it stays so
        now += HOUR
        desk.at(now, *(trouble(key, "articles") for key in sorted(last)))
    for key in "abcd":
        told = [at for at, each in desk.told if each == key]
        ends = [at for at, each in desk.resolved if each == key]
        assert all(later - sooner >= 4 * HOUR for sooner, later in pairwise(told))
        assert (key in last) == (key in troubles.open_keys(desk.known.values()))
        if not resolved:
            assert ends == []
            continue
        kinds = [what for _, what in sorted([(at, "told") for at in told] + [(at, "over") for at in ends])]
        assert kinds == ["told", "over"] * (len(kinds) // 2) + ["told"] * (len(kinds) % 2)
        assert (key in last) == (len(kinds) % 2 == 1)
    for at in desk.messages:  # what is told again leaves its last message out of the count
        assert sum(at - HOUR < other <= at for other in desk.messages) <= per_hour + 4


# --- silence ----------------------------------------------------------------------------------------------------------


def rhythm(kind: str, seed: int, days: int = 120) -> list[int]:
    """Times of entries, oldest first, of a feed with such a rhythm."""
    chance, start = random.Random(seed), NOW - NOW % DAY - days * DAY
    if kind == "daily":
        return [start + day * DAY + 9 * HOUR + chance.randrange(2 * HOUR) for day in range(days)]
    if kind == "hourly":
        return [start + hour * HOUR + chance.randrange(HOUR) for hour in range(24 * days)]
    if kind == "weekly":
        return [start + week * 7 * DAY + chance.randrange(DAY) for week in range(days)]
    if kind == "working days":  # 1970-01-01 was a Thursday
        working = [day for day in range(days) if (start // DAY + day + 3) % 7 < 5]
        return sorted(start + day * DAY + 9 * HOUR + chance.randrange(8 * HOUR) for day in working for _ in range(6))
    if kind == "bursts":
        return sorted(start + day * DAY + chance.randrange(3 * HOUR) for day in range(0, days, 3) for _ in range(20))
    at, times = float(start), []  # by pure chance, two a day
    while at < start + days * DAY:
        at += chance.expovariate(2 / DAY)
        times.append(int(at))
    return times


KINDS = ("daily", "hourly", "weekly", "working days", "bursts", "chance")
MUST_BE_SILENT_AFTER = {  # days; a holiday of some is none
    "daily": 3, "hourly": 1.1, "weekly": 23, "working days": 9, "bursts": 12, "chance": 12,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_rhythm_goes_on_without_an_alarm_and_its_end_is_noticed(kind: str) -> None:
    for seed in range(20):
        times = rhythm(kind, seed)
        for place in range(len(times) // 4, len(times)):
            if times[place] - times[place - 1] <= silence.FLOOR_S or kind == "chance":  # of which more below
                continue
            limit = silence.limit_s(times[max(0, place - 700) : place])
            assert limit is None or times[place] - times[place - 1] <= limit, (seed, place)
        limit = silence.limit_s(times)
        assert limit is not None
        last = times[-1]
        end = last + int(MUST_BE_SILENT_AFTER[kind] * DAY)
        assert silence.find(last, limit, last + limit) is None
        found = silence.find(last, limit, end)
        assert found is not None and found.last_at == last < found.since_at < end, limit / DAY


def test_false_alarms_are_rare_even_where_entries_come_by_pure_chance() -> None:
    chance, alarms, pauses = random.Random(1), 0, 0
    for _ in range(60):
        at, times = float(NOW), list[int]()
        for _ in range(160):
            times.append(int(at))
            at += chance.expovariate(1 / (3 * DAY))
        for place in range(11, len(times)):
            pauses += 1
            limit = silence.limit_s(times[:place])
            alarms += limit is not None and times[place] - times[place - 1] > limit
    assert alarms / pauses < 1 / 5_000, (alarms, pauses)


@pytest.mark.parametrize(("growth", "least", "most"), [(1.3, 0, 0), (2.0, 4, 10), (5.0, 3, 5)])
def test_a_feed_that_dies_slowly_is_told_of_a_few_times_at_most(growth: float, least: int, most: int) -> None:
    times, pause = [NOW + day * DAY for day in range(60)], float(DAY)
    alarms = 0
    while pause < 700 * DAY:
        pause *= growth
        limit = silence.limit_s(times)
        assert limit is not None
        alarms += pause > limit
        times.append(times[-1] + int(pause))
    assert least <= alarms <= most
    assert silence.find(times[-1], silence.limit_s(times), times[-1] + 2_000 * DAY)


def test_one_outage_makes_nobody_patient() -> None:
    times = [NOW + day * DAY for day in range(50)]
    with_outage = times + [times[-1] + (60 + day) * DAY for day in range(50)]
    first, second = silence.limit_s(times), silence.limit_s(with_outage)
    assert first and second and second <= first


def test_of_few_entries_nothing_is_usual() -> None:
    assert silence.limit_s([]) is None
    assert silence.limit_s([NOW] * 500) is None
    assert silence.limit_s([NOW + day * DAY for day in range(silence.LEAST)]) is None
    assert silence.limit_s([NOW + day * DAY for day in range(silence.LEAST + 1)]) is not None
    assert silence.find(NOW, None, NOW + 900 * DAY) is None


def test_what_fell_silent_long_ago_is_no_news() -> None:
    found = silence.find(NOW, DAY, NOW + 2 * DAY)
    assert found == silence.Silence(NOW, NOW + DAY, True)
    found = silence.find(NOW, DAY, NOW + DAY + silence.NEWS_S + 1)
    assert found and not found.is_news


@given(st.lists(st.integers(0, 400 * DAY), min_size=2, max_size=80), st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_the_limit_hangs_on_no_order_and_exceeds_all_pauses_but_one(times: list[int], chance: random.Random) -> None:
    limit = silence.limit_s(times)
    mixed = times[:]
    chance.shuffle(mixed)
    assert silence.limit_s(mixed) == silence.limit_s(times + times) == limit
    if limit is not None:
        assert limit >= silence.FLOOR_S
        assert sum(later - sooner > limit + HOUR for sooner, later in pairwise(sorted(times))) <= 1


# --- links ------------------------------------------------------------------------------------------------------------


def test_links_die_in_numbers_when_it_is_more_than_usual_and_more_than_few() -> None:
    assert troubles.is_mass(20, [0] * 14, 20)
    assert not troubles.is_mass(19, [0] * 14, 20)
    assert not troubles.is_mass(0, [], 0)
    assert troubles.is_mass(1, [9], 1)
    assert not troubles.is_mass(100, [50, 60, *[0] * 12], 20)  # twice 50
    assert troubles.is_mass(101, [50, 60, *[0] * 12], 20)
    assert troubles.is_mass(60, [900, *[10] * 13], 20)  # one bad day is none to be measured by
