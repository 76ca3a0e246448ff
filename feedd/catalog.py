"""The state's list of feeds -> the OPML list and the index page; and which files in the output folder are ours.

Names feeds that have no name yet. Called by `publish`, which says when; readers of the output ask what there is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote

from msgspec import Struct

from feedd import errors, pages, rebuild, site
from feedd.store import Store

NAMES = ("feeds.opml", "index.html", *pages.ASSETS)
_OURS = re.compile(r".+\.(?:atom|rss|json|opml|html|css|js)(?:\.gz|\.br)?")
_WRITTEN, _STALE = "written", "stale"  # the two files: as they should be; as they should be but for counts and times
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


def name_feeds(store: Store) -> None:
    """Gives each feed that is new its slug."""
    unnamed = store.list_unnamed()
    if not unnamed:
        return
    with store.transaction():
        for kind in sorted({feed.kind for feed in unnamed}):
            ids = {feed.key: feed.id for feed in unnamed if feed.kind == kind}
            slugs = site.assign_slugs(kind, ids, store.list_slugs(kind))
            store.put_slugs((ids[key], slug) for key, slug in slugs.items())


def mark_stale(store: Store) -> None:
    """Their counts and times are others; inside a transaction."""
    if store.find_meta("listing") == _WRITTEN:
        store.put_meta("listing", _STALE)


def is_wanted(store: Store, settings: site.Settings, out: str, *, stale: bool) -> bool:
    """Whether to write them now: at once when a feed was made, removed or renamed or they were lost, which `custody`
    finds out; if only counts and times are stale, when asked for by `stale`.
    """
    said = store.find_meta("listing")
    if said in (_WRITTEN, _STALE):
        return said == _STALE and stale
    knows_articles = store.find_meta("root") is not None  # else the state is new, and the articles may be away
    return knows_articles or not _are_there(out, settings)


def write(store: Store, settings: site.Settings, out: str, sync: Callable[[Sequence[str]], None]) -> None:
    """The two files, where `mark_written` is to follow. Raises OutputError."""
    for file in listing(store, settings):
        sync(rebuild.write_file(out, file, settings.encodings))


def mark_written(store: Store) -> None:
    """They are as they should be; inside a transaction."""
    store.put_meta("listing", _WRITTEN)


def _are_there(out: str, settings: site.Settings) -> bool:
    """Whether the two files and their siblings are, of whatever time."""
    suffixes = ["", *(rebuild.SUFFIXES[encoding] for encoding in settings.encodings)]
    return all(os.path.exists(os.path.join(out, name + suffix)) for name in NAMES for suffix in suffixes)


class Folder(Struct, frozen=True, gc=False):
    """A folder of the output, "" for the root, with its time before its names were read, and the paths in it that are
    those of feeds, written by whom ever.
    """

    path: str
    mtime_ns: int
    names: list[str]


def walk(out: str) -> Iterator[Folder]:
    """The output folder and every folder below it that is ours; those that are not there are left out.

    Raises OutputError for one that cannot be listed.
    """
    pending = ["", *_FOLDERS]
    while pending:
        path = pending.pop()
        place = os.path.join(out, path)
        names = []
        try:
            mtime_ns = os.stat(place).st_mtime_ns
            with os.scandir(place) as found:
                for entry in found:
                    if not path:
                        if entry.name.startswith(("all.", *NAMES)) and _OURS.fullmatch(entry.name):
                            names.append(entry.name)
                    elif entry.is_dir(follow_symlinks=False):
                        pending.append(f"{path}/{entry.name}")
                    elif _OURS.fullmatch(entry.name):
                        names.append(f"{path}/{entry.name}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise errors.OutputError(f"{place}: cannot be listed: {errors.in_words(error)}") from error
        yield Folder(path, mtime_ns, names)


def list_own(out: str) -> Iterator[str]:
    """Files below the output folder that have the place and name of a feed, written by whom ever.

    Raises OutputError.
    """
    for folder in walk(out):
        yield from folder.names
