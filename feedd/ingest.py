"""Intakes -> the state: one transaction in which articles, stories, feeds and their revisions change together.

Decides nothing by itself that `plan` could decide; renders nothing. Called by `publish` for each batch of paths,
for held articles whose time has come, and by nobody else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from feedd import intake, model, plan
from feedd.store import FileRow, Problem, Store, pack_ids, unpack_ids

MANY = 1_000  # from so many articles on, feeds that were never written are looked up once

What = Literal["new", "edited", "related or copies changed", "removed", "silent"]


class Event(Struct, frozen=True):
    """One article's change, as a reader sees it."""

    path: str
    what: What
    title: str
    entry_path: str


class Report(Struct, frozen=True):
    """What a batch came to. `causes`: feed id -> the changes that made it dirty, first ones first.

    `unsettled` are paths still being written, to be tried again. `listing_changed`: feeds were made or renamed.
    """

    events: tuple[Event, ...] = ()
    causes: dict[int, tuple[str, int]] = {}
    problems: tuple[Problem, ...] = ()
    unsettled: tuple[str, ...] = ()
    listing_changed: bool = False


class FeedIds:
    """The ids of feeds by kind and key, for one batch."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[tuple[str, str], int] = {}
        self._labels: dict[int, str] = {}
        self.made = 0

    def get(self, ref: plan.FeedRef) -> int:
        """The id of a feed, which is made if it is new.

        Until it is first written, it takes the least of the spellings that articles have for it: none came first.
        """
        known = self.find(ref.kind, ref.key)
        if known is None:
            known = self._ids[ref.kind, ref.key] = self._store.put_feed(ref)
            self.made += 1
        elif ref.label < self._labels.get(known, "\U0010ffff"):
            self._store.lower_label(known, ref.label)
        self._labels[known] = min(ref.label, self._labels.get(known, ref.label))
        return known

    def find(self, kind: model.FeedKind, key: str) -> int | None:
        """The id of a feed, if there is one."""
        known = self._ids.get((kind, key))
        if known is None:
            known = self._store.find_feed(kind, key)
            if known is not None:
                self._ids[kind, key] = known
        return known


class _Batch:
    """The articles that a batch touches: as they were, and as they will be."""

    def __init__(self, old: dict[int, plan.Known]) -> None:
        self.old = old
        self.new: dict[int, plan.Known] = {}
        self.parsed: dict[int, plan.Parsed] = {}
        self.owner: dict[str, int] = {}

    def current(self, article_id: int) -> plan.Known:
        return self.new.get(article_id) or self.old[article_id]


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
        problems = _note_problems(store, ordered, now)
        renamed = _apply_metadata(store, ordered, rows, feed_ids)
        batch = _Batch(store.find_articles(sorted({r.article_id for r in rows.values() if r.article_id is not None})))
        _identify(store, batch, ordered, rows, feed_ids, now=now, initial=initial)
        events, causes = _settle(store, batch, removed_us=0 if initial else now * 1_000_000)
        _write_files(store, ordered, rows, batch)
        if relink:
            store.marks.put_relinked(batch.new)
        if not initial:
            store.put_changes([(now, event.path, event.what) for event in events if event.what != "silent"])
    return Report(
        events=tuple(events), causes=causes, problems=problems, listing_changed=renamed or feed_ids.made > 0,
        unsettled=tuple(item.path for item in ordered if item.outcome == "unsettled"),
    )


def release(store: Store, rules: plan.Rules, *, now: int, relink: bool = False) -> Report:
    """Publishes the held articles whose time has come; `rules` say in which feeds."""
    due = store.list_due(now)
    if not due:
        return Report()
    with store.transaction():
        feed_ids = FeedIds(store)
        batch = _Batch(store.find_articles(due))
        bodies = store.find_bodies(due)
        for known in batch.old.values():
            released = replace(
                known, release_at=None, public_at=known.public_at if known.public_at is not None else known.published_at
            )
            batch.new[known.id] = _in_feeds(released, plan.feeds_of(bodies[known.id], rules), feed_ids)
        events, causes = _settle(store, batch, removed_us=now * 1_000_000)
        store.put_changes([(now, event.path, "its time has come") for event in events])
        if relink:
            store.marks.put_relinked(batch.new)
    return Report(events=tuple(events), causes=causes, listing_changed=feed_ids.made > 0)


def rejoin(store: Store, rules: plan.Rules, rows: Sequence[tuple[int, bytes]], *, now: int) -> Report:
    """Puts published articles, given as (id, what it says), into the feeds that `rules` ask for by now."""
    with store.transaction():
        feed_ids = FeedIds(store)
        batch = _Batch(store.find_articles([article_id for article_id, _ in rows]))
        for article_id, data in rows:
            known = batch.old[article_id]
            if known.release_at is None:  # else it will be in those of its day
                new = _in_feeds(known, plan.feeds_of(_article_from(data), rules), feed_ids)
                if new.feeds != known.feeds:
                    batch.new[article_id] = new
        _, causes = _settle(store, batch, removed_us=now * 1_000_000)
    counted = {feed_id: ("configuration", count) for feed_id, (_, count) in causes.items()}
    return Report(causes=counted, listing_changed=feed_ids.made > 0)


_article_from = msgspec.msgpack.Decoder(model.Article).decode


def _in_feeds(known: plan.Known, refs: Iterable[plan.FeedRef], feed_ids: FeedIds) -> plan.Known:
    """The article with the feeds it asks for. A held one asks for none: its new topic must not show before it does."""
    return replace(known, feeds=pack_ids({feed_ids.get(ref) for ref in refs}))


def _note_problems(store: Store, ordered: Sequence[intake.Intake], now: int) -> tuple[Problem, ...]:
    problems = tuple(
        Problem(item.path, t.line, t.column, t.field, t.message, now) for item in ordered if (t := item.trouble)
    )
    store.put_problems(problems)
    if store.has_problems():
        store.drop_problems([item.path for item in ordered if item.outcome in ("gone", "article", "metadata")])
    return problems


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


def _identify(
    store: Store, batch: _Batch, ordered: Sequence[intake.Intake], rows: dict[str, FileRow], feed_ids: FeedIds, *,
    now: int, initial: bool,
) -> None:
    """Finds for each file the article it is, and decides that article's next state.

    A file is the article whose bytes it has, if that one left its own path in this batch; else the article of its
    path; else one that is gone and told the same story or had the same originalUrl; else the one that was minted
    at its path; else a new one.
    """
    found = [(item, item.parsed) for item in ordered if item.parsed is not None]
    leaving = {
        row.digest: row.article_id for item in ordered
        if (row := rows.get(item.path)) and row.article_id is not None and item.outcome in ("gone", "article")
        and item.digest != row.digest
    }
    gone = [rows[item.path].article_id for item in ordered if item.outcome == "gone" and item.path in rows]
    claimed: dict[int, str] = {}
    for item, _ in found:
        moved = leaving.get(item.digest)
        if moved is not None:
            claimed.setdefault(moved, item.path)
    by_bytes = {path: article_id for article_id, path in claimed.items()}
    chosen: list[tuple[intake.Intake, plan.Parsed, int | None]] = []
    for item, parsed in found:
        row = rows.get(item.path)
        article_id = by_bytes.get(item.path)
        if article_id is None and row and row.article_id is not None and row.article_id not in claimed:
            article_id = row.article_id
            claimed[article_id] = item.path
        chosen.append((item, parsed, article_id))
    fresh = [(item, parsed) for item, parsed, article_id in chosen if article_id is None]
    lost = _lost_articles(store, batch, fresh, [i for i in gone if i is not None and i not in claimed])
    minted = store.list_entry_paths([item.path for item, _ in fresh])
    next_id = store.next_article_id()
    for item, parsed, article_id in chosen:
        known_id = article_id if article_id is not None else lost.claim(item.path, parsed)
        if known_id is None:
            entry_path = item.path
            if entry_path in minted:
                tried = [f"{entry_path}~{n}" for n in range(2, 100)]
                entry_path = plan.mint(entry_path, {entry_path, *store.list_entry_paths(tried)})
            known_id, next_id = next_id, next_id + 1
        else:
            entry_path = batch.old[known_id].entry_path
        known = plan.decide(
            batch.old.get(known_id), parsed, article_id=known_id, path=item.path, entry_path=entry_path,
            feeds=b"", now=now, initial=initial,
        )
        batch.new[known_id] = known if known.release_at is not None else _in_feeds(known, parsed.feeds, feed_ids)
        batch.parsed[known_id] = parsed
        batch.owner[item.path] = known_id
    displaced = {rows[i.path].article_id for i in ordered if i.outcome in ("gone", "article") and i.path in rows}
    for old_id in displaced - batch.new.keys():
        if old_id is not None:
            batch.new[old_id] = replace(batch.old[old_id], path=None, release_at=None)


class _Lost:
    """Articles without a file, each to be claimed once."""

    def __init__(self, articles: Iterable[plan.Known]) -> None:
        self._by: dict[tuple[str, int | str], list[plan.Known]] = defaultdict(list)
        self._taken: set[int] = set()
        for known in sorted(articles, key=lambda known: known.id):
            self._by["story", known.story].append(known)
            self._by["original", known.original].append(known)
            self._by["path", known.entry_path].append(known)

    def claim(self, path: str, parsed: plan.Parsed) -> int | None:
        """The id of the article that the file at `path` is."""
        same = self._by["story", parsed.story] + (self._by["original", parsed.original] if parsed.original else [])
        free = [known for known in same + self._by["path", path] if known.id not in self._taken]
        if not free:
            return None
        known = next((known for known in free if known.entry_path == path), free[0])
        self._taken.add(known.id)
        return known.id


def _lost_articles(
    store: Store, batch: _Batch, fresh: Sequence[tuple[intake.Intake, plan.Parsed]], leaving: Sequence[int]
) -> _Lost:
    if not fresh:
        return _Lost(())
    lost = {known.id: known for known in store.list_stories(sorted({p.story for _, p in fresh})) if known.path is None}
    lost |= {known.id: known for known in store.list_gone(sorted({p.original for _, p in fresh if p.original}))}
    lost |= {known.id: known for known in store.list_minted([i.path for i, _ in fresh]) if known.path is None}
    lost |= {article_id: batch.old[article_id] for article_id in leaving}
    batch.old = lost | batch.old
    return _Lost(lost.values())


def _settle(store: Store, batch: _Batch, *, removed_us: int) -> tuple[list[Event], dict[int, tuple[str, int]]]:
    """Finds each touched story's entry, and writes articles, memberships and the marks on documents.

    `removed_us`: the `updated` that a removal gives to a feed.
    """
    stories = {known.story for known in batch.new.values()}
    stories |= {batch.old[i].story for i in batch.new if i in batch.old}
    members: dict[int, set[int]] = defaultdict(set)
    for known in store.list_stories(sorted(stories)):
        batch.old.setdefault(known.id, known)
        members[batch.current(known.id).story].add(known.id)
    for known in batch.new.values():
        members[known.story].add(known.id)
    bodies = {i: parsed.body for i, parsed in batch.parsed.items() if parsed.body}
    for story in sorted(stories):
        ids = sorted(members[story])
        if len(ids) > 1:
            _hand_over(store, batch, bodies, [batch.current(i) for i in ids], edited_us=removed_us)
        _choose_entry(batch, [batch.current(i) for i in ids])
    events, causes, marks = [], dict[int, tuple[str, int]](), dict[int, dict[int, int]]()
    gone_rows: list[tuple[int, int, int]] = []
    new_rows: list[tuple[int, int, int]] = []
    unwritten = store.list_unwritten() if len(batch.new) > MANY else frozenset()
    for article_id, new in sorted(batch.new.items()):
        old = batch.old.get(article_id)
        event, changes = _compare(old, new, removed_us)
        before, after = unpack_ids(old.shown_in) if old else (), unpack_ids(new.shown_in)
        if old is None or (old.position, old.shown_in) != (new.position, new.shown_in):
            if old and old.position is not None:
                gone_rows += [(feed_id, old.position, article_id) for feed_id in before]
            if new.position is not None:
                new_rows += [(feed_id, new.position, article_id) for feed_id in after]
        if event.what != "silent" or article_id in batch.parsed:
            events.append(event)
        for feed_id, change_us in changes.items():
            if feed_id in unwritten:  # all of it is to be written, whatever else happens
                continue
            places = marks.setdefault(feed_id, {})
            for position in (old.position if old else None, new.position):
                if position is not None:
                    places[position] = max(places.get(position, 0), change_us)
            first, count = causes.get(feed_id, (f"{event.what}: {event.path}", 0))
            causes[feed_id] = (first, count + 1)
    store.put_articles([new for i, new in batch.new.items() if new != batch.old.get(i)])
    store.put_bodies(bodies.items())
    store.drop_bodies([i for i, new in batch.new.items() if new.path is None])
    store.apply_memberships(gone_rows, new_rows)
    mark(store, marks)
    return events, causes


def _hand_over(
    store: Store, batch: _Batch, bodies: dict[int, bytes], copies: Sequence[plan.Known], *, edited_us: int
) -> None:
    """A file that was copied and then removed was renamed: the copy takes the identity that readers know.

    Only a copy that no reader has seen under an identity of its own.
    """
    gone = [c for c in copies if c.path is None and c.position is not None]
    unseen = [c for c in copies if plan.visible(c) and not c.shown_in and c.id in batch.old]
    if not gone or not unseen:
        return
    old, copy = gone[0], unseen[0]
    same = old.editorial == copy.editorial
    batch.new[old.id] = replace(
        copy, id=old.id, entry_path=old.entry_path, public_at=old.public_at, shown_in=old.shown_in,
        updated_us=old.updated_us if same else max(edited_us, old.updated_us + 1),
        revision=old.revision + 1, copies=old.copies,
    )
    batch.new[copy.id] = replace(copy, path=None, position=None, copies=0)
    bodies[old.id] = bodies.pop(copy.id) if copy.id in bodies else store.get_body(copy.id)
    if copy.path:
        batch.owner[copy.path] = old.id
        store.assign_file(copy.path, old.id)


def _choose_entry(batch: _Batch, copies: Sequence[plan.Known]) -> None:
    """Sets who is the entry of a story, in which feeds, and for how many files it stands."""
    entry = plan.entry_of(copies)
    if len(copies) == 1 and entry is not None and not entry.copies:  # nearly all that is new
        batch.new[entry.id] = replace(
            entry, position=plan.place(entry), shown_in=entry.feeds, copies=1, revision=entry.revision + 1
        )
        return
    for copy in copies:
        if entry is None or copy.id != entry.id:
            new = replace(copy, position=None, shown_in=b"", copies=0)
        else:
            seen = [other for other in copies if plan.visible(other)]
            shown_in = entry.feeds
            if len(seen) > 1:
                shown_in = pack_ids({feed_id for other in seen for feed_id in unpack_ids(other.feeds)})
            stale = entry.copies != len(seen) or any(_shows_otherwise(batch, other) for other in seen if other != entry)
            new = replace(entry, position=plan.place(entry), shown_in=shown_in, copies=len(seen),
                          revision=entry.revision + stale)
        if copy.id in batch.new or new != copy:
            batch.new[copy.id] = new


def _shows_otherwise(batch: _Batch, copy: plan.Known) -> bool:
    """Whether what an entry says of a further copy of its story has changed."""
    old = batch.old.get(copy.id)
    return old is None or old.revision != copy.revision or plan.visible(old) != plan.visible(copy)


def _compare(old: plan.Known | None, new: plan.Known, removed_us: int) -> tuple[Event, dict[int, int]]:
    """What readers see of an article's change: the event, and each feed it touches with what moves its `updated`.

    Only a removal must be noted: what is new or edited brings its own time along. 0 moves nothing.
    """
    before = set(unpack_ids(old.shown_in)) if old and old.position is not None else set()
    after = set(unpack_ids(new.shown_in)) if new.position is not None else set()
    changes = dict.fromkeys(before - after, removed_us) | dict.fromkeys(after - before, 0)
    what: What = "silent"
    if before and not after:
        what = "removed"
    elif after and not before:
        what = "new"
    elif old and before:
        edited = old.updated_us != new.updated_us
        if edited or old.revision != new.revision or old.position != new.position or before != after:
            what = "edited" if edited else "related or copies changed"
        if what != "silent" and (edited or old.revision != new.revision or old.position != new.position):
            changes |= dict.fromkeys(before & after, 0)
    path = new.path or (old.path if old else None) or new.entry_path
    return Event(path, what, new.title or (old.title if old else ""), new.entry_path), changes


def mark(store: Store, marks: Mapping[int, Mapping[int, int]], *, archives: bool = True) -> None:
    """Marks the documents that show the positions (feed id -> position -> change): the live one, archives, or both.

    A live feed that awaits its rebuild may show more than it did, so it is marked for anything; but what readers have
    not seen in it does not move its `updated`.
    """
    dirty: dict[tuple[int, int], int] = {}
    for feed_id, places in marks.items():
        live = store.find_document(feed_id, 0)
        if live is None:  # a feed that configuration took away
            continue
        if not live.built_seq:  # never written: all of it will be
            dirty[feed_id, 0] = max(places.values())
            continue
        _, last_bound = store.last_page(feed_id)
        for place, change_us in places.items():
            seen = live.floor is None or place >= live.floor
            if seen or live.dirty_seq != live.built_seq:
                dirty[feed_id, 0] = max(dirty.get((feed_id, 0), 0), change_us if seen else 0)
            if not archives:
                continue
            if place <= last_bound:
                page = store.find_page(feed_id, place)
                dirty[feed_id, page or 0] = max(dirty.get((feed_id, page or 0), 0), change_us)
            else:  # below a full live feed and in no archive yet: the rebuild closes one, and the live feed links to it
                dirty.setdefault((feed_id, 0), 0)
    store.mark_dirty((feed_id, page, change_us) for (feed_id, page), change_us in dirty.items())


def _write_files(
    store: Store, ordered: Sequence[intake.Intake], rows: dict[str, FileRow], batch: _Batch
) -> None:
    seen = []
    for item in ordered:
        if item.digest:
            row = rows.get(item.path)
            owner = batch.owner.get(item.path, row.article_id if row else None)
            seen.append(FileRow(item.path, item.mtime_ns, item.size, item.inode, item.digest, owner))
    store.put_files(seen)
    store.drop_files([item.path for item in ordered if item.outcome == "gone"])
