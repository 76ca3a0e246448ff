"""Findings of `verify` -> a state and feeds without them, and what was done: what is wrong is found or written anew.

Works on a state that nobody else works on. Called by `feedd verify --fix`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from typing import Final

from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from feedd import bulk, outputs, ownership, publish, site
from feedd.store import Store, open_store
from feedd.store.database import move_aside
from feedd.store.identities import Identities
from feedd.store.invariants import Invariants, LinkInvariants
from feedd.store.links import open_links
from feedd.store.sqlite import errors_in_words
from feedd.verify import Finding, Mend, Progress

SHOWN: Final = 5  # names in a line


class Deed(Struct, frozen=True):
    """What was done, and to which files, feeds or rows."""

    what: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {len(self.names) - SHOWN} more" if len(self.names) > SHOWN else ""
        return f"{self.what}: {', '.join(self.names[:SHOWN])}{more}"


def fix(
    plan: bulk.Plan, findings: Iterable[Finding], log: FilteringBoundLogger, *, now: int, now_ns: int,
    progress: Progress,
) -> list[Deed]:
    """Mends what was found, in the state and then on disk. Raises StateLockedError while a daemon works on it,
    OutputError where another one publishes into the output folder.
    """
    with closing(ownership.Hold(plan.out)) as hold:
        hold.take()  # a refusal comes before anything is changed
        return _fix(plan, list(findings), log, hold, now=now, now_ns=now_ns, progress=progress)


def _fix(
    plan: bulk.Plan, found: list[Finding], log: FilteringBoundLogger, hold: ownership.Hold, *, now: int, now_ns: int,
    progress: Progress,
) -> list[Deed]:
    mends = {finding.mend for finding in found}
    deeds = []
    for name in sorted({finding.place for finding in found if finding.mend == "aside"}):
        aside = move_aside(os.path.join(plan.state_folder, name), now)
        log.error("torn database set aside", database=name, kept_as=aside)
        deeds.append(Deed("set aside, as it was torn", (f"{name} as {aside}",)))
    with errors_in_words(), open_store(plan.state_folder) as store:
        publisher = publish.Publisher(store, plan, log, settle_ns=0, progress=progress, hold=hold)
        with closing(publisher):
            publisher.custody.own()
            deeds += _deeds(store, found)
            _mend_tables(store, plan, found, mends)
            for finding in found:
                if finding.stray:
                    outputs.remove(os.path.join(plan.out, finding.stray))
            publisher.prepare(now=now)
            if mends & {"aside", "contents"}:
                publisher.scan(now=now, now_ns=now_ns)
            _mend_links(publisher, mends, now)
            publisher.reconcile()
            publisher.rebuild(now=now)
    return deeds


def _deeds(store: Store, found: Iterable[Finding]) -> list[Deed]:
    """What follows from the findings, by kind; databases that are set aside come before."""
    feeds = {feed.id: feed for feed in store.list_feeds()}
    names: dict[str, dict[str, None]] = {"put right": {}, "removed": {}, "written anew": {}}
    for finding in found:
        if finding.mend not in ("", "aside", "listing"):
            names["put right"][finding.place] = None
        if finding.document and (feed := feeds.get(finding.document[0])):
            names["written anew"][site.base_path(feed.kind, feed.slug or "", finding.document[1])] = None
        elif finding.mend == "listing":
            names["written anew"][finding.place] = None
        elif finding.stray:
            names["removed"][finding.stray] = None
    return [Deed(what, tuple(which)) for what, which in names.items() if which]


def _mend_tables(store: Store, plan: bulk.Plan, found: Iterable[Finding], mends: set[Mend]) -> None:
    with store.transaction():
        if "contents" in mends:
            Invariants.of(store).put_places()
            Identities.of(store).forget_contents()
        if "memberships" in mends:
            Invariants.of(store).put_memberships()
        if "listing" in mends:
            store.put_meta("listing", "")
        if "hubs" in mends:
            store.outbox.drop_other_hubs(plan.settings.hubs)
        if "marks" in mends:
            store.put_meta("links_told", "")
        store.mark_dirty((*key, 0) for key in sorted({item.document for item in found if item.document}))


def _mend_links(publisher: publish.Publisher, mends: set[Mend], now: int) -> None:
    if mends & {"uses", "marks"}:
        with closing(open_links(publisher.store.folder)) as links:
            if "uses" in mends:
                with links.transaction():
                    LinkInvariants.of(links).recount()
                    links.put_meta({"sync_of": None})  # the next run goes over all articles
            publisher.take_verdicts(links, now=now)
