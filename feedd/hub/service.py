"""The built-in WebSub hub: a thread with an event loop that verifies subscribers and delivers feeds to them.

Made by the daemon where it is configured; asked by `feedd.web.hub`, told of changes by who publishes, whom it never
holds up. All that must outlive a kill is in a database of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable
from random import Random

from structlog.typing import FilteringBoundLogger

from feedd import background, connect, errors
from feedd.hub import contents, protocol, subscriptions
from feedd.hub.contents import Contents
from feedd.hub.deliver import Delivery
from feedd.hub.outgoing import Outgoing
from feedd.hub.settings import Settings, Sources
from feedd.hub.verify import Verifier

AGAIN_S = 5.0  # after the database could not be used


class Hub:
    """Works from `start` to `stop`. `failed` is called with an unexpected error, after which it does nothing."""

    def __init__(
        self, state_folder: str, out_folder: str, settings: Settings, log: FilteringBoundLogger, *, random: Random,
        failed: Callable[[BaseException], None], now: Callable[[], float] = time.time,
        lookup: connect.Lookup | None = None,
    ) -> None:
        self._folder, self._out, self._settings, self._log = state_folder, out_folder, settings, log
        self._random, self._failed, self._now, self._lookup = random, failed, now, lookup
        self._sources = Sources(settings.limits.requests_per_minute)
        self._store: subscriptions.Subscriptions | None = None
        self._verifier: Verifier | None = None
        self._delivery: Delivery | None = None
        self._stopping = False
        self._thread = background.Background("hub", self._work, failed=self._end)

    # -- called by other threads -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Delivers what an earlier run left, and then what comes. Raises StateError."""
        try:
            self._store = self._open()
        except sqlite3.Error as error:
            raise errors.StateError(f"{self._folder}: subscriptions cannot be opened: {error}") from error
        self._thread.start()

    def stop(self) -> None:
        """Breaks off; what no answer was noted for is delivered by the next start."""
        self._stopping = True
        self._thread.stop()

    def changed(self, urls: Iterable[str]) -> None:
        """Feeds at these URLs were written, perhaps with the bytes they had; from any thread, at no cost to it.

        Said once they are in place. What a kill keeps from being said, the next start finds out by itself.
        """
        told = tuple(urls)
        self._thread.soon(lambda: self._delivery.changed(told) if self._delivery else None)

    def ask(self, content_type: str, body: bytes, address: str, now: float) -> None:
        """Takes a request of a subscriber, to be verified later. Raises RefusedError.

        From one thread at a time, which does not wait. `address`: who asks; `now`: seconds of any steady clock.
        """
        wait_s = self._sources.take(address, now)
        if wait_s:
            raise protocol.RefusedError(429, "Too many requests from one address.", wait_s=int(wait_s) + 1)
        request = protocol.parse_request(content_type, body, self._settings.leases, self._settings.allowed)
        if request.mode == "subscribe" and not contents.is_topic(request.topic, self._settings.public_url, self._out):
            raise protocol.RefusedError(404, "hub.topic: no feed of this server has this URL as its own (rel=self).")
        verifier = self._verifier
        if verifier is None or verifier.waiting >= self._settings.limits.waiting:
            raise protocol.RefusedError(503, "This hub has too much to do.", wait_s=60)
        self._thread.soon(lambda: verifier.put(request))

    # -- the thread --------------------------------------------------------------------------------------------------

    def _end(self, error: BaseException) -> None:
        self._log.critical("unexpected error, the hub has ended", error=repr(error), exc_info=error)
        self._failed(error)

    async def _work(self, begun: Callable[[], None]) -> None:
        """Begins anew after faults of the database, for as long as it takes: publishing goes on without the hub."""
        while not self._stopping:
            try:
                self._store = self._store or self._open()
                self._store.check_writable()  # else what is delivered could not be noted, and would be sent for ever
                await self._serve(self._store, begun)
            except (BaseExceptionGroup, sqlite3.Error, errors.StateError) as error:
                fault = _fault(error)
                if fault is None:
                    raise
                if type(fault) is sqlite3.DatabaseError:
                    self._close()
                    self._set_aside(fault)
                else:
                    self._log.error("subscriptions cannot be used, the hub waits", reason=str(fault))
            finally:
                self._close()
            begun()
            await asyncio.sleep(AGAIN_S)

    async def _serve(self, store: subscriptions.Subscriptions, begun: Callable[[], None]) -> None:
        settings = self._settings
        async with Outgoing(settings.user_agent, settings.allowed, settings.timeout_s, self._lookup) as outgoing:
            delivery = Delivery(settings, store, outgoing, self._log, random=self._random, now=self._now)
            files = Contents(self._out, settings.public_url, store, delivery.behind)
            verifier = Verifier(
                self._out, settings, store, files, outgoing, self._log, now=self._now, renewed=delivery.behind
            )
            self._verifier, self._delivery = verifier, delivery
            begun()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(verifier.run())
                tasks.create_task(delivery.run(files))

    def _open(self) -> subscriptions.Subscriptions:
        """The database; a torn one is set aside. Raises StateError, and sqlite3.OperationalError."""
        try:
            return subscriptions.open_subscriptions(self._folder)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            return subscriptions.open_subscriptions(self._folder)

    def _set_aside(self, error: Exception) -> None:
        aside = subscriptions.set_aside(self._folder, int(self._now()))
        self._log.error("subscriptions are torn, the hub begins anew", reason=str(error), kept_as=aside)

    def _close(self) -> None:
        self._verifier = self._delivery = None
        store, self._store = self._store, None
        if store:
            store.close()


def _fault(error: BaseException) -> Exception | None:
    """What is wrong with the database or its disk, alone or first in a group of such; None for any other error."""
    if isinstance(error, BaseExceptionGroup):
        faults = [_fault(one) for one in error.exceptions]
        return None if None in faults else faults[0]
    if type(error) is sqlite3.DatabaseError or isinstance(error, sqlite3.OperationalError | errors.StateError):
        return error
    return None
