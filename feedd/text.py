"""Text as files have it -> plain text that any feed can hold, and URLs as files have them -> RFC 3986.

Entities, tags, mojibake, odd space and characters that XML forbids go; nothing that is text does. Never fails,
whatever the text. Knows nothing of articles; called by `parse` and `html`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote, unquote, urljoin

_ROUNDS: Final = 8  # of cleaning, until nothing changes
_MAX_URL: Final = 8192  # characters

# All that HTML names or named: `<b>` in a title is a tag, `<live>` is text.
_WORD = re.compile(r"\w+")
_INLINE = frozenset(
    _WORD.findall(
        "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr noscript output q rb rp"
        " rt rtc ruby s samp slot small span strike strong sub sup time tt u var wbr"
    )
)
_ELEMENTS = _INLINE | frozenset(
    _WORD.findall(
        "address applet area article aside audio base basefont blockquote body br button canvas caption center col"
        " colgroup datalist dd details dialog dir div dl dt embed fieldset figcaption figure footer form frame frameset"
        " h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe img input legend li link main map menu meta meter nav"
        " noframes object ol optgroup option p param picture pre progress script search section select source style"
        " summary svg table tbody td template textarea tfoot th thead title tr track ul video"
    )
)
_HIDDEN = re.compile(r"<(script|style)\b[^<>]*>(?:[^<]|<(?!/?\1\b))*</\1\s*>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--(?:[^<]|<(?!!--))*?-->|<!doctype\b[^<>]*>|<!\[CDATA\[|\]\]>", re.IGNORECASE)
_TAG = re.compile(r"""</?([a-zA-Z][a-zA-Z0-9]*)(?=[\s/>])[^<>"']*+(?:(?:"[^"<]*"|'[^'<]*')[^<>"']*+)*>""")
_ZEROS = re.compile(r"&#([xX]?)0+(?=[0-9a-fA-F])")
_NO_CHARACTER = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{7,});?")  # int() refuses a few thousand digits
_AMPERSANDS = re.compile(r"&(?:(?:amp|AMP|#38|#[xX]26);)+")
_SIGNS = re.compile(r"[^\w\s\x00-\x7f]{31,}")  # the sorting of combining marks takes the square of their number

# What no feed may hold: controls (those that are white space are collapsed), surrogates, noncharacters, U+FFFD, BOM.
_FORBIDDEN_RANGES = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffd-\uffff" + "".join(
    chr(plane * 0x10000 + 0xFFFE) + chr(plane * 0x10000 + 0xFFFF) for plane in range(1, 17)
)
_FORBIDDEN = re.compile(f"[{_FORBIDDEN_RANGES}]")
_FORBIDDEN_IN_HTML = re.compile(f"[{_FORBIDDEN_RANGES}\x0b\x0c\x1c-\x1f\x85]")

# A superset of what ftfy acts on: C1 controls, a few letters, two characters in a row that are neither ASCII nor CJK
# nor both quotes and dashes.
_SUSPECT = re.compile(
    "[^\x00-\x7f\u3000-\uf8fe](?:(?<=[\x80-\x9fÂÃŒœ])|(?<=[‘’“”–—…])[^\x00-\x7f\u3000-\uf8fe‘’“”–—…]"
    "|(?<![‘’“”–—…])[^\x00-\x7f\u3000-\uf8fe])"
)

_CLEAN_URL = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
    r"(?:/[A-Za-z0-9/._~!$()*+,=:@-]*)?(?:\?[A-Za-z0-9/._~!$()*+,=:@?&-]*)?(?:#[A-Za-z0-9/._~!$()*+,=:@?&-]*)?"
)
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_URL_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_URL_JUNK = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ud800-\udfff\ufeff\ufffd-\uffff]")
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def plain(text: str) -> str:
    """Plain text on one line: no entities, tags of HTML, mojibake, double space or character that XML forbids; NFC.

    Doing it again changes nothing.
    """
    if (
        "&" not in text
        and "<" not in text
        and "  " not in text
        and text.isprintable()
        and (
            text.isascii()
            or not (
                "\ufffd" in text
                or len(text) > 2000
                or _SUSPECT.search(text)
                or not unicodedata.is_normalized("NFC", text)
            )
        )
    ):
        return text.strip(" ")
    for _ in range(_ROUNDS):
        cleaned = _plain_once(text)
        if cleaned == text:
            return text
        text = cleaned
    return _plain_once(text.replace("&", "").replace("<", ""))  # so deep that someone means harm


def _plain_once(text: str) -> str:
    text = repair(text)
    if "&" in text:
        import html

        text = html.unescape(_AMPERSANDS.sub("&", _NO_CHARACTER.sub("", _ZEROS.sub(r"&#\1", text))))
    if "<" in text:
        text = _TAG.sub(_without_tag, _COMMENT.sub("", _HIDDEN.sub(" ", text)))
    text = " ".join(_FORBIDDEN.sub("", text).split())
    return text if text.isascii() else unicodedata.normalize("NFC", _SIGNS.sub(_fewer_marks, text))


def _fewer_marks(match: re.Match[str]) -> str:
    """At most 30 combining marks in a row, as Unicode's stream-safe text has them (UAX 15, 13)."""
    kept, row = [], 0
    for character in match[0]:
        row = row + 1 if unicodedata.combining(character) else 0
        if row <= 30:
            kept.append(character)
    return "".join(kept)


def _without_tag(match: re.Match[str]) -> str:
    name = match[1].lower()
    return match[0] if name not in _ELEMENTS else "" if name in _INLINE else " "


def repair(text: str) -> str:
    """Undoes mojibake (`itâ€™s`), where ftfy finds it; all other text stays as it is."""
    if not may_be_mojibake(text):
        return text
    import ftfy  # 80 ms, and most texts never need it

    return ftfy.fix_encoding(text)


def may_be_mojibake(text: str) -> bool:
    """False for most texts that ftfy would leave alone, and for none that it would not: a question 20 x cheaper."""
    return not text.isascii() and _SUSPECT.search(text) is not None


def without_forbidden(html: str) -> str:
    """HTML without the characters that no feed may hold; tabs and line ends stay."""
    return _FORBIDDEN_IN_HTML.sub("", html)


def clean_url(url: str, base: str) -> str:
    """An absolute http(s) URL, in ASCII, as RFC 3986 has it; '' where `url` is none. `base`: what relative ones mean.

    The host in lower case and Punycode; no user, no default port; what a URL cannot hold is percent-encoded as UTF-8,
    and what is encoded already stays. Doing it again changes nothing.
    """
    if len(url) <= 253 and _CLEAN_URL.fullmatch(url):
        return url
    url = _unescaped(_URL_JUNK.sub("", url)).strip()
    if not url or len(url) > _MAX_URL:
        return ""
    try:
        if not _URL.match(url):
            scheme = _SCHEME.match(url)
            url = "" if scheme else urljoin(base, url)
        match = _URL.fullmatch(url)
        return _rebuilt(match) if match else ""
    except ValueError:  # an impossible host, port or escape
        return ""


def _unescaped(url: str) -> str:
    """Without HTML entities; only those with a semicolon, as `&copy=1` is a parameter."""
    for _ in range(_ROUNDS):
        if "&" not in url or not _URL_ENTITY.search(url):
            return url
        import html

        before = url
        url = _URL_JUNK.sub("", _URL_ENTITY.sub(lambda match: html.unescape(match[0]), url))
        if url == before:
            return url
    return ""  # so deep that someone means harm


def _rebuilt(match: re.Match[str]) -> str:
    scheme, authority, path, query, fragment = match.groups()
    scheme = scheme.lower()
    host, _, port = authority.rpartition("@")[2].partition(":")
    host = clean_host(host)
    number = int(port) if port.isascii() and port.isdecimal() else 0
    if not host or (port and not 0 < number < 65_536):
        return ""
    url = f"{scheme}://{host}"
    if port and number != _DEFAULT_PORTS[scheme]:
        url += f":{number}"
    url += _quoted(path, "")
    if query is not None:
        url += "?" + _quoted(query, "?")
    if fragment is not None:
        url += "#" + _quoted(fragment, "?")
    return url if len(url) <= _MAX_URL else ""


def _quoted(part: str, also: str) -> str:
    return quote(_STRAY_PERCENT.sub("%25", part), safe="/:@!$&()*+,;=-._~%" + also)


def clean_host(host: str) -> str:
    """A host name in lower case and Punycode, without a final dot; '' where it is none (addresses in brackets too)."""
    if len(host) > 1000:
        return ""
    try:
        if "%" in host:
            host = unquote(host, errors="strict")
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        return ""
    host = host.lower().removesuffix(".")
    return host if _HOST.fullmatch(host) else ""
