"""What an XML element may hold, as tables, and the checks of single elements that several formats share.

A table maps a child's name to how it is checked and whether it may come again. Formats put tables together; nothing
here knows a format beyond `report.kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from feedd.lint import markup, text, values
from feedd.lint.rules import Report, shown
from feedd.lint.xmltree import Element

Check = Callable[[Report, Element], None]

NO_ATTRIBUTES: frozenset[str] = frozenset()
_EVERYWHERE = frozenset({"xml:lang", "xml:base", "xml:id", "xml:space"})


class Child(Struct, frozen=True):
    """How one child is checked. `again` is the rule that a second one breaks; "" where it may come again."""

    check: Check
    again: str = ""


Table = Mapping[str, Child]


def once(check: Check, again: str = "DuplicateElement") -> Child:
    return Child(check, again)


def structure(report: Report, element: Element, table: Table, attrs: frozenset[str] = NO_ATTRIBUTES) -> None:
    """Check an element that holds elements only: its attributes, every child by `table`, and that it has no text."""
    attributes(report, element, attrs)
    if element.text.strip():
        report.add("UnexpectedText", element.line, f"{element.name}: {shown(element.text.strip())}")
    seen: set[str] = set()
    for child in element.children:
        spec = table.get(child.name)
        if spec is None:
            unknown(report, element, child)
            continue
        if spec.again:
            if child.name in seen:
                report.add(spec.again, child.line, child.name)
            seen.add(child.name)
        spec.check(report, child)


def unknown(report: Report, parent: Element, child: Element) -> None:
    """A child that no table has: free in a namespace of its own, else undefined."""
    prefix, colon, _ = child.name.partition(":")
    if child.name.startswith("{"):
        return  # the namespace itself was reported where it was declared, if validators do not know it
    rule = "UndefinedElement"
    if prefix == "xhtml":
        rule = "MisplacedXHTMLContent"
    elif report.kind == "rss" and not colon and ":" in parent.name:
        rule = "NotInANamespace"
    report.add(rule, child.line, f"{child.name} in {parent.name}" if parent.name else shown(child.name))


def attributes(report: Report, element: Element, allowed: frozenset[str]) -> None:
    """Report attributes that are not among `allowed`, and a bad xml:lang."""
    if not element.attrs or element.attrs.keys() <= allowed:
        return
    for name, value in element.attrs.items():
        if name == "xml:lang":
            if value and values.language_rule(value):
                report.add("InvalidLanguage", element.line, f'xml:lang="{shown(value)}"')
        # an unknown namespace was reported where it was declared
        elif name not in allowed and name not in _EVERYWHERE and not name.startswith("{"):
            report.add("UnexpectedAttribute", element.line, f"{shown(name)} of {element.name}")


def leaf(report: Report, element: Element, allowed: frozenset[str] = NO_ATTRIBUTES) -> str:
    """Check an element that holds text only; the text, stripped."""
    attributes(report, element, allowed)
    for child in element.children:
        report.add("UndefinedElement", child.line, f"{child.name} in {element.name}")
    return element.text.strip()


def anything(report: Report, element: Element) -> None:
    """Any text; no elements."""
    leaf(report, element)


def opaque(_report: Report, _element: Element) -> None:
    """Whatever another specification says."""


def nothing(report: Report, element: Element) -> None:
    """An element that is a mark: no text, no elements."""
    structure(report, element, {})


def plain_text(report: Report, element: Element, allowed: frozenset[str] = NO_ATTRIBUTES) -> str:
    """Text without markup, as RSS and names have it; the text, stripped."""
    value = leaf(report, element, allowed)
    markup_in_plain(report, element, value)
    return value


def plain(report: Report, element: Element) -> None:
    plain_text(report, element)


def nonblank_plain(report: Report, element: Element) -> None:
    if not plain_text(report, element):
        report.add("NotBlank", element.line, element.name)


def markup_in_plain(report: Report, element: Element, value: str, *, rule: str = "") -> None:
    """A plain text that looks like markup breaks `rule`, or what `text.plain_rule` says."""
    if "<" in value or "&" in value:
        found = text.plain_rule(value, element.first_line(report.data), in_rss=report.kind == "rss")
        if found:
            report.add(rule or found, element.line, f"{element.name}: {shown(value)}")


def html(report: Report, element: Element) -> None:
    """Escaped HTML."""
    leaf(report, element)
    markup.check(report, element.line, element.text)


def web_url(report: Report, element: Element) -> None:
    """A URL as an element's text."""
    value_url(report, element, leaf(report, element), empty="NotBlank")


def value_url(report: Report, element: Element, value: str, *, empty: str = "InvalidFullLink") -> None:
    """Any URL that belongs to `element`; `empty` is the rule the empty string breaks."""
    rule = values.url_rule(value) if value else empty
    if rule:
        report.add(rule, element.line, f"{element.name}: {shown(value)}")


def attribute_url(report: Report, element: Element, name: str, *, required: bool = False) -> None:
    """A URL as an attribute."""
    value = element.attrs.get(name)
    if value is not None:
        value_url(report, element, value)
    elif required:
        report.add("MissingAttribute", element.line, f"{name} of {element.name}")


def positive(report: Report, element: Element) -> None:
    """A whole number, 1 or more."""
    value = leaf(report, element)
    if not values.is_positive(value):
        report.add("InvalidPositiveInteger", element.line, f"{element.name}: {shown(value)}")


def count(report: Report, element: Element) -> None:
    """A whole number, 0 or more."""
    value = leaf(report, element)
    if not values.is_count(value):
        report.add("InvalidNonNegativeInteger", element.line, f"{element.name}: {shown(value)}")


def language(report: Report, element: Element) -> None:
    value = leaf(report, element)
    if values.language_rule(value):
        report.add("InvalidLanguage", element.line, f"{element.name}: {shown(value)}")


def tight(report: Report, element: Element) -> str:
    """Text with no white space around it, as Atom's dates and IRIs are (RFC 4287, 2 and 3.3); the text, stripped."""
    value = leaf(report, element)
    if value != element.text:
        report.add("UnexpectedWhitespace", element.line, element.name)
    return value


def tight_url(report: Report, element: Element) -> None:
    value_url(report, element, tight(report, element), empty="NotBlank")


def rfc3339(report: Report, element: Element) -> None:
    value = tight(report, element)
    date(report, element, values.rfc3339_rule(value, report.now))


def rfc822(report: Report, element: Element) -> None:
    date(report, element, values.rfc822_rule(leaf(report, element), report.now))


def w3cdtf(report: Report, element: Element) -> None:
    date(report, element, values.w3cdtf_rule(leaf(report, element), report.now))


def date(report: Report, element: Element, rule: str) -> None:
    if rule:
        report.add(rule, element.line, f"{element.name}: {shown(element.text.strip())}")


def require(report: Report, element: Element, required: Mapping[str, str]) -> None:
    """Report children that are missing: `required` maps a name to the rule its absence breaks."""
    present = element.names()
    for name, rule in required.items():
        if name not in present:
            report.add(rule, element.line, f"{name} in {element.name}")
