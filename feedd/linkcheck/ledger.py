"""What a run takes from the store and notes in it: in pieces, for memory is to stay flat; soon, for a kill may come.

The last word on what is due is the store's. Results are written together, 1,000 or those of a tenth of a second.
Used by `exchange` and `run`, in the thread of their loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from msgspec.structs import replace

from feedd.freshness import judge
from feedd.freshness.states import LinkState
from feedd.linkcheck import hosts
from feedd.linkcheck.queues import Queue
from feedd.store.linkrows import Host, Link, Run

ROWS = 1_000  # written together at most
WRITE_S = 0.1  # how long what was found waits to be written


class Links(Protocol):
    """What a run needs of `store.links.Links`, which says what these do."""

    def transaction(self) -> AbstractContextManager[None]: ...
    def loading(self, pages: int) -> AbstractContextManager[None]: ...
    def list_due_hosts(self, now: int, limit: int) -> list[tuple[int, str]]: ...
    def find_links(self, ids: Sequence[int]) -> dict[int, Link]: ...
    def list_lapsing(self, now: int, limit: int) -> list[Link]: ...
    def list_canaries(self, exclude_host: str, limit: int) -> list[Link]: ...
    def put_checked(self, rows: Sequence[tuple[int, LinkState]], now: int) -> int: ...
    def put_due(self, ids: Sequence[int], at: int) -> None: ...
    def find_hosts(self, hosts: Sequence[str]) -> dict[str, Host]: ...
    def put_hosts(self, rows: Sequence[Host]) -> None: ...
    def start_run(self, by: str, now: int) -> int: ...
    def finish_run(self, run_id: int, counts: Mapping[str, int], now: int) -> None: ...
    def list_runs(self, limit: int) -> list[Run]: ...


class Ledger:
    """A run's view of the store. Raises what the store raises; what was not written is checked again."""

    def __init__(self, links: Links, now: Callable[[], float]) -> None:
        self._links, self._now = links, now
        self._states: list[tuple[int, LinkState]] = []
        self._due: list[tuple[int, int]] = []
        self._hosts: dict[str, Queue] = {}
        self.noted = asyncio.Event()

    # -- to read -----------------------------------------------------------------------------------------------------

    def due_by_host(self, limit: int, only: Sequence[int] | None) -> list[tuple[str, list[int]]]:
        """The ids of links that are to be checked, by host, those with most last; the next of a host last, too.

        `only` these, whether they are due or not.
        """
        by_host: dict[str, list[int]] = {}
        if only is None:
            for link_id, host in self._links.list_due_hosts(self._second(), limit):
                by_host.setdefault(hosts.without_port(host), []).append(link_id)
        else:
            for start in range(0, min(len(only), limit), ROWS):
                for link in self.find_links(only[start : min(start + ROWS, limit)]):
                    by_host.setdefault(hosts.without_port(link.host), []).append(link.id)
        for ids in by_host.values():
            ids.reverse()
        return sorted(by_host.items(), key=_size)

    def find_links(self, ids: Sequence[int]) -> list[Link]:
        """Links in the order of their ids here; those that are gone are missing."""
        found = self._links.find_links(ids)
        return [found[link_id] for link_id in ids if link_id in found]

    def find_hosts(self, names: Sequence[str]) -> dict[str, Host]:
        """What was remembered of hosts before this run, or by it."""
        if not self._hosts.keys().isdisjoint(names):
            self.flush()
        return self._links.find_hosts(names)

    def list_canaries(self, limit: int) -> list[Link]:
        """Links that did well of late, each of another host."""
        return self._links.list_canaries("", limit)

    # -- to write ----------------------------------------------------------------------------------------------------

    def note(self, link: Link, state: LinkState) -> None:
        """What a link is after a check."""
        self._states.append((link.id, state))
        self._soon()

    def put_off(self, ids: Sequence[int], at: int) -> None:
        """Links are to be checked at `at`, for nothing was found out."""
        self._due += [(link_id, at) for link_id in ids]
        self._soon()

    def touch(self, queue: Queue) -> None:
        """Something of a host is to be remembered."""
        self._hosts[queue.host.name] = queue
        self.noted.set()

    def flush(self) -> None:
        """Writes what is noted."""
        self.noted.clear()
        states, due, queues = self._states, self._due, self._hosts
        if not (states or due or queues):
            return
        rows = self._links.find_hosts(list(queues))
        with self._links.transaction():
            self._links.put_checked(states, self._second())
            for at in {at for _, at in due}:
                self._links.put_due([link_id for link_id, its in due if its == at], at)
            self._links.put_hosts([
                replace(hosts.remember(queue.host, rows.get(name) or Host(name)), **queue.learnt)
                for name, queue in queues.items()
            ])  # fmt: skip
        for queue in queues.values():
            queue.learnt = {}
        self._states, self._due, self._hosts = [], [], {}

    def _soon(self) -> None:
        if len(self._states) + len(self._due) >= ROWS:
            self.flush()
        else:
            self.noted.set()

    def _second(self) -> int:
        return int(self._now())

    # -- the run itself ----------------------------------------------------------------------------------------------

    def begin(self, by: str) -> tuple[int, bool]:
        """Notes that a run begins: returns its id, and whether the one before came to its end."""
        before = self._links.list_runs(1)
        with self._links.transaction():
            return self._links.start_run(by, self._second()), not before or before[0].finished_at > 0

    def count_unreachable(self) -> int:
        """How many of the runs before this one, in a row, reached nobody."""
        count = 0
        for run in self._links.list_runs(10)[1:]:
            if not run.counts.get("unreachable"):
                break
            count += 1
        return count

    def finish(self, run_id: int, counts: Mapping[str, int]) -> None:
        """Notes what a run did."""
        with self._links.transaction():
            self._links.finish_run(run_id, counts, self._second())

    def lapse(self) -> int:
        """Fresh links that were not verified for too long become stale; returns how many."""
        count, now = 0, self._second()
        while links := self._links.list_lapsing(now, ROWS):
            rows = [(link.id, state) for link in links if (state := judge.lapse(link.state, now)) != link.state]
            if not rows:
                break
            with self._links.transaction():
                self._links.put_checked(rows, now)
            count += len(rows)
        return count


def _size(of_host: tuple[str, list[int]]) -> tuple[int, str]:
    return len(of_host[1]), of_host[0]
