"""State and output -> findings: what is not as it must be, between the databases, and between them and the files.

Writes nothing; `repair` does. While a daemon runs, both change under our eyes: a document is wrong only if its row was
the same before and after its files were read. Called by `feedd verify`.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Final, Literal

import brotli
import msgspec
from msgspec import Struct

from feedd import bulk, catalog, errors, inventory, model, outputs, rebuild, site, verdicts
from feedd.backup import DATABASES
from feedd.freshness import urls
from feedd.store import Document, Feed, Store, linkrows, open_store, schema
from feedd.store.copies import flaws
from feedd.store.invariants import Invariants, LinkInvariants
from feedd.store.links import Links, open_links
from feedd.store.sqlite import errors_in_words

LOOKS: Final = 3  # at a document that changes while it is looked at
_PIECE: Final = 500
_LAST: Final = (1 << 63) - 1
_BUILD = "`feedd build` writes it"
_FIX = "`feedd verify --fix` mends it"
_article_from = msgspec.msgpack.Decoder(model.Article).decode

Mend = Literal["", "aside", "contents", "memberships", "listing", "uses", "marks", "hubs"]
Progress = Callable[[str, int], None]


class Finding(Struct, frozen=True):
    """One fault: where, what, and what to do. The rest is how `repair` mends it.

    `document`: to be written again. `stray`: a file below the output folder that is to go first.
    """

    place: str
    what: str
    advice: str
    mend: Mend = ""
    document: tuple[int, int] | None = None
    stray: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.what}; {self.advice}"


def verify(plan: bulk.Plan, *, running: bool, quick: bool, progress: Progress) -> Iterator[Finding]:
    """Every fault there is; a torn state only, if it is torn. `running`: a daemon works on it meanwhile.

    Raises StateError where there is no state, or one of another version.
    """
    if not os.path.exists(os.path.join(plan.state_folder, schema.NAME)):
        raise errors.StateError(f"{plan.state_folder}: no state yet; start `feedd run` or `feedd build` first")
    with errors_in_words():
        torn = list(_check_databases(plan.state_folder, quick=quick, progress=progress))
    yield from torn
    if any(finding.place == schema.NAME for finding in torn):
        return
    with errors_in_words(), open_store(plan.state_folder, read_only=True) as store:
        if store.check_version() != len(schema.MIGRATIONS):
            raise errors.StateError(f"{plan.state_folder}: of an older feedd; `feedd build` brings it up to date")
        yield from _check_tables(store, plan.settings)
        if plan.settings.links and not quick and not any(finding.place == linkrows.NAME for finding in torn):
            yield from _check_links(plan.state_folder, progress)
        yield from _Output(store, plan, running, quick, progress).check()


# -- databases ---------------------------------------------------------------------------------------------------------


def _check_databases(folder: str, *, quick: bool, progress: Progress) -> Iterator[Finding]:
    for name, steps in DATABASES.items():
        path = os.path.join(folder, name)
        if os.path.exists(path):
            for flaw in flaws(path, steps, quick=quick):
                advice = "put a backup back by `feedd restore`, or `feedd verify --fix` sets it aside"
                yield Finding(name, flaw, advice, mend="aside")
        progress("databases", 1)


def _check_tables(store: Store, settings: site.Settings) -> Iterator[Finding]:
    """What the tables of the state say of each other."""
    with store.snapshot():
        found = Invariants.of(store)
        checks: tuple[tuple[str, Callable[[], list[str]], str, Mend], ...] = (
            ("file", found.list_stray_files, "is not where its article is said to be", "contents"),
            ("article", found.list_lost_articles, "is said to be in a file that is not it", "contents"),
            ("body", found.list_empty_entries, "is an entry of which nothing is kept", "contents"),
            ("article", found.list_misplaced, "is at a wrong place in the order of entries", "contents"),
            ("membership", found.list_wrong_memberships, "has other entries than articles say", "memberships"),
            ("document", found.list_wrong_documents, "has documents that cannot be", "memberships"),
        )
        for table, check, what, mend in checks:
            for key in check():
                yield Finding(f"{schema.NAME}: {table}: {key}", what, _FIX, mend=mend)
        for hub in store.outbox.list_hubs():
            if hub not in settings.hubs:
                yield Finding(f"{schema.NAME}: outbox: {hub}", "is not in hub.urls, and never told", _FIX, mend="hubs")


def _check_links(folder: str, progress: Progress) -> Iterator[Finding]:
    """Links against the articles that have them and the marks that readers see, if all of that was noted by now."""
    if not os.path.exists(os.path.join(folder, linkrows.NAME)):
        return
    with ExitStack() as opened:  # of links first: what is noted there of articles is never newer than those
        links = opened.enter_context(closing(open_links(folder, read_only=True)))
        opened.enter_context(links.snapshot())
        store = opened.enter_context(open_store(folder, read_only=True))
        opened.enter_context(store.snapshot())
        for url in LinkInvariants.of(links).list_miscounted():
            yield Finding(f"{linkrows.NAME}: {url}", "is counted for other articles than have it", _FIX, mend="uses")
        of, walk = links.find_meta("sync_of"), links.find_meta("sync_walk")
        seen = int(links.find_meta("sync_seq") or 0)
        if of == store.marks.state_id() and walk is None and seen == store.marks.newest_relinked():
            yield from _check_uses(store, links, progress)
        if verdicts.heard_of(store, links) == links.newest_news():
            yield from _check_marks(store, links, progress)


def _check_uses(store: Store, links: Links, progress: Progress) -> Iterator[Finding]:
    kinds = (links.find_meta("sync_kinds") or "").split()
    uses, after = LinkInvariants.of(links), 0
    while after < _LAST:
        rows = store.marks.list_linked(after, _PIECE)
        up_to = rows[-1][0] if len(rows) == _PIECE else _LAST
        had = uses.list_uses(after, up_to)
        for article_id, data, in_feed in rows:
            wanted = dict.fromkeys(urls.links_of(_article_from(data), kinds), in_feed)  # type: ignore[arg-type]
            if had.pop(article_id, {}) != wanted:
                yield Finding(f"{linkrows.NAME}: article {article_id}", "has other links than are noted", _FIX, "uses")
        for article_id in had:
            yield Finding(f"{linkrows.NAME}: article {article_id}", "has no links, and some are noted", _FIX, "uses")
        progress("articles", len(rows))
        after = up_to


def _check_marks(store: Store, links: Links, progress: Progress) -> Iterator[Finding]:
    after = 0
    while rows := links.list_marks(after, _PIECE):
        known = store.marks.find_marks([row.url for row in rows])
        for row in rows:
            if known.get(row.url) != verdicts.mark_of(row):
                yield Finding(f"{schema.NAME}: mark: {row.url}", "is not what was found of the link", _FIX, "marks")
        progress("links", len(rows))
        after = rows[-1].link_id


# -- output ------------------------------------------------------------------------------------------------------------


class _Output:
    """The documents of a state and the files of an output folder."""

    def __init__(self, store: Store, plan: bulk.Plan, running: bool, quick: bool, progress: Progress) -> None:
        self._store, self._plan, self._settings = store, plan, plan.settings
        self._running, self._quick, self._progress = running, quick, progress
        self._suffixes = {"": "", **{encoding: rebuild.SUFFIXES[encoding] for encoding in plan.settings.encodings}}
        self._cache = rebuild.FragmentCache(32 << 20)

    def check(self) -> Iterator[Finding]:
        """All of them, then the list of feeds, then what is there and should not be."""
        if self._store.find_meta("settings") != msgspec.json.encode(site.fingerprints(self._settings)).decode():
            yield Finding("config.toml", "is another than feeds were written by", "`feedd build`, then verify again")
            return
        feeds = {feed.id: feed for feed in self._store.list_feeds()}
        documents = self._store.list_documents()
        documents.sort(key=lambda document: _LAST if document.bound is None else document.bound)
        for document in documents:  # those of one time share most entries, which are rendered once
            yield from self._check_document(feeds[document.feed_id], document)
            self._progress("documents", 1)
        yield from self._check_listing()
        strays = self._strays()
        if strays and self._running:  # one look more: what was written meanwhile has its row by now
            strays &= self._strays()
        for name in sorted(strays):
            yield Finding(name, "belongs to no feed", "remove it, or `feedd verify --fix` does", stray=name)

    def _check_document(self, feed: Feed, document: Document) -> list[Finding]:
        """What is wrong with the files of a document that has been written."""
        key = (document.feed_id, document.page)
        for _ in range(LOOKS):
            before = self._store.find_document(*key)
            if before is None or feed.slug is None:  # gone meanwhile, or never written yet
                return []
            base = site.base_path(feed.kind, feed.slug, document.page)
            if before.error:
                return [Finding(base, f"could not be written: {before.error}", "every start tries again")]
            if before.dirty_seq != before.built_seq:
                return [] if self._running else [Finding(base, "was to be written", _BUILD, document=key)]
            found = self._look_at(feed, base, key)
            after = self._store.find_document(*key)
            if after is not None and before.dirty_seq == after.dirty_seq:
                return found
        return []

    def _look_at(self, feed: Feed, base: str, key: tuple[int, int]) -> list[Finding]:
        if self._quick:
            endings = inventory.endings(self._settings, feed, key[1])
            looked_for = (rebuild.File(f"{base}.{ending}", b"") for ending in endings)
            return [finding for file in looked_for for finding in self._look_for(file, document=key)]
        built = rebuild.build(self._store, self._settings, self._cache, *key)
        if built.error:
            return [Finding(base, f"cannot be made: {built.error}", "mend that article")]
        files = [*built.files]
        if self._settings.pages and not key[1]:
            files.append(rebuild.build_page(self._store, self._settings, self._cache, key[0]))
        found = [finding for file in files for finding in self._compare(file, document=key)]
        return found + self._check_told(built)

    def _check_told(self, built: rebuild.Built) -> list[Finding]:
        """Hubs were told of these bytes, or are about to be."""
        if not self._settings.hubs or built.page or site.is_private(built.base):
            return []
        return [
            Finding(url, "was not told to hubs as it is", _FIX, document=(built.feed_id, 0), mend="hubs")
            for fmt, digest in rebuild.digests(built)
            if self._store.outbox.find_announced(url := site.document_url(self._settings, built.base, fmt)) != digest
        ]

    def _look_for(
        self, file: rebuild.File, document: tuple[int, int] | None = None, mend: Mend = ""
    ) -> Iterator[Finding]:
        """A file and its siblings, without a look into them."""
        path, times = file.path, {}
        for suffix in self._suffixes.values():
            try:
                times[suffix] = os.stat(os.path.join(self._plan.out, path + suffix)).st_mtime_ns
            except OSError as error:
                yield Finding(path + suffix, errors.in_words(error), _FIX, mend, document)
        for suffix, at in times.items():
            if at != times.get("", at):
                yield Finding(path + suffix, f"is of another time than {path}", _FIX, mend, document, path + suffix)

    def _compare(
        self, file: rebuild.File, document: tuple[int, int] | None = None, mend: Mend = ""
    ) -> Iterator[Finding]:
        """A file and its siblings with the bytes that they should hold."""
        for encoding, suffix in self._suffixes.items():
            path = file.path + suffix
            try:
                with open(os.path.join(self._plan.out, path), "rb") as opened:
                    data = _unpacked(opened.read(), encoding)
            except OSError as error:
                yield Finding(path, errors.in_words(error), _FIX, mend, document)
                continue
            if data != file.data:
                what = "cannot be unpacked" if data is None else "does not hold what the state says"
                yield Finding(path, what, _FIX, mend, document, path if suffix else "")

    def _check_listing(self) -> Iterator[Finding]:
        """The OPML list and the index page; that counts there wait for a lull, or for the next start, is no fault."""
        with self._store.snapshot():
            said = self._store.find_meta("listing")
            files = catalog.listing(self._store, self._settings) if said else ()
        if not (said or self._running):
            yield Finding("index.html", "was to be written", _BUILD, "listing")
        look = self._look_for if self._quick or said == "stale" else self._compare
        found = [finding for file in files for finding in look(file, mend="listing")]
        if not self._running or said == self._store.find_meta("listing") == "written":
            yield from found

    def _strays(self) -> set[str]:
        """Files that have the name of a feed's, and belong to none; and what a killed write left."""
        due = inventory.due(self._store, self._settings, self._progress)
        strays = set(inventory.compare(self._plan.out, due, lambda _folder, _mtime_ns: False).strays)
        return strays if self._running else strays.union(_temporaries(self._plan.out))


def _temporaries(out: str) -> Iterator[str]:
    for parent, _, names in os.walk(out):
        for name in names:
            if name.startswith(outputs.TEMPORARY_PREFIX):
                yield os.path.relpath(os.path.join(parent, name), out)


def _unpacked(data: bytes, encoding: str) -> bytes | None:
    try:
        if encoding == "gzip":
            return gzip.decompress(data)
        return bytes(brotli.decompress(data)) if encoding else data
    except (OSError, EOFError, zlib.error, brotli.error):
        return None
