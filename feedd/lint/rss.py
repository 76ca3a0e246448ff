"""An RSS 2.0 document (https://www.rssboard.org/rss-specification and its profile) -> the rules it breaks."""

from __future__ import annotations

from feedd.lint import atom, extensions, links, shape, text, values
from feedd.lint.rules import Report, shown
from feedd.lint.shape import Child, once
from feedd.lint.xmltree import Element

_IMAGE_TYPES = ("gif", "jpeg", "jpg", "png")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_CLOUD_ATTRIBUTES = frozenset({"domain", "path", "port", "protocol", "registerProcedure"})
_ENCLOSURE_ATTRIBUTES = frozenset({"url", "length", "type"})

# Pairs of elements that say the same thing.
_SAME_IN_ITEMS = (
    ("author", "dc:creator"),
    ("category", "dc:subject"),
    ("guid", "atom:id"),
    ("pubDate", "atom:published"),
    ("pubDate", "dc:date"),
    ("source", "dc:source"),
)
_SAME_IN_CHANNELS = (
    ("category", "dc:subject"),
    ("copyright", "dc:rights"),
    ("language", "dc:language"),
    ("lastBuildDate", "dcterms:modified"),
    ("managingEditor", "dc:creator"),
    ("pubDate", "dc:date"),
    ("webMaster", "dc:publisher"),
)


def check(report: Report, root: Element) -> None:
    """Add everything that is wrong with the document below `root`."""
    if root.name != "rss":
        in_namespace = root.name.endswith((":rss", "}rss"))
        report.add("InvalidNamespace" if in_namespace else "UndefinedElement", root.line, shown(root.name))
        return
    version = root.attrs.get("version")
    if version is None:
        report.add("MissingAttribute", root.line, "version of rss")
    elif version != "2.0":
        report.add("InvalidRSSVersion", root.line, shown(version))
    shape.structure(report, root, _RSS, frozenset({"version"}))
    shape.require(report, root, {"channel": "MissingElement"})


def _channel(report: Report, channel: Element) -> None:
    shape.structure(report, channel, _CHANNEL)
    required = {"title": "MissingTitle", "link": "MissingLink", "description": "MissingDescription"}
    shape.require(report, channel, required)
    _check_same(report, channel, _SAME_IN_CHANNELS, "DuplicateSemantics")
    links.check_feed_links(report, channel)
    _check_image(report, channel)
    last_item = max((at for at, child in enumerate(channel.children) if child.name == "item"), default=-1)
    for child in channel.children[last_item + 1 :] if last_item >= 0 else ():
        report.add("MisplacedItem", child.line, f"{shown(child.name)} after the last item")
    for child in channel.children:
        if child.name != "item":
            text.bad_characters(report, child)
    _check_items(report, channel, [child for child in channel.children if child.name == "item"])


def _check_image(report: Report, channel: Element) -> None:
    image = channel.find("image")
    if image is None:
        return
    for name, rule in (("title", "ImageTitleDoesntMatch"), ("link", "ImageLinkDoesntMatch")):
        mine, theirs = image.find(name), channel.find(name)
        if mine and theirs and mine.text.strip() != theirs.text.strip():
            report.add(rule, mine.line, shown(mine.text.strip()))


def _check_items(report: Report, channel: Element, items: list[Element]) -> None:
    seen: dict[str, set[str]] = {"guid": set(), "link": set()}
    has_build_date = channel.find("lastBuildDate") is not None
    for item in items:
        guid = _value(item, "guid")
        within = report.within(guid or _value(item, "link"))
        _check_item(within, item)
        if not has_build_date and item.find("slash:comments"):
            within.add("SlashDate", item.line)
        for rule, key, value in (
            ("DuplicateValue", "guid", guid),
            ("DuplicateEntryLink", "link", _value(item, "link")),
        ):
            if value and value in seen[key]:
                within.add(rule, item.line, f"{key}: {shown(value)}")
            seen[key].add(value)


def _check_item(report: Report, item: Element) -> None:
    shape.structure(report, item, _ITEM)
    present = item.names()
    if not present & {"title", "description"}:
        report.add("ItemMustContainTitleOrDescription", item.line)
    if "guid" not in present:
        report.add("MissingGuid", item.line)
    names = [child.name for child in item.children]
    if "content:encoded" in present and "description" not in names[: names.index("content:encoded")]:
        report.add("NeedDescriptionBeforeContent", item.line)
    _check_same(report, item, _SAME_IN_ITEMS, "DuplicateItemSemantics")
    text.bad_characters(report, item)


def _check_same(report: Report, element: Element, pairs: tuple[tuple[str, str], ...], rule: str) -> None:
    present = element.names()
    for core, extension in pairs:
        if core in present and extension in present:
            report.add(rule, element.line, f"{core} and {extension}")


def _value(element: Element, name: str) -> str:
    child = element.find(name)
    return child.text.strip() if child else ""


def _email_with_name(report: Report, element: Element) -> None:
    value = shape.plain_text(report, element)
    if values.EMAIL_WITH_NAME.fullmatch(value):
        return
    rule = "MissingRealName" if values.is_email(value) else "EmailFormat" if "@" in value else "InvalidContact"
    report.add(rule, element.line, f"{element.name}: {shown(value)}")


def _category(report: Report, element: Element) -> None:
    if not shape.plain_text(report, element, frozenset({"domain"})):
        report.add("NotBlank", element.line, element.name)


def _source(report: Report, element: Element) -> None:
    shape.plain_text(report, element, frozenset({"url"}))
    shape.attribute_url(report, element, "url", required=True)


def _guid(report: Report, element: Element) -> None:
    value = shape.leaf(report, element, frozenset({"isPermaLink"}))
    permalink = element.attrs.get("isPermaLink", "true")
    if permalink not in ("true", "false"):
        report.add("InvalidBooleanAttribute", element.line, f"isPermaLink: {shown(permalink)}")
    if not value:
        report.add("NotBlank", element.line, "guid")
    elif permalink != "true":
        if len(value) < 9 and value.isdigit():
            report.add("NotSufficientlyUnique", element.line, shown(value))
    elif value.lower().startswith(("tag:", "urn:")):
        report.add("InvalidPermalink", element.line, shown(value))
    elif values.url_rule(value):
        report.add("InvalidHttpGUID", element.line, shown(value))


def _enclosure(report: Report, element: Element) -> None:
    shape.structure(report, element, {}, _ENCLOSURE_ATTRIBUTES)
    attrs, line = element.attrs, element.line
    for name in sorted(_ENCLOSURE_ATTRIBUTES - attrs.keys()):
        report.add("MissingAttribute", line, f"{name} of enclosure")
    url, kind, length = attrs.get("url"), attrs.get("type"), attrs.get("length")
    if url is not None and (rule := values.enclosure_url_rule(url) if url else "InvalidURLAttribute"):
        report.add(rule, line, f"enclosure: {shown(url)}")
    if kind is not None and not values.is_media_type(kind):
        report.add("InvalidMIMEAttribute", line, f"type of enclosure: {shown(kind)}")
    if length is not None and not values.is_count(length):
        unknown = length == "-1"
        report.add("UseZeroForUnknown" if unknown else "InvalidIntegerAttribute", line, f"length: {shown(length)}")


def _image(report: Report, element: Element) -> None:
    shape.structure(report, element, _IMAGE)
    shape.require(report, element, {"title": "MissingTitle", "url": "MissingElement", "link": "MissingLink"})


def _image_url(report: Report, element: Element) -> None:
    shape.web_url(report, element)
    ending = element.text.strip().rpartition(".")[2].lower()
    if ending.isalnum() and ending not in _IMAGE_TYPES:
        report.add("ImageUrlFormat", element.line, shown(element.text.strip()))


def _image_side(report: Report, element: Element) -> None:
    value = shape.leaf(report, element)
    limit, rule = (144, "InvalidWidth") if element.name == "width" else (400, "InvalidHeight")
    if not values.is_positive(value) or int(value[:20]) > limit:
        report.add(rule, element.line, shown(value))


def _cloud(report: Report, element: Element) -> None:
    shape.structure(report, element, {}, _CLOUD_ATTRIBUTES)
    for name in sorted(_CLOUD_ATTRIBUTES - element.attrs.keys()):
        report.add("MissingAttribute", element.line, f"{name} of cloud")
    if not values.is_positive(element.attrs.get("port", "80")):
        report.add("InvalidIntegerAttribute", element.line, "port of cloud")


def _text_input(report: Report, element: Element) -> None:
    report.add("AvoidTextInput", element.line)


def _skip(report: Report, element: Element) -> None:
    """skipHours and skipDays: each hour or day once."""
    part, allowed, rule = (
        ("hour", tuple(map(str, range(24))), "InvalidHour")
        if element.name == "skipHours"
        else ("day", _WEEKDAYS, "InvalidDay")
    )
    shape.structure(report, element, {part: Child(shape.anything)})
    shape.require(report, element, {part: "MissingElement"})
    seen: set[str] = set()
    for child in element.children:
        value = child.text.strip()
        if child.name == part and value not in allowed:
            report.add("UseZeroForMidnight" if part == "hour" and value == "24" else rule, child.line, shown(value))
        if value in seen:
            report.add("DuplicateValue", child.line, f"{part}: {shown(value)}")
        seen.add(value)


def _repeats_core(report: Report, element: Element) -> None:
    report.add("DuplicateDescriptionSemantics", element.line, element.name)


_REPEATING = {f"atom:{name}": Child(_repeats_core) for name in ("title", "subtitle", "rights", "content", "generator")}

_IMAGE: dict[str, Child] = {
    **extensions.DUBLIN_CORE,
    **extensions.DUBLIN_CORE_OF_WORKS,
    "description": once(shape.plain),
    "height": once(_image_side),
    "link": once(shape.web_url),
    "title": once(shape.nonblank_plain),
    "url": once(_image_url),
    "width": once(_image_side),
}

_CHANNEL: dict[str, Child] = {
    **_REPEATING,
    **atom.IN_CHANNELS,
    **extensions.OF_FEEDS,
    "category": Child(_category),
    "cloud": once(_cloud),
    "copyright": once(shape.plain),
    "description": once(shape.plain),
    "docs": once(shape.web_url),
    "generator": once(shape.anything),
    "image": once(_image),
    "item": Child(shape.opaque),  # items are checked one by one, with their ids
    "language": once(shape.language),
    "lastBuildDate": once(shape.rfc822),
    "link": once(shape.web_url),
    "managingEditor": once(_email_with_name),
    "pubDate": once(shape.rfc822),
    "rating": once(shape.anything),
    "skipDays": once(_skip),
    "skipHours": once(_skip),
    "textInput": once(_text_input),
    "title": once(shape.nonblank_plain),
    "ttl": once(shape.positive),
    "webMaster": once(_email_with_name),
}

_ITEM: dict[str, Child] = {
    **_REPEATING,
    **atom.IN_ITEMS,
    **extensions.OF_ENTRIES,
    "author": once(_email_with_name),
    "category": Child(_category),
    "comments": once(shape.web_url),
    "content:encoded": once(shape.html),
    "description": once(shape.html),
    "enclosure": once(_enclosure, "DuplicateEnclosure"),
    "guid": once(_guid),
    "link": once(shape.web_url),
    "pubDate": once(shape.rfc822),
    "source": once(_source),
    "title": once(shape.nonblank_plain),
}

_RSS = {"channel": once(_channel)}
