"""feedgen extensions that put its output right: what it writes wrongly, cannot say, or says under a switched locale.

feedgen 1.0 gives entry links no rel (a shadowed loop variable), its media extension puts a single picture in a group,
dates go through the process locale and default to now, titles cannot be HTML, plain text in RSS gets no hexadecimal
references. Each extension here is handed the element feedgen built and finishes it. Used by `feedgen_lane` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from feedgen.ext.base import BaseEntryExtension, BaseExtension
from lxml import etree

from feedd import model
from feedd.render import atom, content, heads, media, rss, text

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_PLAIN_RSS = frozenset({"title", "description", "category"})  # of a channel; an item's description is HTML

_Element = etree._Element


def _child(parent: _Element, name: str, value: str | None = None, **attributes: str) -> _Element:
    """A last child; `media:title` and the like are taken apart by their prefix. Empty attributes are left out."""
    prefix, colon, local = name.rpartition(":")
    namespaces = {"media": media.NAMESPACE, "dc": rss.DUBLIN_CORE, "fh": atom.HISTORY, "atom": atom.NAMESPACE}
    tag = f"{{{namespaces[prefix]}}}{local}" if colon else local
    nsmap = {prefix: namespaces[prefix]} if colon else None
    element = etree.SubElement(parent, tag, nsmap=nsmap)
    for attribute, held in attributes.items():
        if held:
            element.set(attribute, held)
    element.text = value
    return element


def _one_line_each(parent: _Element) -> None:
    parent.text = "\n"
    for child in parent:
        child.tail = "\n"


def _text_construct(element: _Element, value: str) -> None:
    element.text = value
    if text.looks_like_markup(value):
        element.text = text.text(value)
        element.set("type", "html")


def _reference_markup(element: _Element, value: str) -> None:
    """Plain text of RSS with `&#x26;`, `&#x3C;`, `&#x3E;`, which lxml has to be given as entity nodes."""
    first, *rest = re.split("([&<>])", text.rss_source(value))
    element.text = first or None
    for sign, following in zip(rest[::2], rest[1::2], strict=True):
        entity = etree.Entity(f"#x{ord(sign):X}")
        entity.tail = following or None
        element.append(entity)


class FeedExtension(BaseExtension):  # type: ignore[misc]  # feedgen publishes no types
    """Finishes a feed's head. `head` must be set before the feed is written."""

    head: model.Head

    def extend_atom(self, feed: _Element) -> _Element:
        head = self.head
        _text_construct(_first(feed, "title"), head.title)
        _first(feed, "updated").text = text.rfc3339_us(head.updated_us)
        _first(feed, "author")[0].text = text.lookalike(head.author)
        for subtitle in feed.findall("subtitle"):
            _text_construct(subtitle, head.subtitle)
        for mark in heads.history_marks(head, "atom"):
            _child(feed, f"fh:{mark}")
        _one_line_each(feed)
        return feed

    def extend_rss(self, feed: _Element) -> _Element:
        head, channel = self.head, feed[0]
        _child(channel, "lastBuildDate", text.rfc822(head.updated_us // 1_000_000))
        for rel, href, media_type in heads.links(head, "rss"):
            if rel != "self":  # the only one feedgen takes over
                _child(channel, "atom:link", href=href, rel=rel, type=media_type)
        for mark in heads.history_marks(head, "rss"):
            _child(channel, f"fh:{mark}")
        for element in (*channel, *channel.findall("image/title")):
            if element.tag in _PLAIN_RSS:
                _reference_markup(element, element.text or "")
        _one_line_each(channel)
        return feed


class AtomFeedExtension(FeedExtension):
    """The head of an Atom feed."""

    def extend_ns(self) -> dict[str, str]:
        return {"media": media.NAMESPACE, "fh": atom.HISTORY}


class RssFeedExtension(FeedExtension):
    """The head of an RSS feed."""

    def extend_ns(self) -> dict[str, str]:
        return {"media": media.NAMESPACE, "dc": rss.DUBLIN_CORE, "fh": atom.HISTORY}


class EntryExtension(BaseEntryExtension):  # type: ignore[misc]  # feedgen publishes no types
    """Finishes an entry. `shown` must be set before the feed is written."""

    shown: content.Shown

    def extend_atom(self, element: _Element) -> _Element:
        shown, entry = self.shown, self.shown.entry
        if shown.language:
            element.set(_XML_LANG, shown.language)
        _text_construct(_first(element, "title"), entry.article.title)
        _text_construct(_first(element, "summary"), entry.article.summary)
        _first(element, "updated").text = text.rfc3339_us(entry.updated_us)
        html = _first(element, "content")
        html.text = etree.CDATA(html.text or "")
        html.set("type", "html")
        for link, (rel, _, title) in zip(element.findall("link"), shown.links, strict=True):
            link.set("rel", rel)
            if title:
                link.set("title", text.lookalike(title))
        _child(element, "published", text.rfc3339(entry.published_at))
        _media(element, entry.article)
        _one_line_each(element)
        element.tail = "\n"
        return element

    def extend_rss(self, item: _Element) -> _Element:
        shown, entry = self.shown, self.shown.entry
        for element in item:
            if element.tag in ("title", "category"):
                _reference_markup(element, element.text or "")
        _child(item, "pubDate", text.rfc822(entry.published_at))
        if shown.author:
            _reference_markup(_child(item, "dc:creator"), shown.author)
        if shown.language:
            _child(item, "dc:language", shown.language)
        _media(item, entry.article)
        _one_line_each(item)
        item.tail = "\n"
        return item


def _media(parent: _Element, article: model.Article) -> None:
    if article.embed is not None:
        _player(parent, article, article.embed)
    images = article.images
    holder = _child(parent, "media:group") if len(images) > 1 else parent
    for image in images:
        _image(holder, image, is_default=len(images) > 1 and image is images[0])
    for image in images[:1]:
        _child(parent, "media:thumbnail", url=image.url, width=_size(image.width), height=_size(image.height))


def _player(parent: _Element, article: model.Article, embed: model.Embed) -> None:
    width, height = _size(embed.width), _size(embed.height)
    duration = _size(text.duration_s(article.length))
    video = _child(parent, "media:content", medium="video", width=width, height=height, duration=duration)
    _child(video, "media:player", url=embed.url, width=width, height=height)
    _media_title(video, article.title)


def _image(holder: _Element, image: model.Image, *, is_default: bool) -> None:
    size = {"width": _size(image.width), "height": _size(image.height)}
    shown = _child(
        holder, "media:content", url=image.url, medium="image", **size, isDefault="true" if is_default else ""
    )
    if image.title:
        _media_title(shown, image.title)
    if image.attribution:
        _child(shown, "media:credit", text.lookalike(image.attribution))


def _media_title(parent: _Element, title: str) -> None:
    _text_construct(_child(parent, "media:title"), title)


def _size(value: int) -> str:
    return str(value) if value > 0 else ""


def _first(parent: _Element, tag: str) -> _Element:
    found = parent.find(tag)
    assert found is not None, tag  # feedgen always writes these
    return found


FEED_EXTENSIONS: dict[model.Format, Callable[[], FeedExtension]] = {"atom": AtomFeedExtension, "rss": RssFeedExtension}
