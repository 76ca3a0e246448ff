"""What configuration says of the built-in hub, as plain values; and how many requests one source may make. Pure."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from msgspec import Struct

from feedd import guard, retry
from feedd.hub.protocol import Leases

_SOURCES = 10_000  # remembered at once


class Limits(Struct, frozen=True):
    """Subscriptions in all and to one host of callbacks; requests a minute from one source; requests that may wait."""

    subscriptions: int = 100_000
    per_host: int = 10_000
    requests_per_minute: int = 120
    waiting: int = 1_000


class Settings(Struct, frozen=True):
    """`allowed`: networks that are not public and yet let through. `per_second`: deliveries begun, at most: what is
    sent to thousands takes the processor from who publishes. A failed delivery is repeated until the lease ends.
    """

    public_url: str
    user_agent: str
    allowed: tuple[guard.Network, ...] = ()
    leases: Leases = Leases()
    limits: Limits = Limits()
    timeout_s: float = 10.0
    per_second: int = 250
    policy: retry.Policy = retry.Policy(first_s=15.0, longest_s=3 * 3600.0)


class Sources:
    """How much each source of requests has left, of a budget that grows back within a minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now: float) -> float:
        """0 where one more request is within the budget, else seconds to wait. `now`: any clock that goes forward."""
        source = source_of(address)
        left, at = self._left.pop(source, (float(self._per_minute), now))
        left = min(left + max(now - at, 0.0) * self._per_minute / 60, float(self._per_minute))
        wait_s = 0.0 if left >= 1 else (1 - left) * 60 / self._per_minute
        self._left[source] = (left if wait_s else left - 1, now)
        if len(self._left) > _SOURCES:
            self._left.popitem(last=False)
        return wait_s


def source_of(address: str) -> str:
    """Who counts as one: an IPv4 address, or the /64 of an IPv6 one, all of which a single customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
