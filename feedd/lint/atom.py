"""An Atom 1.0 feed document (RFC 4287, with RFC 5005 history) -> the rules it breaks.

Entry documents and AtomPub are not feeds of our shape: they are reported as undefined.
"""

from __future__ import annotations

from collections import Counter

from feedd.lint import extensions, links, markup, shape, text, values
from feedd.lint.rules import Report, shown
from feedd.lint.shape import Child, once
from feedd.lint.xmltree import Element

_TEXT_ATTRIBUTES = frozenset({"type"})
_TEXT_TYPES = ("text", "html", "xhtml")
_CONTENT_ATTRIBUTES = frozenset({"type", "src"})
_CATEGORY_ATTRIBUTES = frozenset({"term", "scheme", "label"})
_GENERATOR_ATTRIBUTES = frozenset({"uri", "version"})
_FEED_REQUIRED = dict.fromkeys(("atom:title", "atom:id", "atom:updated"), "MissingElement")
_SOURCE_REQUIRED = dict.fromkeys(_FEED_REQUIRED, "MissingSourceElement")


def check(report: Report, root: Element) -> None:
    """Add everything that is wrong with the document below `root`."""
    if root.name != "atom:feed":
        rule = "MissingNamespace" if root.name == "feed" else "UndefinedElement"
        report.add("InvalidNamespace" if root.name.endswith((":feed", "}feed")) else rule, root.line, shown(root.name))
        return
    shape.structure(report, root, _FEED)
    shape.require(report, root, _FEED_REQUIRED)
    links.check_feed_links(report, root)
    entries: list[Element] = []
    for child in root.children:
        if child.name == "atom:entry":
            entries.append(child)
            continue
        if entries:
            report.add("MisplacedMetadata", child.line, shown(child.name))
        text.bad_characters(report, child)
    _check_entries(report, root, entries)


def _check_entries(report: Report, feed: Element, entries: list[Element]) -> None:
    feed_has_author = feed.find("atom:author") is not None
    ids = Counter(_value(entry, "atom:id") for entry in entries)
    if len(entries) > 9 and len(ids) == 1:
        report.add("DuplicateIds", entries[0].line, shown(next(iter(ids))))
        ids.clear()
    seen: dict[str, set[str]] = {"atom:id": set(), "atom:updated": set(), "link": set()}
    feed_updated = _value(feed, "atom:updated")
    for entry in entries:
        entry_id = _value(entry, "atom:id")
        within = report.within(entry_id)
        _check_entry(within, entry, feed_has_author)
        updated = _value(entry, "atom:updated")
        link = next((child.attrs.get("href", "") for child in entry.children if links.is_alternate(child)), "")
        for rule, key, value in (
            ("DuplicateEntries", "atom:id", entry_id if ids else ""),
            ("DuplicateUpdated", "atom:updated", updated),
            ("DuplicateEntryLink", "link", link),
        ):
            if value and value in seen[key]:
                within.add(rule, entry.line, shown(value))
            seen[key].add(value)
        # Z dates of any precision compare as text up to the seconds.
        if updated.endswith("Z") and feed_updated.endswith("Z") and feed_updated[:19] < updated[:19]:
            within.add("FeedOlderThanEntry", entry.line, f"{shown(feed_updated)} < {shown(updated)}")


def _value(element: Element, name: str) -> str:
    child = element.find(name)
    return child.text.strip() if child else ""


def _check_entry(report: Report, entry: Element, feed_has_author: bool) -> None:
    shape.structure(report, entry, _ENTRY)
    present = entry.names()
    for name in _FEED_REQUIRED:
        if name not in present:
            report.add("MissingElement", entry.line, f"{name} in atom:entry")
    source = entry.find("atom:source")
    if not (feed_has_author or "atom:author" in present or (source and source.find("atom:author"))):
        report.add("MissingElement", entry.line, "atom:author in atom:entry")
    content = entry.find("atom:content")
    if content is None:
        if "atom:summary" not in present:
            report.add("MissingTextualContent", entry.line)
        if not any(map(links.is_alternate, entry.children)):
            report.add("MissingContentOrAlternate", entry.line)
    elif "atom:summary" not in present and ("src" in content.attrs or not _is_textual(content)):
        report.add("MissingSummary", entry.line)
    links.check_alternates(report, entry)
    text.bad_characters(report, entry)


def _is_textual(content: Element) -> bool:
    kind = content.attrs.get("type", "text")
    return "/" not in kind or kind.startswith("text/") or kind.endswith(("+xml", "/xml"))


def _entry_source(report: Report, element: Element) -> None:
    shape.structure(report, element, _SOURCE)
    shape.require(report, element, _SOURCE_REQUIRED)
    links.check_alternates(report, element)


def _id(report: Report, element: Element) -> None:
    value = shape.tight(report, element)
    rule = values.id_rule(value) if value else "NotBlank"
    if rule:
        report.add(rule, element.line, f"{element.name}: {shown(value)}")


def _category(report: Report, element: Element) -> None:
    shape.structure(report, element, {}, _CATEGORY_ATTRIBUTES)
    term = element.attrs.get("term")
    if term is None:
        report.add("MissingAttribute", element.line, "term of atom:category")
    elif not term.strip():
        report.add("NotBlank", element.line, "term of atom:category")
    scheme = element.attrs.get("scheme")
    rule = "" if scheme is None else values.id_rule(scheme)
    if rule and rule != "NonCanonicalURI":
        report.add(rule, element.line, f"scheme of atom:category: {shown(scheme or '')}")
    shape.markup_in_plain(report, element, element.attrs.get("label", ""))


def _generator(report: Report, element: Element) -> None:
    value = shape.plain_text(report, element, _GENERATOR_ATTRIBUTES)
    if not value:
        report.add("NotBlank", element.line, element.name)
    shape.attribute_url(report, element, "uri")


def _person(report: Report, element: Element) -> None:
    shape.structure(report, element, PERSON)
    if element.find("atom:name") is None:
        report.add("MissingElement", element.line, f"atom:name in {element.name}")


def _name(report: Report, element: Element) -> None:
    value = shape.plain_text(report, element)
    if not value:
        report.add("NotBlank", element.line, element.name)
    if values.contains_email(value):
        report.add("ContainsEmail", element.line, element.name)


def _email(report: Report, element: Element) -> None:
    value = shape.leaf(report, element)
    if not values.is_email(value):
        report.add("InvalidAddrSpec", element.line, shown(value))


def _text(report: Report, element: Element) -> None:
    """A text construct (RFC 4287, 3.1)."""
    shape.attributes(report, element, _TEXT_ATTRIBUTES)
    kind = element.attrs.get("type", "text")
    if kind not in _TEXT_TYPES:
        report.add("InvalidTextType" if kind else "AttrNotBlank", element.line, f"{element.name}: {shown(kind)}")
    _typed_text(report, element, kind)


def _content(report: Report, element: Element) -> None:
    """atom:content (RFC 4287, 4.1.3)."""
    shape.attributes(report, element, _CONTENT_ATTRIBUTES)
    kind = element.attrs.get("type", "text/plain" if "src" in element.attrs else "text")
    if not kind:
        report.add("AttrNotBlank", element.line, "type of atom:content")
    elif kind.startswith("multipart/") or not (
        values.is_media_type(kind) or ("src" not in element.attrs and kind in _TEXT_TYPES)
    ):
        report.add("InvalidMIMEType", element.line, shown(kind))
    if "src" not in element.attrs:
        _typed_text(report, element, kind)
        return
    shape.attribute_url(report, element, "src")
    if "type" not in element.attrs:
        report.add("MissingTypeAttr", element.line, "atom:content")
    if element.text.strip() or element.children:
        report.add("UnexpectedText", element.line, "atom:content with src")


def _typed_text(report: Report, element: Element, kind: str) -> None:
    if not element.text.strip() and not element.children:
        report.add("NotBlank", element.line, element.name)
        return
    if kind == "xhtml":
        _xhtml(report, element)
        return
    if kind.endswith(("+xml", "/xml")):
        return
    for child in element.children:
        report.add("UndefinedElement", child.line, f"{child.name} in {element.name}")
    if kind in ("html", "text/html"):
        markup.check(report, element.line, element.text)
        if "/" in kind and "<html" not in element.text:
            report.add("HtmlFragment", element.line, element.name)
    else:
        shape.markup_in_plain(report, element, element.text, rule="ContainsUndeclaredHTML")


def _xhtml(report: Report, element: Element) -> None:
    divs = [child.name for child in element.children]
    if element.text.strip() or divs != ["xhtml:div"]:
        report.add("MissingXhtmlDiv", element.line, element.name)
        return
    for child in element.children:
        _xhtml_below(report, child)


def _xhtml_below(report: Report, element: Element) -> None:
    for child in element.children:
        prefix, _, name = child.name.rpartition(":")
        if prefix != "xhtml" or name not in markup.HTML_TAGS:
            report.add("NotHtml", child.line, shown(child.name))
        elif name in markup.RISKY_TAGS:
            report.add("SecurityRisk", child.line, f"<{name}>")
        _xhtml_below(report, child)
    for name, value in element.attrs.items():
        rule, about = markup.attribute_problem(element.name.rpartition(":")[2], name, value)
        if rule:
            report.add(rule, element.line, about)
    if len(element.children) == 0 and text.plain_rule(element.text, b"", in_rss=False):
        report.add("NotInline", element.line, shown(element.text.strip()))


PERSON: dict[str, Child] = {
    "atom:name": once(_name),
    "atom:email": once(_email),
    "atom:uri": once(shape.tight_url),
}

_SOURCE: dict[str, Child] = {
    "atom:author": Child(_person),
    "atom:category": Child(_category),
    "atom:contributor": Child(_person),
    "atom:generator": once(_generator),
    "atom:icon": once(shape.tight_url),
    "atom:id": once(_id),
    "atom:link": Child(links.check_link),
    "atom:logo": once(shape.tight_url),
    "atom:rights": once(_text),
    "atom:subtitle": once(_text),
    "atom:title": once(_text),
    "atom:updated": once(shape.rfc3339),
    **extensions.OF_FEEDS,
}
_FEED = _SOURCE | {"atom:entry": Child(shape.opaque)}  # entries are checked one by one, with their ids

_ENTRY: dict[str, Child] = {
    "atom:author": Child(_person),
    "atom:category": Child(_category),
    "atom:content": once(_content),
    "atom:contributor": Child(_person),
    "atom:id": once(_id),
    "atom:link": Child(links.check_entry_link),
    "atom:published": once(shape.rfc3339),
    "atom:rights": once(_text),
    "atom:source": once(_entry_source),
    "atom:summary": once(_text),
    "atom:title": once(_text),
    "atom:updated": once(shape.rfc3339),
    **extensions.OF_ENTRIES,
}

# The parts of Atom that RSS feeds may use.
IN_CHANNELS: dict[str, Child] = {
    "atom:author": Child(_person),
    "atom:category": Child(_category),
    "atom:contributor": Child(_person),
    "atom:icon": once(shape.tight_url),
    "atom:id": once(_id),
    "atom:link": Child(links.check_link),
    "atom:logo": once(shape.tight_url),
    "atom:updated": once(shape.rfc3339),
}
IN_ITEMS: dict[str, Child] = {
    "atom:author": once(_person),
    "atom:contributor": Child(_person),
    "atom:id": once(_id),
    "atom:link": Child(links.check_entry_link),
    "atom:published": once(shape.rfc3339),
    "atom:summary": once(_text),
    "atom:updated": once(shape.rfc3339),
}
