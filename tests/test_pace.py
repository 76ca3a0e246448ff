"""When a chore that holds up others is done."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from feedd.daemon.pace import LATEST, LONGEST_S, LULL, Pace


def paced(takes_s: float, at: float = 0.0) -> Pace:
    """One that was done once, and took so long."""
    pace = Pace()
    assert pace.is_due(at, is_busy=True)  # its length is not known yet
    pace.done(at + takes_s)
    return pace


def test_it_waits_for_a_lull_ten_times_as_long_as_it_takes() -> None:
    pace = paced(0.5)
    assert not pace.is_due(10.0, is_busy=True)
    assert pace.left_s(10.0) == LULL * 0.5
    assert not pace.is_due(14.0, is_busy=False)
    assert not pace.is_due(14.5, is_busy=True)  # and again from here on
    assert not pace.is_due(19.4, is_busy=False)
    assert pace.is_due(19.5, is_busy=False)


def test_without_a_lull_it_takes_a_hundredth_of_the_time() -> None:
    pace = paced(0.5)
    times = [10.0 + n for n in range(200)]
    assert next(at for at in times if pace.is_due(at, is_busy=True)) == 10.0 + LATEST * 0.5


def test_what_took_long_once_does_not_wait_for_ever() -> None:
    pace = paced(600.0)
    assert not pace.is_due(1_000.0, is_busy=True)
    assert pace.left_s(1_000.0) == LULL * LONGEST_S


def test_where_there_is_nothing_to_be_done_nobody_is_woken_for_it() -> None:
    pace = paced(0.5)
    assert pace.left_s(10.0) == math.inf
    pace.is_due(10.0, is_busy=True)
    pace.drop()
    assert pace.left_s(10.0) == math.inf
    assert not pace.is_due(50.0, is_busy=True)  # what comes then waits anew
    assert pace.left_s(50.0) == LULL * 0.5


@given(takes_s=st.floats(0, 10), turns=st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=50))
def test_it_is_done_in_the_end_and_nobody_turns_in_vain(takes_s: float, turns: list[tuple[float, bool]]) -> None:
    pace, now = paced(takes_s), 20.0
    for after_s, is_busy in turns:
        now += after_s
        if pace.is_due(now, is_busy=is_busy):
            pace.done(now + takes_s)
            now += takes_s
        else:
            assert pace.left_s(now) > 0
    pace.is_due(now, is_busy=True)
    left_s = pace.left_s(now)
    assert left_s <= LULL * LONGEST_S + 1e-6
    assert pace.is_due(now + left_s + 1e-6, is_busy=False)
