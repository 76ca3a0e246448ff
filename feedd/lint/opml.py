"""An OPML 2.0 list of feeds (http://opml.org/spec2.opml) -> the rules it breaks."""

from __future__ import annotations

from feedd.lint import markup, shape, text, values
from feedd.lint.names import words
from feedd.lint.rules import Report, shown
from feedd.lint.shape import Child, once
from feedd.lint.xmltree import Element

_OUTLINE_ATTRIBUTES = words(
    "category created description htmlUrl isBreakpoint isComment language text title type url version xmlUrl"
)
_VERSIONS = ("RSS", "RSS1", "RSS2", "scriptingNews")
_OF_SUBSCRIPTIONS = ("description", "htmlUrl", "language", "title", "version", "xmlUrl")


def check(report: Report, root: Element) -> None:
    """Add everything that is wrong with the document below `root`."""
    if root.name != "opml":
        report.add("UndefinedElement", root.line, shown(root.name))
        return
    version = root.attrs.get("version")
    if version is None:
        report.add("MissingAttribute", root.line, "version of opml")
    elif version != "2.0":
        report.add("InvalidOPMLVersion", root.line, shown(version))
    shape.structure(report, root, _OPML, frozenset({"version"}))
    shape.require(report, root, {"head": "MissingElement", "body": "MissingElement"})
    body = root.find("body")
    if body is not None:
        shape.require(report, body, {"outline": "MissingElement"})
        _check_once(report, body, set())
    text.bad_characters(report, root)


def _check_once(report: Report, element: Element, seen: set[str]) -> None:
    """No feed is listed twice under one heading."""
    here: set[str] = set()
    for child in element.children:
        url = child.attrs.get("xmlUrl", "")
        if url and url in here:
            report.add("DuplicateValue", child.line, f"xmlUrl: {shown(url)}")
        here.add(url)
        _check_once(report, child, here)


def _head(report: Report, element: Element) -> None:
    shape.structure(report, element, _HEAD)


def _body(report: Report, element: Element) -> None:
    shape.structure(report, element, _OUTLINES)


def _outline(report: Report, element: Element) -> None:
    shape.structure(report, element, _OUTLINES, _OUTLINE_ATTRIBUTES)
    attrs, line = element.attrs, element.line
    label = attrs.get("text")
    if label is None:
        report.add("MissingAttribute", line, "text of outline")
    elif not label.strip():
        report.add("AttrNotBlank", line, "text of outline")
    kind = attrs.get("type", "").lower()
    if kind == "rss":
        if "xmlUrl" not in attrs:
            report.add("MissingXmlURL", line, shown(label or ""))
        if "title" not in attrs:
            report.add("MissingTitleAttr", line, shown(label or ""))
    elif kind == "link" and "url" not in attrs:
        report.add("MissingUrlAttr", line, shown(label or ""))
    elif not kind and attrs.keys() & set(_OF_SUBSCRIPTIONS):
        report.add("MissingOutlineType", line, shown(label or ""))
    if attrs.get("version", "RSS") not in _VERSIONS:
        report.add("InvalidOutlineVersion", line, shown(attrs["version"]))
    for name in ("text", "title", "description"):
        markup.check(report, line, attrs.get(name, ""))
    for name in ("xmlUrl", "htmlUrl", "url"):
        shape.attribute_url(report, element, name)
    for name in ("isComment", "isBreakpoint"):
        if attrs.get(name, "true") not in ("true", "false"):
            report.add("InvalidTrueFalse", line, f"{name}: {shown(attrs[name])}")
    if "language" in attrs and values.language_rule(attrs["language"]):
        report.add("InvalidLanguage", line, f"language: {shown(attrs['language'])}")
    if "created" in attrs:
        rule = values.rfc822_rule(attrs["created"], report.now)
        if rule:
            report.add(rule, line, f"created: {shown(attrs['created'])}")


def _expansion(report: Report, element: Element) -> None:
    value = shape.leaf(report, element)
    if value and not all(values.is_count(number.strip()) for number in value.split(",")):
        report.add("InvalidExpansionState", element.line, shown(value))


def _email(report: Report, element: Element) -> None:
    value = shape.leaf(report, element)
    if not values.is_email(value):
        report.add("InvalidContact", element.line, shown(value))


_OUTLINES = {"outline": Child(_outline)}
_HEAD: dict[str, Child] = {
    "title": once(shape.html),
    "dateCreated": once(shape.rfc822),
    "dateModified": once(shape.rfc822),
    "ownerName": once(shape.html),
    "ownerEmail": once(_email),
    "ownerId": once(shape.web_url),
    "expansionState": once(_expansion),
    "vertScrollState": once(shape.positive),
    "windowTop": once(shape.positive),
    "windowLeft": once(shape.positive),
    "windowBottom": once(shape.positive),
    "windowRight": once(shape.positive),
}
_OPML = {"head": once(_head), "body": once(_body)}
