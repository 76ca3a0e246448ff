"""Jobs that wait for their hosts, and which host's turn it is: one at a time each, those with most to do first.

Knows no net and no store: `run` adds jobs, takes turns and ends them. No look goes over all hosts: a change of one
costs the logarithm of their number.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Literal

from msgspec import Struct

from feedd.freshness.reading import MadeUp
from feedd.freshness.states import Answer, Evidence, LinkState, Trail
from feedd.linkcheck.hosts import TROUBLE, Host, Manners
from feedd.linkcheck.robots import Robots
from feedd.store.linkrows import Link

Kind = Literal["link", "robots", "made_up", "canary"]
WARM_S = 1.5  # after a gap: a connection may still be open, and a new one costs as much as what is asked over it
TOOK_S = 0.2  # as long as nobody knows
_NO_LINK = Link(0, "", "", 0, False, LinkState())


class Job(Struct, frozen=True, gc=False):
    """A URL on its way to its end: `start` is where it began, `url` what is to be asked for next.

    A `link` is what is checked. The other kinds are asked for on behalf of links: robots.txt and a made-up path, both
    for the host `asker`, and something of a host that did well, to see whether it is us. `came`: the redirect that led
    to `url`, without its body. `tries` showed nothing before this one, the last of them `weak`.
    """

    kind: Kind
    start: str
    url: str
    link: Link = _NO_LINK
    hops: tuple[tuple[int, str], ...] = ()
    came: Answer | None = None
    tries: int = 0
    weak: Evidence | None = None
    asker: str = ""

    @property
    def state(self) -> LinkState:
        """What was known of the link before."""
        return self.link.state


class Queue:
    """What one host is still to be asked, and how it does. Belongs to a run, which alone changes it.

    `ids` of links that are in the store only, the next one last. `robots` by origin: scheme, host and port;
    `for_robots`: jobs that wait for one, which is being asked for. `for_made_up`: ends of jobs that wait for what a
    made-up path shows; None where it is not asked for. `silent`: failures without an answer, in a row, of which it is
    not known yet whether they are ours. `learnt`: fields of the host's row that are still to be written.
    """

    __slots__ = (
        "busy", "delay_s", "for_made_up", "for_robots", "host", "ids", "jobs", "later", "learnt", "made_up",
        "made_up_at", "manners", "robots", "silent", "stamp", "took_s",
    )  # fmt: skip

    def __init__(self, host: Host, manners: Manners) -> None:
        self.host, self.manners = host, manners
        self.ids: list[int] = []
        self.jobs: deque[Job] = deque()
        self.later: list[tuple[float, int, Job]] = []
        self.robots: dict[str, Robots] = {}
        self.delay_s = 0.0
        self.for_robots: dict[str, list[Job]] = {}
        self.made_up: MadeUp | None = None
        self.made_up_at = 0
        self.for_made_up: list[tuple[Job, Trail]] | None = None
        self.learnt: dict[str, int | bytes] = {}
        self.took_s = 0.0
        self.silent = 0
        self.busy = False
        self.stamp = 0

    def take_ids(self, count: int) -> list[int]:
        """The next of `ids`, which are not there any more then."""
        taken = self.ids[: -count - 1 : -1]
        del self.ids[-count:]
        return taken

    @property
    def gap_s(self) -> float:
        """Seconds between two requests: what robots.txt asks for, if that is more than what we keep."""
        return max(self.manners.gap_s, self.delay_s)

    @property
    def work_s(self) -> float:
        """Seconds that all of it will take, about."""
        requests = len(self.jobs) + len(self.later) + len(self.ids)
        if not self.took_s:  # its robots.txt and a made-up path, besides
            return (requests + 2) * (self.gap_s + TOOK_S)
        return requests * (self.gap_s + self.took_s)

    @property
    def free_at(self) -> float:
        """When it may have its next turn. That of a host that nothing is asked of costs nothing."""
        return self.host.free_at(self.gap_s) if self.manners.action == "check" else 0.0

    @property
    def is_parked(self) -> bool:
        """Whether it has said nothing so often that it is to rest, if it is not us."""
        return self.silent > 0 and self.host.failures + self.silent >= TROUBLE

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to be done for this host, now or later."""
        waits = self.for_robots or self.for_made_up is not None
        return not (self.busy or self.jobs or self.ids or self.later or self.silent or waits)


_Waiting = tuple[float, int, int, Queue]  # by what it comes first; a number; the queue's stamp; the queue


class Turns:
    """Which host may be asked now, and when the next may be."""

    def __init__(self) -> None:
        self._resting: list[_Waiting] = []  # by when they are free
        self._warm: list[_Waiting] = []  # free, and asked a moment ago; by how long they will take, the longest first
        self._cold: list[_Waiting] = []  # all others that are free, in the same order
        self._count = 0

    def settle(self, queue: Queue) -> None:
        """A queue has changed: it gets its turn when its host is free and a job is there, or none."""
        queue.stamp += 1
        if queue.busy or not (queue.jobs or queue.later) or queue.is_parked:
            return
        at = queue.free_at
        if not queue.jobs:
            at = max(at, queue.later[0][0])
        self._count += 1
        heapq.heappush(self._resting, (at, self._count, queue.stamp, queue))

    def add(self, queue: Queue, job: Job, *, first: bool = False) -> None:
        """One more job, before all others if it is what they wait for."""
        has_turn = bool(queue.jobs) and not queue.busy
        if first:
            queue.jobs.appendleft(job)
        else:
            queue.jobs.append(job)
        if not has_turn:
            self.settle(queue)

    def add_later(self, queue: Queue, job: Job, at: float) -> None:
        """A job that is not to be begun before `at`."""
        self._count += 1
        heapq.heappush(queue.later, (at, self._count, job))
        if not queue.jobs:
            self.settle(queue)

    def take(self, now: float, rest_s: float) -> Queue | None:
        """The host that is to be asked now, busy from now on: of those that are free, one that was asked a moment ago,
        and of these who has most to do yet. But who has to do for all of the `rest_s` seconds that the run may still
        take comes first.
        """
        self._sort(now)
        warm, cold = _first(self._warm), _first(self._cold)
        if not (warm or cold):
            return None
        queue = heapq.heappop(self._cold if not warm or (cold and -cold[0] >= rest_s) else self._warm)[3]
        queue.stamp += 1
        queue.busy = True
        while queue.later and queue.later[0][0] <= now:
            queue.jobs.append(heapq.heappop(queue.later)[2])
        return queue

    def next_at(self) -> float | None:
        """When `take` gives something, if it is not earlier; None for never."""
        if _first(self._warm) or _first(self._cold):
            return 0.0
        next_one = _first(self._resting)
        return next_one[0] if next_one else None

    def _sort(self, now: float) -> None:
        while (next_one := _first(self._resting)) and next_one[0] <= now:
            _, number, stamp, queue = heapq.heappop(self._resting)
            is_warm = queue.took_s and now - queue.host.ended < queue.gap_s + WARM_S
            heapq.heappush(self._warm if is_warm else self._cold, (-queue.work_s, number, stamp, queue))


def _first(waiting: list[_Waiting]) -> _Waiting | None:
    """The first of a heap whose queue has not changed since; those that have are not in it any more."""
    while waiting and waiting[0][2] != waiting[0][3].stamp:
        heapq.heappop(waiting)
    return waiting[0] if waiting else None
