"""A log of the farm -> what the checker did against the policy: breaches of politeness, and forbidden places.

`python -m tests.farm.breaches FILE [--gap SECONDS]` counts them by rule.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tests.farm import addresses, log, places

Rule = Literal["at once", "connections", "gap", "robots", "pause", "made-up", "forbidden"]
RULES: tuple[Rule, ...] = ("at once", "connections", "gap", "robots", "pause", "made-up", "forbidden")

# The farm sees that a client has gone only at a turn of its loop, which is later than it was, by the length of a turn.
# All else errs on the other side: an end that the farm made itself is stamped when the answer is written, before the
# client can have it, and a start when it is read, after the client sent it; these only lengthen the gap.
TOLERANCE_S = 0.02


class Breach(NamedTuple):
    """One. `at` is on the log's clock."""

    rule: Rule
    host: str
    at: float
    detail: str


def find(entries: Iterable[log.Entry], *, gap_s: float = 1.0, tolerance_s: float = TOLERANCE_S) -> list[Breach]:
    """All breaches, host by host. A gap is from the end of a request to the start of the next one.

    A new day of the simulated calendar begins anew: what was asked the day before is a day ago.
    """
    asked: dict[str, list[log.Asked]] = defaultdict(list)
    connected: dict[str, list[log.Connected]] = defaultdict(list)
    strayed: list[log.Strayed] = []
    hosts: Mapping[str, places.Place] = {}
    for entry in entries:
        if isinstance(entry, log.Asked):
            asked[entry.host].append(entry)
        elif isinstance(entry, log.Connected):
            connected[entry.host].append(entry)
        elif isinstance(entry, log.Strayed):
            strayed.append(entry)
        else:
            hosts = places.places(entry.copies)
    found = [Breach("forbidden", entry.host, entry.start, f"port {entry.port}") for entry in strayed]
    # Manners matter only where one may be.
    for host, connections in connected.items():
        if addresses.is_inside(host):
            found += _connections(sorted(connections), tolerance_s)
    for host, requests in asked.items():
        if addresses.is_inside(host):
            found += _requests(hosts.get(host), sorted(requests), gap_s, tolerance_s)
    return found


def count(found: Iterable[Breach]) -> dict[Rule, int]:
    """How many by rule; every rule is there."""
    counted = Counter(breach.rule for breach in found)
    return {rule: counted[rule] for rule in RULES}


def _connections(connections: Sequence[log.Connected], tolerance_s: float) -> Iterator[Breach]:
    """More than one connection to the host at once."""
    until = 0.0
    for entry in connections:
        if entry.start < until - tolerance_s:
            yield Breach("connections", entry.host, entry.start, f"{until - entry.start:.3f} s beside another")
        until = max(until, entry.end)


def _requests(
    place: places.Place | None, requests: Sequence[log.Asked], gap_s: float, tolerance_s: float
) -> Iterator[Breach]:
    wanted_s = max(gap_s, place.site.crawl_delay_s if place else 0.0)
    day, end, paused_until = -1, 0.0, 0.0
    made_up: set[int] = set()
    for entry in requests:
        path, at = entry.path, entry.start
        if at < end - tolerance_s:
            yield Breach("at once", entry.host, at, path)
        elif entry.day == day and at < end + wanted_s - tolerance_s:
            yield Breach("gap", entry.host, at, f"{path} after {at - end:.3f} s")
        if entry.day == day and at < paused_until - tolerance_s:
            yield Breach("pause", entry.host, at, f"{path} {paused_until - at:.3f} s too early")
        if places.is_forbidden(place, path, entry.agent):
            yield Breach("robots", entry.host, at, path)
        if places.is_made_up(place, path):
            if entry.day in made_up:
                yield Breach("made-up", entry.host, at, path)
            made_up.add(entry.day)
        if entry.day != day:
            day, paused_until = entry.day, 0.0
        end = max(end, entry.end)
        if entry.pause_s:
            paused_until = max(paused_until, entry.end + entry.pause_s)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.farm.breaches", description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--gap", type=float, default=1.0, help="seconds (default: %(default)s)")
    options = parser.parse_args()
    found = find(log.read(options.log), gap_s=options.gap)
    for breach in found[:50]:
        print(f"{breach.rule:12} {breach.host:16} {breach.at:.3f} {breach.detail}")
    print(count(found))


if __name__ == "__main__":
    main()
