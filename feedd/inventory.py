"""The state's documents -> the files that are to be in the output folder, and how it differs from that.

Looks at names, and at times where somebody else's hand was; never into a file, which `verify` does. Writes nothing.
Called by `publish` and `verify`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from msgspec import Struct

from feedd import catalog, rebuild, site
from feedd.store import Feed, Store

Owner = tuple[int, int] | None  # feed id and page of a document; None for the lists of feeds


class Due(Struct, frozen=True):
    """The files that there are to be, by path below the output folder, and whose they are. `written`: the owners whose
    files are there, as the state believes.
    """

    files: dict[str, Owner]
    written: set[Owner]


class Differences(Struct, frozen=True):
    """`missing` and `damaged`: files that the state believes to be as they should. `strays`: those of no feed of ours.

    `folders`: the time of each folder when its names were read.
    """

    missing: list[str]
    damaged: list[str]
    strays: list[str]
    folders: dict[str, int]


def endings(settings: site.Settings, feed: Feed, page: int) -> Iterator[str]:
    """What follows the base path of a document, for each of its files but the compressed ones."""
    yield from site.formats_of(settings, feed.kind, feed.key, page)
    if settings.pages and not page:
        yield "html"


def due(store: Store, settings: site.Settings, progress: Callable[[str, int], None]) -> Due:
    """Every file that there is to be."""
    files = dict[str, Owner]()
    written: set[Owner] = {None} if store.find_meta("listing") else set()
    feeds = {feed.id: feed for feed in store.list_feeds()}
    suffixes = ["", *(rebuild.SUFFIXES[encoding] for encoding in settings.encodings)]
    for name in catalog.NAMES:
        files |= dict.fromkeys(name + suffix for suffix in suffixes)
    for document in store.list_documents():
        progress("feeds", 0)
        if document.dirty_seq == document.built_seq:
            written.add((document.feed_id, document.page))
        feed = feeds[document.feed_id]
        if feed.slug is not None:
            base = site.base_path(feed.kind, feed.slug, document.page)
            for ending in endings(settings, feed, document.page):
                for suffix in suffixes:
                    files[f"{base}.{ending}{suffix}"] = (document.feed_id, document.page)
    return Due(files, written)


def compare(out: str, due: Due, is_other: Callable[[str, int], bool]) -> Differences:
    """`is_other`: whether somebody else changed a folder, which has this time; its files are looked at, then."""
    present, folders, damaged = set[str](), dict[str, int](), list[str]()
    for folder in catalog.walk(out):
        folders[folder.path] = folder.mtime_ns
        present.update(folder.names)
        if is_other(folder.path, folder.mtime_ns):
            damaged += [name for name in _at_odds(out, folder.names) if due.files.get(name, ()) in due.written]
    missing = sorted(path for path in due.files.keys() - present if due.files[path] in due.written)
    return Differences(missing, sorted(damaged), sorted(present - due.files.keys()), folders)


def _at_odds(out: str, names: list[str]) -> Iterator[str]:
    """Files whose compressed copies are of another time, which feedd gives to all of them: one of them was changed."""
    times = {name: _mtime_ns(os.path.join(out, name)) for name in names}
    for name, at in times.items():
        if any(times.get(name + suffix, at) != at for suffix in rebuild.SUFFIXES.values()):
            yield name


def _mtime_ns(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
