"""When to try again what failed: after a growing while, at a time that is not everybody's, and for so long only.

Pure: attempts and a header in, seconds out; `random` is given. Used by `notify`, the hub, link checks and alerts.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random

from msgspec import Struct

_SECONDS = re.compile(r"[0-9]{1,9}").fullmatch
LONGEST_WISH_S = 86_400.0  # of a Retry-After: a server that asks for a year is asked again tomorrow


class Policy(Struct, frozen=True):
    """Seconds: the first wait and the longest, doubling in between; `give_up_s` after what was to be said happened."""

    first_s: float = 30.0
    longest_s: float = 6 * 3600.0
    give_up_s: float = 3 * 86_400.0


def wait_s(policy: Policy, attempts: int, random: Random) -> float:
    """Seconds from the `attempts`-th failure to the next try: never sooner than the policy says, a quarter later at
    most, so that what failed together does not come back together.
    """
    doubled = policy.first_s * 2.0 ** min(attempts - 1, 64)
    return min(doubled, policy.longest_s) * random.uniform(1.0, 1.25)


def retry_after_s(header: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date (RFC 9110, section 10.2.3); None without.

    At least 0, at most a day. `now` in seconds since 1970 UTC.
    """
    text = (header or "").strip()
    if _SECONDS(text):
        return min(float(text), LONGEST_WISH_S)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    return min(max(seconds, 0.0), LONGEST_WISH_S)
