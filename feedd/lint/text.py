"""Plain texts in feeds -> the rules they break: characters that should not be there, markup where none is read.

Called by every format; HTML values are `markup`'s.
"""

from __future__ import annotations

import re
from html.entities import html5

from feedd.lint import markup
from feedd.lint.rules import Report, shown
from feedd.lint.xmltree import Element

_BAD_CHARACTER = re.compile("[\x7f-\x9f\ufffd\ud800-\udfff\ufffe\uffff]")
_MOJIBAKE = re.compile("[\xc2-\xf4][\x80-\xbf]")
_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9]*+)[^<>]{0,1000}+>")
_END_TAG = re.compile(r"</([A-Za-z][A-Za-z0-9]*)>")
_ENTITY = re.compile(r"&(#?[A-Za-z0-9_]+)")
_LOOKS_LIKE_MARKUP = re.compile(r"&#[x0-9]|<[/A-Za-z]")


def bad_characters(report: Report, element: Element) -> None:
    """BadCharacters anywhere in an element, its attributes and all below it."""
    for value in (element.text, *element.attrs.values()):
        if not value.isascii() and is_bad(value):
            report.add("BadCharacters", element.line, f"{shown(element.name)} {shown(value)}")
            break
    for child in element.children:
        bad_characters(report, child)


def is_bad(value: str) -> bool:
    """C1 controls, replacement characters, non-characters, or a line that is UTF-8 read as Latin-1."""
    if _BAD_CHARACTER.search(value):
        return True
    return bool(_MOJIBAKE.search(value)) and any(_is_mojibake(line) for line in value.splitlines())


def _is_mojibake(line: str) -> bool:
    try:
        return not line.isascii() and bool(line.encode("latin-1").decode())
    except UnicodeError:
        return False


def plain_rule(value: str, source: bytes, *, in_rss: bool) -> str:
    """What a plain text that looks like markup breaks: "ContainsHTML", "CharacterData" (RSS), or "".

    `source` is how it is written in the document: the RSS profile's `&#x26;` and `&#x3C;` show that it is meant.
    """
    if "<" not in value and "&" not in value:
        return ""
    if any(name.lower() in markup.HTML_TAGS for name in _END_TAG.findall(value)):
        return "ContainsHTML"
    meant = b"&#x" in source
    if not meant and any(_is_entity(name) for name in _ENTITY.findall(value)):
        return "ContainsHTML"
    if in_rss:
        return "CharacterData" if not meant and _LOOKS_LIKE_MARKUP.search(value) else ""
    return "ContainsHTML" if any(name.lower() in markup.HTML_TAGS for name in _TAG.findall(value)) else ""


def json_rule(value: str) -> str:
    """JSON has no other way to write a title: only what is plainly left-over markup is ContainsHTML."""
    if any(name.lower() in markup.HTML_TAGS for name in _END_TAG.findall(value)):
        return "ContainsHTML"
    return "ContainsHTML" if any(f"{name};" in html5 for name in re.findall(r"&([A-Za-z]+);", value)) else ""


def _is_entity(name: str) -> bool:
    return not name.isalpha() or f"{name};" in html5
