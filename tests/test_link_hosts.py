"""What is owed to a host: gaps, pauses, rests, and what is remembered of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.freshness.states import Answer
from feedd.linkcheck import hosts
from feedd.linkcheck.hosts import REST, TROUBLE, Host, HostRule
from feedd.store import linkrows

NOW = 1_700_000_000.0
HOUR = 3600


def failing(times: int, host: Host | None = None) -> Host:
    host = host or Host("a.example")
    for _ in range(times):
        host = host.failed(NOW, Random(1))
    return host


def test_a_host_is_free_when_gap_pause_and_rest_are_over() -> None:
    assert Host("a", ended=NOW).free_at(2.0) == NOW + 2
    assert Host("a", ended=NOW, pause_until=NOW + 5).free_at(2.0) == NOW + 5
    assert Host("a", ended=NOW, rest_until=NOW + 9, pause_until=NOW + 5).free_at(2.0) == NOW + 9


def test_a_host_rests_after_five_failures_in_a_row_and_longer_each_time() -> None:
    assert failing(TROUBLE - 1).alone_until == 0
    once = failing(TROUBLE)
    assert REST.first_s <= once.rest_until - NOW <= 1.25 * REST.first_s
    assert (once.failures, once.rests) == (0, 1)
    assert failing(TROUBLE - 1, once).rests == 1
    rests = [failing(TROUBLE * times).rest_until - NOW for times in range(1, 6)]
    assert rests == sorted(rests)
    assert rests[-1] <= 1.25 * REST.longest_s


def test_an_answer_ends_trouble_but_no_rest() -> None:
    host = failing(TROUBLE + 2).did_well()
    assert (host.failures, host.rests) == (0, 0)
    assert host.rest_until > NOW
    assert host.did_well() is host


@given(st.lists(st.sampled_from(["well", "failed"]), max_size=40))
def test_only_five_failures_in_a_row_make_a_host_rest(events: list[str]) -> None:
    host, row, rested = Host("a"), 0, False
    for event in events:
        host = host.did_well() if event == "well" else host.failed(NOW, Random(1))
        row = 0 if event == "well" else row + 1
        rested = rested or row == TROUBLE
        assert (host.rest_until > 0) == rested
        assert host.failures < TROUBLE


def test_a_pause_is_never_made_shorter_and_ends_within_a_day() -> None:
    host = Host("a").paused(100, NOW)
    assert host.paused(10, NOW).pause_until == NOW + 100
    assert host.paused(1e9, NOW).pause_until == NOW + hosts.LONGEST_REST_S


@pytest.mark.parametrize(("status", "header", "wish"), [
    (429, "120", 120.0), (503, "120", 120.0), (429, None, hosts.SLOW_DOWN_S), (503, None, 0.0), (200, "120", 0.0),
    (429, "Tue, 14 Nov 2023 22:14:20 GMT", 60.0), (429, "soon", hosts.SLOW_DOWN_S), (503, "0", 0.0),
])  # fmt: skip
def test_what_a_host_asks_for(status: int, header: str | None, wish: float) -> None:
    headers = {} if header is None else {"retry-after": header}
    assert hosts.wish_s(Answer("https://a.example/", status, headers=headers), NOW) == wish


def test_what_says_that_a_host_is_in_trouble() -> None:
    weak = [Answer("u", 500), Answer("u", 503), Answer("u", 429), Answer("u", failure="timeout")]
    fine = [Answer("u", 200), Answer("u", 404), Answer("u", 403), Answer("u", 999), Answer("u", failure="name")]
    assert all(map(hosts.is_weak, weak))
    assert not any(map(hosts.is_weak, fine))


def test_a_host_is_remembered_and_recalled() -> None:
    host = Host("a.example", NOW - 5, NOW + 50, NOW + 70, 3, 2)
    row = hosts.remember(host, linkrows.Host("a.example", robots=b"rules", robots_at=7))
    assert hosts.recall(row, NOW) == host
    assert (row.robots, row.robots_at) == (b"rules", 7)


def test_a_gap_is_not_broken_by_what_rounding_forgets() -> None:
    row = hosts.remember(Host("a.example", NOW + 0.4), linkrows.Host("a.example"))
    assert hosts.recall(row, NOW + 10).ended >= NOW + 0.4
    assert hosts.recall(row, NOW + 0.5).ended == NOW + 0.5


def test_times_that_cannot_be_true_are_not_believed() -> None:
    row = linkrows.Host("a.example", last_at=int(NOW) + 9 * HOUR, pause_until=int(NOW * 2), breaker_until=int(NOW * 2))
    host = hosts.recall(row, NOW)
    assert host.ended == NOW
    assert host.alone_until == NOW + hosts.LONGEST_REST_S
    assert hosts.recall(linkrows.Host("a.example", last_at=5), NOW, NOW - 1).ended == NOW - 1


@pytest.mark.parametrize(("pattern", "matching", "other"), [
    ("a.example", ["a.example"], ["www.a.example", "b.example", "xa.example"]),
    ("*.a.example", ["a.example", "www.a.example", "x.y.a.example"], ["ba.example", "example"]),
    ("A.Example", ["a.example"], []),
    ("[::1]", ["[::1]"], ["[::2]"]),
])  # fmt: skip
def test_rules_are_for_hosts_or_domains(pattern: str, matching: list[str], other: list[str]) -> None:
    rules = (HostRule(pattern, "skip"),)
    for name in matching + other:
        found = hosts.manners_for(name, rules, gap_s=1.0, user_agent="feedd")
        assert (found.action, found.pattern) == (("skip", pattern) if name in matching else ("check", ""))


def test_the_first_rule_counts_and_says_only_what_is_otherwise() -> None:
    rules = (HostRule("a.example", gap_s=0.0), HostRule("*.example", "skip", 9.0, "other", (("x", "y"),)))
    first = hosts.manners_for("a.example", rules, gap_s=1.0, user_agent="feedd")
    second = hosts.manners_for("b.example", rules, gap_s=1.0, user_agent="feedd")
    assert (first.gap_s, first.user_agent, first.action, first.headers) == (0.0, "feedd", "check", ())
    assert (second.gap_s, second.user_agent, second.action, second.headers) == (9.0, "other", "skip", (("x", "y"),))


def test_a_machine_is_one_host_whatever_the_port() -> None:
    named = ["a.example", "a.example:8080", "[::1]", "[::1]:8080", "127.0.0.1:1"]
    assert [hosts.without_port(name) for name in named] == ["a.example", "a.example", "[::1]", "[::1]", "127.0.0.1"]
