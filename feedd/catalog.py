"""The state's list of feeds -> the OPML list and the index page; and which files in the output folder are ours."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from urllib.parse import quote

from feedd import pages, rebuild, site
from feedd.store import Store

NAMES = ("feeds.opml", "index.html", *pages.ASSETS)
_OURS = re.compile(r".+\.(?:atom|rss|json|opml|html|css|js)(?:\.gz|\.br)?")
_FOLDERS = (*site.FOLDERS.values(), site.ARCHIVES)


def listing(store: Store, settings: site.Settings) -> tuple[rebuild.File, ...]:
    """The two files that name every feed but private ones, and what their look is made of."""
    live = {document.feed_id: document for document in store.list_documents(page=0)}
    listed, cards = [], []
    for feed in store.list_feeds():
        document = live.get(feed.id)
        if document is None or feed.kind == "private":  # without a document: configuration took it away
            continue
        base = site.base_path(feed.kind, feed.slug or "")
        metadata = store.metadata_of(feed.kind, feed.key)
        formats = site.formats_of(settings, feed.kind, feed.key)
        urls = {fmt: site.document_url(settings, base, fmt) for fmt in formats}
        called = (settings, feed.kind, feed.key, feed.label, metadata)
        title, name = site.feed_title(*called), site.feed_name(*called)
        page_url = f"{settings.public_url}/{quote(base)}.html" if settings.pages else ""
        listed.append(site.Listed(feed.kind, title, name, urls))
        cards.append(pages.Card(feed.kind, title, name, urls, page_url, document.entries, document.updated_us))
    found = {"feeds.opml": site.opml(settings, listed), "index.html": pages.index_page(settings, cards)}
    return tuple(rebuild.File(name, data) for name, data in (found | pages.ASSETS).items())


def list_removed(store: Store) -> frozenset[str]:
    """Feeds that are known and that configuration took away, as `site.base_path` names them."""
    live = {document.feed_id for document in store.list_documents(page=0)}
    return frozenset(
        site.base_path(feed.kind, feed.slug) for feed in store.list_feeds()
        if feed.slug is not None and feed.id not in live
    )


def is_written(out: str, settings: site.Settings) -> bool:
    """Whether the two files and their siblings are there."""
    suffixes = ["", *(rebuild.SUFFIXES[encoding] for encoding in settings.encodings)]
    return all(os.path.exists(os.path.join(out, name + suffix)) for name in NAMES for suffix in suffixes)


def list_own(out: str) -> Iterator[str]:
    """Files below the output folder that have the place and name of a feed, written by whom ever."""
    with contextlib.suppress(FileNotFoundError), os.scandir(out) as found:
        for entry in found:
            if entry.name.startswith(("all.", *NAMES)) and _OURS.fullmatch(entry.name):
                yield entry.name
    pending = list(_FOLDERS)
    while pending:
        folder = pending.pop()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(os.path.join(out, folder)) as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{folder}/{entry.name}")
                elif _OURS.fullmatch(entry.name):
                    yield f"{folder}/{entry.name}"

