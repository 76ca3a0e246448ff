"""What the outbox promises: one ping for each hub and topic, of the newest change, until the hub heard of that one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedd.store import Outbox, Store, Topic, open_outbox, open_store

HUBS = ("https://hub.example/", "https://other.example/hub?key=1")
URL = "https://feeds.example/topics/ai.atom"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "state ?#%")) as opened:
        yield opened


@pytest.fixture
def outbox(store: Store) -> Iterator[Outbox]:
    opened = open_outbox(store.folder)
    yield opened
    opened.close()


def change(store: Store, data: bytes, now: int, url: str = URL, hubs: tuple[str, ...] = HUBS) -> int:
    with store.transaction():
        return store.outbox.put_pings(hubs, [Topic(url, "topics/ai", data)], now)


def test_a_change_is_noted_for_every_hub_and_the_same_bytes_are_no_change(store: Store, outbox: Outbox) -> None:
    assert change(store, b"1", 100) == 1
    assert change(store, b"1", 200) == 0
    (ping,) = outbox.list_pings(HUBS[0], 9)
    assert (ping.hub, ping.url, ping.feed, ping.seq) == (HUBS[0], URL, "topics/ai", 1)
    assert (ping.since_at, ping.attempts, ping.next_at, ping.error) == (100, 0, 100, "")
    assert (outbox.count_pings(), len(outbox.list_pings(HUBS[1], 9)), outbox.list_pings("elsewhere", 9)) == (2, 1, [])


def test_what_is_put_in_a_transaction_that_fails_was_never_put(store: Store, outbox: Outbox) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.outbox.put_pings(HUBS, [Topic(URL, "topics/ai", b"1")], 100)
        raise ZeroDivisionError
    assert outbox.count_pings() == 0
    assert change(store, b"1", 200) == 1


def test_newer_changes_take_the_place_of_those_that_wait(store: Store, outbox: Outbox) -> None:
    for number in range(3):
        change(store, b"%d" % number, 100 + number)
    (ping,) = outbox.list_pings(HUBS[0], 9)
    assert (ping.seq, ping.since_at, ping.next_at) == (3, 102, 102)
    assert change(store, b"0", 103) == 1  # back to what it was: hubs have the newest in mind


def test_who_heard_of_a_change_has_not_heard_of_the_next(store: Store, outbox: Outbox) -> None:
    change(store, b"1", 100)
    (first,) = outbox.list_pings(HUBS[0], 9)
    change(store, b"2", 200)
    assert not outbox.drop_ping(first)
    outbox.put_ping_failure(first, 900, "late")
    (second,) = outbox.list_pings(HUBS[0], 9)
    assert (second.seq, second.next_at, second.error) == (2, 200, "")
    assert outbox.drop_ping(second)
    change(store, b"3", 300)
    assert not outbox.drop_ping(second)
    assert not outbox.drop_ping(first)
    (third,) = outbox.list_pings(HUBS[0], 9)
    assert third.id != first.id


def test_a_failure_waits_for_its_time_and_a_newer_change_for_nothing(store: Store, outbox: Outbox) -> None:
    for letter in "abc":
        change(store, b"1", 100, f"{URL}/{letter}", HUBS[:1])
    first, second, third = outbox.list_pings(HUBS[0], 9)
    outbox.put_ping_failure(first, 400, "it answered 500")
    outbox.put_ping_failure(second, 300, "it answered 404")
    assert [ping.id for ping in outbox.list_pings(HUBS[0], 9)] == [third.id, second.id, first.id]
    assert [ping.id for ping in outbox.list_pings(HUBS[0], 1)] == [third.id]
    assert [(p.id, p.attempts, p.error) for p in outbox.list_failing(9)] == [
        (first.id, 1, "it answered 500"), (second.id, 1, "it answered 404"),
    ]
    change(store, b"2", 150, f"{URL}/a", HUBS[:1])
    assert [(p.id, p.attempts, p.next_at) for p in outbox.list_pings(HUBS[0], 9)][1] == (first.id, 0, 150)
    assert [p.id for p in outbox.list_failing(9)] == [second.id, first.id]  # until the hub is heard to have understood


def test_hubs_that_are_no_longer_configured_are_forgotten(store: Store, outbox: Outbox) -> None:
    change(store, b"1", 100)
    assert (outbox.drop_other_hubs(HUBS), outbox.drop_other_hubs(HUBS[1:]), outbox.count_pings()) == (0, 1, 1)
    assert (outbox.drop_other_hubs(()), outbox.count_pings()) == (1, 0)


def test_it_reads_while_others_write_and_never_waits_to_write(store: Store, outbox: Outbox) -> None:
    change(store, b"1", 100)
    (ping,) = outbox.list_pings(HUBS[0], 9)
    with store.transaction():
        store.put_meta("a", "1")
        assert outbox.list_pings(HUBS[0], 9) == [ping]
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            outbox.drop_ping(ping)
    assert outbox.drop_ping(ping)


def test_without_a_state_there_is_no_outbox(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        open_outbox(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_finding_what_is_due_reads_no_more_than_that(store: Store) -> None:
    """However much waits for another hub, or for its time."""
    plan = "EXPLAIN QUERY PLAN SELECT * FROM outbox WHERE hub = ? ORDER BY next_at, id LIMIT ?"
    (detail,) = [row[3] for row in store._db.execute(plan, ("h", 1))]
    assert "outbox_due" in detail
