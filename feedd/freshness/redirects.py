"""A link and where redirects led -> what that shows: the same page elsewhere, or a start page, an error page, a gate.

By the URLs alone, in the words that sites use for such pages. What the link itself has in its URL shows nothing: a
link to a log-in page may well lead to one. Called by `reading`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote_plus

from msgspec import Struct

# start: the site's start page, or a section's. error: a page that says that there is none. The others are gates.
Place = Literal["", "start", "error", "log-in", "consent", "robots"]

_URL = re.compile(r"https?://(?:[^/?#@]*@)?([^/?#]*)([^?#]*)(?:\?([^#]*))?", re.IGNORECASE | re.DOTALL)
_DEFAULT_PORT = re.compile(r":(?:80|443)?\Z")
_EXTENSION = re.compile(r"\.(?:x?html?|s?htm|php[345]?|aspx?|jspx?|jsf|do|cfm|cgi)\Z")
_WORD = re.compile(r"[^\W_]+")
_LANGUAGE = re.compile(r"[a-z]{2}(?:[-_][a-z]{2,4})?")
_SHORT_LINK = re.compile(r"[A-Za-z0-9_]{1,16}")
_MOST_KEYS: Final = 100

_START_NAMES = frozenset((
    "index", "default", "home", "homepage", "start", "startpage", "startseite", "start-page", "accueil", "inicio",
    "home-page", "main", "welcome", "frontpage", "front-page", "portada", "hjem", "hem", "etusivu", "strona-glowna",
))  # fmt: skip
_SECTIONS = frozenset((
    "news", "nachrichten", "noticias", "notizie", "nieuws", "nyheter", "actualite", "actualites", "aktuelles",
    "blog", "blogs", "article", "articles", "artikel", "story", "stories", "post", "posts", "press", "presse",
    "magazine", "video", "videos", "archive", "archives", "topics", "latest", "all",
))  # fmt: skip
# Keys of a query that leave a start page what it is. One with another key may be a page of its own (`/?p=12`).
_SLIGHT_KEYS = frozenset((
    "lang", "language", "locale", "hl", "ref", "referrer", "source", "src", "from", "error", "err", "status", "msg",
    "notfound", "nf", "redirected",
))  # fmt: skip
_ERRORS = re.compile(
    r"(?:error|err|status|http|page|fehler|erreur)[-_]?(?:404|410)|(?:404|410)[-_]?(?:error|page|not[-_]?found)"
    r"|(?:page|file|content|article|resource|item|product|story|url|path|error)?[-_]?not[-_]?found(?:[-_]?page)?"
    r"|errors?|error[-_]?(?:page|pages|handler|document|docs?)|(?:generic|custom|site|http)[-_]?error"
    r"|no[-_]?longer[-_]?available|page[-_]?(?:missing|gone|removed|unavailable)|(?:article|content)[-_]?unavailable"
    r"|missing[-_]?page|expired|(?:seite[-_])?nicht[-_]?gefunden|fehler(?:seite)?|(?:page[-_])?(?:non|in)[-_]?trouvee?"
    r"|page[-_]?introuvable|erreur|(?:pagina[-_])?no[-_]?encontrada|(?:pagina[-_])?non[-_]?trovata"
    r"|(?:pagina[-_])?(?:nao[-_]encontrada|niet[-_]gevonden)|nie[-_]znaleziono"
)
_LOG_IN_HOSTS = frozenset((
    "login", "logins", "signin", "sso", "auth", "oauth", "oauth2", "account", "accounts", "id", "idp", "identity",
    "passport", "cas", "myaccount", "saml",
))  # fmt: skip
_LOG_IN_SITES = (
    ".auth0.com", ".okta.com", ".onelogin.com", ".b2clogin.com", ".amazoncognito.com", ".microsoftonline.com",
    ".openathens.net", ".login.gov",
)  # fmt: skip
_CONSENT_HOSTS = frozenset((
    "consent", "consents", "guce", "cmp", "privacy-gate", "cookiewall", "gdpr", "myprivacy",
))  # fmt: skip
_LOG_IN = re.compile(
    r"(?:user|account|members?|customer|wp)?[-_]?(?:log|sign)[-_]?(?:in|on|up)(?:[-_]?page)?|sso|auth|authwall|oauth2?"
    r"|authenticate|authentication|authorize|openid|saml2?|regist(?:er|ration)|subscribe|subscriptions?(?:-offers?)?"
    r"|abo|abonnement|abonnieren|abonnez-vous|suscribete|suscripcion|paywall|meter|anmelden|anmeldung|einloggen|connexion"
    r"|se-connecter|identification|inloggen|logga-in|logg-inn|iniciar-sesion|acceder|accedi|accesso|entrar|logowanie"
    r"|unauthori[sz]ed|restricted"
)
_CONSENT = re.compile(
    r"(?:cookie|privacy|gdpr|dsgvo|your|collect)?[-_]?consent(?:[-_]?(?:page|wall|management))?|cookie[-_]?wall|gdpr"
    r"|dsgvo|cookies?[-_]?absent|privacy[-_]?(?:gate|wall)|age[-_]?(?:gate|check|verification)|interstitial"
)
_ROBOTS = re.compile(
    r"(?:validate)?captcha|challenge|checkpoint|sorry|(?:bot|human)[-_]?(?:check|verification)|are-you-(?:a-)?(?:human|robot)"
    r"|access-?denied|forbidden|blocked"
)
_RETURN_KEY = re.compile(r"(?:return|redirect|redir|next|continue|goto|dest|back|target|forward|url|uri|ref).{0,12}")


class _Parts(Struct, frozen=True, gc=False):
    """A URL: host without `www.` and default port, path without its last slash, segments and query as text."""

    host: str
    path: str
    query: str
    names: tuple[str, ...]  # of the path's segments, in lower case and without extension


def same_resource(one: str, other: str) -> bool:
    """Whether two URLs differ in what a site does to all of its own: http or https, `www.`, a slash at the end."""
    first, second = _parts(one), _parts(other)
    return (first.host, first.path, first.query) == (second.host, second.path, second.query)


def is_start(url: str) -> bool:
    """Whether a URL is that of a site's start page, perhaps in one language."""
    return _is_start(_parts(url))


def place(link: str, final: str) -> Place:
    """What kind of page a link was redirected to, by its URL; empty for one that may be what was linked to."""
    if same_resource(link, final):
        return ""
    source, target = _parts(link), _parts(final)
    said = set(_WORD.findall(f"{source.path}?{source.query}".lower()))
    new = [name for name in target.names if name not in source.names and said.isdisjoint(_WORD.findall(name))]
    if any(map(_ERRORS.fullmatch, new)) or ("404" not in said and _says_404(target)):
        return "error"
    gate = "" if any(map(_LOG_IN.fullmatch, said)) else _gate(source, target, new)
    if gate:
        return gate
    if _is_start(target):
        # a short link to a site's start page is one that was made to be
        is_short = _site(source.host) != _site(target.host) and _SHORT_LINK.fullmatch(source.path.strip("/"))
        return "" if _is_start(source) or is_short else "start"
    if _is_section(source, target):
        return "start"
    return "log-in" if _leads_back(source, target) else ""


def _gate(source: _Parts, target: _Parts, new: list[str]) -> Place:
    label = target.host.partition(".")[0] if target.host != source.host else ""
    if label in _CONSENT_HOSTS or any(map(_CONSENT.fullmatch, new)):
        return "consent"
    if any(map(_ROBOTS.fullmatch, new)):
        return "robots"
    host = f".{target.host.partition(':')[0]}"
    if label in _LOG_IN_HOSTS or (label and host.endswith(_LOG_IN_SITES)) or any(map(_LOG_IN.fullmatch, new)):
        return "log-in"
    return ""


@lru_cache(maxsize=8)  # of a link that is judged, several times in a row
def _parts(url: str) -> _Parts:
    match = _URL.match(url)
    if match is None:
        return _Parts("", url, "", (url,))
    host = _DEFAULT_PORT.sub("", match[1].lower()).removeprefix("www.")
    path = unquote_plus(match[2])
    segments = [segment for segment in path.lower().split("/") if segment]
    names = tuple(_EXTENSION.sub("", segment) for segment in segments)
    return _Parts(host, path.rstrip("/"), match[3] or "", names)


def _keys(query: str) -> list[tuple[str, str]]:
    pairs = query.split("&", _MOST_KEYS)[:_MOST_KEYS]
    return [(key.lower(), value) for key, value in parse_qsl("&".join(pairs), keep_blank_values=True)]


def _says_404(parts: _Parts) -> bool:
    """Whether a URL has a bare 404 where it is no article's number."""
    if any(value in ("404", "notfound", "not-found", "not_found") for _, value in _keys(parts.query)):
        return True
    *above, last = parts.names or ("",)
    return last in ("404", "410") and all(_LANGUAGE.fullmatch(name) or _ERRORS.fullmatch(name) for name in above)


def _is_start(parts: _Parts) -> bool:
    names = parts.names[1:] if parts.names and _LANGUAGE.fullmatch(parts.names[0]) else parts.names
    if len(names) > 1 or (names and names[0] not in _START_NAMES):
        return False
    return all(key in _SLIGHT_KEYS or key.startswith("utm_") for key, _ in _keys(parts.query))


def _site(host: str) -> str:
    """The last two labels: enough to tell a short link's host from the one it leads to."""
    return ".".join(host.rsplit(".", 2)[-2:])


def _is_section(source: _Parts, target: _Parts) -> bool:
    """Whether a link to an article led to the list above it."""
    length = len(target.names)
    if target.host != source.host or not length or source.names[:length] != target.names:
        return False
    slug = source.names[-1]
    return len(source.names) > length and target.names[-1] in _SECTIONS and len(slug) >= 10 and not slug.isalpha()


def _leads_back(source: _Parts, target: _Parts) -> bool:
    """Whether a page was given the link so that it can lead back: a gate of some kind."""
    if len(source.path) < 5 or source.path in target.path or len(target.names) > 3:
        return False
    return any(_RETURN_KEY.fullmatch(key) and source.path in unquote_plus(value) for key, value in _keys(target.query))
