"""Who is told that feeds changed: WebSub hubs elsewhere, and the built-in hub's subscribers, as configured.

Edge: built by the daemon, between the state and the server. Where nobody is to be told, nothing is imported or run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from ipaddress import ip_network
from random import Random
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from feedd import __version__, bulk, config, errors, guard
from feedd.web.front import ASGIApp

if TYPE_CHECKING:
    from feedd import hub, notify

_Told = tuple[tuple[str, ...], str, tuple[guard.Network, ...]]
_Own = tuple[str, str, tuple[guard.Network, ...], int, int]


class Push:
    """From `start` to `stop`. An unexpected error in it stops the process."""

    def __init__(self, settings: config.Config, plan: bulk.Plan, log: FilteringBoundLogger) -> None:
        self._log = log
        self._notifier: notify.Notifier | None = None
        self._hub: hub.Hub | None = None
        self._folders = plan.state_folder, plan.out
        self._told, self._own = _hubs_of(settings, plan), _own_hub_of(settings, plan)
        self._make_notifier()
        self._make_hub()

    def start(self) -> None:
        """Tells what an earlier run left. Raises StateError, StateTooNewError."""
        for each in (self._notifier, self._hub):
            if each:
                each.start()

    def stop(self) -> None:
        """Breaks off; what nobody was told of is told by the next start."""
        for each in (self._hub, self._notifier):
            if each:
                each.stop()

    def change(self, settings: config.Config, plan: bulk.Plan) -> None:
        """Goes on by another configuration: what has others now is ended and begun anew, and goes on from the state.

        Begun after it has taken its place, so that what is told meanwhile is found by its start.
        """
        told, own = _hubs_of(settings, plan), _own_hub_of(settings, plan)
        if told != self._told:
            if self._notifier:
                self._notifier.stop()
            self._told = told
            self._make_notifier()
            if self._notifier:
                self._notifier.start()
        if own != self._own:
            if self._hub:
                self._hub.stop()
            self._own = own
            self._make_hub()
            try:
                if self._hub:
                    self._hub.start()
            except errors.StateError as error:
                self._own = self._hub = None  # the next change tries again
                self._log.error("the hub cannot be started, feedd goes on without it", reason=str(error))

    def _make_notifier(self) -> None:
        self._notifier = None
        if self._told:
            from feedd import notify  # with aiohttp, which takes 20 MB

            self._notifier = notify.Notifier(
                self._folders[0], notify.Hubs(*self._told), self._log, random=Random(), failed=self._failed
            )

    def _make_hub(self) -> None:
        self._hub = None
        if self._own:
            from feedd import hub

            public_url, agent, allowed, lease_s, most = self._own
            own = hub.Settings(
                public_url, agent, allowed, hub.Leases(usual_s=lease_s), hub.Limits(subscriptions=most)
            )
            self._hub = hub.Hub(*self._folders, own, self._log, random=Random(), failed=self._failed)

    def tell(self, topics: Sequence[str]) -> None:
        """These may have changed, and the state says so; from any thread, at hardly any cost."""
        if self._notifier:
            self._notifier.wake()
        if self._hub:
            self._hub.changed(topics)

    def before(self, app: ASGIApp) -> ASGIApp:
        """The application, with the built-in hub before it if there is one."""
        if self._hub is None:
            return app
        from feedd.web.hub import with_hub

        return with_hub(self._hub, app)

    def _failed(self, error: BaseException) -> None:
        self._log.critical("unexpected error, feedd stops", error=repr(error), exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)


def _agent(settings: config.Config) -> str:
    return f"feedd/{__version__} (+{settings.site.url})"


def _allowed(settings: config.Config) -> tuple[guard.Network, ...]:
    return tuple(map(ip_network, settings.hub.allow_networks))


def _hubs_of(settings: config.Config, plan: bulk.Plan) -> _Told | None:
    """Hubs elsewhere, as `notify.Hubs` takes them."""
    hubs = plan.settings.hubs
    return (hubs, _agent(settings), _allowed(settings)) if hubs else None


def _own_hub_of(settings: config.Config, plan: bulk.Plan) -> _Own | None:
    """The built-in hub: its URL's beginning, its name, networks let through, seconds of a lease, subscriptions."""
    if not plan.settings.own_hub:
        return None
    lease_s, most = settings.hub.lease_days * 86_400, settings.hub.max_subscriptions
    return plan.settings.public_url, _agent(settings), _allowed(settings), lease_s, most
