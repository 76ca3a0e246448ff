"""What a run would do, without a request: for who wants to see it first.

Redirects and what robots.txt files say of hosts that were never asked are not known beforehand. Called by the edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from feedd.linkcheck import follow, hosts, robots
from feedd.linkcheck.ledger import ROWS, Ledger, Links
from feedd.linkcheck.queues import Job
from feedd.linkcheck.register import recall_robots
from feedd.linkcheck.settings import Plan, Planned
from feedd.store.linkrows import Host, Link


def plan_of_run(plan: Plan, links: Links, *, now: float, only: Sequence[int] | None = None) -> Iterator[Planned]:
    """What the run would do about each link, host by host, those with most links first."""
    ledger = Ledger(links, lambda: now)
    for name, ids in reversed(ledger.due_by_host(plan.max_links, only)):
        row = ledger.find_hosts([name]).get(name) or Host(name)
        manners = hosts.manners_for(name, plan.rules, gap_s=plan.gap_s, user_agent=plan.agent)
        ids.reverse()
        for start in range(0, len(ids), ROWS):
            for link in ledger.find_links(ids[start : start + ROWS]):
                yield _planned(plan, link, row, manners, now)


def _planned(plan: Plan, link: Link, row: Host, manners: hosts.Manners, now: float) -> Planned:
    if manners.action != "check":
        return Planned(link.url, link.host, manners.action)
    alone_until = hosts.recall(row, now).alone_until
    if alone_until - now > plan.patience_s:
        return Planned(link.url, link.host, "wait", wait_until=int(alone_until))
    known = recall_robots(row).get(follow.origin_of(link.url)) if plan.robots else None
    if known is not None and robots.expires_at(known) <= now:
        known = None
    if known is not None and not robots.allows(known, link.url, manners.user_agent):
        return Planned(link.url, link.host, "robots", robots=True)
    request = follow.request_for(Job("link", link.url, link.url, link), manners.user_agent, manners.headers)
    is_conditional = bool(request.etag or request.last_modified)
    return Planned(link.url, link.host, "conditional" if is_conditional else "get", robots=known is not None)
