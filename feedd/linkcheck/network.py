"""Failures without an answer -> whether they are the links' or ours: our own network may be down.

Pure but for what it remembers; `run` tells it of every exchange. A failure counts once anybody has answered after it.
"""

from __future__ import annotations

from msgspec import Struct

from feedd.freshness.states import Answer, Evidence, Failure
from feedd.linkcheck.queues import Job, Queue

SUSPICIOUS = 20  # hosts in a row without an answer, after which we look at ourselves
CANARIES = 3
CANARY_WAIT_S = 60.0  # how long one may have to be left alone yet
SOON_S, LATEST_S = 300, 3_600  # after a run that reached nobody, doubling
# What a network that is down makes of requests. Some of it is what a portal that wants a log-in does.
_SILENT: frozenset[Failure] = frozenset({"timeout", "refused", "reset", "name", "lookup", "tls"})


class Doubtful(Struct, frozen=True, gc=False):
    """The end of a job that would count if we had not been cut off."""

    job: Job
    evidence: Evidence


class Doubts:
    """What cannot be told from a network that is down yet."""

    def __init__(self) -> None:
        self.ended: list[Doubtful] = []
        self.queues: dict[str, Queue] = {}

    def __bool__(self) -> bool:
        return bool(self.queues)

    @property
    def is_suspicious(self) -> bool:
        """Whether so many hosts in a row say nothing that it is likely to be us."""
        return len(self.queues) >= SUSPICIOUS

    def add(self, queue: Queue) -> None:
        """A host said nothing."""
        self.queues[queue.host.name] = queue

    def clear(self) -> tuple[list[Queue], list[Doubtful]]:
        """Nothing is in doubt any more: returns who was, and the ends of jobs."""
        queues, ended = list(self.queues.values()), self.ended
        self.queues, self.ended = {}, []
        return queues, ended


def is_silent(answer: Answer) -> bool:
    """Whether this is what comes of a network that is down, too."""
    return answer.failure in _SILENT


def again_s(runs: int) -> int:
    """Seconds until links are due again after `runs` runs in a row, this one included, that reached nobody."""
    return int(min(SOON_S * 2 ** min(runs - 1, 8), LATEST_S))
