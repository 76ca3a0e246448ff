"""One Request -> one Answer: a single GET that reaches no closed address, ends in time and reads no more than it may.

Follows no redirect, keeps no cookie, and never raises for what a URL, a name server or a server
does. Knows nothing of politeness, nor of what an answer means. Called by `linkcheck`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Self
from urllib.parse import quote, urljoin

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from msgspec import Struct
from multidict import CIMultiDict

from feedd import connect, guard, unpack
from feedd.freshness import urls
from feedd.freshness.states import Answer, Failure, Request

# Text first, for a server that has several forms of a page; anything else will do.
ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HOT_S = 0.5  # in this time after an answer, a connection may be closed without our having seen it
RECEIVE_BYTES = 65_536  # the socket's buffer: a server that floods gets rid of no more than this before it must wait

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Media types whose bodies say something of a page; what is of no known type is looked at too.
_OF_INTEREST = re.compile(
    r"\s*(?:$|;|text/(?!event-stream)|application/(?:[^\s;]*[+.-])?(?:xml|json|javascript)\b)", re.IGNORECASE
).match
_ASCII = "".join(map(chr, range(0x80)))
_NO_SUCH_NAME = frozenset((socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)))


class Limits(Struct, frozen=True):
    """What one GET may cost. `connect_s`: name, connection and TLS; `total_s`: all of it. Bytes: `head_bytes` of the
    status line and headers, interim answers included; `wire_bytes` of a body as it comes; `body_bytes` as unpacked.

    `at_once` requests, the others wait. Connections are kept `keep_s` seconds for the next request: `idle` of http,
    which take some 8 kB each, and `idle_tls` of https, which take 90.
    """

    connect_s: float = 10.0
    total_s: float = 20.0
    head_bytes: int = 65_536
    wire_bytes: int = 262_144
    body_bytes: int = 65_536
    at_once: int = 256
    idle: int = 6_144
    idle_tls: int = 1_024
    keep_s: float = 4.5  # many servers close after 5


class Fetcher:
    """Makes GETs between `async with` and its end, in one event loop.

    `allowed` networks are reached though they are not public, `ports` besides 80 for http and 443 for https. `tls`:
    whom to trust, instead of the system's authorities. With `trust_env` the proxies that the environment names are
    used; it is they who connect then, so that only literal addresses and the proxy's own can be checked here.
    """

    def __init__(
        self, limits: Limits, *, allowed: Sequence[guard.Network] = (), ports: Sequence[int] = (),
        lookup: connect.Lookup = socket.getaddrinfo, trust_env: bool = False, tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits, self._allowed, self._ports, self._lookup, self._tls = limits, allowed, ports, lookup, tls
        self._proxies: Mapping[str, str] = urllib.request.getproxies() if trust_env else {}
        self._slots = asyncio.Semaphore(limits.at_once)
        self._kept = {"http": _Kept(limits.idle), "https": _Kept(limits.idle_tls)}

    async def __aenter__(self) -> Self:
        limits, loop = self._limits, asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(
            limit=0, keepalive_timeout=limits.keep_s, ssl=self._tls or True,
            # Without AI_ADDRCONFIG: with it, a host that has IPv6 only does not exist for a machine that has none.
            resolver=connect.Resolver(self._lookup, flags=0), socket_factory=_socket_factory(self._allowed),
        )
        protocol: type[ResponseHandler] = _Wire
        connector._factory = partial(protocol, loop=loop)  # no parameter sets it
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect_s),
            auto_decompress=False, cookie_jar=_NoCookies(), middlewares=(_once,),
            max_line_size=limits.head_bytes, max_field_size=limits.head_bytes,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, request: Request, *, body_bytes: int = 0, keep: bool = True) -> Answer:
        """One GET (see `_ask`), and what came of it. Raises nothing but CancelledError, and RuntimeError after the end.

        `body_bytes`: more or less of the body than the limits say. `keep`: whether another request to the host is to
        follow soon, so that the connection is worth keeping; it is closed if the body was not read to its end.
        """
        if self._session.closed:
            raise RuntimeError("the fetcher has ended")
        async with self._slots:
            meter = _Meter(self._limits.head_bytes)
            try:
                url = self._target(request.url)
                meter.origin, meter.kept = url.raw_authority, self._kept[url.scheme]
                meter.keep = self._may_keep(meter) and keep
                _METER.set(meter)
                async with asyncio.timeout(self._limits.total_s):
                    return await self._ask(request, url, meter, body_bytes or self._limits.body_bytes)
            except Exception as error:  # nothing that a server provokes may end a run
                failure, detail = _failure_of(_TOO_LARGE if meter.over else error, self._limits)
                return Answer(request.url, failure=failure, detail=detail, read=meter.read)
            finally:
                meter.limit = -1  # what comes now was not asked for

    def _target(self, text: str) -> yarl.URL:
        """The URL that is asked for: without user and password, which go to nobody. Raises _TroubleError."""
        url = yarl.URL(urls.normalise(text), encoded=True)
        host, port = url.raw_host, url.port
        if not host:
            raise _TroubleError("protocol", "it is no http or https URL")
        if port != _DEFAULT_PORTS[url.scheme] and port not in self._ports:
            raise _TroubleError("port", f"feedd does not connect to port {port}")
        last = host.rpartition(".")[2]
        if last.isdigit() or last.startswith("0x"):  # no name ends so: as a whole it is a number for an address
            try:
                address = socket.inet_ntoa(socket.inet_aton(host))
            except OSError:
                raise _TroubleError("address", "its host is a number that is no address") from None
            if address != host:
                host, url = address, url.with_host(address)
        if self._proxies and (last.isdigit() or ":" in host):
            guard.check_address(host, self._allowed)
        return url

    async def _ask(self, request: Request, url: yarl.URL, meter: _Meter, body_bytes: int) -> Answer:
        """A kept connection that was used a moment ago may be closed by now, unseen. Only then it is asked again: who
        asked this quickly owes the host no gap. Whether a host that closed without an answer is asked again, and when,
        is else for politeness to say.
        """
        try:
            return await self._exchange(request, url, meter, body_bytes)
        except _ClosedError:
            if meter.read or not meter.is_hot:
                raise
        return await self._exchange(request, url, meter, body_bytes)

    def _proxy_of(self, url: yarl.URL) -> str | None:
        proxy = self._proxies.get(url.scheme)
        return None if proxy is None or urllib.request.proxy_bypass(url.raw_host or "") else proxy

    def _may_keep(self, meter: _Meter) -> bool:
        """Whether there is room for one more connection that waits; aiohttp itself keeps any number."""
        now, kept = asyncio.get_running_loop().time(), meter.kept
        while kept and next(iter(kept.values())) <= now:
            kept.popitem(last=False)
        until = kept.pop(meter.origin, 0.0)  # it is in use now
        meter.is_hot = until - now > 2 * self._limits.keep_s - HOT_S
        return len(kept) < kept.most

    async def _exchange(self, request: Request, url: yarl.URL, meter: _Meter, body_bytes: int) -> Answer:
        response = await self._session.get(
            url, headers=_headers(request, meter.keep), allow_redirects=False, proxy=self._proxy_of(url)
        )
        try:
            status, location, body = response.status, "", b""
            if status < 200:
                raise _TroubleError("protocol", f"its answer has the status {status}")
            headers = {
                name.lower(): value if value.isascii() else _text_of(value) for name, value in response.headers.items()
            }
            unpacker = unpack.unpacker(headers.get("content-encoding", ""))
            if status in _REDIRECTS:
                location = _location(url, response.headers.get("Location", ""))
            elif unpacker and _OF_INTEREST(headers.get("content-type", "")):
                wire_bytes = max(self._limits.wire_bytes, body_bytes)
                meter.limit = 2 * wire_bytes  # what is no body (the size of chunks, their extensions) included
                body = await _body_of(response.content, unpacker, body_bytes, wire_bytes)
        finally:
            if meter.keep and response.content.is_eof():
                # aiohttp looks every `keep_s` seconds for what is older than that.
                meter.kept[meter.origin] = asyncio.get_running_loop().time() + 2 * self._limits.keep_s
            response.close()  # of a body read to its end the connection is not the response's any more
        return Answer(request.url, status, location=location, headers=headers, body=body, read=meter.read)


class _TroubleError(Exception):
    """Why there is no answer."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure: Failure = failure


class _ClosedError(_TroubleError):
    """The connection ended without an answer."""

    def __init__(self) -> None:
        super().__init__("reset", "it closed the connection without an answer")


_TOO_LARGE = _TroubleError("size", "there is more of its answer than it may have, besides the body")


class _Kept(OrderedDict[str, float]):
    """Until when a connection may be kept, at most, by host and port; for `most` of them there is room."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most


_NONE_KEPT = _Kept(0)


class _Meter:
    """What one request may still receive, and whether its connection is worth keeping."""

    __slots__ = ("has_head", "is_hot", "keep", "kept", "limit", "origin", "over", "read")

    def __init__(self, limit: int) -> None:
        self.limit, self.read, self.over, self.has_head = limit, 0, False, False
        self.keep, self.is_hot, self.origin, self.kept = False, False, "", _NONE_KEPT


_METER: ContextVar[_Meter] = ContextVar("meter")  # of the task's request: how a connection comes by its meter


class _Wire(ResponseHandler):
    """A connection that counts: endless heads, interim answers and chunk extensions are no body, and would go on.

    What comes where nothing was asked for ends it, for it would be taken for the answer to the next request.
    """

    _meter = _Meter(0)

    def set_response_params(self, **params: Any) -> None:
        """Called for each request, before it is sent."""
        self._meter = meter = _METER.get()
        if self.should_close and self.transport is not None:
            self.transport.abort()  # it said more than the last answer
        if not meter.keep:
            self.force_close()
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Called with what has come, a buffer at most."""
        meter = self._meter
        if meter.read > meter.limit and self.transport is not None:
            meter.over = True
            self.set_exception(_TOO_LARGE)
            self.transport.abort()
            return
        meter.read += len(data)
        if not meter.has_head and (end := data.find(b"\r\n\r\n") + 4) > 3:
            # By itself: where more follows than Content-Length says, or a body that a 304 has not, aiohttp throws away
            # the whole of what it was given at once, a good answer included.
            meter.has_head = True
            super().data_received(data[:end])
            data = data[end:]
        if data:
            super().data_received(data)
        # aiohttp does not tell who reads the body of an error that comes after the head.
        error, body = self.exception(), self._payload
        if error is not None and body is not None and not body.is_eof():
            body.set_exception(aiohttp.ClientPayloadError(" ".join(str(error).split())))


class _NoCookies(aiohttp.DummyCookieJar):
    """Does not even read them."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: yarl.URL) -> None:
        """Nothing."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A middleware: aiohttp would ask again, at once, where a connection ends without an answer. Who asks again, and
    when, is for politeness to say.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, ConnectionError) as error:
        raise _ClosedError from error


def _socket_factory(allowed: Sequence[guard.Network]) -> Callable[[connect.AddressInfo], socket.socket]:
    checked = connect.socket_factory(allowed)

    def open_socket(info: connect.AddressInfo) -> socket.socket:
        opened = checked(info)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        return opened

    return open_socket


def _headers(request: Request, keep: bool) -> CIMultiDict[str]:
    headers = CIMultiDict({"User-Agent": request.user_agent, "Accept": ACCEPT, "Accept-Encoding": unpack.CODINGS})
    # What a server once said and no header can hold is not sent back: the request would fail for ever.
    if request.etag and request.etag.isascii() and request.etag.isprintable():
        headers["If-None-Match"] = request.etag
    if request.last_modified and request.last_modified.isascii() and request.last_modified.isprintable():
        headers["If-Modified-Since"] = request.last_modified
    if not keep:
        headers["Connection"] = "close"
    if request.headers:
        headers.update(request.headers)
    return headers


def _text_of(value: str) -> str:
    """The value of a header as text that can be stored: aiohttp makes halves of surrogate pairs of what is no UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def _location(url: yarl.URL, target: str) -> str:
    """Where a redirect leads (RFC 9110, section 10.2.2), normalised; "" if it is to no http or https URL."""
    if not target:
        return ""
    if _text_of(target) != target:  # not in UTF-8: the octets as they are
        target = quote(target.encode("utf-8", "surrogateescape"), safe=_ASCII)
    try:
        return urls.normalise(urljoin(str(url), target))
    except ValueError:  # an impossible address
        return ""


async def _body_of(content: aiohttp.StreamReader, unpacker: unpack.Unpack, most: int, wire: int) -> bytes:
    """The first `most` bytes of a body, unpacked, or those in its first `wire` packed ones if that is less."""
    parts, room = [], most
    while room > 0 and wire > 0 and not content.at_eof():
        packed = await content.readany()
        part = unpacker(packed, room)
        parts.append(part)
        wire, room = wire - len(packed), room - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _failure_of(error: Exception, limits: Limits) -> tuple[Failure, str]:
    """What went wrong, and a phrase for people that says so of the host ("it ...")."""
    match error:
        case _TroubleError():
            return error.failure, str(error)
        case aiohttp.ConnectionTimeoutError():
            return "timeout", f"no connection within {limits.connect_s:g} s"
        case TimeoutError():
            return "timeout", f"no whole answer within {limits.total_s:g} s"
        case aiohttp.ClientConnectorDNSError():
            return _failure_of_lookup(error.os_error)
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            return "tls", f"its certificate is not valid: {reason}"[:200]
        case aiohttp.ClientSSLError():
            return "tls", f"no TLS connection: {error.os_error}"[:200]
        case aiohttp.ClientConnectorError():
            return _failure_of_connecting(error.os_error)
        case guard.AddressRefusedError():
            return _failure_of_connecting(error)
        case _:
            return _failure_of_answer(error)


def _failure_of_lookup(error: OSError) -> tuple[Failure, str]:
    if not isinstance(error, socket.gaierror) or error.errno in _NO_SUCH_NAME:
        return "name", "its name does not exist"  # what is no gaierror: a name that the name system cannot hold
    return "lookup", f"its name could not be looked up: {error.strerror}"


def _failure_of_connecting(error: OSError) -> tuple[Failure, str]:
    match error:
        case guard.AddressRefusedError():
            return "address", f"{error}: {error.address} is {error.reason}"
        case TimeoutError():
            return "timeout", "no connection: the system gave up"
        case ConnectionResetError() | BrokenPipeError():
            return "reset", "it closed the connection at once"
        case _:  # refused, no route, or several errors of several addresses
            return "refused", f"it cannot be reached: {error.strerror or error}"[:200]


def _failure_of_answer(error: Exception) -> tuple[Failure, str]:
    match error:
        case aiohttp.ClientHttpProxyError():
            return "refused", f"the proxy answered {error.status}"
        case aiohttp.ClientResponseError():
            said = " ".join(error.message.split())
            too_large = said.startswith(("Got more than", "Too many headers"))
            return ("size", "its head is too large") if too_large else ("protocol", f"it speaks no HTTP: {said}"[:200])
        case aiohttp.ClientPayloadError():
            is_cut = "Not enough data" in str(error)
            return ("reset", "its answer ends too soon") if is_cut else ("protocol", f"it is no HTTP: {error}"[:200])
        case _ if isinstance(error, unpack.Error):
            return "protocol", f"its body cannot be unpacked: {error}"[:200]
        case _:
            return "protocol", f"{type(error).__name__}: {error}"[:200]
