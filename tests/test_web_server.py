"""HTTP as it is on the wire, case by case, over raw sockets against a real server; deadlines and limits are short."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from feedd.web import feeds, protocol, server, shelf
from feedd.web.front import ASGIApp

DEADLINE_S = 10.0
OLD_NS = 1_600_000_000 * 10**9
HOST = b"Host: feeds.example\r\n"
GET = b"GET /all.atom HTTP/1.1\r\n" + HOST + b"\r\n"
BIG = b"b" * 12_000_000  # more than the kernel takes for a client that reads nothing
FEED = b"<feed>" + b"x" * 2000 + b"</feed>"
LIMITS = protocol.Limits(connections=200)
QUICK = protocol.Limits(head_s=0.3, body_s=0.3, idle_s=0.3, read_s=0.3, connections=200)


class Reply(Struct, frozen=True):
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """A socket that reads answers one by one."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, DEADLINE_S)
        self._left = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _more(self) -> bool:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
        self._left += data
        return bool(data)

    def read(self, method: str = "GET") -> Reply:
        """One answer; its body is exactly as long as it says."""
        while b"\r\n\r\n" not in self._left:
            assert self._more(), f"closed: {self._left!r}"
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = [(name.lower(), value) for name, value in (line.split(": ", 1) for line in lines)]
        headers = dict(pairs)
        assert len(headers) == len(pairs), pairs
        assert first.startswith("HTTP/1.1 ") and "server" not in headers
        status = int(first.split()[1])
        length = 0 if status == 304 or method == "HEAD" else int(headers["content-length"])
        while len(self._left) < length:
            assert self._more(), f"closed after {len(self._left)} of {length}"
        body, self._left = self._left[:length], self._left[length:]
        return Reply(status, headers, body)

    def is_closed(self) -> bool:
        """Waits for the end; nothing may come before it."""
        while self._more():
            pass
        return not self._left

    def ask(self, data: bytes) -> Reply:
        self.send(data)
        return self.read(data.split(b" ", 1)[0].decode())

    def close(self) -> None:
        self.socket.close()


class House:
    """A folder of files and servers over it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.ready = True
        self.put("all.atom", FEED)

    def put(self, name: str, data: bytes) -> None:
        temporary = self.folder / f".tmp-{name}"
        temporary.write_bytes(data)
        os.utime(temporary, ns=(OLD_NS, OLD_NS))
        temporary.replace(self.folder / name)

    def serve(
        self, limits: protocol.Limits = LIMITS, app: ASGIApp | None = None, host: str = "127.0.0.1",
        hooks: feeds.Hooks | None = None, trusted: frozenset[str] = frozenset(), **policy: Any,
    ) -> server.Server:
        served = feeds.Feeds(shelf.Shelf(str(self.folder)), feeds.Policy("https://feeds.example", **policy), hooks)
        made = server.Server(host, 0, served, app, lambda: self.ready, limits, trusted)
        self._stack.callback(made.stop)
        made.start()
        return made

    def client(self, to: server.Server) -> Client:
        host, _, port = to.address.removeprefix("http://").rpartition(":")
        made = Client((host.strip("[]"), int(port)))
        self._stack.callback(made.close)
        return made


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with contextlib.ExitStack() as stack:
        yield House(tmp_path, stack)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, server.Server]]:
    """One server for all the tests that need nothing of their own."""
    with contextlib.ExitStack() as stack:
        made = House(tmp_path_factory.mktemp("out"), stack)
        yield made, made.serve(whereabouts={"old.atom": "all.atom", "gone.atom": ""}.get)


@pytest.fixture
def client(standing: tuple[House, server.Server]) -> Client:
    return standing[0].client(standing[1])


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says the method, the path and the body; `/boom` fails; `/slow` waits for `gates`."""
    body, more = b"", True
    if scope["path"] == "/boom":
        raise ValueError("boom")
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            gone.set()
            return
        body, more = body + event["body"], event["more_body"]
    if scope["path"] == "/slow":
        entered.set()
        while not gate.is_set():
            await asyncio.sleep(0.001)
    said = f"{scope['method']} {scope['path']} {scope['client'][0]} ".encode() + body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else said})


gate, entered, gone = threading.Event(), threading.Event(), threading.Event()


@pytest.fixture(autouse=True)
def closed_gate() -> Iterator[None]:
    for event in (gate, entered, gone):
        event.clear()
    yield
    gate.set()


# Answers


def test_a_feed_is_answered_with_exact_headers(client: Client) -> None:
    reply = client.ask(GET)
    assert (reply.status, reply.body) == (200, FEED)
    assert reply.headers["content-type"] == "application/atom+xml; charset=utf-8"
    assert reply.headers["link"] == '<https://feeds.example/all.atom>; rel="self"'
    assert set(reply.headers) == {
        "content-type", "content-length", "etag", "last-modified", "cache-control", "vary", "accept-ranges",
        "x-content-type-options", "link", "access-control-allow-origin", "access-control-expose-headers", "date",
    }


def test_head_says_what_get_would(client: Client) -> None:
    got = client.ask(GET)
    head = client.ask(b"HEAD /all.atom HTTP/1.1\r\n" + HOST + b"\r\n")
    assert head.status == 200 and head.body == b""
    assert {**head.headers, "date": ""} == {**got.headers, "date": ""}
    missing = client.ask(b"HEAD /no.atom HTTP/1.1\r\n" + HOST + b"\r\n")
    assert missing.status == 404 and int(missing.headers["content-length"]) > 0
    assert client.ask(GET).status == 200  # nothing of a body was left in between


def test_conditions(client: Client) -> None:
    first = client.ask(GET)
    tag, date = first.headers["etag"].encode(), first.headers["last-modified"].encode()
    for lines, status in (
        (b"If-None-Match: " + tag, 304), (b"if-none-match:W/" + tag, 304), (b"IF-NONE-MATCH: *", 304),
        (b'If-None-Match: "a"\r\nIf-None-Match: ' + tag, 304), (b'If-None-Match: "a"', 200),
        (b"If-Modified-Since: " + date, 304), (b'If-None-Match: "a"\r\nIf-Modified-Since: ' + date, 200),
        (b"If-Match: " + tag, 200), (b'If-Match: "a"', 412),
    ):
        reply = client.ask(b"GET /all.atom HTTP/1.1\r\n" + HOST + lines + b"\r\n\r\n")
        assert reply.status == status, lines
        if status == 304:
            same = set(first.headers) - {"content-type", "content-length", "date"}
            assert {name: reply.headers.get(name) for name in same} == {name: first.headers[name] for name in same}
            assert not {"content-type", "content-length"} & set(reply.headers)


def test_ranges_are_ignored(client: Client) -> None:
    for value in (b"bytes=0-3", b"bytes=-1", b"bytes=0-0,2-3", b"bytes=999999-"):
        reply = client.ask(b"GET /all.atom HTTP/1.1\r\n" + HOST + b"Range: " + value + b"\r\n\r\n")
        assert (reply.status, reply.body, reply.headers["accept-ranges"]) == (200, FEED, "none")


@pytest.mark.parametrize(("path", "status"), [
    (b"/../all.atom", 404), (b"/%2e%2e/all.atom", 404), (b"/%2fall.atom", 404), (b"/all.atom%00", 404),
    (b"//all.atom", 404), (b"/.tmp-all.atom", 404), (b"/nothing", 404), (b"/?x", 404), (b"/%61ll.atom", 200),
    (b"/all.atom?a=b&c", 200), (b"/old.atom", 301), (b"/gone.atom", 410), (b"http://other.example/all.atom", 200),
    (b"HTTP://other.example/all.atom?a", 200), (b"http://other.example", 404), (b"/all.atom#part", 200),
    (b"//feeds.example:x/%%%", 404), (b"/" + b"a" * 4000, 404),
])
def test_paths(client: Client, path: bytes, status: int) -> None:
    reply = client.ask(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert reply.status == status
    if status == 301:
        assert reply.headers["location"] == "https://feeds.example/all.atom"
    assert client.ask(GET).status == 200


def test_methods(client: Client) -> None:
    for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"PROPFIND"):
        body = b"Content-Length: 3\r\n\r\nabc" if method in (b"POST", b"PUT") else b"\r\n"
        reply = client.ask(method + b" /all.atom HTTP/1.1\r\n" + HOST + body)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    reply = client.ask(b"OPTIONS /all.atom HTTP/1.1\r\n" + HOST + b"Origin: https://a.example\r\n\r\n")
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "*")
    assert client.ask(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n").status in (200, 404)
    assert client.ask(b"POST /nothing HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n").status == 404


def test_errors_are_html_for_browsers(client: Client) -> None:
    text = client.ask(b"GET /no HTTP/1.1\r\n" + HOST + b"\r\n")
    page = client.ask(b"GET /no HTTP/1.1\r\n" + HOST + b"Accept: text/html,*/*;q=0.5\r\n\r\n")
    assert text.headers["content-type"] == "text/plain; charset=utf-8" and text.body.startswith(b"404 Not Found")
    assert text.body == b"404 Not Found. There is nothing here.\n"
    assert page.headers["content-type"] == "text/html; charset=utf-8" and b"<h1>404" in page.body
    assert "style-src 'self'" in page.headers["content-security-policy"] and "cache-control" not in page.headers
    for path, root in (
        (b"/no", ""), (b"/topics/no.html", "../"), (b"/a/b/c/", "../../../"), (b"/" * 4000, "/"), (b"/%2f<b>", ""),
    ):
        page = client.ask(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"Accept: text/html,*/*;q=0.5\r\n\r\n")
        found = re.findall(rb'href="([^"]*)"', page.body)
        assert [link.decode() for link in found] == [
            f"{root}feedd.css", "data:,", f"{root}index.html", f"{root}index.html#search",
        ], path  # fmt: skip
        assert b"<b>" not in page.body
    head = client.ask(b"HEAD /no HTTP/1.1\r\n" + HOST + b"Accept: text/html\r\n\r\n")
    assert (head.status, head.body) == (404, b"") and int(head.headers["content-length"]) > 500


def test_a_file_is_replaced_while_it_is_served(house: House) -> None:
    client = house.client(house.serve())
    for number in range(200):
        data = b"%03d" % number * (1 + number % 3)
        house.put("all.atom", data)
        assert client.ask(GET).body == data


def test_what_is_written_during_polls_is_never_mixed(house: House) -> None:
    to, stop = house.serve(), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            house.put("all.atom", b"%08d" % number * 4000)

    writer = threading.Thread(target=write)
    house.put("all.atom", b"%08d" % 0 * 4000)
    writer.start()
    try:
        client, last = house.client(to), b""
        for _ in range(300):
            body = client.ask(GET).body
            assert body == body[:8] * 4000 and body[:8] >= last
            last = body[:8]
    finally:
        stop.set()
        writer.join()


# Connections


def test_connections_are_kept_or_closed_as_asked(house: House) -> None:
    to = house.serve(app=app)
    for path in (b"/all.atom", b"/app"):
        kept = house.client(to)
        for _ in range(3):
            assert "connection" not in kept.ask(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n").headers
        for request in (
            b" HTTP/1.1\r\nConnection: close\r\n" + HOST, b" HTTP/1.0\r\n", b" HTTP/1.0\r\nConnection: keep-alive\r\n",
            b" HTTP/1.1\r\nConnection: TE, Close\r\n" + HOST,
        ):
            client = house.client(to)
            reply = client.ask(b"GET " + path + request + b"\r\n")
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            assert client.is_closed()


def test_pipelined_requests_are_answered_in_order(house: House) -> None:
    client = house.client(house.serve(app=app))
    lines = [b"GET /slow", b"GET /all.atom", b"HEAD /all.atom", b"GET /app", b"GET /no.atom", b"GET /all.atom"]
    client.send(b"".join(line + b" HTTP/1.1\r\n" + HOST + b"\r\n" for line in lines))
    assert entered.wait(DEADLINE_S)
    client.send(b"POST /app HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + GET)
    gate.set()
    assert client.read().body == b"GET /slow 127.0.0.1 "
    assert client.read().body == FEED
    assert client.read("HEAD").headers["content-length"] == str(len(FEED))
    assert client.read().body == b"GET /app 127.0.0.1 "
    assert client.read().body == b"GET /no.atom 127.0.0.1 "
    assert client.read().body == FEED
    assert client.read().body == b"POST /app 127.0.0.1 hello"
    assert client.read().body == FEED


def test_many_pipelined_requests_for_large_feeds_take_no_memory_and_lose_nothing(house: House) -> None:
    house.put("all.atom", b"x" * 300_000)
    client = house.client(house.serve())
    sender = threading.Thread(target=client.send, args=(GET * 1000,))
    sender.start()
    for _ in range(1000):
        assert len(client.read().body) == 300_000
    sender.join()
    assert client.ask(GET).status == 200


def test_requests_come_in_any_pieces(standing: tuple[House, server.Server], client: Client) -> None:
    request = b"GET /all.atom HTTP/1.1\r\nhOsT: a\r\nX-A:\t b \r\n\r\n"
    for byte in request:
        client.send(bytes([byte]))
    assert client.read().status == 200
    client.send(b"\r\n" + request + request[:20])
    assert client.read().status == 200
    client.send(request[20:])
    assert client.read().status == 200


def test_who_has_said_all_still_hears_the_answers(house: House) -> None:
    to = house.serve(app=app)
    for path in (b"/all.atom", b"/slow"):
        client = house.client(to)
        client.send(GET + b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read().body == FEED
        gate.set()
        assert client.read().status == 200
        assert client.is_closed()


# What is no valid request

BAD: dict[str, bytes] = {
    "length and chunks": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "one length twice": b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": b"Content-Length: 3, 3\r\n\r\nabc",
    "a signed length": b"Content-Length: +3\r\n\r\nabc",
    "a length that is none": b"Content-Length: 3a\r\n\r\nabc",
    "a huge length": b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a coding that is no chunks": b"Transfer-Encoding: xchunked\r\n\r\n",
    "chunks that are not last": b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "a vertical tab before chunks": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"X: a\r\n b\r\n\r\n",
    "a folded first line": b" X: a\r\n\r\n",
    "a bare line feed": b"X: a\nY: b\r\n\r\n",
    "a bare carriage return": b"X: a\rY: b\r\n\r\n",
    "space before the colon": b"X : a\r\n\r\n",
    "no colon": b"X\r\n\r\n",
    "an empty name": b": a\r\n\r\n",
    "NUL in a value": b"X: a\0b\r\n\r\n",
    "two hosts": b"Host: a\r\n\r\n",
    "a bad chunk size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a bare line feed after a chunk size": b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "a chunk that is longer than it says": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("case", BAD)
def test_smuggling_is_refused_and_the_connection_closed(client: Client, method: bytes, case: str) -> None:
    reply = client.ask(method + b" /all.atom HTTP/1.1\r\n" + HOST + BAD[case] + GET)
    assert reply.headers["connection"] == "close" or reply.status == 405, case
    if method == b"GET" and reply.status == 200:
        assert case.startswith(("a chunk", "a bad chunk", "a bare line feed after", "a coding", "chunks that"))
    elif reply.status == 405:  # it was answered before its body came, which is then refused
        assert client.read().status == 400
    else:
        assert reply.status in (400, 413)
    assert client.is_closed()  # the request behind it was never answered


@pytest.mark.parametrize("body", [
    b"Content-Length: 5\r\n\r\nabcde", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
])
def test_nothing_is_believed_after_a_get_with_a_body(client: Client, body: bytes) -> None:
    reply = client.ask(b"GET /all.atom HTTP/1.1\r\n" + HOST + body + GET)
    assert (reply.status, reply.body, reply.headers["connection"]) == (200, FEED, "close")
    assert client.is_closed()


@pytest.mark.parametrize(("data", "status"), [
    (b"GET /all.atom HTTP/1.1\r\n\r\n", 400),
    (b"GET /all.atom HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    (b"GET /all.atom\r\n\r\n", 505),
    (b"FETCH /all.atom HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"get /all.atom HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET all.atom HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET ftp://a/all.atom HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /\0all.atom HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"GET /\xc3\xa9.atom HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    (b"CONNECT feeds.example:80 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    (b"GET /" + b"a" * 50_000, 414),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 100 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 16_500 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + (b"X: " + b"a" * 1000 + b"\r\n") * 17 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 500_000, 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X" * 100_000, 431),
    (b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 65537\r\n\r\n", 413),
    (b"POST /x HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n", 413),
])
def test_what_is_refused(client: Client, data: bytes, status: int) -> None:
    with contextlib.suppress(ConnectionError):
        client.send(data)
    reply = client.read()
    assert (reply.status, reply.headers["connection"]) == (status, "close")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert client.is_closed()


def test_what_is_large_but_allowed_is_answered(client: Client) -> None:
    for _ in range(3):
        assert client.ask(b"GET /all.atom HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 99 + b"\r\n").status == 200
        assert client.ask(b"GET /all.atom HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 16_000 + b"\r\n\r\n").status == 200
        assert client.ask(b"GET /all.atom?" + b"a" * 4000 + b" HTTP/1.1\r\n" + HOST + b"\r\n").status == 200


def test_an_error_waits_for_the_answers_before_it(house: House) -> None:
    client = house.client(house.serve(app=app))
    client.send(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n" + GET + b"nonsense\r\n\r\n")
    assert entered.wait(DEADLINE_S)
    gate.set()
    assert client.read().body == b"GET /slow 127.0.0.1 "
    assert client.read().body == FEED
    assert client.read().status == 400
    assert client.is_closed()


def test_an_upgrade_is_answered_as_if_it_had_not_been_asked_for(client: Client) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\nmore"
    reply = client.ask(b"GET /all.atom HTTP/1.1\r\n" + HOST + upgrade)
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert client.is_closed()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([
    b"GET ", b"HEAD ", b"POST ", b"/all.atom", b"/no", b"//", b"http://", b"?", b"%", b"#", b" HTTP/1.1", b" HTTP/1.0",
    b"\r\n", b"\n", b"\r", b"\0", b": ", b"Host: a\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: x\r\n", b"0\r\n\r\n", b"abc", b"\xff",
]), max_size=20))
def test_no_bytes_keep_it_from_answering_others(
    standing: tuple[House, server.Server], parts: list[bytes]
) -> None:
    house, to = standing
    with structlog.testing.capture_logs() as lines:
        odd, other = house.client(to), house.client(to)
        with contextlib.suppress(ConnectionError):
            odd.send(b"".join(parts))
            odd.socket.shutdown(socket.SHUT_WR)
        assert other.ask(GET).body == FEED
        until(lambda: not odd._more(), "it is closed")
        other.close()
        odd.close()
    assert lines == []


# Deadlines and limits


@pytest.mark.parametrize("data", [
    b"", b"G", b"\r\n\r\n", b"GET /all.atom HTTP/1.1\r\n", b"GET /all.atom HTTP/1.1\r\nX: a", GET + b"GET /all",
    b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nabc", GET,
])
def test_what_does_not_go_on_is_closed(house: House, data: bytes) -> None:
    client = house.client(house.serve(QUICK, app))
    began = time.monotonic()
    client.send(data)
    while client._more():
        pass
    assert 0.2 < time.monotonic() - began < 3


def test_a_head_that_comes_in_drops_is_closed_all_the_same(house: House) -> None:
    client = house.client(house.serve(QUICK))
    began = time.monotonic()
    client.send(GET)
    assert client.read().status == 200
    client.socket.settimeout(0.02)
    with contextlib.suppress(ConnectionError):
        for byte in b"GET /all.atom HTTP/1.1\r\nX: " + b"a" * 250:
            client.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                if not client.socket.recv(1000):
                    break
    assert 0.2 < time.monotonic() - began < 3


def test_who_reads_nothing_is_dropped_and_who_reads_slowly_is_not(house: House) -> None:
    house.put("big.atom", BIG)
    to = house.serve(QUICK)
    request = b"GET /big.atom HTTP/1.1\r\n" + HOST + b"\r\n"
    slow = house.client(to)
    slow.send(request)
    got, end = len(slow.socket.recv(1 << 16)), time.monotonic() + 1.0
    stuck = house.client(to)
    stuck.send(request * 3)
    while time.monotonic() < end:  # longer than the deadline, with a step forward in each part of it
        got += len(slow.socket.recv(1 << 18))
        threading.Event().wait(0.02)
    while got < len(BIG):
        data = slow.socket.recv(1 << 20)
        assert data
        got += len(data)
    until(lambda: to.connections <= 1, "who read nothing is dropped")
    assert not stuck.is_closed()


def test_a_body_that_grows_too_large_is_refused(house: House) -> None:
    client = house.client(house.serve(app=app))
    client.send(b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(10):
            client.send(b"4000\r\n" + b"a" * 0x4000 + b"\r\n")
    assert client.read().status == 413
    assert client.is_closed()
    assert gone.wait(DEADLINE_S)
    endless = house.client(house.serve(app=app))
    endless.send(b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ")
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            endless.send(b"a" * 10_000)
    assert endless.read().status == 413


def test_there_are_only_so_many_connections(house: House) -> None:
    to = house.serve(protocol.Limits(connections=5))
    clients = [house.client(to) for _ in range(5)]
    until(lambda: to.connections == 5, "all are connected")
    refused = house.client(to)
    assert refused.read().status == 503
    assert refused.is_closed()
    clients.pop().close()
    until(lambda: to.connections == 4, "one is gone")
    assert house.client(to).ask(GET).status == 200


def test_a_burst_of_connections_waits_for_none(house: House) -> None:
    """A SYN that finds the line full is sent again after a second."""
    to = house.serve(protocol.Limits(connections=1000))
    began, clients = time.monotonic(), []
    for _ in range(400):
        clients.append(house.client(to))
        assert time.monotonic() - began < 0.9
        began = time.monotonic()
    for client in clients:
        client.send(GET)
    assert all(client.read().status == 200 for client in clients)


def test_idle_connections_make_room_when_it_becomes_narrow(house: House) -> None:
    to = house.serve(protocol.Limits(connections=10, idle_s=60))
    clients = [house.client(to) for _ in range(10)]
    for client in clients:
        assert client.ask(GET).status == 200
    until(lambda: to.connections == 0, "idle ones are let go")


# The server


def test_health_needs_no_application(house: House) -> None:
    to = house.serve()
    house.ready = False
    client = house.client(to)
    assert client.ask(b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n").status == 503
    assert client.ask(b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n").status == 200
    house.ready = True
    reply = client.ask(b"GET /readyz HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (reply.status, reply.body, reply.headers["cache-control"]) == (200, b"ready\n", "no-store")
    assert client.ask(b"HEAD /readyz HTTP/1.1\r\n" + HOST + b"\r\n").status == 200
    assert client.ask(b"POST /readyz HTTP/1.1\r\n" + HOST + b"\r\n").status == 405


def test_who_comes_after_a_long_rest_is_told_the_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    to = house.serve()
    monkeypatch.setattr(server, "time", SimpleNamespace(time=lambda: 2_000_000_000.0))  # the calendar, much later
    assert house.client(to).ask(GET).headers["date"] == "Wed, 18 May 2033 03:33:20 GMT"


def test_what_is_no_feed_goes_to_the_application(house: House) -> None:
    client = house.client(house.serve(app=app))
    assert client.ask(b"GET /-/x%20y HTTP/1.1\r\n" + HOST + b"\r\n").body == b"GET /-/x y 127.0.0.1 "
    assert client.ask(b"HEAD /-/ HTTP/1.1\r\n" + HOST + b"\r\n").status == 200
    assert client.ask(b"POST /-/ HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nhi").body.endswith(b" hi")
    client.send(b"POST /-/ HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert client.socket.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert client.ask(b"ok").body.endswith(b" ok")
    chunked = b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\n"
    assert client.ask(b"POST /-/ HTTP/1.1\r\n" + HOST + chunked).body.endswith(b" abc")
    reply = client.ask(b"POST /-/ HTTP/1.1\r\nConnection: close\r\n" + HOST + b"Content-Length: 2\r\n\r\n" + b"hi")
    assert reply.body.endswith(b" hi") and client.is_closed()


def test_a_fault_of_the_application_is_logged_and_answered(house: House) -> None:
    with structlog.testing.capture_logs() as lines:
        client = house.client(house.serve(app=app))
        assert client.ask(b"GET /boom HTTP/1.1\r\n" + HOST + b"\r\n").status == 500
        until(lambda: bool(lines), "it is logged")
    assert [line["log_level"] for line in lines] == ["error"]


def test_a_fault_of_ours_is_logged_and_answered(house: House) -> None:
    def fails(name: str) -> str | None:
        raise ValueError(name)

    with structlog.testing.capture_logs() as lines:
        to = house.serve(whereabouts=fails)
        client = house.client(to)
        assert client.ask(b"GET /no.atom HTTP/1.1\r\n" + HOST + b"\r\n").status == 500
        assert client.is_closed()
        assert house.client(to).ask(GET).status == 200
    assert [line["event"] for line in lines] == ["a request could not be answered"]


def test_a_proxy_of_ours_says_who_asks(house: House) -> None:
    asked: list[str] = []
    hooks = feeds.Hooks(seen=lambda request, answer, size: asked.append(request.address))
    client = house.client(house.serve(app=app, hooks=hooks, trusted=frozenset(("127.0.0.1",))))
    forwarded = HOST + b"X-Forwarded-For: 203.0.113.1, 198.51.100.2\r\n\r\n"
    assert client.ask(b"GET /all.atom HTTP/1.1\r\n" + forwarded).status == 200
    assert asked == ["198.51.100.2"]
    assert client.ask(b"GET /app HTTP/1.1\r\n" + forwarded).body == b"GET /app 198.51.100.2 "


def test_it_stops_within_a_second_whatever_is_open(house: House) -> None:
    """The best of three: who shares the machine may take a second of one."""
    house.put("big.atom", BIG)
    assert any(stopping_s(house) < 1 for _ in range(3))


def stopping_s(house: House) -> float:
    """What a stop took with an idle, a slow and a stuck client; nobody is served after it."""
    to = house.serve(app=app)
    idle, slow, stuck = (house.client(to) for _ in range(3))
    assert idle.ask(GET).status == 200
    entered.clear()
    slow.send(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
    stuck.send(b"GET /big.atom HTTP/1.1\r\n" + HOST + b"\r\n")
    assert entered.wait(DEADLINE_S)
    began = time.monotonic()
    to.stop()
    to.stop()
    seconds = time.monotonic() - began
    assert idle.is_closed()
    with pytest.raises(OSError):
        house.client(to)
    return seconds


def test_an_address_that_is_taken_is_an_error_at_once(house: House) -> None:
    to = house.serve()
    port = int(to.address.rpartition(":")[2])
    with pytest.raises(OSError) as caught:
        server.Server("127.0.0.1", port, None, None, lambda: True)
    assert caught.value.strerror
    never = server.Server("127.0.0.1", 0, None, None, lambda: True)
    never.stop()
    never.stop()


@pytest.mark.skipif(not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_addresses_of_ipv6_are_in_brackets(house: House) -> None:
    try:
        to = house.serve(host="::1")
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert to.address.startswith("http://[::1]:")
    assert house.client(to).ask(GET).status == 200


def test_the_standard_library_understands_it(standing: tuple[House, server.Server]) -> None:
    connection = http.client.HTTPConnection(standing[1].address.removeprefix("http://"), timeout=DEADLINE_S)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/all.atom")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, FEED)
            connection.request("GET", "/all.atom", headers={"If-None-Match": answer.headers["ETag"]})
            again = connection.getresponse()
            assert (again.status, again.read()) == (304, b"")
