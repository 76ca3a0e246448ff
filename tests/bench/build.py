"""`./bench build`: a cold build of everything, beside Hugo."""

from __future__ import annotations

from tests.bench import hugo, sites
from tests.bench.report import megabytes, seconds, table, times

_HEAD = ("", "wall", "CPU", "peak RSS, all processes", "peak PSS", "of Hugo's wall")


def run(workshop: sites.Workshop, articles: int) -> None:
    """Both on the same articles, one after the other."""
    built = workshop.built(articles)
    run, rows = built.run, []
    peer_s = None
    if workshop.peer:
        site = workshop.peer_site(articles)
        sites.say(f"building {articles:,} articles with Hugo {hugo.FOR_BUILDS}")
        peer = hugo.build(site, site / "built")
        peer_s = peer.wall_s
        rows.append(
            (
                f"Hugo {hugo.FOR_BUILDS}: {len(sites.live_feeds(site / 'built')):,} Atom and RSS feeds",
                seconds(peer.wall_s), seconds(peer.cpu_s), megabytes(peer.peak.rss), megabytes(peer.peak.pss), "1",
            )
        )  # fmt: skip

    def ratio(value: float) -> str:
        return times(value / peer_s) if peer_s else ""

    live = len(sites.live_feeds(built.site.feeds))
    everything = sum(path.is_file() for path in built.site.feeds.rglob("*"))
    rows += [
        (f"feedd: {live:,} live Atom and RSS feeds in place", seconds(built.live_s), "", "", "", ratio(built.live_s)),
        (
            f"feedd: all {everything:,} files, with JSON, archives, gzip and brotli",
            seconds(run.wall_s), seconds(run.cpu_s), megabytes(run.peak.rss), megabytes(run.peak.pss),
            ratio(run.wall_s),
        ),
    ]  # fmt: skip
    table(f"Cold build of {articles:,} articles", _HEAD, rows)
