"""What was read and written -> lines of the log, each with its cause, and counts.

Says things once: a feed that cannot be written is named when the reason is another one. Called by `publish`.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from feedd import bulk, inventory, meters
from feedd.ingest import Report

UNKNOWN_CAUSE = "first scan, configuration, or an earlier run"


class Totals(Struct):
    """What was done since the start, for the log and for `feedd build`."""

    files_read: int = 0
    new: int = 0
    updated: int = 0
    removed: int = 0
    problems: int = 0
    feeds_written: int = 0
    archives_written: int = 0


class Journal:
    """Of one publisher."""

    def __init__(self, log: FilteringBoundLogger, counted: meters.Meters) -> None:
        self._log, self._meters = log, counted
        self._causes: dict[int, tuple[str, int]] = {}  # by feed
        self._failing: dict[tuple[int, int], str] = {}  # document -> why it could not be written, as was said
        self.totals = Totals()

    def note(self, report: Report) -> None:
        """What a batch of articles came to."""
        for problem in report.problems:
            place = {"line": problem.line, "column": problem.column} if problem.line else {}
            field = {"field": problem.field} if problem.field else {}
            self._log.warning("article rejected", path=problem.path, **place, **field, reason=problem.message)
        for path in report.mended:
            self._log.info("article accepted again", path=path)
        self.note_dropped(report.dropped)
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

    def note_dropped(self, paths: Iterable[str]) -> None:
        """What had a problem is there no more; or it was a folder, which can be listed again."""
        for path in paths:
            self._log.info("folder readable again" if path.endswith("/") else "rejected article is gone", path=path)

    def expect(self, feed_ids: Iterable[int], cause: str) -> None:
        """These feeds will be written for this cause, if no other is known."""
        for feed_id in feed_ids:
            self._causes.setdefault(feed_id, (cause, 1))

    def note_lost(self, found: inventory.Differences) -> None:
        """Files that feedd wrote, and that are gone or others: somebody else was there."""
        for what, files in (("missing", found.missing), ("changed", found.damaged)):
            if files:
                self._log.warning(
                    f"files of feeds are {what}, they are written again", count=len(files), first=min(files),
                    cause="not by feedd: somebody else did it, or this is another folder",
                )
            for path, owner in sorted(files.items()):
                if owner:
                    self.expect(owner[:1], f"{what}: {path}")

    def note_written(self, documents: Iterable[bulk.Done]) -> None:
        """Documents whose files are as they should be; those that changed are named."""
        for d in documents:
            self._failing.pop((d.feed_id, d.page), None)
            cause, count = self._causes.pop(d.feed_id, ("", 0)) if not d.page else ("", 0)
            if d.changed:
                self.totals.feeds_written += not d.page
                self.totals.archives_written += bool(d.page)
                more = f" and {count - 1} more" if count > 1 and cause != "configuration" else ""
                cause = cause + more if cause else "archive" if d.page else UNKNOWN_CAUSE
                self._meters.wrote(cause, d.size, archive=bool(d.page))
                self._log.log(
                    10 if d.page else 20, "feed written", feed=d.base, entries=d.entries, bytes=d.size, cause=cause
                )

    def note_failed(self, documents: Iterable[bulk.Done]) -> None:
        """Documents that could not be written."""
        for d in documents:
            if self._failing.get((d.feed_id, d.page)) != d.error:  # said once, however often it is tried
                self._failing[d.feed_id, d.page] = d.error
                self._log.error("feed not written, the last good one stays", feed=d.base, reason=d.error)
            self._meters.failed(d.error, archive=bool(d.page))
