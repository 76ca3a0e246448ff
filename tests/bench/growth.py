"""`./bench growth`: how a build, an edit and memory go with the number of articles."""

from __future__ import annotations

from collections.abc import Iterable

from tests.bench import edit, sites, start
from tests.bench.report import megabytes, seconds, table


def run(workshop: sites.Workshop, sizes: Iterable[int]) -> None:
    """One row per size."""
    rows = []
    for articles in sizes:
        built = workshop.built(articles)
        sites.say(f"{articles:,} articles: edits, memory")
        held, edits = start.idle(built.site), edit.of_feedd(built.site, settle_ms=0)
        rows.append(
            (
                f"{articles:,}", seconds(built.live_s), seconds(built.run.wall_s),
                f"{built.run.wall_s / articles * 1e6:.0f} us", megabytes(built.run.peak.pss), seconds(edits.median_s),
                megabytes(held.pss),
            )
        )  # fmt: skip
    head = ("articles", "live feeds", "all files", "an article", "peak PSS", "one edit, settle_ms = 0", "idle PSS")
    table("Growth", head, rows)
