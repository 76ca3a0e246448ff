"""The answer to a request for /robots.txt -> which URLs of that host may be asked for, and how quickly (RFC 9309).

Asks for nothing itself: `run` does, follows up to five redirects, and keeps what was read until `expires_at`. The
matching of rules to URLs is protego's; which group of rules is ours is found here, so that protego never sees the
others: each of their names costs it a copy of each of their rules.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct
from protego import Protego

from feedd.freshness.states import Answer

TEXT_BYTES = 512_000  # of a robots.txt are read (section 2.5: at least 500 KiB); to be given to `Fetcher.get`
LONGEST_DELAY_S = 60.0  # that a host may ask for
LIFE_S = 86_400  # section 2.4
UNREACHABLE_LIFE_S = 3600
# Of one group; who has more is not asked for anything. Rules with a wildcard are tried one by one, for every URL.
RULES, WILDCARDS = 30_000, 1000
RULE_BYTES = 2048  # longer lines are passed over: what they could match is longer than links are
PARSED_BYTES = 4 << 20  # of texts that are kept parsed

# read: it is there. absent: there is none, so that all is allowed (section 2.3.1.3). unreachable: nobody could say, so
# that nothing is allowed for now (section 2.3.1.4).
Status = Literal["read", "absent", "unreachable"]

_LINE = re.compile(
    rb"[ \t]*(user[- ]?agent|allow|dis{1,2}all?ow|diasllow|disallaw|crawl[- ]delay|request[- ]rate)(?:[ \t]*:|[ \t])"
    rb"[ \t]*([^#\r\n]*)",
    re.IGNORECASE,
)
_PRODUCT = re.compile(r"(?:mozilla/[^(]*\([^;)]*;\s*)?([\w.-]+)", re.IGNORECASE | re.ASCII)
_NAME = re.compile(r"[^\s/*]+")


class Robots(Struct, frozen=True, gc=False):
    """What a host said. `text`: the lines of its robots.txt that say something to anybody, empty unless `read`.

    `fetched_at`: seconds since 1970 UTC.
    """

    status: Status
    fetched_at: int
    text: bytes = b""


def robots_url(url: str) -> str:
    """Where the rules for a URL are: at the root of its scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/robots.txt"


def read(answer: Answer, now: int) -> Robots:
    """What the last answer says, after redirects; one that still redirects counts as none (section 2.3.1.2).

    A name that does not exist, and an address or port that feedd does not connect to, have no rules either: the link
    itself will say so. Of all else that fails, `unreachable`, the answer says as much of the link as its own would. 429
    is unreachable too, against the letter: who is asked too often does not allow everything.
    """
    if answer.failure in ("name", "address", "port"):
        return Robots("absent", now)
    if answer.failure or not 200 <= answer.status < 500 or answer.status == 429:
        return Robots("unreachable", now)
    return Robots("read", now, _distilled(answer.body)) if answer.status < 300 else Robots("absent", now)


def expires_at(robots: Robots) -> int:
    """When to ask again."""
    return robots.fetched_at + (UNREACHABLE_LIFE_S if robots.status == "unreachable" else LIFE_S)


def allows(robots: Robots, url: str, user_agent: str) -> bool:
    """Whether a normalised URL of the host may be asked for by who calls itself `user_agent`."""
    if not robots.text:
        return robots.status != "unreachable"
    rules = _PARSED.get(robots.text, product(user_agent))
    return rules is not None and rules.can_fetch(url, "*")


def delay_s(robots: Robots, user_agent: str) -> float:
    """Seconds between two requests that the host asks for (Crawl-delay, Request-rate: in no RFC), a minute at most."""
    rules = _PARSED.get(robots.text, product(user_agent)) if robots.text else None
    if rules is None:
        return 0.0
    delay = rules.crawl_delay("*") or 0.0
    if rate := rules.request_rate("*"):
        delay = max(delay, rate.seconds / rate.requests if rate.seconds < 60 * rate.requests else LONGEST_DELAY_S)
    return min(delay, LONGEST_DELAY_S)


def product(user_agent: str) -> str:
    """The token by which a robots.txt calls us (section 2.2.1), in lower case: `feedd` of `feedd/1.0 (+https://...)`,
    and of `Mozilla/5.0 (compatible; feedd/1.0)`.
    """
    match = _PRODUCT.match(user_agent.strip())
    return match[1].lower() if match else ""


def _distilled(body: bytes) -> bytes:
    """The lines that are of use, without comments: of most files a small part, and of a web page nothing."""
    lines = (_LINE.match(line) for line in body[:TEXT_BYTES].removeprefix(b"\xef\xbb\xbf").splitlines())
    return b"\n".join(line[1] + b":" + line[2].rstrip() for line in lines if line and len(line[0]) <= RULE_BYTES)


def _group(text: bytes, token: str) -> list[str]:
    """The rules for a product: those of all groups that name it, or else of those for everybody (section 2.2.1)."""
    ours, everybodys = list[str](), list[str]()
    is_ours = is_everybodys = is_named = in_names = False
    for line in text.decode("utf-8", "replace").split("\n"):
        field, _, value = line.partition(":")
        if field[0] not in "Uu":
            in_names = False
            if is_ours:
                ours.append(line)
            if is_everybodys:
                everybodys.append(line)
            continue
        if not in_names:
            is_ours = is_everybodys = False
        in_names = True
        name = _NAME.match(value)
        if name and name[0].lower() == token:
            is_ours = is_named = True
        elif value.startswith("*"):
            is_everybodys = True
    return ours if is_named else everybodys


class _Parsed:
    """The rules last asked for, by text and product: a host has many URLs. As many as came from `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._rules: OrderedDict[tuple[bytes, str], Protego | None] = OrderedDict()

    def get(self, text: bytes, token: str) -> Protego | None:
        """The rules for a product; None if there are too many."""
        key = (text, token)
        if key in self._rules:
            self._rules.move_to_end(key)
            return self._rules[key]
        rules = self._rules[key] = _parsed(_group(text, token))
        self._bytes += len(text) + _OVERHEAD
        while self._bytes > self._most and len(self._rules) > 1:
            (oldest, _), _ = self._rules.popitem(last=False)
            self._bytes -= len(oldest) + _OVERHEAD
        return rules


_OVERHEAD = 512  # what the rules of even the smallest text take
_PARSED = _Parsed(PARSED_BYTES)


def _parsed(group: list[str]) -> Protego | None:
    if len(group) > RULES or sum("*" in rule for rule in group) > WILDCARDS:
        return None
    return Protego.parse("\n".join(("User-agent: *", *group)))
