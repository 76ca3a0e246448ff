"""What subscribers would see if feedd ran now, or by another configuration: found on a copy of the state.

Nothing is written but the copy, in a temporary folder. Called by `feedd build --dry-run` and `feedd diff`.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from feedd import bulk, model, plan, publish, site
from feedd.store import Feed, Store, open_store, unpack_ids
from feedd.store.sqlite import NAME

Shown = dict[str, str]
"""What a feed says of itself, and how it shows entries, by the names that people have for it."""
_Window = Sequence[plan.Shown]


class Difference(Struct, frozen=True):
    """One entry that would come, go or change in one feed, which is named as in its address: `topics/ai`."""

    feed: str
    what: Literal["new", "updated", "removed"]
    title: str
    path: str


class FeedDifference(Struct, frozen=True):
    """A feed that would come, go or look otherwise: `before` and `after` are what differs of it."""

    feed: str
    what: Literal["new", "changed", "removed"]
    entries: int
    before: Shown = {}
    after: Shown = {}


class Comparison(Struct, frozen=True):
    """Feeds that differ, and entries of the feeds that there are before and after; by feed."""

    feeds: tuple[FeedDifference, ...]
    entries: tuple[Difference, ...]


def differences(run_plan: bulk.Plan, log: FilteringBoundLogger, *, now: int, now_ns: int) -> list[Difference]:
    """Every change that a run would bring, by feed. An entry that only leaves the window of a feed is no change."""
    with _copy(run_plan) as (store, folder):
        before = _windows(store, run_plan.settings)
        _publish(store, replace(run_plan, state_folder=folder, out=folder), log, now=now, now_ns=now_ns)
        after, names = _windows(store, run_plan.settings), _names(store)
        return [
            difference
            for feed in sorted(before.keys() | after.keys(), key=names.__getitem__)
            for difference in _compare(store, feed, names[feed], before.get(feed, ()), after.get(feed, ()))
        ]


def compare(
    present: bulk.Plan, wanted: bulk.Plan, log: FilteringBoundLogger, *, now: int, now_ns: int
) -> Comparison:
    """What changes for subscribers when feedd goes over from one configuration to another, over the present state.

    Articles are brought up to date by the first of them, so that what changed in files is no difference.
    """
    with _copy(present) as (store, folder):
        _publish(store, replace(present, state_folder=folder, out=folder), log, now=now, now_ns=now_ns)
        before, heads = _windows(store, present.settings), _heads(store, present.settings)
        _publish(store, replace(wanted, state_folder=folder, out=folder), log, now=now, now_ns=now_ns)
        after, new_heads = _windows(store, wanted.settings), _heads(store, wanted.settings)
        feeds: list[FeedDifference] = []
        entries: list[Difference] = []
        names = _names(store)
        tags = [(own.tag_host, own.tag_date) for own in (present.settings, wanted.settings)]
        for feed in sorted(heads.keys() | new_heads.keys(), key=names.__getitem__):
            name = names[feed]
            if feed not in heads:
                feeds.append(FeedDifference(name, "new", len(after[feed]), after=new_heads[feed]))
            elif feed not in new_heads:
                feeds.append(FeedDifference(name, "removed", len(before[feed]), before=heads[feed]))
            else:
                old, new = ({k: v for k, v in one[feed].items() if heads[feed][k] != new_heads[feed][k]}
                            for one in (heads, new_heads))
                if new:
                    feeds.append(FeedDifference(name, "changed", len(after[feed]), old, new))
                known = before[feed] if tags[0] == tags[1] else ()  # readers know entries by their ids
                entries += _compare(store, feed, name, known, after[feed])
        return Comparison(tuple(feeds), tuple(entries))


@contextlib.contextmanager
def _copy(run_plan: bulk.Plan) -> Iterator[tuple[Store, str]]:
    """The state as it is now, to be changed as one likes, and its folder."""
    with tempfile.TemporaryDirectory(prefix="feedd-preview-") as folder:
        original = os.path.join(run_plan.state_folder, NAME)
        if os.path.exists(original):
            source = sqlite3.connect(f"file:{original}?mode=ro", uri=True)
            target = sqlite3.connect(os.path.join(folder, NAME))
            source.backup(target)
            source.close()
            target.close()
        with open_store(folder) as store:
            yield store, folder


def _publish(store: Store, run_plan: bulk.Plan, log: FilteringBoundLogger, *, now: int, now_ns: int) -> None:
    """All that a run does before it writes feeds."""
    publisher = publish.Publisher(store, run_plan, log, settle_ns=0)
    try:
        publisher.prepare(now=now, clean=False)
        publisher.scan(now=now, now_ns=now_ns)
        publisher.release(now=now)
    finally:
        publisher.close()


def _live(store: Store) -> list[Feed]:
    live = {document.feed_id for document in store.list_documents(page=0)}
    return [feed for feed in store.list_feeds() if feed.id in live]


def _heads(store: Store, settings: site.Settings) -> dict[tuple[str, str], Shown]:
    return {(feed.kind, feed.key): _shown(store, settings, feed) for feed in _live(store)}


def _shown(store: Store, settings: site.Settings, feed: Feed) -> Shown:
    own = settings.of(feed.kind, feed.key)
    head = site.head(
        settings, kind=feed.kind, key=feed.key, label=feed.label, slug=feed.slug or "", page=0, pages=0,
        complete=False, updated_us=0, metadata=store.metadata_of(feed.kind, feed.key),
    )
    full = settings.full_content if own.full_content is None else own.full_content
    dead_links = settings.links and settings.links.dead
    return {
        "title": head.title, "description": head.subtitle, "author": head.author, "language": head.language,
        "id": head.id, "link": head.page_url,
        **{f"{fmt} address": head.self_urls.get(fmt, "") for fmt in model.FORMATS},
        "hubs": " ".join(head.hub_urls), "minutes to live": str(head.ttl_minutes),
        "entries at most": str(own.limit or settings.limit), "content": "whole articles" if full else "summaries",
        "archives": "yes" if settings.archives else "no", "dead links": dead_links or "not checked",
    }


def _names(store: Store) -> dict[tuple[str, str], str]:
    """What feeds are called in addresses, also those that have been given no address yet."""
    feeds = store.list_feeds()
    slugs = {(feed.kind, feed.key): feed.slug for feed in feeds}
    for kind in {feed.kind for feed in feeds}:
        unnamed = [feed.key for feed in feeds if feed.kind == kind and feed.slug is None]
        for key, slug in site.assign_slugs(kind, unnamed, store.list_slugs(kind)).items():
            slugs[kind, key] = slug
    return {(kind, key): site.base_path(kind, slug or "") for (kind, key), slug in slugs.items()}


def _windows(store: Store, settings: site.Settings) -> dict[tuple[str, str], _Window]:
    return {
        (feed.kind, feed.key): store.list_window(
            feed.id, above=-1, up_to=None, limit=settings.of(feed.kind, feed.key).limit or settings.limit
        )
        for feed in _live(store)
    }


def _compare(
    store: Store, feed: tuple[str, str], name: str, before: _Window, after: _Window
) -> list[Difference]:
    old, new = {entry.id: entry for entry in before}, {entry.id: entry for entry in after}
    out: list[Difference] = []
    known = store.find_articles(sorted(old.keys() | new.keys()))
    feed_id = store.find_feed(*feed)

    def note(what: Literal["new", "updated", "removed"], article_id: int) -> None:
        article = known[article_id]
        out.append(Difference(name, what, article.title, article.path or article.entry_path))

    for entry in after:
        if entry.id not in old:
            note("new", entry.id)
        elif old[entry.id].updated_us != entry.updated_us:
            note("updated", entry.id)
    for entry in before:
        article = known[entry.id]
        if entry.id not in new and (article.position is None or feed_id not in unpack_ids(article.shown_in)):
            note("removed", entry.id)
    return out
