"""The configuration -> a server with all that it answers: feeds and pages, what moved, and the operator's part.

Called by the daemon, once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from feedd import __version__, bulk, config, rebuild, site, store
from feedd.web import access, audience, delta, feeds, front, http, overview, protocol, server, shelf, status, throttle


def make(
    settings: config.Config, plan: bulk.Plan, is_ready: Callable[[], bool], watch_mode: Callable[[], str],
    removed: Callable[[], frozenset[str]], before: Callable[[front.ASGIApp], front.ASGIApp],
) -> server.Server:
    """A server that is bound and not started. Raises OSError where the address cannot be had.

    `removed`: the feeds that configuration took away, as `site.base_path` names them. `before` puts what it likes
    before the application.
    """
    own = settings.server
    counted = audience.Audience()
    changes = delta.Deltas()
    most = own.full_fetches_per_hour
    slowed = throttle.Throttle(most, burst=most) if most else None

    def seen(request: http.Request, answer: http.Answer, plain_size: int) -> None:
        agent = request.headers.get(b"user-agent", b"").decode("latin-1")
        counted.saw(
            request.path, agent, request.address, answer.status, len(answer.body),
            plain_size if request.method == "GET" else 0, time.time(),
        )

    def wait_s(address: str, name: str, had_validators: bool, _agent: str, now: float) -> float:
        return slowed.check(address, name, had_validators, now) if slowed is not None else 0.0

    policy = feeds.Policy(
        plan.settings.public_url, own.max_age_s, plan.settings.advertised_hubs, whereabouts(own.redirects, removed)
    )
    hooks = feeds.Hooks(
        noted=changes.note, delta=changes.answer, compress=compress, throttle=wait_s if most else None, seen=seen
    )
    started_at = int(time.time())

    def about() -> overview.About:
        return overview.About(
            __version__, os.getpid(), watch_mode(), is_ready(), started_at, plan.source.root, plan.out, own_hub(plan),
        )

    app: front.ASGIApp = front.nothing_here
    if own.status != "off":
        app = front.below("/-", status.status_app(
            lambda: store.open_store(plan.state_folder, read_only=True), counted, about, settings=plan.settings,
            token=own.token, loopback_only=own.status == "auto" and _is_loopback(own.host), now=time.time,
        ))
    files = shelf.Shelf(plan.out, own.cache_bytes)
    limits = protocol.Limits(connections=own.max_connections)
    trusted = frozenset(own.trusted_proxies)
    return server.Server(own.host, own.port, feeds.Feeds(files, policy, hooks), before(app), is_ready, limits, trusted)


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
