"""A request for a private feed -> what refuses it, or None; and what is answered -> the same with headers of its own.

Called by `feeds` before it looks for a file, so that who may not read does not learn what there is. The token may come
in the query, as many readers know no other way: it is in nothing that is answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, unquote_plus

from feedd.web import access, http, throttle

PARAMETER = "token"
_HEADERS: http.Headers = ((b"x-robots-tag", b"noindex"), (b"referrer-policy", b"no-referrer"))
_REFUSED: http.Headers = ((b"cache-control", b"no-store"), *_HEADERS)
_CHALLENGE = (
    b"www-authenticate", b'Basic realm="feedd private feeds", charset="UTF-8", Bearer realm="feedd private feeds"',
)
_FOR_ALL = (b"access-control-", b"x-robots-tag", b"referrer-policy")


class Readers:
    """Who may. `networks`: whose addresses may without a token; `proxies`: those that are believed when they say who
    asks. `guesses` counts wrong tokens: an address with too many waits, and the right one would not help it. `host`:
    our own name, by which those in `networks` ask.
    """

    def __init__(
        self, granted: access.Access, networks: Sequence[access.Network] = (), proxies: frozenset[str] = frozenset(),
        guesses: throttle.Throttle | None = None, host: str = "",
    ) -> None:
        self._granted, self._networks, self._proxies, self._host = granted, tuple(networks), proxies, host
        self._guesses = guesses or throttle.Throttle()

    def refuse(self, request: http.Request, now: float) -> http.Answer | None:
        """The answer to who may not read at `now` (seconds since 1970), the same whatever there is; None for others."""
        if access.is_from(self._networks, self._proxies, request, self._host):
            return None
        given = access.credentials(request.headers.items(), _query_token(request.query))
        is_guess = bool(given and self._granted.token)
        if is_guess and (wait_s := self._guesses.wait_s(request.address, "", now)):
            return _refusal(request, 429, "Too many wrong tokens.", (b"retry-after", b"%d" % wait_s))
        verdict = access.judge_private(self._granted, request, given)
        if verdict is access.Verdict.OPEN:
            return None
        if verdict is access.Verdict.HIDDEN:
            return _refusal(request, 404)
        if is_guess:
            self._guesses.check(request.address, "", False, now)
        return _refusal(request, 401, "The token is needed here.", _CHALLENGE)


def closed(request: http.Request, _now: float) -> http.Answer | None:
    """Refuses all: what holds where nobody said who may read."""
    return _refusal(request, 404)


def privately(answer: http.Answer) -> http.Answer:
    """An answer for its reader alone: for no shared cache, no search engine and no script of another site."""
    kept = tuple(
        (name, _cached(value) if name == b"cache-control" else value)
        for name, value in answer.headers if not name.startswith(_FOR_ALL)
    )
    return http.Answer(answer.status, kept + _HEADERS, answer.body)


def without_token(query: str) -> str:
    """A query less the token, for addresses that are answered."""
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != PARAMETER)


def _cached(value: bytes) -> bytes:
    """Cache-Control (RFC 9111 section 5.2.2.7)."""
    value = value.replace(b"public", b"private")
    return value if b"private" in value or b"no-store" in value else b"private, " + value


def _query_token(query: str) -> str | None:
    found = parse_qs(query, keep_blank_values=True).get(PARAMETER)
    return found[0] if found else None


def _refusal(request: http.Request, status: int, detail: str = "", *headers: tuple[bytes, bytes]) -> http.Answer:
    return http.problem(
        status, html=http.wants_html(request.headers), path=request.path, detail=detail,
        headers=(*_REFUSED, *headers), head_only=request.method == "HEAD",
    )
