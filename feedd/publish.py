"""The order of steps: paths or a scan -> the state -> feeds on disk. Two entry points do the work, `ingest` and
`rebuild`; start-up, lost events, crashes and articles whose time has come all go through them.

`scan` finds what is to be read, `custody` looks after the output folder, `journal` says what was done. Belongs to one
thread. Reads no clock: `now` (seconds) and `now_ns` come from the daemon.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from feedd import bulk, catalog, custody, files, inline, intake, journal, meters, rebuild, reconfigure, site, verdicts
from feedd import ingest as ingestion
from feedd import scan as scanning
from feedd.ownership import Hold
from feedd.store import Store, Topic
from feedd.store.links import Links

MANY_PATHS = 1_500  # from here on, starting worker processes pays
MANY_DOCUMENTS = 400
APPLY_AT_ONCE = 4_096  # intakes in one transaction
WARM_FEEDS = 200  # those that changed last are likely to change next
ARCHIVES_AT_ONCE = 48  # between two looks at what else there is to do


class _Read(Struct, frozen=True):
    """Paths that are still being written, and those that cannot be used."""

    unsettled: list[str]
    rejected: list[str]


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
        hold: Hold | None = None,
    ) -> None:
        self.store, self.plan, self._log, self._settle_ns, self._progress = store, run_plan, log, settle_ns, progress
        self._parallel = parallel and (os.cpu_count() or 1) > 1
        self._inline = inline.Inline(run_plan, progress)
        self._scanned = False
        self._on_news, self._has_links = on_news, run_plan.settings.links is not None
        self._workers: bulk.Workers | None = None
        self._cold: Iterator[int] | None = None  # feeds whose entries are still to be rendered beforehand
        self._journal = journal.Journal(log, counted or meters.Meters())
        self.totals = self._journal.totals
        self.custody = custody.Custody(store, run_plan, log, self._journal, progress, hold)

    def close(self) -> None:
        """Waits for the files that are being written; those that are still to be written stay marked."""
        self._dismiss()
        self._inline.close()
        self.custody.close()

    def _hire(self) -> bulk.Workers:
        """The workers of a large run: those that read and parse go on to render and write."""
        self._workers = self._workers or bulk.Workers(self.plan)
        return self._workers

    def go_alone(self) -> None:
        """Does everything in this process from now on: a worker has ended, and would again. What it was at is to be
        done again, from a scan on.
        """
        self._dismiss()
        self.custody.clean()
        self._parallel = False
        self.interrupted()

    def interrupted(self) -> None:
        """Something failed on the way: where feedd wrote is not known, and descriptors may be wanted elsewhere."""
        self.custody.interrupted()
        self.rest()

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is held that was made ready for the next edit."""
        return self._inline.is_at_rest

    def rest(self) -> None:
        """There is nothing to be done for now: lets go of what was made ready for the next edit."""
        self._inline.rest()

    def _dismiss(self) -> None:
        workers, self._workers = self._workers, None
        if workers:
            workers.close()

    # -- what the files say ------------------------------------------------------------------------------------------

    def prepare(self, *, now: int, clean: bool = True) -> bool:
        """Whatever an earlier run left half done, or another configuration asks for: before the first scan, and again
        for each configuration that comes while the process runs, with `clean` False, as no kill left anything.

        Looks at what is affected and at nothing else; what was published by other settings is written by the next
        `rebuild`. True if files may be on disk that are not to be, so that `reconcile` is due. Raises OutputError where
        another process publishes into the output folder.
        """
        if clean:
            self.custody.begin()
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
        if affected and clean:  # while the process runs, who reads the configuration says what changed
            self._log.info("configuration changed since the last run", feeds=len(affected))
        self._journal.expect(affected, "configuration")
        return is_due

    def scan(self, *, now: int, now_ns: int, under: Sequence[str] = ("",)) -> tuple[str, ...]:
        """Compares the folder (or folders below it) with what is known, and ingests what differs.

        Returns the paths that are still being written. Raises RootGoneError where there is no folder, or an empty one
        in its place: then nothing is known of its files, and what was published stays.
        """
        root, whole = self.plan.source.root, "" in under
        fingerprint = scanning.fingerprint(self.plan.source.site_url)
        identity = scanning.identify(self.store, root) if whole else ""
        force = whole and self.store.find_meta("parse") != fingerprint
        initial = self.store.find_meta("first_scan") is None
        troubles: dict[str, str] = {}
        found = scanning.differences(self.store, root, under, self._progress, force=force, troubles=troubles)
        if self.store.has_files():
            found = iter(sorted(found, key=lambda item: isinstance(item, intake.Reading)))  # gone first: renames
        read = self._ingest(found, now=now, now_ns=now_ns, settle_ns=self._settle_ns, initial=initial)
        if whole and "{}:{}".format(*files.identify(root)) != identity:
            raise files.RootGoneError(root, "exchanged for another folder while it was read")
        with self.store.transaction():
            if whole:
                self._journal.note_dropped(
                    scanning.note(self.store, root, identity, {*troubles, *read.rejected, *read.unsettled})
                )
                if not read.unsettled:  # else some file was not read for today's addresses yet
                    self.store.put_meta("parse", fingerprint)
                if not read.unsettled and initial:
                    self.store.put_meta("first_scan", str(now))
                reconfigure.make_and_drop_feeds(self.store, self.plan.source.rules, self._log)
        self._scanned |= whole
        return tuple(read.unsettled)

    def ingest(self, paths: Iterable[str], *, now: int, now_ns: int) -> tuple[str, ...]:
        """Looks at some paths that nobody writes to, as far as events tell; returns those that change all the same."""
        unmounted = scanning.unmounted(self.store, self.plan.source.root)
        ordered = sorted(path for path in paths if not path.startswith(unmounted))
        rows = self.store.find_files(ordered)
        initial = self.store.find_meta("first_scan") is None
        again = {problem.path for problem in self.store.list_problems()}  # the bytes may be those of before it
        readings = [
            intake.Reading(path, rows[path].digest if path in rows and path not in again else b"") for path in ordered
        ]
        unsettled = self._ingest(iter(readings), now=now, now_ns=now_ns, settle_ns=0, initial=initial).unsettled
        if initial and self._scanned and not unsettled:  # by now, all that the first scan found unsettled
            with self.store.transaction():
                self.store.put_meta("first_scan", str(now))
        return tuple(unsettled)

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

    def _ingest(
        self, found: Iterator[intake.Reading | intake.Intake], *, now: int, now_ns: int, settle_ns: int, initial: bool
    ) -> _Read:
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

    def _apply(self, intakes: Iterator[intake.Intake], *, now: int, initial: bool) -> _Read:
        read = _Read([], [])
        batch: list[intake.Intake] = []

        def apply() -> None:
            if any(item.outcome == "gone" for item in batch):
                # events of a disk may come when it is not mounted any more
                scanning.identify(self.store, self.plan.source.root)
            report = ingestion.apply(
                self.store, batch, now=now, initial=initial, relink=self._has_links and not initial
            )
            read.unsettled.extend(report.unsettled)
            read.rejected.extend(problem.path for problem in report.problems)
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
        return read

    def _note(self, report: ingestion.Report) -> None:
        self._journal.note(report)
        if report.listing_changed:
            with self.store.transaction():
                self.store.put_meta("listing", "")

    def warm(self) -> bool:
        """Prepares for edits while there are none, one feed at a time; False when that is done."""
        if self._cold is None:
            latest = sorted(self.store.list_documents(page=0), key=lambda document: -document.updated_us)
            self._cold = iter([document.feed_id for document in latest[:WARM_FEEDS]])
        feed_id = next(self._cold, None)
        return feed_id is not None and self._inline.warm(self.store, feed_id)

    # -- feeds on disk -----------------------------------------------------------------------------------------------

    def reconcile(self) -> bool:
        """Compares the output folder with what should be there; true if feedd's files are lost. Raises OutputError."""
        return self.custody.reconcile()

    def rebuild(self, *, now: int, archives: bool = True) -> int:
        """Writes every document that is not as the state says; returns how many are left (archives, failed ones).

        Live feeds first, in the formats that readers ask for most; with many of them, all of Atom and RSS before JSON
        and the compressed siblings. `archives` False leaves those for `rebuild_archives`.
        """
        catalog.name_feeds(self.store)
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
        self.custody.wrote(os.path.dirname(d.base) for d in (*written, *failed))
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
            if any(not d.page for d in written):
                catalog.mark_stale(self.store)
        if topics:
            self._on_news([topic.url for topic in topics])
        self._journal.note_failed(failed)
        self._journal.note_written(written)

    def _topics(self, written: Sequence[bulk.Done]) -> Iterator[Topic]:
        """The live documents as hubs know them: those that anybody may read."""
        for d in written:
            if site.is_private(d.base):
                continue
            for fmt, digest in d.digests:
                yield Topic(site.document_url(self.plan.settings, d.base, fmt), d.base, digest)

    def is_listing_stale(self) -> bool:
        """Whether `write_listing` has something to do."""
        return catalog.is_wanted(self.store, self.plan.settings, self.plan.out, stale=True)

    def write_listing(self) -> None:
        """The OPML list and the index page with its counts, if they are not as the state says. Raises OutputError."""
        self._write_listing(stale=True)

    def _write_listing(self, *, stale: bool) -> None:
        if catalog.is_wanted(self.store, self.plan.settings, self.plan.out, stale=stale):
            catalog.write(self.store, self.plan.settings, self.plan.out, self._inline.sync)
            self.custody.wrote(("",))
            with self.store.transaction():
                catalog.mark_written(self.store)
