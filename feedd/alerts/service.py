"""Looks, decides, notes, delivers: from troubles to messages that were taken, each once, and again until it was.

A thread with an event loop of its own, started by the daemon where a way is configured; it never holds up who
publishes. What was told and what is to be delivered is in a database: a kill loses nothing, and repeats only a message
whose taking was not noted. Where that cannot be written, as on a full disk, which is just what is to be told, it goes
on from memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random
from uuid import uuid4

from structlog.typing import FilteringBoundLogger

from feedd import background, errors, retry, troubles
from feedd.alerts import message
from feedd.alerts.look import Look
from feedd.alerts.ways import Way
from feedd.store.sqlite import errors_in_words
from feedd.store.told import Notice, Told, open_or_renew

RETRY = retry.Policy(first_s=15.0, longest_s=900.0, give_up_s=86_400.0)
POLICY = troubles.Policy()
PATIENCE_S = 3_600.0  # the longest wait: the clock may be set meanwhile


class _Memory:
    """What is known and what is to be delivered; on disk, too, as soon as that can be written."""

    def __init__(self, folder: str, log: FilteringBoundLogger) -> None:
        self._folder, self._log = folder, log
        self._book: Told | None = None
        self._keys, self._places = set[str](), set[tuple[int, str]]()  # what of it is not on disk yet
        self._is_worth_a_line = True
        self.known: dict[str, troubles.Known] = {}
        self.notices: dict[tuple[int, str], Notice] = {}

    def load(self, ways: Sequence[str], now: int) -> None:
        """What an earlier run left; without what is for ways that are configured no more."""
        with self._in_words():
            self._open(now)
        for place in [place for place in self.notices if place[1] not in ways]:
            self.drop(place)

    def apply(self, decision: troubles.Decision) -> None:
        """Remembers what was decided."""
        for each in decision.put:
            self.known[each.key] = each
        for key in decision.dropped:
            self.known.pop(key)
        self._keys |= {each.key for each in decision.put} | set(decision.dropped)

    def put(self, notice: Notice) -> None:
        """It is to be delivered, or tried again."""
        self.notices[notice.seq, notice.way] = notice
        self._places.add((notice.seq, notice.way))

    def drop(self, place: tuple[int, str]) -> None:
        """It was delivered, or given up."""
        self.notices.pop(place)
        self._places.add(place)

    def write(self, now: int) -> None:
        """Puts it on disk; if that cannot be done, then with the next."""
        if not (self._keys or self._places):
            return
        with self._in_words():
            book = self._book or self._open(now)
            with errors_in_words():
                book.apply(
                    put=[self.known[key] for key in self._keys if key in self.known],
                    dropped=[key for key in self._keys if key not in self.known],
                    notices=[self.notices[place] for place in self._places if place in self.notices],
                    done=[place for place in self._places if place not in self.notices],
                )
            self._keys, self._places, self._is_worth_a_line = set(), set(), True

    def next_seq(self, now: float) -> int:
        """The place of the next message: behind all that wait, also those on a disk that cannot be read now."""
        return max(int(now * 1_000), max((seq for seq, _ in self.notices), default=0) + 1)

    def first(self, way: str) -> Notice | None:
        """What a way is to be told before anything else: no end is told before its beginning."""
        return min((each for each in self.notices.values() if each.way == way), key=lambda x: x.seq, default=None)

    def close(self) -> None:
        """Lets go of the file."""
        book, self._book = self._book, None
        if book:
            book.close()

    def _open(self, now: int) -> Told:
        """The database. What is in memory is newer than what an earlier run left there."""
        self._book, aside = open_or_renew(self._folder, now)
        if aside:
            self._log.error("what was told is torn, troubles that are there are told again", kept_as=aside)
        with errors_in_words():
            known, notices = self._book.list_known(), self._book.list_notices()
        self.known = {each.key: each for each in known if each.key not in self._keys} | self.known
        self.notices = {(x.seq, x.way): x for x in notices if (x.seq, x.way) not in self._places} | self.notices
        return self._book

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        """A disk that cannot be written is worth a line, the first time."""
        try:
            yield
        except errors.StateError as error:
            self.close()
            if self._is_worth_a_line:
                self._is_worth_a_line = False
                self._log.warning("what was told cannot be noted, alerts go on from memory", reason=str(error))


class Alerts:
    """From `start` to `stop`. `failed` is called with an unexpected error, after which it does nothing."""

    def __init__(
        self, folder: str, look: Look, ways: Sequence[Way], sender: message.Sender, log: FilteringBoundLogger, *,
        random: Random, failed: Callable[[BaseException], None], policy: troubles.Policy = POLICY,
        retries: retry.Policy = RETRY, now: Callable[[], float] = time.time,
    ) -> None:
        self._look, self._ways, self._sender, self._log = look, ways, sender, log
        self._random, self._failed, self._policy, self._retries, self._now = random, failed, policy, retries, now
        self._memory = _Memory(folder, log)
        self._news = asyncio.Event()
        self._is_due = False
        self._thread = background.Background("alerts", self._run, failed=self._end)

    # -- called by other threads -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Delivers what an earlier run left, and then what comes."""
        self._thread.start()

    def look(self) -> None:
        """It is time to look; from any thread, at no cost to it."""
        self._thread.soon(self._ask)

    def stop(self) -> None:
        """Breaks off; what was not taken for sure is told by the next start."""
        self._thread.stop()

    # -- the thread --------------------------------------------------------------------------------------------------

    def _end(self, error: BaseException) -> None:
        self._log.critical("unexpected error, nobody is alerted any more", error=repr(error), exc_info=error)
        self._failed(error)

    def _ask(self) -> None:
        self._is_due = True
        self._news.set()

    async def _run(self, begun: Callable[[], None]) -> None:
        self._memory.load([way.name for way in self._ways], self._second())
        begun()
        try:
            async with asyncio.TaskGroup() as tasks:
                news = {way.name: asyncio.Event() for way in self._ways}
                for way in self._ways:
                    tasks.create_task(self._serve(way, news[way.name]))
                while True:
                    await self._news.wait()
                    self._news.clear()
                    if self._is_due:
                        self._is_due = False
                        self._decide()
                        for each in news.values():
                            each.set()
        finally:
            self._memory.write(self._second())
            self._memory.close()

    def _second(self) -> int:
        return int(self._now())

    def _decide(self) -> None:
        """One look, and what follows from it; noted before anybody is told."""
        now, memory = self._second(), self._memory
        looked = self._look.look(troubles.open_keys(memory.known.values()), now)
        decision = troubles.decide(
            memory.known, looked.troubles, now=now, policy=self._policy, blind=looked.blind
        )
        memory.apply(decision)
        if decision.told or decision.resolved:
            body = message.encode(
                self._sender, decision.told, decision.resolved, message_id=uuid4().hex, now=now
            )
            seq = memory.next_seq(self._now())
            for way in self._ways:
                memory.put(Notice(seq, way.name, now, body))
            for kind in troubles.KINDS:
                if told := [each.text for each in decision.told if each.kind == kind]:
                    self._log.warning("trouble", kind=kind, count=len(told), first=told[0])
                if over := [each.text for each in decision.resolved if each.kind == kind]:
                    self._log.info("trouble resolved", kind=kind, count=len(over), first=over[0])
        memory.write(now)

    async def _serve(self, way: Way, news: asyncio.Event) -> None:
        """Delivers by one way what there is, in its order."""
        while True:
            news.clear()
            notice, patience_s = self._memory.first(way.name), PATIENCE_S
            if notice:
                wait_s = notice.next_at - self._now()
                if not 0 < wait_s <= self._retries.longest_s * 2:  # a clock that was set back is not waited for
                    await self._tell(way, notice)
                    continue
                patience_s = min(wait_s, PATIENCE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await news.wait()

    async def _tell(self, way: Way, notice: Notice) -> None:
        answer = await way.tell(notice.body)
        now, attempts = self._now(), notice.attempts + 1
        about = {"way": way.name, "to": way.place, "attempts": attempts}
        if not answer.error:
            self._memory.drop((notice.seq, notice.way))
            self._log.info("alert delivered", **about)
            self._log.debug("alert taken", **about, answer=answer.said)
        elif now >= notice.at + self._retries.give_up_s:
            self._memory.drop((notice.seq, notice.way))
            self._log.error("alert not delivered, given up", **about, reason=answer.error, answer=answer.said)
        else:
            wait_s = retry.wait_s(self._retries, attempts, self._random)
            again = Notice(
                notice.seq, notice.way, notice.at, notice.body, attempts, math.ceil(now + wait_s), answer.error
            )
            self._memory.put(again)
            self._log.log(
                30 if answer.error != notice.error else 10, "alert not delivered, it is tried again", **about,
                again_in_s=round(wait_s), reason=answer.error, answer=answer.said,
            )
        self._memory.write(int(now))
