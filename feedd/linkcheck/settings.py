"""What a run of link checks is told, and what it tells: plain values, which configuration and the edges know too."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from feedd import retry
from feedd.freshness.judge import POLICY, Policy
from feedd.linkcheck.hosts import HostRule


class Plan(Struct, frozen=True):
    """What configuration says of a run.

    `user_agent` names feedd and `contact`, a URL or address for those who wonder who asks; empty for none. `gap_s`:
    between two requests to one host. `at_once`: exchanges at a time, of different hosts. A run begins nothing after
    `max_run_s` seconds, `max_links` links or `max_bytes` bytes; what is left stays due. `patience_s`: a host that is to
    be left alone for longer is put off to another run, and so is what waits for it. `retries` of weak evidence.
    """

    user_agent: str = "feedd"
    contact: str = ""
    gap_s: float = 1.0
    at_once: int = 128
    max_run_s: float = 3600.0
    max_links: int = 100_000
    max_bytes: int = 2 << 30
    patience_s: float = 600.0
    rules: tuple[HostRule, ...] = ()
    robots: bool = True
    made_up: bool = True
    retries: int = 2
    back_off: retry.Policy = retry.Policy(first_s=5.0, longest_s=60.0)
    policy: Policy = POLICY

    @property
    def agent(self) -> str:
        """The user agent as it is sent."""
        return f"{self.user_agent} (+{self.contact})" if self.contact else self.user_agent


class Progress(Struct, frozen=True):
    """How far a run is: links `checked`, `put_off` to a later run, and `left`; per verdict; links per second."""

    checked: int
    put_off: int
    left: int
    verdicts: Mapping[str, int]
    rate: float


class Summary(Struct, frozen=True):
    """What a run did. `verdicts` of all links that were checked; `changed`: how many came to a verdict from another.

    `requests` and `bytes` count robots.txt and the like too. `put_off`: links whose hosts are to be left alone until
    a later run; `left`: those that are still due, because the run was to end. `lapsed`: fresh links that became stale.
    `unreachable`: nothing could be reached, so that no failure counts.
    """

    checked: int = 0
    requests: int = 0
    bytes: int = 0
    verdicts: Mapping[str, int] = {}
    changed: Mapping[tuple[str, str], int] = {}
    put_off: int = 0
    left: int = 0
    lapsed: int = 0
    unreachable: bool = False
    stopped: bool = False
    seconds: float = 0.0


class Planned(Struct, frozen=True, gc=False):
    """What a run would do about a link.

    `action`: get, conditional (get it if it changed), skip, ok, robots (which keeps it from us), or wait (its host is
    left alone until `wait_until`). `robots`: whether the robots.txt of its host is known and need not be asked for.
    """

    url: str
    host: str
    action: str
    robots: bool = False
    wait_until: int = 0
