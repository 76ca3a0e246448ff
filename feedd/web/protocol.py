"""Bytes of a connection -> requests, and answers -> bytes: uvicorn's httptools protocol with deadlines, limits, and a
fast lane that answers feeds without scope and task.

What is no feed goes through ASGI, and so do requests behind such ones, for answers come in the order of requests.
One object per connection, made by `server`, which calls `check` at its ticks: no request sets a timer.
"""

from __future__ import annotations

import asyncio
import logging
from functools import lru_cache
from typing import cast

import httptools
import structlog
from msgspec import Struct
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from feedd.web import http
from feedd.web.front import Front

log = structlog.get_logger(__name__)

_SLICE = 8192  # bytes that are parsed before it is asked whether the answers can still be written
_LINGER_S = 2.0  # so long a client may read an error: a close with unread bytes would lose it on its way
_LINGER_BYTES = 1 << 20
_CHUNKED_COST = 8  # times its bytes is what a body may take on its way, in chunks of a byte each
_CROWDED = 0.9  # of all connections: from there on idle ones are let go soon
_CROWDED_IDLE_S = 1.0
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 17\r\n"
    b"retry-after: 10\r\nconnection: close\r\n\r\nToo many readers\n"
)
_IDLE, _HEAD, _BODY, _LINGER = range(4)
_METHODS = {b"GET": "GET", b"HEAD": "HEAD"}


class Limits(Struct, frozen=True):
    """What one connection may take, and how many there may be. Seconds and bytes."""

    head_s: float = 5.0
    body_s: float = 20.0
    idle_s: float = 20.0  # between requests
    read_s: float = 30.0  # without taking a byte of its answer
    head_bytes: int = 16 << 10
    url_bytes: int = 4 << 10
    headers: int = 100
    body_bytes: int = 64 << 10
    connections: int = 20_000


class Clock:
    """The loop's time and the Date header as of the last tick: near enough for deadlines, and free."""

    def __init__(self, now: float, epoch: float) -> None:
        self.tick(now, epoch)

    def tick(self, now: float, epoch: float) -> None:
        """It is `now` by the loop, `epoch` by the calendar."""
        self.now, self.date = now, http.http_date(int(epoch))


class Connection(HttpToolsProtocol):
    """One client."""

    def __init__(
        self, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop, front: Front, limits: Limits,
        clock: Clock, logger: logging.Logger,
    ) -> None:
        super().__init__(config, state, {}, loop)
        self.logger = logger
        self._front, self._limits, self._clock = front, limits, clock
        self._phase, self._since = _HEAD, clock.now
        self._raw_bytes = 0  # received of the message that is read, but for its first and last chunk
        self._is_mixed = False  # the chunk that is parsed is not all of one head
        self._body_bytes = 0
        self._request: http.Request | None = None  # in the fast lane
        self._keep = True
        self._is_last = False  # no request after the one in hand is taken
        self._is_deaf = False  # nothing that comes is parsed
        self._refusal = 0  # the status of an error that waits for its turn
        self._has_ended = False  # the client has said all
        self._backlog = b""  # not parsed yet: the answers before it are not written yet
        self._unread, self._stuck_since = 0, 0.0

    # What the transport calls, and the server's ticks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) < self._limits.connections:
            super().connection_made(transport)
        else:
            self.transport, self._is_deaf = transport, True
            transport.write(_BUSY)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_deaf, self._backlog = True, b""
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Who has said all may still want to hear: what is asked is answered first."""
        self._has_ended = True
        return self._phase == _IDLE and (self._is_answering() or bool(self._backlog))

    def data_received(self, data: bytes) -> None:
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if self._is_deaf:
            self._body_bytes += len(data)
            if self._body_bytes > _LINGER_BYTES:
                self.transport.close()
        elif self._backlog:
            self._backlog += data
        else:
            if self._phase == _IDLE:
                self._phase, self._since = _HEAD, self._clock.now
            if len(data) <= _SLICE:
                self._feed(data)
            else:
                self._feed_slices(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self.transport.is_closing():
            self.flow.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._go_on()

    def check(self) -> None:
        """Closes what has taken too long."""
        now, limits = self._clock.now, self._limits
        unread = self.transport.get_write_buffer_size()
        if not 0 < self._unread <= unread:
            self._stuck_since = now
        self._unread = unread
        if unread:
            if now - self._stuck_since > limits.read_s:
                self.transport.abort()
            return
        if self._phase == _HEAD:
            allowed = limits.head_s
        elif self._phase == _BODY:
            allowed = limits.body_s
        elif self._phase == _LINGER:
            allowed = _LINGER_S
        elif self._is_answering():
            return
        else:
            is_crowded = len(self.connections) > _CROWDED * limits.connections
            allowed = min(_CROWDED_IDLE_S, limits.idle_s) if is_crowded else limits.idle_s
        if now - self._since > allowed:
            self.transport.close()

    def excuse(self, seconds: float) -> None:
        """The loop stood still for so long, as the process or the machine did: no client is late for that."""
        self._since += seconds
        self._stuck_since += seconds

    # Parsing

    def _feed_slices(self, data: bytes) -> None:
        """Parses as long as the answers can be written; the rest waits, and so does the client."""
        for at in range(0, len(data), _SLICE):
            if self._is_deaf:
                return
            if self._must_wait():
                self._backlog = data[at:]
                self.flow.pause_reading()
                return
            self._feed(data[at : at + _SLICE])

    def _must_wait(self) -> bool:
        return self.flow.write_paused or bool(self.pipeline)

    def _go_on(self) -> None:
        """There may be room again: parses what waited, then reads on."""
        if self.transport.is_closing() or self._must_wait():
            return
        backlog, self._backlog = self._backlog, b""
        if backlog and not self._is_deaf:
            self._feed_slices(backlog)
        if self._backlog or self._must_wait() or self.transport.is_closing():
            return
        if self._has_ended and not self._is_answering():
            self.transport.close()
        else:
            self.flow.resume_reading()

    def _feed(self, data: bytes) -> None:
        self._is_mixed = self._phase != _HEAD
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_deaf = True  # answered as any other request; what follows is of another protocol
        except httptools.HttpParserCallbackError as error:
            log.error("a request could not be answered", exc_info=error.__context__ or error)
            self._refuse(500)
        except httptools.HttpParserError:
            self._refuse(400)
        else:
            # Of a header, or of a chunk of a body, that does not end the parser does not tell, but it keeps it.
            if self._phase == _HEAD and not self._is_mixed:
                self._raw_bytes += len(data)
                if self._raw_bytes > self._limits.head_bytes:
                    self._refuse(431 if self.headers else 414)
            elif self._phase == _BODY:
                self._raw_bytes += len(data)
                if self._raw_bytes > _CHUNKED_COST * self._limits.body_bytes + self._limits.head_bytes:
                    self._refuse(413)

    def on_message_begin(self) -> None:
        if self._is_last:
            self._is_deaf = True
            return
        self.url, self.headers = b"", []
        self._raw_bytes = 0
        if self._phase != _HEAD:
            self._is_mixed, self._phase, self._since = True, _HEAD, self._clock.now

    def on_url(self, url: bytes) -> None:
        if not self._is_deaf:
            self.url += url
            if len(self.url) > self._limits.url_bytes:
                self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == _HEAD:  # RFC 9110 section 6.5.1: a trailer may be ignored
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._is_deaf:
            return
        self._phase, self._since = _BODY, self._clock.now
        headers = dict(self.headers)
        if len(headers) != len(self.headers):
            headers = http.joined(self.headers)
        method, (path, query) = self.parser.get_method(), _split(self.url)
        status = self._objection(method, path, headers)
        if status:
            self._refuse(status)
            return
        client = self.client
        version = "1.1" if self._keep else self.parser.get_http_version()  # no connection of another one is kept
        request = http.Request(
            _METHODS.get(method) or method.decode(), path, query, headers,
            self._front.address_of(client[0] if client else "", headers), version,
        )
        has_body = b"content-length" in headers or b"transfer-encoding" in headers
        if has_body:
            self._raw_bytes = self._body_bytes = 0
            if request.method in ("GET", "HEAD"):
                self._keep = False  # a body that means nothing is how requests are smuggled: no more is believed
        if has_body or b"expect" in headers or self._is_answering() or self.flow.write_paused:
            self._through_asgi(request, was_asked=False)
        else:
            self._request = request

    def on_body(self, body: bytes) -> None:
        if self._is_deaf:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._refuse(413)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_deaf:
            return
        self._phase, self._since = _IDLE, self._clock.now
        request, self._request = self._request, None
        if not self._front.is_held:
            self._front.hold(self.loop.call_soon)
        if request is None:
            super().on_message_complete()
        elif (answer := self._front.answer(request)) is not None:
            self._write(answer, request.method == "HEAD", keep=self._keep)
        else:
            self._through_asgi(request, was_asked=True)
            super().on_message_complete()

    def _objection(self, method: bytes, path: str, headers: dict[bytes, bytes]) -> int:
        """The status of an error, 0 for a request that may be answered. Notes whether the connection is kept."""
        self._keep = self.parser.should_keep_alive()
        if not self._keep or b"connection" in headers or b"host" not in headers:
            version = self.parser.get_http_version()
            if version not in ("1.1", "1.0"):
                return 505
            if version == "1.1" and b"host" not in headers:
                return 400  # RFC 9112 section 3.2
            self._keep = self._keep and version == "1.1" and b"upgrade" not in headers
        if len(headers) != len(self.headers) and sum(name == b"host" for name, _ in self.headers) > 1:
            return 400
        if method == b"CONNECT":
            return 405
        if not path or (self.url == b"*" and method != b"OPTIONS"):
            return 400
        limits = self._limits
        if len(self.headers) > limits.headers:
            return 431
        if self._raw_bytes or limits.head_bytes < _SLICE:  # else all of it was in one slice
            told = sum([len(name) + len(value) + 4 for name, value in self.headers])
            if len(self.url) + told > limits.head_bytes:
                return 431
        if b"content-length" in headers and int(headers[b"content-length"]) > limits.body_bytes:
            return 413
        return 0

    # Answering

    def _write(self, answer: http.Answer, head_only: bool, *, keep: bool) -> None:
        head = answer.head or http.head_of(answer.status, answer.headers)
        end = b"\r\n\r\n" if keep else b"\r\nconnection: close\r\n\r\n"
        self.transport.write(b"".join((head, b"date: ", self._clock.date, end, b"" if head_only else answer.body)))
        if not keep:
            self._linger()

    def _linger(self) -> None:
        """Nothing more is said. What still comes is read and forgotten for a moment, then the connection goes."""
        self._phase, self._since, self._body_bytes = _LINGER, self._clock.now, 0
        self._is_last = self._is_deaf = True
        self._backlog = b""
        if self._has_ended or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()

    def _through_asgi(self, request: http.Request, *, was_asked: bool) -> None:
        """Starts the application for a request, or puts it in line behind those before it.

        `was_asked`: the front has nothing for it.
        """
        headers = self.headers
        super().on_message_begin()
        self.url = (f"{request.path}?{request.query}" if request.query else request.path).encode("latin-1")
        for name, value in headers:
            super().on_header(name, value)
        self.app = cast("type", self._front.app if was_asked else self._front.first)
        if self.client is not None and request.address != self.client[0]:
            self.scope["client"] = (request.address, 0)
        super().on_headers_complete()
        self.headers = []  # the scope has them
        if not self._keep:
            self.cycle.keep_alive = False
            self._is_last = True

    def on_response_complete(self) -> None:
        """The application has answered: the next in line, or an error that waited, or what was not parsed yet."""
        self._since = self._clock.now
        super().on_response_complete()
        if self.transport.is_closing() or self._is_answering():
            self._go_on()
        elif self._refusal:
            self._write(http.problem(self._refusal), False, keep=False)
        else:
            self._go_on()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int) -> None:
        """Answers with an error in its turn, and takes no more requests."""
        if self._is_deaf:
            return
        self._is_last = self._is_deaf = True
        self._request = None
        if self._is_answering():
            if self._phase != _BODY or self.pipeline or self.cycle.response_started:
                self._refusal = status
                self.flow.pause_reading()
                return
            # It is the body of the request in hand that is wrong, and its application has not said a word yet.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._write(http.problem(status), False, keep=False)


def _split(url: bytes) -> tuple[str, str]:
    """Path and query of any form of target (RFC 9112 section 3.2); the path is empty for what is none."""
    return _split_known(url) if len(url) <= http.CACHEABLE else _split_known.__wrapped__(url)


@lru_cache(maxsize=4096)
def _split_known(url: bytes) -> tuple[str, str]:
    target = url.partition(b"#")[0].decode("latin-1")
    if not target.startswith("/"):
        scheme, mark, rest = target.partition("://")
        if mark and scheme.lower() in ("http", "https"):
            authority = rest.replace("?", "/").partition("/")[0]
            rest = rest[len(authority) :]
            target = rest if rest.startswith("/") else "/" + rest
        else:
            target = "/" if url == b"*" else ""
    path, _, query = target.partition("?")
    return path, query
