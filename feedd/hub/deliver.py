"""Changed feeds -> every subscriber's callback, as whole feeds, bounded in number and pace, until each has the newest.

What is left to do is in the database, read in pages: ten thousand subscribers take no more memory than a hundred. Who
failed is tried again by a lane of its own, so that dead subscribers hold up no others. Used by the hub's thread alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
import time
from collections.abc import Callable
from random import Random

from structlog.typing import FilteringBoundLogger

from feedd import retry
from feedd.hub import protocol
from feedd.hub.contents import Contents
from feedd.hub.outgoing import Outcome, Outgoing
from feedd.hub.settings import Settings
from feedd.hub.subscriptions import Delivered, Due, Subscriptions

FRESH, AGAIN = 48, 16  # deliveries at once: to who did not fail last time, to who did
PER_HOST = 16
TROUBLE = 3  # connections in a row that failed, from which on it is the host that fails
REST = retry.Policy(first_s=30.0, longest_s=900.0)  # of such a host
PAGE = 256  # rows
NOTE_S = 0.05  # how long results wait to be written together
LAPSE_S = 60.0  # between looks for leases that are over
_PASS_S = 0.02  # between looks at a topic whose subscribers are all under way


class Host:
    """Where callbacks are: deliveries under way, and how it does."""

    def __init__(self) -> None:
        self.busy = self.failures = 0
        self.reason, self.rest_until = "", 0.0

    def slots(self) -> int:
        """How many deliveries it may have at once: one, to try, if it has failed."""
        return PER_HOST if self.failures < TROUBLE else 1


class Delivery:
    """Delivers while `run` runs."""

    def __init__(
        self, settings: Settings, store: Subscriptions, outgoing: Outgoing, log: FilteringBoundLogger, *,
        random: Random, now: Callable[[], float],
    ) -> None:
        self._settings, self._store, self._outgoing, self._log = settings, store, outgoing, log
        self._random, self._now = random, now
        self._hub_url = protocol.hub_url(settings.public_url)
        self._topics: dict[int, None] = {}  # to be gone through, in this order
        self._changed: dict[str, None] = {}
        self._busy: set[int] = set()  # subscriptions whose delivery is under way, or not noted
        self._results: list[Delivered] = []
        self._hosts: dict[str, Host] = {}
        self._lanes = (asyncio.Semaphore(FRESH), asyncio.Semaphore(AGAIN))
        self._look, self._fresh, self._again, self._noted, self._over = (asyncio.Event() for _ in range(5))

    def changed(self, urls: tuple[str, ...]) -> None:
        """These files were written; perhaps somebody subscribes to them."""
        self._changed.update(dict.fromkeys(urls))
        self._look.set()

    def behind(self, topic_id: int) -> None:
        """Subscribers of a topic may not have its newest version."""
        self._topics[topic_id] = None
        self._fresh.set()

    async def run(self, files: Contents) -> None:
        """Delivers what an earlier run left, and then what comes."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._write_results())
                tasks.create_task(self._look_at_files(files))
                tasks.create_task(self._serve_fresh(files, tasks))
                tasks.create_task(self._serve_again(files, tasks))
                tasks.create_task(self._drop_ended())
        finally:
            with contextlib.suppress(sqlite3.Error):  # nobody reads it any more; what is lost is delivered again
                self.write()

    # -- what there is to do -----------------------------------------------------------------------------------------

    async def _look_at_files(self, files: Contents) -> None:
        """Every topic once, for what was written before a kill; then those that are said to have changed."""
        for topic_id in self._store.list_behind(int(self._now())):
            self.behind(topic_id)
        after = 0
        while topics := self._store.list_topics(after, PAGE):
            after = topics[-1].id
            for topic in topics:
                files.look(topic.url)
                await asyncio.sleep(0)
        while True:
            await self._look.wait()
            self._look.clear()
            while self._changed:
                url = next(iter(self._changed))
                del self._changed[url]
                files.look(url)
                await asyncio.sleep(0)

    async def _drop_ended(self) -> None:
        while True:
            now = int(self._now())
            with self._store.transaction():
                ended = self._store.drop_ended(now)
            if ended:
                self._log.info("leases ended", subscriptions=ended)
            for name, host in list(self._hosts.items()):
                if not host.busy and host.rest_until <= now:
                    del self._hosts[name]
            await asyncio.sleep(LAPSE_S)

    async def _serve_fresh(self, files: Contents, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            self._over.clear()
            began, left = time.monotonic(), []
            for topic_id in list(self._topics):
                del self._topics[topic_id]
                if await self._go_through(topic_id, files, tasks):
                    left.append(topic_id)
            for topic_id in left:
                self.behind(topic_id)
            if left:  # rows that were passed over are read again, but not all the time
                await self._over.wait()
            await asyncio.sleep(max(_PASS_S, min(time.monotonic() - began, 0.2)))

    async def _go_through(self, topic_id: int, files: Contents, tasks: asyncio.TaskGroup) -> bool:
        """Begins deliveries to all subscribers of a topic but those that must wait; whether there are such."""
        after, is_left = 0, False
        while True:
            self.write()
            rows = self._store.list_fresh(topic_id, after, int(self._now()), PAGE)
            if not rows:
                return is_left
            for due in rows:
                after = due.id
                if self._is_noted(due):
                    continue
                if self._must_wait(due):
                    is_left = True
                    continue
                await self._begin(due, 0, files, tasks)
                await asyncio.sleep(1 / self._settings.per_second)

    async def _serve_again(self, files: Contents, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._again.clear()
            self.write()
            now = self._now()
            rows = self._store.list_retries(int(now), 4 * PAGE)
            begun = False
            for due in rows:
                if not self._is_noted(due) and not self._must_wait(due):
                    begun = True
                    await self._begin(due, 1, files, tasks)
            if begun:
                continue
            at = self._store.next_retry(int(now))
            patience_s = LAPSE_S if at is None else min(max(at - now, _PASS_S), LAPSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._again.wait()
            await asyncio.sleep(_PASS_S)

    def _is_noted(self, due: Due) -> bool:
        """Whether a delivery was noted as failed without a try, as its host rests."""
        host, now = self._hosts.get(due.host), self._now()
        if host is None or host.rest_until <= now or due.id in self._busy:
            return False
        self._note(Delivered(due.id, error=host.reason, next_at=self._next_at(due, host.rest_until - now)))
        self._busy.add(due.id)
        return True

    def _must_wait(self, due: Due) -> bool:
        """Whether another delivery has to end before this one begins: its own, or one to its host."""
        host = self._hosts.get(due.host)
        return due.id in self._busy or (host is not None and host.busy >= host.slots())

    # -- deliveries --------------------------------------------------------------------------------------------------

    async def _begin(self, due: Due, lane: int, files: Contents, tasks: asyncio.TaskGroup) -> None:
        await self._lanes[lane].acquire()
        host = self._hosts.setdefault(due.host, Host())
        host.busy += 1
        self._busy.add(due.id)
        tasks.create_task(self._deliver(due, host, lane, files))

    async def _deliver(self, due: Due, host: Host, lane: int, files: Contents) -> None:
        version = 0
        try:
            content = files.get(due.topic)
            if content is None:
                outcome = Outcome(error="the feed has no file")
            else:
                version = content.topic.version
                headers = protocol.delivery_headers(due.topic, self._hub_url, content.data, due.secret)
                outcome = await self._outgoing.post(due.callback, content.data, headers, self._now())
                self._judge(host, outcome)
        finally:
            host.busy -= 1
            self._lanes[lane].release()
        self._note(self._result(due, version, outcome))
        self._over.set()
        if due.attempts and not outcome.error:  # the topic may have changed again, and is not gone through for it
            self.behind(due.topic_id)

    def _judge(self, host: Host, outcome: Outcome) -> None:
        """A host that answers, whatever it is, does not rest. What was under way when it began to is one failure."""
        now = self._now()
        if outcome.status:
            host.failures, host.rest_until = 0, 0.0
        elif host.rest_until <= now:
            host.failures += 1
            if host.failures >= TROUBLE:
                host.reason = outcome.error
                host.rest_until = now + retry.wait_s(REST, host.failures - TROUBLE + 1, self._random)

    def _result(self, due: Due, version: int, outcome: Outcome) -> Delivered:
        about = {"url": due.topic, "host": due.host}
        if outcome.status == 410:  # section 7: the subscription may be taken for ended
            self._log.info("subscription ended by its callback", **about)
            return Delivered(due.id, is_gone=True)
        if outcome.is_success:
            self._log.debug("delivered", **about, version=version)
            return Delivered(due.id, version)
        next_at = self._next_at(due, outcome.wish_s)
        self._log.log(
            10 if due.attempts else 20, "not delivered, it is tried again", **about, attempts=due.attempts + 1,
            again_in_s=round(next_at - self._now()), reason=outcome.error,
        )
        return Delivered(due.id, error=outcome.error, next_at=next_at)

    def _next_at(self, due: Due, wish_s: float) -> int:
        wait_s = retry.wait_s(self._settings.policy, due.attempts + 1, self._random)
        return math.ceil(self._now() + max(wait_s, wish_s))

    # -- results -----------------------------------------------------------------------------------------------------

    def _note(self, result: Delivered) -> None:
        self._results.append(result)
        self._noted.set()

    async def _write_results(self) -> None:
        while True:
            await self._noted.wait()
            await asyncio.sleep(NOTE_S)
            self.write()
            self._again.set()  # there may be a failure, to be tried again sooner than all others

    def write(self) -> None:
        """Writes what came of deliveries; what is not written by a kill is delivered again."""
        self._noted.clear()
        if self._results:
            with self._store.transaction():
                self._store.apply(self._results)
            self._busy.difference_update(result.id for result in self._results)
            self._results = []
