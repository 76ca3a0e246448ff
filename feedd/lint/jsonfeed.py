"""A JSON Feed 1.1 document (https://www.jsonfeed.org/version/1.1/) -> the rules it breaks.

JSON has no line numbers once parsed: a flaw is placed on the line where its item's id stands.
"""

from __future__ import annotations

import json
import re
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

from feedd.lint import markup, text, values
from feedd.lint.rules import Report, shown

_ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\]|\\.)*+")')
VERSION = "https://jsonfeed.org/version/1.1"

_Object = dict[str, Any]
# What a key holds: a check of (report, line, key, value).
_Check = Callable[[Report, int, str, Any], None]


class _Duplicates(dict[str, Any]):
    """An object in which keys came twice."""

    again: tuple[str, ...] = ()


def check(report: Report) -> None:
    """Add everything that is wrong with the document."""
    feed = _parse(report)
    if feed is None:
        return
    line = 1
    _check_keys(report, line, "feed", feed, _FEED)
    if feed.get("version") != VERSION:
        report.add("JSONFeedVersion", line, shown(str(feed.get("version", ""))))
    for key in ("title", "items"):
        if key not in feed:
            report.add("MissingElement", line, key)
    feed_url = feed.get("feed_url")
    if feed_url is None:
        report.add("MissingSelf", line)
    elif report.self_url and feed_url != report.self_url:
        report.add("SelfDoesntMatchLocation", line, shown(str(feed_url)))
    if feed_url is not None and feed_url == feed.get("next_url"):
        report.add("JSONLink", line, "next_url")
    items = feed.get("items")
    if isinstance(items, list):
        _check_items(report, items)


def _parse(report: Report) -> _Object | None:
    if not report.is_readable():
        return None
    try:
        feed = json.loads(report.data.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        report.add("JSONError", error.lineno, error.msg)
        return None
    except (ValueError, RecursionError) as error:  # huge numbers, NaN, nesting
        report.add("JSONError", 1, shown(str(error)))
        return None
    if not isinstance(feed, dict):
        report.add("JSONType", 1, "the document is an object")
        return None
    return feed


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    marked = _Duplicates(made)
    times = Counter(key for key, _ in pairs)
    marked.again = tuple(sorted(key for key in times if times[key] > 1))
    return marked


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_items(report: Report, items: list[Any]) -> None:
    seen: dict[str, set[str]] = {"id": set(), "url": set()}
    lines = _lines_of_ids(report.data)
    line = 1
    for item in items:
        if not isinstance(item, dict):
            report.add("JSONType", line, "an item is an object")
            continue
        item_id = item.get("id")
        if not isinstance(item_id, str):
            item_id = ""
        places = lines.get(item_id)
        line = places.popleft() if places else line
        within = report.within(item_id)
        _check_item(within, line, item)
        for rule, key in (("DuplicateEntries", "id"), ("DuplicateEntryLink", "url")):
            value = item.get(key)
            if isinstance(value, str):
                if value and value in seen[key]:
                    within.add(rule, line, shown(value))
                seen[key].add(value)


def _lines_of_ids(data: bytes) -> dict[str, deque[int]]:
    """The lines where each id stands."""
    lines: dict[str, deque[int]] = {}
    line, place = 1, 0
    for match in _ID.finditer(data):
        line += data.count(b"\n", place, match.start())
        place = match.start()
        item_id = json.loads(match[1]) if b"\\" in match[1] else match[1][1:-1].decode()
        lines.setdefault(item_id, deque()).append(line)
    return lines


def _check_item(report: Report, line: int, item: _Object) -> None:
    _check_keys(report, line, "item", item, _ITEM)
    if "id" not in item:
        report.add("MissingElement", line, "id of item")
    if not item.get("content_html") and not item.get("content_text"):
        report.add("MissingTextualContent", line)


def _check_keys(report: Report, line: int, what: str, found: _Object, known: Mapping[str, _Check]) -> None:
    """Check each key of an object; keys that begin with _ are extensions."""
    if isinstance(found, _Duplicates):
        report.add("DuplicateElement", line, f"{', '.join(map(shown, found.again))} in {what}")
    for key, value in found.items():
        checker = known.get(key)
        if checker:
            checker(report, line, key, value)
        elif not key.startswith("_"):
            report.add("UndefinedElement", line, f"{shown(key)} in {what}")


def _string(report: Report, line: int, key: str, value: Any) -> str:
    if not isinstance(value, str):
        report.add("JSONType", line, f"{key} is a string")
        return ""
    if not value.isascii() and text.is_bad(value):
        report.add("BadCharacters", line, f"{key}: {shown(value)}")
    return value


def _any_text(report: Report, line: int, key: str, value: Any) -> None:
    _string(report, line, key, value)


def _plain(report: Report, line: int, key: str, value: Any) -> None:
    string = _string(report, line, key, value)
    if text.json_rule(string):
        report.add("ContainsHTML", line, f"{key}: {shown(string)}")


def _nonblank(report: Report, line: int, key: str, value: Any) -> None:
    _plain(report, line, key, value)
    if isinstance(value, str) and not value.strip():
        report.add("NotBlank", line, key)


def _id(report: Report, line: int, key: str, value: Any) -> None:
    if isinstance(value, str) and not value:
        report.add("NotBlank", line, key)
    _string(report, line, key, value)


def _html(report: Report, line: int, key: str, value: Any) -> None:
    for rule, _, about in markup.problems(_string(report, line, key, value)):
        report.add(rule, line, about)


def _url(report: Report, line: int, key: str, value: Any) -> None:
    string = _string(report, line, key, value)
    rule = values.url_rule(string) or ("InvalidFullLink" if value == "" else "")
    if rule:
        report.add(rule, line, f"{key}: {shown(string)}")


def _date(report: Report, line: int, key: str, value: Any) -> None:
    string = _string(report, line, key, value)
    rule = values.rfc3339_rule(string, report.now) if isinstance(value, str) else ""
    if rule:
        report.add(rule, line, f"{key}: {shown(string)}")


def _language(report: Report, line: int, key: str, value: Any) -> None:
    string = _string(report, line, key, value)
    if isinstance(value, str) and values.language_rule(string):
        report.add("InvalidLanguage", line, shown(string))


def _mime(report: Report, line: int, key: str, value: Any) -> None:
    string = _string(report, line, key, value)
    if isinstance(value, str) and not values.is_media_type(string):
        report.add("InvalidMIMEAttribute", line, shown(string))


def _flag(report: Report, line: int, key: str, value: Any) -> None:
    if not isinstance(value, bool):
        report.add("JSONType", line, f"{key} is true or false")


def _number(report: Report, line: int, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        report.add("JSONType", line, f"{key} is a number")
    elif value < 0:
        report.add("InvalidNonNegativeInteger", line, key)


def _list(report: Report, line: int, key: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    report.add("JSONType", line, f"{key} is an array")
    return []


def _items(report: Report, line: int, key: str, value: Any) -> None:
    _list(report, line, key, value)


def _tags(report: Report, line: int, key: str, value: Any) -> None:
    for tag in _list(report, line, key, value):
        _nonblank(report, line, key, tag)


def _objects(report: Report, line: int, key: str, value: Any, known: Mapping[str, _Check]) -> list[_Object]:
    found: list[_Object] = []
    for each in _list(report, line, key, value):
        if isinstance(each, dict):
            _check_keys(report, line, key, each, known)
            found.append(each)
        else:
            report.add("JSONType", line, f"{key} holds objects")
    return found


def _authors(report: Report, line: int, key: str, value: Any) -> None:
    for author in _objects(report, line, key, value, _AUTHOR):
        if not author.keys() & _AUTHOR.keys():
            report.add("MissingElement", line, "name, url or avatar of an author")


def _attachments(report: Report, line: int, key: str, value: Any) -> None:
    _require_all(report, line, key, _objects(report, line, key, value, _ATTACHMENT), ("url", "mime_type"))


def _hubs(report: Report, line: int, key: str, value: Any) -> None:
    _require_all(report, line, key, _objects(report, line, key, value, _HUB), ("type", "url"))


def _require_all(report: Report, line: int, key: str, found: list[_Object], required: tuple[str, ...]) -> None:
    for each in found:
        for name in required:
            if name not in each:
                report.add("MissingElement", line, f"{name} in {key}")


_AUTHOR: dict[str, _Check] = {"name": _nonblank, "url": _url, "avatar": _url}
_HUB: dict[str, _Check] = {"type": _any_text, "url": _url}
_ATTACHMENT: dict[str, _Check] = {
    "url": _url,
    "mime_type": _mime,
    "title": _plain,
    "size_in_bytes": _number,
    "duration_in_seconds": _number,
}
_FEED: dict[str, _Check] = {
    "version": _any_text,
    "title": _nonblank,
    "home_page_url": _url,
    "feed_url": _url,
    "description": _plain,
    "user_comment": _any_text,
    "next_url": _url,
    "icon": _url,
    "favicon": _url,
    "authors": _authors,
    "language": _language,
    "expired": _flag,
    "hubs": _hubs,
    "items": _items,
}
_ITEM: dict[str, _Check] = {
    "id": _id,
    "url": _url,
    "external_url": _url,
    "title": _plain,
    "content_html": _html,
    "content_text": _any_text,
    "summary": _plain,
    "image": _url,
    "banner_image": _url,
    "date_published": _date,
    "date_modified": _date,
    "authors": _authors,
    "tags": _tags,
    "language": _language,
    "attachments": _attachments,
}

KEYS = _FEED.keys() | _ITEM.keys() | _AUTHOR.keys() | _HUB.keys() | _ATTACHMENT.keys()
"""Every key that JSON Feed 1.1 defines anywhere."""
