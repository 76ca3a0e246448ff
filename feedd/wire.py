"""HTTP/1.1 over a connection that aiohttp has opened, one exchange at a time: a request's bytes -> its answer.

A session of aiohttp would do, but most of its work is for what link checks have no use for, and takes three fifths of
a GET's time of the processor. So names, addresses, TLS and proxies are aiohttp's business, the grammar of answers is
httptools', and here is what lies between: when an answer is over, what of it is too much, and whether the connection is
good for another request. Called by `fetch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import aiohttp
import httptools
from aiohttp.connector import Connection

from feedd import unpack
from feedd.freshness.states import Failure

MOST_HEADERS = 128
_FIELD_BYTES = 4  # of a header besides its name and its value: a colon, a space, the end of the line

# Says by status and headers how the body is to be unpacked; None for one that is not to be read.
Choose = Callable[[int, Mapping[str, str]], unpack.Unpack | None]


class TroubleError(Exception):
    """Why there is no answer: `failure` for the program, its text for people, of the host ("it ...")."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure: Failure = failure


class ClosedError(TroubleError):
    """The connection ended without an answer."""

    def __init__(self) -> None:
        super().__init__("reset", "it closed the connection without an answer")


class Exchange:
    """One answer as it comes: `status`, `headers` with lower-case names and the last value of each, `location` (the
    first), the beginning of the `body` as unpacked. `read` counts bytes on the wire.

    `head_bytes` of the status line and headers are read at most, interim answers included; of the body `wire_bytes` as
    it comes, `body_bytes` as unpacked. `is_over` when no more is wanted or to come; then `is_clean` says that nothing
    of it is still to come and the server keeps the connection.
    """

    __slots__ = (
        "_choose", "_fields", "_head_left", "_is_complete", "_is_interim", "_limit", "_packed", "_parser", "_parts",
        "_room", "_unpack", "_wire_left", "has_head", "headers", "is_clean", "is_over", "location", "read", "status",
    )  # fmt: skip

    def __init__(self, choose: Choose, *, head_bytes: int, wire_bytes: int, body_bytes: int) -> None:
        self._choose, self._head_left, self._room, self._wire_left = choose, head_bytes, body_bytes, wire_bytes
        self._limit = head_bytes
        self._unpack: unpack.Unpack | None = None
        self._packed: list[bytes] = []
        self._parts: list[bytes] = []
        self._is_interim = self._is_complete = False
        self._fields = 0
        self.status, self.location, self.read = 0, b"", 0
        self.headers: dict[str, str] = {}
        self.has_head = self.is_over = self.is_clean = False
        self._parser = parser = httptools.HttpResponseParser(self)
        # As browsers are, with what many servers get wrong.
        parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    @property
    def body(self) -> bytes:
        """What was wanted of the body."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def receive(self, data: bytes) -> None:
        """What has come, a buffer at most. Raises TroubleError for what is no answer, or too much of one."""
        if self.read > self._limit:
            raise TroubleError("size", "there is more of its answer than it may have, besides the body")
        self.read += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_over = True
        except httptools.HttpParserError as error:
            if not self._is_complete:
                raise _trouble_of(error) from None
            self.is_clean = False  # more than was asked for
        if self.has_head:
            self._unpack_what_came()

    def end(self) -> None:
        """The connection is closed: the end of a body whose length nothing tells (RFC 9112, section 6.3), else raises
        TroubleError.
        """
        if not self.has_head:
            raise ClosedError
        coding = self.headers.get("transfer-encoding")
        if "content-length" in self.headers if coding is None else "chunked" in coding.lower():
            raise TroubleError("reset", "its answer ends too soon")
        self.is_over = True

    def forget(self) -> None:
        """Nothing will come any more: parser and exchange let go of each other."""
        del self._parser

    def _unpack_what_came(self) -> None:
        if self._unpack is None:
            self.is_over = True
            return
        for packed in self._packed:
            if self._room <= 0 or self._wire_left <= 0:
                break
            try:
                part = self._unpack(packed, self._room)
            except unpack.Error as error:
                raise TroubleError("protocol", f"its body cannot be unpacked: {error}"[:200]) from None
            self._parts.append(part)
            self._room -= len(part)
            self._wire_left -= len(packed)
        self._packed.clear()
        self.is_over = self._is_complete or self._room <= 0 or self._wire_left <= 0

    def _count(self, length: int) -> None:
        self._head_left -= length
        if self._head_left < 0 or self._fields > MOST_HEADERS:
            raise TroubleError("size", "its head is too large")

    # -- what the parser calls ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins; a second one was not asked for."""
        if self._is_complete:
            raise httptools.HttpParserError

    def on_status(self, reason: bytes) -> None:
        """A part of the reason phrase."""
        self._count(len(reason))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer, which is passed over."""
        if self.has_head:
            return
        self._fields += 1
        self._count(len(name) + len(value) + _FIELD_BYTES)
        if b"\0" in value:
            raise TroubleError("protocol", "a header of its has a NUL in it")
        key, value = name.decode("latin-1").lower(), value.strip(b" \t")
        if key == "location" and not self.location:
            self.location = value
        self.headers[key] = text_of(value)

    def on_headers_complete(self) -> None:
        """The head is there; that of an interim answer (RFC 9110, section 15.2) is passed over."""
        status = self._parser.get_status_code()
        self._is_interim = 100 <= status < 200 and status != 101
        if self._is_interim:
            self.headers.clear()
            self.location = b""
            return
        self.has_head, self.status = True, status
        self._unpack = self._choose(status, self.headers)
        if self._unpack:
            self._limit = 2 * self._wire_left  # the sizes of chunks and their extensions included

    def on_body(self, packed: bytes) -> None:
        """A part of the body."""
        self._packed.append(packed)

    def on_message_complete(self) -> None:
        """An answer is complete."""
        if not self._is_interim:
            self._is_complete = True
            self.is_clean = self.status >= 200 and self._parser.should_keep_alive()


class Wire(asyncio.Protocol):
    """A connection. `proxy_headers` are the lines that its proxy needs with each request.

    Whatever comes where nothing was asked for ends it, for it would be taken for the answer to the next request.
    """

    def __init__(
        self, connection: Connection, transport: asyncio.Transport, handler: asyncio.Protocol, proxy_headers: bytes
    ) -> None:
        self._connection, self._transport, self._handler = connection, transport, handler
        self._exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self._proxy_headers = proxy_headers
        self.idle_since = 0.0  # by the loop's clock
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether it is good for a request, as far as is known."""
        return not self._transport.is_closing()

    async def ask(self, request: bytes, exchange: Exchange, deadline: float) -> None:
        """Sends a request, all of it but the empty line, and returns when its answer is over. `deadline` by the loop's
        clock.

        Raises TroubleError, or TimeoutError when it is past. After any error it is closed.
        """
        loop = asyncio.get_running_loop()
        self._exchange, self._done = exchange, loop.create_future()
        timer = loop.call_at(deadline, self._stop, TimeoutError())
        try:
            self._transport.write(b"%b%b\r\n" % (request, self._proxy_headers))
            await self._done
        except BaseException:
            exchange.is_clean = False
            raise
        finally:
            timer.cancel()
            self._exchange = self._done = None
            if not exchange.is_clean:
                self.close()

    def close(self) -> None:
        """Ends it at once. With TLS, to part in order would give the server half a minute in which it may go on
        sending, all of which would be decrypted and thrown away.
        """
        self._transport.abort()
        self._connection.close()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        exchange = self._exchange
        if exchange is None:
            self._transport.abort()
            return
        try:
            exchange.receive(data)
        except TroubleError as error:
            self._transport.abort()
            self._stop(error)
            return
        if exchange.is_over:
            self._stop(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._handler.connection_lost(exc)  # aiohttp waits for it when it ends
        exchange = self._exchange
        if exchange is None:
            return
        exchange.is_clean = False
        try:
            exchange.end()
        except TroubleError as error:
            self._stop(error)
        else:
            self._stop(None)

    def _stop(self, error: Exception | None) -> None:
        """The exchange is over: what comes from now on belongs to none."""
        self._exchange = None
        if self._done is None or self._done.done():  # broken off
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


class Idle:
    """Connections that wait for the next request to the same place, one for each: `most`, for `keep_s` seconds.

    One that its server closed meanwhile counts until it is wanted or its time is over.
    """

    def __init__(self, most: int, keep_s: float) -> None:
        self._most, self._keep_s = most, keep_s
        self._wires: dict[str, Wire] = {}  # by host and port, the longest idle first
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_room(self) -> bool:
        """Whether one more may wait."""
        return len(self._wires) < self._most

    def take(self, origin: str) -> Wire | None:
        """The one to this place, if it is open still."""
        self._sweep()
        wire = self._wires.pop(origin, None)
        if wire is None or wire.is_open:
            return wire
        wire.close()
        return None

    def put(self, origin: str, wire: Wire) -> None:
        """This one waits from now on, if it can."""
        if origin in self._wires or not self.has_room or not wire.is_open:
            wire.close()
            return
        loop = asyncio.get_running_loop()
        wire.idle_since = loop.time()
        self._wires[origin] = wire
        if self._timer is None:
            self._timer = loop.call_later(self._keep_s, self._ring)

    def close(self) -> None:
        """Closes all."""
        if self._timer:
            self._timer.cancel()
        while self._wires:
            self._wires.popitem()[1].close()

    def _sweep(self) -> None:
        """Closes those that have waited for too long."""
        past = asyncio.get_running_loop().time() - self._keep_s
        while self._wires:
            origin, wire = next(iter(self._wires.items()))
            if wire.idle_since > past:
                return
            del self._wires[origin]
            wire.close()

    def _ring(self) -> None:
        self._timer = None
        self._sweep()
        if self._wires:
            oldest = next(iter(self._wires.values()))
            self._timer = asyncio.get_running_loop().call_at(oldest.idle_since + self._keep_s, self._ring)


def text_of(value: bytes) -> str:
    """The value of a header as text that can be stored: UTF-8, or else each octet as a character."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _trouble_of(error: httptools.HttpParserError) -> TroubleError:
    """What the parser found, or we did while it called us."""
    if isinstance(error.__context__, TroubleError):
        return error.__context__
    said = " ".join(str(error).split())
    return TroubleError("protocol", f"it is no HTTP: {said}"[:200])


def open_wire(connection: Connection, request: aiohttp.ClientRequest) -> Wire:
    """Takes over a connection that was opened for a request; a proxy's password is with the request then.

    Raises TroubleError for one that is closed again already, or that spoke before it was asked.
    """
    transport, handler = connection.transport, connection.protocol
    if handler is None or transport is None or transport.is_closing():
        connection.close()
        raise ClosedError
    if handler.should_close:
        connection.close()
        raise TroubleError("protocol", "it spoke before it was asked")
    secret = request.headers.get("Proxy-Authorization")
    return Wire(connection, transport, handler, f"Proxy-Authorization: {secret}\r\n".encode() if secret else b"")
