"""Intakes -> the state: one transaction in which articles, stories, feeds and their revisions change together.

The order of steps: `identity` finds which article each file is, `stories` what that makes of entries and feeds.
Decides nothing by itself that `plan` could decide; renders nothing. Called by `publish` for each batch of paths, for
held articles whose time has come, and by `reconfigure` for other rules.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from feedd import intake, model, plan, stories
from feedd.identity import Batch, FeedIds, identify, in_feeds
from feedd.store import FileRow, Problem, Store


class Report(Struct, frozen=True):
    """What a batch came to. `causes`: feed id -> the changes that made it dirty, first ones first.

    `unsettled` are paths still being written, to be tried again. `mended` had problems, and are articles again;
    `dropped` had some, and are gone. `listing_changed`: feeds were made or renamed.
    """

    events: tuple[stories.Event, ...] = ()
    causes: dict[int, tuple[str, int]] = {}
    problems: tuple[Problem, ...] = ()
    unsettled: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    listing_changed: bool = False


def apply(
    store: Store, intakes: Sequence[intake.Intake], *, now: int, initial: bool, relink: bool = False
) -> Report:
    """Brings the state up to what `intakes` say. Their order does not matter: they are taken in that of the paths.

    `initial`: this is the first scan of the folder. `relink`: link checks are to hear which articles were touched.
    Raises sqlite3 errors, with nothing changed.
    """
    ordered = sorted(intakes, key=lambda item: item.path)
    with store.transaction():
        feed_ids = FeedIds(store)
        rows = store.find_files([item.path for item in ordered])
        problems, mended, dropped = _note_problems(store, ordered, now)
        renamed = _apply_metadata(store, ordered, rows, feed_ids)
        batch = Batch(store.find_articles(sorted({r.article_id for r in rows.values() if r.article_id is not None})))
        identify(store, batch, ordered, rows, feed_ids, now=now, initial=initial)
        events, causes = stories.apply(store, batch, removed_us=0 if initial else now * 1_000_000)
        _write_files(store, ordered, rows, batch)
        if relink:
            store.marks.put_relinked(batch.new)
        if not initial:
            store.put_changes([(now, event.path, event.what) for event in events if event.what != "silent"])
    return Report(
        events=tuple(events), causes=causes, problems=problems, mended=mended, dropped=dropped,
        unsettled=tuple(item.path for item in ordered if item.outcome == "unsettled"),
        listing_changed=renamed or feed_ids.made > 0,
    )


def release(store: Store, rules: plan.Rules, *, now: int, relink: bool = False) -> Report:
    """Publishes the held articles whose time has come; `rules` say in which feeds."""
    due = store.list_due(now)
    if not due:
        return Report()
    with store.transaction():
        feed_ids = FeedIds(store)
        batch = Batch(store.find_articles(due))
        bodies = store.find_bodies(due)
        for known in batch.old.values():
            released = replace(
                known, release_at=None, public_at=known.public_at if known.public_at is not None else known.published_at
            )
            batch.new[known.id] = in_feeds(released, plan.feeds_of(bodies[known.id], rules), feed_ids)
        events, causes = stories.apply(store, batch, removed_us=now * 1_000_000)
        store.put_changes([(now, event.path, "its time has come") for event in events])
        if relink:
            store.marks.put_relinked(batch.new)
    return Report(events=tuple(events), causes=causes, listing_changed=feed_ids.made > 0)


def rejoin(store: Store, rules: plan.Rules, rows: Sequence[tuple[int, bytes]], *, now: int) -> Report:
    """Puts published articles, given as (id, what it says), into the feeds that `rules` ask for by now."""
    with store.transaction():
        feed_ids = FeedIds(store)
        batch = Batch(store.find_articles([article_id for article_id, _ in rows]))
        for article_id, data in rows:
            known = batch.old[article_id]
            if known.release_at is None:  # else it will be in those of its day
                new = in_feeds(known, plan.feeds_of(_article_from(data), rules), feed_ids)
                if new.feeds != known.feeds:
                    batch.new[article_id] = new
        _, causes = stories.apply(store, batch, removed_us=now * 1_000_000)
    counted = {feed_id: ("configuration", count) for feed_id, (_, count) in causes.items()}
    return Report(causes=counted, listing_changed=feed_ids.made > 0)


_article_from = msgspec.msgpack.Decoder(model.Article).decode


def _note_problems(
    store: Store, ordered: Sequence[intake.Intake], now: int
) -> tuple[tuple[Problem, ...], tuple[str, ...], tuple[str, ...]]:
    """The problems of a batch, and the paths that had one before: those that can be read again, and those that went."""
    problems = tuple(
        Problem(item.path, t.line, t.column, t.field, t.message, now) for item in ordered if (t := item.trouble)
    )
    store.put_problems(problems)
    if not store.has_problems():
        return problems, (), ()
    had = {problem.path for problem in store.list_problems()}
    mended = tuple(item.path for item in ordered if item.outcome in ("article", "metadata") and item.path in had)
    dropped = tuple(item.path for item in ordered if item.outcome == "gone" and item.path in had)
    store.drop_problems([*mended, *dropped])
    return problems, mended, dropped


def _apply_metadata(
    store: Store, ordered: Sequence[intake.Intake], rows: dict[str, FileRow], feed_ids: FeedIds
) -> bool:
    """Names and pictures of feeds; True if a feed's title may have changed."""
    touched: set[int | None] = set()
    for item in ordered:
        row = rows.get(item.path)
        if item.metadata is None and not (item.outcome == "gone" and row and row.article_id is None):
            continue
        for data in (store.find_metadata(item.path), item.metadata):
            if data:
                touched.add(feed_ids.find(data.kind, metadata_key(data)))
        if item.metadata:
            store.put_metadata(item.path, item.metadata, metadata_key(item.metadata))
        else:
            store.drop_metadata(item.path)
    known = [feed_id for feed_id in touched if feed_id is not None]
    store.mark_all_dirty(known)
    return bool(known)


def metadata_key(data: model.Metadata) -> str:
    """The key of the feed that a metadata file describes."""
    return plan.topic_key(data.key) if data.kind == "topic" else data.key.casefold()


def _write_files(
    store: Store, ordered: Sequence[intake.Intake], rows: dict[str, FileRow], batch: Batch
) -> None:
    seen = []
    for item in ordered:
        if item.digest:
            row = rows.get(item.path)
            owner = batch.owner.get(item.path, row.article_id if row else None)
            seen.append(FileRow(item.path, item.mtime_ns, item.size, item.inode, item.digest, owner))
    store.put_files(seen)
    store.drop_files([item.path for item in ordered if item.outcome == "gone"])
