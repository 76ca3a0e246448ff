"""What checks make of a link: the table of states, the policy's numbers, and what no history may ever lead to."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from feedd.freshness import judge
from feedd.freshness.states import HISTORY, VERDICTS, Evidence, LinkState, Verdict

DAY = 86_400
T = 19_675 * DAY + 10 * 3600  # ten in the morning
URL = "https://news.example/story"
NEW = LinkState()
LONGEST = 90 * DAY * 115 // 100
FIRST, OTHER, THIRD = FINGERPRINTS = [b"\0" + text * 15 for text in (b"1", b"2", b"3")]
MOVED = {"final_url": "https://news.example/new", "permanent": True}


def check(day: float, finding: str = "good", **more: object) -> Evidence:
    """What a check showed, `day` days after the first."""
    return Evidence(at=T + round(day * DAY), finding=finding, reason=f"was {finding}", **more)  # type: ignore[arg-type]


def after(*checks: Evidence, state: LinkState = NEW, url: str = URL, in_feed: bool = True) -> LinkState:
    """A link's state after checks, each judged at once."""
    for evidence in checks:
        state = judge.judge(url, state, evidence, evidence.at, in_feed=in_feed)
    return state


def days_to_next(state: LinkState, url: str = URL) -> float:
    """The planned days from the last check to the next, without the URL's own jitter."""
    ordinary = judge.next_check_at(url, LinkState(interval_days=1), 0) / DAY
    return (state.next_check_at - state.checked_at) / DAY / ordinary


STATES: dict[Verdict, LinkState] = {
    "unchecked": NEW,
    "fresh": after(check(0)),
    "stale": judge.lapse(after(check(0)), T + 3 * DAY),
    "moved": after(check(0, **MOVED), check(1, **MOVED)),
    "blocked": after(check(0, "blocked")),
    "failing": after(check(0, "missing")),
    "dead": after(check(-6, "missing"), check(-3, "missing"), check(0, "missing")),
    "excluded": after(check(0, "excluded")),
}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_can_be_reached(verdict: Verdict) -> None:
    assert STATES[verdict].verdict == verdict


# -- the table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "finding", "verdict"), [
    ("unchecked", "good", "fresh"), ("unchecked", "missing", "failing"), ("unchecked", "gone", "failing"),
    ("unchecked", "weak", "unchecked"), ("unchecked", "blocked", "blocked"), ("unchecked", "excluded", "excluded"),
    ("fresh", "good", "fresh"), ("fresh", "missing", "failing"), ("fresh", "gone", "failing"),
    ("fresh", "weak", "fresh"), ("fresh", "blocked", "blocked"), ("fresh", "excluded", "excluded"),
    ("stale", "good", "fresh"), ("stale", "missing", "failing"), ("stale", "gone", "failing"),
    ("stale", "weak", "stale"), ("stale", "blocked", "blocked"), ("stale", "excluded", "excluded"),
    ("moved", "good", "fresh"), ("moved", "missing", "failing"), ("moved", "gone", "failing"),
    ("moved", "weak", "moved"), ("moved", "blocked", "moved"), ("moved", "excluded", "excluded"),
    ("blocked", "good", "fresh"), ("blocked", "missing", "failing"), ("blocked", "gone", "failing"),
    ("blocked", "weak", "blocked"), ("blocked", "blocked", "blocked"), ("blocked", "excluded", "excluded"),
    ("failing", "good", "fresh"), ("failing", "missing", "failing"), ("failing", "gone", "failing"),
    ("failing", "weak", "failing"), ("failing", "blocked", "failing"), ("failing", "excluded", "excluded"),
    ("dead", "good", "fresh"), ("dead", "missing", "dead"), ("dead", "gone", "dead"),
    ("dead", "weak", "dead"), ("dead", "blocked", "dead"), ("dead", "excluded", "excluded"),
    ("excluded", "good", "fresh"), ("excluded", "missing", "failing"), ("excluded", "gone", "failing"),
    ("excluded", "weak", "unchecked"), ("excluded", "blocked", "blocked"), ("excluded", "excluded", "excluded"),
])  # fmt: skip
def test_one_more_check_leads_from_verdict_to_verdict(before: Verdict, finding: str, verdict: Verdict) -> None:
    state = after(check(5, finding), state=STATES[before])
    assert state.verdict == verdict
    entered_at = T + 5 * DAY if verdict != before else STATES[before].since_at
    assert state.since_at == entered_at


def test_what_a_check_showed_is_kept() -> None:
    state = after(check(0, status=200, etag='"a"', last_modified="yesterday", fingerprint=FIRST))
    assert (state.checked_at, state.verified_at, state.status) == (T, T, 200)
    assert (state.etag, state.last_modified, state.fingerprint) == ('"a"', "yesterday", FIRST)
    state = after(check(1, "weak", status=503), state=state)
    assert (state.checked_at, state.verified_at, state.status) == (T + DAY, T, 503)
    assert (state.etag, state.last_modified, state.fingerprint) == ('"a"', "yesterday", FIRST)
    assert [(piece.finding, piece.status, piece.reason) for piece in state.history] == [
        ("weak", 503, "was weak"), ("good", 200, "was good"),
    ]  # fmt: skip


def test_an_answer_that_nothing_changed_keeps_the_validators_that_it_does_not_repeat() -> None:
    known = after(check(0, etag='"a"', last_modified="yesterday", fingerprint=FIRST))
    same = after(check(1, status=304, unchanged=True), state=known)
    assert (same.verdict, same.etag, same.last_modified, same.fingerprint) == ("fresh", '"a"', "yesterday", FIRST)
    assert after(check(1, unchanged=True, etag='"b"'), state=known).etag == '"b"'
    whole = after(check(1), state=known)
    assert (whole.etag, whole.last_modified, whole.fingerprint) == ("", "", FIRST)


def test_the_history_is_newest_first_and_short_and_without_what_the_state_has() -> None:
    checks = [check(day, etag="e", last_modified="m", fingerprint=FIRST) for day in range(HISTORY + 3)]
    history = after(*checks).history
    assert [piece.at for piece in history] == [piece.at for piece in reversed(checks)][:HISTORY]
    assert {(piece.etag, piece.last_modified, piece.fingerprint) for piece in history} == {("", "", b"")}


# -- strikes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("checks", "verdict", "strikes"), [
    # Three strikes, each at least 3 days apart.
    ([(0, "missing"), (3, "missing")], "failing", 2),
    ([(0, "missing"), (3, "missing"), (6, "missing")], "dead", 3),
    ([(0, "missing"), (2.99, "missing"), (5.9, "missing")], "failing", 2),
    ([(0, "missing"), (1, "missing"), (2, "missing"), (3, "missing"), (4, "missing"), (5, "missing")], "failing", 2),
    ([(day, "missing") for day in range(7)], "dead", 3),
    # Gone for good: two.
    ([(0, "gone"), (1, "gone"), (2, "gone")], "failing", 1),
    ([(0, "gone"), (3, "gone")], "dead", 2),
    # A mix needs three, unless the last two strikes are both for good.
    ([(0, "missing"), (3, "gone")], "failing", 2),
    ([(0, "gone"), (3, "missing")], "failing", 2),
    ([(0, "missing"), (1, "gone"), (3, "gone")], "failing", 2),
    ([(0, "gone"), (1, "missing"), (3, "gone")], "dead", 2),
    ([(0, "missing"), (3, "gone"), (6, "gone")], "dead", 3),
    ([(0, "gone"), (3, "missing"), (6, "gone")], "dead", 3),
    # Weak evidence on three different days is one strike.
    ([(0, "weak"), (1, "weak")], "unchecked", 0),
    ([(0, "weak"), (0.1, "weak"), (0.2, "weak"), (0.3, "weak")], "unchecked", 0),
    ([(0, "weak"), (0.6, "weak"), (1.6, "weak")], "failing", 1),
    ([(0, "weak"), (9, "weak"), (20, "weak")], "failing", 1),
    ([(day, "weak") for day in range(8)], "failing", 2),
    ([(day, "weak") for day in range(9)], "dead", 3),
    # The day of a strike is none of the next strike's days.
    ([(0, "weak"), (1, "weak"), (2, "weak"), (2.1, "weak"), (3, "weak"), (5, "weak")], "failing", 1),
    ([(0, "missing"), (0.1, "weak"), (1, "weak"), (3, "weak")], "failing", 1),
    # Three weak days within 3 days of a strike wait for them to be over.
    ([(0.5, "missing"), (1, "weak"), (2, "weak"), (3.4, "weak")], "failing", 1),
    ([(0.5, "missing"), (1, "weak"), (2, "weak"), (3.4, "weak"), (3.5, "weak")], "failing", 2),
    ([(0, "weak"), (1, "weak"), (2, "missing"), (5, "weak")], "failing", 1),
    ([(0, "gone"), (3, "weak"), (4, "weak"), (5, "weak")], "failing", 2),
    # Blocked says nothing, neither for the link nor against it.
    ([(0, "missing"), (3, "blocked"), (6, "missing"), (9, "blocked")], "failing", 2),
    ([(0, "missing"), (3, "blocked"), (6, "missing"), (9, "missing")], "dead", 3),
    ([(0, "weak"), (1, "blocked"), (2, "weak"), (3, "weak")], "failing", 1),
    ([(0, "gone"), *((1 + n / 10, "blocked") for n in range(25)), (4, "gone")], "dead", 2),
    # Any success ends it.
    ([(0, "missing"), (3, "missing"), (4, "good"), (6, "missing")], "failing", 1),
    ([(0, "weak"), (1, "weak"), (1.5, "good"), (2, "weak")], "fresh", 0),
    ([(0, "gone"), (1, "good"), (2, "gone"), (3, "gone")], "failing", 1),
    # A rule forgets them.
    ([(0, "missing"), (3, "missing"), (4, "excluded"), (6, "missing")], "failing", 1),
])  # fmt: skip
def test_how_many_strikes_a_history_is(checks: list[tuple[float, str]], verdict: Verdict, strikes: int) -> None:
    state = after(*(check(day, finding) for day, finding in checks))
    assert (state.verdict, state.strikes) == (verdict, strikes)


def test_a_policy_may_ask_for_more_strikes() -> None:
    patient = judge.Policy(strikes=4)
    state = NEW
    for day in (0, 3, 6):
        state = judge.judge(URL, state, check(day, "missing"), T + day * DAY, policy=patient)
    assert (state.verdict, state.strikes) == ("failing", 3)
    assert judge.judge(URL, state, check(9, "missing"), T + 9 * DAY, policy=patient).verdict == "dead"
    gone = after(check(0, "gone"), check(3, "gone"))
    assert judge.judge(URL, gone, check(6, "missing"), T + 6 * DAY, policy=patient).verdict == "dead"


def test_a_failing_period_starts_with_its_first_failure_and_ends_with_a_success() -> None:
    state = after(check(0), check(1, "weak"), check(2, "missing"))
    assert (state.first_failed_at, state.strike_at, state.weak_days) == (T + DAY, T + 2 * DAY, 0)
    state = after(check(3), state=state)
    assert (state.first_failed_at, state.strike_at, state.weak_at, state.strikes) == (0, 0, 0, 0)


def test_a_blocked_link_still_says_when_it_was_verified() -> None:
    assert after(check(0), check(1, "blocked")).verified_at == T


def test_a_clock_that_was_set_back_makes_no_strike() -> None:
    state = after(check(0, "missing"), check(-9, "missing"), check(-6, "missing"))
    assert (state.strikes, state.first_failed_at) == (1, T - 9 * DAY)


# -- moved -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("checks", "verdict"), [
    ([check(0, **MOVED)], "fresh"),
    ([check(0, **MOVED), check(0.99, **MOVED)], "fresh"),
    ([check(0, **MOVED), check(1, **MOVED)], "moved"),
    ([check(0, **MOVED), check(0.5, **MOVED), check(1, **MOVED)], "moved"),
    ([check(0, **MOVED), check(1, **MOVED), check(1.1, **MOVED)], "moved"),
    ([check(0, **MOVED), check(1, **MOVED, unchanged=True)], "moved"),
    ([check(0, **MOVED), check(1, **{**MOVED, "final_url": "https://news.example/third"})], "fresh"),
    ([check(0, **MOVED), check(1, **{**MOVED, "permanent": False})], "fresh"),
    ([check(0, **{**MOVED, "permanent": False}), check(1, **MOVED)], "fresh"),
    ([check(0, **MOVED), check(1), check(2, **MOVED)], "fresh"),
    ([check(0, permanent=True), check(1, permanent=True)], "fresh"),
    ([check(0, **MOVED), check(1, **MOVED), check(2)], "fresh"),
    ([check(0, **MOVED), check(1, **MOVED), check(2, "weak"), check(3, "blocked")], "moved"),
    ([check(0, **MOVED), check(1, "missing"), check(2, **MOVED)], "moved"),
    ([check(0, **MOVED), check(2, "missing")], "failing"),
])  # fmt: skip
def test_moved_is_the_same_permanent_target_a_day_later(checks: list[Evidence], verdict: Verdict) -> None:
    assert after(*checks).verdict == verdict


def test_the_target_is_that_of_the_last_success() -> None:
    state = after(check(0, **MOVED), check(1, "missing", final_url="https://news.example/", permanent=True))
    assert (state.final_url, state.moved_at) == (MOVED["final_url"], T)
    state = after(check(2, final_url="https://news.example/seasonal"), state=state)
    assert (state.final_url, state.moved_at) == ("https://news.example/seasonal", 0)


# -- changed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seen", "changed_on"), [
    ([FIRST, FIRST], None),
    ([FIRST, OTHER], None),
    ([FIRST, OTHER, OTHER], 2),
    ([FIRST, OTHER, OTHER, OTHER], 2),
    ([FIRST, OTHER, FIRST, OTHER], None),
    ([FIRST, OTHER, THIRD, OTHER], None),
    ([FIRST, OTHER, b"", OTHER], None),
    ([FIRST, OTHER, OTHER, b""], 2),
    ([FIRST, OTHER, OTHER, THIRD], 2),
    ([FIRST, OTHER, OTHER, THIRD, THIRD], 2),
    ([FIRST, OTHER, OTHER, FIRST], None),
    ([b"", FIRST, FIRST], None),
    ([b"", OTHER, FIRST, FIRST], 3),
    ([FIRST, None, None], None),
    ([FIRST, OTHER, None], 2),  # 304: the other one is what was answered last
    ([FIRST, OTHER, FIRST, None], None),
    ([FIRST, OTHER, b"", None], None),
    ([None, None], None),
])  # fmt: skip
def test_changed_is_another_content_than_the_first_seen_twice(
    seen: list[bytes | None], changed_on: int | None
) -> None:
    """None stands for a 304."""
    state = after(*(
        check(day, unchanged=True) if one is None else check(day, fingerprint=one) for day, one in enumerate(seen)
    ))  # fmt: skip
    assert state.changed_at == (0 if changed_on is None else T + changed_on * DAY)
    assert state.fingerprint == next((one for one in seen if one), b"")
    assert state.verdict == "fresh"


def test_content_of_failing_answers_changes_nothing() -> None:
    state = after(check(0, fingerprint=FIRST), *(check(day, "missing", fingerprint=OTHER) for day in (1, 2, 3)))
    assert (state.fingerprint, state.other_fingerprint, state.changed_at) == (FIRST, b"", 0)


# -- the next check ----------------------------------------------------------------------------------------------


def plans(*checks: Evidence, state: LinkState = NEW, in_feed: bool = True) -> list[float]:
    """The days that were planned after each check."""
    days = []
    for evidence in checks:
        state = after(evidence, state=state, in_feed=in_feed)
        days.append(round(days_to_next(state), 3))
    return days


def test_a_link_that_stays_is_looked_at_after_1_2_4_7_14_and_then_every_30_days() -> None:
    assert plans(*(check(day) for day in range(8))) == [1, 2, 4, 7, 14, 30, 30, 30]
    assert plans(*(check(day, "blocked") for day in range(8))) == [1, 2, 4, 7, 14, 30, 30, 30]


def test_a_failing_link_is_looked_at_after_a_day_and_a_dead_one_ever_more_seldom() -> None:
    failures = [check(3 * day, "missing") for day in range(9)]
    assert plans(*failures) == [1, 1, 7, 14, 30, 60, 90, 90, 90]
    assert plans(check(1, "weak"), check(2, "blocked"), state=STATES["dead"]) == [14, 30]
    assert plans(check(1, "blocked"), check(2, "weak"), state=STATES["failing"]) == [1, 1]


def test_a_link_that_came_back_starts_with_a_day() -> None:
    assert plans(check(10), check(11), state=STATES["dead"]) == [1, 2]
    assert plans(check(10), check(11), state=STATES["failing"]) == [1, 2]
    assert plans(check(10), check(11), state=STATES["excluded"]) == [1, 2]


def test_a_single_weak_answer_is_looked_into_after_a_day_and_forgets_nothing() -> None:
    known = after(*(check(day) for day in range(5)))
    assert known.interval_days == 14
    assert plans(check(6, "weak"), check(7), state=known) == [1, 30]
    assert plans(check(6, "weak"), check(7, "blocked"), check(8, "blocked"), state=known) == [1, 30, 30]
    assert plans(check(0, "weak"), check(1, "weak"), check(2), check(3)) == [1, 1, 1, 2]
    shaken = after(check(6, "weak"), state=known)
    assert judge.lapses_at(shaken) == T + 4 * DAY + round(2 * 14 * 1.15 * DAY)


@pytest.mark.parametrize(("news", "days"), [
    ([check(10, fingerprint=OTHER), check(11, fingerprint=OTHER), check(12, fingerprint=OTHER)], [30, 15, 30]),
    ([check(10, **MOVED), check(11, **MOVED), check(12, **MOVED)], [30, 15, 30]),
    ([check(10, **MOVED), check(11, **MOVED), check(12)], [30, 15, 7]),
    ([check(10, fingerprint=OTHER), check(11, fingerprint=OTHER), check(12, fingerprint=FIRST)], [30, 15, 7]),
])  # fmt: skip
def test_a_change_or_a_move_halves_the_interval(news: list[Evidence], days: list[float]) -> None:
    known = after(*(check(day, fingerprint=FIRST) for day in range(6)))
    assert plans(*news, state=known) == days


def test_half_of_a_day_is_a_day() -> None:
    changing = after(check(0, fingerprint=FIRST), check(1, fingerprint=OTHER), check(2, fingerprint=OTHER))
    assert changing.interval_days == 1
    assert after(check(3, fingerprint=FIRST), state=changing).interval_days == 1


def test_links_in_no_feed_and_excluded_ones_wait_for_90_days() -> None:
    for finding in ("good", "missing", "weak", "blocked", "gone"):
        assert plans(check(0, finding), check(1, finding), in_feed=False) == [90, 90]
    assert plans(check(0, "excluded"), check(1, "excluded")) == [90, 90]


def test_the_longest_interval_can_be_set() -> None:
    state = NEW
    days = []
    for day in range(6):
        state = judge.judge(URL, state, check(day), T + day * DAY, policy=judge.Policy(longest_days=5))
        days.append(state.interval_days)
    assert days == [1, 2, 4, 5, 5, 5]


def test_a_host_that_asks_for_time_gets_it_within_reason() -> None:
    state = after(check(0, "blocked", retry_after_s=5 * DAY))
    assert state.next_check_at == T + 5 * DAY
    assert after(check(0, "blocked", retry_after_s=60)).next_check_at == after(check(0, "blocked")).next_check_at
    assert after(check(0, "blocked", retry_after_s=10**12)).next_check_at == T + judge.LONGEST_S


def test_jitter_is_a_url_s_own_and_spreads_evenly() -> None:
    urls = [f"https://h{n}.example/" for n in range(2000)]
    parts = sorted(judge.next_check_at(url, LinkState(interval_days=30), 0) / (30 * DAY) for url in urls)
    assert 0.85 <= parts[0] < 0.852 and 1.148 < parts[-1] <= 1.15
    assert abs(parts[500] - 0.925) < 0.01 and abs(parts[1500] - 1.075) < 0.01
    assert judge.next_check_at("https://h.example/", LinkState(interval_days=30), 0) == 2_464_438


def test_the_first_check_is_at_once_but_not_for_all_links_of_an_article_together() -> None:
    first = {judge.first_check_at(f"https://h{n}.example/", T) - T for n in range(500)}
    assert first == set(range(1, judge.SOON_S + 1))
    unused = judge.first_check_at(URL, T, in_feed=False) - T
    assert 0.85 * 90 <= unused / DAY <= 1.15 * 90


# -- links that come into feeds and leave them -------------------------------------------------------------------


def test_a_link_that_comes_into_a_feed_is_checked_as_those_of_feeds_are() -> None:
    unused = after(check(0), in_feed=False)
    used = judge.replan(URL, unused, T + 5 * DAY, in_feed=True)
    assert (used.interval_days, round(days_to_next(used), 3)) == (30, 30)
    late = judge.replan(URL, unused, T + 60 * DAY, in_feed=True)
    assert 0 < late.next_check_at - (T + 60 * DAY) <= 300
    failing = judge.replan(URL, after(check(0, "missing"), in_feed=False), T + 1, in_feed=True)
    assert round(days_to_next(failing), 3) == 1
    shaken = judge.replan(URL, after(check(0), check(1, "weak"), in_feed=False), T + DAY + 1, in_feed=True)
    assert (shaken.interval_days, round(days_to_next(shaken), 3)) == (30, 1)
    dead = judge.replan(URL, STATES["dead"], T + 1, in_feed=True)
    assert round(days_to_next(dead), 3) == 7


def test_a_check_of_a_link_that_just_came_into_a_feed_plans_as_for_those_of_feeds() -> None:
    unused = after(check(0), in_feed=False)
    assert after(check(1), state=unused).interval_days == 30
    assert after(check(1, "weak"), state=unused).interval_days == 30
    dying = after(check(0, "missing"), check(3, "missing"), in_feed=False)
    assert after(check(6, "missing"), state=dying).interval_days == 7


def test_a_link_that_leaves_the_last_feed_waits() -> None:
    left = judge.replan(URL, after(check(0)), T + DAY, in_feed=False)
    assert (left.interval_days, round(days_to_next(left), 3)) == (90, 90)
    assert judge.replan(URL, NEW, T, in_feed=False).next_check_at == judge.first_check_at(URL, T, in_feed=False)
    assert judge.replan(URL, NEW, T, in_feed=True).next_check_at == judge.first_check_at(URL, T)


# -- time alone --------------------------------------------------------------------------------------------------


def test_a_fresh_link_is_stale_after_two_planned_intervals_without_success() -> None:
    fresh = after(check(0), check(1))
    end = judge.lapses_at(fresh)
    assert end == T + DAY + round(2 * 2 * 1.15 * DAY)
    assert judge.lapse(fresh, end - 1) == fresh
    assert judge.lapse(fresh, end).verdict == "stale"
    late = judge.lapse(fresh, end + 1000)
    assert (late.verdict, late.since_at) == ("stale", end)
    assert structs.replace(late, verdict="fresh", since_at=fresh.since_at) == fresh


@pytest.mark.parametrize("verdict", [verdict for verdict in VERDICTS if verdict != "fresh"])
def test_only_what_is_fresh_gets_stale(verdict: Verdict) -> None:
    state = STATES[verdict]
    assert (judge.lapses_at(state), judge.lapse(state, 2 * T)) == (0, state)


# -- by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("before", VERDICTS)
def test_an_operator_s_verdict_stands_and_what_is_found_is_noted(before: Verdict, verdict: Verdict) -> None:
    state = judge.mark(URL, STATES[before], verdict, T + DAY)
    assert (state.verdict, state.by_hand) == (verdict, verdict)
    assert state.since_at == (STATES[before].since_at if before == verdict else T + DAY)
    for day, finding in enumerate(("missing", "gone", "weak", "blocked", "excluded", "good", "missing"), 6):
        state = after(check(day * 3, finding), state=state)
        assert (state.verdict, state.history[0].finding, state.checked_at) == (verdict, finding, T + day * 3 * DAY)
    assert state.strikes == 1
    assert judge.lapses_at(state) == 0


@pytest.mark.parametrize(("before", "verdict", "days"), [
    ("fresh", "dead", 7), ("dead", "fresh", 1), ("fresh", "excluded", 90), ("excluded", "fresh", 1),
    ("failing", "fresh", 1), ("moved", "fresh", 1), ("fresh", "moved", 1),
])  # fmt: skip
def test_after_a_mark_the_next_check_is_as_its_verdict_has_it(before: Verdict, verdict: Verdict, days: int) -> None:
    state = judge.mark(URL, STATES[before], verdict, T + DAY)
    assert state.interval_days == days
    assert state.next_check_at == judge.next_check_at(URL, LinkState(interval_days=days), T + DAY)
    assert judge.mark(URL, STATES[before], verdict, T + DAY, in_feed=False).interval_days == 90


def test_no_probes_for_what_stands_by_hand() -> None:
    fine = judge.mark(URL, STATES["failing"], "fresh", T)
    assert plans(*(check(day, "weak") for day in range(1, 7)), state=fine) == [2, 4, 7, 14, 30, 30]
    failing = judge.mark(URL, STATES["fresh"], "failing", T)
    assert plans(check(1, "missing"), check(2, "weak"), check(3), state=failing) == [2, 4, 7]
    dead = judge.mark(URL, STATES["fresh"], "dead", T)
    assert plans(*(check(day) for day in range(1, 6)), state=dead) == [14, 30, 60, 90, 90]


@pytest.mark.parametrize(("checks", "verdict"), [
    ([], "unchecked"),
    ([check(1)], "fresh"),
    ([check(1, "missing")], "failing"),
    ([check(1, "missing"), check(4, "missing"), check(7, "missing")], "dead"),
    ([check(1, **MOVED), check(2, **MOVED)], "moved"),
    ([check(1, "missing"), check(4)], "fresh"),
    ([check(1, "blocked")], "unchecked"),
])  # fmt: skip
def test_without_the_operator_s_verdict_what_was_found_holds(checks: list[Evidence], verdict: Verdict) -> None:
    marked = after(*checks, state=judge.mark(URL, NEW, "excluded", T))
    free = judge.unmark(URL, marked, T + 8 * DAY)
    assert (free.verdict, free.by_hand, free.since_at) == (verdict, "", T + 8 * DAY)
    assert 0 < free.next_check_at - (T + 8 * DAY) <= 300
    assert judge.unmark(URL, free, T + 9 * DAY) == free


def test_what_was_verified_long_before_the_mark_is_stale_without_it() -> None:
    marked = judge.mark(URL, after(check(0)), "dead", T + DAY)
    assert judge.unmark(URL, marked, T + 100 * DAY).verdict == "stale"


# -- whatever happens --------------------------------------------------------------------------------------------

findings = st.sampled_from(["good", "missing", "gone", "weak", "blocked", "excluded"])
times = st.integers(1, 4_000_000_000)  # 0 is never
gaps = st.one_of(st.integers(1, 2 * DAY), st.integers(1, 100 * DAY))
targets = st.sampled_from(["", "https://a.example/", "https://b.example/"])


def pieces(finding: st.SearchStrategy[str] = findings) -> st.SearchStrategy[Evidence]:
    return st.builds(
        Evidence, at=times, finding=finding, reason=st.just(""), status=st.sampled_from([0, 200, 404]),
        final_url=targets, permanent=st.booleans(), unchanged=st.booleans(),
        fingerprint=st.sampled_from([b"", *FINGERPRINTS]), etag=st.sampled_from(["", "e"]),
        retry_after_s=st.one_of(st.just(0), st.integers(0, 10**10)),
    )  # fmt: skip


def in_order(checks: list[tuple[int, Evidence]]) -> list[Evidence]:
    """The same evidence, each piece so many seconds after the one before."""
    at, moved = T, []
    for gap, piece in checks:
        at += gap
        moved.append(structs.replace(piece, at=at))
    return moved


anyhow = st.lists(pieces(), max_size=24)
forward = st.lists(st.tuples(gaps, pieces()), max_size=24).map(in_order)
histories = st.one_of(anyhow, forward)


def walk(checks: list[Evidence], state: LinkState = NEW) -> list[LinkState]:
    """The state before all checks, and after each."""
    states = [state]
    for piece in checks:
        states.append(judge.judge(URL, states[-1], piece, piece.at))
    return states


@settings(deadline=None)
@given(histories, st.lists(st.tuples(gaps, pieces(st.just("blocked"))), min_size=1, max_size=24).map(in_order))
def test_no_sequence_of_blocked_answers_moves_a_strike_or_kills(past: list[Evidence], blocked: list[Evidence]) -> None:
    before = walk(past)[-1]
    for state in walk(blocked, before)[1:]:
        assert (state.strikes, state.strike_at, state.weak_days) == (before.strikes, before.strike_at, before.weak_days)
        kept = before.verdict in ("failing", "dead", "moved")
        assert state.verdict == before.verdict if kept else state.verdict in ("blocked", "moved")
        assert state.verified_at == before.verified_at


@settings(deadline=None)
@given(histories, pieces(st.just("good")))
def test_one_success_always_heals(past: list[Evidence], success: Evidence) -> None:
    state = walk([*past, success])[-1]
    assert state.verdict in ("fresh", "moved")
    assert (state.strikes, state.weak_days, state.first_failed_at) == (0, 0, 0)
    assert state.verified_at == success.at


@settings(deadline=None)
@given(histories)
def test_a_check_is_one_strike_at_most_and_strikes_are_three_days_apart(checks: list[Evidence]) -> None:
    for before, after_ in pairwise(walk(checks)):
        assert after_.strikes in (0, before.strikes, before.strikes + 1)
        if before.strikes and after_.strikes > before.strikes:
            assert after_.strike_at - before.strike_at >= 3 * DAY


@settings(deadline=None)
@given(histories, pieces(), pieces(), st.integers(0, 3 * DAY - 1))
def test_two_runs_in_a_row_never_make_two_strikes(past: list[Evidence], one: Evidence, two: Evidence, s: int) -> None:
    before, _, last = walk([*past, one, structs.replace(two, at=one.at + s)])[-3:]
    assert last.strikes <= before.strikes + 1


@settings(deadline=None)
@given(histories)
def test_the_dead_have_two_strikes_and_three_days_at_least(checks: list[Evidence]) -> None:
    for state in walk(checks):
        if state.verdict == "dead":
            assert state.strikes >= 2
            assert state.strike_at - state.first_failed_at >= 3 * DAY
        if state.verdict == "failing":
            assert state.strikes in (1, 2)


@settings(deadline=None)
@given(forward)
def test_death_is_what_the_definition_says(checks: list[Evidence]) -> None:
    """Told from the whole history at once, where the judge has a state alone."""
    for end, state in enumerate(walk(checks)):
        period = checks[:end]
        last = max((n for n, piece in enumerate(period) if piece.finding in ("good", "excluded")), default=-1)
        strikes: list[tuple[int, str]] = []
        weak: set[int] = set()
        dead = False
        for piece in period[last + 1 :]:
            if piece.finding == "weak" and (not strikes or piece.at // DAY > strikes[-1][0] // DAY):
                weak.add(piece.at // DAY)
            counts = piece.finding in ("missing", "gone") or (piece.finding == "weak" and len(weak) >= 3)
            if counts and (not strikes or piece.at - strikes[-1][0] >= 3 * DAY):
                strikes.append((piece.at, piece.finding))
                weak.clear()
            kinds = [kind for _, kind in strikes]
            dead = dead or len(strikes) >= 3 or kinds[-2:] == ["gone", "gone"]
        assert state.strikes == len(strikes)
        assert (state.verdict == "dead") is dead
        assert (state.verdict == "failing") is (bool(strikes) and not dead)


@settings(deadline=None)
@given(st.text(max_size=20), histories, st.integers(0, 10_000), st.booleans())
def test_the_next_check_is_in_the_future_and_bounded(url: str, checks: list[Evidence], lag: int, used: bool) -> None:
    state = NEW
    assert 0 < judge.first_check_at(url, T, in_feed=used) - T <= LONGEST
    for piece in checks:
        now = piece.at + lag
        state = judge.judge(url, state, piece, now, in_feed=used)
        assert now + 0.85 * DAY - 1 <= state.next_check_at <= now + LONGEST
        assert state.next_check_at >= now + min(piece.retry_after_s, 90 * DAY)
        for other in (True, False):
            assert now < judge.replan(url, state, now, in_feed=other).next_check_at <= now + LONGEST


@settings(deadline=None)
@given(histories, st.booleans())
def test_the_judge_is_deterministic_and_changes_nothing_it_is_given(checks: list[Evidence], used: bool) -> None:
    for before, piece in zip(walk(checks), checks, strict=False):
        copy = structs.replace(before)
        once, twice = (judge.judge(URL, before, piece, piece.at, in_feed=used) for _ in "12")
        assert once == twice and before == copy


@settings(deadline=None)
@given(histories, histories, st.sampled_from(VERDICTS))
def test_by_hand_stands_through_everything(past: list[Evidence], checks: list[Evidence], verdict: Verdict) -> None:
    marked = judge.mark(URL, walk(past)[-1], verdict, T)
    assert T < marked.next_check_at <= T + LONGEST
    for state in walk(checks, marked):
        assert (state.verdict, state.by_hand, state.since_at) == (verdict, verdict, marked.since_at)
        assert judge.lapse(state, 5_000_000_000) == state
    found = walk(checks, marked)[-1]
    assert len(found.history) == min(HISTORY, len(past) + len(checks))


@settings(deadline=None)
@given(histories)
def test_since_moves_with_the_verdict_only(checks: list[Evidence]) -> None:
    for piece, (before, state) in zip(checks, pairwise(walk(checks)), strict=True):
        assert state.since_at == (before.since_at if state.verdict == before.verdict else piece.at)


@settings(deadline=None)
@given(histories)
def test_the_history_holds_the_newest_and_the_last_strike(checks: list[Evidence]) -> None:
    for number, state in enumerate(walk(checks)):
        assert len(state.history) == min(HISTORY, number)
        newest = [piece.at for piece in reversed(checks[:number])][: HISTORY - 1]
        assert [piece.at for piece in state.history][: HISTORY - 1] == newest
        assert not state.strikes or state.strike_at in {piece.at for piece in state.history}


@settings(deadline=None)
@given(histories, times)
def test_lapsing_is_done_once_and_says_when_it_is_due(checks: list[Evidence], now: int) -> None:
    state = walk(checks)[-1]
    end, late = judge.lapses_at(state), judge.lapse(state, now)
    assert (late.verdict != state.verdict) is (0 < end <= now)
    assert judge.lapse(late, now) == late
