"""All that is owed to a host, as values: when it may be asked next, why it is left alone, how it is to be treated.

Pure: a host, what just happened and `now` in, the host as it is then out. That it is asked one thing at a time is kept
by `queues`; `exchange` says what happened. Times are seconds since 1970 UTC with fractions, for a gap may be short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from feedd import retry
from feedd.freshness.states import Answer
from feedd.store import linkrows

TROUBLE = 5  # weak failures in a row from which on a host is left alone
REST = retry.Policy(first_s=3 * 3600.0, longest_s=12 * 3600.0)  # of such a host, longer each time
LONGEST_REST_S = 86_400.0  # also of what was remembered: the clock may have been set meanwhile
SLOW_DOWN_S = 60.0  # after a 429 that does not say how long

Action = Literal["check", "skip", "ok"]


class HostRule(Struct, frozen=True):
    """What the operator says of hosts: `pattern` is a host's name, or `*.domain` for a domain and all below it.

    skip: its links are not asked for; ok: neither, and they count as good. Other fields replace those of the plan.
    `headers` go to these hosts alone.
    """

    pattern: str
    action: Action = "check"
    gap_s: float | None = None
    user_agent: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Manners(Struct, frozen=True):
    """How one host is to be treated: the plan's way, or what the first rule for it says, named by `pattern`."""

    gap_s: float
    user_agent: str
    action: Action = "check"
    headers: tuple[tuple[str, str], ...] = ()
    pattern: str = ""


class Host(Struct, frozen=True, gc=False):
    """What is known of a host. `ended`: when the last exchange with it did; 0 for never.

    `pause_until`: it asked to be left alone so long; `rest_until`: it is, after weak failures. `failures`: weak ones in
    a row since it last rested; `rests`: how often it did since it last did well.
    """

    name: str
    ended: float = 0.0
    pause_until: float = 0.0
    rest_until: float = 0.0
    failures: int = 0
    rests: int = 0

    @property
    def alone_until(self) -> float:
        """Until when it is not asked, whatever the gap."""
        return max(self.pause_until, self.rest_until)

    def free_at(self, gap_s: float) -> float:
        """When it may be asked next: the gap counts from the end of one exchange to the start of the next."""
        return max(self.ended + gap_s, self.pause_until, self.rest_until)

    def asked(self, ended: float) -> Host:
        """An exchange ended then."""
        return replace(self, ended=ended)

    def did_well(self) -> Host:
        """It answered, and not that it is broken."""
        return replace(self, failures=0, rests=0) if self.failures or self.rests else self

    def failed(self, now: float, random: Random) -> Host:
        """One more weak failure; one of them too many, and it rests, and has as many tries again afterwards."""
        if self.failures + 1 < TROUBLE:
            return replace(self, failures=self.failures + 1)
        until = max(self.rest_until, now + retry.wait_s(REST, self.rests + 1, random))
        return replace(self, rest_until=until, failures=0, rests=self.rests + 1)

    def paused(self, wish_s: float, now: float) -> Host:
        """It asked to be left alone for so long."""
        return replace(self, pause_until=max(self.pause_until, now + min(wish_s, LONGEST_REST_S)))


def wish_s(answer: Answer, now: float) -> float:
    """Seconds that the whole host is to be left alone for, by an answer of one of its URLs: RFC 6585, section 4."""
    if answer.status not in (429, 503):
        return 0.0
    asked_for = retry.retry_after_s(answer.headers.get("retry-after"), now)
    return asked_for if asked_for is not None else SLOW_DOWN_S if answer.status == 429 else 0.0


def is_weak(answer: Answer) -> bool:
    """Whether it is the host that fails, and not a URL. A host that says it is asked too much is in trouble, too."""
    if not answer.status:
        return answer.failure not in ("address", "port", "name", "size")
    return 500 <= answer.status < 600 or answer.status == 429


def has_news(old: Host, new: Host) -> bool:
    """Whether more is to be remembered of a host than that it was asked: after a kill any may just have been."""
    return (old.pause_until, old.rest_until, old.failures, old.rests) != (
        new.pause_until, new.rest_until, new.failures, new.rests
    )  # fmt: skip


def recall(row: linkrows.Host, now: float, asked: float = 0.0) -> Host:
    """The host as an earlier run left it, as far as its times can be true. `asked`: when it may have been, unnoted."""
    latest = now + LONGEST_REST_S
    return Host(
        row.host, max(min(float(row.last_at), now), asked), min(float(row.pause_until), latest),
        min(float(row.breaker_until), latest), row.failures, row.rests,
    )  # fmt: skip


def remember(host: Host, row: linkrows.Host) -> linkrows.Host:
    """The row of a host as it is now; what `row` says of robots.txt and made-up paths stays."""
    return replace(
        row, last_at=math.ceil(host.ended), pause_until=math.ceil(host.pause_until),
        breaker_until=math.ceil(host.rest_until), failures=host.failures, rests=host.rests,
    )  # fmt: skip


def manners_for(name: str, rules: Sequence[HostRule], *, gap_s: float, user_agent: str) -> Manners:
    """How a host is to be treated: the first rule whose pattern has it counts."""
    for rule in rules:
        if _matches(rule.pattern.lower(), name):
            gap = gap_s if rule.gap_s is None else rule.gap_s
            return Manners(gap, rule.user_agent or user_agent, rule.action, rule.headers, rule.pattern)
    return Manners(gap_s, user_agent)


def without_port(host: str) -> str:
    """What `urls.host_of` says without the port: it is a machine that is asked politely, not a service of it."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _matches(pattern: str, name: str) -> bool:
    return (name == pattern[2:] or name.endswith(pattern[1:])) if pattern.startswith("*.") else name == pattern
