"""What came of following a link -> Evidence of whether it holds, by the rules of the project's policy.

Pure. One check is one piece of evidence; what several of them mean is `judge`'s business. Where a page is there, the
same host's answer to a made-up path tells whether it says so of every page (a soft 404): `needs_made_up` says when that
is worth asking, `made_up_path` for what, `made_up` what to remember of it. Called by runs of link checks.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from feedd import retry
from feedd.freshness import fingerprint, redirects, walls
from feedd.freshness.states import Answer, Evidence, Failure, Finding, LinkState, Trail

SOFT_404: Final = 0.95  # of what a page and a made-up one's answer say in common, for the two to be one
_MAX_HEADER: Final = 1_000  # characters of a validator that are worth keeping: one that is cut is none
_ABSENT = (404, 410)

# What keeps us out and says nothing of the page. The policy's, and those of servers that have numbers of their own:
# 418 and 430 (refusals of robots), 423 (locked), 440 (IIS, the session ended), 450 (parental controls), 496 (nginx, no
# client certificate), 498 (a token is asked for), 511 (our own network asks for a log-in: RFC 6585, section 6),
# 561 (a load balancer: not authorised), 999 (LinkedIn).
BLOCKING: Final = frozenset(
    (401, 402, 403, 405, 406, 407, 412, 418, 423, 428, 429, 430, 440, 450, 451, 496, 498, 511, 561, 999)
)
_FAILURES: dict[Failure, tuple[Finding, str]] = {
    "": ("weak", "no answer"),
    "timeout": ("weak", "no answer in time"),
    "refused": ("weak", "connection refused"),
    "reset": ("weak", "connection broken off"),
    "name": ("gone", "its host name does not exist"),
    "lookup": ("weak", "its host name could not be looked up"),
    "tls": ("weak", "its certificate is not valid"),
    "address": ("excluded", "its address is one that feedd does not go to"),
    "port": ("excluded", "its port is one that feedd does not go to"),
    "size": ("weak", "its answer is larger than allowed"),
    "protocol": ("weak", "its answer is not HTTP"),
}
_PLACES: dict[str, tuple[Finding, str]] = {
    "error": ("missing", "redirects to a page that says that there is none"),
    "start": ("missing", "redirects to the site's start page"),
    "log-in": ("blocked", "redirects to a log-in page"),
    "consent": ("blocked", "redirects to a consent page"),
    "robots": ("blocked", "redirects to a bot wall"),
}
_PATH = re.compile(r"\A[^:/?#]*://[^/?#]*|[?#].*\Z", re.DOTALL)  # all that is not the path
_LONG_PATH: Final = 8  # characters; a shorter one may be in any text
# Parts of titles that say that there is no page: whole parts only, for articles have such words in theirs.
_CODE = (
    r"(?:(?:http )?(?:error|status|code|fehler|erreur|errore|ошибка)(?: code)?[ :#-]*)?\(?(?:404|410)\)?"
    r"(?:[ -](?:error|page))?"
)
_PHRASE = (
    r"(?:sorry[,.!]? |(?:o+ps|uh[ -]oh|whoops)[,.!]* )?(?:the |this |that |your |requested ){0,2}"
    r"(?:(?:page|file|article|content|story|url|document|resource|post|item|product|web ?site|site) )?"
    r"(?:you(?:'re| are| were|) (?:looking for|requested|trying to reach) )?"
    r"(?:(?:was not|wasn't|is not|isn't|could not be|couldn't be|cannot be|can't be|can not be|not) (?:found|available)"
    r"|does(?:n't| not) exist|no longer (?:exists|available)|is no longer available|has been (?:removed|deleted))"
    r"|(?:page|article|content|story|post)(?: is)? (?:gone|missing|unavailable)|nothing (?:was )?found"
    r"|(?:sorry[,.!]? )?we (?:can't|cannot|couldn't|could not) find (?:the|that|this|your) (?:page|article|story)"
    r"|(?:die |der )?(?:seite|artikel|datei|inhalt)(?: wurde)?(?: leider)? nicht (?:gefunden|vorhanden)|nicht gefunden"
    r"|(?:la |cette )?(?:page |article |document )?(?:introuvable|(?:est )?non trouv[ée]e?|inexistante?)"
    r"|cette page n'existe (?:pas|plus)|(?:p[áa]gina |art[íi]culo )?no encontrad[oa]|(?:la )?p[áa]gina no existe"
    r"|(?:p[áa]gina )?n[ãa]o encontrad[oa]|(?:pagina )?non trovat[oa]|(?:de )?(?:pagina )?niet gevonden"
    r"|sidan (?:hittades inte|kunde inte hittas)|siden (?:ble |blev )?ikke f(?:unnet|undet)|sivua ei l[öo]ydy"
    r"|(?:strona )?nie znaleziono(?: strony)?|str[áa]nka nenalezena|(?:az )?oldal nem tal[áa]lhat[óo]"
    r"|sayfa bulunamad[ıi]|(?:страница )?не найден[ао]?|сторінк[ау] не знайдено"
    r"|(?:お探しの)?ページ[がは]見つかりません(?:でした)?|(?:页面|頁面)(?:不存在|未找到)|找不到(?:页面|网页|頁面|網頁)"
    r"|페이지를 찾을 수 없(?:습니다|음)"
)
_NOT_FOUND = re.compile(rf"(?:{_CODE}[ :,.!-]*(?:{_PHRASE})?|(?:{_PHRASE})[ :,.!-]*(?:{_CODE})?)")


class MadeUp(Struct, frozen=True, array_like=True, gc=False):
    """What a host answers for a path that it cannot have. `status` is 0 where that could not be found out.

    `final_url` is where redirects led, empty for none; fingerprint and title are those of the page.
    """

    status: int = 0
    final_url: str = ""
    fingerprint: bytes = b""
    title: str = ""

    @property
    def is_honest(self) -> bool:
        """The host says of what it does not have that it does not have it."""
        return self.status in _ABSENT

    @property
    def is_soft(self) -> bool:
        """The host says of all that it has it."""
        return 200 <= self.status < 300


def made_up_path(host_or_url: str, seed: int) -> str:
    """The URL of a page that the host cannot have; another one for another seed. Of a bare host over https.

    It says what it is, for those who find it in their logs.
    """
    scheme, mark, rest = host_or_url.partition("://")
    if not mark:
        scheme, rest = "https", host_or_url
    host = re.split(r"[/?#\\]", rest, maxsplit=1)[0].rpartition("@")[2]
    name = blake2b(f"{host} {seed}".encode("utf-8", "replace"), digest_size=8).hexdigest()
    return f"{scheme}://{host}/link-check-of-a-page-that-is-not-there-{name}"


def made_up(trail: Trail) -> MadeUp:
    """What the answer for a made-up path says of its host."""
    answer = trail.answer
    if trail.refused or not (answer.status in _ABSENT or 200 <= answer.status < 300):
        return MadeUp()
    page = _read(trail)
    if walls.wall(answer, page):
        return MadeUp()
    return MadeUp(answer.status, _final_url(trail), page.fingerprint, page.title)


def needs_made_up(trail: Trail, state: LinkState) -> bool:
    """Whether the host's answer for a made-up path is needed to say what this one means.

    Not for a start page, which is what many made-up paths lead to; not for what was verified before and is the same.
    """
    if trail.refused or not 200 <= trail.answer.status < 300 or redirects.is_start(trail.url):
        return False
    page = _read(trail)
    if not page.is_html or fingerprint.same(page.fingerprint, state.fingerprint) or walls.wall(trail.answer, page):
        return False
    return not _redirect(trail) and bool(page.fingerprint or trail.hops or _says_not_found(page))


def evidence(trail: Trail, state: LinkState, *, at: int, made_up: MadeUp | None) -> Evidence:
    """What one check of a link showed. `made_up`: what its host says of made-up paths, None if that is not known."""
    answer = trail.answer
    finding, reason = _finding(trail, state, made_up)
    good = finding == "good"
    unchanged = good and answer.status == 304
    return Evidence(
        at, finding, reason, answer.status,
        final_url=_final_url(trail),
        permanent=bool(trail.hops) and all(status in (301, 308) for status, _ in trail.hops),
        unchanged=unchanged,
        fingerprint=_read(trail).fingerprint if good and not unchanged else b"",
        etag=_validator(answer, "etag") if good else "",
        last_modified=_validator(answer, "last-modified") if good else "",
        retry_after_s=0 if good else math.ceil(retry.retry_after_s(answer.headers.get("retry-after"), at) or 0),
    )  # fmt: skip


def _finding(trail: Trail, state: LinkState, made_up: MadeUp | None) -> tuple[Finding, str]:
    """The rules, in order: the first that applies decides."""
    answer, status = trail.answer, trail.answer.status
    if trail.refused:
        return _refusal(trail)
    if answer.failure or not status:
        finding, reason = _FAILURES[answer.failure]
        return finding, f"{reason}, after a redirect" if trail.hops else reason
    wall = walls.bot_wall_by_headers(answer)
    if wall:
        return "blocked", wall
    if 200 <= status < 300:
        return _redirect(trail) or _page(trail, state, made_up) or ("good", f"answered {status}")
    if status == 304:
        return _redirect(trail) or _unchanged(state)
    if status == 410:
        return "gone", "answered 410"
    if status == 404:
        return "missing", "answered 404"
    wall = walls.wall(answer, _read(trail)) if status >= 400 else ""
    if wall or status in BLOCKING:
        return "blocked", wall or f"answered {status}"
    if 300 < status < 400 and answer.headers.get("location"):  # a mail address, an app: no evidence against the link
        return "blocked", "redirects to what is not http"
    return "weak", f"answered {status}, without a place to go to" if 300 < status < 400 else f"answered {status}"


def _refusal(trail: Trail) -> tuple[Finding, str]:
    """Redirects without an end are weak evidence, but for those of sites that wait for a cookie: feedd keeps none."""
    if trail.refused == "robots":
        return "blocked", "robots.txt keeps robots out"
    if "set-cookie" in trail.answer.headers:
        return "blocked", "redirects until a cookie is kept"
    return "weak", "redirects in a circle" if trail.refused == "loop" else "too many redirects"


def _redirect(trail: Trail) -> tuple[Finding, str] | None:
    """What it shows where redirects led; None if it may be the page."""
    if not trail.hops:
        return None
    if any(redirects.place(trail.url, url) == "error" for _, url in trail.hops):
        return _PLACES["error"]
    return _PLACES.get(redirects.place(trail.url, _final_url(trail)))


def _unchanged(state: LinkState) -> tuple[Finding, str]:
    """A 304 means something only to who asked on a condition (RFC 9110, section 15.4.5)."""
    if state.etag or state.last_modified:
        return "good", "answered 304"
    return "weak", "answered 304 to a question without a condition"


def _page(trail: Trail, state: LinkState, made_up: MadeUp | None) -> tuple[Finding, str] | None:
    """What is wrong with a page that is there; None for nothing. One without text, or empty, is taken as it is."""
    page = _read(trail)
    wall = walls.wall(trail.answer, page)
    if wall:
        return "blocked", wall
    if not page.is_html or redirects.is_start(trail.url):
        return None
    if made_up and made_up.is_soft:
        if _leads_where_all_do(trail, made_up):
            return "missing", "redirects to where made-up addresses of its host lead, too"
        says_not_found = _says_not_found(page)
        is_like = fingerprint.likeness(page.fingerprint, made_up.fingerprint) >= SOFT_404
        if is_like and (says_not_found or page.title == made_up.title):
            return "missing", "its host answers the same to a made-up address"
        if says_not_found:
            return "missing", "its title says that there is no such page"
    known = (made_up and made_up.is_honest) or fingerprint.same(page.fingerprint, state.fingerprint)
    if not known and _says_not_found(page):
        return "weak", "its title says that there is no such page, and its host does not tell"
    return None


def _leads_where_all_do(trail: Trail, made_up: MadeUp) -> bool:
    final = _final_url(trail)
    if not (final and made_up.final_url) or redirects.same_resource(trail.url, final):
        return False
    return redirects.same_resource(final, made_up.final_url)


def _says_not_found(page: fingerprint.Page) -> bool:
    parts = walls.title_parts(page.title) + walls.title_parts(page.heading)
    return any(map(_NOT_FOUND.fullmatch, parts))


def _read(trail: Trail) -> fingerprint.Page:
    """The page of the last answer."""
    return _read_body(trail.answer.body, trail.url, trail.answer.headers.get("content-type", ""))


@lru_cache(maxsize=1)  # one answer is read several times in a row
def _read_body(body: bytes, url: str, content_type: str) -> fingerprint.Page:
    """Without the link's own path: pages that are not there like to name it."""
    path = unquote(_PATH.sub("", url))
    if len(path) >= _LONG_PATH:
        body = body.replace(path.encode("utf-8", "replace"), b"")
    return fingerprint.read(body, content_type)


def _final_url(trail: Trail) -> str:
    return trail.hops[-1][1] if trail.hops else ""


def _validator(answer: Answer, header: str) -> str:
    value = answer.headers.get(header, "")
    return value if len(value) <= _MAX_HEADER and value.isprintable() and value.isascii() else ""
