"""Due links -> asked for, politely and many hosts at once -> judged -> noted: one run, in the order of its steps.

Each host has a queue of jobs, and a link that is redirected moves to the next host's: nobody holds one host while
waiting for another. What follows from an answer is in `exchange`, the store in `ledger`; here are turns, time, and the
question whether it is us. Called by `work`.
"""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Protocol

from feedd.freshness.states import Answer, Request
from feedd.linkcheck import follow, network
from feedd.linkcheck.exchange import Exchanges
from feedd.linkcheck.ledger import WRITE_S, Ledger, Links
from feedd.linkcheck.queues import Job, Queue
from feedd.linkcheck.settings import Plan, Progress, Summary

ROBOTS_BYTES = 512_000  # RFC 9309, section 2.5: at least 500 KiB
KEEP_S = 3.0  # a connection is not worth keeping for longer
_COLLECT = (50_000, 20, 20)  # thresholds of `gc`, the first in objects
_LOG_PAGES = 16_000  # 64 MB: no more than a run that is to stop may still write to its place


class Get(Protocol):
    """`fetch.Fetcher.get`: one request, which never fails."""

    async def __call__(self, request: Request, *, body_bytes: int = 0, keep: bool = True) -> Answer: ...


async def run(
    plan: Plan, links: Links, get: Get, *, now: Callable[[], float], random: Random, stop: asyncio.Event | None = None,
    progress: Callable[[Progress], None] | None = None, by: str = "schedule", only: Sequence[int] | None = None,
) -> Summary:
    """Checks what is due, or the links with the ids `only`, due or not; returns what came of it.

    `now`: seconds since 1970 UTC. When `stop` is set, requests are broken off: what was answered is noted, nothing
    else. `progress` is called as results are written. Raises what the store raises.
    """
    with links.loading(_LOG_PAGES), _collecting_seldom():
        return await _Run(plan, links, get, now, random, stop or asyncio.Event(), progress).go(by, only)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """A run makes hardly any cycles, and looking for some among all that is in memory takes some 7 % of its time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class _Run:
    """One run: workers that take turns, one who reads what is answered, a leader who knows when there are none left."""

    def __init__(
        self, plan: Plan, links: Links, get: Get, now: Callable[[], float], random: Random, stop: asyncio.Event,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._plan, self._get, self._now, self._stop, self._progress = plan, get, now, stop, progress
        self._loop = asyncio.get_running_loop()
        # Gaps are kept by a clock that nobody sets; it says what `now` says unless somebody sets that meanwhile.
        self._offset = now() - self._loop.time()
        self._began = self._clock()
        self._ledger = Ledger(links, now)
        self._work = Exchanges(plan, self._ledger, now=now, clock=self._clock, random=random)
        self._idle: list[asyncio.Future[None]] = []  # workers without a turn
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._news = asyncio.Event()  # for the leader
        self._answers: deque[tuple[Queue, Job, Answer, float, float]] = deque()  # not read yet; from when to when
        self._answered = asyncio.Event()
        self._in_flight = 0
        self._closing = self._suspended = self._unreachable = False

    def _clock(self) -> float:
        return self._loop.time() + self._offset

    async def go(self, by: str, only: Sequence[int] | None) -> Summary:
        """The run."""
        run_id, was_ended = self._ledger.begin(by)
        work = self._work
        # After a kill it is not known whom it asked last: then nobody is asked before the gap is over.
        due = self._ledger.due_by_host(self._plan.max_links, only)
        work.begin(due, not_before=0.0 if was_ended else self._began)
        work.deadline = self._began + self._plan.max_run_s
        closing = self._loop.call_later(self._plan.max_run_s, self._close)
        try:
            await self._until_over()
        finally:
            closing.cancel()
            if self._timer:
                self._timer.cancel()
            try:
                self._read_answers()
            finally:
                work.hosts.remember_all()
                self._ledger.flush()
        lapsed = self._ledger.lapse()
        summary = self._summary(lapsed)
        counts = {
            "checked": summary.checked, "requests": summary.requests, "bytes": summary.bytes,
            "put_off": summary.put_off, "left": summary.left, "lapsed": lapsed, "unreachable": int(summary.unreachable),
            "stopped": int(summary.stopped), "changed": sum(summary.changed.values()), **summary.verdicts,
        }  # fmt: skip
        self._ledger.finish(run_id, counts)
        self._tell()
        return summary

    async def _until_over(self) -> None:
        """Until nothing is left to do, or the stop is asked for."""
        try:
            async with asyncio.TaskGroup() as tasks:
                leader = tasks.create_task(self._lead())
                others = [tasks.create_task(self._take_turns()) for _ in range(self._plan.at_once)]
                others += [tasks.create_task(self._follow_up()), tasks.create_task(self._write_notes())]
                stopping = tasks.create_task(self._stop.wait())
                await asyncio.wait((leader, stopping), return_when=asyncio.FIRST_COMPLETED)
                for task in (leader, stopping, *others):
                    task.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    # -- turns -------------------------------------------------------------------------------------------------------

    async def _take_turns(self) -> None:
        """A worker: asks whichever host may be asked now, and waits when there is none."""
        while True:
            queue = None if self._closing or self._suspended else self._work.take()
            if queue is None:
                self._look_whether_over()
                free: asyncio.Future[None] = self._loop.create_future()
                self._idle.append(free)
                self._wake_others()
                await free
                continue
            self._wake_others()
            job = self._work.pick(queue)
            if job is None:
                self._work.leave(queue)
                await asyncio.sleep(0)
                continue
            await self._ask(queue, job)
            self._answered.set()
            await asyncio.sleep(0)  # what follows from it comes first

    async def _ask(self, queue: Queue, job: Job) -> None:
        """One exchange with a host whose turn it is; it is under way until its answer was read."""
        request = self._work.request(queue, job)
        began = self._clock()
        keep = queue.gap_s <= KEEP_S and _is_followed(queue, job)
        self._in_flight += 1
        try:
            answer = await self._get(request, body_bytes=ROBOTS_BYTES if job.kind == "robots" else 0, keep=keep)
        except asyncio.CancelledError:
            self._in_flight -= 1
            self._work.broken_off(queue)
            raise
        self._answers.append((queue, job, answer, began, self._clock()))

    async def _follow_up(self) -> None:
        """Reads answers as they come, all that are there at once; to go from asking to reading and back with each of
        them would take a fifth more of a processor's time.
        """
        while True:
            await self._answered.wait()
            self._answered.clear()
            self._read_answers()
            if self._work.bytes >= self._plan.max_bytes:
                self._closing = True
            if self._work.doubts.is_suspicious:
                self._suspended = True
            if self._suspended:
                self._news.set()
            self._look_whether_over()
            self._wake_others()

    def _read_answers(self) -> None:
        """What follows from the answers that are there; the turns of their hosts are over."""
        read = []
        while self._answers:
            queue, job, answer, began, ended = self._answers.popleft()
            self._in_flight -= 1
            self._work.answered(queue, job, answer, began, ended)
            read.append(queue)
        for queue in read:
            self._work.leave(queue)

    def _wake_others(self) -> None:
        """Sees to it that an idle worker wakes when the next host may be asked."""
        if not self._idle or self._closing or self._suspended:
            return
        at = self._work.turns.next_at()
        if at is None:
            return
        wait_s = at - self._clock()
        if wait_s <= 0:
            self._wake()
        elif self._timer is None or self._rings_at > at:
            if self._timer:
                self._timer.cancel()
            self._timer, self._rings_at = self._loop.call_later(wait_s, self._ring), at

    def _ring(self) -> None:
        self._timer = None
        self._wake()

    def _wake(self) -> None:
        while self._idle:
            worker = self._idle.pop()
            if not worker.done():  # else it was cancelled
                worker.set_result(None)
                return

    def _look_whether_over(self) -> None:
        """Tells the leader when nothing is going on, and nothing will by itself."""
        if not self._in_flight and (self._closing or self._suspended or self._work.turns.next_at() is None):
            self._news.set()

    # -- the leader --------------------------------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Takes up hosts, and ends when all is done; looks at ourselves when nobody answers."""
        self._work.open_more()
        self._wake_others()
        while True:
            self._news.clear()
            self._look_whether_over()
            await self._news.wait()
            is_still = not self._in_flight and (self._closing or self._work.turns.next_at() is None)
            if self._work.doubts and (is_still or self._suspended):
                await self._look_at_ourselves()
            elif is_still:
                return
            self._suspended = False
            self._work.open_more()
            self._wake_others()

    async def _look_at_ourselves(self) -> None:
        """Asks hosts that did well of late; if they say nothing either, the fault is ours and the run ends."""
        self._suspended = True
        for queue, job in self._work.canaries():
            if not self._work.doubts or queue.busy:
                break
            queue.busy = True
            await asyncio.sleep(max(queue.free_at - self._clock(), 0.0))
            await self._ask(queue, job)
            self._read_answers()
        while self._work.doubts and self._in_flight:
            self._news.clear()
            await self._news.wait()
        if self._work.doubts:
            self._closing = self._unreachable = True
            runs = self._ledger.count_unreachable() + 1
            self._work.blame_us(int(self._now()) + network.again_s(runs))

    # -- to be told --------------------------------------------------------------------------------------------------

    async def _write_notes(self) -> None:
        """Writes what is noted, a little later than the first of it."""
        while True:
            await self._ledger.noted.wait()
            await asyncio.sleep(WRITE_S)
            self._ledger.flush()
            self._tell()

    def _tell(self) -> None:
        if self._progress:
            work, seconds = self._work, max(self._clock() - self._began, 1e-3)
            self._progress(
                Progress(work.checked, work.put_off, work.left, dict(work.verdicts), work.checked / seconds)
            )

    def _close(self) -> None:
        """Begins nothing any more."""
        self._closing = True
        self._look_whether_over()

    def _summary(self, lapsed: int) -> Summary:
        work = self._work
        return Summary(
            work.checked, work.requests, work.bytes, dict(work.verdicts), dict(work.changed), work.put_off, work.left,
            lapsed, self._unreachable, self._stop.is_set(), self._clock() - self._began,
        )  # fmt: skip


def _is_followed(queue: Queue, job: Job) -> bool:
    """Whether the same place is to be asked again: else its connection would stay open beside the next one."""
    if job.kind == "robots":  # for those that wait for it
        return not job.hops
    if queue.jobs:
        return follow.origin_of(queue.jobs[0].url) == follow.origin_of(job.url)
    return bool(queue.ids)
