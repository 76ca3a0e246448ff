"""What subscribers would see if feedd ran now: the changes of each feed, found on a copy of the state.

Nothing is written but the copy, in a temporary folder. Called by `feedd build --dry-run`.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from feedd import bulk, plan, publish, site
from feedd.store import Store, open_store, unpack_ids
from feedd.store.sqlite import NAME


class Difference(Struct, frozen=True):
    """One entry that would come, go or change in one feed."""

    feed: str
    what: Literal["new", "updated", "removed"]
    title: str
    path: str


def differences(run_plan: bulk.Plan, log: FilteringBoundLogger, *, now: int, now_ns: int) -> list[Difference]:
    """Every change that a run would bring, by feed. An entry that only leaves the window of a feed is no change."""
    with tempfile.TemporaryDirectory(prefix="feedd-preview-") as folder:
        original = os.path.join(run_plan.state_folder, NAME)
        if os.path.exists(original):
            source = sqlite3.connect(f"file:{original}?mode=ro", uri=True)
            target = sqlite3.connect(os.path.join(folder, NAME))
            source.backup(target)
            source.close()
            target.close()
        with open_store(folder) as store:
            before = _windows(store, run_plan.settings)
            publisher = publish.Publisher(store, replace(run_plan, state_folder=folder), log, settle_ns=0)
            publisher.scan(now=now, now_ns=now_ns)
            publisher.release(now=now)
            publisher.close()
            after = _windows(store, run_plan.settings)
            return [
                difference
                for feed in sorted(before.keys() | after.keys())
                for difference in _compare(store, feed, before.get(feed, ()), after.get(feed, ()))
            ]


def _windows(store: Store, settings: site.Settings) -> dict[tuple[str, str], Sequence[plan.Shown]]:
    return {
        (feed.kind, feed.key): store.list_window(
            feed.id, above=-1, up_to=None, limit=settings.of(feed.kind, feed.key).limit or settings.limit
        )
        for feed in store.list_feeds()
    }


def _compare(
    store: Store, feed: tuple[str, str], before: Sequence[plan.Shown], after: Sequence[plan.Shown]
) -> list[Difference]:
    name = "/".join(part for part in feed if part)
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
