"""Files of a batch -> the articles that they are: the one that was there, one that was renamed, or a new one.

Decides no more than which is which, and what `plan` decides of each; writes nothing but feeds that are new. Called by
`ingest` within its transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from feedd import intake, model, plan
from feedd.store import FileRow, Store, pack_ids


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


class Batch:
    """The articles that a batch touches: as they were, and as they will be."""

    def __init__(self, old: dict[int, plan.Known]) -> None:
        self.old = old
        self.new: dict[int, plan.Known] = {}
        self.parsed: dict[int, plan.Parsed] = {}
        self.owner: dict[str, int] = {}

    def current(self, article_id: int) -> plan.Known:
        return self.new.get(article_id) or self.old[article_id]


def in_feeds(known: plan.Known, refs: Iterable[plan.FeedRef], feed_ids: FeedIds) -> plan.Known:
    """The article with the feeds it asks for. A held one asks for none: its new topic must not show before it does."""
    return replace(known, feeds=pack_ids({feed_ids.get(ref) for ref in refs}))


def identify(
    store: Store, batch: Batch, ordered: Sequence[intake.Intake], rows: dict[str, FileRow], feed_ids: FeedIds, *,
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
        batch.new[known_id] = known if known.release_at is not None else in_feeds(known, parsed.feeds, feed_ids)
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
    store: Store, batch: Batch, fresh: Sequence[tuple[intake.Intake, plan.Parsed]], leaving: Sequence[int]
) -> _Lost:
    if not fresh:
        return _Lost(())
    lost = {known.id: known for known in store.list_stories(sorted({p.story for _, p in fresh})) if known.path is None}
    lost |= {known.id: known for known in store.list_gone(sorted({p.original for _, p in fresh if p.original}))}
    lost |= {known.id: known for known in store.list_minted([i.path for i, _ in fresh]) if known.path is None}
    lost |= {article_id: batch.old[article_id] for article_id in leaving}
    batch.old = lost | batch.old
    return _Lost(lost.values())
