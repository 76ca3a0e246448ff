"""Who is told that feeds changed: WebSub hubs elsewhere, and the built-in hub's subscribers, as configured.

Edge: built by the daemon, between the state and the server. Where nobody is to be told, nothing is imported or run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_network
from random import Random
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from feedd import __version__, bulk, config
from feedd.web.front import ASGIApp

if TYPE_CHECKING:
    from feedd import hub, notify


class Push:
    """From `start` to `stop`. An unexpected error in it stops the process."""

    def __init__(self, settings: config.Config, plan: bulk.Plan, log: FilteringBoundLogger) -> None:
        self._log = log
        self._notifier: notify.Notifier | None = None
        self._hub: hub.Hub | None = None
        agent = f"feedd/{__version__} (+{settings.site.url})"
        allowed = tuple(map(ip_network, settings.hub.allow_networks))
        if plan.settings.hubs:
            from feedd import notify  # with aiohttp, which takes 20 MB

            told = notify.Hubs(plan.settings.hubs, agent, allowed)
            self._notifier = notify.Notifier(plan.state_folder, told, log, random=Random(), failed=self._failed)
        if plan.settings.own_hub:
            from feedd import hub

            own = hub.Settings(
                plan.settings.public_url, agent, allowed, hub.Leases(usual_s=settings.hub.lease_days * 86_400),
                hub.Limits(subscriptions=settings.hub.max_subscriptions),
            )
            self._hub = hub.Hub(plan.state_folder, plan.out, own, log, random=Random(), failed=self._failed)

    def start(self, life: ExitStack) -> None:
        """Tells what an earlier run left; stops when `life` ends. Raises StateError, StateTooNewError."""
        for each in (self._notifier, self._hub):
            if each:
                each.start()
                life.callback(each.stop)

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

