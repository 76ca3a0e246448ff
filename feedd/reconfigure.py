"""Another configuration -> what it makes of the state: feeds made and dropped, articles in them, documents marked.

Looks at what is affected and at nothing else, by fingerprints that the state keeps; so a start and a reload are one
path, and a kill in between is made good by the next. Reads no article file. Called by `publish`.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import msgspec
from structlog.typing import FilteringBoundLogger

from feedd import ingest, plan, site
from feedd.store import Store

AT_ONCE = 2_048  # articles whose feeds are decided anew in one transaction


def by_rules(store: Store, rules: plan.Rules, log: FilteringBoundLogger, *, now: int) -> Iterator[ingest.Report]:
    """Decides anew which article is in which feed, if that was decided by other rules, some articles at a time.

    From what the state keeps of each article, which is all that rules look at. A stop in between begins it anew.
    """
    fingerprint = blake2b(msgspec.msgpack.encode(rules), digest_size=16).hexdigest()
    if store.find_meta("rules") == fingerprint:
        return
    if store.find_meta("first_scan") is not None:  # else what is there to be published is not known yet
        with store.transaction():
            make_and_drop_feeds(store, rules, log)
    after = 0
    while rows := store.marks.list_linked(after, AT_ONCE):
        after = rows[-1][0]
        yield ingest.rejoin(store, rules, [(article_id, data) for article_id, data, _ in rows], now=now)
    with store.transaction():
        store.put_meta("rules", fingerprint)


def by_settings(store: Store, settings: site.Settings) -> tuple[list[int], bool]:
    """Marks the documents that other settings make others, inside a transaction; returns the ids of their feeds.

    And whether files may be on disk that are not to be: their names are others now, or a feed came or went.
    """
    said, new = store.find_meta("settings"), site.fingerprints(settings)
    has_other_feeds = store.find_meta("feeds") == "others"
    store.put_meta("feeds", "")
    old = _fingerprints_from(said) if said else new
    store.put_meta("settings", msgspec.json.encode(new).decode())
    if old == new:
        return [], has_other_feeds
    affected = [feed.id for feed in store.list_feeds() if site.is_affected(old, new, feed.kind, feed.key)]
    store.mark_all_dirty(affected)
    if old.get(site.LISTING) != new[site.LISTING]:
        store.put_meta("listing", "")
    return affected, has_other_feeds or old.get(site.FILES) != new[site.FILES]


def make_and_drop_feeds(store: Store, rules: plan.Rules, log: FilteringBoundLogger) -> None:
    """Drops the feeds that rules do not ask for, whose files go with the next `reconcile`; and makes those that they
    ask for whatever articles there are. Inside a transaction.
    """
    wanted = {"all": True, "topic": rules.topics, "provider": rules.providers, "category": rules.categories}
    own = [plan.FeedRef("custom", name, name) for name, _ in rules.custom]
    own += [plan.FeedRef("private", name, name) for name, _ in rules.private]
    names = {(ref.kind, ref.key) for ref in own}
    live = {document.feed_id for document in store.list_documents(page=0)}
    has_changed = False
    for feed in store.list_feeds():
        if feed.id in live and not wanted.get(feed.kind, (feed.kind, feed.key) in names):
            log.info("feed removed", kind=feed.kind, feed=feed.key, cause="configuration")
            store.drop_feed(feed.id)
            has_changed = True
    for ref in (plan.FeedRef("all", "", ""), *own):
        if store.find_feed(ref.kind, ref.key) is None:
            store.put_feed(ref)
            has_changed = True
    if has_changed:
        store.put_meta("listing", "")
        store.put_meta("feeds", "others")


def _fingerprints_from(said: str) -> dict[str, str]:
    """What `site.fingerprints` gave; nothing where an older feedd wrote another thing."""
    try:
        return msgspec.json.decode(said, type=dict[str, str])
    except msgspec.DecodeError:
        return {}
