"""The first 64 KiB of a page, perhaps cut in the middle -> its title and 16 bytes that stand for what it says.

What a page says is its title, its main heading and its longer runs of text. Scripts, navigation, advertisements, other
stories, banners, comments, times and numbers are left out as far as the markup tells, so two copies of an article give
much the same bytes; `likeness` tells how much. What nothing marks as an advertisement counts as text.

The time taken is linear in the body's length, whatever is in it. Called by `reading`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from hashlib import blake2b
from html import unescape
from typing import Final
from zlib import crc32

from msgspec import Struct

MAX_BODY: Final = 64 << 10  # bytes; what follows is not looked at
SAME: Final = 0.88  # of two pages' clauses in common: a rewritten paragraph of five leaves 0.8, a longer one less
_KEPT: Final = 64  # clauses at most that make a fingerprint
_BITS: Final = 120
_BIT: Final = [1 << bit for bit in range(_BITS)]
_MIX: Final = 0x9E37_79B1  # makes of a CRC, by which texts of one make come close together, a hash
_LONG_BLOCK: Final = 60  # bytes of a paragraph; what is shorter is mostly labels, times, bylines
_LONG_TEXT: Final = 160  # bytes in such paragraphs that make a page one of text
_CLAUSE: Final = 8  # letters, or bytes of letters
_MAX_TITLE: Final = 300  # characters

# (regular expressions: none can take a step back over more than one tag, and no group is possessive)
_HIDDEN_START = re.compile(
    rb"<(?:(!--)|(script|style|noscript|template|svg|math|iframe|textarea|select|object|video|audio|canvas)\b"
    rb"|(nav|aside|footer|dialog|time|button)\b)"
)
_TAG = re.compile(rb"<(/?)([a-z][a-z0-9]*)([^<>]*)>([^<]*)")
_TITLE = re.compile(rb"<title(?:\s[^<>]*)?>([^<]*)")
_CHARSET = re.compile(
    rb"charset\s{0,9}=\s{0,9}[\"']?(windows-125[0-8]|iso-8859-(?:[1-9]\b|1[0134569])|koi8-[ru]|gb2312|gbk|gb18030|big5"
    rb"|shift_jis|euc-jp|euc-kr)"
)
_LOOKS_LIKE_HTML = re.compile(rb"\s{0,256}<(?:!doctype html|html|head|title|body|!--)")
_BYTE_ORDER_MARKS = b"\xef\xbb\xbf\xfe\xff"
_INLINE = frozenset(
    b"a abbr acronym b bdi bdo big br button cite code data del dfn em font i img ins kbd mark q s samp small span"
    b" strike strong sub sup time tt u var wbr".split()
)
_CONTAINERS = frozenset(b"div section ul ol p span form figure table header center dl article".split())
_NEVER_NOISE = (b"h1", b"main")  # what holds one of these is the page itself, whatever its name says
# Words in the classes, ids and labels of what is not the article: each is a whole word of a name (`ad-slot`, `ad_1`).
_NOISE = frozenset(
    b"ad ads adbox adslot adunit adsbygoogle advert adverts advertisement advertising advertorial adsense dfp"
    b" outbrain taboola revcontent mgid promo promos promoted promotion sponsor sponsored sponsors related"
    b" recommended recommendation recommendations recirc recirculation popular trending mostread teaser teasers"
    b" newsletter newsletters signup cookie cookies consent gdpr cmp onetrust didomi usercentrics comments disqus"
    b" share sharing social sidebar breadcrumb breadcrumbs navigation navbar nav menu footer modal popup pagination"
    b" pager timestamp datetime dateline counter ticker complementary dialog".split()
)
_HIDING = frozenset(b"hidden style aria".split())  # attributes that may hide: looked at closely
_NAMES = re.compile(rb"\b(?:class|id|role|aria-label)\s{0,9}=\s{0,9}(?:\"([^\"]*)\"|'([^']*)'|([^\s\"']+))")
_HIDES = re.compile(
    rb"(?:^|\s)hidden(?:\s|/|=|$)|aria-hidden\s?=\s?[\"']?true|display\s?:\s?none|visibility\s?:\s?hidden"
)

_STOPS = b".!?:,"
_OTHERS = bytes(code for code in range(128) if not chr(code).isalpha() and code not in _STOPS)
_TO_CLAUSES = bytes(0x0A if code in _STOPS else code for code in range(256))
_NOT_LETTERS = bytes(0x20 if code < 128 and not chr(code).isalpha() else code for code in range(256))
_WIDE_STOPS = tuple(stop.encode() for stop in "。，、！？：")


class Page(Struct, frozen=True, gc=False):
    """What a body says: its title and main heading, as plain text (the heading in lower case); the bytes of text that
    it shows; and its fingerprint, if it has one.

    A fingerprint is empty for an empty body and for a page without text (one that scripts fill in). Else it has 16
    bytes: how many clauses it is of, or 0 for a hash of bytes that are no page; and the 15 bytes of those.
    """

    title: str = ""
    heading: str = ""
    length: int = 0
    fingerprint: bytes = b""
    is_html: bool = False


def read(body: bytes, content_type: str) -> Page:
    """What a body says. `content_type`: the header's value; where it is empty, the body is looked at."""
    body = body[:MAX_BODY]
    if not is_html(body, content_type):
        return Page(fingerprint=b"\0" + blake2b(body, digest_size=15).digest() if body else b"")
    if b"\0" in body:  # UTF-16: its markup, and what ASCII can write
        body = body.replace(b"\0", b"")
    lower = body.lower()
    found = _find_title(body, lower)
    shown = _without_hidden(lower)
    headings, blocks = _blocks(shown, _NOISE)
    if not any(blocks):  # all of the page was in something of a bad name
        headings, blocks = _blocks(shown, frozenset())
    text = [block for block, is_text in blocks if is_text]
    if sum(map(len, text)) < _LONG_TEXT:  # a page of links or labels, or an error: all counts
        text = [block for block, _ in blocks]
    clauses = _clauses(text)
    if clauses:
        clauses |= _clauses((*headings, found.lower().encode()))
    heading = _plain(headings[0], lower) if headings else ""
    return Page(found, heading, sum(len(block) for block, _ in blocks), _sketch(clauses), True)


def fingerprint(body: bytes, content_type: str) -> bytes:
    """What stands for a body's content, for `same` and `likeness`; empty where there is nothing to compare."""
    return read(body, content_type).fingerprint


def title(body: bytes) -> str:
    """The title of an HTML page as plain text on one line; empty for none."""
    body = body[:MAX_BODY].replace(b"\0", b"")
    return _find_title(body, body.lower())


def is_html(body: bytes, content_type: str) -> bool:
    """Whether a body is a page, by its header; without one, by its beginning."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type:
        return media_type in ("text/html", "application/xhtml+xml")
    return bool(_LOOKS_LIKE_HTML.match(body[:512].replace(b"\0", b"").lstrip(_BYTE_ORDER_MARKS).lower()))


def likeness(one: bytes, other: bytes) -> float:
    """How much of what two fingerprints stand for they have in common: 1 for all, 0 for hardly anything.

    An estimate: each clause of one page and not of the other turns a bit, so bits that differ tell how many there are
    (an odd sketch: Mitzenmacher, Pagh, Pham 2014), within a few hundredths. 0 where either is empty.
    """
    if not one or not other:
        return 0.0
    if one == other:
        return 1.0
    clauses = one[0] + other[0]
    if not (one[0] and other[0]):
        return 0.0
    bits = (int.from_bytes(one[1:]) ^ int.from_bytes(other[1:])).bit_count()
    if 2 * bits >= _BITS:
        return 0.0
    differing = math.log1p(-2 * bits / _BITS) / math.log1p(-2 / _BITS)
    return max(0.0, 1 - max(differing, abs(one[0] - other[0])) / clauses)


def same(one: bytes, other: bytes) -> bool:
    """Whether two fingerprints are of the same content. False where either is empty: then nothing is known."""
    return likeness(one, other) >= SAME


def _find_title(body: bytes, lower: bytes) -> str:
    match = _TITLE.search(lower)
    if match is None:
        return ""
    return _plain(body[match.start(1) : match.end(1)], lower)


def _plain(raw: bytes, lower: bytes) -> str:
    """Text of a page, which is UTF-8 or what the page says that it is, on one line."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        charset = _CHARSET.search(lower)
        text = raw.decode(charset[1].decode() if charset else "cp1252", "replace")
    return " ".join(unescape(text).split())[:_MAX_TITLE]


def _without_hidden(lower: bytes) -> bytes:
    """Without comments, scripts and other elements that are not of the text, as far as these are closed.

    What opens a comment, a script or its like and is never closed hides the rest, as it does in a browser.
    """
    kept: list[bytes] = []
    unclosed: set[bytes] = set()
    at = begin = 0
    while match := _HIDDEN_START.search(lower, begin):
        begin = match.end()
        comment, raw, element = match.groups()
        name = raw or element
        if name in unclosed:
            continue
        end = lower.find(b"-->" if comment else b"</" + name, begin)
        if end >= 0:
            kept.append(lower[at : match.start()])
            at = begin = end + 3 if comment else end  # an end tag means nothing by itself
        elif comment or raw in (b"script", b"style"):
            kept.append(lower[at : match.start()])
            return b"".join(kept)
        else:
            unclosed.add(name)
    kept.append(lower[at:])
    return b"".join(kept)


def _blocks(shown: bytes, noise: frozenset[bytes]) -> tuple[list[bytes], list[tuple[bytes, bool]]]:
    """The main headings; and each run of text between tags that begin or end a block, with whether it is a paragraph:
    long, and not mostly a link. Elements with a name in `noise` are left out, and hidden ones with them.
    """
    headings: list[bytes] = []
    blocks: list[tuple[bytes, bool]] = []
    parts: list[bytes] = []
    linked, linking, in_heading = 0, False, False
    skipped, depth = b"", 0  # the kind of element that is left out, and how many of its kind are open
    for end, name, attributes, text in (*_TAG.findall(shown), (b"", b"body", b"", b"")):
        if skipped:
            if name == skipped:
                depth += -1 if end or name == b"p" else 1  # a paragraph ends where another begins
            elif name in _NEVER_NOISE:
                depth = 0
            if depth:
                continue
            skipped = b""
        elif not end and name in _CONTAINERS and attributes and noise and _is_noise(attributes, noise):
            skipped, depth = name, 1
            if name == b"span":  # else the block before it ends
                continue
            text = b""
        if name in _INLINE:
            if name == b"a":
                linking = not end
        else:
            block = b"".join(parts).strip()
            if block:
                blocks.append((block, len(block) >= _LONG_BLOCK and 2 * linked < len(block)))
                if in_heading:
                    headings.append(block)
            parts, linked, in_heading = [], 0, name == b"h1" and not end
        parts.append(text)
        if linking:
            linked += len(text)
    return headings, blocks


def _is_noise(attributes: bytes, noise: frozenset[bytes]) -> bool:
    words = attributes.translate(_NOT_LETTERS).split()
    if noise.isdisjoint(words) and _HIDING.isdisjoint(words):
        return False
    if _HIDES.search(_NAMES.sub(b"", attributes)):
        return True
    names = b" ".join(b" ".join(found) for found in _NAMES.findall(attributes))
    return not noise.isdisjoint(names.translate(_NOT_LETTERS).split())


def _clauses(blocks: Iterable[bytes]) -> set[int]:
    """What stands between two stops, without space, digits and other signs, as hashes; not what is short."""
    text = b".".join(blocks)
    if not text.isascii():
        for stop in _WIDE_STOPS:
            text = text.replace(stop, b".")
    clauses = text.translate(_TO_CLAUSES, _OTHERS).split(b"\n")
    return {crc32(clause) * _MIX & 0xFFFF_FFFF for clause in clauses if len(clause) >= _CLAUSE}


def _sketch(clauses: Collection[int]) -> bytes:
    """The fingerprint of clauses, whatever their order: of those with the least hashes, if they are many."""
    kept = clauses if len(clauses) <= _KEPT else sorted(clauses)[:_KEPT]
    bits = 0
    for number in kept:
        bits ^= _BIT[number % _BITS]
    return bytes((len(kept),)) + bits.to_bytes(_BITS // 8) if kept else b""
