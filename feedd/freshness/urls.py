"""An article -> the links it has, each as the one spelling of its URL under which its freshness is known.

Pure, and never fails: what is not http or https has no spelling here. Called for each article whose links may have
changed, and by whoever looks a URL up. What a URL leads to is not asked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from typing import Final, Literal
from urllib.parse import quote

from feedd import model, text

Kind = Literal["related", "own", "amp", "image"]
KINDS: tuple[Kind, ...] = ("related", "own", "amp", "image")

_MAX_URL: Final = 8192  # characters, as `text` has it
# What most URLs of articles are already. No percent sign, no port that is some scheme's own: whether those are normal
# takes a longer look.
_NORMAL = re.compile(
    r"(https?://[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
    r"(?::(?!80/|443/)(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?"
    r"/[A-Za-z0-9/._~!$&()*+,;=:@-]*(?:\?[A-Za-z0-9/._~!$()*+,;=:@?&-]*)?)(?:#.*)?"
)
# No backslash before the path: to browsers it begins the path, to others what stands before it is a user.
_URL = re.compile(r"(https?)://([^/?#\\]*)((?:/[^?#]*)?)(\?[^#]*)?(?:#.*)?", re.IGNORECASE | re.DOTALL)
_IN_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]*))?")
_AROUND = "".join(map(chr, range(0x21)))  # what may stand around a URL and is no part of it
_WITHIN = str.maketrans("", "", "\t\r\n")
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def links_of(article: model.Article, kinds: Collection[Kind]) -> tuple[str, ...]:
    """The normalised URLs of an article's links, in the order in which it has them, each once.

    `related`: of the stories it names. `own`: of itself, unless that was built by feedd. `amp`, `image`: both of
    itself and of the stories it names.
    """
    found: list[str] = []
    if "own" in kinds and article.has_own_url:
        found.append(article.url)
    if "related" in kinds:
        found += [story.url for story in article.related]
    if "amp" in kinds:
        found += (article.amp_url, article.cdn_amp_url)
        found += [story.amp_url for story in article.related]
    if "image" in kinds:
        found += [image.url for image in article.images]
        found += [image.url for story in article.related for image in story.images]
    links = dict.fromkeys([normalise(url) for url in found if url])
    links.pop("", None)
    return tuple(links)


def normalise(url: str) -> str:
    """The one spelling of an http or https URL that stands for all that mean the same; "" for anything else.

    By the syntax alone (RFC 3986, section 6.2.2): scheme and host in lower case, the host in Punycode, no default
    port, no empty path, no dot segments, in the path no encoding that is not needed; without user and fragment, which
    are nothing a link's freshness depends on. The query stays, but for what no URL can hold. Idempotent.
    """
    normal = _NORMAL.fullmatch(url)
    if normal and "/." not in url and len(url) <= _MAX_URL:
        return normal[1]
    match = _URL.fullmatch(url.strip(_AROUND).translate(_WITHIN)) if len(url) <= _MAX_URL else None
    if match is None:
        return ""
    try:
        rebuilt = _rebuilt(match[1].lower(), match[2], match[3], match[4] or "")
    except ValueError:  # an impossible address or port; half of a surrogate pair
        return ""
    return rebuilt if len(rebuilt) <= _MAX_URL else ""


def host_of(url: str) -> str:
    """Who is asked for a URL: its host, with the port where that is not the scheme's own; "" without one.

    What politeness counts by, so that http and https of one site count as one.
    """
    return normalise(url).partition("://")[2].partition("/")[0]


def _rebuilt(scheme: str, authority: str, path: str, query: str) -> str:
    host, port = _host_and_port(authority.rpartition("@")[2])
    number = int(port) if port.isascii() and port.isdecimal() else 0
    if not host or (port and not 0 < number < 65_536):
        return ""
    if port and number != _DEFAULT_PORTS[scheme]:
        host += f":{number}"
    path = _without_dots(_ENCODED.sub(_decoded, _quoted(path, ""))) or "/"
    return f"{scheme}://{host}{path}{_quoted(query, '?')}"


def _host_and_port(authority: str) -> tuple[str, str]:
    if bracketed := _IN_BRACKETS.fullmatch(authority):
        return f"[{ipaddress.IPv6Address(bracketed[1]).compressed}]", bracketed[2] or ""
    host, _, port = authority.partition(":")
    return text.clean_host(host), port


def _quoted(part: str, also: str) -> str:
    """As `text` cleans the URLs of articles, so that one that came another way is the same."""
    return quote(_STRAY_PERCENT.sub("%25", part), safe="/:@!$&()*+,;=-._~%" + also)


def _decoded(match: re.Match[str]) -> str:
    """A percent-encoded octet: the character itself where that is unreserved, else with upper-case digits."""
    character = chr(int(match[0][1:], 16))
    return character if character in _UNRESERVED else match[0].upper()


def _without_dots(path: str) -> str:
    """Without the segments `.` and `..` (RFC 3986, section 5.2.4)."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
