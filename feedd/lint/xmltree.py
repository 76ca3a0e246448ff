"""XML bytes -> a tree of elements that know their line and place, or the findings why there is none.

Safe on anything: no DTD, no entities beyond XML's five, no external files, bounded depth. Element and attribute names
come out with the usual prefix of their namespace (`atom:link`, `media:content`), whatever prefix the document chose.
"""

from __future__ import annotations

from xml.parsers import expat

from feedd.lint import names
from feedd.lint.rules import Report, shown

MAX_BYTES = 5_000_000  # what the W3C validator reads
MAX_DEPTH = 200


class Element:
    """`text` is all of the element's own text; `start` and `end` are byte offsets of its tags in the document."""

    __slots__ = ("attrs", "children", "end", "line", "name", "start", "text")

    def __init__(self, name: str, attrs: dict[str, str], line: int, start: int) -> None:
        self.name, self.attrs, self.line, self.start, self.end = name, attrs, line, start, start
        self.text = ""
        self.children: list[Element] = []

    def first_line(self, data: bytes) -> bytes:
        """The source of the element up to its end or the end of the line, whichever comes first."""
        return data[self.start : self.end].partition(b"\n")[0]

    def names(self) -> set[str]:
        return {child.name for child in self.children}

    def find(self, name: str) -> Element | None:
        return next((child for child in self.children if child.name == name), None)


class _Refused(Exception):
    """Raised in a handler to end parsing: (rule, what)."""


def parse(report: Report) -> Element | None:
    """The root element; None where the document is not XML that a feed may be."""
    data = report.data
    if not report.is_readable(MAX_BYTES):
        return None
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.buffer_size = 1 << 16
    top = _connect(parser, report)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        report.add("SAXError", error.lineno, expat.ErrorString(error.code))
        return None
    except _Refused as refused:
        rule, what = refused.args
        report.add(rule, parser.CurrentLineNumber, what)
        return None
    return top.children[0]


def _connect(parser: expat.XMLParserType, report: Report) -> Element:
    """Let the parser build below the element that is returned."""
    top = Element("", {}, 0, 0)
    stack = [top]
    texts: list[list[str]] = [[]]  # joined once: mixed content would cost the square of its length
    known: dict[str, str] = {}

    def name_of(expat_name: str) -> str:
        name = known.get(expat_name)
        if name is None:
            name = known[expat_name] = names.short(expat_name)
        return name

    def start(tag: str, attrs: dict[str, str]) -> None:
        if len(stack) > MAX_DEPTH:
            raise _Refused("SAXError", f"more than {MAX_DEPTH} elements deep")
        if attrs and any(" " in key for key in attrs):
            attrs = {name_of(key) if " " in key else key: value for key, value in attrs.items()}
        element = Element(name_of(tag), attrs, parser.CurrentLineNumber, parser.CurrentByteIndex)
        stack[-1].children.append(element)
        stack.append(element)
        texts.append([])

    def end(_: str) -> None:
        element = stack.pop()
        element.end = parser.CurrentByteIndex
        element.text = "".join(texts.pop())

    def characters(text: str) -> None:
        texts[-1].append(text)

    def doctype(*_: object) -> None:
        raise _Refused("InvalidDoctype", "")

    def declaration(version: str, encoding: str | None, _: int) -> None:
        if version != "1.0":
            report.add("BadXmlVersion", 1, shown(version))
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8", "us-ascii"):
            report.add("NotUTF8", 1, shown(encoding))

    def namespace(prefix: str | None, uri: str | None) -> None:
        rule = names.namespace_rule(prefix or "", uri or "", in_atom=report.kind == "atom")
        if rule:
            report.add(rule, parser.CurrentLineNumber, shown(f"xmlns:{prefix}={uri}" if prefix else f"xmlns={uri}"))

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    parser.XmlDeclHandler = declaration
    parser.StartNamespaceDeclHandler = namespace
    return top
