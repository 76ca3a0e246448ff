"""Request -> Answer for everything below the output folder: feeds, pages, their assets, what moved and what is gone.

Decides nothing about sockets and holds no bytes: those are the shelf's. Called by `protocol` on the event loop, so
what it calls must not block: see `Policy.whereabouts` and `Hooks`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import quote

import structlog
from msgspec import Struct

from feedd import model, site
from feedd.web import guesses, http, names, partial, private, shelf

log = structlog.get_logger(__name__)

TYPES: dict[str, bytes] = {
    ".atom": b"application/atom+xml; charset=utf-8", ".rss": b"application/rss+xml; charset=utf-8",
    ".json": b"application/feed+json", ".opml": b"text/x-opml; charset=utf-8", ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8", ".js": b"text/javascript; charset=utf-8",
    ".txt": b"text/plain; charset=utf-8", ".png": b"image/png", ".svg": b"image/svg+xml",
}
FORMATS = (".atom", ".rss", ".json", ".html")
ALLOW = b"GET, HEAD, OPTIONS"
CSP = (
    b"default-src 'none'; img-src https: http: data:; style-src 'self'; script-src 'self'; base-uri 'none'; "
    b"form-action 'none'; frame-ancestors 'none'"
)
_AROUND_S = 1.0  # links to the other formats may be so much behind
# A file may change again within the second of its Last-Modified, which then says nothing (RFC 9110 section 8.8.2.2);
# libcurl (newsboat) even drops the body of a 200 whose date is the one that it has. The rest is how far file systems'
# clocks and our Date, which is that of the last tick, are behind.
_SECOND_S = 2.0
_PREPARED = 4096  # heads kept, of about 2 kB each
_REPLACED = 5  # times that a file may be replaced between its stat and its bytes, for one request


def _nowhere(name: str) -> str | None:
    return None


class Policy(Struct, frozen=True):
    """What is configured. `public_url` has no slash at its end; with a path, a proxy in front takes that off.

    `whereabouts` is asked for a name without a file, such as `topics/ai.atom`: "" means that it is gone for good,
    another name that it moved there, None that it is not known. It runs on the event loop: memory only, no queries.
    `refuse(request, now)`: the answer to who may not read private feeds, None for who may.
    """

    public_url: str
    max_age_s: int = 600
    hubs: tuple[str, ...] = ()
    whereabouts: Callable[[str], str | None] = _nowhere
    cors: bool = True
    refuse: Callable[[http.Request, float], http.Answer | None] = private.closed


class Hooks(Struct, frozen=True):
    """What may take part in an answer; all on the event loop, all given names such as `topics/ai.atom`.

    `noted(name, etags, data, format)`: an instance of a live feed is served, under one of these ETags.
    `delta(name, etags, data, format)`: the feed without what readers have who know one of these, None for all of it.
    `compress(data, coding)`: such a delta in `gzip` or `br`; without it, deltas are sent as they are.
    `throttle(address, name, had_validators, user_agent, now)`: seconds to wait before the next request; 0 for none.
    `seen(request, answer, plain_size)`: after each answer; the bytes of the whole file as it is, 0 without a file.
    """

    noted: Callable[[str, tuple[str, ...], bytes, model.Format], None] | None = None
    delta: partial.Make | None = None
    compress: partial.Compress | None = None
    throttle: Callable[[str, str, bool, str, float], float] | None = None
    seen: Callable[[http.Request, http.Answer, int], None] | None = None


class _Around(Struct, frozen=True, gc=False):
    """What stands beside a file: its other formats, and whether an archive has a later one."""

    formats: tuple[str, ...]
    later: bool


class _Prepared(Struct, frozen=True, gc=False):
    """All of an answer but the body, for one file in one coding, as it is now."""

    facts: shelf.Facts
    around: _Around
    looked_at: float
    dated: bool
    headers: http.Headers
    head: bytes
    unmodified: http.Answer


class Feeds:
    """Answers for the files of one shelf. Not for several threads."""

    def __init__(self, files: shelf.Shelf, policy: Policy, hooks: Hooks | None = None) -> None:
        self.shelf, self._policy, self._hooks = files, policy, hooks or Hooks()
        made, compress = self._hooks.delta, self._hooks.compress
        self._partial = None if made is None else partial.Partial(files, made, compress)
        self._prepared: OrderedDict[tuple[str, bool], _Prepared] = OrderedDict()
        self._kept = (b"cache-control", b"public, max-age=%d" % policy.max_age_s)
        self._cors: http.Headers = (
            (b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"ETag, Link, IM, Retry-After"),
        ) if policy.cors else ()

    def answer(self, request: http.Request, now: float) -> http.Answer | None:
        """What is answered at `now`, in seconds since 1970; None where nothing is there and nothing is known."""
        answer, plain_size = self._answer(request, now)
        if answer is not None and self._hooks.seen is not None:
            try:
                self._hooks.seen(request, answer, plain_size)
            except Exception:
                log.exception("an answer could not be counted")
        return answer

    def _answer(self, request: http.Request, now: float) -> tuple[http.Answer | None, int]:
        known = names.find(request.path)
        if known is None:
            return self._guessed(request), 0
        if not known.is_private:
            return self._answer_file(request, known, now)
        refusal = self._policy.refuse(request, now)  # before anything that could tell what there is
        if refusal is not None:
            return refusal, 0
        answer, plain_size = self._answer_file(request, known, now)
        return private.privately(answer or self._error(request, 404, ())), plain_size

    def _answer_file(self, request: http.Request, known: names.Name, now: float) -> tuple[http.Answer | None, int]:
        name, media_type = known.name, known.media_type
        if request.method not in ("GET", "HEAD"):
            return self._other_method(request, name), 0
        page = bool(media_type) and http.wants_page(request.headers, media_type)
        page = page and self.shelf.exists(known.base + ".html")
        for attempt in range(_REPLACED):
            facts = self._choose(request, known.base + ".html" if page else name)
            if facts is None:
                return self._missing(request, name), 0
            # Only for a feed that is there: what else has such a name, as /-/status.json, is not ours to slow down.
            if not attempt and media_type and not page and (wait := self._wait(request, name, now)) > 0:
                return self._error(request, 429, ((b"retry-after", b"%d" % math.ceil(wait)), _NO_STORE)), 0
            answer = self._represent(request, name, facts, page, now)
            if answer is not None:
                return answer, facts.plain_size
        return self._error(request, 503, (_NO_STORE, (b"retry-after", b"1"))), 0

    def _choose(self, request: http.Request, name: str) -> shelf.Facts | None:
        """The best representation that there is and that may be sent."""
        for encoding in http.encodings(request.headers.get(b"accept-encoding")):
            facts = self.shelf.look(name, encoding)
            if facts is not None:
                return facts
        return None

    def _represent(
        self, request: http.Request, name: str, facts: shelf.Facts, page: bool, now: float
    ) -> http.Answer | None:
        """200, 226, 304 or 412; None if the file was replaced while it was looked at."""
        prepared = self._prepared.get((facts.name, page))
        if prepared is None or prepared.facts is not facts or not 0 <= now - prepared.looked_at < _AROUND_S:
            prepared = self._prepare(name, facts, page, now)
        else:
            self._prepared.move_to_end((facts.name, page))
        status = http.precondition(request.headers, facts.etag, facts.mtime_s)
        if status == 304:
            return prepared.unmodified
        if status == 412:
            return self._error(request, 412, (_NO_STORE,))
        if b"a-im" in request.headers and self._partial and not page and (fmt := names.format_of(name)):
            answer = self._partial.answer(request, name, fmt, facts, prepared.headers)
            if answer is not None:
                return answer
        if request.method == "HEAD":
            return http.Answer(200, prepared.headers, b"", prepared.head)
        data = self.shelf.read(facts)
        return None if data is None else http.Answer(200, prepared.headers, data, prepared.head)

    def _prepare(self, name: str, facts: shelf.Facts, page: bool, now: float) -> _Prepared:
        key = (facts.name, page)
        old = self._prepared.get(key)
        around, dated = self._look_around(name), not 0 <= now - facts.mtime_s < _SECOND_S
        if old is not None and old.facts is facts and (old.around, old.dated) == (around, dated):
            headers, head, unmodified = old.headers, old.head, old.unmodified
        else:
            if old is None or old.facts is not facts:
                self._note(name, page)
            headers = self._headers(name, facts, page, around, dated)
            head = http.head_of(200, headers)
            # RFC 9110 section 15.4.5: without what describes a body that is not there.
            brief = tuple(header for header in headers if not header[0].startswith(b"content-") or header[0] == _PLACE)
            unmodified = http.Answer(304, brief, b"", http.head_of(304, brief))
        prepared = _Prepared(facts, around, now, dated, headers, head, unmodified)
        self._prepared[key] = prepared
        self._prepared.move_to_end(key)
        if len(self._prepared) > _PREPARED:
            self._prepared.popitem(last=False)
        return prepared

    def _look_around(self, name: str) -> _Around:
        base, _, suffix = name.rpartition(".")
        if names.is_archive(name):
            folder, _, number = base.rpartition("/")
            return _Around((), self.shelf.exists(f"{folder}/{int(number) + 1}.{suffix}"))
        if name == "index.html":
            base = "all"
        elif suffix not in ("atom", "rss", "json", "html"):
            return _Around((), False)
        return _Around(tuple(x for x in FORMATS if f"{base}{x}" != name and self.shelf.exists(base + x)), False)

    def _headers(self, name: str, facts: shelf.Facts, page: bool, around: _Around, dated: bool) -> http.Headers:
        suffix = "." + name.rpartition(".")[2]
        is_page = page or suffix == ".html"
        live = suffix in names.FEEDS and not names.is_archive(name)
        coding = next((x for x, end in shelf.SIBLINGS.items() if end and facts.name.endswith(end)), None)
        headers: list[tuple[bytes, bytes]] = [
            (b"content-type", TYPES[".html" if page else suffix]), (b"content-length", b"%d" % facts.size),
        ]
        if coding:
            headers.append((b"content-encoding", coding.encode()))
        headers.append((b"etag", facts.etag))
        if dated:
            headers.append((b"last-modified", http.http_date(facts.mtime_s)))
        headers += [
            (b"cache-control", self._cache_control(name, is_page, around)),
            (b"vary", b"Accept-Encoding, Accept, Sec-Fetch-Dest" if page or (live and ".html" in around.formats)
             else b"Accept-Encoding"),
            (b"accept-ranges", b"none"), (b"x-content-type-options", b"nosniff"),
        ]
        if links := self._links(name, page, around):
            headers.append((b"link", links))
        if page:
            headers.append((_PLACE, self._url(name.rpartition(".")[0] + ".html").encode()))
        if is_page or suffix == ".svg":
            headers += [(b"content-security-policy", CSP), (b"referrer-policy", b"no-referrer")]
        else:
            headers += self._cors
        return tuple(headers)

    def _cache_control(self, name: str, is_page: bool, around: _Around) -> bytes:
        """A page is asked for again each time; an archive may still be linked to the next one until there is one."""
        if is_page:
            return b"no-cache"
        if around.later:
            return b"public, max-age=31536000, immutable"
        return self._kept[1]

    def _links(self, name: str, page: bool, around: _Around) -> bytes:
        """RFC 8288. Only live feeds have a hub: archives do not change, and what is private is told to nobody."""
        base, _, suffix = name.rpartition(".")
        links = []
        if "." + suffix in names.FEEDS or suffix == "opml":
            links.append(f'<{self._url(name)}>; rel="self"')
        if "." + suffix in names.FEEDS and not names.is_archive(name) and not site.is_private(name):
            links += [f'<{quote(hub, safe=_URL)}>; rel="hub"' for hub in self._policy.hubs]
        base = "all" if name == "index.html" else base
        kinds = [*around.formats, *(["." + suffix] if page else [])]
        for kind in sorted((kind for kind in kinds if not (page and kind == ".html")), key=FORMATS.index):
            links.append(f'<{self._url(base + kind)}>; rel="alternate"; type="{names.FEEDS.get(kind, "text/html")}"')
        return ", ".join(links).encode()

    def _url(self, name: str) -> str:
        """The address of a file, with the quoting that feeds' own self links have."""
        return quote(self._policy.public_url, safe=_URL) + "/" + quote(name)

    def _note(self, name: str, page: bool) -> None:
        """Says under which ETags a live feed is served from now on: readers come back with one of them."""
        format_ = names.format_of(name)
        if self._hooks.noted is None or page or format_ is None:
            return
        plain = self.shelf.look(name)
        data = None if plain is None else self.shelf.read(plain)
        if plain is None or data is None:
            return
        found = [plain, *(self.shelf.look(name, coding) for coding in ("gzip", "br"))]
        self._hooks.noted(name, tuple(facts.etag.decode() for facts in found if facts is not None), data, format_)

    def _wait(self, request: http.Request, name: str, now: float) -> float:
        if self._hooks.throttle is None:
            return 0.0
        headers = request.headers
        had_validators = b"if-none-match" in headers or b"if-modified-since" in headers
        agent = headers.get(b"user-agent", b"").decode("latin-1")
        return self._hooks.throttle(request.address, name, had_validators, agent, now)

    def _missing(self, request: http.Request, name: str) -> http.Answer | None:
        if self.shelf.exists(name):
            return self._error(request, 406, ((b"vary", b"Accept-Encoding"), _NO_STORE))
        place = self._policy.whereabouts(name)
        if place is None:
            return self._guessed(request)
        return self._moved(request, place.lstrip("/")) if place else self._error(request, 410, (self._kept, _VARY))

    def _guessed(self, request: http.Request) -> http.Answer | None:
        """301 from a common guess to the feed of everything."""
        if request.method not in ("GET", "HEAD"):
            return None
        place = next(filter(self.shelf.exists, guesses.names(request.path)), None)
        return self._moved(request, place) if place else None

    def _moved(self, request: http.Request, place: str) -> http.Answer:
        url = self._url(place)
        if query := private.without_token(request.query):
            url += "?" + quote(query, safe=_URL)
        return self._error(request, 301, ((b"location", url.encode()), self._kept, _VARY), f"It moved to {url}")

    def _other_method(self, request: http.Request, name: str) -> http.Answer | None:
        if not self.shelf.exists(name):
            return None
        if request.method != "OPTIONS":
            return self._error(request, 405, ((b"allow", ALLOW),))
        cors = (
            (b"access-control-allow-methods", ALLOW), (b"access-control-max-age", b"86400"),
            (b"access-control-allow-headers", b"If-None-Match, If-Modified-Since, A-IM"), *self._cors,
        ) if self._cors and not name.endswith(".html") else ()
        return http.Answer(200, ((b"content-length", b"0"), (b"allow", ALLOW), *cors))

    def _error(
        self, request: http.Request, status: int, headers: http.Headers, detail: str = ""
    ) -> http.Answer:
        return http.problem(
            status, html=http.wants_html(request.headers), path=request.path, detail=detail,
            headers=(*headers, *self._cors), head_only=request.method == "HEAD",
        )


_NO_STORE = (b"cache-control", b"no-store")
_VARY = (b"vary", b"Accept")  # an error is a page or a line
_PLACE = b"content-location"
_URL = "/:?#[]@!$&'()*+,;=%~"  # what a URL may hold beside letters and digits (RFC 3986 section 2)
