"""One GET: whatever a server, a name server or a URL does, an Answer comes of it, in time and within its bytes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import os
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, cast

import brotli
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd import connect, fetch, guard, unpack
from feedd.fetch import Fetcher, Limits
from feedd.freshness.states import Answer, Request
from tests.farm.process import AUTHORITY

USUAL = Limits()
LOOPBACK: tuple[guard.Network, ...] = (ipaddress.ip_network("127.0.0.0/8"),)
QUICK = Limits(connect_s=5, total_s=0.4)  # where the end is that time runs out
CERTIFICATES = AUTHORITY.parent
AGENT = "feedd/1.0 (+https://news.example/about)"
PAGE = "<!doctype html><title>Größe</title><p>Words".encode()


# --- a server that says what it is told to ----------------------------------------------------------------------------

Reply = Callable[["Peer"], None]


class Peer(asyncio.Protocol):
    """One connection to it."""

    def __init__(self, server: Server) -> None:
        self.server, self.buffer, self.pump = server, b"", lambda: None
        self.is_paused = self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        self.server.peers.append(self)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            self.server.heads.append(head.decode().split("\r\n"))
            replies = self.server.replies
            (replies.pop(0) if len(replies) > 1 else replies[0])(self)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self.pump()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True


class Server:
    """`replies` one after the other, the last of them for ever. `heads` are the lines of the requests."""

    def __init__(self, *replies: Reply) -> None:
        self.replies, self.heads, self.peers = list(replies), list[list[str]](), list[Peer]()
        self.port, self.sent = 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/a/page?x=1"

    def headers(self, request: int = 0) -> dict[str, str]:
        return dict(line.split(": ", 1) for line in self.heads[request][1:])

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Server]:
        server = await asyncio.get_running_loop().create_server(partial(Peer, self), host, 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for peer in self.peers:
                peer.transport.abort()
            await asyncio.sleep(0)


def encrypting(certificate: str = "good") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's TLS with a certificate of the farm's authority, and that of a client who trusts this one."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    return theirs, ssl.create_default_context(cafile=str(AUTHORITY))


def says(data: bytes, *, closes: bool = False) -> Reply:
    def reply(peer: Peer) -> None:
        peer.transport.write(data)
        if closes:
            peer.transport.close()

    return reply


def answers(body: bytes = PAGE, status: str = "200 OK", **headers: str) -> Reply:
    """A well-formed answer; underscores in names of headers are hyphens."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    lines.append(f"Content-Length: {len(body)}")
    return says("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def floods(begin: bytes, piece: bytes) -> Reply:
    """Never ends, as fast as the other takes it."""

    def reply(peer: Peer) -> None:
        def pump() -> None:
            while not (peer.is_paused or peer.is_lost or peer.transport.is_closing()):
                peer.transport.write(piece)
                peer.server.sent += len(piece)

        peer.transport.write(begin)
        peer.pump = pump
        pump()

    return reply


def drips(data: bytes) -> Reply:
    """A byte every hundredth of a second."""

    def reply(peer: Peer) -> None:
        def drip(at: int) -> None:
            if not peer.is_lost:
                peer.transport.write(data[at : at + 1])
                asyncio.get_running_loop().call_later(0.01, drip, at + 1)

        drip(0)

    return reply


def aborts(peer: Peer) -> None:
    sock = peer.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    peer.transport.abort()


def run(work: Awaitable[Answer], loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop) -> Answer:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(asyncio.wait_for(work, 20))


def at(*addresses: str) -> connect.Lookup:
    """A name server that says that every name is at these addresses."""

    def look(host: str, port: int, **_: Any) -> list[connect.AddressInfo]:
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    return look


def raising(error: Exception) -> connect.Lookup:
    def look(*_: object, **__: object) -> list[connect.AddressInfo]:
        raise error

    return look


def got(
    *replies: Reply, limits: Limits = USUAL, loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
    request: Callable[[Server], Request] = lambda server: Request(server.url, AGENT), body_bytes: int = 0,
) -> tuple[Answer, Server]:
    """What comes of one request to a server, and the server afterwards."""
    server = Server(*replies)

    async def work() -> Answer:
        async with server.running(), Fetcher(limits, allowed=LOOPBACK, ports=(server.port,)) as fetcher:
            return await fetcher.get(request(server), body_bytes=body_bytes)

    return run(work(), loop), server


# --- a page -----------------------------------------------------------------------------------------------------------


def test_a_page_is_an_answer_with_its_headers_and_body() -> None:
    answer, server = got(answers(Content_Type="text/html", ETag='"1"', X_Twice="a", x_twice="b"))
    assert (answer.url, answer.status, answer.failure, answer.detail) == (server.url, 200, "", "")
    assert answer.body == PAGE
    assert answer.headers == {
        "content-type": "text/html", "etag": '"1"', "x-twice": "b", "content-length": str(len(PAGE)),
    }  # fmt: skip
    assert answer.read == len(b"\r\n".join([
        b"HTTP/1.1 200 OK", b"Content-Type: text/html", b'ETag: "1"', b"X-Twice: a", b"x-twice: b",
        b"Content-Length: 45", b"", PAGE,
    ]))  # fmt: skip


def test_a_request_says_who_asks_and_what_is_understood() -> None:
    _, server = got(answers())
    assert server.heads[0][0] == "GET /a/page?x=1 HTTP/1.1"
    headers = server.headers()
    assert headers["User-Agent"] == AGENT
    assert headers["Accept-Encoding"] == "gzip, deflate, br"
    assert headers["Accept"].startswith("text/html,")
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert not headers.keys() & {"Cookie", "If-None-Match", "If-Modified-Since", "Authorization", "Referer"}


def test_a_request_is_conditional_where_something_is_known_and_carries_the_headers_of_its_rule() -> None:
    _, server = got(answers(), request=lambda s: Request(
        s.url, AGENT, 'W/"1"', "Sat, 22 Nov 2025 09:00:00 GMT", (("X-Key", "k"), ("accept", "text/plain")),
    ))  # fmt: skip
    headers = server.headers()
    assert headers["If-None-Match"] == 'W/"1"'
    assert headers["If-Modified-Since"] == "Sat, 22 Nov 2025 09:00:00 GMT"
    assert (headers["X-Key"], headers["accept"]) == ("k", "text/plain")
    assert "Accept" not in headers


def test_the_headers_of_a_rule_go_before_what_would_be_sent_else() -> None:
    rule = (("Host", "a.example"), ("connection", "close"), ("If-None-Match", "*"), ("User-Agent", "b"))
    answer, server = got(answers(), request=lambda s: Request(s.url, AGENT, '"1"', headers=rule))
    assert answer.status == 200
    names = [line.partition(":")[0].lower() for line in server.heads[0][1:]]
    assert len(names) == len(set(names))
    assert {name: server.headers()[name] for name, _ in rule} == dict(rule)


@pytest.mark.parametrize("value", ['"\r\nX: 1"', '"\udcff"', '"ü"'])
def test_what_no_header_can_hold_is_not_sent_back(value: str) -> None:
    answer, server = got(answers(), request=lambda s: Request(s.url, AGENT, value, value))
    assert answer.status == 200
    assert not server.headers().keys() & {"If-None-Match", "If-Modified-Since", "X"}


def test_headers_that_cannot_be_sent_are_a_failure() -> None:
    answer, server = got(answers(), request=lambda s: Request(s.url, AGENT, headers=(("X", "a\r\nY: b"),)))
    assert (answer.failure, server.heads) == ("protocol", [])


def test_user_and_password_are_sent_to_nobody() -> None:
    answer, server = got(answers(), request=lambda s: Request(s.url.replace("//", "//user:secret@"), AGENT))
    assert answer.status == 200
    assert "secret" not in str(server.heads) and "Authorization" not in server.headers()


def test_cookies_are_not_kept() -> None:
    server = Server(answers(Set_Cookie="a=b; Path=/"))

    async def work() -> Answer:
        async with server.running(), Fetcher(Limits(), allowed=LOOPBACK, ports=(server.port,)) as fetcher:
            await fetcher.get(Request(server.url, AGENT))
            return await fetcher.get(Request(server.url, AGENT))

    assert run(work()).headers["set-cookie"] == "a=b; Path=/"
    assert "Cookie" not in server.headers(1)


def test_headers_in_other_charsets_become_text_that_can_be_stored() -> None:
    answer, _ = got(says(b"HTTP/1.1 200 OK\r\nX: \xc3\xbc\r\nY: \xfc\xff\r\nContent-Length: 0\r\n\r\n"))
    assert (answer.headers["x"], answer.headers["y"]) == ("ü", "üÿ")


# --- redirects --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_but_told(status: int) -> None:
    answer, server = got(answers(b"moved", f"{status} X", Location="../b#part", Content_Type="text/html"))
    assert (answer.status, answer.location, answer.body) == (status, f"http://127.0.0.1:{server.port}/b", b"")
    assert len(server.heads) == 1


@pytest.mark.parametrize(("location", "leads_to"), [
    (b"https://Other.Example", "https://other.example/"), (b"//other.example/x y", "https://other.example/x%20y"),
    ("https://bücher.example/ü".encode(), "https://xn--bcher-kva.example/%C3%BC"),
    (b"https://other.example/\xfc", "https://other.example/%FC"), (b"mailto:a@b.example", ""), (b"http://[::1", ""),
    (b"", ""), (b"https://u:p@other.example/", "https://other.example/"), (b"javascript:alert(1)", ""),
])  # fmt: skip
def test_where_a_redirect_leads_is_absolute_and_normalised(location: bytes, leads_to: str) -> None:
    answer, _ = got(says(b"HTTP/1.1 301 X\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"))
    assert (answer.status, answer.location.replace("http:", "https:")) == (301, leads_to)


def test_only_redirects_have_a_location() -> None:
    answer, _ = got(answers(status="201 Created", Location="/b"))
    assert (answer.location, answer.body) == ("", PAGE)


# --- bodies -----------------------------------------------------------------------------------------------------------

LONG = b"".join(b"<p>%d" % n for n in range(20_000))
RAW = zlib.compressobj(wbits=-15)
PACKED = {
    "gzip": gzip.compress(LONG), "X-GZIP": gzip.compress(LONG), "br": brotli.compress(LONG),
    "deflate": zlib.compress(LONG), "Deflate": RAW.compress(LONG) + RAW.flush(), "identity": LONG, "": LONG,
}


@pytest.mark.parametrize("coding", PACKED)
def test_the_beginning_of_a_body_is_unpacked(coding: str) -> None:
    answer, _ = got(answers(PACKED[coding], Content_Encoding=coding))
    assert (answer.status, answer.body) == (200, LONG[:65_536])


@pytest.mark.parametrize("coding", PACKED)
def test_a_body_may_be_read_further_than_usual(coding: str) -> None:
    answer, _ = got(answers(PACKED[coding], Content_Encoding=coding), body_bytes=500_000)
    assert answer.body == LONG


@pytest.mark.parametrize("most", [1, 1500, 9_999, 10_000, 10_001])
def test_of_a_body_in_chunks_no_more_is_taken_than_is_wanted(most: int) -> None:
    chunks = b"".join(b"3e8\r\n" + bytes([n]) * 1000 + b"\r\n" for n in range(10)) + b"0\r\n\r\n"
    answer, _ = got(says(CHUNKED + chunks), body_bytes=most)
    assert answer.body == b"".join(bytes([n]) * 1000 for n in range(10))[:most]


def test_after_the_end_of_what_is_packed_there_is_no_more() -> None:
    unpacker = unpack.unpacker("br")
    assert unpacker
    assert (unpacker(brotli.compress(b"all"), 100), unpacker(b"more", 97)) == (b"all", b"")


@pytest.mark.parametrize("coding", PACKED)
@given(cuts=st.lists(st.integers(0, 200_000)), most=st.integers(1, 200_000))
@settings(max_examples=20, deadline=None)
def test_a_body_is_unpacked_alike_however_it_is_cut(coding: str, cuts: list[int], most: int) -> None:
    junk = b"after the end" if "gzip" in coding.lower() or "deflate" in coding.lower() else b""
    packed, unpacker, found = PACKED[coding] + junk, unpack.unpacker(coding), b""
    assert unpacker
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(packed)], strict=True):
        if len(found) < most:
            found += unpacker(packed[begin:end], most - len(found))
    assert found == LONG[:most]


@pytest.mark.parametrize(("coding", "pack"), [
    ("gzip", gzip.compress), ("br", brotli.compress), ("deflate", zlib.compress),
])  # fmt: skip
def test_a_bomb_costs_what_is_taken_of_it(coding: str, pack: Callable[[bytes], bytes]) -> None:
    answer, _ = got(answers(pack(bytes(10**7)), Content_Encoding=coding))
    assert answer.body == bytes(65_536)


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate"])
def test_a_body_that_is_not_packed_as_it_says_is_a_failure(coding: str) -> None:
    answer, _ = got(answers(b"\xff" * 50, Content_Encoding=coding))
    assert (answer.failure, answer.status) == ("protocol", 0)
    assert "unpacked" in answer.detail


def test_a_coding_that_was_not_asked_for_leaves_the_body_unread() -> None:
    answer, _ = got(answers(b"x" * 50, Content_Encoding="zstd"))
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("kind", ["image/png", "video/mp4", "application/octet-stream", "text/event-stream", "audio/x"])
def test_an_endless_body_of_no_interest_is_not_read(kind: str) -> None:
    answer, server = got(floods(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode(), bytes(10_000)))
    assert (answer.status, answer.body) == (200, b"")
    assert server.sent < 1_000_000  # what buffers hold


@pytest.mark.parametrize("kind", ["text/html; a=b", "TEXT/PLAIN", "application/xhtml+xml", "application/ld+json", ";"])
def test_an_endless_body_of_interest_is_read_to_its_limit(kind: str) -> None:
    answer, server = got(floods(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\n".encode(), b"x" * 10_000))
    assert (answer.status, len(answer.body)) == (200, 65_536)
    assert server.sent < 1_000_000


def test_a_body_that_unpacks_to_nothing_is_read_to_the_limit_of_the_wire() -> None:
    nothing = zlib.compressobj(wbits=31)
    begin = nothing.compress(b"x") + nothing.flush(zlib.Z_SYNC_FLUSH)
    empty_block = b"\0\0\0\xff\xff"
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
    answer, _ = got(floods(head + begin, empty_block * 1000))
    assert (answer.status, answer.body) == (200, b"x")
    assert 262_144 <= answer.read < 600_000


# --- odd answers ------------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = {
    "chunks": (CHUNKED + b"1\r\no\r\n1;ext=1\r\nk\r\n0\r\nTrailer: x\r\n\r\n", 200, b"ok"),
    "until it closes": (b"HTTP/1.0 200 OK\r\n\r\nok", 200, b"ok"),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK, 200, b"ok"),
    "more than its length": (OK + b" and more", 200, b"ok"),
    "two answers": (OK + OK, 200, b"ok"),
    "304 with a body": (b"HTTP/1.1 304 Not Modified\r\n\r\n<html>", 304, b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", 304, b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "999": (b"HTTP/1.1 999 Request denied\r\nContent-Length: 0\r\n\r\n", 999, b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok"),
}
BAD = {
    "nothing": (b"", "reset"), "half a head": (b"HTTP/1.1 200 OK\r\nContent-Ty", "reset"),
    "less than its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nok", "reset"),
    "half a chunk": (CHUNKED + b"5\r\nab", "reset"), "chunked garbage": (CHUNKED + b"zz\r\nabc", "protocol"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "protocol"), "HTTP/0.9": (b"<html>ok</html>", "protocol"),
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "protocol"),
    "000": (b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n", "protocol"),
    "NUL": (b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", "protocol"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", "protocol"),
    "long status line": (b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n", "size"),
    "long header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "size"),
    "many headers": (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200 + b"\r\n", "size"),
}


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("what", GOOD)
def test_odd_answers_are_answers(what: str, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    data, status, body = GOOD[what]
    answer, _ = got(says(data, closes=True), loop=loop)
    assert (answer.status, answer.body, answer.failure) == (status, body, "")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("what", BAD)
def test_what_is_no_answer_is_a_failure_that_says_why(what: str, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    data, failure = BAD[what]
    answer, server = got(says(data, closes=True), loop=loop)
    assert (answer.status, answer.failure) == (0, failure)
    assert 0 < len(answer.detail) <= 200 and "\n" not in answer.detail
    assert len(server.heads) == 1  # it was not asked again


def test_a_reset_is_one() -> None:
    answer, server = got(aborts)
    assert (answer.failure, len(server.heads)) == ("reset", 1)


def test_a_reset_within_the_body_is_one() -> None:
    def reply(peer: Peer) -> None:
        peer.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nok")
        asyncio.get_running_loop().call_later(0.05, aborts, peer)

    assert got(reply)[0].failure == "reset"


@pytest.mark.parametrize("piece", [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10, b"X: x\r\n" * 10, b"x" * 1000])
def test_an_endless_head_is_not_read_for_long(piece: bytes) -> None:
    begin = b"" if piece.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\nY: "
    answer, server = got(floods(begin, piece))
    assert (answer.status, answer.failure) == (0, "size")
    assert answer.read < 300_000
    assert server.sent < 1_500_000


@pytest.mark.parametrize(("begin", "piece"), [(CHUNKED + b"5;", b"x" * 1000), (CHUNKED + b"0\r\n", b"X: x\r\n" * 100)])
def test_what_is_endless_beside_a_body_is_not_read_for_long(begin: bytes, piece: bytes) -> None:
    answer, server = got(floods(begin, piece))
    assert answer.failure in ("size", "protocol")
    assert answer.read < 1_000_000
    assert server.sent < 1_500_000


@pytest.mark.parametrize("reply", [
    lambda peer: None, drips(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + bytes(500)),
    drips(b"HTTP/1.1 200 OK\r\nX: " + bytes(500)), says(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nok"),
])  # fmt: skip
def test_who_is_slow_is_given_up(reply: Reply) -> None:
    answer, _ = got(reply, limits=QUICK)
    assert (answer.failure, answer.detail) == ("timeout", "no whole answer within 0.4 s")


# --- connections ------------------------------------------------------------------------------------------------------


def many(server: Server, count: int, limits: Limits = USUAL, **options: Any) -> list[Answer]:
    """So many requests to one server, one after the other."""
    found: list[Answer] = []

    async def work() -> Answer:
        async with server.running(), Fetcher(limits, allowed=LOOPBACK, ports=(server.port,)) as fetcher:
            found.extend([await fetcher.get(Request(server.url, AGENT), **options) for _ in range(count)])
        return found[-1]

    run(work())
    return found


def test_many_links_of_a_host_need_one_connection() -> None:
    server = Server(answers())
    assert [answer.status for answer in many(server, 20)] == [200] * 20
    assert len(server.peers) == 1


def test_a_connection_is_closed_where_no_other_request_is_to_follow() -> None:
    server = Server(answers())
    many(server, 3, keep=False)
    assert len(server.peers) == 3
    assert server.headers()["Connection"] == "close"


def test_a_connection_is_closed_where_the_body_is_not_read_to_its_end() -> None:
    server = Server(answers(bytes(200_000), Content_Type="text/plain"))
    assert [len(answer.body) for answer in many(server, 3)] == [65_536] * 3
    assert len(server.peers) == 3


def test_no_more_connections_are_kept_than_there_may_be() -> None:
    servers = [Server(answers()) for _ in range(4)]

    async def work() -> Answer:
        async with contextlib.AsyncExitStack() as stack:
            for server in servers:
                await stack.enter_async_context(server.running())
            ports = [server.port for server in servers]
            limits = Limits(idle=2, keep_s=0.05)
            fetcher = await stack.enter_async_context(Fetcher(limits, allowed=LOOPBACK, ports=ports))
            for server in [*servers, *servers]:
                await fetcher.get(Request(server.url, AGENT))
            assert [len(server.peers) for server in servers] == [1, 1, 2, 2]
            answer = await fetcher.get(Request(servers[3].url, AGENT))
            while "Connection" in servers[3].headers(-1):  # until there is room again
                await asyncio.sleep(0.01)
                answer = await fetcher.get(Request(servers[3].url, AGENT))
            return answer

    assert run(work()).status == 200


@pytest.mark.parametrize("most", [0, 1])
def test_of_those_that_are_encrypted_fewer_are_kept(most: int) -> None:
    server, host = Server(answers()), "127.1.200.1"
    theirs, ours = encrypting()

    async def work() -> None:
        async with server.running(theirs, host), Fetcher(
            Limits(idle_tls=most), allowed=LOOPBACK, ports=(server.port,), tls=ours
        ) as fetcher:
            for _ in range(3):
                assert (await fetcher.get(Request(f"https://{host}:{server.port}/", AGENT))).status == 200

    run(work())
    assert len(server.peers) == (1 if most else 3)


def test_who_goes_on_sending_when_all_is_over_is_not_listened_to() -> None:
    """Over TLS, where parting in order would mean to read on."""
    begin = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 200000000000\r\n\r\n"

    def reply(peer: Peer) -> None:
        peer.transport.pause_reading()  # nor does it hear a goodbye
        floods(begin, b"x" * 16_000)(peer)

    server, host = Server(reply), "127.1.200.1"
    theirs, ours = encrypting()

    async def work() -> Answer:
        async with server.running(theirs, host), Fetcher(
            USUAL, allowed=LOOPBACK, ports=(server.port,), tls=ours
        ) as fetcher:
            answer = await fetcher.get(Request(f"https://{host}:{server.port}/", AGENT))
            while not server.peers[0].is_lost:
                await asyncio.sleep(0.005)
            return answer

    assert run(work()).status == 200
    assert server.sent < 4_000_000  # what buffers hold


@pytest.mark.parametrize("said", [
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b"HTTP/1.1 000 X\r\n\r\n",
    b"HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n",
])  # fmt: skip
def test_what_is_no_answer_ends_its_connection(said: bytes) -> None:
    server = Server(says(said))
    assert [answer.failure for answer in many(server, 2)] == ["protocol"] * 2
    assert len(server.peers) == 2


def test_a_connection_that_was_closed_just_now_is_no_trouble() -> None:
    """HTTP/1.1 lets a server close without a word after its answer; unseen yet by who asks again at once."""
    server = Server(says(OK, closes=True))
    assert [answer.status for answer in many(server, 20)] == [200] * 20


def test_who_closes_without_an_answer_is_asked_again_only_if_it_may_not_have_seen_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for hot_s, asked in ((0.5, 3), (-1.0, 2)):  # 0 s would be a matter of rounding: a turn of the loop has one time
        monkeypatch.setattr(fetch, "HOT_S", hot_s)
        server = Server(answers(), says(b"", closes=True))
        assert [answer.failure for answer in many(server, 2)] == ["", "reset"]
        assert len(server.heads) == asked


def test_what_comes_unasked_is_not_taken_for_the_next_answer() -> None:
    server = Server(answers())

    async def work() -> Answer:
        async with server.running(), Fetcher(Limits(), allowed=LOOPBACK, ports=(server.port,)) as fetcher:
            await fetcher.get(Request(server.url, AGENT))
            server.peers[0].transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            while not server.peers[0].is_lost:
                await asyncio.sleep(0.01)
            return await fetcher.get(Request(server.url, AGENT))

    assert run(work()).status == 200
    assert len(server.peers) == 2


def test_what_comes_with_the_end_of_an_answer_is_not_taken_for_the_next_one() -> None:
    def reply(peer: Peer) -> None:
        peer.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        late = b"k" + b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        asyncio.get_running_loop().call_later(0.05, peer.transport.write, late)

    server = Server(reply, answers())
    assert [answer.status for answer in many(server, 2)] == [200, 200]
    assert (len(server.peers), len(server.heads)) == (2, 2)


def test_no_more_are_asked_at_once_than_may_be() -> None:
    waiting: list[Peer] = []
    server = Server(waiting.append)

    async def work() -> Answer:
        async with server.running(), Fetcher(Limits(at_once=3), allowed=LOOPBACK, ports=(server.port,)) as fetcher:
            tasks = [asyncio.create_task(fetcher.get(Request(server.url, AGENT))) for _ in range(7)]
            for left in (7, 4, 1):
                while len(waiting) < min(left, 3):
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.02)
                assert len(waiting) == min(left, 3)
                for peer in waiting:
                    answers()(peer)
                waiting.clear()
            return (await asyncio.gather(*tasks))[-1]

    assert run(work()).status == 200


def test_who_is_broken_off_leaves_nothing_behind() -> None:
    server = Server(lambda peer: None, answers())

    async def work() -> Answer:
        async with server.running(), Fetcher(Limits(at_once=1), allowed=LOOPBACK, ports=(server.port,)) as fetcher:
            task = asyncio.create_task(fetcher.get(Request(server.url, AGENT)))
            while not server.heads:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await fetcher.get(Request(server.url, AGENT))

    assert run(work()).status == 200


def test_after_its_end_a_fetcher_says_so_instead_of_blaming_a_link() -> None:
    async def work() -> Answer:
        async with Fetcher(Limits()) as fetcher:
            pass
        return await fetcher.get(Request("http://h.example/", AGENT))

    with pytest.raises(RuntimeError):
        run(work())


# --- where it does not go ---------------------------------------------------------------------------------------------

FORBIDDEN = [
    "127.0.0.1", "127.0.0.2", "127.255.255.255", "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001",
    "0x7f.1", "0X7F.1", "0177.0.0.1", "0x7f.0x0.0x0.0x1", "127.0x1", "0", "0.0.0.0", "localhost", "LOCALHOST",
    "localhost.", "127.0.0.1.", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[::127.0.0.1]", "[2002:7f00:1::]",
    "[fe80::1]", "[fd00:ec2::254]", "①②⑦.⓪.⓪.①", "127。0。0。1", "%31%32%37.0.0.1", "127%2e0.0.1",
    "user@127.0.0.1", "a.example@127.0.0.1", "127.0.0.1\\@a.example", "127.0.0.1#@a.example", "169.254.169.254",
    "2852039166", "0xa9fea9fe", "10.1.2.3", "192.168.1.1", "100.100.100.200", "192.0.0.8", "inside.example",
]  # fmt: skip


@pytest.mark.parametrize("host", FORBIDDEN)
def test_no_spelling_of_a_closed_address_is_connected_to(host: str) -> None:
    server = Server(answers())

    def look(name: str, port: int, **options: Any) -> Any:
        return at("127.0.0.1", "::1", "10.0.0.1")(name, port) if name.endswith(".example") else (
            socket.getaddrinfo(name, port, **options)
        )

    async def work() -> Answer:
        async with server.running(), Fetcher(Limits(), ports=(server.port,), lookup=look) as fetcher:
            return await fetcher.get(Request(f"http://{host}:{server.port}/", AGENT))

    answer = run(work())
    assert (answer.failure, answer.read) in (("address", 0), ("protocol", 0), ("port", 0))
    assert (answer.failure == "address") == ("\\" not in host)
    assert server.peers == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "①②⑦.⓪.⓪.①", "inside.example"])
def test_what_is_allowed_is_reached_however_it_is_spelled(host: str) -> None:
    server = Server(answers())

    async def work() -> Answer:
        fetcher = Fetcher(Limits(), allowed=LOOPBACK, ports=(server.port,), lookup=at("10.0.0.1", "127.0.0.1"))
        async with fetcher:
            return await fetcher.get(Request(f"http://{host}:{server.port}/", AGENT))

    async def serve() -> Answer:
        async with server.running():
            return await work()

    assert run(serve()).status == 200


def test_a_name_that_changes_its_mind_is_refused_at_the_next_connection() -> None:
    server, told = Server(answers()), ["127.0.0.1", "127.0.0.2"]

    def look(name: str, port: int, **_: Any) -> Any:
        return at(told.pop(0))(name, port)

    async def work() -> Answer:
        network = (ipaddress.ip_network("127.0.0.1/32"),)
        async with server.running(), Fetcher(Limits(), allowed=network, ports=(server.port,), lookup=look) as fetcher:
            request = Request(f"http://rebound.example:{server.port}/", AGENT)
            assert (await fetcher.get(request, keep=False)).status == 200
            fetcher._connector.clear_dns_cache()  # ten seconds later
            return await fetcher.get(request)

    answer = run(work())
    assert (answer.failure, told, len(server.peers)) == ("address", [], 1)
    assert "127.0.0.2 is loopback" in answer.detail


@pytest.mark.parametrize("url", ["http://h.example:443/", "https://h.example:80/", "http://h.example:22/"])
def test_other_ports_are_not_connected_to(url: str) -> None:
    assert alone(url).failure == "port"


@pytest.mark.parametrize("url", [
    "", "ftp://h.example/", "file:///etc/passwd", "//h.example/", "h.example", "http:///x", "http://h..example/",
    "http://[::1/", "http://h.example:99999/", "gopher://h.example/", "data:text/html,x", "http://h.example:0/",
])  # fmt: skip
def test_what_is_no_web_address_is_a_failure(url: str) -> None:
    assert alone(url).failure == "protocol"


NOBODY = raising(AssertionError())  # a name server that must not be asked


def alone(url: str, lookup: connect.Lookup = NOBODY, limits: Limits = USUAL, **options: Any) -> Answer:
    """What comes of a request without a server."""

    async def work() -> Answer:
        async with Fetcher(limits, lookup=lookup, **options) as fetcher:
            return await fetcher.get(Request(url, AGENT))

    return run(work())


def test_a_number_that_is_no_address_is_none_of_a_host() -> None:
    assert alone("http://1.2.3.4.5/").failure == "address"
    assert alone("http://a.0x7f/").failure == "address"


# --- names, connections, TLS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "failure"), [
    (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name"),
    (socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"), "name"),
    (UnicodeError("label too long"), "name"),
    (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), "lookup"),
    (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), "lookup"),
])  # fmt: skip
def test_a_name_that_does_not_exist_is_not_one_that_nobody_could_look_up(error: Exception, failure: str) -> None:
    assert alone("http://h.example/", raising(error)).failure == failure


def test_names_are_looked_up_for_both_kinds_of_addresses() -> None:
    asked: list[Any] = []

    def look(*_: object, **options: Any) -> list[connect.AddressInfo]:
        asked.append((options["family"], options["flags"]))
        raise socket.gaierror(socket.EAI_NONAME, "")

    alone("http://h.example/", look)
    assert asked == [(socket.AF_UNSPEC, 0)]


def test_who_does_not_listen_refuses() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        answer = alone(f"http://127.0.0.1:{port}/", allowed=LOOPBACK, ports=(port,))
    assert answer.failure == "refused"


@pytest.mark.parametrize(("limits", "said"), [
    (Limits(connect_s=0.3), "no connection within 0.3 s"),
    (Limits(total_s=0.3), "no whole answer within 0.3 s"),
])  # fmt: skip
def test_who_does_not_take_a_connection_is_given_up(limits: Limits, said: str) -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        for _ in range(3):  # until the queue is full, and further ones are passed over
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        answer = alone(
            f"http://127.0.0.1:{address[1]}/", limits=limits, allowed=LOOPBACK, ports=(address[1],)
        )
    assert (answer.failure, answer.detail) == ("timeout", said)


@pytest.mark.parametrize(("error", "failure"), [
    (TimeoutError(110, "Connection timed out"), "timeout"), (ConnectionResetError(104, "reset"), "reset"),
    (OSError(101, "Network is unreachable"), "refused"), (OSError("Multiple exceptions"), "refused"),
])  # fmt: skip
def test_what_the_system_says_of_a_connection_is_told(
    error: OSError, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def factory(_: object) -> Callable[[connect.AddressInfo], socket.socket]:
        def open_socket(info: connect.AddressInfo) -> socket.socket:
            raise error

        return open_socket

    monkeypatch.setattr(connect, "socket_factory", factory)
    assert alone("http://h.example/", at("192.0.2.1")).failure == failure


@pytest.mark.parametrize(("certificate", "host", "is_trusted", "failure"), [
    ("good", "127.1.200.1", True, ""), ("good", "127.1.200.1", False, "tls"),
    ("selfsigned", "127.1.200.2", True, "tls"), ("expired", "127.1.200.3", True, "tls"),
    ("misnamed", "127.1.200.4", True, "tls"),
])  # fmt: skip
def test_certificates_are_checked(certificate: str, host: str, is_trusted: bool, failure: str) -> None:
    server = Server(answers())
    theirs, trusting = encrypting(certificate)
    ours = trusting if is_trusted else None

    async def work() -> Answer:
        async with server.running(theirs, host), Fetcher(
            Limits(), allowed=LOOPBACK, ports=(server.port,), tls=ours
        ) as fetcher:
            return await fetcher.get(Request(f"https://{host}:{server.port}/", AGENT))

    answer = run(work())
    assert (answer.failure, answer.status) == (failure, 0 if failure else 200)
    assert not failure or answer.detail.startswith("its certificate is not valid: ")
    assert len(server.heads) == (not failure)


def test_what_speaks_no_tls_is_told() -> None:
    server = Server(answers())

    async def work() -> Answer:
        async with server.running(), Fetcher(Limits(), allowed=LOOPBACK, ports=(server.port,)) as fetcher:
            hello = asyncio.get_running_loop().call_later(
                0.05, lambda: server.peers[0].transport.write(b"220 hello\r\n")
            )
            try:
                return await fetcher.get(Request(f"https://127.0.0.1:{server.port}/", AGENT))
            finally:
                hello.cancel()

    answer = run(work())
    assert (answer.failure, answer.detail.startswith("no TLS connection")) == ("tls", True)


# --- a proxy ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Server:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    return Server(answers())


def through(proxy: Server, url: str, monkeypatch: pytest.MonkeyPatch, *, trust_env: bool = True) -> Answer:
    async def work() -> Answer:
        async with proxy.running():
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv("no_proxy", "direct.example")
            lookup = raising(socket.gaierror(socket.EAI_NONAME, ""))
            network = (ipaddress.ip_network("127.0.0.1/32"),)
            async with Fetcher(Limits(), allowed=network, lookup=lookup, trust_env=trust_env) as fetcher:
                return await fetcher.get(Request(url, AGENT))

    return run(work())


def test_a_proxy_is_used_where_the_environment_is_trusted(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert through(proxy, "http://h.example/x", monkeypatch).status == 200
    assert proxy.heads[0][0] == "GET http://h.example/x HTTP/1.1"


@pytest.mark.parametrize(("url", "failure"), [
    ("http://direct.example/", "name"), ("http://127.0.0.2/", "address"), ("http://[::1]/", "address"),
    ("http://10.1/", "address"), ("http://0xa9fea9fe/", "address"), ("http://169.254.169.0xfe/", "address"),
    ("https://0x0a.0.0.0x1/", "address"), ("https://10.0.0.0x1/", "address"),
])  # fmt: skip
def test_a_proxy_is_no_way_around(url: str, failure: str, proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert through(proxy, url, monkeypatch).failure == failure
    assert proxy.peers == []


def test_no_proxy_is_used_where_the_environment_is_not_trusted(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert through(proxy, "http://h.example/", monkeypatch, trust_env=False).failure == "name"
    assert proxy.peers == []


def test_a_proxy_that_cannot_connect_is_told(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.replies = [answers(status="502 Bad Gateway")]
    answer = through(proxy, "https://h.example/", monkeypatch)
    assert (answer.failure, answer.detail) == ("refused", "the proxy answered 502")


def test_a_proxy_that_says_nothing_is_told(proxy: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.replies = [says(b"", closes=True)]
    answer = through(proxy, "https://h.example/", monkeypatch)
    assert (answer.failure, answer.detail) == ("reset", "the proxy closed the connection without an answer")


# --- anything ---------------------------------------------------------------------------------------------------------

HOSTS = st.sampled_from(["h.example", "127.0.0.1", "[::1]", "0x7f.1", "ü.example", "a..b", "x:80", "u:p@h.example", ""])
URLS = st.one_of(
    st.text(), st.builds("{}://{}{}".format, st.sampled_from(["http", "HTTPS", "ftp"]), HOSTS, st.text()),
    st.builds("http://{}/".format, st.text(st.characters(exclude_categories=()), min_size=1)),
)


@given(asked=st.lists(st.tuples(URLS, st.text(), st.text(), st.text()), max_size=20))
@settings(max_examples=40, deadline=None)
def test_no_text_makes_it_raise(asked: list[tuple[str, str, str, str]]) -> None:
    async def work() -> Answer:
        async with Fetcher(Limits(), lookup=raising(socket.gaierror(socket.EAI_NONAME, ""))) as fetcher:
            answer = Answer("")
            for url, etag, modified, value in asked:
                answer = await fetcher.get(Request(url, AGENT, etag, modified, (("X", value),)))
                assert (answer.status, answer.read) == (0, 0) and answer.failure and answer.url == url
            return answer

    run(work())


PIECES = [
    b"HTTP/1.1 ", b"200 OK", b"301 X", b"304 X", b"100 X", b"\r\n", b"\r\n\r\n", b"\n", b"Content-Length: ", b"5",
    b"-1", b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"Content-Encoding: br", b"Location: ", b"//[",
    b"hello", b"0\r\n\r\n", b"\xff\xfe", b"\0", b"Connection: close", b"Upgrade: h2c", b"Content-Type: text/html",
    b"\x1f\x8b\x08\0",
]  # fmt: skip


@given(pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=25))
@settings(max_examples=150, deadline=None)
def test_no_answer_makes_it_raise(pieces: list[bytes]) -> None:
    answer, _ = got(says(b"".join(pieces), closes=True), says(b"", closes=True))
    assert bool(answer.failure) == (answer.status == 0)
    assert answer.status == 0 or answer.status >= 200
    str(answer.headers).encode()
