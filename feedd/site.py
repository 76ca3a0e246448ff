"""What a feed is called and where it lives: slugs, files, URLs, heads, and the OPML list.

Pure: names and settings in, values out; called by `rebuild` and `catalog`. Does not know entries.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from html import escape
from urllib.parse import quote

import msgspec
from msgspec import Struct

from feedd import __version__, model, plan
from feedd.freshness import effects

FOLDERS: dict[str, str] = {
    "topic": "topics", "provider": "providers", "category": "categories", "custom": "feeds", "private": "private",
}
ARCHIVES = "archives"
GROUP_TITLES = {  # private feeds are in no list
    "all": "Everything", "custom": "Selections", "topic": "Topics", "category": "Categories", "provider": "Providers",
}
MEDIA_TYPES: dict[model.Format, str] = {
    "atom": "application/atom+xml", "rss": "application/rss+xml", "json": "application/feed+json",
}
FORMAT_NAMES: dict[model.Format, str] = {"atom": "Atom", "rss": "RSS", "json": "JSON"}
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?")
_SLUG_LENGTH = 80


class FeedSettings(Struct, frozen=True):
    """What configuration says of one feed; None or empty where the site's own setting holds."""

    title: str = ""
    description: str = ""
    language: str = ""
    author: str = ""
    limit: int | None = None
    full_content: bool | None = None
    formats: tuple[model.Format, ...] | None = None


class Settings(Struct, frozen=True):
    """The whole of the configuration that feeds depend on, as plain values. URLs have no trailing slash.

    `tag_host` and `tag_date` are the authority of every id. `links`: how verdicts on links show, None where links are
    not checked. `feeds` is keyed by (kind, key).
    """

    title: str
    url: str
    public_url: str
    tag_host: str
    tag_date: str = "2026-01-01"
    language: str = "en"
    author: str = ""
    description: str = ""
    limit: int = 50
    formats: tuple[model.Format, ...] = model.FORMATS
    archives: bool = True
    full_content: bool = False
    encodings: tuple[str, ...] = ("gzip", "brotli")
    ttl_minutes: int = 60
    pages: bool = True
    hubs: tuple[str, ...] = ()
    own_hub: str = ""
    links: effects.Rules | None = effects.Rules()
    rules: plan.Rules = plan.Rules()
    feeds: Mapping[tuple[str, str], FeedSettings] = {}

    @property
    def advertised_hubs(self) -> tuple[str, ...]:
        """What feeds say: the hubs elsewhere, and the built-in one."""
        return (*self.hubs, self.own_hub) if self.own_hub else self.hubs

    def of(self, kind: str, key: str) -> FeedSettings:
        """What is configured for one feed."""
        return self.feeds.get((kind, key)) or _NOTHING_SET


_NOTHING_SET = FeedSettings()
LISTING, FILES = "listing", "files"  # fingerprints beside those of feeds, whose names have a slash


def fingerprints(settings: Settings) -> dict[str, str]:
    """What is on disk depends on these: a fingerprint for each feed with settings of its own by "kind/key", "" for
    all other feeds, one for the list of feeds, and one for which files there are.

    Whatever `head`, `rebuild` and `pages` look at must be here: a feed whose fingerprint stays is not looked at again.
    """
    s, own = settings, sorted(settings.feeds.items())
    titles = [(kind_and_key, feed.title, feed.formats) for kind_and_key, feed in own if feed.title or feed.formats]
    return {
        "": _fingerprint(_seen_in_feed(settings, _NOTHING_SET)),
        LISTING: _fingerprint((
            __version__, s.title, s.url, s.public_url, s.language, s.description, s.formats, s.pages, s.encodings,
            titles,
        )),
        FILES: _fingerprint((
            s.archives, s.pages, s.encodings, s.formats, [(name, feed.formats) for name, feed in own if feed.formats]
        )),
        **{f"{kind}/{key}": _fingerprint(_seen_in_feed(settings, feed)) for (kind, key), feed in own},
    }


def is_affected(old: Mapping[str, str], new: Mapping[str, str], kind: str, key: str) -> bool:
    """Whether a feed's documents may be others by the fingerprints `new` than by `old`, which may lack any."""
    name = f"{kind}/{key}"
    return old.get(name, old.get("")) != new.get(name, new[""])


def _seen_in_feed(s: Settings, own: FeedSettings) -> object:
    """All that the documents of a feed depend on besides the state."""
    return (
        __version__, s.title, s.url, s.public_url, s.tag_host, s.tag_date, s.archives, s.encodings, s.ttl_minutes,
        s.pages, s.advertised_hubs, s.links, own.title, own.description, "" if own.description else s.description,
        own.language or s.language, own.author or s.author, own.limit or s.limit,
        s.full_content if own.full_content is None else own.full_content, own.formats or s.formats,
    )


def _fingerprint(value: object) -> str:
    return blake2b(msgspec.msgpack.encode(value), digest_size=12).hexdigest()


def slugify(name: str) -> str:
    """Lower-case ASCII letters, digits and hyphens of a name, at most 80; empty where nothing is left."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _NOT_SLUG.sub("-", ascii_name.lower())[:_SLUG_LENGTH].strip("-")


def assign_slugs(kind: str, keys: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """A slug for each key of feeds that have none; the same whatever the order of `keys`.

    A few characters of a hash are added on collision, or when nothing is left of a name.
    """
    used, out = set(taken), {}
    for key in sorted(keys, key=lambda key: (len(key), key)):
        is_domain = kind == "provider" and _DOMAIN.fullmatch(key) and ".." not in key
        slug = key if is_domain else slugify(key)
        if not slug or slug in used:
            digest = f"{plan.hash63(key):016x}"
            lengths = range(6, len(digest) + 1)
            slug = next(s for s in (f"{slug or kind}-{digest[:n]}" for n in lengths) if s not in used)
        used.add(slug)
        out[key] = slug
    return out


def base_path(kind: str, slug: str, page: int = 0) -> str:
    """Where a document is, below the output folder and without its suffix."""
    base = "all" if kind == "all" else f"{FOLDERS[kind]}/{slug}"
    return f"{ARCHIVES}/{base}/{page}" if page else base


def is_private(name: str) -> bool:
    """Whether a name below the output folder is of a private feed: of its files, or of its archives.

    Also in spellings that some file systems take for the same: other cases, and characters that do not show.
    """
    folder, _, rest = name.casefold().encode("ascii", "ignore").decode().partition("/")
    return (rest.partition("/")[0] if folder == ARCHIVES else folder) == FOLDERS["private"]


def formats_of(settings: Settings, kind: str, key: str, page: int = 0) -> tuple[model.Format, ...]:
    """The formats of a document. Archives are of Atom and RSS: RFC 5005 knows no JSON Feed."""
    formats = settings.of(kind, key).formats or settings.formats
    return tuple(fmt for fmt in formats if fmt != "json") if page else formats


def document_url(settings: Settings, base: str, fmt: model.Format) -> str:
    """The address of a document."""
    return f"{settings.public_url}/{quote(base)}.{fmt}"


def feed_name(settings: Settings, kind: str, key: str, label: str, metadata: model.Metadata | None) -> str:
    """What people call a feed among its kind: as configured, else from its metadata, else as articles spell it."""
    return settings.of(kind, key).title or (metadata.name if metadata else label) or settings.title


def feed_title(settings: Settings, kind: str, key: str, label: str, metadata: model.Metadata | None) -> str:
    """A feed's name among those of other sites; a title from the configuration stands as it is."""
    name = feed_name(settings, kind, key, label, metadata)
    return name if kind == "all" or settings.of(kind, key).title else f"{name} – {settings.title}"


def head(
    settings: Settings, *, kind: str, key: str, label: str, slug: str, page: int, pages: int, complete: bool,
    updated_us: int, metadata: model.Metadata | None,
) -> model.Head:
    """All of a document but its entries. `pages`: how many archives the feed has; `page` 0 is the live document."""
    own = settings.of(kind, key)

    def urls(number: int) -> dict[model.Format, str]:
        base = base_path(kind, slug, number)
        return {fmt: document_url(settings, base, fmt) for fmt in formats_of(settings, kind, key, number)}

    previous = page - 1 if page else pages
    images = metadata.images if metadata else ()
    logos = [image for image in images if 0 < image.width <= 144 and 0 < image.height <= 400]
    return model.Head(
        id=plan.tag_uri(settings.tag_host, settings.tag_date, "feed/" + base_path(kind, slug)),
        title=feed_title(settings, kind, key, label, metadata),
        subtitle=own.description or (metadata.description if metadata else "") or settings.description
        or feed_title(settings, kind, key, label, metadata),
        page_url=settings.url + "/",
        language=own.language or settings.language,
        author=own.author or settings.author or settings.title,
        updated_us=updated_us,
        self_urls=urls(page),
        icon_url=images[0].url if images else "",
        logo=max(logos, key=lambda image: (image.width * image.height, image.url), default=None),
        category=label if kind in ("topic", "category") else "",
        archive=page > 0,
        complete=complete,
        current_urls=urls(0) if page or pages else {},
        prev_urls=urls(previous) if previous else {},
        next_urls=urls(page + 1) if 0 < page < pages else {},
        ttl_minutes=settings.ttl_minutes,
        hub_urls=() if page or kind == "private" else settings.advertised_hubs,
    )


class Listed(Struct, frozen=True):
    """A feed as the index and the OPML list show it."""

    kind: str
    title: str
    name: str
    urls: dict[model.Format, str]


def alphabetical(title: str, urls: Iterable[str]) -> tuple[str, ...]:
    """The key that lists of feeds are sorted by: letters with marks are as those without, and the rest decides ties.

    >>> sorted(["Patrimoine", "Économie", "energy"], key=lambda title: alphabetical(title, ()))
    ['Économie', 'energy', 'Patrimoine']
    """
    letters = "".join(char for char in unicodedata.normalize("NFKD", title) if not unicodedata.combining(char))
    return letters.casefold(), title, *urls


def _grouped(feeds: Iterable[Listed]) -> dict[str, list[Listed]]:
    ordered = sorted(feeds, key=lambda feed: alphabetical(feed.title, feed.urls.values()))
    groups = {title: [feed for feed in ordered if feed.kind == kind] for kind, title in GROUP_TITLES.items()}
    return {title: members for title, members in groups.items() if members}


def opml(settings: Settings, feeds: Iterable[Listed]) -> bytes:
    """An OPML 2.0 subscription list, grouped; each feed once, in the first of its formats that is XML."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>', '<opml version="2.0">', "<head>",
        f"<title>{escape(settings.title)}</title>", "</head>", "<body>",
    ]
    for group, members in _grouped(feeds).items():
        lines.append(f'<outline text="{escape(group)}">')
        for feed in members:
            fmt = next((f for f in ("atom", "rss") if f in feed.urls), next(iter(feed.urls)))
            lines.append(
                f'<outline type="rss" text="{escape(feed.title)}" title="{escape(feed.title)}" '
                f'xmlUrl="{escape(feed.urls[fmt])}" htmlUrl="{escape(settings.url)}/"/>'
            )
        lines.append("</outline>")
    return "\n".join([*lines, "</body>", "</opml>", ""]).encode()
