"""`./bench start`: from the start of the daemon, with nothing changed, to /readyz; and what it holds when idle."""

from __future__ import annotations

import statistics
import time

from tests.bench import measure, sites
from tests.bench.report import megabytes, seconds, table

_STARTS, _IDLE_S = 5, 30


def start(workshop: sites.Workshop, articles: int) -> None:
    """The median of several starts."""
    site = workshop.built(articles).site
    taken = []
    for _ in range(_STARTS):
        with site.daemon() as daemon:
            taken.append(daemon.ready_s)
    row = (f"{articles:,}", seconds(statistics.median(taken)), seconds(min(taken)), seconds(max(taken)))
    table("Start with nothing changed", ("articles", "median", "least", "most"), [row])


def memory(workshop: sites.Workshop, articles: int) -> None:
    """All processes of an idle daemon."""
    held = idle(workshop.built(articles).site)
    row = (f"{articles:,}", megabytes(held.rss), megabytes(held.pss))
    table("Memory when idle", ("articles", "RSS", "PSS"), [row])


def idle(site: sites.Site) -> measure.Memory:
    """What a daemon holds when it has long been ready: what it prepares for edits when idle is counted, too."""
    with site.daemon() as daemon:
        time.sleep(_IDLE_S)
        return measure.memory(daemon.pid)
