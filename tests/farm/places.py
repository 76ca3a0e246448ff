"""Sites -> hosts with addresses, and the URLs of all of them with the verdicts that are right.

What `server` answers from, `breaches` judges by, and tests and benchmarks take their URLs from: all see the same farm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from tests.farm import addresses, behaviours, hostile, manners
from tests.farm.sites import Expected, Site

ROBOTS = "/robots.txt"


class Ports(NamedTuple):
    """Where the farm listens. On `closed` nobody does; whoever comes to `stray` was not to go there."""

    port: int
    tls: int
    closed: int
    stray: int

    @property
    def allowed(self) -> list[int]:
        """Those that a checker of the farm is to be allowed."""
        return [self.port, self.tls, self.closed]


class Place(NamedTuple):
    """A host: a site at an address. `names` are the addresses of its neighbours, by site."""

    address: str
    site: Site
    names: Mapping[str, str]


class Case(NamedTuple):
    """A URL of the farm, the name of the behaviour, and what is expected."""

    url: str
    name: str
    expected: Expected


@cache
def places(copies: int, *, trusted: bool = False) -> Mapping[str, Place]:
    """Every host with a behaviour of its own, by address: each site so many times, but those with TLS once."""
    sites = [*behaviours.sites(), *hostile.sites(), *manners.sites()]
    assert len({site.name for site in sites}) == len(sites)
    found: dict[str, Place] = {}
    for copy in range(copies):
        names = {site.name: addresses.odd(copy * len(sites) + n) for n, site in enumerate(sites)}
        found |= {names[site.name]: Place(names[site.name], site, names) for site in sites}
    for site in hostile.secure_sites(trusted):
        found[addresses.secure(site.secure)] = Place(addresses.secure(site.secure), site, {})
    return found


def cases(copies: int, ports: Ports, *, trusted: bool = False) -> Iterator[Case]:
    """Every link of the farm but those of the healthy hosts."""
    names: dict[str, str] = {}
    for place in places(copies, trusted=trusted).values():
        names = names or dict(place.names)
        root = f"https://{place.address}:{ports.tls}" if place.site.secure else f"http://{place.address}:{ports.port}"
        for path, page in place.site.pages.items():
            if page.expected and hostile.is_safe(place.site.name):
                yield Case(root + path, place.site.name, page.expected)
    given = names | {name: str(value) for name, value in ports._asdict().items()}
    for name, (url, expected) in hostile.direct().items():
        if hostile.is_safe(name):
            yield Case(url.format_map(given), name, expected)


def healthy_urls(hosts: int, links: int, port: int) -> list[str]:
    """Links of the healthy hosts, spread evenly; a host's are not beside each other."""
    return [f"http://{addresses.healthy(n % hosts)}:{port}/n/{n // hosts}" for n in range(links)]


def is_made_up(place: Place | None, path: str) -> bool:
    """Whether a path is neither a page of the host nor robots.txt: nobody can have had it from a link."""
    if path in (ROBOTS, "*"):
        return False
    if place is None:
        return path != "/" and not path.startswith("/n/")
    return path not in place.site.pages and not re.fullmatch("/d[0-9]+", path)  # where `moves-about` leads


def is_forbidden(place: Place | None, path: str, agent: str) -> bool:
    """Whether the host's robots.txt forbids this path to this product (RFC 9309): its own group, else that for all."""
    if place is None or path in (ROBOTS, "*"):
        return False
    groups = {group for group, _ in place.site.forbids}
    mine = agent if agent in groups else "*"
    return any(group == mine and re.fullmatch(pattern, path, re.DOTALL) for group, pattern in place.site.forbids)
