"""HTML and Markdown as files have them -> an HTML fragment that is safe and valid in any feed.

An HTML5 parser, an allow-list, absolute clean URLs, and XML's syntax: closed elements, no named entities. Bodies that
would take a parser more than a moment become plain paragraphs. Called by `parse`; the libraries load when needed.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final

from feedd import model, text

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MAX_BODY: Final = 256 << 10  # characters; more is cut off
MAX_DEPTH: Final = 256  # of elements; libxml2 reads no more
_MAX_OPEN: Final = 2_500  # tags that could nest: the parser's time is their square, at worst
_MAX_TAGS: Final = 5_000
_MAX_REPAIR: Final = 64 << 10  # characters: 3.5 us each, at worst
_MAX_AMPERSANDS: Final = 50_000
_MAX_MARKUP: Final = 30_000  # characters that mean something in Markdown: 15 us each, at worst
_MARKUP: Final = "[]*_`<>~&|!\\#:-\n"
_MAX_LINK: Final = 2_048  # characters; the parser repeats an open link in each paragraph
_MAX_RESULT: Final = 4 * MAX_BODY

_TAGS = set(
    re.findall(
        r"\w+",
        "a abbr b blockquote br caption cite code dd del dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img"
        " ins kbd li mark ol p pre q s samp small span strong sub sup table tbody td tfoot th thead time tr tt u ul"
        " var wbr",
    )
)
_ATTRIBUTES = {
    "*": {"dir", "lang"},
    "a": {"href"},
    "abbr": {"title"},
    "img": {"alt", "height", "src", "title", "width"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "time": {"datetime"},
}
_WITHOUT_CONTENT = {
    "audio", "canvas", "embed", "iframe", "math", "noembed", "noframes", "object", "script", "style", "svg",
    "template", "title", "video", "xmp",
}  # fmt: skip
_SHAPES = {
    **dict.fromkeys(("colspan", "height", "rowspan", "start", "width"), re.compile(r"[0-9]{1,5}")),
    "dir": re.compile(r"ltr|rtl|auto"),
    "lang": re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,4}"),
    "scope": re.compile(r"row|col|rowgroup|colgroup"),
    "datetime": re.compile(r"[0-9T:.+Z -]{1,40}"),
}

# Elements that a following one of their kind closes, and those that have no content: neither can nest alone.
_FLAT = {"p", "li", "dt", "dd", "td", "th", "tr", "tbody", "thead", "tfoot", "option"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
_OPEN_TAG = re.compile(r"<([a-zA-Z][^\s/>]*)")
_ANY_TAG = re.compile(r"<(/?)([a-z][a-z0-9]*)")
_VOID_TAG = re.compile(r'<(br|hr|img|wbr)((?: [a-z]+="[^"]*")*)>')
_LINK = re.compile(r"<a(?: [^<>]*)?>|</a>")
_LOST_IMAGE = re.compile(r'<img(?![^<>]* src=")[^<>]*>')
_PARAGRAPH = re.compile(r"<p(?: [^<>]*)?>(.*?)</p>", re.DOTALL)

_IFRAME = re.compile(r"<iframe\b([^<>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)


def render_body(body: str, markdown: bool, base: str) -> str:
    """The body as an XHTML-like fragment; '' where nothing is left. `base`: the URL that relative ones mean."""
    body = text.without_forbidden(_repaired(body[:MAX_BODY]))
    if not body.strip():
        return ""
    if markdown and sum(map(body.count, _MARKUP)) > _MAX_MARKUP:
        return _as_text(body)
    html = _markdown().render(body) if markdown else body
    if _is_heavy(html):
        return _as_text(body)
    cleaned = _clean(html, base)
    if len(cleaned) > _MAX_RESULT or _depth(cleaned) > MAX_DEPTH:
        return _as_text(body)
    return text.without_forbidden(_VOID_TAG.sub(r"<\1\2/>", cleaned).replace("&nbsp;", "&#160;")).strip()


def first_paragraph(html: str) -> str:
    """The first paragraph that says anything, as plain text; else all text. '' where there is none."""
    for match in _PARAGRAPH.finditer(html):
        found = text.plain(match[1])
        if found:
            return found
    return text.plain(html)


def embed_from(featured: str) -> model.Embed | None:
    """The player in an iframe, or None where there is none with an http(s) address."""
    iframe = _IFRAME.search(featured)
    if iframe is None:
        return None
    values = {match[1].lower(): match[2] or match[3] or match[4] or "" for match in _ATTRIBUTE.finditer(iframe[1])}
    source = values.get("src", "").strip()
    url = text.clean_url("https:" + source if source.startswith("//") else source, "")
    if not url:
        return None
    return model.Embed(url, _pixels(values.get("width", "")), _pixels(values.get("height", "")))


def _pixels(size: str) -> int:
    size = size.strip().removesuffix("px")
    return int(size) if len(size) <= 5 and size.isascii() and size.isdecimal() else 0


def _repaired(body: str) -> str:
    """Without mojibake; in a long body only as far as finding it takes no more than a moment."""
    if body.isascii() or len(body) <= _MAX_REPAIR:
        return text.repair(body)
    lines, left = body.split("\n"), _MAX_REPAIR
    for number, line in enumerate(lines):
        if not line.isascii() and len(line) <= left:
            lines[number] = text.repair(line)
            left -= len(line)
    return "\n".join(lines)


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def _clean(html: str, base: str) -> str:
    """Through the allow-list, until a parser sees nothing in it to put right."""
    import nh3

    def keep(_tag: str, name: str, value: str) -> str | None:
        if name in ("href", "src"):
            url = "" if value.lstrip().startswith("#") else text.clean_url(value, base)
            return url if 0 < len(url) <= _MAX_LINK else None
        shape = _SHAPES.get(name)
        return value if shape is None or shape.fullmatch(value) else None

    for _ in range(5):
        terms = "<figcaption" in html and ("<dd" in html or "<dt" in html or "<li" in html)
        before, html = html, nh3.clean(
            html,
            tags=_TAGS - {"figcaption"} if terms else _TAGS,  # html5lib, which validates feeds, reads these apart
            clean_content_tags=_WITHOUT_CONTENT,
            attributes=_ATTRIBUTES,
            attribute_filter=keep,
            url_schemes={"http", "https"},
            link_rel=None,
        )  # fmt: skip
        if len(html) > _MAX_RESULT:
            break
        html = _without_lost_links(_LOST_IMAGE.sub("", html))
        if html == before:
            break
    return html


def _without_lost_links(html: str) -> str:
    """Without the `<a>` that have no `href` (left), and with what they hold."""
    kept: list[bool] = []

    def tag(match: re.Match[str]) -> str:
        if match[0] == "</a>":
            return match[0] if kept.pop() else ""
        kept.append(' href="' in match[0])
        return match[0] if kept[-1] else ""

    return _LINK.sub(tag, html)


def _is_heavy(html: str) -> bool:
    if html.count("&") > _MAX_AMPERSANDS:
        return True
    tags = [tag.lower() for tag in _OPEN_TAG.findall(html)]
    if len(tags) <= _MAX_OPEN:
        return False
    return len(tags) > _MAX_TAGS or sum(tag not in _FLAT and tag not in _VOID for tag in tags) > _MAX_OPEN


def _depth(html: str) -> int:
    """The deepest nesting in well-formed HTML."""
    depth = deepest = 0
    for closing, tag in _ANY_TAG.findall(html):
        if closing:
            depth -= 1
        elif tag not in _VOID:
            depth += 1
            deepest = max(deepest, depth)
    return deepest


def _as_text(body: str) -> str:
    from html import escape

    found = text.plain(body)
    return f"<p>{escape(found, quote=False)}</p>" if found else ""
