"""A call -> the bytes of an answer: pages of a news site, statuses, redirects, and answers that never end.

Made by `behaviours`, sent by `server`. Pages change at each request where pages of news sites do (advertisements,
tokens, times, what is most read) and nowhere else.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from typing import Literal

from msgspec import Struct


class Call(Struct, frozen=True, gc=False):
    """A request, and the day and the moment it came at. `now` is on the simulated calendar, in seconds since 1970 UTC,
    `clock` in monotonic seconds. `count` differs for each request of the farm. `memory` is the host's own. `names` has
    the addresses of the other hosts by name, and `port`.
    """

    target: str
    headers: Mapping[str, str]
    names: Mapping[str, str]
    day: int
    now: float
    clock: float
    count: int
    memory: dict[str, float]


class Reply(Struct, frozen=True, gc=False):
    """What is done: `data` is sent, then what `chunks` gives, one each `every_s` (0: as fast as it is taken), then
    `then`.

    `delay_s` is None for the farm's own delay. `pause_s` is what Retry-After asks for.
    """

    status: int
    data: bytes
    then: Literal["keep", "close", "reset", "wait"] = "keep"
    chunks: Callable[[], Iterator[bytes]] | None = None
    every_s: float = 0.0
    delay_s: float | None = None
    pause_s: float = 0.0


Answer = Callable[[Call], Reply]

_PHRASES = {
    200: "OK", 202: "Accepted", 204: "No Content", 301: "Moved Permanently", 302: "Found", 303: "See Other",
    304: "Not Modified", 307: "Temporary Redirect", 308: "Permanent Redirect", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 410: "Gone", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip

def _split(words: str) -> list[str]:
    return words.split()


_WORDS = _split(
    "council harbour survey budget ferry school museum river bridge forecast orchard railway library market hospital "
    "energy senate coast archive festival research factory border village energy company union court stadium glacier"
)
_VERBS = _split("approves delays rejects reopens measures funds questions repairs expands audits moves restores")
_random = random.Random(4)


def _sentence() -> str:
    first, second, third = _random.sample(_WORDS, 3)
    number = _random.randrange(3, 980)
    verb = _random.choice(_VERBS)
    return f"The {first} {verb} the {second} after {number} days, and the {third} pays for {number % 7}."


_PARAGRAPHS = tuple(f"<p>{' '.join(_sentence() for _ in range(6))}</p>\n".encode() for _ in range(211))
_TEASERS = tuple(f'<li><a href="/news/t{n}">{_sentence()}</a></li>\n'.encode() for n in range(40))
_NAVIGATION = "".join(f'<li><a href="/{word}">{word.title()}</a></li>\n' for word in _WORDS[:12]).encode()
_TOP = b'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>'
_HEAD = b' | The Example Courier</title>\n<meta name="csrf-token" content="'
_NAMED = b'">\n<meta property="og:title" content="'
_SCRIPT = b"\">\n<script>window.__t='"
_BODY = (
    b"';</script>\n</head><body>\n<header><nav><ul>\n" + _NAVIGATION
    + b'</ul></nav></header>\n<div class="ad" id="ad-'
)  # fmt: skip
_AD = b'"><a href="https://ads.example/'
_STORY = b'">Advertisement</a></div>\n<main>\n<article><h1>'
_BYLINE = b'</h1>\n<p class="byline">By A. Reporter. <time>Page served '
_ASIDE = b"</article>\n<aside><h2>Most read</h2><ol>\n"
_FOOTER = (
    b"</ol></aside>\n</main>\n<footer><p>The Example Courier. All rights reserved. Contact the newsroom, send a tip."
    b"</p><ul>\n" + _NAVIGATION + b"</ul></footer>\n</body></html>\n"
)


def story(seed: str, paragraphs: int = 6) -> bytes:
    """The paragraphs of an article: always the same for a seed, and others for another."""
    first = zlib.crc32(seed.encode())
    step = 1 + first % 197
    return b"".join([_PARAGRAPHS[(first + n * step) % 211] for n in range(paragraphs)])


def page(title: str, body: bytes, count: int) -> bytes:
    """A whole page of the Example Courier."""
    name, noise = title.encode(), b"%08x" % (count * 2654435761 % 2**32)
    teaser = count % 35
    pieces = (_TOP, name, _HEAD, noise, _NAMED, name, _SCRIPT, noise, _BODY, noise, _AD, noise, _STORY, name, _BYLINE)
    teasers = _TEASERS[teaser : teaser + 5]
    return b"".join((*pieces, b"%d seconds ago</time></p>\n" % (count % 59), body, _ASIDE, *teasers, _FOOTER))


def message(status: int, body: bytes = b"", headers: str = "", kind: str = "text/html; charset=utf-8") -> bytes:
    """An HTTP/1.1 answer; `headers` are whole lines."""
    phrase = _PHRASES.get(status, "Status")
    length = "" if status in (204, 304) else f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status} {phrase}\r\nServer: farm\r\n{length}{headers}\r\n".encode() + body


def article(seed: str = "", *, title: str = "", headers: str = "", paragraphs: int = 6, **how: float) -> Answer:
    """200 and an article, whose text is made of `seed` (else of its path)."""

    def answer(call: Call) -> Reply:
        name = title or call.target.rpartition("/")[2].replace("-", " ").title() or "Home"
        body = page(name, story(seed or call.target, paragraphs), call.count)
        return Reply(200, message(200, body, headers), **how)  # type: ignore[arg-type]

    return answer


def status(code: int, text: str = "", headers: str = "") -> Answer:
    """An honest error page."""

    def answer(call: Call) -> Reply:
        body = page(text or f"Error {code}", b"<p>This page cannot be shown.</p>", call.count)
        return Reply(code, message(code, body, headers))

    return answer


def plain(text: str, code: int = 200, kind: str = "text/plain", headers: str = "") -> Answer:
    """A body as given."""
    data = message(code, text.encode(), headers, kind)
    return lambda call: Reply(code, data)


def redirect(to: str, code: int = 302) -> Answer:
    """To another URL: `{port}` is the farm's port, `{name}` the address of the host of that name."""

    def answer(call: Call) -> Reply:
        location = to.format_map(call.names)
        return Reply(code, message(code, b"", f"Location: {location}\r\n"))

    return answer


def retry_after(code: int, seconds: int, *, as_date: bool = False) -> Answer:
    """An error that asks for a pause."""

    def answer(call: Call) -> Reply:
        asked = formatdate(int(call.now) + seconds + 1, usegmt=True) if as_date else str(seconds)
        data = message(code, page("Slow down", b"<p>Too many requests.</p>", call.count), f"Retry-After: {asked}\r\n")
        return Reply(code, data, pause_s=seconds)

    return answer


def raw(data: bytes, then: Literal["keep", "close", "reset", "wait"] = "close", code: int = 200) -> Answer:
    """These bytes."""
    return lambda call: Reply(code, data, then)


def endless(head: bytes, chunk: bytes, every_s: float = 0.0, code: int = 200) -> Answer:
    """This, and then the same again and again."""

    def chunks() -> Iterator[bytes]:
        while True:
            yield chunk

    return lambda call: Reply(code, head, "wait", chunks, every_s)


def by_day(*parts: tuple[int, Answer]) -> Answer:
    """One answer from each of these days on; the first part is of day 0."""

    def answer(call: Call) -> Reply:
        return next(part for day, part in reversed(parts) if call.day >= day)(call)

    return answer


def conditional(answer: Answer, etag: str = "", last_modified: str = "") -> Answer:
    """The same with validators, and 304 to who has it (RFC 9110, section 13)."""
    lines = (f"ETag: {etag}\r\n" if etag else "") + (f"Last-Modified: {last_modified}\r\n" if last_modified else "")

    def conditioned(call: Call) -> Reply:
        match, since = call.headers.get("if-none-match"), call.headers.get("if-modified-since")
        if (etag and match == etag) or (last_modified and match is None and since == last_modified):
            return Reply(304, message(304, b"", lines))
        reply = answer(call)
        head, _, body = reply.data.partition(b"\r\n\r\n")
        return Reply(reply.status, head + b"\r\n" + lines.encode() + b"\r\n" + body)

    return conditioned
