"""The built-in hub as a subscriber meets it, by the text of the WebSub Recommendation: over HTTP, and through kills."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import http.server
import ipaddress
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from processes import environment, until

from feedd import errors, guard, retry
from feedd.hub import Hub, Leases, Limits, RefusedError, Settings, contents, deliver, protocol, service, subscriptions
from feedd.hub.settings import Sources, source_of
from feedd.web import hub as web_hub
from feedd.web.front import nothing_here
from feedd.web.server import Server

PUBLIC = "https://feeds.example/news"
TOPIC = PUBLIC + "/topics/ai.atom"
LOOPBACK: tuple[guard.Network, ...] = (ipaddress.ip_network("127.0.0.0/8"),)
QUICK = retry.Policy(first_s=0.01, longest_s=0.05)
SETTINGS = Settings(PUBLIC, "feedd/test", LOOPBACK, policy=QUICK, per_second=5_000, timeout_s=5.0)


# --- a subscriber -----------------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """GET verifies (section 5.3) or tells of a denial (5.2), POST delivers (section 7)."""

    protocol_version = "HTTP/1.1"

    @property
    def subscriber(self) -> Subscriber:
        assert isinstance(self.server, Subscriber)
        return self.server

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        with self.subscriber.lock:
            self.subscriber.asked.append((urlsplit(self.path).path, query))
        status, body = self.subscriber.verify(query)
        self.answer(status, body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = {name.lower(): value for name, value in self.headers.items()}
        with self.subscriber.lock:
            self.subscriber.had.append((self.path, head, body))
            reply = self.subscriber.replies.pop(0) if self.subscriber.replies else self.subscriber.usual
        with contextlib.suppress(ConnectionError):
            status = reply()
            self.answer(status, b"" if status == 204 else b"whatever")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status in (301, 307):
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def agree(query: dict[str, str]) -> tuple[int, bytes]:
    return 200, query.get("hub.challenge", "").encode()


class Subscriber(http.server.ThreadingHTTPServer):
    """`replies` to deliveries come first, then `usual` for ever."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.had: list[tuple[str, dict[str, str], bytes]] = []
        self.verify: Callable[[dict[str, str]], tuple[int, bytes]] = agree
        self.replies: list[Callable[[], int]] = []
        self.usual: Callable[[], int] = lambda: 204
        self.released = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def slow(self) -> int:
        """Answers when `released`."""
        self.released.wait(20)
        return 204

    def bodies(self, path: str = "/cb?mine=1") -> list[bytes]:
        with self.lock:
            return [body for where, _, body in self.had if where == path]

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked may break off."""

    def close(self) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture
def reader() -> Iterator[Subscriber]:
    with contextlib.closing(Subscriber()) as running:
        yield running


# --- feedd ------------------------------------------------------------------------------------------------------------


class Site:
    """Feeds in a folder, and a hub over them behind the real server."""

    def __init__(self, folder: Path, settings: Settings = SETTINGS) -> None:
        self.state, self.out, self.settings = folder / "state", folder / "feeds", settings
        self.state.mkdir(exist_ok=True)
        self.said = structlog.testing.LogCapture()
        self.log: Any = structlog.wrap_logger(
            None, processors=[self.said], wrapper_class=structlog.make_filtering_bound_logger(10)
        )
        self.failures: list[BaseException] = []
        self.late = 0.0
        self.write(b"first")
        self.hub: Hub | None = None
        self.server: Server | None = None

    def write(self, data: bytes, topic: str = TOPIC) -> None:
        """Replaces a file, as publishing does."""
        path = self.out / topic.removeprefix(PUBLIC + "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_bytes(data)
        path.with_suffix(".tmp").replace(path)

    def publish(self, data: bytes, topic: str = TOPIC) -> None:
        self.write(data, topic)
        assert self.hub
        self.hub.changed([topic])

    def now(self) -> float:
        return time.time() + self.late

    def start(self) -> None:
        self.hub = Hub(
            str(self.state), str(self.out), self.settings, self.log, random=Random(7), failed=self.failures.append,
            now=self.now,
        )
        self.hub.start()
        self.server = Server("127.0.0.1", 0, None, web_hub.with_hub(self.hub, nothing_here), lambda: True)
        self.server.start()

    def stop(self) -> float:
        """How long the hub took."""
        if self.server:
            self.server.stop()
        began = time.monotonic()
        if self.hub:
            self.hub.stop()
        self.hub = self.server = None
        return time.monotonic() - began

    def post(self, form: dict[str, str] | bytes, *, kind: str = protocol.FORM, method: str = "POST") -> tuple[int, str]:
        assert self.server
        address = urlsplit(self.server.address)
        with contextlib.closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)) as line:
            body = form if isinstance(form, bytes) else urlencode(form).encode()
            line.request(method, "/hub", body, {"Content-Type": kind})
            answer = line.getresponse()
            return answer.status, answer.read().decode()

    def ask(self, callback: str, mode: str = "subscribe", topic: str = TOPIC, **more: str) -> tuple[int, str]:
        form = {"hub.mode": mode, "hub.topic": topic, "hub.callback": callback}
        return self.post(form | {f"hub.{name}": value for name, value in more.items()})

    def subscribe(self, reader: Subscriber, path: str = "/cb?mine=1", **more: str) -> None:
        """And waits until it is so."""
        before = len(self.lines("subscribed")) + len(self.lines("subscription renewed"))
        assert self.ask(reader.url + path, **more)[0] == 202
        until(
            lambda: len(self.lines("subscribed")) + len(self.lines("subscription renewed")) > before, "subscribed"
        )

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [dict(line) for line in self.said.entries if line["event"] == event]

    def rows(self, query: str = "SELECT count(*) FROM subscription") -> list[Any]:
        with contextlib.closing(sqlite3.connect(self.state / subscriptions.NAME)) as database:
            return database.execute(query).fetchall()

    def count(self) -> int:
        return int(self.rows()[0][0])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    opened.start()
    yield opened
    assert opened.stop() < 1
    assert opened.failures == []


# --- subscribing ------------------------------------------------------------------------------------------------------


def test_who_is_verified_gets_the_whole_feed_at_each_change_signed(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader, secret="sésame", lease_seconds="86400")
    ((path, query),) = reader.asked
    challenge = query.pop("hub.challenge")
    assert (path, len(challenge) > 30) == ("/cb", True)
    assert query == {
        "mine": "1", "hub.mode": "subscribe", "hub.topic": TOPIC, "hub.lease_seconds": "86400",
    }
    site.publish(b"second")
    until(lambda: reader.had, "a delivery")
    ((path, head, body),) = reader.had
    assert (path, body) == ("/cb?mine=1", b"second")
    assert head["content-type"] == "application/atom+xml; charset=utf-8"
    assert head["link"] == f'<{PUBLIC}/hub>; rel="hub", <{TOPIC}>; rel="self"'
    right = hmac.new("sésame".encode(), body, hashlib.sha256).hexdigest()
    assert head["x-hub-signature"] == "sha256=" + right
    site.publish(b"second")  # the same bytes are no change
    site.publish(b"third")
    until(lambda: len(reader.had) == 2, "the next")
    assert reader.bodies() == [b"second", b"third"]
    assert (site.state / subscriptions.NAME).stat().st_mode & 0o777 == 0o600


def test_without_a_secret_nothing_is_signed_and_the_usual_lease_is_granted(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader, unknown="passed over")
    assert reader.asked[0][1]["hub.lease_seconds"] == str(10 * 86_400)
    site.publish(b"second")
    until(lambda: reader.had, "a delivery")
    assert "x-hub-signature" not in reader.had[0][1]


@pytest.mark.parametrize(
    "answer", [(200, b"wrong"), (404, b""), (500, b""), (301, b""), (200, b"CHALLENGE more")],
    ids=["wrong", "404", "500", "redirect", "longer"],
)
def test_who_does_not_confirm_is_not_subscribed(site: Site, reader: Subscriber, answer: tuple[int, bytes]) -> None:
    reader.verify = lambda query: (answer[0], answer[1].replace(b"CHALLENGE", query["hub.challenge"].encode()))
    assert site.ask(reader.url + "/cb")[0] == 202
    until(lambda: site.lines("not verified by its callback"), "refused")
    assert site.count() == 0
    assert [path for path, _ in reader.asked] == ["/cb"]  # redirects are not followed


def test_a_renewal_makes_the_lease_longer_and_changes_the_secret(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader, lease_seconds="600", secret="old")
    site.late = 500
    site.subscribe(reader, lease_seconds="600", secret="new")
    ((expires_at, secret),) = site.rows("SELECT expires_at, secret FROM subscription")
    assert (abs(expires_at - time.time() - 1100) < 10, secret) == (True, b"new")
    reader.verify = lambda query: (404, b"")  # somebody else asks: what there is stays
    site.ask(reader.url + "/cb?mine=1", secret="evil")
    until(lambda: site.lines("not verified by its callback"), "refused")
    assert site.rows("SELECT secret FROM subscription") == [(b"new",)]


def test_who_unsubscribes_is_asked_and_then_left_alone(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader)
    site.subscribe(reader, "/other")
    reader.verify = lambda query: (404, b"")
    assert site.ask(reader.url + "/cb?mine=1", "unsubscribe")[0] == 202
    until(lambda: site.lines("not verified by its callback"), "not meant")
    assert site.count() == 2
    reader.verify = agree
    assert site.ask(reader.url + "/cb?mine=1", "unsubscribe")[0] == 202
    until(lambda: site.lines("unsubscribed"), "unsubscribed")
    assert "hub.lease_seconds" not in reader.asked[-1][1]
    asked = len(reader.asked)
    assert site.ask(reader.url + "/never", "unsubscribe")[0] == 202  # nobody is asked about what is not there
    site.publish(b"second")
    until(lambda: reader.had, "a delivery")
    assert (reader.bodies(), reader.bodies("/other"), len(reader.asked)) == ([], [b"second"], asked)


def test_a_subscription_beyond_what_a_host_may_have_is_denied(tmp_path: Path, reader: Subscriber) -> None:
    site = Site(tmp_path, replace(SETTINGS, limits=Limits(per_host=1)))
    site.start()
    site.subscribe(reader)
    assert site.ask(reader.url + "/other")[0] == 202
    until(lambda: site.lines("subscription denied"), "denied")
    path, query = reader.asked[-1]
    assert (path, query["hub.mode"], query["hub.topic"]) == ("/other", "denied", TOPIC)
    assert "host" in query["hub.reason"]
    site.subscribe(reader)  # a renewal is none more
    assert site.count() == 1
    site.stop()


def test_a_subscription_beyond_all_that_there_may_be_is_denied(tmp_path: Path, reader: Subscriber) -> None:
    site = Site(tmp_path, replace(SETTINGS, limits=Limits(subscriptions=1)))
    site.start()
    site.subscribe(reader)
    site.ask(reader.url + "/other")
    until(lambda: site.lines("subscription denied"), "denied")
    assert site.count() == 1
    site.stop()


def test_a_source_that_asks_too_often_is_told_to_wait(tmp_path: Path, reader: Subscriber) -> None:
    site = Site(tmp_path, replace(SETTINGS, limits=Limits(requests_per_minute=3)))
    site.start()
    assert [site.ask(reader.url + f"/{number}")[0] for number in range(4)] == [202, 202, 202, 429]
    site.stop()


def test_no_more_requests_wait_than_may(tmp_path: Path, reader: Subscriber) -> None:
    def verify(query: dict[str, str]) -> tuple[int, bytes]:
        reader.released.wait(20)
        return agree(query)

    reader.verify = verify
    site = Site(tmp_path, replace(SETTINGS, limits=Limits(waiting=3)))
    site.start()
    for number in range(3):
        assert site.ask(reader.url + f"/{number}")[0] == 202
    assert site.hub and site.hub._verifier
    verifier = site.hub._verifier
    until(lambda: verifier.waiting == 3, "all wait")
    status, text = site.ask(reader.url + "/more")
    assert (status, "too much to do" in text) == (503, True)
    reader.released.set()
    until(lambda: site.count() == 3, "all subscribed")
    site.stop()


# --- requests that are wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"hub.mode": "follow"}, 400, "hub.mode"),
        ({"hub.mode": "publish"}, 403, "its own feeds"),
        ({"hub.topic": ""}, 400, "hub.topic"),
        ({"hub.topic": "https://elsewhere.example/all.atom"}, 404, "hub.topic"),
        ({"hub.topic": PUBLIC + "/none.atom"}, 404, "hub.topic"),
        ({"hub.topic": PUBLIC + "/topics/../topics/ai.atom"}, 404, "hub.topic"),
        ({"hub.topic": TOPIC + "?x=1"}, 404, "hub.topic"),
        ({"hub.callback": ""}, 400, "hub.callback"),
        ({"hub.callback": "ftp://reader.example/"}, 400, "hub.callback"),
        ({"hub.callback": "http://user@reader.example/"}, 400, "hub.callback"),
        ({"hub.callback": "http://reader.example/#x"}, 400, "hub.callback"),
        ({"hub.callback": "http://reader.example:99999/"}, 400, "hub.callback"),
        ({"hub.callback": "http://reader.example/a b"}, 400, "hub.callback"),
        ({"hub.callback": "http://reader.example/" + "a" * 3000}, 400, "hub.callback"),
        ({"hub.callback": "http://10.1.2.3/"}, 403, "private"),
        ({"hub.callback": "http://[::1]/"}, 403, "loopback"),
        ({"hub.callback": "http://169.254.169.254/latest"}, 403, "link-local"),
        ({"hub.secret": "x" * 200}, 400, "hub.secret"),
        ({"hub.secret": "é" * 100}, 400, "hub.secret"),
        ({"hub.lease_seconds": "-1"}, 400, "hub.lease_seconds"),
        ({"hub.lease_seconds": "0"}, 400, "hub.lease_seconds"),
        ({"hub.lease_seconds": "soon"}, 400, "hub.lease_seconds"),
    ],
)
def test_what_is_wrong_is_said_in_text(site: Site, changes: dict[str, str], status: int, said: str) -> None:
    form = {"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.callback": "http://127.0.0.1:9/"} | changes
    found, text = site.post(form)
    assert (found, said in text) == (status, True), text


def test_what_is_no_form_is_refused(site: Site) -> None:
    assert site.post(b"{}", kind="application/json")[0] == 415
    assert site.post(b"hub.mode=%ff")[0] == 400
    assert site.post(b"hub.mode=subscribe&hub.mode=unsubscribe")[0] == 400
    assert site.post(b"a=1&" * 100)[0] == 400
    assert site.post(b"a" * 20_000)[0] == 413
    status, text = site.post(b"", method="GET")
    assert (status, "WebSub" in text) == (405, True)


def test_a_name_that_leads_to_a_private_address_is_never_asked(tmp_path: Path, reader: Subscriber) -> None:
    site = Site(tmp_path, replace(SETTINGS, allowed=()))
    site.start()
    port = reader.server_address[1]
    for host in ("localhost", "2130706433", "0x7f000001"):
        assert site.ask(f"http://{host}:{port}/cb")[0] == 202
    until(lambda: len(site.lines("not verified by its callback")) == 3, "refused")
    reasons = {line["host"].partition(":")[0]: line["reason"] for line in site.lines("not verified by its callback")}
    assert "loopback" in reasons["localhost"]
    assert (reader.asked, site.count()) == ([], 0)
    site.stop()


def test_a_subscriber_whose_address_is_allowed_no_more_gets_nothing(tmp_path: Path, reader: Subscriber) -> None:
    site = Site(tmp_path)
    site.start()
    site.subscribe(reader)
    site.stop()
    site.settings = replace(SETTINGS, allowed=())
    site.start()
    site.publish(b"second")
    until(lambda: site.lines("not delivered, it is tried again"), "refused")
    assert reader.had == []
    site.stop()


# --- delivering -------------------------------------------------------------------------------------------------------


def test_a_failed_delivery_is_repeated_with_what_is_newest(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader)
    reader.replies = [lambda: 500, lambda: 307, lambda: 404]
    site.publish(b"second")
    until(lambda: len(reader.had) == 4, "delivered")
    assert reader.bodies() == [b"second"] * 4
    until(lambda: site.rows("SELECT attempts, delivered FROM subscription") == [(0, 2)], "noted")
    assert [line["reason"] for line in site.lines("not delivered, it is tried again")] == [
        "it answered 500", "it answered 307", "it answered 404",
    ]


def test_changes_that_come_while_a_subscriber_is_slow_come_as_the_last_alone(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader)
    reader.replies = [reader.slow]
    site.publish(b"second")
    until(lambda: reader.had, "begun")
    for number in range(3, 9):
        site.publish(b"%d" % number)
    until(lambda: site.rows("SELECT version FROM topic")[0][0] >= 2, "looked at")
    reader.released.set()
    until(lambda: reader.bodies()[-1] == b"8", "the last")
    assert len(reader.had) <= 3


def test_slow_and_dead_subscribers_hold_up_nobody(site: Site, reader: Subscriber) -> None:
    with contextlib.closing(Subscriber()) as slow, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        slow.usual = slow.slow
        for number in range(deliver.PER_HOST + 5):
            site.subscribe(slow, f"/{number}")
        site.subscribe(reader)
        site.stop()
        with contextlib.closing(subscriptions.open_subscriptions(str(site.state))) as store:
            topic = store.find_topic(TOPIC)
            assert topic
            dead = f"127.0.0.1:{closed.getsockname()[1]}"
            for number in range(500):
                store.put(topic, f"http://{dead}/{number}", dead, b"", int(time.time()) + 1000)
        site.start()
        site.publish(b"second")
        until(lambda: reader.had, "a delivery")
        assert len(slow.had) <= deliver.PER_HOST
        until(lambda: site.rows("SELECT count(*) FROM subscription WHERE attempts > 0") == [(500,)], "dead ones noted")
        tries = [line for line in site.lines("not delivered, it is tried again") if line["host"] == dead]
        assert len(tries) <= 2 * deliver.PER_HOST  # the host rests; the others are not tried
        slow.released.set()
        until(lambda: len(slow.had) == deliver.PER_HOST + 5, "the slow ones in the end")


def test_a_subscriber_that_is_gone_for_good_is_forgotten(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader)
    reader.usual = lambda: 410
    site.publish(b"second")
    until(lambda: site.count() == 0, "forgotten")
    assert len(reader.had) == 1


def test_dead_subscribers_are_dropped_at_the_end_of_their_lease(tmp_path: Path, reader: Subscriber) -> None:
    site = Site(tmp_path)
    site.start()
    site.subscribe(reader, lease_seconds="600")
    site.subscribe(reader, "/longer", lease_seconds="6000")
    site.stop()
    site.late = 700
    site.start()
    until(lambda: site.lines("leases ended"), "dropped")
    site.publish(b"second")
    until(lambda: reader.had, "delivered")
    assert (reader.bodies("/longer"), reader.bodies(), site.count()) == ([b"second"], [], 1)
    site.stop()


def test_a_feed_that_went_away_and_came_back_is_delivered(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader)
    (site.out / "topics/ai.atom").unlink()
    assert site.hub
    site.hub.changed([TOPIC])
    site.publish(b"back")
    until(lambda: reader.bodies() == [b"back"], "delivered")


def test_more_feeds_than_are_kept_in_memory_are_delivered_right(
    site: Site, reader: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_KEPT_BYTES", 10)
    topics = [f"{PUBLIC}/topics/{number}.json" for number in range(8)]
    for number, topic in enumerate(topics):
        site.write(b"old", topic)
        site.subscribe(reader, f"/{number}", topic=topic)
    for number, topic in enumerate(topics):
        site.write(b"new %d" % number, topic)
    assert site.hub
    site.hub.changed([*topics, TOPIC, "https://elsewhere.example/"])
    until(lambda: len(reader.had) == 8, "delivered")
    assert {(path, body) for path, _, body in reader.had} == {(f"/{n}", b"new %d" % n) for n in range(8)}
    assert {head["content-type"] for _, head, _ in reader.had} == {"application/feed+json"}


def test_a_feed_that_goes_away_while_its_subscriber_is_asked_is_denied(site: Site, reader: Subscriber) -> None:
    def verify(query: dict[str, str]) -> tuple[int, bytes]:
        (site.out / "topics/ai.atom").unlink(missing_ok=True)
        return agree(query)

    reader.verify = verify
    assert site.ask(reader.url + "/cb")[0] == 202
    until(lambda: site.lines("subscription denied"), "denied")
    assert ([query["hub.mode"] for _, query in reader.asked], site.count()) == (["subscribe", "denied"], 0)


# --- many -------------------------------------------------------------------------------------------------------------


class Crowd:
    """Many subscribers in one event loop, each of whom takes a while; counts who is asked at once."""

    def __init__(self) -> None:
        self.busy = self.most = self.total = 0
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("0.0.0.0", 0), backlog=512)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, sock=self._socket), self._loop)
        self._server = started.result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.busy += 1
        self.most = max(self.most, self.busy)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(size)
            await asyncio.sleep(0.005)  # not a wait of the test: as slow as a subscriber may be
            self.total += 1
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        self.busy -= 1
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def test_ten_thousand_subscribers_are_served_a_few_at_once_and_nobody_waits(tmp_path: Path) -> None:
    site = Site(tmp_path)
    until_s = int(time.time()) + 10_000
    with contextlib.closing(Crowd()) as crowd:
        with contextlib.closing(subscriptions.open_subscriptions(str(site.state))) as store, store.transaction():
            topic = store.put_topic(TOPIC, hashlib.blake2b(b"first", digest_size=16).digest())
            for number in range(10_000):
                host = f"127.0.{number % 50}.1:{crowd.port}"
                store.put(topic, f"http://{host}/{number}", host, b"secret", until_s)
        site.start()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        site.write(b"x" * 28_000)
        assert site.hub
        began = time.monotonic()
        site.hub.changed([TOPIC])
        assert time.monotonic() - began < 0.05
        until(lambda: crowd.total >= 1_000, "a tenth")
        assert site.rows("SELECT version FROM topic") == [(2,)]
        assert crowd.most <= deliver.FRESH
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # kB
        assert site.stop() < 1
    assert site.failures == []


def test_its_figures_can_be_read_beside_it(site: Site, reader: Subscriber, tmp_path: Path) -> None:
    assert subscriptions.find_figures(str(site.state)) == subscriptions.Figures(0, 0)
    reader.usual = lambda: 500
    for number in range(3):
        site.subscribe(reader, f"/{number}")
    site.publish(b"second")
    failing = subscriptions.Figures(3, 3)
    until(lambda: subscriptions.find_figures(str(site.state)) == failing, "all have failed")
    assert subscriptions.find_figures(str(tmp_path / "nowhere")) is None


# --- kills ------------------------------------------------------------------------------------------------------------

RUN = """
import sys, threading, ipaddress, random, structlog
from feedd import retry
from feedd.hub import Hub, Settings
state, out, public = sys.argv[1:]
settings = Settings(public, "feedd/test", (ipaddress.ip_network("127.0.0.0/8"),), policy=retry.Policy(0.01, 0.05))
hub = Hub(state, out, settings, structlog.get_logger(), random=random.Random(), failed=print)
hub.start()
for line in sys.stdin:
    hub.changed([line.strip()])
"""


def test_no_change_is_lost_by_kills(tmp_path: Path, reader: Subscriber) -> None:
    site = Site(tmp_path)
    site.start()
    for number in range(20):
        site.subscribe(reader, f"/{number}")
    site.stop()
    for run in range(4):
        data = b"version %d" % run
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(site.state), str(site.out), PUBLIC], stdin=subprocess.PIPE, text=True,
            stdout=subprocess.DEVNULL, env=environment(),
        )
        assert process.stdin
        reader.replies = [reader.slow] * 10 if run % 2 else []
        site.write(data)
        if run < 3:  # the last start is told nothing, and finds out by itself
            process.stdin.write(TOPIC + "\n")
            process.stdin.flush()
        try:
            until(lambda data=data: any(body == data for _, _, body in reader.had), "some had it")  # type: ignore[misc]
            if run == 3:
                reader.released.set()
                until(
                    lambda data=data: len({path for path, _, body in reader.had if body == data}) == 20,  # type: ignore[misc]
                    "all",
                )
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(10)
            process.stdin.close()


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_torn_database_is_set_aside(tmp_path: Path, reader: Subscriber) -> None:
    site = Site(tmp_path)
    (site.state / subscriptions.NAME).write_bytes(b"no database at all" * 1000)
    site.start()
    site.subscribe(reader)
    assert [line["log_level"] for line in site.lines("subscriptions are torn, the hub begins anew")] == ["error"]
    assert len(list(site.state.glob("hub.sqlite.torn-*"))) >= 1
    site.stop()


def test_a_database_that_cannot_be_written_for_a_while_loses_nothing(
    site: Site, reader: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AGAIN_S", 0.05)
    site.subscribe(reader)
    with contextlib.closing(sqlite3.connect(site.state / subscriptions.NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        site.publish(b"second")
        until(lambda: site.lines("subscriptions cannot be used, the hub waits"), "told")
        assert site.ask(reader.url + "/other")[0] in (202, 503)
        assert reader.had == []  # nothing is delivered that could not be noted
        other.execute("ROLLBACK")
    until(lambda: reader.bodies() == [b"second"], "delivered")


def test_a_hub_whose_database_stays_locked_stops_at_once(site: Site, reader: Subscriber) -> None:
    site.subscribe(reader)
    with contextlib.closing(sqlite3.connect(site.state / subscriptions.NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        site.publish(b"second")
        until(lambda: site.lines("subscriptions cannot be used, the hub waits"), "told")
        assert site.stop() < 1


def test_a_database_torn_while_in_use_is_set_aside(
    site: Site, reader: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AGAIN_S", 0.05)

    def torn(*_: object) -> None:
        monkeypatch.undo()
        raise sqlite3.DatabaseError("database disk image is malformed")

    monkeypatch.setattr(subscriptions.Subscriptions, "find_topic", torn)
    site.publish(b"second")
    until(lambda: site.lines("subscriptions are torn, the hub begins anew"), "told")


def test_a_database_of_a_newer_feedd_is_left_alone(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with contextlib.closing(sqlite3.connect(site.state / subscriptions.NAME)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(errors.StateTooNewError):
        site.start()


def test_where_nothing_can_be_kept_it_does_not_start(tmp_path: Path) -> None:
    hub = Hub(
        str(tmp_path / "none"), str(tmp_path), SETTINGS, structlog.get_logger(), random=Random(), failed=print
    )
    with pytest.raises(errors.StateError):
        hub.start()


def test_an_unexpected_error_is_told(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.now = lambda: 1 // 0  # type: ignore[method-assign]
    site.start()
    until(lambda: site.failures, "told")
    assert site.stop() < 1


# --- pure -------------------------------------------------------------------------------------------------------------


def test_topics_are_the_own_urls_of_live_feeds() -> None:
    for name in ("all.atom", "topics/c-1.rss", "feeds/x.json", "topics/a b.atom"):
        url = f"{PUBLIC}/{name.replace(' ', '%20')}"
        assert protocol.topic_name(url, PUBLIC) == name
    for name in (
        "", "archives/all/1.atom", "feeds.opml", "all.html", "all.atom.gz", "../x.atom", "/all.atom", "%61ll.atom",
        ".tmp/x.atom", "a//b.atom", "a%00.atom", "a b.atom", "all.atom#x", "private/x.atom", "Private/x.rss",
    ):
        assert protocol.topic_name(f"{PUBLIC}/{name}", PUBLIC) is None


@given(st.binary(max_size=300) | st.dictionaries(
    st.sampled_from(["hub.mode", "hub.topic", "hub.callback", "hub.secret", "hub.lease_seconds", "x"]), st.text()
).map(lambda form: urlencode(form, errors="replace").encode()))
def test_any_form_is_a_request_or_an_error_of_the_client(body: bytes) -> None:
    try:
        request = protocol.parse_request(protocol.FORM, body, Leases())
    except RefusedError as error:
        assert 400 <= error.status < 500
    else:
        assert request.callback.startswith(("http://", "https://"))


@given(st.text(min_size=1, max_size=60), st.sampled_from(["", "?", "?a=b", "?a=b&", "?a=%20c"]))
def test_a_callback_keeps_its_query_and_gets_ours(topic: str, query: str) -> None:
    request = protocol.Request("subscribe", "http://reader.example/x" + query, "reader.example:80", topic, 5, b"s")
    url = protocol.verification_url(request, "challenge")
    assert url.startswith(request.callback)
    found = dict(parse_qsl(urlsplit(url).query))
    assert (found["hub.topic"], found["hub.challenge"]) == (topic, "challenge")
    assert "b's'" not in repr(request)


def test_leases_are_granted_within_bounds() -> None:
    body = urlencode({"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.callback": "http://reader.example/"})
    for asked, granted in (("1", 300), ("86400", 86_400), ("999999999999", 30 * 86_400), ("", 10 * 86_400)):
        request = protocol.parse_request(protocol.FORM, f"{body}&hub.lease_seconds={asked}".encode(), Leases())
        assert request.lease_s == granted


def test_a_source_has_a_budget_that_grows_back() -> None:
    sources = Sources(2)
    assert [sources.take("192.0.2.1", 0.0) for _ in range(3)] == [0, 0, 30]
    assert sources.take("192.0.2.2", 0.0) == 0
    assert sources.take("192.0.2.1", 30.0) == 0
    assert sources.take("192.0.2.1", 31.0) > 0
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:1") != source_of("2001:db8:0:1::1")
    assert (source_of("::ffff:192.0.2.1"), source_of("unix")) == ("192.0.2.1", "unix")
