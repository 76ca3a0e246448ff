"""The hosts of a run: what is remembered of them, what is learnt of them, and which of them are in memory.

Between `exchange`, which has queues, and the rows of the store. A host of which nothing is to be asked any more is
forgotten when there are many of them; the store has it then.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct, msgpack

from feedd.freshness.reading import MadeUp
from feedd.linkcheck import hosts, robots
from feedd.linkcheck.ledger import Ledger
from feedd.linkcheck.queues import Queue
from feedd.linkcheck.robots import Robots
from feedd.linkcheck.settings import Plan
from feedd.store.linkrows import Host

KEPT = 1_000  # hosts that nothing is to be asked any more, for those that redirects lead to again and again
MADE_UP_S = 86_400  # how long what a made-up path shows holds
_ORIGINS = 8  # of one host, whose robots.txt is remembered
_STATUS = {"read": 200, "absent": 404, "unreachable": 503}

_pack = msgpack.Encoder().encode
_made_up_from = msgpack.Decoder(MadeUp).decode


class _Rules(Struct, frozen=True, array_like=True, gc=False):
    origin: str
    robots: Robots


_rules_from = msgpack.Decoder(tuple[_Rules, ...]).decode


class Register:
    """The hosts. `not_before`: when any of them may have been asked, unnoted."""

    def __init__(self, plan: Plan, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._plan, self._ledger, self._clock = plan, ledger, clock
        self._queues: dict[str, Queue] = {}
        self._over: OrderedDict[str, Queue] = OrderedDict()
        self.not_before = 0.0

    def __iter__(self) -> Iterator[Queue]:
        return iter(self._queues.values())

    def get(self, name: str) -> Queue:
        """The queue of a host."""
        return self._queues.get(name) or self.get_all([name])[0]

    def get_all(self, names: Sequence[str]) -> list[Queue]:
        """The queues of hosts; those that are not there are made of what is remembered."""
        rows = self._ledger.find_hosts([name for name in names if name not in self._queues])
        for name in names:
            if name not in self._queues:
                self._queues[name] = self._made(rows.get(name) or Host(name))
        return [self._queues[name] for name in names]

    def retire(self, queue: Queue) -> None:
        """Nothing is to be asked of a host, as it looks now."""
        if self._queues.get(queue.host.name) is not queue:  # it was forgotten while somebody still held it
            return
        over = self._over
        over[queue.host.name] = queue
        over.move_to_end(queue.host.name)
        while len(over) > KEPT:
            name, oldest = over.popitem(last=False)
            if oldest.is_over:
                self._ledger.touch(oldest)
                del self._queues[name]

    def remember_all(self) -> None:
        """The run ends: when each host was asked is noted."""
        for queue in self._queues.values():
            if queue.host.ended:
                self._ledger.touch(queue)

    def learn_robots(self, queue: Queue, origin: str, found: Robots) -> None:
        """What the robots.txt of an origin of the host says."""
        known = [item for item in queue.robots.items() if item[0] != origin]
        queue.robots = dict(known[1 - _ORIGINS :]) | {origin: found}
        queue.delay_s = self._delay_s(queue)
        packed = _pack(tuple(_Rules(name, rules) for name, rules in queue.robots.items()))
        queue.learnt |= {"robots": packed, "robots_at": found.fetched_at, "robots_status": _STATUS[found.status]}
        self._ledger.touch(queue)

    def learn_made_up(self, queue: Queue, found: MadeUp, at: int) -> None:
        """What the host says of a path that it cannot have."""
        queue.made_up, queue.made_up_at = found, at
        queue.learnt |= {"made_up": _pack(found), "made_up_at": at}
        self._ledger.touch(queue)

    def _made(self, row: Host) -> Queue:
        plan = self._plan
        manners = hosts.manners_for(row.host, plan.rules, gap_s=plan.gap_s, user_agent=plan.agent)
        queue = Queue(hosts.recall(row, self._clock(), self.not_before), manners)
        if plan.robots:
            queue.robots = recall_robots(row)
            queue.delay_s = self._delay_s(queue)
        if row.made_up_at:
            queue.made_up, queue.made_up_at = _made_up_from(row.made_up), row.made_up_at
        return queue

    def _delay_s(self, queue: Queue) -> float:
        agent = queue.manners.user_agent
        return max((robots.delay_s(rules, agent) for rules in queue.robots.values()), default=0.0)


def recall_robots(row: Host) -> dict[str, Robots]:
    """What is remembered of a host's robots.txt files: there is one for each scheme and port."""
    return {rules.origin: rules.robots for rules in _rules_from(row.robots)} if row.robots else {}
