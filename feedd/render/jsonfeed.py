"""Writes JSON Feed 1.1. Takes only what `clean` has passed. Called by `render`.

Related stories and further copies go under `_feedd`, as the format's section on extensions has it.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from feedd import model
from feedd.render import content, text

TAIL = b"\n]\n}\n"

_encode = msgspec.json.Encoder().encode


class _Author(Struct, frozen=True, omit_defaults=True, gc=False):
    name: str
    url: str = ""
    avatar: str = ""


class _Story(Struct, frozen=True, omit_defaults=True, gc=False):
    title: str = ""
    url: str = ""
    date_published: str = ""
    source: str = ""


class _Extension(Struct, frozen=True, omit_defaults=True, gc=False):
    related: list[_Story] = []
    sources: list[_Story] = []


class _Item(Struct, frozen=True, omit_defaults=True, gc=False):
    id: str
    title: str
    content_html: str
    summary: str
    date_published: str
    date_modified: str
    url: str = ""
    external_url: str = ""
    image: str = ""
    authors: list[_Author] = []
    tags: list[str] = []
    language: str = ""
    extension: _Extension | None = msgspec.field(default=None, name="_feedd")


class _Hub(Struct, frozen=True, gc=False):
    type: str
    url: str


class _Feed(Struct, frozen=True, omit_defaults=True, gc=False):
    title: str
    home_page_url: str = ""
    feed_url: str = ""
    description: str = ""
    icon: str = ""
    favicon: str = ""
    authors: list[_Author] = []
    language: str = ""
    next_url: str = ""
    hubs: list[_Hub] = []


def fragment(shown: content.Shown) -> bytes:
    """One item, on one line, without a line end after it."""
    entry = shown.entry
    article = entry.article
    related = [_related(story) for story in article.related if story.title or story.url]
    sources = [_Story(url=source.url, source=content.author_name(source.provider)) for source in content.copies(entry)]
    return _encode(
        _Item(
            id=entry.id,
            title=article.title,
            content_html=shown.html,
            summary=article.summary,
            date_published=text.rfc3339(entry.published_at),
            date_modified=text.rfc3339_us(entry.updated_us),
            url=article.url,
            external_url=article.original_url if article.original_url != article.url else "",
            image=article.images[0].url if article.images else "",
            authors=[_Author(shown.author, shown.author_url, article.provider.icon_url)] if shown.author else [],
            tags=[term for term, _ in shown.categories],
            language=shown.language,
            extension=_Extension(related, sources) if related or sources else None,
        )
    )


def _related(story: model.Related) -> _Story:
    published = "" if story.published_at is None else text.rfc3339(story.published_at)
    return _Story(story.title, story.url, published, content.author_name(story.provider))


def head(value: model.Head) -> bytes:
    """All before the first item, with the line end after it.

    `next_url` leads to the older entries: the archive before this one, as RFC 5005 does for the other formats.
    """
    logo = value.logo.url if value.logo else ""
    feed = _encode(
        _Feed(
            title=value.title,
            home_page_url=value.page_url,
            feed_url=value.self_urls.get("json", ""),
            description=value.subtitle,
            icon=logo or value.icon_url,
            favicon=value.icon_url,
            authors=[_Author(value.author)],
            language=value.language,
            next_url="" if value.complete else value.prev_urls.get("json", ""),
            hubs=[_Hub("WebSub", url) for url in value.hub_urls],
        )
    )
    return b'{\n"version":"https://jsonfeed.org/version/1.1",\n' + feed[1:-1] + b',\n"items":[\n'
