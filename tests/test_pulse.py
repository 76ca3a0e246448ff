"""Which loops fell silent, by their own beats and a clock of the test's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedd.pulse import Pulse, unheard

LIMITS = {"publishing": 60.0, "watching": 60.0, "serving": 30.0}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_loop_is_silent_when_its_limit_has_passed_and_no_sooner() -> None:
    clock = Clock()
    pulse = Pulse(LIMITS, clock)
    clock.now += 29
    for name in LIMITS:
        pulse.beat(name)
    assert pulse.silent(clock.now + 30) == ()
    assert pulse.silent(clock.now + 30.1) == ("serving",)
    assert pulse.silent(clock.now + 60.1) == ("publishing", "watching", "serving")


def test_a_loop_that_never_begins_falls_silent_too() -> None:
    clock = Clock()
    pulse = Pulse(LIMITS, clock)
    assert pulse.silent(clock.now + 30) == ()
    assert pulse.silent(clock.now + 31) == ("serving",)


def test_a_loop_that_says_how_long_it_rests_is_waited_for() -> None:
    clock = Clock()
    pulse = Pulse(LIMITS, clock)
    pulse.beat("watching", 3_600)
    assert "watching" not in pulse.silent(clock.now + 3_660)
    assert "watching" in pulse.silent(clock.now + 3_661)


def test_a_beat_that_nobody_hears_does_nothing() -> None:
    assert unheard(1.0) is None


@given(st.lists(st.tuples(st.sampled_from(sorted(LIMITS)), st.floats(0, 100), st.floats(0, 100))), st.floats(0, 200))
def test_silence_is_what_the_last_beat_of_each_loop_says(
    beats: list[tuple[str, float, float]], later_s: float
) -> None:
    clock = Clock()
    pulse = Pulse(LIMITS, clock)
    due = {name: clock.now + limit_s for name, limit_s in LIMITS.items()}
    for name, rest_s, passed_s in beats:
        clock.now += passed_s
        pulse.beat(name, rest_s)
        due[name] = clock.now + rest_s + LIMITS[name]
    now = clock.now + later_s
    assert set(pulse.silent(now)) == {name for name in LIMITS if due[name] < now}
