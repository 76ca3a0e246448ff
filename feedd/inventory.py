"""The state's documents -> the files that are to be in the output folder, and how it differs from that.

Looks at names, and at times where somebody else's hand was; never into a file, which `verify` does. Goes folder by
folder: of all the names, only those of one are in memory at a time. Writes nothing. Called by `custody` and `verify`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from msgspec import Struct

from feedd import catalog, rebuild, site
from feedd.store import Feed, Store

Owner = tuple[int, int] | None  # feed id and page of a document; None for the lists of feeds


class Document(Struct, frozen=True, gc=False):
    """What is to be in a folder of one document: files of this stem and of each ending, "atom" or "atom.gz".

    `is_written`: its files are there, as the state believes.
    """

    stem: str
    endings: tuple[str, ...]
    owner: Owner
    is_written: bool


Due = dict[str, list[Document]]  # by folder below the output folder


class Differences(Struct, frozen=True):
    """`missing` and `damaged`: files that the state believes to be as they should. `strays`: those of no feed of ours.

    `folders`: the time of each folder when its names were read.
    """

    missing: dict[str, Owner]
    damaged: dict[str, Owner]
    strays: list[str]
    folders: dict[str, int]


def endings(settings: site.Settings, feed: Feed, page: int) -> tuple[str, ...]:
    """What follows the base path of a document, for each of its files but the compressed ones."""
    formats = site.formats_of(settings, feed.kind, feed.key, page)
    return (*formats, "html") if settings.pages and not page else formats


def due(store: Store, settings: site.Settings, progress: Callable[[str, int], None]) -> Due:
    """Every file that there is to be."""
    feeds = {feed.id: feed for feed in store.list_feeds()}
    packed: dict[tuple[str, ...], tuple[str, ...]] = {}  # one tuple for all that have the same
    has_listing = bool(store.find_meta("listing"))
    found: Due = {"": []}
    for name in catalog.NAMES:
        stem, _, ending = name.rpartition(".")
        found[""].append(Document(stem, _with_siblings((ending,), settings), None, has_listing))
    for feed_id, page, is_written in store.iter_pages():
        progress("feeds", 0)
        feed = feeds[feed_id]
        if feed.slug is not None:
            folder, stem = os.path.split(site.base_path(feed.kind, feed.slug, page))
            bare = endings(settings, feed, page)
            every = packed.get(bare) or packed.setdefault(bare, _with_siblings(bare, settings))
            found.setdefault(folder, []).append(Document(stem, every, (feed_id, page), is_written))
    return found


def _with_siblings(bare: tuple[str, ...], settings: site.Settings) -> tuple[str, ...]:
    suffixes = ["", *(rebuild.SUFFIXES[encoding] for encoding in settings.encodings)]
    return tuple(ending + suffix for ending in bare for suffix in suffixes)


def compare(out: str, due: Due, is_other: Callable[[str, int], bool]) -> Differences:
    """`is_other`: whether somebody else changed a folder, which has this time; its files are looked at, then."""
    found = Differences({}, {}, [], {})
    for folder in catalog.walk(out):
        found.folders[folder.path] = folder.mtime_ns
        present = set(folder.names)
        torn = set(_at_odds(out, folder.names)) if is_other(folder.path, folder.mtime_ns) else set()
        for name, document in _files(folder.path, due):
            if document.is_written and name not in present:
                found.missing[name] = document.owner
            elif document.is_written and name in torn:
                found.damaged[name] = document.owner
            present.discard(name)
        found.strays.extend(present)
    for path in due.keys() - found.folders.keys():
        found.missing.update({name: document.owner for name, document in _files(path, due) if document.is_written})
    found.strays.sort()
    return found


def _files(folder: str, due: Due) -> Iterator[tuple[str, Document]]:
    """The files that are to be in a folder, by their paths."""
    for document in due.get(folder, ()):
        base = os.path.join(folder, document.stem)
        for ending in document.endings:
            yield f"{base}.{ending}", document


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
