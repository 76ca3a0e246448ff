"""Counts of the loops, figures of the state and the process -> metrics in Prometheus' text or OpenMetrics.

Nothing is counted here: all of it is pulled when somebody scrapes, and what the state is asked for is kept for some
seconds. No label names an article, a feed, a link or a hub, so that there are as many series with a million of each.
The only module that imports prometheus_client; imported by `scrape` when first asked.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from feedd import errors, meters, site
from feedd.freshness.states import VERDICTS
from feedd.store.figures import Figures, LinkFigures, Publishing, find_links
from feedd.store.sqlite import errors_in_words
from feedd.web import links
from feedd.web.audience import Totals
from feedd.web.scrape import Sources

KEPT_S = 5.0  # how long figures of the state are good for
KINDS = ("all", *site.FOLDERS)


class Figured(Struct, frozen=True):
    """What the state said; None for what could not be read."""

    publishing: Publishing | None
    links: LinkFigures | None


class Metrics(Collector):
    """Pulls. `now`: seconds since 1970; `clock`: monotonic seconds, those of the loops. For one thread at a time."""

    def __init__(self, sources: Sources, now: Callable[[], float], clock: Callable[[], float]) -> None:
        self._from, self._now, self._clock = sources, now, clock
        self._figured: tuple[float, Figured] | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Everything as it is now, and its media type; `accept` chooses between the formats."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        found = self._figures()
        yield InfoMetricFamily(
            "feedd_build", "Version of feedd and of Python.",
            {"version": self._from.version, "python": platform.python_version()},
        )
        probes, is_ready = self._from.probes, self._from.is_ready()
        yield _gauge("feedd_ready", "1 where /readyz says so, else 0.", is_ready and not probes.troubles())
        yield _gauge("feedd_loops_silent", "Loops that stand still; /livez names them.", len(probes.silent()))
        yield _gauge("feedd_state_readable", "1 if the state could be read for this scrape.", bool(found.publishing))
        yield from self._queue()
        yield from _publishing(self._from.counted)
        if found.publishing:
            yield from _state(found.publishing)
        yield from _requests(self._from.requests())
        if found.links:
            yield from _links(found.links)
        yield from self._own_hub()
        yield from _reloads(self._from.counted.reloads, self._from.started_at)

    def _figures(self) -> Figured:
        """What the state said a moment ago, or says."""
        at = self._clock()
        if self._figured is None or at - self._figured[0] >= KEPT_S:
            self._figured = at, self._look()
        return self._figured[1]

    def _look(self) -> Figured:
        publishing, of_links, settings = None, None, self._from.settings
        try:
            with errors_in_words(), self._from.open_state() as state, state.snapshot():
                publishing = Figures.of(state).find_publishing(settings.hubs)
                with links.opened(state.folder, settings) as known:
                    of_links = find_links(known, int(self._now()))
        except errors.FeeddError:
            pass  # of links: there may be none yet
        if settings.links and not of_links:
            of_links = LinkFigures({}, 0, 0)
        return Figured(publishing, of_links)

    def _queue(self) -> Iterator[Metric]:
        counted, waiting = self._from.counted, self._from.waiting()
        oldest = counted.oldest(waiting.since)
        yield _gauge(
            "feedd_queue_paths", "Changed paths that are not published yet.", waiting.count + counted.in_hand.paths
        )
        yield _gauge(
            "feedd_queue_oldest_seconds", "Since when the oldest change waits to be on disk.",
            0.0 if oldest is None else max(0.0, self._clock() - oldest),
        )

    def _own_hub(self) -> Iterator[Metric]:
        if own := self._from.own_hub():
            yield _gauge("feedd_hub_subscriptions", "Subscriptions of the built-in hub.", own.subscriptions or 0)
            yield _gauge(
                "feedd_hub_subscriptions_failing", "Those of them whose last delivery failed.", own.failing or 0
            )


def _publishing(counted: meters.Meters) -> Iterator[Metric]:
    yield _histogram(
        "feedd_event_to_disk_seconds", "From the first news of changed files to the last of their feeds on disk.",
        counted.on_disk.read(),
    )
    yield _histogram("feedd_scan_duration_seconds", "Time of full scans.", counted.scans.read())
    yield _counters(
        "feedd_feeds_written", "Documents of feeds whose bytes changed, by cause.", "cause",
        counted.written, meters.CAUSES,
    )
    yield CounterMetricFamily(
        "feedd_written_bytes", "Bytes of these documents, all formats, before compression.", counted.bytes_written
    )
    yield _counters(
        "feedd_publish_faults", "Rounds of publishing that failed, by what could not be used.", "part",
        counted.faults, meters.PARTS,
    )
    yield _counters(
        "feedd_article_changes", "Articles that readers see differently.", "change", counted.changes, meters.CHANGES
    )
    yield CounterMetricFamily(
        "feedd_article_rejections", "Readings of files that could not be used.", counted.rejected
    )


def _state(found: Publishing) -> Iterator[Metric]:
    yield _gauges(
        "feedd_articles", "Articles: published, held until their time, hidden, or gone with their id kept.", "state",
        found.articles, found.articles,
    )
    yield _gauge("feedd_article_files_rejected", "Files that cannot be used now.", found.problems)
    yield _gauges("feedd_feeds", "Feeds by kind.", "kind", found.feeds, KINDS)
    yield _gauge("feedd_documents", "Live feeds and archives, all formats of one together.", found.documents)
    yield _gauge("feedd_documents_waiting", "Documents that are to be written.", found.waiting)
    yield _gauge("feedd_documents_failed", "Documents that could not be written when last tried.", found.failed)
    yield _gauge("feedd_hub_pings_waiting", "Changes that hubs elsewhere are still to be told.", found.pings)
    yield _gauge("feedd_hub_pings_failing", "Those of them that failed when last tried.", found.pings_failing)


def _requests(found: Totals) -> Iterator[Metric]:
    yield _counters(
        "feedd_http_requests", "Requests for feeds and pages, by class of status.", "status",
        found.statuses, sorted({"2xx", "3xx", "4xx", "5xx", *found.statuses}),
    )
    yield CounterMetricFamily(
        "feedd_http_not_modified", "Requests answered by 304: the reader has it already.", found.not_modified
    )
    yield CounterMetricFamily("feedd_http_sent_bytes", "Bytes of bodies sent.", found.bytes_sent)
    saved = {
        "not_modified": found.saved_not_modified, "delta": found.saved_delta, "compression": found.saved_compression
    }
    yield _counters("feedd_http_saved_bytes", "Bytes that were not sent, by what spared them.", "by", saved, saved)


def _links(found: LinkFigures) -> Iterator[Metric]:
    yield _gauges("feedd_links", "Links of articles, by verdict.", "verdict", found.verdicts, VERDICTS)
    yield _gauge("feedd_links_due", "Links that should have been checked by now.", found.due)
    yield _gauge("feedd_link_check_overdue_seconds", "For how long the first of them has been due.", found.overdue_s)


def _reloads(found: meters.Reloads, started_at: float) -> Iterator[Metric]:
    counts = {"applied": found.succeeded, "refused": found.refused}
    yield _counters("feedd_config_reloads", "Times that config.toml was read anew.", "result", counts, counts)
    yield _gauge(
        "feedd_config_last_reload_successful", "0 while config.toml has errors, and an older one holds.",
        found.is_current,
    )
    yield _gauge(
        "feedd_config_last_reload_success_timestamp_seconds", "When the configuration that holds was read.",
        max(started_at, found.succeeded_at),
    )


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, float(value))


def _gauges(name: str, what: str, label: str, values: Mapping[str, int], of: Iterable[str]) -> Metric:
    """One for each of `of`: a series that is there from the start shows its first change."""
    family = GaugeMetricFamily(name, what, labels=[label])
    for each in of:
        family.add_metric([each], values.get(each, 0))
    return family


def _counters(name: str, what: str, label: str, values: Mapping[str, int], of: Iterable[str]) -> Metric:
    family = CounterMetricFamily(name, what, labels=[label])
    for each in of:
        family.add_metric([each], values.get(each, 0))
    return family


def _histogram(name: str, what: str, spread: meters.Spread) -> Metric:
    bounds = [*map(str, spread.bounds), "+Inf"]
    return HistogramMetricFamily(name, what, list(zip(bounds, spread.counts, strict=True)), spread.total_s)
