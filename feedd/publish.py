"""The order of steps: paths or a scan -> the state -> feeds on disk. Two entry points do the work, `ingest` and
`rebuild`; start-up, lost events, crashes and articles whose time has come all go through them.

Belongs to one thread. Reads no clock: `now` (seconds) and `now_ns` come from the daemon.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from hashlib import blake2b

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from feedd import bulk, catalog, files, inline, intake, meters, outputs, poll, rebuild, reconfigure, site, verdicts
from feedd import ingest as ingestion
from feedd.store import FileRow, Store, Topic, open_store
from feedd.store.links import Links

MANY_PATHS = 1_500  # from here on, starting worker processes pays
MANY_DOCUMENTS = 400
APPLY_AT_ONCE = 4_096  # intakes in one transaction
ARCHIVES_AT_ONCE = 48  # between two looks at what else there is to do
_WRITTEN, _STALE = "written", "stale"  # the list of feeds: as it should be; as it should be but for counts and times
UNKNOWN_CAUSE = "first scan, configuration, or an earlier run"
PARSE_VERSION = "1"  # a new meaning of what files say is a new version, and reads all of them again


class Totals(Struct):
    """What was done since the start, for the log and for `feedd build`."""

    files_read: int = 0
    new: int = 0
    updated: int = 0
    removed: int = 0
    problems: int = 0
    feeds_written: int = 0
    archives_written: int = 0


def _quiet(_what: str, _count: int) -> None:
    """Nobody watches the progress."""


def _nothing(_topics: Sequence[str]) -> None:
    """Nobody is to be told."""


class Publisher:
    """Keeps the feeds of one folder of articles equal to what they say."""

    def __init__(
        self, store: Store, run_plan: bulk.Plan, log: FilteringBoundLogger, *, settle_ns: int,
        progress: inline.Progress = _quiet, parallel: bool = True,
        on_news: Callable[[Sequence[str]], None] = _nothing, counted: meters.Meters | None = None,
    ) -> None:
        self.store, self.plan, self._log, self._settle_ns, self._progress = store, run_plan, log, settle_ns, progress
        self._parallel = parallel and (os.cpu_count() or 1) > 1
        self._inline = inline.Inline(run_plan, progress)
        self._causes: dict[int, tuple[str, int]] = {}
        self._failing: dict[tuple[int, int], str] = {}  # document -> why it could not be written, as was said
        self._scanned = False
        self._on_news, self._has_links = on_news, run_plan.settings.links is not None
        self._workers: bulk.Workers | None = None
        self._meters = counted or meters.Meters()
        self.totals = Totals()

    def close(self) -> None:
        """Waits for the files that are being written; those that are still to be written stay marked."""
        self._dismiss()
        self._inline.close()

    def _hire(self) -> bulk.Workers:
        """The workers of a large run: those that read and parse go on to render and write."""
        self._workers = self._workers or bulk.Workers(self.plan)
        return self._workers

    def go_alone(self) -> None:
        """Does everything in this process from now on: a worker has ended, and would again."""
        self._dismiss()
        self._parallel = False

    def _dismiss(self) -> None:
        workers, self._workers = self._workers, None
        if workers:
            workers.close()

    # -- what the files say ------------------------------------------------------------------------------------------

    def prepare(self, *, now: int, clean: bool = True) -> bool:
        """Whatever an earlier run left half done, or another configuration asks for: before the first scan, and again
        for each configuration that comes while the process runs, with `clean` False, as no kill left anything.

        Looks at what is affected and at nothing else; what was published by other settings is written by the next
        `rebuild`. True if files may be on disk that are not to be, so that `reconcile` is due.
        """
        if clean:
            outputs.clean_temporaries(self.plan.out)
        for report in reconfigure.by_rules(self.store, self.plan.source.rules, self._log, now=now):
            self._note(report)
            self._progress("articles", 0)
        with self.store.transaction():
            affected, is_due = reconfigure.by_settings(self.store, self.plan.settings)
            if not self.plan.settings.archives:
                self.store.drop_archives()
            were_noted = self.store.find_meta("links") != "off"  # else articles came whose links nobody was told of
            if not (self._has_links and were_noted):
                self.store.marks.forget_links()
            self.store.put_meta("links", "on" if self._has_links else "off")
        if affected:
            self._log.info("configuration changed", feeds_affected=len(affected))
        for feed_id in affected:
            self._causes.setdefault(feed_id, ("configuration", 1))
        return is_due

    def scan(self, *, now: int, now_ns: int, under: Sequence[str] = ("",)) -> tuple[str, ...]:
        """Compares the folder (or folders below it) with what is known, and ingests what differs.

        Returns the paths that are still being written. Raises RootGoneError where there is no folder, or an empty one
        in its place: then nothing is known of its files, and what was published stays.
        """
        fingerprint = _fingerprint((PARSE_VERSION, self.plan.source.site_url))
        whole = "" in under
        identity = self._identity() if whole else ""
        force = whole and self.store.find_meta("parse") != fingerprint
        initial = self.store.find_meta("first_scan") is None
        troubles: dict[str, str] = {}
        found = self._differences(under, force=force, troubles=troubles)
        if self.store.has_files():
            found = iter(sorted(found, key=lambda item: isinstance(item, intake.Reading)))  # gone first: renames
        unsettled = self._ingest(found, now=now, now_ns=now_ns, settle_ns=self._settle_ns, initial=initial)
        if whole and "{}:{}".format(*files.identify(self.plan.source.root)) != identity:
            raise files.RootGoneError(self.plan.source.root, "exchanged for another folder while it was read")
        with self.store.transaction():
            if whole:
                self.store.put_meta("root", identity)
                mounts = poll.mounts_below(self.plan.source.root) | {path[:-1] for path in self._unmounted()}
                self.store.put_meta("mounts", msgspec.json.encode(sorted(mounts)).decode())
                known = {problem.path for problem in self.store.list_problems()}
                self.store.drop_problems(sorted(known - troubles.keys() - set(self.store.find_files(sorted(known)))))
                if not unsettled:  # else some file was not read for today's addresses yet
                    self.store.put_meta("parse", fingerprint)
                if not unsettled and initial:
                    self.store.put_meta("first_scan", str(now))
                reconfigure.make_and_drop_feeds(self.store, self.plan.source.rules, self._log)
        self._scanned |= whole
        return unsettled

    def _identity(self) -> str:
        """Which folder the root is. Raises RootGoneError if it is not that of the last scan, and empty: what is left
        where a disk was mounted looks so. The same folder, emptied, is just that.
        """
        root = self.plan.source.root
        identity = "{}:{}".format(*files.identify(root))
        is_new = self.store.find_meta("root") not in (None, identity)
        if is_new and self.store.has_files() and next(files.scan(root, stats=False), None) is None:
            raise files.RootGoneError(root, "empty, and not the folder that it was: is something not mounted?")
        return identity

    def _unmounted(self) -> tuple[str, ...]:
        """Folders, with a "/" after each, where something was mounted at the last scan, and now are there and empty: of
        their articles nothing is known.
        """
        said = self.store.find_meta("mounts")
        if said in (None, "[]"):
            return ()
        root = self.plan.source.root
        gone = set(msgspec.json.decode(said, type=list[str])) - poll.mounts_below(root)
        return tuple(
            f"{path}/" for path in sorted(gone)
            if os.path.isdir(f"{root}/{path}") and next(files.scan(root, under=path, stats=False), None) is None
        )

    def ingest(self, paths: Iterable[str], *, now: int, now_ns: int) -> tuple[str, ...]:
        """Looks at some paths that nobody writes to, as far as events tell; returns those that change all the same."""
        unmounted = self._unmounted()
        ordered = sorted(path for path in paths if not path.startswith(unmounted))
        rows = self.store.find_files(ordered)
        initial = self.store.find_meta("first_scan") is None
        again = {problem.path for problem in self.store.list_problems()}  # the bytes may be those of before it
        readings = [
            intake.Reading(path, rows[path].digest if path in rows and path not in again else b"") for path in ordered
        ]
        unsettled = self._ingest(iter(readings), now=now, now_ns=now_ns, settle_ns=0, initial=initial)
        if initial and self._scanned and not unsettled:  # by now, all that the first scan found unsettled
            with self.store.transaction():
                self.store.put_meta("first_scan", str(now))
        return unsettled

    def release(self, *, now: int) -> None:
        """Publishes held articles whose time has come."""
        report = ingestion.release(self.store, self.plan.source.rules, now=now, relink=self._has_links)
        self._note(report)

    def take_verdicts(self, links: Links, *, now: int) -> None:
        """What link checks found since it was last asked for. Raises sqlite3 errors."""
        if rules := self.plan.settings.links:
            for report in verdicts.apply(self.store, links, rules, now=now):
                self._note(report)
                self._progress("links", 0)

    def _differences(
        self, under: Sequence[str], *, force: bool, troubles: dict[str, str]
    ) -> Iterator[intake.Reading | intake.Intake]:
        """What a scan finds to be looked at: a merge of two streams in the order of paths."""
        lost_folders: list[str] = []
        unmounted = self._unmounted()

        def report(path: str, reason: str) -> None:
            troubles[path] = reason
            if path.endswith("/"):
                lost_folders.append(path)

        for folder in unmounted:
            report(folder, "empty, and something was mounted there: its articles stay; remove it if they are to go")
        again = {problem.path for problem in self.store.list_problems()}
        with open_store(self.store.folder, read_only=True) as reader:
            for folder in under:
                known = reader.iter_files(folder)
                row = next(known, None)
                root, stats = self.plan.source.root, row is not None
                for number, (path, stat) in enumerate(files.scan(root, under=folder, on_problem=report, stats=stats)):
                    if not number % 1_000:
                        self._progress("articles", 0)
                    while row is not None and row.path < path:
                        yield from _gone(row, lost_folders)
                        row = next(known, None)
                    if row is not None and row.path == path:
                        same = (row.mtime_ns, row.size, row.inode) == (stat.mtime_ns, stat.size, stat.inode)
                        if force or path in again:
                            yield intake.Reading(path)
                        elif not same:
                            yield intake.Reading(path, row.digest)
                        row = next(known, None)
                    else:
                        yield intake.Reading(path)
                while row is not None:
                    yield from _gone(row, lost_folders)
                    row = next(known, None)
        for path, reason in sorted(troubles.items()):
            if path.endswith("/") or files.is_article_path(path):
                yield intake.Intake(path, "problem", trouble=intake.Trouble(0, 0, "", reason))

    def _ingest(
        self, found: Iterator[intake.Reading | intake.Intake], *, now: int, now_ns: int, settle_ns: int, initial: bool
    ) -> tuple[str, ...]:
        """Reads, in worker processes if there is much to read, and applies."""
        ahead: list[intake.Reading | intake.Intake] = []
        for item in found:
            ahead.append(item)
            if len(ahead) >= MANY_PATHS:
                break
        if len(ahead) < MANY_PATHS or not self._parallel:
            rest = (item for part in (ahead, found) for item in part)
            return self._apply(self._take(rest, now_ns, settle_ns), now=now, initial=initial)
        known: list[intake.Intake] = []
        readings = intake.readings_of(itertools.chain(ahead[:], found), known)
        taken = self._hire().take(readings, now_ns=now_ns, settle_ns=settle_ns)
        with self.store.loading():
            return self._apply(intake.with_known(known, taken), now=now, initial=initial)

    def _take(
        self, found: Iterable[intake.Reading | intake.Intake], now_ns: int, settle_ns: int
    ) -> Iterator[intake.Intake]:
        for item in found:
            if isinstance(item, intake.Intake):
                yield item
            else:
                yield intake.take(self.plan.source, item, now_ns=now_ns, settle_ns=settle_ns)

    def _apply(self, intakes: Iterator[intake.Intake], *, now: int, initial: bool) -> tuple[str, ...]:
        unsettled: list[str] = []
        batch: list[intake.Intake] = []

        def apply() -> None:
            if any(item.outcome == "gone" for item in batch):
                self._identity()  # events of a disk may come when it is not mounted any more
            report = ingestion.apply(
                self.store, batch, now=now, initial=initial, relink=self._has_links and not initial
            )
            unsettled.extend(report.unsettled)
            self._note(report)
            self.totals.files_read += len(batch)
            batch.clear()

        for item in intakes:
            batch.append(item)
            self._progress("articles", 1)
            if len(batch) >= APPLY_AT_ONCE:
                apply()
        if batch:
            apply()
        return tuple(unsettled)

    def _note(self, report: ingestion.Report) -> None:
        for problem in report.problems:
            place = {"line": problem.line, "column": problem.column} if problem.line else {}
            field = {"field": problem.field} if problem.field else {}
            self._log.warning("article rejected", path=problem.path, **place, **field, reason=problem.message)
        for feed_id, (cause, count) in report.causes.items():
            first, before = self._causes.get(feed_id, (cause, 0))
            self._causes[feed_id] = (first, before + count)
        self.totals.problems += len(report.problems)
        self._meters.rejected += len(report.problems)
        for event in report.events:
            self._meters.changed(event.what)
            self.totals.new += event.what == "new"
            self.totals.removed += event.what == "removed"
            self.totals.updated += event.what in ("edited", "related or copies changed")
        if report.listing_changed:
            with self.store.transaction():
                self.store.put_meta("listing", "")

    # -- feeds on disk -----------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Compares the names in the output folder with those that should be there: marks what is missing, removes
        what no feed of ours owns any more. Files that feedd would never write are left alone.

        Raises OutputError where a file cannot be removed; what is missing is marked by then.
        """
        wanted: dict[str, tuple[int, int] | None] = {}
        feeds = {feed.id: feed for feed in self.store.list_feeds()}
        settings = self.plan.settings
        suffixes = ["", *(rebuild.SUFFIXES[encoding] for encoding in settings.encodings)]
        for name in catalog.NAMES:
            wanted |= dict.fromkeys(name + suffix for suffix in suffixes)
        for document in self.store.list_documents():
            self._progress("feeds", 0)
            feed = feeds[document.feed_id]
            if feed.slug is not None:
                base = site.base_path(feed.kind, feed.slug, document.page)
                endings: list[str] = [*site.formats_of(settings, feed.kind, feed.key, document.page)]
                endings += ["html"] if settings.pages and not document.page else []
                for ending in endings:
                    for suffix in suffixes:
                        wanted[f"{base}.{ending}{suffix}"] = (document.feed_id, document.page)
        present = set(catalog.list_own(self.plan.out))
        missing = {owner for path in wanted.keys() - present if (owner := wanted[path])}
        with self.store.transaction():
            self.store.mark_dirty((feed_id, page, 0) for feed_id, page in sorted(missing))
        strays = sorted(present - wanted.keys())
        for path in strays:
            outputs.remove(os.path.join(self.plan.out, path))
            self._progress("feeds", 0)
        if strays:
            self._log.info("files removed", count=len(strays), first=strays[0], cause="no feed is to have them")

    def rebuild(self, *, now: int, archives: bool = True) -> int:
        """Writes every document that is not as the state says; returns how many are left (archives, failed ones).

        Live feeds first, in the formats that readers ask for most; with many of them, all of Atom and RSS before JSON
        and the compressed siblings. `archives` False leaves those for `rebuild_archives`.
        """
        self._name_feeds()
        dirty = self.store.list_dirty(live=True)
        if self.plan.settings.archives:
            with self.store.transaction():
                for feed_id, _ in dirty:
                    rebuild.close_pages(self.store, self.plan.settings, feed_id)
        if len(dirty) > MANY_DOCUMENTS and self._parallel:
            self._rebuild_in_bulk(dirty, now=now, archives=archives)
        else:
            self._rebuild_here(dirty, now=now)
        self._write_listing(stale=archives)
        self._dismiss()
        while archives and self.rebuild_archives(now=now):
            pass
        return self.store.count_dirty()

    def rebuild_archives(self, *, now: int) -> bool:
        """Writes some archives; False when there are none left, or none that can be written now."""
        dirty = self.store.list_dirty(live=False, limit=ARCHIVES_AT_ONCE)
        return bool(dirty) and self._rebuild_here(dirty, now=now)

    def _rebuild_here(self, documents: Sequence[tuple[int, int]], *, now: int) -> bool:
        done = self._inline.make(self.store, documents)
        self._finish([d for d in done if not d.error], [d for d in done if d.error], now=now)
        return any(not d.error for d in done)

    def _rebuild_in_bulk(self, dirty: Sequence[tuple[int, int]], *, now: int, archives: bool) -> None:
        tasks = [tuple(dirty[start : start + 24]) for start in range(0, len(dirty), 24)]
        workers = self._hire()
        first = [bulk.Task(documents, ("atom", "rss"), siblings=False) for documents in tasks]
        early = set()
        for done in workers.make(first):
            early |= {(done.feed_id, done.page)} if done.changed else set()
            self._progress("feeds", 1)
        self._log.info("live feeds are on disk", feeds=len(dirty), formats="atom, rss")
        self._finish_in_bulk(workers, [bulk.Task(documents) for documents in tasks], now=now, early=early)
        while archives and (dirty := self.store.list_dirty(live=False, limit=4_096)):
            pages = [tuple(dirty[start : start + 16]) for start in range(0, len(dirty), 16)]
            if not self._finish_in_bulk(workers, [bulk.Task(documents) for documents in pages], now=now):
                break

    def _finish_in_bulk(
        self, workers: bulk.Workers, tasks: Sequence[bulk.Task], *, now: int, early: Set[tuple[int, int]] = frozenset()
    ) -> bool:
        """`early`: documents of which a part was written before."""
        done = []
        for each in workers.make(tasks):
            done.append(replace(each, changed=True) if (each.feed_id, each.page) in early else each)
            self._progress("feeds", 0)
        self._sync_all()
        self._finish([d for d in done if not d.error], [d for d in done if d.error], now=now)
        return any(not d.error for d in done)

    def _sync_all(self) -> None:
        """One sync for many files, which may take long: a stop need not wait for it."""
        syncing = threading.Thread(target=os.sync, daemon=True)
        syncing.start()
        while syncing.is_alive():
            syncing.join(0.05)
            self._progress("feeds", 0)

    def _finish(self, written: Sequence[bulk.Done], failed: Sequence[bulk.Done], *, now: int) -> None:
        """Marks what was written, and says so with its cause."""
        with self.store.transaction():
            self.store.mark_written(
                (d.feed_id, d.page, d.seq, d.floor, d.updated_us, d.entries, d.size, now if d.changed else None)
                for d in written
            )
            for d in failed:
                self.store.mark_failed(d.feed_id, d.page, d.error)
            topics = list(self._topics(written))
            if hubs := self.plan.settings.hubs:
                self.store.outbox.put_pings(hubs, topics, now)
            # Changed or not: it may be that a kill came after the files, and before they were marked.
            if any(not d.page for d in written) and self.store.find_meta("listing") == _WRITTEN:
                self.store.put_meta("listing", _STALE)
        if topics:
            self._on_news([topic.url for topic in topics])
        for d in failed:
            if self._failing.get((d.feed_id, d.page)) != d.error:  # said once, however often it is tried
                self._failing[d.feed_id, d.page] = d.error
                self._log.error("feed not written, the last good one stays", feed=d.base, reason=d.error)
            self._meters.failed(d.error, archive=bool(d.page))
        for d in written:
            self._failing.pop((d.feed_id, d.page), None)
            cause, count = self._causes.pop(d.feed_id, ("", 0)) if not d.page else ("", 0)
            if d.changed:
                self.totals.feeds_written += not d.page
                self.totals.archives_written += bool(d.page)
                more = f" and {count - 1} more" if count > 1 else ""
                cause = cause + more if cause else "archive" if d.page else UNKNOWN_CAUSE
                self._meters.wrote(cause, d.size, archive=bool(d.page))
                self._log.log(
                    10 if d.page else 20, "feed written", feed=d.base, entries=d.entries, bytes=d.size, cause=cause
                )

    def _topics(self, written: Sequence[bulk.Done]) -> Iterator[Topic]:
        """The live documents as hubs know them: those that anybody may read."""
        for d in written:
            if site.is_private(d.base):
                continue
            for fmt, digest in d.digests:
                yield Topic(site.document_url(self.plan.settings, d.base, fmt), d.base, digest)

    def _name_feeds(self) -> None:
        unnamed = self.store.list_unnamed()
        if not unnamed:
            return
        with self.store.transaction():
            for kind in sorted({feed.kind for feed in unnamed}):
                ids = {feed.key: feed.id for feed in unnamed if feed.kind == kind}
                slugs = site.assign_slugs(kind, ids, self.store.list_slugs(kind))
                self.store.put_slugs((ids[key], slug) for key, slug in slugs.items())

    def is_listing_stale(self) -> bool:
        """Whether `write_listing` has something to do."""
        return self.store.find_meta("listing") != _WRITTEN

    def write_listing(self) -> None:
        """The OPML list and the index page with its counts, if they are not as the state says. Raises OutputError."""
        self._write_listing(stale=True)

    def _write_listing(self, *, stale: bool) -> None:
        """At once when a feed was made, removed or renamed; if only counts and times are stale, when asked for."""
        said = self.store.find_meta("listing")
        if said == _STALE and not stale:
            return
        if said == _WRITTEN and catalog.is_written(self.plan.out, self.plan.settings):
            return
        for file in catalog.listing(self.store, self.plan.settings):
            self._inline.sync(rebuild.write_file(self.plan.out, file, self.plan.settings.encodings))
        with self.store.transaction():
            self.store.put_meta("listing", _WRITTEN)


def _gone(row: FileRow, lost_folders: Sequence[str]) -> Iterator[intake.Intake]:
    """A known file that a scan did not meet, unless its folder could not be listed."""
    if not any(row.path.startswith(folder) for folder in lost_folders):
        yield intake.Intake(row.path, "gone")


def _fingerprint(value: object) -> str:
    return blake2b(msgspec.msgpack.encode(value, enc_hook=repr), digest_size=16).hexdigest()
