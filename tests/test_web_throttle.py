"""feedd.web.throttle: who hammers without validators waits, nobody else does, and nobody is remembered for long."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.web import throttle
from feedd.web.throttle import Throttle

PATH, HOUR_S = "all.atom", 3600.0
rates = st.floats(0.1, 100_000, allow_nan=False)
bursts = st.integers(1, 100)
starts = st.floats(0, 1e8)
steps = st.lists(st.floats(0, 200) | st.sampled_from([0.0, 0.001, 1.0, 59.0, 60.0, 61.0, 7200.0]), max_size=80)


@given(rates, bursts, starts, steps)
def test_in_no_time_more_than_the_burst_and_what_that_time_earns(
    per_hour: float, burst: int, now: float, steps: list[float]
) -> None:
    limit = Throttle(per_hour, burst)
    passed: list[float] = []
    for step in steps:
        now += step
        if limit.check("192.0.2.1", PATH, False, now) == 0.0:
            passed.append(now)
    for first, began in enumerate(passed):
        for last in range(first, len(passed)):
            earned = per_hour * (passed[last] - began + 1e-5) / HOUR_S
            assert last - first + 1 <= burst + earned


@given(rates, bursts, starts, st.integers(1, 60))
def test_whoever_waits_as_long_as_told_is_answered(per_hour: float, burst: int, now: float, requests: int) -> None:
    limit = Throttle(per_hour, burst)
    for _ in range(requests):
        wait_s = limit.check("192.0.2.1", PATH, False, now)
        assert wait_s == int(wait_s)
        if wait_s:
            assert 1 <= wait_s <= HOUR_S / per_hour + 1
            now += wait_s
            assert limit.check("192.0.2.1", PATH, False, now) == 0.0


@given(rates, bursts, starts, steps)
def test_conditional_requests_are_never_slowed_and_cost_nothing(
    per_hour: float, burst: int, now: float, steps: list[float]
) -> None:
    alone, among = Throttle(per_hour, burst), Throttle(per_hour, burst)
    for step in steps:
        now += step
        assert among.check("192.0.2.1", PATH, True, now) == 0.0
        assert among.check("192.0.2.1", PATH, False, now) == alone.check("192.0.2.1", PATH, False, now)
    conditional = Throttle(per_hour, burst)
    assert not any(conditional.check("192.0.2.1", PATH, True, now) for _ in range(1000))
    assert len(conditional) == 0


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abc"), st.booleans(), st.floats(0, 50)), max_size=200),
)
def test_no_more_readers_are_remembered_than_allowed(
    most: int, requests: list[tuple[int, str, bool, float]]
) -> None:
    limit, now = Throttle(60, 2, most), 0.0
    for reader, path, conditional, step in requests:
        now += step
        limit.check(f"192.0.2.{reader}", path, conditional, now)
        assert len(limit) <= most


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from("ab"), st.floats(0, 100)), max_size=60))
def test_readers_and_feeds_do_not_share_their_allowance(requests: list[tuple[int, str, float]]) -> None:
    shared, now = Throttle(60, 3), 0.0
    apart = {(reader, path): Throttle(60, 3) for reader in range(3) for path in "ab"}
    for reader, path, step in requests:
        now += step
        address = f"2001:db8:0:{reader}::1"
        assert shared.check(address, path, False, now) == apart[reader, path].check(address, path, False, now)


@given(rates, bursts, st.floats(0, 1e8), st.integers(0, 200))
def test_a_clock_that_is_set_back_makes_nobody_wait_longer(
    per_hour: float, burst: int, back: float, requests: int
) -> None:
    limit = Throttle(per_hour, burst)
    for _ in range(requests):
        limit.check("192.0.2.1", PATH, False, back)
    assert limit.check("192.0.2.1", PATH, False, 0.0) <= HOUR_S / per_hour + 1


# --- the defaults, in the words of their comment ------------------------------------------------------------------


def waits(seconds: list[float]) -> list[float]:
    limit = Throttle()
    return [limit.check("192.0.2.1", PATH, False, 1000.0 + at) for at in seconds]


def test_a_script_that_fetches_every_minute_is_left_alone() -> None:
    assert not any(waits([60.0 * number + (number % 7) * 3 for number in range(3000)]))


def test_thirty_readers_behind_one_address_that_ask_twice_an_hour_are_left_alone() -> None:
    together = [hour * 1800.0 for hour in range(48) for _ in range(30)]
    spread = [hour * 1800.0 + reader * 60.0 for hour in range(48) for reader in range(30)]
    assert not any(waits(together))
    assert not any(waits(spread))


def test_a_class_that_subscribes_together_is_left_alone() -> None:
    assert not any(waits([0.0] * 60))


def test_a_reader_that_asks_every_second_gets_an_hour_s_allowance_and_then_one_a_minute() -> None:
    found = waits([float(second) for second in range(2 * 3600)])
    assert not any(found[:60])
    assert 60 + 118 <= found.count(0.0) <= 60 + 121
    assert max(found) <= 60


# --- who is one reader --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), [
    ("192.0.2.1", "192.0.2.1"), ("192.0.2.1", "::ffff:192.0.2.1"), ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"),
    ("2001:db8:1:2::1", "2001:0DB8:0001:0002::7"), ("fe80::1%eth0", "fe80::2%eth1"), ("", ""), ("unix:", "unix:"),
])  # fmt: skip
def test_one_household_is_one_reader(one: str, other: str) -> None:
    assert throttle.network(one) == throttle.network(other)
    limit = Throttle(60, 1)
    assert limit.check(one, PATH, False, 0.0) == 0.0
    assert limit.check(other, PATH, False, 0.0) == 60.0


@pytest.mark.parametrize(("one", "other"), [
    ("192.0.2.1", "192.0.2.2"), ("2001:db8:1:2::1", "2001:db8:1:3::1"), ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ("", "unix:"), ("192.0.2.1", "192.0.2.01"), ("192.0.2.1", "192.0.2.1 "), ("a", "\udcff"),
])  # fmt: skip
def test_other_readers_are_others(one: str, other: str) -> None:
    limit = Throttle(60, 1)
    assert limit.check(one, PATH, False, 0.0) == 0.0
    assert limit.check(other, PATH, False, 0.0) == 0.0


def test_where_an_address_ends_and_a_path_begins_is_known() -> None:
    limit = Throttle(60, 1)
    assert limit.check("unix:", "all.atom", False, 0.0) == 0.0
    assert limit.check("unix:a", "ll.atom", False, 0.0) == 0.0
    assert limit.check("1.2.3.4", "5678all.atom", False, 0.0) == 0.0
    assert limit.check("102:304:3536:3738::", "all.atom", False, 0.0) == 0.0


@given(st.text() | st.ip_addresses().map(str), st.text())
def test_any_address_and_path_will_do(address: str, path: str) -> None:
    limit = Throttle(60, 1)
    assert limit.check(address, path, False, 0.0) == 0.0
    assert limit.check(address, path, False, 0.0) == 60.0


# --- what is kept -------------------------------------------------------------------------------------------------


def test_the_reader_who_came_last_is_kept_longest_even_when_refused() -> None:
    limit = Throttle(60, 1, max_clients=2)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.3"):
        limit.check(address, PATH, False, 0.0)
    assert limit.check("192.0.2.1", PATH, False, 0.0) > 0
    assert limit.check("192.0.2.2", PATH, False, 0.0) == 0.0


def test_no_address_can_be_found_in_what_is_kept() -> None:
    limit, other = Throttle(60, 1), Throttle(60, 1)
    for one in (limit, other):
        one.check("192.0.2.1", PATH, False, 0.0)
    kept, elsewhere = ({value for value in gc.get_referents(vars(one)["_due"]) if isinstance(value, bytes)}
                       for one in (limit, other))  # fmt: skip
    assert len(kept) == 1
    assert kept.isdisjoint(elsewhere)
    assert not any(b"192.0.2.1" in value or bytes([192, 0, 2, 1]) in value or PATH.encode() in value for value in kept)


def test_ten_thousand_readers_take_little_memory() -> None:
    gc.collect()
    tracemalloc.start()
    try:
        limit = Throttle()
        for number in range(20_000):
            limit.check(f"10.0.{number >> 8}.{number & 255}", PATH, False, float(number))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(limit) == throttle.MAX_CLIENTS
    assert held < 4_000_000


@pytest.mark.parametrize("wrong", [(0, 1, 1), (60, 0, 1), (60, 1, 0), (-1, 1, 1), (float("nan"), 1, 1)])
def test_limits_that_let_nobody_in_are_refused(wrong: tuple[float, int, int]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Throttle(*wrong)
