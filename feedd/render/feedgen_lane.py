"""Writes Atom and RSS through feedgen and lxml: the reference that the templates are held equal to, byte for byte.

Also renders what the templates are not sure of. Knows how to get feedgen to write nothing of its own (now as a date,
entries in reverse, the last link as the channel's); `extensions` does the rest. Slow, and imported only when used.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from feedgen.entry import FeedEntry
from feedgen.feed import FeedGenerator

from feedd import model
from feedd.render import clean, content, extensions, heads, text

_ANY_HEAD = model.Head(
    id="urn:feedd:any",
    title="any",
    subtitle="",
    page_url="https://feed.invalid/",
    language="en",
    author="any",
    updated_us=0,
    self_urls={},
)


class _NoDate(datetime):
    """A date that feedgen takes, and then leaves out: writing one, it would switch the locale of the whole process."""

    def __bool__(self) -> bool:
        return False


def fragment(shown: content.Shown, fmt: model.Format) -> bytes:
    """One entry as feedgen writes it inside a feed, without a line end after it; Atom and RSS."""
    whole = document(_ANY_HEAD, [shown], fmt)
    name = b"entry" if fmt == "atom" else b"item"
    end = b"</" + name + b">"
    return whole[whole.index(b"\n<" + name) + 1 : whole.rindex(end) + len(end)]


def document(head: model.Head, entries: Sequence[content.Shown], fmt: model.Format) -> bytes:
    """A whole feed, built by feedgen from head and entries, newest first; Atom and RSS."""
    feed = _feed(clean.head(head), fmt)
    for shown in entries:
        _add(feed, shown, fmt)
    written: bytes = feed.atom_str() if fmt == "atom" else feed.rss_str()
    return written + b"\n"


def _feed(head: model.Head, fmt: model.Format) -> FeedGenerator:
    feed = FeedGenerator()
    feed.register_extension(
        "feedd", extensions.FEED_EXTENSIONS[fmt], extensions.EntryExtension, atom=fmt == "atom", rss=fmt == "rss"
    )
    feed.feedd.head = head
    feed.id(head.id)
    feed.title(head.title)
    links = heads.links(head, fmt)
    feed.link([{"href": href, "rel": rel, "type": kind} for rel, href, kind in links if fmt == "atom" or rel == "self"])
    if head.category:
        feed.category(term=head.category)
    if fmt == "atom":
        feed.updated(datetime.fromtimestamp(0, UTC))  # the extension writes it, with all six digits
        feed.author(name=head.author)
        feed.generator(heads.GENERATOR, version=heads.VERSION)
        feed.icon(head.icon_url)
        feed.logo(head.logo.url if head.logo else "")
        feed.subtitle(head.subtitle)
        feed.language(head.language)
        return feed
    feed.updated(_NoDate(1970, 1, 1, tzinfo=UTC))
    feed.link(href=head.page_url, rel="alternate")  # last of all: feedgen makes the last link the channel's
    feed.description(head.subtitle or head.title)
    feed.generator(f"{heads.GENERATOR} {heads.VERSION}")
    image = heads.channel_image(head)
    if image:
        size = {"width": str(image.width), "height": str(image.height)} if image.width else {}
        feed.image(image.url, title=head.title, link=head.page_url, **size)
    feed.language(head.language)
    if head.ttl_minutes > 0:
        feed.ttl(head.ttl_minutes)
    return feed


def _add(feed: FeedGenerator, shown: content.Shown, fmt: model.Format) -> None:
    entry, article = shown.entry, shown.entry.article
    added: FeedEntry = feed.add_entry(order="append")
    added.feedd.shown = shown
    added.id(entry.id)
    added.title(article.title)
    for term, scheme in shown.categories:
        label = text.lookalike(term) if fmt == "atom" else term  # feedgen shows the label in RSS
        added.category(term=term, scheme=scheme, label=label)
    if fmt == "rss":
        if article.url:
            added.link(href=article.url, rel="alternate")
        added.description(text.text(article.summary), isSummary=True)
        added.content(text.cdata(shown.html), type="CDATA")
        return
    added.updated(datetime.fromtimestamp(0, UTC))
    added.content(text.cdata(shown.html))
    added.summary(article.summary)
    if shown.author:
        added.author(name=text.lookalike(shown.author), uri=shown.author_url)
    for rel, href, _ in shown.links:
        added.link(href=href, rel=rel)
