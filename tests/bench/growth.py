"""`./bench growth`: how a build, an edit and memory go with the number of articles.

Beside each build, how long it takes to read its articles and do nothing: a machine that has them in memory reads some
thousands in a tenth of a second, from a disk in seconds. `--corpora` takes a folder in memory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

from tests.bench import edit, sites, start
from tests.bench.report import megabytes, seconds, table


def run(workshop: sites.Workshop, sizes: Iterable[int]) -> None:
    """One row per size."""
    rows = []
    for articles in sizes:
        read_s = _read_all(workshop.corpus(articles))
        built = workshop.built(articles)
        sites.say(f"{articles:,} articles: edits, memory")
        held, edits = start.idle(built.site), edit.of_feedd(built.site, settle_ms=0)
        rows.append(
            (
                f"{articles:,}", seconds(read_s), seconds(built.live_s), seconds(built.run.wall_s),
                f"{built.run.wall_s / articles * 1e6:.0f} us", megabytes(built.run.peak.pss), seconds(edits.median_s),
                megabytes(held.pss),
            )
        )  # fmt: skip
    head = (
        "articles", "reading them alone", "live feeds", "all files", "an article", "peak PSS",
        "one edit, settle_ms = 0", "idle PSS",
    )  # fmt: skip
    table("Growth", head, rows)


def _read_all(folder: Path) -> float:
    """Seconds to read every file, in one thread."""
    began = time.perf_counter()
    for parent, _, names in os.walk(folder):
        for name in names:
            (Path(parent) / name).read_bytes()
    return time.perf_counter() - began
