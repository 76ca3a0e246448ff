"""A dirty document -> its bytes, and bytes -> files: the second half of publishing.

Reads the state, asks `plan` for order and `render` for bytes, writes through `files`. Runs in the daemon for an edit,
in worker processes for many documents. Marks nothing as written: `publish` does, once the files are safe.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from hashlib import sha256

import brotli
from isal import igzip_lib
from msgspec import Struct

from feedd import errors, model, outputs, pages, plan, render, site
from feedd.freshness import effects, urls
from feedd.store import Store

# Compressing is the most of an edit. A feed of 92 kB takes 0.10 ms by ISA-L at 1 (13.5 kB), 0.39 ms by libdeflate at 4;
# and by brotli 0.32 ms at 2 (12.6 kB), 0.38 ms at 3 (12.2 kB), 0.53 ms at 4 (11.9 kB).
GZIP_LEVEL = 1
BROTLI_QUALITY = 2
SUFFIXES = {"gzip": ".gz", "brotli": ".br"}


class File(Struct, frozen=True, gc=False):
    """One file to be written, below the output folder."""

    path: str
    data: bytes


class Built(Struct, frozen=True, array_like=True, gc=False):
    """A document that was rendered; `seq` is the change it shows. With an `error` there are no files to be written."""

    feed_id: int
    page: int
    seq: int
    floor: int | None
    updated_us: int
    entries: int
    base: str
    files: tuple[File, ...] = ()
    error: str = ""


Fragments = Mapping[str, bytes]  # by format, or of a page


class FragmentCache:
    """Rendered entries by article and options, each in one revision; the least recently used go first.

    At most `max_bytes` of them; and none that the last `documents` did not show: in a site that churns, most of what
    was shown once never is again. `archives`: whether those of archives are kept, too, which pays where many are made
    in a row. Not for threads.
    """

    def __init__(self, max_bytes: int, *, documents: int = 10_000, archives: bool = True) -> None:
        self._max, self._size, self._documents, self.archives = max_bytes, 0, documents, archives
        self._kept: OrderedDict[Hashable, tuple[int, Fragments, int]] = OrderedDict()  # in the order of last use
        self._made = 0

    @property
    def has_room(self) -> bool:
        """Whether it is less than half full."""
        return 2 * self._size < self._max

    def begin(self) -> None:
        """Another document is about to be made."""
        self._made += 1
        while self._kept and next(iter(self._kept.values()))[2] < self._made - self._documents:
            self._forget_one()

    def find(self, key: Hashable, revision: int) -> Fragments | None:
        """The entry of this revision, in the formats that it was kept in."""
        kept = self._kept.get(key)
        if kept is None or kept[0] != revision:
            return None
        self._kept[key] = revision, kept[1], self._made
        self._kept.move_to_end(key)
        return kept[1]

    def put(self, key: Hashable, revision: int, fragments: Fragments) -> None:
        """Keeps an entry instead of what was kept under the key, and forgets others if there is no room."""
        if key in self._kept:
            self._size -= _size(self._kept.pop(key)[1])
        self._kept[key] = revision, fragments, self._made
        self._size += _size(fragments)
        while self._size > self._max:
            self._forget_one()

    def _forget_one(self) -> None:
        self._size -= _size(self._kept.popitem(last=False)[1][1])


def _size(fragments: Fragments) -> int:
    """Bytes that are held by them, the key and their share of the table."""
    return sum(map(len, fragments.values())) + 700


def close_pages(store: Store, settings: site.Settings, feed_id: int) -> None:
    """Closes the archives that are due, so that live feed and archives together hold every entry (RFC 5005, section 4).

    The newest archive learns of its successor, and is written once more; older ones never change by growth.
    """
    feed = store.get_feed(feed_id)
    limit = settings.of(feed.kind, feed.key).limit or settings.limit
    last, bound = store.last_page(feed_id)
    pages = plan.pages_due(store.count_entries(feed_id, bound), limit)
    if not pages:
        return
    if last:
        store.mark_dirty([(feed_id, last, 0)])
    for number, upper in enumerate(store.list_bounds(feed_id, above=bound, every=limit, pages=pages), last + 1):
        store.put_document(feed_id, number, upper, 0)


class _View(Struct, frozen=True, gc=False):
    """What a document shows, as the state has it now."""

    seq: int
    rows: list[plan.Shown]
    limit: int
    options: render.Options
    formats: tuple[model.Format, ...]
    head: model.Head
    updated_us: int
    base: str


def _look(store: Store, settings: site.Settings, feed_id: int, page: int) -> _View:
    """To be called within one snapshot of the store."""
    document = store.get_document(feed_id, page)
    feed = store.get_feed(feed_id)
    own = settings.of(feed.kind, feed.key)
    limit = own.limit or settings.limit
    last, _ = store.last_page(feed_id)
    if page:
        below = store.get_document(feed_id, page - 1).bound if page > 1 else -1
        rows = store.list_window(feed_id, above=-1 if below is None else below, up_to=document.bound, limit=-1)
    else:
        rows = store.list_window(feed_id, above=-1, up_to=None, limit=limit)
    full = own.full_content if own.full_content is not None else settings.full_content
    options = render.Options(full, f"{settings.public_url}/topics/", own.language or settings.language)
    updated_us = max([document.updated_us, *(plan.changed_us(row) for row in rows)])
    head = site.head(
        settings, kind=feed.kind, key=feed.key, label=feed.label, slug=feed.slug or "", page=page, pages=last,
        complete=not page and not last and len(rows) <= limit, updated_us=updated_us or _epoch(settings),
        metadata=store.metadata_of(feed.kind, feed.key),
    )
    formats = site.formats_of(settings, feed.kind, feed.key, page)
    base = site.base_path(feed.kind, feed.slug or "", page)
    return _View(document.dirty_seq, rows, limit, options, formats, head, updated_us, base)


def build(
    store: Store, settings: site.Settings, cache: FragmentCache, feed_id: int, page: int,
    formats: Sequence[model.Format] | None = None,
) -> Built:
    """The bytes of a document in its formats (or in `formats` only), from one consistent state of the store."""
    cache.begin()
    with store.snapshot():
        view = _look(store, settings, feed_id, page)
        wanted = [fmt for fmt in view.formats if not formats or fmt in formats]
        keep = not page or cache.archives
        fragments, error = _fragments(store, settings, cache, view.rows, view.options, wanted, keep=keep)
    if not error and not render.is_plain_head(view.head):
        error = _flaw(view.head, wanted)
    floor = view.rows[-1].position if not page and len(view.rows) >= view.limit else None
    documents = {} if error else render.documents(view.head, fragments)
    built = tuple(File(f"{view.base}.{fmt}", data) for fmt, data in documents.items())
    return Built(feed_id, page, view.seq, floor, view.updated_us, len(view.rows), view.base, built, error)


def build_page(store: Store, settings: site.Settings, cache: FragmentCache, feed_id: int) -> File:
    """The page for people that shows a live feed's entries."""
    with store.snapshot():
        view = _look(store, settings, feed_id, 0)
        bumped = _bumped(view.rows)
        keys = [(row.id, bumped.get(row.id), view.options, "page") for row in view.rows]
        found = [cache.find(key, row.revision) for key, row in zip(keys, view.rows, strict=True)]
        lacking = [n for n, kept in enumerate(found) if kept is None]
        bodies = store.find_bodies(sorted({view.rows[n].id for n in lacking}))
        for n in lacking:
            row = view.rows[n]
            article, checked = _as_checked(store, settings, bodies[row.id])
            entry = _entry(store, settings, row, article, bumped.get(row.id, row.updated_us))
            made = {"page": pages.entry(entry, view.options, checked)}
            cache.put(keys[n], row.revision, made)
            found[n] = made
    fragments = [kept["page"] for kept in found if kept]
    return File(f"{view.base}.html", pages.feed_page(view.head, fragments, settings, base=view.base))


def _epoch(settings: site.Settings) -> int:
    """The `updated` of a feed that never had an entry: the day from which its ids count."""
    return (plan.date_in_name(f"{settings.tag_date}-feed") or 0) * 1_000_000


def _fragments(
    store: Store, settings: site.Settings, cache: FragmentCache, rows: Sequence[plan.Shown], options: render.Options,
    formats: Sequence[model.Format], *, keep: bool,
) -> tuple[dict[model.Format, list[bytes]], str]:
    """The entries' bytes in each format, in the order of `rows`; rendered only where the cache has them not.

    And what is wrong with one of them, if anything is: entries that are valid by construction are not looked at.
    """
    error = ""
    bumped = _bumped(rows)
    keys = [(row.id, bumped.get(row.id), options) for row in rows]
    found = [cache.find(key, row.revision) for key, row in zip(keys, rows, strict=True)]
    lacking = [n for n, kept in enumerate(found) if kept is None or not kept.keys() >= set(formats)]
    bodies = store.find_bodies(sorted({rows[n].id for n in lacking}))
    for n in lacking:
        row, kept = rows[n], found[n] or {}
        article = _as_checked(store, settings, bodies[row.id])[0]
        entry = _entry(store, settings, row, article, bumped.get(row.id, row.updated_us))
        missing = [fmt for fmt in formats if fmt not in kept]
        parts, plain = render.fragments(entry, missing, options)
        made: dict[str, bytes] = {**kept, **dict(zip(missing, parts, strict=True))}
        if not plain and (flaw := _flaw(_PROBE, missing, made)):
            error = error or f"{row.entry_path}: {flaw}"
        elif keep:
            cache.put(keys[n], row.revision, made)
        found[n] = made
    return {fmt: [kept[fmt] for kept in found if kept] for fmt in formats}, error


_PROBE = model.Head(
    id="tag:feedd.example,2026-01-01:probe", title="Probe", subtitle="Probe", page_url="https://feedd.example/",
    language="en", author="Probe", updated_us=1 << 62,
    self_urls={fmt: f"https://feedd.example/probe.{fmt}" for fmt in model.FORMATS},
)


_DANGERS = {"SecurityRisk", "SecurityRiskAttr", "DangerousStyleAttr"}


def _flaw(
    head: model.Head, formats: Iterable[model.Format], made: Mapping[str, bytes] | None = None
) -> str:
    """The first error or danger that validators would find in a document of one entry or none; empty without any.

    Their other warnings are no reason to withhold an entry from readers.
    """
    from feedd import lint  # hardly ever needed, and workers start the sooner

    for fmt in formats:
        data = render.document(head, [made[fmt]] if made else [], fmt)
        for finding in lint.lint(data, fmt):
            if finding.level == "error" or finding.rule in _DANGERS:
                return f"{fmt}: {finding.rule}: {finding.message}"
    return ""


def _bumped(rows: Sequence[plan.Shown]) -> dict[int, int]:
    """Article id -> another `updated`, for entries that share one with an entry above them (DuplicateUpdated)."""
    if len({row.updated_us for row in rows}) == len(rows):
        return {}
    return plan.distinct_updated([(row.id, row.updated_us) for row in rows])


def _entry(
    store: Store, settings: site.Settings, row: plan.Shown, article: model.Article, updated_us: int
) -> model.Entry:
    sources: tuple[model.Source, ...] = ()
    if row.copies > 1:
        others = [c for c in store.list_stories([row.story]) if c.id != row.id and plan.visible(c)]
        bodies = store.find_bodies([other.id for other in others])
        by_identity = sorted(others, key=lambda other: other.entry_path)
        articles = [bodies[other.id] for other in by_identity]
        sources = tuple(model.Source(other.provider, other.original_url or other.url) for other in articles)
    identity = plan.tag_uri(settings.tag_host, settings.tag_date, row.entry_path)
    return model.Entry(identity, article, row.published_at, updated_us, sources)


def _as_checked(
    store: Store, settings: site.Settings, article: model.Article
) -> tuple[model.Article, Mapping[str, pages.Check]]:
    """The article with its related links as readers are to see them, and what is known of those."""
    rules = settings.links
    if rules is None or not article.related or not store.marks.has_marks():
        return article, {}
    keys = {related.url: urls.normalise(related.url) for related in article.related if related.url}
    found = store.marks.find_marks(sorted(set(keys.values())))
    marks = {url: found[key] for url, key in keys.items() if key in found}
    return effects.apply(article, marks, rules), effects.checked(article, marks, rules)


def compress(data: bytes, encoding: str) -> bytes:
    """The same bytes give the same bytes: no name and no time in the gzip header (RFC 1952)."""
    if encoding == "gzip":
        return igzip_lib.compress(data, GZIP_LEVEL, igzip_lib.COMP_GZIP)
    return bytes(brotli.compress(data, quality=BROTLI_QUALITY))


class Placed(Struct, frozen=True, gc=False):
    """A file that is in place: whether its bytes are new, and their time, which its siblings carry too."""

    path: str
    changed: bool
    mtime_ns: int


def place(root: str, file: File, *, stock: outputs.Stock | None = None) -> Placed:
    """Writes a file if its bytes changed. Raises OutputError."""
    path = os.path.join(root, file.path)
    changed = outputs.write(path, file.data, stock=stock)
    mtime_ns = _mtime_ns(path)
    if mtime_ns is None:
        raise errors.OutputError(f"{path}: removed by someone else while it was written")
    return Placed(path, changed, mtime_ns)


def place_siblings(
    placed: Placed, packed: Callable[[], Mapping[str, bytes]], encodings: Iterable[str], *,
    stock: outputs.Stock | None = None,
) -> list[str]:
    """Writes the compressed siblings, if they are not of the file's bytes; returns the paths of all that was written.

    A sibling carries the file's own mtime, as servers of static files want it; so siblings of another mtime are known
    to be of other bytes, whatever crash came between. Raises OutputError.
    """
    written = [placed.path] if placed.changed else []
    for encoding in encodings:
        path = placed.path + SUFFIXES[encoding]
        if not placed.changed and _mtime_ns(path) == placed.mtime_ns:
            continue
        if outputs.write(path, packed()[encoding], mtime_ns=placed.mtime_ns, stock=stock):
            written.append(path)
        else:
            outputs.date(path, placed.mtime_ns)
    return written


def pack(data: bytes, encodings: Iterable[str]) -> dict[str, bytes]:
    """The bytes of the siblings."""
    return {encoding: compress(data, encoding) for encoding in encodings}


def write_file(
    root: str, file: File, encodings: Sequence[str], *, stock: outputs.Stock | None = None
) -> list[str]:
    """Writes a file if its bytes changed, then its compressed siblings; returns the paths of what was written.

    Raises OutputError.
    """
    placed = place(root, file, stock=stock)
    return place_siblings(placed, lambda: pack(file.data, encodings), encodings, stock=stock)


def _mtime_ns(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def digests(built: Built) -> tuple[tuple[model.Format, bytes], ...]:
    """What stands for the bytes of a document in each format: whether hubs have something new to hear."""
    found = {file.path: sha256(file.data).digest()[:16] for file in built.files}
    return tuple((fmt, found[f"{built.base}.{fmt}"]) for fmt in model.FORMATS if f"{built.base}.{fmt}" in found)
