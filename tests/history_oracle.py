"""What every feed must show after each commit of a history, found naively and without any code of feedd.

Files are read by PyYAML; all articles are looked at again at every commit; each document of a feed is a tuple
of what a subscriber sees in that format. A file must change exactly when its tuple did. Knows the rules of the feeds'
quality only: identity by first path, renames, clocks, order, window, archives, one entry for a story.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import quote, urljoin

import yaml

Fields = dict[str, Any]
View = tuple[Any, ...]
Entry = tuple[View, "_Item", dict[str, View]]  # its place in the order, and what each format shows
FeedName = tuple[str, str]  # its kind and key


@dataclass
class _Item:
    """An article: `identity` is the path where it was first seen, `path` where it is now, if it is anywhere."""

    identity: str
    path: str | None
    fields: Fields
    published_at: int = 0
    first_public_at: int | None = None
    updated_at: int = 0
    editorial: View = ()
    leads: bool = False  # it is the entry of its story
    new: bool = True  # first seen in this commit


@dataclass
class _Feed:
    """A feed's documents by number, 0 the live one: their clocks, and what they show; and where archives end."""

    clocks: dict[int, int] = field(default_factory=dict)
    ends: list[View] = field(default_factory=list)
    shown: dict[int, set[str]] = field(default_factory=dict)


def _text(value: Any) -> str:
    return " ".join(html.unescape(str(value or "")).split())


def _seconds(value: Any) -> int | None:
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    return None


def _number_of(identity: str) -> int:
    return int.from_bytes(blake2b(identity.encode(), digest_size=8).digest(), "big") // 2 % 2**30


def _is_public(fields: Fields) -> bool:
    return fields.get("published", True) is not False and not fields.get("removed") and not fields.get("deleted")


def _domain(provider: Fields) -> str:
    return str(provider.get("domain", "")).removeprefix("www.")


def _source(provider: Fields) -> str:
    return _text(provider.get("name")) or _domain(provider)


@lru_cache(maxsize=4096)
def read(text: str) -> Fields | None:
    """The front matter of a file, or the whole of a YAML file; None where it is broken."""
    front = text.split("---\n")[1] if text.startswith("---\n") else text
    try:
        data = yaml.load(front, yaml.CSafeLoader)  # `safe_load`, eight times as fast
    except yaml.YAMLError:
        return None
    return data if isinstance(data, dict) else None


class Oracle:
    """Told of every commit by `apply` and of the passing of time by `wait`, each of which says what must change.

    `site` is what relative URLs mean, `limit` how many entries a live feed shows.
    """

    def __init__(self, *, site: str, tag: str, limit: int) -> None:
        self._site, self._tag, self._limit = site, tag, limit
        self._items: list[_Item] = []
        self._bytes: dict[str, tuple[str, _Item | None]] = {}
        self._metadata: dict[str, Fields] = {}
        self._feeds: dict[FeedName, _Feed] = {}
        self._now = 0
        self.documents: dict[str, View] = {}
        self.visible_rewrites = self.all_rewrites = 0

    # -- what happens ----------------------------------------------------------------------------------------------

    def next_release(self) -> int | None:
        """When the next article that is dated ahead is due."""
        return min((i.published_at for i in self._items if self._is_held(i)), default=None)

    def wait(self, now: int) -> set[str]:
        """Nothing happens but that time passes; returns the files that must change."""
        return self._look(now, initial=False)

    def apply(self, files: Mapping[str, str | None], now: int, *, initial: bool) -> set[str]:
        """Files as they are after a commit, None for those that are gone; returns the files that must change."""
        for item in self._items:
            item.new = False
        before = {item.identity: self._shown_of(item) for item in self._items}
        rewritten = [p for p, text in files.items() if text and p in self._bytes and not p.startswith("_data/")]
        articles: dict[str, str] = {}
        for path, text in sorted(files.items()):
            data = read(text) if text else None
            if path.startswith("_data/"):
                self._metadata[path] = data or {}
            elif data:
                articles[path] = text or ""
        self._identify(files, articles, now, initial=initial)
        after = {item.path: (item.identity, self._shown_of(item)) for item in self._items}
        self.all_rewrites += len(rewritten)
        for path in rewritten:
            identity, shown = after.get(path, ("", ()))
            self.visible_rewrites += before.get(identity, ()) != shown
        return self._look(now, initial=initial)

    def _identify(self, files: Mapping[str, str | None], articles: dict[str, str], now: int, *, initial: bool) -> None:
        """Which article each file is: by its bytes, its path, its story or originalUrl, or where it was first seen."""
        left = {
            kept: item for path, (kept, item) in self._bytes.items() if path in files and item and files[path] != kept
        }
        at_path = {item.path: item for item in self._items if item.path}
        found: dict[str, _Item] = {}
        for path, text in articles.items():
            item = left.get(text)
            if item and item not in found.values():
                found[path] = item
        for path in articles:
            item = at_path.get(path)
            if path not in found and item and item not in found.values():
                found[path] = item
        for path in files:  # what is gone, and what something else took the place of
            item = at_path.get(path)
            if item and item not in found.values() and (files[path] is None or path in articles):
                item.path = None
        for path, text in articles.items():
            fields = read(text) or {}
            if path not in found:
                found[path] = self._refound(path, fields, list(found.values())) or self._mint(path)
            found[path].path = path
            self._decide(found[path], fields, now, initial=initial)
        for path, kept in files.items():
            if kept is None:
                self._bytes.pop(path, None)
            else:
                self._bytes[path] = (kept, found.get(path) or self._bytes.get(path, ("", None))[1])

    def _refound(self, path: str, fields: Fields, taken: list[_Item]) -> _Item | None:
        lost = [item for item in self._items if item.path is None and item not in taken]
        same = [item for item in lost if self._story(item.fields, item.identity) == self._story(fields, path)]
        original = _link_key(fields.get("originalUrl"))
        same += [item for item in lost if original and _link_key(item.fields.get("originalUrl")) == original]
        same += [item for item in lost if item.identity == path]
        return next((item for item in same if item.identity == path), same[0] if same else None)

    def _mint(self, path: str) -> _Item:
        taken, identity, number = {item.identity for item in self._items}, path, 2
        while identity in taken:
            identity, number = f"{path}~{number}", number + 1
        self._items.append(_Item(identity, path, {}))
        return self._items[-1]

    def _decide(self, item: _Item, fields: Fields, now: int, *, initial: bool) -> None:
        item.fields = fields
        if not _is_public(fields):
            return
        stated = _seconds(fields.get("publishedDateTime")) or _seconds(fields.get("updatedDateTime"))
        item.published_at = stated or item.published_at or now
        editorial = self._editorial(item)
        if item.first_public_at is None:
            revised = _seconds(fields.get("updatedDateTime")) or 0
            item.updated_at = min(max(revised, item.published_at), max(now, item.published_at))
        elif editorial != item.editorial:
            item.updated_at = now
        item.editorial = editorial
        if item.first_public_at is None and item.published_at <= now:
            item.first_public_at = item.published_at if initial else now

    # -- what an article shows -------------------------------------------------------------------------------------

    def _url(self, value: str) -> str:
        return value if not value or "://" in value else urljoin(self._site + "/", value)

    def _link(self, item: _Item) -> str:
        own = self._url(item.fields.get("webUrl", "")) or self._url(item.fields.get("originalUrl", ""))
        return own or f"{self._site}/{quote((item.path or '').removesuffix('.md'))}"

    def _editorial(self, item: _Item) -> View:
        """What moves `updated`."""
        f = item.fields
        provider = f.get("provider", {})
        pictures = tuple(
            (self._url(i["url"]), i.get("width"), i.get("height"), _text(i.get("title"))) for i in f.get("images", ())
        )
        return (
            _text(f.get("title")), self._link(item), _text(f.get("excerpt")) or _text(f.get("title")),
            item.published_at, _seconds(f.get("updatedDateTime")), f.get("category"),
            self._url(f.get("originalUrl", "")), _source(provider), _domain(provider),
            tuple(f.get("topics", ())), pictures,
        )  # fmt: skip

    def _shown_of(self, item: _Item) -> View:
        """Everything any feed shows of an article's own file; empty while it is not public."""
        if item.path is None or not _is_public(item.fields):
            return ()
        provider = item.fields.get("provider", {})
        icon = next((self._url(image["url"]) for image in provider.get("images", ())), "")
        return (*self._editorial(item), icon, self._related(item))

    def _related(self, item: _Item) -> View:
        stories = item.fields.get("related") or ()
        return tuple(
            (_text(s.get("title")), self._url(s.get("webUrl", "")), _source(s.get("provider", {})),
             _seconds(s.get("publishedDateTime")))
            for s in stories
        )  # fmt: skip

    def _views(self, item: _Item, copies: list[_Item]) -> dict[str, View]:
        """An entry in each format."""
        provider = item.fields.get("provider", {})
        editorial = self._editorial(item)
        via: dict[str, str] = {}
        for copy in sorted(copies, key=lambda copy: copy.identity):
            url = self._url(copy.fields.get("originalUrl", "")) or self._link(copy)
            if url != editorial[1]:
                via.setdefault(url, _source(copy.fields.get("provider", {})))
        original = editorial[6] if editorial[6] != editorial[1] else ""
        seen = (item.identity, *editorial[:4], editorial[5], *editorial[7:])
        related = self._related(item)
        base = (*seen, tuple(story[:3] for story in related), tuple(via.items()))
        icon = next((self._url(image["url"]) for image in provider.get("images", ())), "")
        return {
            "atom": (*base, item.updated_at, original), "rss": base,
            "json": (*base, related, item.updated_at, original, icon),
        }  # fmt: skip

    # -- feeds -----------------------------------------------------------------------------------------------------

    def _is_held(self, item: _Item) -> bool:
        """Not yet public, or not again: its date was in the future when its file was last read."""
        public = item.path is not None and _is_public(item.fields)
        return public and item.published_at > self._now

    def _is_visible(self, item: _Item) -> bool:
        return item.path is not None and _is_public(item.fields) and not self._is_held(item)

    def _story(self, fields: Fields, path: str) -> object:
        own = fields.get("webUrl") or fields.get("originalUrl")
        if own:
            return _link_key(self._url(own))
        return _text(fields.get("title")), str(fields.get("publishedDateTime")), _text(fields.get("excerpt"))

    def _names(self, item: _Item) -> Iterator[FeedName]:
        fields = item.fields
        provider = fields.get("provider", {})
        yield "all", ""
        for topic in fields.get("topics", ()):
            yield "topics", topic
        if provider:
            yield "providers", _domain(provider)
        if fields.get("category"):
            yield "categories", fields["category"]

    def _key(self, item: _Item) -> View:
        """The order: by the moment it entered, then its own date, or chance that stays the same."""
        entered_at = max(item.published_at, item.first_public_at or 0)
        tie = _number_of(item.identity) if entered_at == item.published_at else item.published_at // 8
        return entered_at, tie

    def _entries(self, now: int) -> dict[FeedName, list[Entry]]:
        """Each feed's entries, newest first."""
        stories: dict[object, list[_Item]] = {}
        for item in self._items:
            stories.setdefault(self._story(item.fields, item.identity), []).append(item)
        entries: dict[FeedName, list[Entry]] = {name: [] for name in self._feeds}  # an empty one stays known
        for items in stories.values():
            self._hand_over(items, now)
            seen = [item for item in items if self._is_visible(item)]
            first = min(seen, key=lambda i: (i.first_public_at or 0, i.identity), default=None)
            for item in items:
                item.leads = item is first
            if first:
                views = self._views(first, [item for item in seen if item is not first])
                for name in {name for item in seen for name in self._names(item)}:
                    entries.setdefault(name, []).append((self._key(first), first, views))
        for found in entries.values():
            found.sort(key=lambda entry: entry[0], reverse=True)
        return entries

    def _hand_over(self, items: list[_Item], now: int) -> None:
        """A copy that readers never saw takes the identity over when the file they saw is gone."""
        gone = [item for item in items if item.leads and item.path is None]
        unseen = [item for item in items if self._is_visible(item) and not item.leads and not item.new]
        if gone and unseen:
            old, copy = gone[0], unseen[0]
            old.path, old.fields, old.published_at = copy.path, copy.fields, copy.published_at
            if copy.editorial != old.editorial:
                old.updated_at = now
            old.editorial = copy.editorial
            if copy.path:
                self._bytes[copy.path] = (self._bytes[copy.path][0], old)
            copy.path = None

    def _look(self, now: int, *, initial: bool) -> set[str]:
        self._now = now
        for item in self._items:
            if item.path and _is_public(item.fields) and item.first_public_at is None and item.published_at <= now:
                item.first_public_at = item.published_at if initial else now
        self._feeds.setdefault(("all", ""), _Feed())
        entries, old = self._entries(now), self.documents
        self.documents = {}
        for name, found in entries.items():
            self._show(name, self._feeds.setdefault(name, _Feed()), found, 0 if initial else now)
        return {name for name in old.keys() | self.documents.keys() if old.get(name) != self.documents.get(name)}

    def _show(self, name: FeedName, feed: _Feed, entries: list[Entry], now: int) -> None:
        """The documents of a feed: the live one, and archives of `limit` entries that were complete once."""
        last = feed.ends[-1] if feed.ends else (-1,)
        loose = [key for key, _, _ in reversed(entries) if key > last]
        while len(loose) > self._limit:
            feed.ends.append(loose[self._limit - 1])
            loose = loose[self._limit :]
        documents = {0: entries[: self._limit]}
        for number, (low, high) in enumerate(zip([(-1,), *feed.ends], feed.ends, strict=False), 1):
            documents[number] = [entry for entry in entries if low < entry[0] <= high]
        left = {item.identity for _, item, _ in entries}
        for number, shown in documents.items():
            before = feed.shown.get(number, set())
            changes = [max(item.updated_at, key[0]) for key, item, _ in shown]
            changes += [now for identity in before if identity not in left]
            feed.clocks[number] = max([feed.clocks.get(number, 0), *changes])
            feed.shown[number] = {item.identity for _, item, _ in shown}
            self._write(name, feed, number, [views for _, _, views in shown])

    def _write(self, name: FeedName, feed: _Feed, number: int, shown: list[dict[str, View]]) -> None:
        kind, key = name
        ascii_key = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode().lower()
        slug = key if kind == "providers" else re.sub("[^a-z0-9]+", "-", ascii_key).strip("-")
        base = f"{kind}/{slug}" if key else "all"
        pages = len(feed.ends)
        for suffix in ("atom", "rss", *(() if number else ("json",))):
            entries = tuple(views[suffix] for views in shown)
            clock = () if suffix == "json" else (feed.clocks[number], min(pages, number + 1) if number else pages)
            path = f"archives/{base}/{number}.{suffix}" if number else f"{base}.{suffix}"
            self.documents[path] = (self._head(name), clock, entries)

    def _head(self, name: FeedName) -> View:
        """What metadata says of a feed: the first file that speaks of it."""
        for path, data in sorted(self._metadata.items()):
            key = data.get("name") if path.startswith("_data/topics/") else data.get("domain")
            if data and path.startswith(("_data/topics/", "_data/organizations/")) and key == name[1]:
                return data["name"], data["description"], data["images"][0]["url"]
        return ()

    def items_of(self, path: str) -> list[View] | None:
        """What the JSON file of a live feed must say of each entry: id, title, url, summary, date, changed, related.

        None for a feed that must not be.
        """
        if path not in self.documents:
            return None
        return [
            (f"{self._tag}:{quote(v[0], safe='/~!$&()*+,;=:@')}", v[1], v[2], v[3], v[4], v[-3],
             [story[:3] for story in v[-4]])
            for v in self.documents[path][2]
        ]  # fmt: skip


def _link_key(url: Any) -> str:
    """Where a link leads, without what does not tell pages apart."""
    return str(url or "").partition("://")[2].partition("#")[0].removeprefix("www.").rstrip("/")
