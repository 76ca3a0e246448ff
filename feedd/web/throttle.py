"""A request for a whole feed -> how many seconds its reader is to wait: 429 for readers that hammer without validators.

A token bucket, as the generic cell rate algorithm keeps it (one time each), for each address and path. Reads no clock
and writes no answer; forgets, rather than refuses, when there are too many readers. Called by the server, on its event
loop alone, when `[server]` of the configuration says so.
"""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from hashlib import blake2b
from ipaddress import AddressValueError, IPv4Address, IPv6Address

# A feed may be fetched whole once a minute for ever, and as often as an hour has minutes at once. A script in cron that
# knows no validators never meets the limit, nor do 30 such readers of one feed behind one address (an office, a
# carrier's NAT) that each ask twice an hour, nor a class of 60 that subscribes together. One that asks every
# second meets it after a minute, and costs 60 feeds an hour from then on, not 3,600. Its wait is never over a minute,
# so that a mistake is cheap.
PER_HOUR = 60
BURST = 60
MAX_CLIENTS = 10_000

_HOUR_S = 3600.0
_TOLERANCE_S = 1e-6  # what is lost in adding floats is nobody's fault


class Throttle:
    """The readers that lately fetched feeds whole. Not for several threads.

    Of an address nothing is kept but a keyed hash (the key is random, and of this object alone), in memory, until
    10,000 others have come: about 2 MB in all. Raises ValueError where `per_hour`, `burst` or `max_clients` is not
    above 0.
    """

    def __init__(self, per_hour: float = PER_HOUR, burst: int = BURST, max_clients: int = MAX_CLIENTS) -> None:
        if not (per_hour > 0 and burst > 0 and max_clients > 0):
            raise ValueError("per_hour, burst and max_clients must be above 0")
        self._interval_s = _HOUR_S / per_hour
        self._slack_s = self._interval_s * (burst - 1)
        self._max_clients = max_clients
        self._key = secrets.token_bytes(32)
        self._due: OrderedDict[bytes, float] = OrderedDict()  # when all that was fetched will have been earned

    def __len__(self) -> int:
        """Readers that are remembered."""
        return len(self._due)

    def check(self, address: str, path: str, had_validators: bool, now: float) -> float:
        """0.0 where the request may be answered; else the whole seconds for Retry-After, at least 1.

        To be asked before a whole feed is sent. With `had_validators` (If-None-Match or If-Modified-Since, whatever
        they said) it is always 0.0, and costs nothing; nor does a refused request. `now` is seconds by any clock; one
        that is set back makes nobody wait longer. `path` is of a file that is there: a bucket for each name that
        somebody thinks up would push out those of readers.
        """
        if had_validators:
            return 0.0
        reader = self._reader(address, path)
        due = min(max(self._due.get(reader, now), now), now + self._slack_s + self._interval_s)
        wait_s = due - self._slack_s - now
        if wait_s > _TOLERANCE_S:
            self._due.move_to_end(reader)
            return float(math.ceil(wait_s))
        self._due[reader] = due + self._interval_s
        self._due.move_to_end(reader)
        if len(self._due) > self._max_clients:
            self._due.popitem(last=False)
        return 0.0

    def wait_s(self, address: str, path: str, now: float) -> float:
        """What `check` would say of a request without validators, which is not counted."""
        wait_s = self._due.get(self._reader(address, path), now) - self._slack_s - now
        return float(math.ceil(min(wait_s, self._interval_s))) if wait_s > _TOLERANCE_S else 0.0

    def _reader(self, address: str, path: str) -> bytes:
        known = network(address)
        hashed = b"%d:%b%b" % (len(known), known, path.encode("utf-8", "surrogatepass"))
        return blake2b(hashed, digest_size=16, key=self._key).digest()


def network(address: str) -> bytes:
    """What one reader may be taken for: 4 bytes of an IPv4 address, 8 of an IPv6 one, for a /64 is one household.

    An IPv4 address inside an IPv6 one is that. What is no address (a Unix socket's peer) stands for itself, and is as
    long as neither.
    """
    host = address.partition("%")[0]
    try:
        if ":" not in host:
            return IPv4Address(host).packed
        six = IPv6Address(host)
    except AddressValueError:
        return b"?" * 9 + address.encode("utf-8", "surrogatepass")
    return six.ipv4_mapped.packed if six.ipv4_mapped else six.packed[:8]
