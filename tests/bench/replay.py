"""`./bench replay`: a long history of the nature of real ones, commit by commit, against an independent oracle.

Its clock is its own: it spans years. So it drives the publisher, not the daemon; links in, bytes on disk.
"""

from __future__ import annotations

import time

import structlog

from tests import history, replay
from tests.bench import sites
from tests.bench.report import seconds, table
from tests.history_oracle import Oracle
from tests.newsroom import SITE, Newsroom, settings_for

_LIMIT, _REWRITES = 50, 4.5  # rewrites in a commit, as in the real history
_UNSEEN = ("secured", "scores", "layout", "amp", "type")


def run(workshop: sites.Workshop, *, articles: int, commits: int) -> None:
    """A new newsroom, every commit told by its paths."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    sites.say(f"making a history of {commits:,} commits")
    past = history.make(seed=1, articles=articles, commits=commits, rewrites=_REWRITES)
    room = Newsroom(workshop.home / "replay", settings_for(limit=_LIMIT))
    oracle = Oracle(site=SITE, tag="tag:news.example,2026-01-01", limit=_LIMIT)
    sites.say(f"replaying {past.rewrites:,} rewrites")
    start = time.perf_counter()
    outcome = replay.replay(room, past, how="events", oracle=oracle)
    taken_s = time.perf_counter() - start
    room.close()
    unseen = sum(past.kinds[kind] for kind in _UNSEEN) / past.rewrites
    related = past.kinds["related"] / past.rewrites
    rows = [
        ("commits", f"{len(past.commits):,}"),
        ("rewrites of files", f"{past.rewrites:,}"),
        ("of scores, opaque data and the like only", f"{unseen:.1%}"),
        ("of related links only", f"{related:.1%}"),
        ("that no feed shows, says the oracle", f"{1 - oracle.visible_rewrites / oracle.all_rewrites:.1%}"),
        ("commits that wrote nothing", f"{outcome.quiet_commits:,}"),
        ("files that had to be written", f"{outcome.expected:,}"),
        ("missed", f"{len(outcome.missed):,}"),
        ("needless", f"{len(outcome.needless):,}"),
        ("feeds that show something else", f"{len(outcome.wrong):,}"),
        ("with the oracle's time", seconds(taken_s)),
    ]
    for number, path in [*outcome.missed, *outcome.needless, *outcome.wrong][:10]:
        print(f"commit {number}: {path} differs from what the oracle says")
    table(f"A history of {articles:,} articles replayed", ("", "count"), rows)
