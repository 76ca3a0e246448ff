"""The outbox -> WebSub hubs: each is told of every change of a topic, once, and again until it has understood.

A thread with an event loop of its own, started by the daemon where hubs are configured. Waits without looking while
there is nothing to tell; never holds up who publishes. What it has to do is in the store, so a kill loses nothing:
a hub whose answer was not noted is told twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from random import Random
from typing import NoReturn, TypeVar

import aiohttp
import yarl
from msgspec import Struct
from structlog.typing import FilteringBoundLogger

from feedd import background, connect, errors, guard, retry
from feedd.store import Outbox, Ping, open_outbox
from feedd.store.sqlite import errors_in_words

AT_ONCE = 4  # requests to one hub
TROUBLE = 4  # failures in a row from which on it is the hub that fails, not a topic
REST = retry.Policy(first_s=30.0, longest_s=900.0)  # of a hub that fails
PATIENCE_S = 3_600.0  # the longest wait: the clock may be set meanwhile
NOTE_S = 0.05  # how long what was told waits to be noted
LOUD_S = 1.0  # a state that could not be used for about as long is worth a line
_WISHES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)  # about the hub, not the topic: RFC 6585, 9110

T = TypeVar("T")
Note = Callable[[Outbox], bool | None]


class Hubs(Struct, frozen=True):
    """What configuration says of hubs, as plain values. `allowed`: networks that are not public and yet let through."""

    urls: tuple[str, ...]
    user_agent: str
    allowed: tuple[guard.Network, ...] = ()
    timeout_s: float = 20.0
    policy: retry.Policy = retry.Policy()


class Answer(Struct, frozen=True):
    """What came of telling a hub. `error` is empty when it understood; `wish_s`: seconds it wants to be left alone."""

    error: str = ""
    wish_s: float | None = None
    of_the_hub: bool = False


class Health(Struct, frozen=True):
    """How a hub does: failures in a row, why, and until when it is left alone."""

    failures: int = 0
    reason: str = ""
    rest_until: float = 0.0

    def slots(self, now: float) -> int:
        """How many requests it may have at once: one, to try, if it has failed."""
        if now < self.rest_until:
            return 0
        return AT_ONCE if self.failures < TROUBLE else 1

    def after(self, answer: Answer, now: float, random: Random) -> Health:
        """Its health after one more answer."""
        if not answer.error:
            return Health()
        failures = self.failures + (now >= self.rest_until)  # else it was asked before it was known to fail
        until = now + retry.wait_s(REST, failures - TROUBLE + 1, random) if failures >= TROUBLE else 0.0
        wish = now + (answer.wish_s or 0.0) if answer.of_the_hub else 0.0
        return Health(failures, answer.error, max(self.rest_until, until, wish))


class _Ledger:
    """The outbox as an event loop may use it: never waits inside SQLite, and writes together what comes together.

    Many small transactions would make who publishes wait for the lock. Belongs to the loop's thread.
    """

    def __init__(self, folder: str, log: FilteringBoundLogger) -> None:
        self._folder, self._log = folder, log
        self._box: Outbox | None = None
        self._notes: list[tuple[Note, asyncio.Future[bool]]] = []
        self._noted = asyncio.Event()

    async def ask(self, verb: Callable[[Outbox], T]) -> T:
        """What a verb returns, as soon as the state can be used: others may write to it just now."""
        wait_s, waited_s, told = 0.01, 0.0, False
        while True:
            try:
                return self._use(verb)
            except errors.StateError as error:
                self.close()
                if waited_s >= LOUD_S and not told:
                    self._log.warning("hubs wait, for the state cannot be used", reason=str(error))
                    told = True
            await asyncio.sleep(wait_s)
            waited_s += wait_s
            wait_s = min(wait_s * 2, 2.0)

    async def note(self, note: Note) -> bool:
        """What a writing verb returns, once it is written; with others, a little later."""
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._notes.append((note, written))
        self._noted.set()
        return await written

    async def write_notes(self) -> NoReturn:
        """Writes what is noted, as long as there is a loop."""
        while True:
            await self._noted.wait()
            await asyncio.sleep(NOTE_S)
            self._noted.clear()
            await self.ask(self._write)

    def write_last_notes(self) -> None:
        """Writes what is noted if that can be done at once; what is not will be told again."""
        if self._notes:
            with contextlib.suppress(errors.StateError):
                self._use(self._write)

    def close(self) -> None:
        """Holds nothing of a state that may be set aside; it is opened again when it is needed."""
        box, self._box = self._box, None
        if box:
            box.close()

    def _use(self, verb: Callable[[Outbox], T]) -> T:
        with errors_in_words():
            self._box = self._box or open_outbox(self._folder)
            return verb(self._box)

    def _write(self, box: Outbox) -> None:
        with box.transaction():
            results = [note(box) for note, _ in self._notes]
        for (_, written), result in zip(self._notes, results, strict=True):
            if not written.done():  # else broken off
                written.set_result(bool(result))
        self._notes = []


class Notifier:
    """Tells hubs from `start` to `stop`. `failed` is called with an unexpected error, after which it does nothing."""

    def __init__(
        self, state_folder: str, hubs: Hubs, log: FilteringBoundLogger, *, random: Random,
        failed: Callable[[BaseException], None], now: Callable[[], float] = time.time,
        lookup: connect.Lookup | None = None,
    ) -> None:
        self._hubs, self._log, self._random, self._now = hubs, log, random, now
        self._failed, self._lookup = failed, lookup
        self._ledger = _Ledger(state_folder, log)
        self._telling = 0
        self._health = dict.fromkeys(hubs.urls, Health())
        self._news = {hub: asyncio.Event() for hub in hubs.urls}
        self._thread = background.Background("notify", self._tell_all, failed=self._end)

    # -- called by other threads -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Tells what an earlier run left, and then what comes."""
        self._thread.start()

    def wake(self) -> None:
        """There may be more to tell; from any thread, at no cost to it."""
        self._thread.soon(self._look_again)

    def stop(self) -> None:
        """Breaks off; what no answer was noted for is told by the next start."""
        self._thread.stop()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _end(self, error: BaseException) -> None:
        self._log.critical("unexpected error, hubs are not told any more", error=repr(error), exc_info=error)
        self._failed(error)

    async def _tell_all(self, begun: Callable[[], None]) -> None:
        begun()
        connector = aiohttp.TCPConnector(
            limit=0, socket_factory=connect.socket_factory(self._hubs.allowed),
            resolver=connect.Resolver(self._lookup) if self._lookup else connect.Resolver(),
        )
        session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=self._hubs.timeout_s), auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._hubs.user_agent, "Accept-Encoding": "identity"},
        )
        try:
            async with session:
                await self._ledger.ask(lambda box: box.drop_other_hubs(self._hubs.urls))
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._ledger.write_notes())
                    for hub in self._hubs.urls:
                        tasks.create_task(self._serve(hub, session, tasks))
        finally:
            self._ledger.write_last_notes()
            self._ledger.close()

    def _look_again(self) -> None:
        for news in self._news.values():
            news.set()

    async def _serve(self, hub: str, session: aiohttp.ClientSession, tasks: asyncio.TaskGroup) -> None:
        """Gives out what one hub is to be told, as it comes due and as fast as the hub may be asked."""
        news = self._news[hub]
        asking, mine = set[int](), set[int]()  # whose answer is not there; whose answer is not noted, these included

        def answered(ping: Ping) -> None:
            asking.discard(ping.id)
            news.set()

        def over(ping: Ping, _task: asyncio.Task[None]) -> None:
            mine.discard(ping.id)
            self._telling -= 1
            answered(ping)

        while True:
            news.clear()
            rows = await self._ledger.ask(lambda box: box.list_pings(hub, AT_ONCE + len(mine)))
            waiting = [ping for ping in rows if ping.id not in mine]
            now, health = self._now(), self._health[hub]
            free = max(health.slots(now) - len(asking), 0)
            due = [ping for ping in waiting[:free] if ping.next_at <= now]
            for ping in due:
                asking.add(ping.id)
                mine.add(ping.id)
                self._telling += 1
                task = tasks.create_task(self._tell(ping, session, partial(answered, ping)))
                task.add_done_callback(partial(over, ping))
            if not self._telling:
                self._ledger.close()
            patience_s = PATIENCE_S  # or until there is news: of a change, or of an answer
            if len(waiting) > len(due) and (free > len(due) or not asking):
                patience_s = min(max(waiting[len(due)].next_at, health.rest_until) - now, PATIENCE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(patience_s, 0.01)):
                    await news.wait()

    async def _tell(self, ping: Ping, session: aiohttp.ClientSession, answered: Callable[[], None]) -> None:
        """One request, and what becomes of the ping by its answer."""
        answer = await self._post(ping, session)
        now, before = self._now(), self._health[ping.hub]
        self._health[ping.hub] = before.after(answer, now, self._random)
        answered()
        told = {"feed": ping.feed, "url": ping.url, "hub": ping.hub, "attempts": ping.attempts + 1}
        if not answer.error:
            await self._ledger.note(lambda box: box.drop_ping(ping))
            self._log.info("hub told", **told, after_s=max(round(now) - ping.since_at, 0))
            return
        policy = self._hubs.policy
        wait_s = max(retry.wait_s(policy, ping.attempts + 1, self._random), answer.wish_s or 0.0)
        if now + wait_s >= ping.since_at + policy.give_up_s:
            if await self._ledger.note(lambda box: box.drop_ping(ping)):
                self._log.error("hub not told, given up", **told, reason=answer.error)
            return
        next_at = math.ceil(now + wait_s)
        await self._ledger.note(lambda box: box.put_ping_failure(ping, next_at, answer.error))
        is_news = answer.error not in (ping.error, before.reason)
        self._log.log(
            30 if is_news else 10, "hub not told, it is tried again", **told, again_in_s=round(wait_s),
            reason=answer.error,
        )

    async def _post(self, ping: Ping, session: aiohttp.ClientSession) -> Answer:
        """Tells a hub: WebSub leaves open how; these are the parameters that hubs have in common.

        PubSubHubbub 0.4 (section 7.1) has hub.url, later hubs hub.topic, and all pass over what they do not know.
        """
        form = {"hub.mode": "publish", "hub.url": ping.url, "hub.topic": ping.url}
        try:
            hub = yarl.URL(ping.hub, encoded=True)
            async with session.post(hub, data=form, allow_redirects=False) as answer:
                if 200 <= answer.status < 300:
                    return Answer()
                text = _first_line(await answer.content.read(512))
                said = f": {text}" if text else ""
                wish_s = retry.retry_after_s(answer.headers.get("Retry-After"), self._now())
                return Answer(f"it answered {answer.status}{said}", wish_s, answer.status in _WISHES)
        except TimeoutError:
            return Answer(f"no answer within {self._hubs.timeout_s:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return Answer(f"its certificate is not valid: {error.certificate_error}"[:200])
        except aiohttp.ClientConnectorError as error:
            refused = error.os_error
            if isinstance(refused, guard.AddressRefusedError):
                return Answer(f"{refused}: {refused.address} is {refused.reason}; see [hub] allow_networks")
            return Answer(f"it cannot be reached: {refused.strerror or refused}")
        except aiohttp.ServerDisconnectedError:
            return Answer("it closed the connection without an answer")
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:  # uvloop raises the last for some
            return Answer(f"{type(error).__name__}: {error}"[:200])


def _first_line(body: bytes) -> str:
    """What a hub says of a failure, fit for a log and a page: printable, one line, 120 characters."""
    lines: Sequence[str] = body.decode("utf-8", "replace").strip().splitlines()
    line = lines[0] if lines else ""
    return "" if line.startswith("<") else "".join(c for c in line if c.isprintable())[:120]
