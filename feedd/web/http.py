"""Values of a request -> what RFC 9110 says of them: conditions, codings, media types, dates; and answers as bytes.

Pure. Knows neither files nor sockets; called by `feeds` for what to answer and by `protocol` for how it is written.
"""

from __future__ import annotations

import calendar
import ipaddress
import re
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from msgspec import Struct

from feedd.web import errorpage

Headers = tuple[tuple[bytes, bytes], ...]
CACHEABLE = 256  # what is longer than this is no header of a usual reader and is not remembered

_QVALUE = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110 section 12.4.2
_ETAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')  # RFC 9110 section 8.8.3
_MONTHS = {name: n for n, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_FIXED = re.compile(rb"\w{3,9}, (\d\d)[ -](\w{3})[ -](\d{4}|\d\d) (\d\d):(\d\d):(\d\d) GMT", re.I)
_ASCTIME = re.compile(rb"\w{3} (\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})", re.I)


class Request(Struct, frozen=True, gc=False):
    """What was asked. `path` is the raw target without its query, still percent-encoded; names of headers are lower
    case and those that came repeatedly are joined by `, ` (RFC 9110 section 5.3). `address`: who asks.
    `version`: that of HTTP.
    """

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    address: str
    version: str = "1.1"


class Answer(Struct, frozen=True, gc=False):
    """What is written: `body` is empty for HEAD, with the headers of a GET.

    `head` is status line and headers as bytes where they are known already, without the line that ends them.
    """

    status: int
    headers: Headers
    body: bytes = b""
    head: bytes = b""


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Header lines by their names; values that came under one name are a list (RFC 9110 section 5.3)."""
    out: dict[bytes, bytes] = {}
    for name, value in headers:
        out[name] = out[name] + b", " + value if name in out else value
    return out


def head_of(status: int, headers: Headers) -> bytes:
    """Status line and header lines, without Date and without the empty line after them."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"".join((
        b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode()), *(b"%s: %s\r\n" % (name, value) for name, value in headers),
    ))


@lru_cache(maxsize=64)
def http_date(at_s: int) -> bytes:
    """Seconds since 1970 -> IMF-fixdate (RFC 9110 section 5.6.7). The same second costs nothing."""
    return formatdate(at_s, usegmt=True).encode()


def parse_date(value: bytes) -> int | None:
    """An HTTP-date in any of its three forms -> seconds since 1970; None for anything else."""
    return _parse_date(value) if len(value) <= CACHEABLE else None


@lru_cache(maxsize=1024)
def _parse_date(value: bytes) -> int | None:
    if found := _FIXED.fullmatch(value.strip()):
        day, month, year, hour, minute, second = found.groups()
    elif found := _ASCTIME.fullmatch(value.strip()):
        month, day, hour, minute, second, year = found.groups()
    else:
        return None
    years = int(year)
    if len(year) == 2:
        # RFC 9110 section 5.6.7 takes a year that would be more than 50 years ahead for one of the century before;
        # a fixed turn needs no clock, and nobody has such dates.
        years += 1900 if years >= 70 else 2000
    months = _MONTHS.get(month.lower())
    if not (months and years >= 1970 and 1 <= int(day) <= calendar.monthrange(years, months)[1]):
        return None
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        return None
    return calendar.timegm((years, months, int(day), int(hour), int(minute), int(second)))


def etags_of(value: bytes) -> tuple[bytes, ...]:
    """The opaque tags of a list, quotes included, weak marks left off."""
    return tuple(tag for _, tag in _ETAG.findall(value))


def precondition(headers: Mapping[bytes, bytes], etag: bytes, modified_s: int) -> int:
    """200, 304 or 412 for a GET or HEAD of a resource with this strong ETag, in the order of RFC 9110 section 13.2.2.

    A date counts only where no list of tags is given beside it.
    """
    value = headers.get(b"if-none-match")
    if value == etag and b"if-match" not in headers and b"if-unmodified-since" not in headers:
        return 304  # nearly every poll
    if (tags := headers.get(b"if-match")) is not None:
        if tags.strip() != b"*" and etag not in [tag for weak, tag in _ETAG.findall(tags) if not weak]:
            return 412
    elif (date := headers.get(b"if-unmodified-since")) is not None:
        since = parse_date(date)
        if since is not None and modified_s > since:
            return 412
    if value is not None:
        return 304 if value.strip() == b"*" or etag in etags_of(value) else 200
    if (date := headers.get(b"if-modified-since")) is not None:
        since = parse_date(date)
        if since is not None and modified_s <= since:
            return 304
    return 200


def encodings(accept: bytes | None) -> tuple[str, ...]:
    """Value of Accept-Encoding -> those of br, gzip and identity that may be sent, best first.

    RFC 9110 section 12.5.3. Ties prefer br, then gzip. Nothing at all is left where identity is refused as well.
    """
    if accept is None:
        return ("identity",)
    return _encodings(accept) if len(accept) <= CACHEABLE else _encodings.__wrapped__(accept)


@lru_cache(maxsize=512)
def _encodings(accept: bytes) -> tuple[str, ...]:
    named = _weights(accept)
    if b"x-gzip" in named:
        named.setdefault(b"gzip", named[b"x-gzip"])
    rest = named.get(b"*")
    weights = {name: named.get(name.encode(), rest or 0.0) for name in ("br", "gzip")}
    # What is not spoken of may always be sent as it is, but last.
    weights["identity"] = named.get(b"identity", 0.0001 if rest is None else rest)
    return tuple(sorted((name for name, weight in weights.items() if weight > 0), key=lambda name: -weights[name]))


def _weights(value: bytes) -> dict[bytes, float]:
    """The members of a list with weights, lower case, without other parameters; the first of equal names counts."""
    out: dict[bytes, float] = {}
    for member in value.lower().split(b","):
        name, *parameters = (part.strip() for part in member.split(b";"))
        weight = 1.0
        for parameter in parameters:
            key, _, given = parameter.partition(b"=")
            if key.strip() == b"q":
                weight = float(given) if _QVALUE.fullmatch(given := given.strip()) else 0.0
        if name:
            out.setdefault(name, weight)
    return out


def quality(accept: bytes, media_type: bytes) -> float:
    """How much a media type is wanted by a value of Accept, 0 to 1; the closest range counts (section 12.5.1)."""
    ranges = _weights(accept)
    for name in (media_type, media_type.partition(b"/")[0] + b"/*", b"*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


def wants_page(headers: Mapping[bytes, bytes], media_type: bytes = b"application/atom+xml") -> bool:
    """Whether who asks for a feed is a browser that goes to a page, and would rather have HTML.

    Readers say no Sec-Fetch-Dest, and scripts that fetch say `empty`: both get the feed, whatever they accept.
    """
    if headers.get(b"sec-fetch-dest") != b"document":
        return False
    accept = headers.get(b"accept", b"")
    return quality(accept, b"text/html") > quality(accept, media_type)


def wants_html(headers: Mapping[bytes, bytes]) -> bool:
    """Whether an error is better told as HTML than as text."""
    accept = headers.get(b"accept", b"*/*")
    return quality(accept, b"text/html") > quality(accept, b"text/plain")


def address_of(peer: str, headers: Mapping[bytes, bytes], trusted: frozenset[str]) -> str:
    """Who asks: the peer, or where it is a proxy of ours, whom it and other proxies of ours say they ask for.

    Read from the right: each proxy adds whom it saw. What stands left of a stranger, or of no address, is anybody's.
    """
    for hop in reversed(headers.get(b"x-forwarded-for", b"").split(b",")):
        if peer not in trusted:
            break
        try:
            peer = str(ipaddress.ip_address(hop.strip().decode("latin-1")))
        except ValueError:
            break
    return peer


DETAILS = {
    400: "The request is not valid HTTP.",
    404: "There is nothing here.",
    405: "This can only be read.",
    406: "None of the encodings that there are is accepted.",
    410: "This was here once and is gone for good.",
    412: "It is not what the request takes it for.",
    413: "The body of the request is too large.",
    414: "The address is too long.",
    429: "Please poll less often, and send the ETag of what you have.",
    431: "The head of the request is too large.",
    500: "The server made a mistake.",
    503: "The server has too much to do.",
    505: "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
}


def problem(
    status: int, *, html: bool = False, path: str = "/", detail: str = "", headers: Headers = (),
    head_only: bool = False,
) -> Answer:
    """An error, or a redirect, told to people: in a line of text, or as a page that leads back from `path`."""
    title = f"{status} {HTTPStatus(status).phrase}"
    said = detail or DETAILS.get(status, "")
    body = errorpage.page(title, said, path) if html else f"{title}. {said}".strip().encode() + b"\n"
    return Answer(status, (
        (b"content-type", b"text/html; charset=utf-8" if html else b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)), (b"x-content-type-options", b"nosniff"),
        *(((b"content-security-policy", errorpage.POLICY),) if html else ()), *headers,
    ), b"" if head_only else body)
