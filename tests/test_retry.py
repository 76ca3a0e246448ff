"""When failed work is tried again, and what a Retry-After header asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, formatdate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd import retry

NOW = 1_700_000_000.0


def test_waits_double_from_the_first_to_the_longest() -> None:
    policy = retry.Policy(first_s=30, longest_s=21_600)
    steps = [retry.wait_s(policy, attempts, Random(1)) for attempts in range(1, 14)]
    least = [30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15_360, 21_600, 21_600, 21_600]
    assert all(low <= wait <= low * 1.25 for low, wait in zip(least, steps, strict=True))


@given(st.integers(1, 10**9), st.integers())
def test_a_wait_is_never_shorter_than_the_first_nor_much_longer_than_the_longest(attempts: int, seed: int) -> None:
    policy = retry.Policy(first_s=3, longest_s=100)
    assert 3 <= retry.wait_s(policy, attempts, Random(seed)) <= 125


@pytest.mark.parametrize(("header", "seconds"), [
    (None, None), ("", None), ("soon", None), ("-1", None), ("1.5", None), ("٣", None), ("0", 0), (" 120 ", 120),
    ("999999999", 86_400), ("9" * 400, None), (formatdate(NOW + 60, usegmt=True), 60),
    (formatdate(NOW + 60), 60), (formatdate(NOW - 60, usegmt=True), 0), (formatdate(NOW * 2, usegmt=True), 86_400),
    (format_datetime(datetime.fromtimestamp(NOW + 90, UTC).replace(tzinfo=None)), 90),
    ("Wed, 99 Jan 2020 00:00:00 GMT", None), ("Tue, 14 Nov 2023 22:14:20 +9999999", None),
])  # fmt: skip
def test_retry_after_is_a_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry.retry_after_s(header, NOW) == seconds


@given(st.text())
def test_no_header_is_an_error(header: str) -> None:
    wish_s = retry.retry_after_s(header, NOW)
    assert wish_s is None or 0 <= wish_s <= retry.LONGEST_WISH_S
