"""The configuration -> a server with all that it answers: feeds and pages, what moved, and the operator's part.

Built by the daemon, once; another configuration changes what the same server answers. What was counted stays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from ipaddress import ip_network
from urllib.parse import urlsplit

from msgspec import Struct

from feedd import __version__, bulk, config, meters, pulse, rebuild, settle, site, store
from feedd.web import (
    access,
    audience,
    delta,
    feeds,
    front,
    http,
    overview,
    private,
    protocol,
    scrape,
    server,
    shelf,
    status,
    throttle,
)


class Process(Struct, frozen=True):
    """What the rest of the process says of itself when it is asked.

    `removed`: the feeds that configuration took away, as `site.base_path` names them. `before` puts what it likes
    before an application. `counted` and `waiting` are for metrics, `probes` for health; `beat`
    is that of the server's loop.
    """

    is_ready: Callable[[], bool]
    watch_mode: Callable[[], str]
    removed: Callable[[], frozenset[str]]
    before: Callable[[front.ASGIApp], front.ASGIApp]
    configuration: Callable[[], overview.Configuration]
    counted: meters.Meters
    waiting: Callable[[], settle.Waiting]
    probes: front.Probes
    beat: pulse.Beat


class Site:
    """A server that is bound and not started. Raises OSError where the address cannot be had.

    Readers that were counted, slowed or may be sent deltas are known through every change.
    """

    def __init__(self, settings: config.Config, plan: bulk.Plan, process: Process) -> None:
        self._process, self._started_at = process, int(time.time())
        self._audience, self._deltas = audience.Audience(), delta.Deltas()
        self._throttle, self._guesses = _throttle_of(settings.server), throttle.Throttle()
        self._shelf = shelf.Shelf(plan.out, settings.server.cache_bytes)
        self._server = settings.server
        own = settings.server
        self.server = server.Server(
            own.host, own.port, self._feeds(plan), self._app(settings, plan), process.is_ready, _limits_of(own),
            frozenset(own.trusted_proxies), process.probes, process.beat,
        )

    def change(self, settings: config.Config, plan: bulk.Plan) -> None:
        """Answers by another configuration from now on; its address is that of the first one."""
        before, own = self._server, settings.server
        self._server = own
        if own.full_fetches_per_hour != before.full_fetches_per_hour:
            self._throttle = _throttle_of(own)
        if own.cache_bytes != before.cache_bytes:
            self._shelf = shelf.Shelf(plan.out, own.cache_bytes)
        self.server.change(
            self._feeds(plan), self._app(settings, plan), _limits_of(own), frozenset(own.trusted_proxies)
        )

    def _feeds(self, plan: bulk.Plan) -> feeds.Feeds:
        own, slowed, counted = self._server, self._throttle, self._audience

        def seen(request: http.Request, answer: http.Answer, plain_size: int) -> None:
            agent = request.headers.get(b"user-agent", b"").decode("latin-1")
            counted.saw(
                request.path, agent, request.address, answer.status, len(answer.body),
                plain_size if request.method == "GET" else 0, time.time(),
            )

        def wait_s(address: str, name: str, had_validators: bool, _agent: str, now: float) -> float:
            return slowed.check(address, name, had_validators, now) if slowed is not None else 0.0

        readers = private.Readers(
            access.Access(own.token, _is_loopback(own.host)), tuple(map(ip_network, own.private_networks)),
            frozenset(own.trusted_proxies), self._guesses, urlsplit(plan.settings.public_url).hostname or "",
        )
        policy = feeds.Policy(
            plan.settings.public_url, own.max_age_s, plan.settings.advertised_hubs,
            whereabouts(own.redirects, self._process.removed), refuse=readers.refuse,
        )
        return feeds.Feeds(self._shelf, policy, feeds.Hooks(
            noted=self._deltas.note, delta=self._deltas.answer, compress=compress,
            throttle=wait_s if slowed is not None else None, seen=seen,
        ))

    def _app(self, settings: config.Config, plan: bulk.Plan) -> front.ASGIApp:
        own, process = self._server, self._process

        def about() -> overview.About:
            return overview.About(
                __version__, os.getpid(), process.watch_mode(), process.is_ready(), self._started_at,
                plan.source.root, plan.out, own_hub(plan), process.configuration(), tuple(process.probes.troubles()),
            )

        def open_state() -> store.Store:
            return store.open_store(plan.state_folder, read_only=True)

        app: front.ASGIApp = front.nothing_here
        if own.status != "off":
            app = front.below("/-", status.status_app(
                open_state, self._audience, about,
                settings=plan.settings, token=own.token, loopback_only=own.status == "auto" and _is_loopback(own.host),
                now=time.time,
            ))
        if own.metrics != "off":
            by_address = own.status != "token" and _is_loopback(own.host)
            granted = access.Access(own.token, by_address) if own.metrics == "auto" else None
            app = front.at(scrape.PATH, scrape.Scrape(scrape.Sources(
                __version__, self._started_at, plan.settings, open_state, process.counted, process.waiting,
                self._audience.totals, process.is_ready, process.probes, lambda: own_hub(plan),
            ), granted), app)
        return process.before(app)


def _throttle_of(own: config.Server) -> throttle.Throttle | None:
    most = own.full_fetches_per_hour
    return throttle.Throttle(most, burst=most) if most else None


def _limits_of(own: config.Server) -> protocol.Limits:
    return protocol.Limits(connections=own.max_connections)


def compress(data: bytes, coding: str) -> bytes:
    """As files are compressed; `coding` is what HTTP calls it."""
    return rebuild.compress(data, "brotli" if coding == "br" else coding)


def own_hub(plan: bulk.Plan) -> overview.OwnHub | None:
    """The built-in hub as it is now; None without one."""
    if not plan.settings.own_hub:
        return None
    from feedd.hub import subscriptions  # with aiohttp, which takes 20 MB, and is there already

    found = subscriptions.find_figures(plan.state_folder)
    return overview.OwnHub(
        plan.settings.own_hub, found.subscriptions if found else None, found.failing if found else None
    )


def whereabouts(redirects: tuple[str, ...], removed: Callable[[], frozenset[str]]) -> Callable[[str], str | None]:
    """What became of a name that has no file: where it moved, "" for what was removed, None if nobody knows.

    `redirects` are of the form "topics/old -> topics/new", for every format and archive of a feed. A feed that is
    merely missing is not gone: readers unsubscribe at a 410.
    """
    moved = dict(line.split(" -> ") for line in redirects)

    def place(name: str) -> str | None:
        base, _, suffix = name.rpartition(".")
        folder, _, page = base.rpartition("/")
        archive = folder.removeprefix(site.ARCHIVES + "/") if base.startswith(site.ARCHIVES + "/") else ""
        if base in moved:
            return f"{moved[base]}.{suffix}"
        if archive in moved:
            return f"{site.ARCHIVES}/{moved[archive]}/{page}.{suffix}"
        return "" if (archive or base) in removed() else None

    return place


def _is_loopback(host: str) -> bool:
    return host == "localhost" or access.is_loopback(host)
