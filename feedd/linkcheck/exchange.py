"""What is asked next of a host, and what follows from its answer: for the link, for the host, for all that wait.

A link's job ends as evidence, which is judged and noted, or it is put off without any. Does not ask by itself and
never waits: `run` takes a turn, asks, and says what was answered. Must be used in the thread of the run's loop.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable
from random import Random

from msgspec.structs import replace

from feedd import retry
from feedd.freshness import judge, reading, urls
from feedd.freshness.states import Answer, Evidence, Request, Trail
from feedd.linkcheck import follow, hosts, network, robots
from feedd.linkcheck.ledger import Ledger
from feedd.linkcheck.network import Doubtful, Doubts
from feedd.linkcheck.queues import Job, Queue, Turns
from feedd.linkcheck.register import MADE_UP_S, Register
from feedd.linkcheck.settings import Plan

HELD = 12_000  # links in memory, about; at most twice as many
PIECE = 64  # of one host, at most
OPENED = 200  # hosts at a time


class Exchanges:
    """All hosts of a run. `clock` is what gaps are measured by, `now` what is noted; `deadline` by the clock."""

    def __init__(
        self, plan: Plan, ledger: Ledger, *, now: Callable[[], float], clock: Callable[[], float], random: Random
    ) -> None:
        self._plan, self._ledger, self._now, self._clock, self._random = plan, ledger, now, clock, random
        self.turns, self.doubts = Turns(), Doubts()
        self.hosts = Register(plan, ledger, clock)
        self._unopened: list[tuple[str, list[int]]] = []
        self._hungry: deque[Queue] = deque()  # hosts whose next links wait for room
        self._last: list[Queue] = []  # hosts that are asked the last of what is in memory for them
        self._held, self._piece = 0, PIECE
        self._began, self.deadline = clock(), math.inf
        self.total = self.checked = self.put_off = self.requests = self.bytes = 0
        self.verdicts: Counter[str] = Counter()
        self.changed: Counter[tuple[str, str]] = Counter()

    def begin(self, due: list[tuple[str, list[int]]], *, not_before: float) -> None:
        """What is to be checked: ids by host, those with most last. `not_before`: no host was asked later than that."""
        self.total = sum(len(ids) for _, ids in due)
        self._unopened, self.hosts.not_before = due, not_before
        self._piece = min(max(HELD // max(len(due), 1), 2), PIECE)

    def open_more(self) -> None:
        """Takes up further hosts, those with most links first, while there is room."""
        while self._hungry and self._held < 2 * HELD:
            self.care(self._hungry.popleft())
        while self._unopened and self._held < HELD:
            some = self._unopened[: -OPENED - 1 : -1]
            del self._unopened[-OPENED:]
            queues = self.hosts.get_all([name for name, _ in some])
            for queue, (_, ids) in zip(queues, some, strict=True):
                queue.ids = ids
            self._last += queues
            for queue in queues:
                self.care(queue)

    @property
    def left(self) -> int:
        """Links that are neither checked nor put off."""
        return self.total - self.checked - self.put_off

    @property
    def rest_s(self) -> float:
        """Seconds that what is left will take, as it went so far."""
        return self.left * (self._clock() - self._began) / self.checked if self.checked else math.inf

    # -- a turn ------------------------------------------------------------------------------------------------------

    def take(self) -> Queue | None:
        """The host that is to be asked now; None where there is none, now or at all."""
        return self.turns.take(self._clock(), self.rest_s)

    def pick(self, queue: Queue) -> Job | None:
        """What this host, whose turn it is, is to be asked; None where all could be told without asking it."""
        while queue.jobs:
            job = queue.jobs.popleft()
            if queue.ids and not queue.jobs:
                self._last.append(queue)
            if queue.manners.action != "check":
                self._end_by_rule(queue, job)
            elif job.kind == "robots" or not self._plan.robots:
                return job
            elif (asks_first := self._check_robots(queue, job)) is not None:
                return asks_first
        return None

    def _check_robots(self, queue: Queue, job: Job) -> Job | None:
        """The job itself if robots.txt lets it; or what has to be asked first; None where neither is for now."""
        origin = follow.origin_of(job.url)
        known = queue.robots.get(origin)
        if known is None or robots.expires_at(known) <= self._now():
            if origin in queue.for_robots:
                queue.for_robots[origin].append(job)
                return None
            queue.for_robots[origin] = [job]
            url = robots.robots_url(job.url)
            return Job("robots", url, url, asker=queue.host.name)
        if robots.allows(known, job.url, queue.manners.user_agent):
            return job
        self._end(queue, job, follow.refused(job))
        return None

    def request(self, queue: Queue, job: Job) -> Request:
        """How it is asked."""
        return follow.request_for(job, queue.manners.user_agent, queue.manners.headers)

    def answered(self, queue: Queue, job: Job, answer: Answer, began: float, ended: float) -> None:
        """What follows from an answer, from `began` to `ended` by the clock. Its turn goes on until `leave`."""
        self.requests += 1
        self.bytes += answer.read
        queue.took_s = ended - began
        self._note_health(queue, answer, ended)
        if job.kind == "canary":
            return
        went = follow.follow(job, answer)
        if isinstance(went, Job):
            self._go(went)
        else:
            self._end(queue, job, went)

    def broken_off(self, queue: Queue) -> None:
        """A request was broken off: the host may have seen it."""
        queue.host = queue.host.asked(self._clock())
        self._ledger.touch(queue)

    def leave(self, queue: Queue) -> None:
        """The host's turn is over."""
        queue.busy = False
        self.care(queue)
        if (self._unopened or self._hungry) and self._held < HELD // 2:
            self.open_more()

    def care(self, queue: Queue) -> None:
        """Brings in what a host is still to be asked, or puts it off if it is to be left alone for too long."""
        if queue.busy:
            return
        now, alone_until = self._clock(), queue.host.alone_until
        if queue.free_at - now > self._plan.patience_s or (queue.free_at and alone_until > max(now, self.deadline)):
            self._put_off_all(queue, math.ceil(max(queue.free_at, alone_until)))
        elif queue.ids and not queue.jobs and self._held >= 2 * HELD:  # links pile up at hosts that redirects lead to
            self._hungry.append(queue)
        else:
            while queue.ids and not queue.jobs:  # links may be gone from the store meanwhile
                self._load(queue)
        self.turns.settle(queue)
        if queue.is_over:
            self.hosts.retire(queue)

    def _note_health(self, queue: Queue, answer: Answer, ended: float) -> None:
        old = queue.host
        queue.host = host = old.asked(ended)
        if network.is_silent(answer):
            self.doubts.add(queue)
            queue.silent += hosts.is_weak(answer)
            return
        if answer.status and self.doubts:
            self.believe()
            host = queue.host
        answered_at = self._now() - (self._clock() - ended)
        if wish_s := hosts.wish_s(answer, answered_at):
            host = host.paused(wish_s, ended)
        queue.host = host.failed(ended, self._random) if hosts.is_weak(answer) else host.did_well()
        if hosts.has_news(old, queue.host):
            self._ledger.touch(queue)

    # -- doubts ------------------------------------------------------------------------------------------------------

    def believe(self) -> None:
        """Somebody has answered: what failed before was not our network, and counts."""
        queues, ended = self.doubts.clear()
        for queue in queues:
            for _ in range(queue.silent):
                queue.host = queue.host.failed(queue.host.ended, self._random)
            if queue.silent:
                queue.silent = 0
                self._ledger.touch(queue)
        for doubtful in ended:
            self._conclude(doubtful.job, doubtful.evidence)
        for queue in queues:
            self.care(queue)

    def blame_us(self, at: int) -> None:
        """Nobody answers: no failure counts, and what was tried is due again at `at`."""
        queues, ended = self.doubts.clear()
        tried = [doubtful.job for doubtful in ended]
        for queue in queues:
            queue.silent = 0
            tried += [job for _, _, job in queue.later]
            queue.later = []
        self._move([job.link.id for job in tried if job.kind == "link"], at)

    def canaries(self) -> list[tuple[Queue, Job]]:
        """Hosts that did well of late and may be asked soon; their robots.txt may be asked for in any case."""
        links = self._ledger.list_canaries(network.CANARIES + len(self.doubts.queues))
        found = []
        for link in links:
            name = hosts.without_port(link.host)
            queue = self.hosts.get(name)
            is_soon = queue.free_at - self._clock() <= network.CANARY_WAIT_S
            if queue.manners.action == "check" and is_soon and not queue.busy and name not in self.doubts.queues:
                url = robots.robots_url(link.url)
                found.append((queue, Job("canary", url, url)))
        return found[: network.CANARIES]

    # -- jobs --------------------------------------------------------------------------------------------------------

    def _load(self, queue: Queue) -> None:
        """Brings in what a host is to be asked next, and with it what others are, who will soon need it."""
        others, self._last = (self._last if self._held < HELD else []), []
        wanted = [(each, each.take_ids(self._piece)) for each in dict.fromkeys((queue, *others))]
        found = {link.id: link for link in self._ledger.find_links([link_id for _, ids in wanted for link_id in ids])}
        self._held += len(found)
        for each, ids in wanted:
            links = [found[link_id] for link_id in ids if link_id in found]
            self.total -= len(ids) - len(links)
            each.jobs.extend(Job("link", link.url, link.url, link) for link in links)
            self.turns.settle(each)

    def _go(self, job: Job) -> None:
        """On to the host of its next URL; what others wait for goes before what nobody waits for."""
        queue = self.hosts.get(hosts.without_port(urls.host_of(job.url)))
        self.turns.add(queue, job, first=job.kind != "link")
        self.care(queue)

    def _end(self, queue: Queue, job: Job, trail: Trail) -> None:
        """A job has come to its end, at this host."""
        if job.kind == "robots":
            self._learn_robots(job, trail)
        elif job.kind == "made_up":
            self._learn_made_up(job, trail)
        elif self._plan.made_up and reading.needs_made_up(trail, job.state):
            if queue.made_up is not None and queue.made_up_at + MADE_UP_S > self._now():
                self._judge(queue, job, trail, queue.made_up)
            elif queue.for_made_up is not None:
                queue.for_made_up.append((job, trail))
            else:
                queue.for_made_up = [(job, trail)]
                url = reading.made_up_path(trail.answer.url, int(self._now()) // MADE_UP_S)
                self.turns.add(queue, Job("made_up", url, url, asker=queue.host.name), first=True)
        else:
            self._judge(queue, job, trail, None)

    def _judge(self, queue: Queue, job: Job, trail: Trail, made_up: reading.MadeUp | None) -> None:
        evidence = reading.evidence(trail, job.state, at=int(self._now()), made_up=made_up)
        if evidence.finding == "weak" and not trail.refused and job.tries < self._plan.retries:
            again = replace(job, tries=job.tries + 1, weak=evidence)
            at = self._clock() + retry.wait_s(self._plan.back_off, again.tries, self._random)
            if max(at, queue.host.alone_until) < self.deadline:
                self.turns.add_later(queue, again, at)
                return
        if network.is_silent(trail.answer):
            self.doubts.ended.append(Doubtful(job, evidence))
        else:
            self._conclude(job, evidence)

    def _conclude(self, job: Job, evidence: Evidence) -> None:
        """A link was checked."""
        link, now = job.link, int(self._now())
        state = judge.judge(link.url, link.state, evidence, now, in_feed=link.in_feed, policy=self._plan.policy)
        self._held -= 1
        self.checked += 1
        self.verdicts[state.verdict] += 1
        if state.verdict != link.state.verdict:
            self.changed[link.state.verdict, state.verdict] += 1
        self._ledger.note(link, state)

    def _end_by_rule(self, queue: Queue, job: Job) -> None:
        """What the operator says of a host, instead of what it would."""
        at, pattern = int(self._now()), queue.manners.pattern
        if job.kind != "link":
            self._end(queue, job, follow.refused(job))
        elif queue.manners.action == "ok":
            final_url = job.url if job.hops else ""
            self._conclude(job, Evidence(at, "good", f"taken for good by the rule for {pattern}", final_url=final_url))
        elif job.hops:
            reason = f"redirects to a host that is not asked, by the rule for {pattern}"
            self._conclude(job, Evidence(at, "blocked", reason, job.hops[-1][0], final_url=job.url))
        else:
            self._conclude(job, Evidence(at, "excluded", f"not asked for, by the rule for {pattern}"))

    # -- what is learnt of a host ------------------------------------------------------------------------------------

    def _learn_robots(self, job: Job, trail: Trail) -> None:
        """The robots.txt of a host is known; or the host cannot be reached, and neither can what waited for it."""
        queue = self.hosts.get(job.asker)
        waiting = queue.for_robots.pop(follow.origin_of(job.start))
        if not trail.answer.status and not trail.hops:
            first, *waiting = waiting
            queue.jobs.extendleft(reversed(waiting))
            self._end(queue, first, Trail(first.start, replace(trail.answer, url=first.url), first.hops))
        else:
            queue.jobs.extendleft(reversed(waiting))
            self.hosts.learn_robots(queue, follow.origin_of(job.start), robots.read(trail.answer, int(self._now())))
        self.care(queue)

    def _learn_made_up(self, job: Job, trail: Trail) -> None:
        """What a host says of a path that it cannot have is known, or not to be known today."""
        queue = self.hosts.get(job.asker)
        waiting, queue.for_made_up = queue.for_made_up or [], None
        found = reading.made_up(trail)
        self.hosts.learn_made_up(queue, found, int(self._now()))
        for other, its_trail in waiting:
            self._judge(queue, other, its_trail, found)
        self.care(queue)

    # -- another time ------------------------------------------------------------------------------------------------

    def _put_off_all(self, queue: Queue, at: int) -> None:
        """A host is left alone for too long: what it was to be asked waits for another run."""
        jobs = [*queue.jobs, *(job for _, _, job in queue.later)]
        queue.jobs.clear()
        queue.later, ids, queue.ids = [], queue.ids, []
        self.put_off += len(ids)
        self._ledger.put_off(ids, at)
        self._put_off(jobs, at)

    def _put_off(self, jobs: Iterable[Job], at: int) -> None:
        """Links to be checked at `at`; those that failed before have been checked, and what others wait for fails."""
        off = []
        for job in jobs:
            if job.weak is not None:
                self._conclude(job, job.weak)
            elif job.kind == "link":
                off.append(job.link.id)
            elif job.kind == "robots":
                queue = self.hosts.get(job.asker)
                self._put_off(queue.for_robots.pop(follow.origin_of(job.start)), at)
                self.care(queue)
            else:
                self._learn_made_up(job, Trail(job.start, Answer(job.url)))
        self._move(off, at)

    def _move(self, ids: list[int], at: int) -> None:
        self._held -= len(ids)
        self.put_off += len(ids)
        self._ledger.put_off(ids, at)
