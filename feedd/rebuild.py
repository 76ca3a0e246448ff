"""A dirty document -> its bytes, and bytes -> files: the second half of publishing.

Reads the state, asks `plan` for order and `render` for bytes, writes through `files`. Runs in the daemon for an edit,
in worker processes for many documents. Marks nothing as written: `publish` does, once the files are safe.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import brotli
import deflate
from msgspec import Struct

from feedd import errors, files, model, plan, render, site
from feedd.store import Store

# Compression is most of the cost of an edit. A feed of 103 kB: gzip by libdeflate at 4, 12.3 kB in 0.36 ms (zlib at 6:
# 12.1 kB in 1.25 ms); brotli at 4, 12.4 kB in 0.53 ms (at 5: 11.1 kB in 0.92 ms).
GZIP_LEVEL = 4
BROTLI_QUALITY = 4
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


class FragmentCache:
    """Rendered entries by article, revision and format; the least recently used go first. Not for several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max, self._size = max_bytes, 0
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def find(self, key: tuple[object, ...]) -> bytes | None:
        """The bytes kept under a key."""
        data = self._kept.get(key)
        if data is not None:
            self._kept.move_to_end(key)
        return data

    def put(self, key: tuple[object, ...], data: bytes) -> None:
        """Keeps bytes, and forgets others if there is no room."""
        self._kept[key] = data
        self._size += len(data) + 300  # the key and the table's share
        while self._size > self._max:
            _, old = self._kept.popitem(last=False)
            self._size -= len(old) + 300


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


def build(
    store: Store, settings: site.Settings, cache: FragmentCache, feed_id: int, page: int,
    formats: Sequence[model.Format] | None = None,
) -> Built:
    """The bytes of a document in its formats (or in `formats` only), from one consistent state of the store."""
    with store.snapshot():
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
        wanted = [fmt for fmt in site.formats_of(settings, feed.kind, feed.key, page) if not formats or fmt in formats]
        fragments, error = _fragments(store, settings, cache, rows, options, wanted)
        updated_us = max([document.updated_us, *(plan.changed_us(row) for row in rows)])
        head = site.head(
            settings, kind=feed.kind, key=feed.key, label=feed.label, slug=feed.slug or "", page=page, pages=last,
            complete=not page and not last and len(rows) <= limit, updated_us=updated_us or _epoch(settings),
            metadata=store.metadata_of(feed.kind, feed.key),
        )
    if not error and not render.is_plain_head(head):
        error = _flaw(head, wanted)
    base = site.base_path(feed.kind, feed.slug or "", page)
    floor = rows[-1].position if not page and len(rows) >= limit else None
    built = () if error else tuple(File(f"{base}.{fmt}", render.document(head, fragments[fmt], fmt)) for fmt in wanted)
    return Built(feed_id, page, document.dirty_seq, floor, updated_us, len(rows), base, built, error)


def _epoch(settings: site.Settings) -> int:
    """The `updated` of a feed that never had an entry: the day from which its ids count."""
    return (plan.date_in_name(f"{settings.tag_date}-feed") or 0) * 1_000_000


def _fragments(
    store: Store, settings: site.Settings, cache: FragmentCache, rows: Sequence[plan.Shown], options: render.Options,
    formats: Sequence[model.Format],
) -> tuple[dict[model.Format, list[bytes]], str]:
    """The entries' bytes in each format, in the order of `rows`; rendered only where the cache has them not.

    And what is wrong with one of them, if anything is: entries that are valid by construction are not looked at.
    """
    error = ""
    bumped = _bumped(rows)
    out: dict[model.Format, list[bytes]] = {fmt: [] for fmt in formats}
    keys = {row.id: (row.id, row.revision, bumped.get(row.id), options) for row in rows}
    found = {(row.id, fmt): cache.find((fmt, *keys[row.id])) for row in rows for fmt in formats}
    missing = sorted({article_id for (article_id, _), data in found.items() if data is None})
    bodies = store.find_bodies(missing)
    for row in rows:
        lacking = [fmt for fmt in formats if found[row.id, fmt] is None]
        made: dict[model.Format, bytes] = {}
        if lacking:
            entry = _entry(store, settings, row, bodies[row.id], bumped.get(row.id, row.updated_us))
            made = dict(zip(lacking, render.fragments(entry, lacking, options), strict=True))
            if not render.is_plain(entry, options) and (flaw := _flaw(_PROBE, lacking, made)):
                error = error or f"{row.entry_path}: {flaw}"
            else:
                for fmt, data in made.items():
                    cache.put((fmt, *keys[row.id]), data)
        for fmt in formats:
            out[fmt].append(found[row.id, fmt] or made[fmt])
    return out, error


_PROBE = model.Head(
    id="tag:feedd.example,2026-01-01:probe", title="Probe", subtitle="Probe", page_url="https://feedd.example/",
    language="en", author="Probe", updated_us=1 << 62,
    self_urls={fmt: f"https://feedd.example/probe.{fmt}" for fmt in model.FORMATS},
)


_DANGERS = {"SecurityRisk", "SecurityRiskAttr", "DangerousStyleAttr"}


def _flaw(
    head: model.Head, formats: Iterable[model.Format], made: Mapping[model.Format, bytes] | None = None
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


def compress(data: bytes, encoding: str) -> bytes:
    """The same bytes give the same bytes: no name and no time in the gzip header (RFC 1952)."""
    if encoding == "gzip":
        return bytes(deflate.gzip_compress(data, GZIP_LEVEL))
    return bytes(brotli.compress(data, quality=BROTLI_QUALITY))


def write_file(root: str, file: File, encodings: Iterable[str], *, siblings: bool = True) -> tuple[str, ...]:
    """Writes a file if its bytes changed, then its compressed siblings; returns the paths of what was written.

    A sibling carries the file's own mtime, as servers of static files want it; so siblings of another mtime are known
    to be of other bytes, whatever crash came between. Raises OutputError.
    """
    path = os.path.join(root, file.path)
    written = [path] if files.write(path, file.data) else []
    for encoding in encodings if siblings else ():
        sibling = path + SUFFIXES[encoding]
        try:
            mtime_ns = os.stat(path).st_mtime_ns
            if not written and _mtime_ns(sibling) == mtime_ns:
                continue
            if files.write(sibling, compress(file.data, encoding), mtime_ns=mtime_ns):
                written.append(sibling)
            else:
                os.utime(sibling, ns=(mtime_ns, mtime_ns))
        except OSError as error:
            raise errors.OutputError(f"{sibling}: cannot be written: {error.strerror}") from error
    return tuple(written)


def _mtime_ns(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return None
