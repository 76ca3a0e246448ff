"""The values that travel through feedd, one type per stage; none changes after construction.

`parse` makes an Article from a file, `plan` decides with digests of it, `store` keeps it as bytes,
`render` gets Entry and Head and makes feeds. No I/O and no decisions here.

msgspec structs: frozen dataclasses that are built in 0.2 us and kept as bytes without code of ours.
Units: `_at` is whole seconds since 1970 UTC; `_us` is microseconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Format = Literal["atom", "rss", "json"]
FORMATS: tuple[Format, ...] = ("atom", "rss", "json")

FeedKind = Literal["all", "topic", "provider", "category", "custom", "private"]


class Image(Struct, frozen=True, array_like=True, gc=False):
    """A picture: absolute, clean URL; 0 for an unknown size; texts are plain."""

    url: str
    width: int = 0
    height: int = 0
    title: str = ""
    attribution: str = ""


class Provider(Struct, frozen=True, array_like=True, gc=False):
    """Who published an article. `domain` is lower case, without a leading `www.`; either may be empty."""

    name: str = ""
    domain: str = ""
    icon_url: str = ""


class Related(Struct, frozen=True, array_like=True, gc=False):
    """A related story inside an article. `url` is empty where the file names no usable one."""

    title: str
    url: str = ""
    excerpt: str = ""
    published_at: int | None = None
    type: str = ""
    provider: Provider = Provider()
    images: tuple[Image, ...] = ()
    amp_url: str = ""
    original_url: str = ""


class Embed(Struct, frozen=True, array_like=True, gc=False):
    """A player taken from `featuredContent`; 0 for an unknown size."""

    url: str
    width: int = 0
    height: int = 0


class Article(Struct, frozen=True, array_like=True, gc=False):
    """One article file as parsed: texts plain and repaired, URLs absolute and RFC 3986-clean, HTML sanitised.

    `url` is what the entry links to: webUrl, else originalUrl, else built from the site URL and the path.
    `has_own_url` is False for a built one. `public` is `published` and neither `removed` nor `deleted`.
    `summary` is never empty: excerpt, else the body's first paragraph, else the title.
    """

    title: str
    url: str
    summary: str
    public: bool = True
    has_own_url: bool = True
    published_at: int | None = None
    updated_at: int | None = None
    category: str = ""
    type: str = ""
    language: str = ""
    original_url: str = ""
    amp_url: str = ""
    cdn_amp_url: str = ""
    provider: Provider = Provider()
    topics: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    related: tuple[Related, ...] = ()
    embed: Embed | None = None
    content_html: str = ""
    length: str = ""
    price: str = ""
    levels: tuple[str, ...] = ()
    quality: float | None = None
    heat: float | None = None


class Metadata(Struct, frozen=True, array_like=True, gc=False):
    """A `_data/topics/*.yaml` or `_data/organizations/*.md` file: what a feed of that topic or provider is called.

    `key` is the topic's name or the organisation's domain; `other_names` are further spellings of it.
    """

    kind: Literal["topic", "provider"]
    key: str
    name: str
    description: str = ""
    parent: str = ""
    images: tuple[Image, ...] = ()
    other_names: tuple[str, ...] = ()


class Source(Struct, frozen=True, array_like=True, gc=False):
    """A further copy of an entry's story: another file with the same link."""

    provider: Provider
    url: str


class Entry(Struct, frozen=True, gc=False):
    """An article as a feed shows it. `id` is its tag URI; `updated_us` is distinct within one feed."""

    id: str
    article: Article
    published_at: int
    updated_us: int
    sources: tuple[Source, ...] = ()


class Head(Struct, frozen=True, gc=False):
    """All of a feed document that is not its entries.

    `self_urls` holds the URL of this document per format; `page_url` is the HTML page the feed stands for.
    An archive (RFC 5005) has `archive` True and `current_urls`; `prev_urls`/`next_urls` are empty where there is none.
    `complete`: this document holds every entry of the feed. `hub_urls` are WebSub hubs.
    """

    id: str
    title: str
    subtitle: str
    page_url: str
    language: str
    author: str
    updated_us: int
    self_urls: dict[Format, str]
    icon_url: str = ""
    logo: Image | None = None
    category: str = ""
    archive: bool = False
    complete: bool = False
    current_urls: dict[Format, str] = {}
    prev_urls: dict[Format, str] = {}
    next_urls: dict[Format, str] = {}
    hub_urls: tuple[str, ...] = ()
    ttl_minutes: int = 60


class FeedFilter(Struct, frozen=True, array_like=True, gc=False):
    """Which articles a custom feed takes. Within one list any value suffices; across lists all must hold.

    An empty tuple or None sets no condition. `providers` are domains as in `Provider`; `title_contains` is
    matched without regard to case. An article without a quality fails any `min_quality`; so with heat.
    """

    topics: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    not_topics: tuple[str, ...] = ()
    not_providers: tuple[str, ...] = ()
    not_categories: tuple[str, ...] = ()
    not_types: tuple[str, ...] = ()
    not_languages: tuple[str, ...] = ()
    min_quality: float | None = None
    min_heat: float | None = None
    title_contains: tuple[str, ...] = ()
