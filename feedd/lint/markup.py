"""HTML as it stands in a feed's content -> the rules it breaks, with the offset of each.

Knows tags, attributes, character references and nesting (HTML5 fragments); shows nothing and changes nothing.
Called for every HTML value of every format, so it runs on one regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from html.entities import html5

from feedd.lint import nesting, values
from feedd.lint.names import words
from feedd.lint.rules import Report, shown

# https://html.spec.whatwg.org/multipage/indices.html#elements-3, and the obsolete ones that are harmless
PLAIN_TAGS = words(
    "a abbr acronym address area article aside audio b bdi big blockquote br button canvas caption center cite code "
    "col colgroup data datalist dd del details dfn dialog dir div dl dt em fieldset figcaption figure font footer form "
    "h1 h2 h3 h4 h5 h6 header hgroup hr i img input ins kbd label legend li main map mark menu meter nav noscript ol "
    "optgroup option output p picture pre progress q rp rt ruby s samp section select small source span strike strong "
    "sub summary sup table tbody td template textarea tfoot th thead time tr track tt u ul var video wbr"
)
RISKY_TAGS = words(
    "applet base basefont bdo body comment embed frame frameset head html iframe isindex link listing meta noframes "
    "object param plaintext script slot style title xmp"
)
HTML_TAGS = PLAIN_TAGS | RISKY_TAGS
_RAW_TEXT = words("script style xmp iframe noframes textarea title")

MAX_OPEN_TAGS = 500  # what is open is searched again and again: depth costs its square

_TOKEN = re.compile(
    r"<(?:"
    r"(?P<close>/[A-Za-z][^\s/>\"'<=]*+)\s*+>"
    r"|(?P<open>[A-Za-z][^\s/>\"'<=]*+)"
    r"(?P<attrs>(?:\s++[^\s\"'<>/=]++(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s\"'=<>`]++))?+)*+)\s*+(?P<slash>/?+)>"
    r"|!--(?!-?>)(?P<comment>[^-]*+(?:-(?!-)[^-]*+)*)-->"
    r"|)"
)
_ATTRIBUTE = re.compile(r"([^\s\"'<>/=]++)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'=<>`]++)))?+")
_AMPERSAND = re.compile(r"&(?:(?=[\t\n\f <&]|$)|#(?:([0-9]++)|[xX]([0-9A-Fa-f]++));|([A-Za-z][A-Za-z0-9]*+;)|())")

_URL_ATTRIBUTES = words("href src poster cite longdesc action formaction background data srcset")
_SCRIPT_SCHEMES = ("javascript:", "vbscript:", "data:", "file:", "about:", "blob:")


def check(report: Report, line: int, html: str) -> None:
    """Add what is wrong with an HTML fragment that begins on `line`."""
    place = 0
    for rule, offset, about in problems(html):
        if report.is_full():
            break
        if offset < place:  # references come before tags
            line -= html.count("\n", offset, place)
        else:
            line += html.count("\n", place, offset)
        place = offset
        report.add(rule, line, about)


def problems(html: str) -> Iterator[tuple[str, int, str]]:
    """(rule, offset in `html`, what) of everything wrong in a fragment."""
    if "&" in html:
        yield from _references(html)
    if "<" not in html:
        return
    stack: list[str] = []
    after = raw_until = 0
    for token in _TOKEN.finditer(html):
        at = token.start()
        if at < raw_until:
            continue
        if stack and stack[-1] in nesting.TABLE_CONTEXTS and html[after:at].strip():
            yield "NotHtml", at, f"text directly in <{stack[-1]}>"
        after = token.end()
        closing, opening, attributes, slash, comment = token.groups()
        problem = ""
        if opening:
            name = opening.lower()
            if name in RISKY_TAGS:
                yield "SecurityRisk", at, f"<{name}>"
            elif name not in PLAIN_TAGS:
                yield "NotHtml", at, f"<{shown(name)}>"
            if attributes:
                yield from _attributes(at, name, attributes)
            if slash and name not in nesting.VOID:
                problem = f"<{shown(name)}/>"
            problem = nesting.open_tag(stack, name) or problem
            if len(stack) > MAX_OPEN_TAGS:
                yield "NotHtml", at, f"more than {MAX_OPEN_TAGS} elements deep"
                return
            if name in _RAW_TEXT:
                raw_until = _end_of_raw(html, name, after)
        elif closing:
            problem = nesting.close_tag(stack, closing[1:].lower())
        elif comment is None:
            problem = f"'{shown(html[at : at + 20])}' is neither a tag nor a comment"
        if problem:
            yield "NotHtml", at, problem
    problem = nesting.end_of_text(stack)
    if problem:
        yield "NotHtml", len(html), problem


def _end_of_raw(html: str, name: str, start: int) -> int:
    end = re.compile(rf"</{name}[\s/>]", re.I).search(html, start)
    return end.start() if end else len(html)


def _references(html: str) -> Iterator[tuple[str, int, str]]:
    for match in _AMPERSAND.finditer(html):
        decimal, hexadecimal, name, bad = match.groups()
        if decimal or hexadecimal:
            code = int(decimal[:8]) if decimal else int(hexadecimal[:8], 16)
            if not _is_character(code):
                yield "NotHtml", match.start(), f"{shown(match[0])} is no character"
        elif bad is not None or (name and name not in html5):
            yield "NotHtml", match.start(), f"'{shown(html[match.start() : match.start() + 12])}' is no reference"


def _is_character(code: int) -> bool:
    if code < 0x20:
        return code in (9, 10, 12)
    if 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or 0xFDD0 <= code < 0xFDF0:
        return False
    return code <= 0x10FFFF and code & 0xFFFE != 0xFFFE


def _attributes(at: int, tag: str, source: str) -> Iterator[tuple[str, int, str]]:
    seen: set[str] = set()
    for match in _ATTRIBUTE.finditer(source):
        name = match[1].lower()
        if name in seen:
            yield "NotHtml", at, f"<{tag}> has {shown(name)} twice"
        seen.add(name)
        rule, about = attribute_problem(tag, name, unescape(match[2] or match[3] or match[4] or ""))
        if rule:
            yield rule, at, about


def attribute_problem(tag: str, name: str, value: str) -> tuple[str, str]:
    """(rule, what) for one attribute with its value decoded; ("", "") where nothing is wrong."""
    if name == "style":
        return "DangerousStyleAttr", f"<{tag}>"
    if name.startswith("on"):
        return "SecurityRiskAttr", f"<{tag} {shown(name)}>"
    if name in _URL_ATTRIBUTES:
        for url in _srcset(value) if name == "srcset" else [value.strip()]:
            rule = _content_url_rule(url)
            if rule:
                return rule, f"<{tag} {name}={shown(url)}>"
    return "", ""


def _srcset(value: str) -> list[str]:
    """The URLs of an image candidate string."""
    return [candidate.split()[0] for candidate in re.split(r",\s+", value) if candidate.strip()]


def _content_url_rule(url: str) -> str:
    if not url:
        return "ContainsRelRef"
    rule = values.url_rule(url)
    if rule == "InvalidFullLink" and not url.lower().startswith(("http:", "https:")):
        return "ContainsRelRef"
    return "SecurityRiskAttr" if rule and url.lower().startswith(_SCRIPT_SCHEMES) else rule
