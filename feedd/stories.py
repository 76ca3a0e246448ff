"""Articles of a batch -> the entries of their stories: who stands for a story, in which feeds, what readers see of it.

Writes articles, memberships and the marks on documents. Called by `ingest` within its transaction, once it is known
which articles the files are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from feedd import plan
from feedd.identity import Batch
from feedd.store import Store, pack_ids, unpack_ids

MANY = 1_000  # from so many articles on, feeds that were never written are looked up once

What = Literal["new", "edited", "related or copies changed", "removed", "silent"]


class Event(Struct, frozen=True):
    """One article's change, as a reader sees it."""

    path: str
    what: What
    title: str
    entry_path: str


def apply(store: Store, batch: Batch, *, removed_us: int) -> tuple[list[Event], dict[int, tuple[str, int]]]:
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
    store: Store, batch: Batch, bodies: dict[int, bytes], copies: Sequence[plan.Known], *, edited_us: int
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


def _choose_entry(batch: Batch, copies: Sequence[plan.Known]) -> None:
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


def _shows_otherwise(batch: Batch, copy: plan.Known) -> bool:
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
