"""The values of link checking: what is asked, what was answered, what that shows, and what is known of a link.

Request -> (`fetch`) -> Answer -> (`reading`) -> Evidence -> (`judge`) -> LinkState. No decisions here.
Units: `_at` is whole seconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Verdict = Literal["unchecked", "fresh", "stale", "moved", "blocked", "failing", "dead", "excluded"]
VERDICTS: tuple[Verdict, ...] = (
    "unchecked", "fresh", "stale", "moved", "blocked", "failing", "dead", "excluded",
)  # fmt: skip

# good: the same resource is there. missing: it is not (404, a redirect to the root, a proven soft 404).
# gone: it is not and will not be (410, a name that does not exist). weak: no answer that counts (5xx, timeout, refused,
# a bad certificate). blocked: we are kept out (403, 429, a bot wall, robots.txt). excluded: it is not to be asked for.
Finding = Literal["good", "missing", "gone", "weak", "blocked", "excluded"]

# Why there is no answer, or none to its end. `name`: the host name does not exist (NXDOMAIN), which is not `lookup`:
# the name server did not tell. `address`: where feedd does not go (guard). `size`: the head, or the body as unpacked,
# is larger than allowed.
Failure = Literal["", "timeout", "refused", "reset", "name", "lookup", "tls", "address", "port", "size", "protocol"]

HISTORY = 8  # pieces of evidence that are kept with a link


class Request(Struct, frozen=True, gc=False):
    """One GET to be made. `etag` and `last_modified` make it conditional; `headers` go with it as they are."""

    url: str
    user_agent: str
    etag: str = ""
    last_modified: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Answer(Struct, frozen=True, gc=False):
    """What came of one GET, no redirect followed. `status` is 0 where `failure` says why; else `failure` is empty.

    `headers` have lower-case names, the last value of each. `body` is unpacked, its first 64 KiB at most, and empty
    for answers without one of interest. `location` is the absolute URL of a redirect, empty without any. `read` counts
    bytes on the wire.
    """

    url: str
    status: int = 0
    failure: Failure = ""
    detail: str = ""
    location: str = ""
    headers: dict[str, str] = {}
    body: bytes = b""
    read: int = 0


class Trail(Struct, frozen=True, gc=False):
    """A link followed to its end: the redirects that were taken, as (status, URL they led to), and the last answer.

    `refused`: why the last step was not asked for, if it was not (robots.txt, too many redirects, a loop); then
    `answer` is the redirect that led there, or an empty one.
    """

    url: str
    answer: Answer
    hops: tuple[tuple[int, str], ...] = ()
    refused: Literal["", "robots", "redirects", "loop"] = ""


class Evidence(Struct, frozen=True, array_like=True, gc=False):
    """What one check showed. `reason` is a phrase for people; `status` is 0 without an answer.

    `final_url` is where redirects led, empty for none; `permanent`: all of them said that they are for good.
    `unchanged`: the server said 304. `fingerprint` is empty where the content has none. `retry_after_s`: what the
    host asked for, 0 for nothing.
    """

    at: int
    finding: Finding
    reason: str
    status: int = 0
    final_url: str = ""
    permanent: bool = False
    unchanged: bool = False
    fingerprint: bytes = b""
    etag: str = ""
    last_modified: str = ""
    retry_after_s: int = 0


class LinkState(Struct, frozen=True, array_like=True, gc=False):
    """All that is known of a link; what a new one has is the default. 0 and empty: never, none.

    `since_at`: when the verdict was entered. `verified_at`: the last conclusive success. `strikes` of the last failing
    period, the last of them at `strike_at`; `weak_days` counts the days of weak evidence since, the last at `weak_at`.
    `moved_at`: when the same permanent `final_url` was first seen. `fingerprint` is of the content verified first,
    `other_fingerprint` of another one, seen once; `changed_at`: when that was seen for the second time.
    `interval_days`: the planned time to the next check, before jitter. `by_hand`: the operator's verdict, which stands
    whatever is found. `history` holds the last pieces of evidence, newest first.
    """

    verdict: Verdict = "unchecked"
    since_at: int = 0
    verified_at: int = 0
    checked_at: int = 0
    next_check_at: int = 0
    strikes: int = 0
    strike_at: int = 0
    weak_days: int = 0
    weak_at: int = 0
    first_failed_at: int = 0
    status: int = 0
    final_url: str = ""
    moved_at: int = 0
    etag: str = ""
    last_modified: str = ""
    fingerprint: bytes = b""
    other_fingerprint: bytes = b""
    changed_at: int = 0
    interval_days: int = 0
    archive_url: str = ""
    by_hand: Verdict | Literal[""] = ""
    history: tuple[Evidence, ...] = ()
