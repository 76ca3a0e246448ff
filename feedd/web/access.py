"""A request for the status, or for a private feed -> may it be answered. Pure; called by `status`, `scrape` and
`private` before anything else is done.

Whoever has the token may look. Without one, only a client on this machine may, of a server that listens to nobody else,
and that asks by a name that no stranger's DNS can point here; and who asks for a private feed from a network that may.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Sequence
from enum import Enum

from msgspec import Struct

from feedd.web import http

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
# Whatever puts one of these into a request is a proxy: who is behind it may be anybody.
_PROXIED = frozenset(
    {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via"}
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?")


class Verdict(Enum):
    """What becomes of a request: answered, asked for the token (401), or told that there is nothing (404)."""

    OPEN = "open"
    ASK = "ask"
    HIDDEN = "hidden"


class Access(Struct, frozen=True):
    """`token`: empty where there is none. `loopback_only`: the server listens on loopback, and that may suffice."""

    token: str
    loopback_only: bool

    def __repr__(self) -> str:
        """Without the token: values end up in logs."""
        return f"Access(token={'set' if self.token else 'none'}, loopback_only={self.loopback_only})"


def judge(
    access: Access, client: str, http_version: str, headers: Sequence[tuple[bytes, bytes]], query_token: str | None
) -> Verdict:
    """`client`: the address at the other end. `headers`: names in lower case. `query_token`: where one may be given."""
    if access.token and (given := credentials(headers, query_token)):
        return _compare(given, access.token)
    if access.loopback_only and _is_local(client, http_version, headers):
        return Verdict.OPEN
    return Verdict.ASK if access.token else Verdict.HIDDEN


def judge_private(access: Access, request: http.Request, given: Sequence[bytes]) -> Verdict:
    """As `judge`, of a private feed: this machine is let in only while there is no token. `given`: `credentials`."""
    if access.token:
        return _compare(given, access.token) if given else Verdict.ASK
    headers = tuple(request.headers.items())
    is_local = access.loopback_only and _is_local(request.address, request.version, headers)
    return Verdict.OPEN if is_local else Verdict.HIDDEN


def is_from(networks: Sequence[Network], proxies: frozenset[str], request: http.Request, own_host: str) -> bool:
    """Whether it comes from one of these networks. `proxies`: those that are believed when they say who asks.

    An address that may be that of another proxy says nothing: who is behind it may be anybody. And it must be asked by
    `own_host`, or by an address, as in `local_host`.
    """
    is_proxied = request.version == "1.0" or not _PROXIED.isdisjoint(request.headers)
    if not networks or request.address in proxies or (is_proxied and not proxies) or not _is_us(request, own_host):
        return False
    try:
        found = ipaddress.ip_address(request.address)
    except ValueError:
        return False
    address = (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found
    return any(address in network for network in networks)


def credentials(headers: Iterable[tuple[bytes, bytes]], query_token: str | None) -> list[bytes]:
    """The tokens that a request bears: all of them must be right."""
    given = [_credential(value) for name, value in headers if name == b"authorization"]
    return given if query_token is None else [*given, query_token.encode("utf-8", "replace")]


def local_host(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The Host header, with its port, if it is a name of this machine's loopback that no DNS decides; else empty.

    A page of a stranger whose name was made to point at 127.0.0.1 (DNS rebinding) still asks by that name.
    """
    hosts = [value for name, value in headers if name == b"host"]
    match = _HOST.fullmatch(hosts[0].decode("latin-1")) if len(hosts) == 1 else None
    if not match:
        return ""
    name = match[1].lower().rstrip(".").strip("[]")
    return match[0] if name == "localhost" or is_loopback(name) else ""


def _is_us(request: http.Request, own_host: str) -> bool:
    """Whether it is asked by a name that no stranger's DNS decides."""
    match = _HOST.fullmatch(request.headers.get(b"host", b"").decode("latin-1"))
    name = match[1].lower().rstrip(".").strip("[]") if match else ""
    if name in ("localhost", own_host.lower()):
        return bool(name)
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def is_loopback(address: str) -> bool:
    """127.0.0.0/8, ::1, and the former written as IPv6 (RFC 4291 section 2.5.5.2)."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def _is_local(client: str, http_version: str, headers: Sequence[tuple[bytes, bytes]]) -> bool:
    # HTTP/1.0 is what nginx speaks to what is behind it unless told otherwise, and then it adds none of the headers.
    if http_version == "1.0" or not is_loopback(client):
        return False
    return not any(name in _PROXIED for name, _ in headers) and local_host(headers) != ""


def _compare(given: Sequence[bytes], token: str) -> Verdict:
    secret = token.encode()
    return Verdict.OPEN if all(_is_same(one, secret) for one in given) else Verdict.ASK


def _is_same(given: bytes, secret: bytes) -> bool:
    """Takes as long whatever was given: digests are compared, so that not even the secret's length shows."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(secret).digest())


def _credential(value: bytes) -> bytes:
    """The token of `Bearer` (RFC 6750) or the password of `Basic` (RFC 7617); empty for anything else."""
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""
