"""atom:link in Atom and RSS feeds -> the rules that a link, and the links of one feed together, break.

RFC 4287 4.2.7, RFC 5005, RFC 8288.
"""

from __future__ import annotations

from feedd.lint import names, shape, values
from feedd.lint.rules import Report, shown
from feedd.lint.xmltree import Element

_ATTRIBUTES = frozenset({"href", "rel", "type", "hreflang", "title", "length", "thr:count", "thr:updated"})
_IANA = "http://www.iana.org/assignments/relation/"
_FEED_TYPES = {"atom": "application/atom+xml", "rss": "application/rss+xml"}


def relation(link: Element) -> str:
    return link.attrs.get("rel", "alternate").removeprefix(_IANA)


def is_alternate(element: Element) -> bool:
    return element.name == "atom:link" and relation(element) == "alternate"


def check_link(report: Report, element: Element) -> None:
    """One link of a feed."""
    shape.attributes(report, element, _ATTRIBUTES)
    attrs, line, rel = element.attrs, element.line, relation(element)
    if element.text.strip():
        report.add("AtomLinkNotEmpty", line)
    href = attrs.get("href")
    if href is None:
        report.add("MissingHref", line, f"link rel={shown(rel)}")
    elif rel == "self" and values.url_rule(href) == "InvalidFullLink":
        report.add("RelativeSelf", line, shown(href))
    else:
        shape.value_url(report, element, href)
    if not rel:
        report.add("AttrNotBlank", line, "rel")
    elif rel not in names.LINK_RELATIONS and values.url_rule(rel):
        report.add("UnregisteredAtomLinkRel", line, shown(rel))
    kind = attrs.get("type")
    if kind is not None:
        if not values.is_media_type(kind):
            report.add("InvalidMIMEType", line, shown(kind))
        elif rel == "self" and kind.partition(";")[0].strip() != _FEED_TYPES[report.kind]:
            report.add("SelfNotAtom", line, shown(kind))
    title = attrs.get("title")
    if title is not None:
        if not title.strip():
            report.add("AttrNotBlank", line, "title")
        shape.markup_in_plain(report, element, title)
    if "length" in attrs and not values.is_count(attrs["length"]):
        report.add("InvalidNonNegativeInteger", line, f"length: {shown(attrs['length'])}")
    if "hreflang" in attrs and values.language_rule(attrs["hreflang"]):
        report.add("InvalidLanguage", line, f"hreflang: {shown(attrs['hreflang'])}")


def check_entry_link(report: Report, element: Element) -> None:
    """One link of an entry."""
    check_link(report, element)
    if relation(element) in names.PAGING_RELATIONS:
        report.add("FeedHistoryRelInEntry", element.line, relation(element))


def check_feed_links(report: Report, head: Element) -> None:
    """All links of an Atom feed or an RSS channel together: self, alternates, history."""
    by_rel: dict[str, list[Element]] = {}
    for child in head.children:
        if child.name == "atom:link":
            by_rel.setdefault(relation(child), []).append(child)
    if "self" not in by_rel:
        report.add("MissingAtomSelfLink" if report.kind == "rss" else "MissingSelf", head.line)
    for link in by_rel.get("self", ()):
        if report.self_url and link.attrs.get("href") != report.self_url:
            report.add("SelfDoesntMatchLocation", link.line, shown(link.attrs.get("href", "")))
    check_alternates(report, head)
    _check_history(report, head, by_rel)


def _check_history(report: Report, head: Element, by_rel: dict[str, list[Element]]) -> None:
    present = head.names()
    here = {link.attrs.get("href", "") for link in by_rel.get("self", ())} | ({report.self_url} - {""})
    if "fh:complete" in present:
        for rel in sorted(by_rel.keys() & names.PAGING_RELATIONS - {"current"}):
            report.add("FeedRelInCompleteFeed", by_rel[rel][0].line, rel)
        for link in by_rel.get("current", ()):
            if link.attrs.get("href", "") not in here:
                report.add("CurrentNotSelfInCompleteFeed", link.line)
    elif "fh:archive" in present:
        if not by_rel.keys() & {"prev-archive", "next-archive"}:
            report.add("ArchiveIncomplete", head.line)
        if "current" not in by_rel:
            report.add("MissingCurrentInArchive", head.line)
    for end, beyond in (("first", "previous"), ("last", "next")):
        if beyond in by_rel and any(link.attrs.get("href") in here for link in by_rel.get(end, ())):
            report.add("LinkPastEnd", by_rel[beyond][0].line, beyond)


def check_alternates(report: Report, element: Element) -> None:
    """No two alternate links with the same type and language."""
    seen: set[tuple[str, str]] = set()
    for child in element.children:
        if is_alternate(child):
            key = (child.attrs.get("type", ""), child.attrs.get("hreflang", ""))
            if key in seen:
                report.add("DuplicateAtomLink", child.line)
            seen.add(key)
