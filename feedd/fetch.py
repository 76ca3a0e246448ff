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
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, Self
from urllib.parse import quote, urljoin

import aiohttp
import yarl
from msgspec import Struct

from feedd import connect, guard, unpack, wire
from feedd.freshness import urls
from feedd.freshness.states import Answer, Failure, Request
from feedd.wire import TroubleError

# Text first, for a server that has several forms of a page; anything else will do.
ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
HOT_S = 0.5  # in this time after an answer, a connection may be closed without our having seen it
RECEIVE_BYTES = 65_536  # the socket's buffer: a server that floods gets rid of no more than this before it must wait

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
# Media types whose bodies say something of a page; what is of no known type is looked at too.
_OF_INTEREST = re.compile(
    r"\s*(?:$|;|text/(?!event-stream)|application/(?:[^\s;]*[+.-])?(?:xml|json|javascript)\b)", re.IGNORECASE
).match
_ASCII = "".join(map(chr, range(0x80)))
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n\0]*")  # RFC 9110, section 5: what may be sent
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
        self._idle = {
            "http": wire.Idle(limits.idle, limits.keep_s), "https": wire.Idle(limits.idle_tls, limits.keep_s),
        }  # fmt: skip

    async def __aenter__(self) -> Self:
        self._connector = aiohttp.TCPConnector(
            limit=0, ssl=self._tls or True, socket_factory=_socket_factory(self._allowed),
            # Without AI_ADDRCONFIG: with it, a host that has IPv6 only does not exist for a machine that has none.
            resolver=connect.Resolver(self._lookup, flags=0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for idle in self._idle.values():
            idle.close()
        await self._connector.close()

    async def get(self, request: Request, *, body_bytes: int = 0, keep: bool = True) -> Answer:
        """One GET (see `_ask`), and what came of it. Raises nothing but CancelledError, and RuntimeError after the end.

        `body_bytes`: more or less of the body than the limits say. `keep`: whether another request to the host is to
        follow soon, so that the connection is worth keeping; it is closed if the body was not read to its end.
        """
        if self._connector.closed:
            raise RuntimeError("the fetcher has ended")
        async with self._slots:
            exchange = self._exchange(body_bytes or self._limits.body_bytes)
            try:
                return await self._ask(request, self._place(request.url), exchange, keep)
            except Exception as error:  # nothing that a server provokes may end a run
                failure, detail = _failure_of(error, self._limits)
                return Answer(request.url, failure=failure, detail=detail, read=exchange.read)
            finally:
                exchange.forget()

    def _exchange(self, body_bytes: int) -> wire.Exchange:
        limits = self._limits
        return wire.Exchange(
            _choose, head_bytes=limits.head_bytes, wire_bytes=max(limits.wire_bytes, body_bytes), body_bytes=body_bytes
        )

    def _place(self, text: str) -> _Place:
        """What is asked for: without user and password, which go to nobody. Raises TroubleError."""
        scheme, _, rest = urls.normalise(text).partition("://")
        authority, slash, path = rest.partition("/")
        name, colon, port = authority.rpartition(":")
        host = name if colon and port.isdigit() else authority
        if not host:
            raise TroubleError("protocol", "it is no http or https URL")
        if host != authority and int(port) not in self._ports:
            raise TroubleError("port", f"feedd does not connect to port {port}")
        last = host.rpartition(".")[2]
        is_number = last.isdigit() or last.startswith("0x")  # no name ends so: as a whole it stands for an address
        if is_number:
            try:
                address = socket.inet_ntoa(socket.inet_aton(host))
            except OSError:
                raise TroubleError("address", "its host is a number that is no address") from None
            authority, host = address + authority[len(host) :], address
        if self._proxies and (is_number or host.startswith("[")):
            guard.check_address(host.strip("[]"), self._allowed)
        return _Place(scheme, host, authority, slash + path)

    async def _ask(self, request: Request, place: _Place, exchange: wire.Exchange, keep: bool) -> Answer:
        """A kept connection that was used a moment ago may be closed by now, unseen. Only then it is asked again: who
        asked this quickly owes the host no gap. Whether a host that closed without an answer is asked again, and when,
        is else for politeness to say.
        """
        now, idle = asyncio.get_running_loop().time(), self._idle[place.scheme]
        deadline = now + self._limits.total_s
        opened = idle.take(place.authority)
        is_hot = opened is not None and now - opened.idle_since < HOT_S
        keep = keep and idle.has_room
        proxy = self._proxy_of(place) if self._proxies else None
        head = _head_of(request, place, keep=keep, is_proxied=proxy is not None)
        if opened is None:
            opened = await self._connect(place, proxy, deadline)
        try:
            await opened.ask(head, exchange, deadline)
        except wire.ClosedError:
            if exchange.read or not is_hot:
                raise
            opened = await self._connect(place, proxy, deadline)
            await opened.ask(head, exchange, deadline)
        if keep and exchange.is_clean:
            idle.put(place.authority, opened)
        else:
            opened.close()
        return _answer_of(request, place, exchange)

    async def _connect(self, place: _Place, proxy: yarl.URL | None, deadline: float) -> wire.Wire:
        """A new connection. Raises what aiohttp raises, and TroubleError; TimeoutError when the deadline is past."""
        loop, connect_s = asyncio.get_running_loop(), self._limits.connect_s
        until = min(loop.time() + connect_s, deadline)
        request = aiohttp.ClientRequest("GET", yarl.URL(place.url, encoded=True), loop=loop, proxy=proxy)
        try:
            async with asyncio.timeout_at(until):
                connection = await self._connector.connect(request, [], aiohttp.ClientTimeout(total=None))
        except TimeoutError:
            if until == deadline:
                raise
            raise TroubleError("timeout", f"no connection within {connect_s:g} s") from None
        return wire.open_wire(connection, request)

    def _proxy_of(self, place: _Place) -> yarl.URL | None:
        proxy = self._proxies.get(place.scheme)
        return None if proxy is None or urllib.request.proxy_bypass(place.host.strip("[]")) else yarl.URL(proxy)


class _Place(NamedTuple):
    """A URL in its parts. `authority` is the host with the port, where it is not the scheme's own."""

    scheme: str
    host: str
    authority: str
    path: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def _socket_factory(allowed: Sequence[guard.Network]) -> Callable[[connect.AddressInfo], socket.socket]:
    checked = connect.socket_factory(allowed)

    def open_socket(info: connect.AddressInfo) -> socket.socket:
        opened = checked(info)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        return opened

    return open_socket


def _head_of(request: Request, place: _Place, *, keep: bool, is_proxied: bool) -> bytes:
    """A request as it is sent, but for what a proxy needs and the empty line. Raises ValueError for what cannot be."""
    fixed, names = _fixed_fields(request.user_agent, request.headers)
    target = place.url if is_proxied and place.scheme == "http" else place.path
    lines = [f"GET {target} HTTP/1.1"]
    if "host" not in names:
        port = place.authority[len(place.host) :]
        lines.append(f"Host: {place.host.rstrip('.')}{port}")
    # What a server once said and no header can hold is not sent back: the request would fail for ever.
    if request.etag and _is_sendable(request.etag) and "if-none-match" not in names:
        lines.append(f"If-None-Match: {request.etag}")
    if request.last_modified and _is_sendable(request.last_modified) and "if-modified-since" not in names:
        lines.append(f"If-Modified-Since: {request.last_modified}")
    if not keep and "connection" not in names:
        lines.append("Connection: close")
    lines.append(fixed)
    return "\r\n".join(lines).encode()


@lru_cache(maxsize=256)
def _fixed_fields(user_agent: str, headers: tuple[tuple[str, str], ...]) -> tuple[str, frozenset[str]]:
    """The lines that all requests of a rule have, and the names that the rule speaks of, in lower case."""
    fields = {"user-agent": ("User-Agent", user_agent), "accept": ("Accept", ACCEPT)}
    fields["accept-encoding"] = ("Accept-Encoding", unpack.CODINGS)
    ruled = {name.lower(): (name, value) for name, value in headers}
    lines = [f"{name}: {value}" for name, value in (fields | ruled).values()]
    if not all(map(_FIELD.fullmatch, lines)):
        raise ValueError("a header of its rule cannot be sent")
    return "".join(f"{line}\r\n" for line in lines), frozenset(ruled)


def _is_sendable(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _choose(status: int, headers: Mapping[str, str]) -> unpack.Unpack | None:
    """How the body is unpacked, where it is of interest."""
    if status < 200 or status in _REDIRECTS or not _OF_INTEREST(headers.get("content-type", "")):
        return None
    return unpack.unpacker(headers.get("content-encoding", ""))


def _answer_of(request: Request, place: _Place, exchange: wire.Exchange) -> Answer:
    status = exchange.status
    if status < 200:
        raise TroubleError("protocol", f"its answer has the status {status}")
    location = _location(place.url, exchange.location) if status in _REDIRECTS else ""
    return Answer(
        request.url, status, location=location, headers=exchange.headers, body=exchange.body, read=exchange.read
    )


def _location(url: str, target: bytes) -> str:
    """Where a redirect leads (RFC 9110, section 10.2.2), normalised; "" if it is to no http or https URL."""
    if not target:
        return ""
    try:
        text = target.decode()
    except UnicodeDecodeError:  # the octets as they are
        text = quote(target, safe=_ASCII)
    try:
        return urls.normalise(urljoin(url, text))
    except ValueError:  # an impossible address
        return ""


def _failure_of(error: Exception, limits: Limits) -> tuple[Failure, str]:
    """What went wrong, and a phrase for people that says so of the host ("it ...")."""
    match error:
        case TroubleError():
            return error.failure, str(error)
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
        case aiohttp.ClientHttpProxyError():
            return "refused", f"the proxy answered {error.status}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return "reset", "the proxy closed the connection without an answer"
        case _:
            return "protocol", f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


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
