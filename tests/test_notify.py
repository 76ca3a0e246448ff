"""Hubs are told of every change, once, and again until they understood; whatever they answer, and through kills."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import pytest
import structlog
from processes import environment, until
from receiver import Handler, Receiver, Reply, says, sends, waits

from feedd import connect, guard, notify, retry
from feedd.store import Store, Topic, open_store
from feedd.store.sqlite import set_aside

NOW = 1_700_000_000
LOOPBACK: tuple[guard.Network, ...] = (ipaddress.ip_network("127.0.0.0/8"),)


# --- a hub ------------------------------------------------------------------------------------------------------------


class Hub(Receiver):
    """Understands by default."""

    def __init__(self) -> None:
        super().__init__(usual=says(204))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hub?key=a%20b"

    @property
    def topics(self) -> list[str]:
        """What it was told of, in order; the last part of each URL."""
        with self.lock:
            return [form["hub.url"].rpartition("/")[2] for form in self.told]

    def read(self, body: bytes) -> dict[str, str]:
        """A form."""
        return dict(parse_qsl(body.decode(), strict_parsing=True))


# --- feedd ------------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass when a test says so; counts who asks."""

    def __init__(self) -> None:
        self.now, self.asked = float(NOW), 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


class Stopped(Clock):
    """A clock that has no time: a defect, as far as the notifier can know."""

    def __call__(self) -> float:
        raise ArithmeticError("no time")


class Office:
    """A state, a clock, and a notifier over them that can be ended and started again."""

    def __init__(self, folder: Path, *hubs: str) -> None:
        self.store: Store = open_store(str(folder))
        self.hubs = hubs
        self.clock = Clock()
        self.said = structlog.testing.LogCapture()
        self.log: Any = structlog.wrap_logger(
            None, processors=[self.said], wrapper_class=structlog.make_filtering_bound_logger(10)
        )
        self.failures: list[BaseException] = []
        self.notifier: notify.Notifier | None = None

    def start(self, **own: Any) -> notify.Notifier:
        lookup: connect.Lookup = own.pop("lookup", socket.getaddrinfo)
        values = {"urls": self.hubs, "user_agent": "feedd/test", "allowed": LOOPBACK} | own
        self.notifier = notify.Notifier(
            self.store.folder, notify.Hubs(**values), self.log, random=Random(7), failed=self.failures.append,
            now=self.clock, lookup=lookup,
        )
        self.notifier.start()
        return self.notifier

    def stop(self) -> float:
        """How long that took."""
        began = time.monotonic()
        if self.notifier:
            self.notifier.stop()
        return time.monotonic() - began

    def change(self, *names: str, data: bytes = b"1") -> None:
        """Publishes documents, as `publish` does."""
        topics = [Topic(f"https://feeds.example/{name}", name, data) for name in names]
        with self.store.transaction():
            self.store.outbox.put_pings(self.hubs, topics, int(self.clock.now))
        if self.notifier:
            self.notifier.wake()

    def later(self, seconds: float) -> None:
        """Lets time pass."""
        assert self.notifier
        self.clock.now += seconds
        self.notifier.wake()

    def waiting(self, count: int) -> None:
        """Until so many pings wait, and none is under way."""
        until(lambda: self.store.outbox.count_pings() == count, f"{count} waiting")

    def failed(self, attempts: int = 1) -> str:
        """The reason of the one failure, as soon as it is noted."""
        found = until(
            lambda: [p for p in self.store.outbox.list_failing(9) if p.attempts == attempts], f"{attempts} failures"
        )
        return found[0].error

    def attempts(self) -> int:
        """Tries whose failure is noted, of what waits."""
        return sum(ping.attempts for ping in self.store.outbox.list_failing(99))

    def lines(self, level: str) -> list[dict[str, Any]]:
        return [dict(line) for line in self.said.entries if line["log_level"] == level]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with contextlib.closing(Hub()) as running:
        yield running


@pytest.fixture
def office(tmp_path: Path, hub: Hub) -> Iterator[Office]:
    opened = Office(tmp_path, hub.url)
    yield opened
    opened.stop()
    opened.store.close()
    assert opened.failures == []


# --- told once --------------------------------------------------------------------------------------------------------


def test_a_hub_is_told_once_of_each_change_in_the_words_that_hubs_have_in_common(office: Office, hub: Hub) -> None:
    office.start()
    office.change("all.atom")
    office.waiting(0)
    office.change("all.atom")
    office.change("all.atom", data=b"2")
    office.waiting(0)
    office.stop()
    url = "https://feeds.example/all.atom"
    assert hub.told == [{"hub.mode": "publish", "hub.url": url, "hub.topic": url}] * 2
    head = hub.heads[0]
    assert head["content-type"] == "application/x-www-form-urlencoded"
    assert (head["user-agent"], head["accept-encoding"]) == ("feedd/test", "identity")
    (line, _) = office.lines("info")
    assert (line["event"], line["feed"], line["url"], line["attempts"]) == ("hub told", "all.atom", url, 1)


def test_what_is_left_from_before_is_told_at_the_start(office: Office, hub: Hub) -> None:
    office.change("a.atom", "b.rss", "c.json")
    office.start()
    office.waiting(0)
    assert sorted(hub.topics) == ["a.atom", "b.rss", "c.json"]


def test_changes_that_come_while_a_hub_is_slow_are_told_together(office: Office, hub: Hub) -> None:
    hub.replies = [waits(says(202))]
    office.start()
    office.change("all.atom")
    until(lambda: hub.topics, "the first")
    for number in range(2, 6):
        office.change("all.atom", data=b"%d" % number)
    hub.released.set()
    office.waiting(0)
    assert hub.topics == ["all.atom"] * 2


def test_every_hub_is_told_and_a_slow_one_holds_up_no_other(tmp_path: Path, hub: Hub) -> None:
    with contextlib.closing(Hub()) as slow:
        slow.usual = waits(says(204))
        office = Office(tmp_path, slow.url, hub.url)
        office.start()
        names = [f"{number}.atom" for number in range(30)]
        office.change(*names)
        until(lambda: sorted(hub.topics) == sorted(names), "the quick one")
        until(lambda: slow.busy == notify.AT_ONCE, "the slow one is asked")
        office.waiting(30)
        slow.released.set()
        office.waiting(0)
        office.stop()
        office.store.close()
        assert sorted(slow.topics) == sorted(names)
        assert slow.most == notify.AT_ONCE


def test_nobody_looks_while_there_is_nothing_to_do(office: Office, hub: Hub) -> None:
    office.change("all.atom")
    hub.replies = [says(500)]
    office.start()
    office.failed()
    with contextlib.closing(Hub()) as other:
        second = Office(Path(office.store.folder) / "second", other.url)
        second.start()
        asked = until(lambda: office.clock.asked, "settled")
        for number in range(15):  # something else to do meanwhile
            second.change("x.atom", data=b"%d" % number)
            second.waiting(0)
        second.stop()
        second.store.close()
    assert office.clock.asked - asked <= 2  # what had begun


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_is_retried_later_and_later_until_it_is_understood(office: Office, hub: Hub) -> None:
    hub.replies = [says(500, b"out of order\nmore")]
    office.start()
    office.change("all.atom")
    assert office.failed(1) == "it answered 500: out of order"
    for attempts, wait_s, reply in ((1, 30, says(500, b"out of order")), (2, 60, says(404))):
        (ping,) = office.store.outbox.list_failing(9)
        assert wait_s <= ping.next_at - office.clock.now <= wait_s * 1.25 + 1
        office.later(ping.next_at - office.clock.now - 1)
        office.change("other.atom", data=b"%d" % attempts)
        office.waiting(1)  # others are told, this one is not due
        assert hub.topics.count("all.atom") == attempts
        hub.replies = [reply]
        office.later(1)
        office.failed(attempts + 1)
    office.later(150)
    office.waiting(0)
    assert hub.topics.count("all.atom") == 4
    assert [line["reason"] for line in office.lines("warning")] == ["it answered 500: out of order", "it answered 404"]
    assert [line["attempts"] for line in office.lines("debug")] == [2]  # the same reason again is no news


@pytest.mark.parametrize(("reply", "reason"), [
    (sends(b""), "it closed the connection without an answer"),
    (sends(b"HTTP/1.1 204"), "it closed the connection without an answer"),
    (sends(b"220 smtp.example ESMTP\r\n\r\n"), "ClientResponseError: 400, message"),
    (sends(b"HTTP/1.1 204 No Content\r\n" + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n"), "ClientResponseError: 400"),
    (sends(b"HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\nabc"), "it answered 500: abc"),
    (says(301, Location="/elsewhere"), "it answered 301"), (says(400, b"<html>no"), "it answered 400"),
    (says(403, "n\x1b[2Jo\x00 ünd\n".encode()), "it answered 403: n[2Jo ünd"), (says(599, b" \n "), "it answered 599"),
    (says(500, b"\xff" * 600), "it answered 500: " + "\ufffd" * 120),
])
def test_whatever_a_hub_answers_but_success_is_a_failure_in_words(
    office: Office, hub: Hub, reply: Reply, reason: str
) -> None:
    hub.replies = [reply]
    office.start()
    office.change("all.atom")
    assert office.failed().startswith(reason)
    office.later(60)
    office.waiting(0)


def test_a_redirect_is_not_followed(office: Office, hub: Hub) -> None:
    with contextlib.closing(Hub()) as other:
        hub.replies = [says(307, Location=other.url)]
        office.start()
        office.change("all.atom")
        assert office.failed() == "it answered 307"
        assert other.told == []


def test_a_hub_that_does_not_answer_in_time_is_told_again(office: Office, hub: Hub) -> None:
    hub.replies = [waits(says(204))]
    office.start(timeout_s=0.1)
    office.change("all.atom")
    assert office.failed() == "no answer within 0.1 s"
    office.later(60)
    office.waiting(0)


def test_a_hub_that_is_not_there_is_a_failure_that_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    hubs = (f"http://127.0.0.1:{port}/", "http://nowhere.example/", f"https://127.0.0.1:{port}/", "http://[/")
    office = Office(tmp_path, *hubs)

    def unknown(*_: object, **__: object) -> Sequence[connect.AddressInfo]:
        raise socket.gaierror(-2, "Name or service not known")

    office.start(lookup=unknown)
    office.change("all.atom")
    failing = until(lambda: len(found := office.store.outbox.list_failing(9)) == 4 and found, "four failures")
    office.stop()
    office.store.close()
    assert office.failures == []
    errors = {ping.hub: ping.error for ping in failing or []}
    assert errors[hubs[0]] == errors[hubs[2]] == f"it cannot be reached: Connect call failed ('127.0.0.1', {port})"
    assert errors[hubs[1]] == "it cannot be reached: Name or service not known"
    assert errors[hubs[3]]


def test_a_hub_without_tls_where_it_should_have_it_is_a_failure(tmp_path: Path, hub: Hub) -> None:
    office = Office(tmp_path, hub.url.replace("http:", "https:"))
    office.start()
    office.change("all.atom")
    assert "SSL" in office.failed()
    office.stop()
    office.store.close()
    assert office.failures == []


def test_a_hub_at_a_private_address_is_refused_unless_allowed(office: Office, hub: Hub) -> None:
    office.start(allowed=())
    office.change("all.atom")
    reason = office.failed()
    assert "127.0.0.1 is loopback" in reason
    assert "allow_networks" in reason
    office.stop()
    assert hub.told == []
    office.clock.now += 60
    office.start()
    office.waiting(0)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("header", ["1000", formatdate(NOW + 1000, usegmt=True)])
def test_a_hub_that_asks_for_quiet_gets_it_for_all_topics(office: Office, hub: Hub, status: int, header: str) -> None:
    hub.replies = [says(status, Retry_After=header)]
    office.start()
    office.change("a.atom")
    assert office.failed() == f"it answered {status}"
    office.change("b.atom")
    office.later(998)
    office.change("c.atom")
    office.stop()
    assert hub.topics == ["a.atom"]
    office.start()
    office.later(2)
    office.waiting(0)
    assert sorted(hub.topics) == ["a.atom", "a.atom", "b.atom", "c.atom"]


def test_retry_after_of_one_topic_is_for_that_topic(office: Office, hub: Hub) -> None:
    hub.replies = [says(500, Retry_After="5000")]
    office.start()
    office.change("a.atom")
    office.failed()
    office.change("b.atom")
    office.waiting(1)
    (ping,) = office.store.outbox.list_failing(9)
    assert ping.next_at == office.clock.now + 5000


def test_a_dead_hub_is_tried_by_one_topic_at_a_time_and_told_all_as_soon_as_it_lives(office: Office, hub: Hub) -> None:
    hub.usual = says(503)
    names = [f"{number:02}.atom" for number in range(40)]
    office.start()
    office.change(*names)
    until(lambda: len(office.store.outbox.list_failing(99)) >= notify.TROUBLE, "failures")
    for _ in range(3):
        before = office.attempts()
        office.later(1200)
        until(lambda before=before: office.attempts() > before, "one more try")  # type: ignore[misc]
    tries = len(hub.topics)
    assert tries <= notify.TROUBLE + notify.AT_ONCE - 1 + 3
    hub.usual = says(204)
    office.later(25_000)
    office.waiting(0)
    office.stop()
    assert sorted(hub.topics[tries:]) == names
    assert len(office.lines("warning")) == 1  # the hub fails: said once, not for every topic


def test_one_topic_that_a_hub_will_not_have_holds_up_no_other(office: Office, hub: Hub) -> None:
    def choosy(handler: Handler) -> None:
        says(404 if handler.receiver.told[-1]["hub.url"].endswith("bad.atom") else 204)(handler)

    hub.usual = choosy
    office.start()
    office.change("bad.atom")
    office.failed()
    for number in range(1, 9):
        office.change(f"{number}.atom")
        office.waiting(1)
        office.later(25_000)
        office.failed(number + 1)
    assert [name for name in hub.topics if name != "bad.atom"] == [f"{number}.atom" for number in range(1, 9)]
    assert len(office.lines("warning")) == 1


def test_a_hub_that_never_understands_is_given_up_and_that_is_an_error(office: Office, hub: Hub) -> None:
    hub.usual = says(500)
    office.start(policy=retry.Policy(first_s=10, longest_s=100, give_up_s=5_000))
    office.change("all.atom")
    for attempts in range(1, 6):
        assert office.failed(attempts) == "it answered 500"
        office.later(1200)
    office.waiting(0)
    (line,) = office.lines("error")
    assert line["event"] == "hub not told, given up"
    assert line["reason"] == "it answered 500"
    assert line["attempts"] == len(hub.topics) == 6
    office.change("all.atom", data=b"2")  # a new change is a new try
    office.later(1200)
    until(lambda: len(hub.topics) == 7, "told again")


# --- starts, stops, kills ---------------------------------------------------------------------------------------------


def test_what_failed_is_told_after_a_restart(office: Office, hub: Hub) -> None:
    hub.replies = [says(500)] * 3
    office.start()
    office.change("a.atom", "b.atom", "c.atom")
    until(lambda: len(office.store.outbox.list_failing(9)) == 3, "failures")
    office.stop()
    office.clock.now += 40
    office.start()
    office.waiting(0)
    assert sorted(hub.topics) == ["a.atom", "a.atom", "b.atom", "b.atom", "c.atom", "c.atom"]


def test_a_stop_waits_neither_for_hubs_nor_for_name_servers_nor_for_the_state(office: Office, hub: Hub) -> None:
    asked, answered = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> Sequence[connect.AddressInfo]:
        asked.set()
        answered.wait(20)
        return ()

    hub.replies = [waits(says(204)), says(204)]
    office.hubs = (hub.url, "http://slow.example/")
    office.start(lookup=slow)
    office.change("all.atom", "more.atom")
    asked.wait(10)
    until(lambda: len(hub.topics) == 2, "told")
    until(lambda: office.store.outbox.count_pings() == 3, "one noted")
    with office.store.transaction():
        assert office.stop() < 0.5
    answered.set()
    hub.released.set()
    office.hubs = (hub.url,)
    office.start()
    office.waiting(0)  # what had no answer is told again, the hub that is configured no more is forgotten
    assert len(hub.topics) == 3


def test_who_publishes_never_waits_and_what_was_told_is_noted_when_it_can_be(office: Office, hub: Hub) -> None:
    office.start()
    with office.store.transaction():
        office.store.outbox.put_pings(office.hubs, [Topic("https://feeds.example/a.atom", "a", b"1")], NOW)
    office.later(0)
    until(lambda: hub.topics, "told")
    office.waiting(0)
    hub.replies = [waits(says(204))]
    office.change("b.atom")
    until(lambda: len(hub.topics) == 2, "told")
    with office.store.transaction():
        office.store.put_meta("a", "1")
        hub.released.set()
        until(lambda: any("state cannot be used" in line["event"] for line in office.lines("warning")), "a word of it")
    office.waiting(0)
    assert len(hub.topics) == 2


def test_a_state_that_is_made_anew_is_found(office: Office, hub: Hub) -> None:
    office.start()
    office.change("a.atom")
    office.waiting(0)
    folder = office.store.folder
    office.store.close()
    set_aside(folder, NOW)
    office.later(0)
    office.store = open_store(folder)
    office.change("a.atom")
    until(lambda: len(hub.topics) == 2, "told of the new state's change")
    office.waiting(0)


def test_a_stop_before_the_start_and_a_wake_after_the_end_are_nothing(office: Office) -> None:
    hubs = notify.Hubs((), "feedd/test")
    notifier = notify.Notifier(office.store.folder, hubs, office.log, random=Random(1), failed=office.failures.append)
    notifier.wake()
    notifier.stop()
    office.start()
    office.stop()
    office.stop()
    assert office.notifier
    office.notifier.wake()


def test_an_unexpected_error_is_handed_to_the_process(office: Office, hub: Hub) -> None:
    office.change("all.atom")
    office.clock = Stopped()
    office.start()
    until(lambda: office.failures, "the error")
    assert [line["event"] for line in office.lines("critical")] == ["unexpected error, hubs are not told any more"]
    office.stop()
    office.failures.clear()


PROGRAM = """
import ipaddress, sys, time
from random import Random
import structlog
from feedd import notify
from feedd.store import Topic, open_store
folder, hub = sys.argv[1:]
hubs = notify.Hubs((hub,), "feedd/test", (ipaddress.ip_network("127.0.0.0/8"),))
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
with open_store(folder) as store:
    notifier = notify.Notifier(folder, hubs, structlog.get_logger(), random=Random(), failed=print)
    notifier.start()
    for number in range(1_000_000):
        with store.transaction():
            store.put_meta("published", str(number))
            topics = [Topic(f"https://feeds.example/{number % 50}.atom", "x", b"%d" % number)]
            store.outbox.put_pings(hubs.urls, topics, int(time.time()))
        notifier.wake()
"""


def test_no_change_is_lost_by_kills(tmp_path: Path, hub: Hub) -> None:
    """Whatever was published before a kill and not yet told, is told by the next start."""
    office = Office(tmp_path, hub.url)
    office.clock = time.time  # type: ignore[assignment]
    office.store.close()
    for _ in range(3):
        heard = len(hub.topics)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, str(tmp_path), hub.url], env=environment(), stdin=subprocess.DEVNULL
        )
        until(lambda heard=heard: len(hub.topics) > heard + 60, "it tells")  # type: ignore[misc]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    office.store = open_store(str(tmp_path))
    left = {ping.url.rpartition("/")[2] for ping in office.store.outbox.list_pings(hub.url, 99)}
    heard = len(hub.topics)
    office.start()
    office.waiting(0)
    office.stop()
    assert left <= set(hub.topics[heard:])
    assert len(hub.topics[heard:]) <= 50
    office.store.close()
    assert set(hub.topics) == {f"{number}.atom" for number in range(50)}
