"""Elements of the modules that Atom and RSS feeds share: Media RSS, Dublin Core, feed history, and smaller ones.

Media RSS 1.5.1 (https://www.rssboard.org/media-rss), DCMES 1.1, RFC 5005, RFC 4685. Tables for `shape.structure`.
"""

from __future__ import annotations

import re

from feedd.lint import markup, shape, values
from feedd.lint.names import words
from feedd.lint.rules import Report, shown
from feedd.lint.shape import Child, once
from feedd.lint.xmltree import Element

_TEXT_ATTRIBUTES = frozenset({"type"})
_TIMED_TEXT_ATTRIBUTES = frozenset({"type", "lang", "start", "end"})
_SIZED = frozenset({"url", "width", "height"})
_THUMBNAIL_ATTRIBUTES = _SIZED | {"time"}
_CONTENT_ATTRIBUTES = _SIZED | words(
    "bitrate channels duration expression fileSize framerate isDefault lang medium samplingrate type"
)
_MEDIUMS = ("image", "audio", "video", "document", "executable")
_EXPRESSIONS = ("full", "sample", "nonstop")
_ROLES = words(
    "actor artist author composer correspondent director editor illustrator performer photographer producer reporter"
) | {"distribution company", "production company", "publishing company"}
_NPT = re.compile(r"now|[0-9]+(?:\.[0-9]+)?|[0-9]+:[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?")
_COUNTRIES = re.compile(r"[A-Za-z]{2}(?: [A-Za-z]{2})*")  # ISO 3166-1
_PERIODS = ("hourly", "daily", "weekly", "monthly", "yearly")


def _media_text(report: Report, element: Element, attributes: frozenset[str] = _TEXT_ATTRIBUTES) -> None:
    kind = element.attrs.get("type", "plain")
    if kind not in ("plain", "html"):
        report.add("InvalidMediaTextType", element.line, f"{element.name}: {shown(kind)}")
    value = shape.leaf(report, element, attributes)
    if kind == "html":
        markup.check(report, element.line, element.text)
    else:
        shape.markup_in_plain(report, element, value, rule="ContainsUndeclaredHTML")


def _timed_text(report: Report, element: Element) -> None:
    _media_text(report, element, _TIMED_TEXT_ATTRIBUTES)
    _npt(report, element, "start")
    _npt(report, element, "end")
    if "lang" in element.attrs and values.language_rule(element.attrs["lang"]):
        report.add("InvalidLanguage", element.line, "lang of media:text")


def _npt(report: Report, element: Element, name: str) -> None:
    value = element.attrs.get(name, "now")
    if not _NPT.fullmatch(value):
        report.add("InvalidNPTTime", element.line, f"{name} of {element.name}: {shown(value)}")


def _credit(report: Report, element: Element) -> None:
    shape.leaf(report, element, frozenset({"role", "scheme"}))
    role = element.attrs.get("role", "author")
    if role != role.lower() or ("scheme" not in element.attrs and role not in _ROLES):
        report.add("InvalidCreditRole", element.line, shown(role))


def _rating(report: Report, element: Element) -> None:
    value = shape.leaf(report, element, frozenset({"scheme"}))
    if element.attrs.get("scheme", "urn:simple") == "urn:simple" and value not in ("adult", "nonadult"):
        report.add("InvalidMediaRating", element.line, shown(value))


def _restriction(report: Report, element: Element) -> None:
    value = shape.leaf(report, element, frozenset({"relationship", "type"}))
    if element.attrs.get("relationship") not in ("allow", "deny"):
        report.add("InvalidMediaRestrictionRel", element.line)
    if element.attrs.get("type", "country") not in ("country", "uri", "sharing"):
        report.add("InvalidMediaRestrictionType", element.line, shown(element.attrs["type"]))
    if element.attrs.get("type") == "country" and not _COUNTRIES.fullmatch(value):
        report.add("InvalidCountryCode", element.line, shown(value))


def _category(report: Report, element: Element) -> None:
    shape.plain_text(report, element, frozenset({"scheme", "label"}))
    shape.attribute_url(report, element, "scheme")
    shape.markup_in_plain(report, element, element.attrs.get("label", ""))


def _copyright(report: Report, element: Element) -> None:
    shape.plain_text(report, element, frozenset({"url"}))
    shape.attribute_url(report, element, "url")


def _hash(report: Report, element: Element) -> None:
    value = shape.leaf(report, element, frozenset({"algo"}))
    length = {"md5": 32, "sha-1": 40}.get(element.attrs.get("algo", "md5"))
    if len(value) != length or not value.isalnum():
        report.add("InvalidMediaHash", element.line, shown(value))


def _adult(report: Report, element: Element) -> None:
    shape.leaf(report, element)
    report.add("DeprecatedMediaAdult", element.line)


def _thumbnail(report: Report, element: Element) -> None:
    shape.structure(report, element, {}, _THUMBNAIL_ATTRIBUTES)
    _url_and_size(report, element, url_required=True)
    _npt(report, element, "time")


def _player(report: Report, element: Element) -> None:
    shape.structure(report, element, {}, _SIZED)
    _url_and_size(report, element, url_required=True)


def _url_and_size(report: Report, element: Element, *, url_required: bool) -> None:
    shape.attribute_url(report, element, "url", required=url_required)
    for name in ("width", "height"):
        value = element.attrs.get(name)
        if value is not None and not values.is_positive(value):
            report.add("InvalidPositiveInteger", element.line, f"{name} of {element.name}: {shown(value)}")


def _content(report: Report, element: Element) -> None:
    shape.structure(report, element, CONTENT_CHILDREN, _CONTENT_ATTRIBUTES)
    _url_and_size(report, element, url_required=element.find("media:player") is None)
    for name, value in element.attrs.items():
        rule = _content_attribute_rule(name, value)
        if rule:
            report.add(rule, element.line, f"{name} of media:content: {shown(value)}")


def _content_attribute_rule(name: str, value: str) -> str:
    if name == "medium":
        return "" if value in _MEDIUMS else "InvalidMediaMedium"
    if name == "type":
        return "" if values.is_media_type(value) else "InvalidMIMEAttribute"
    if name == "expression":
        return "" if value in _EXPRESSIONS else "InvalidMediaExpression"
    if name == "isDefault":
        return "" if value in ("true", "false") else "InvalidTrueFalse"
    if name == "fileSize":
        return "" if values.is_positive(value) else "InvalidPositiveInteger"
    if name == "channels":
        return "" if values.is_count(value) else "InvalidNonNegativeInteger"
    if name == "lang":
        return values.language_rule(value)
    if name in ("bitrate", "duration", "framerate", "samplingrate"):
        return "" if values.is_number(value) else "InvalidFloat"
    return ""


def _group(report: Report, element: Element) -> None:
    shape.structure(report, element, GROUP_CHILDREN)
    if sum(child.name == "media:content" for child in element.children) < 2:
        report.add("MediaGroupWithoutAlternatives", element.line)


def _update_period(report: Report, element: Element) -> None:
    value = shape.leaf(report, element)
    if value not in _PERIODS:
        report.add("InvalidUpdatePeriod", element.line, shown(value))


def _in_reply_to(report: Report, element: Element) -> None:
    shape.structure(report, element, {}, frozenset({"ref", "href", "type", "source"}))
    ref = element.attrs.get("ref")
    rule = "MissingAttribute" if ref is None else values.id_rule(ref)
    if rule:
        report.add(rule, element.line, f"ref of thr:in-reply-to: {shown(ref or '')}")
    shape.attribute_url(report, element, "href")


_DC_ONCE = words("description format title type")
_DC_MANY = words("contributor coverage identifier publisher relation source")
_DCTERMS_DATES = words("created issued modified")
_DCTERMS_TEXT = words(
    "abstract accessRights alternative audience available bibliographicCitation extent license mediator provenance "
    "rightsHolder spatial temporal valid"
)

DUBLIN_CORE: dict[str, Child] = {
    **{f"dc:{name}": once(shape.anything) for name in _DC_ONCE},
    **{f"dc:{name}": Child(shape.anything) for name in _DC_MANY},
    **{f"dcterms:{name}": once(shape.w3cdtf) for name in _DCTERMS_DATES},
    **{f"dcterms:{name}": Child(shape.opaque) for name in _DCTERMS_TEXT},
    "dc:language": once(shape.language),
    "dc:rights": once(shape.plain),
}

# Of entries, feeds and RSS images only.
DUBLIN_CORE_OF_WORKS: dict[str, Child] = {
    "dc:creator": Child(shape.anything),
    "dc:date": once(shape.w3cdtf),
    "dc:subject": Child(shape.anything),
}

MEDIA_TEXTS: dict[str, Child] = {
    "media:adult": once(_adult),
    "media:category": Child(_category),
    "media:copyright": once(_copyright),
    "media:credit": Child(_credit),
    "media:description": once(_media_text),
    "media:hash": Child(_hash),
    "media:keywords": Child(shape.anything),
    "media:player": Child(_player),
    "media:rating": Child(_rating),
    "media:restriction": Child(_restriction),
    "media:text": Child(_timed_text),
    "media:thumbnail": Child(_thumbnail),
    "media:title": once(_media_text),
}
CONTENT_CHILDREN = MEDIA_TEXTS | DUBLIN_CORE
GROUP_CHILDREN = MEDIA_TEXTS | {"media:content": Child(_content)}

_LICENSE = {"creativeCommons:license": Child(shape.web_url)}

OF_FEEDS: dict[str, Child] = {
    **DUBLIN_CORE,
    **DUBLIN_CORE_OF_WORKS,
    **MEDIA_TEXTS,
    **_LICENSE,
    "fh:archive": once(shape.nothing),
    "fh:complete": once(shape.nothing),
    "sy:updatePeriod": once(_update_period),
    "sy:updateFrequency": once(shape.positive),
    "sy:updateBase": once(shape.w3cdtf),
    "thr:in-reply-to": Child(_in_reply_to),
}

OF_ENTRIES: dict[str, Child] = {
    **DUBLIN_CORE,
    **DUBLIN_CORE_OF_WORKS,
    **GROUP_CHILDREN,
    **_LICENSE,
    "media:group": Child(_group),
    "slash:comments": once(shape.count),
    "slash:department": Child(shape.anything),
    "slash:section": Child(shape.anything),
    "thr:in-reply-to": Child(_in_reply_to),
    "thr:total": once(shape.count),
    "wfw:comment": once(shape.web_url),
    "wfw:commentRss": once(shape.web_url),
}
