"""feedd's runs of link checks, in a process of their own that is told what to do on its standard input, as JSON.

The links are put into a store as articles would put them there, and then runs are made as `feedd check-links` makes
them, on the days asked for: `now` is moved on by days, and the farm is told. Started by `links`, by `feedd_side`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import resource
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from random import Random

import msgspec
import uvloop

from feedd import fetch, retry
from feedd.freshness import judge, urls
from feedd.freshness.states import LinkState
from feedd.linkcheck.run import run
from feedd.linkcheck.settings import Plan
from feedd.store.links import Links, open_links
from tests.farm import addresses

_DAY_S = 86_400
_ROOT = Path(__file__).resolve().parents[2]
_AGENT = "feedd/bench"


class Orders(msgspec.Struct, frozen=True):
    """What is to be run. `days`: a run on each. Seconds: `gap_s`; `total_s` of an exchange; `back_off_s` before the
    first retry. `control`: the farm's port, to be told of days; 0 for none. `authority`: a file of whom to trust.
    """

    folder: str
    urls: tuple[str, ...]
    ports: tuple[int, ...]
    days: tuple[int, ...] = (0,)
    gap_s: float = 1.0
    at_once: int = 128
    total_s: float = 20.0
    back_off_s: float = 5.0
    control: int = 0
    authority: str = ""


class Day(msgspec.Struct, frozen=True):
    """One run. `verdicts` and `reasons` of all links, by the URL that was given."""

    day: int
    wall_s: float
    cpu_s: float
    checked: int
    requests: int
    verdicts: dict[str, str]
    reasons: dict[str, str]
    changed: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True):
    """All of them; `rss` is the most that the process held, in bytes, its loading included."""

    days: tuple[Day, ...]
    rss: int


def feedd_side(orders: Orders, prefix: Sequence[str] = (), *, within_s: float = 3600) -> Report:
    """Runs them. `prefix` is a command to run feedd by, such as taskset."""
    command = [*prefix, sys.executable, "-P", "-m", "tests.bench.link_runs"]
    done = subprocess.run(
        command, input=msgspec.json.encode(orders), stdout=subprocess.PIPE, cwd=_ROOT, timeout=within_s, check=True,
        env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )  # fmt: skip
    return msgspec.json.decode(done.stdout, type=Report)


def _fill(links: Links, wanted: Sequence[str], now: int) -> None:
    """An article for every ten links."""
    rows = [(n + 1, wanted[n * 10 : n * 10 + 10], True) for n in range((len(wanted) + 9) // 10)]
    for start in range(0, len(rows), 200):
        with links.transaction():
            links.put_uses(rows[start : start + 200], judge.replan, now)


def _clock(day: int) -> Callable[[], float]:
    return lambda: time.time() + day * _DAY_S


async def _runs(orders: Orders, links: Links) -> list[Day]:
    plan = Plan(
        user_agent=_AGENT, contact="https://news.example/about", gap_s=orders.gap_s, at_once=orders.at_once,
        back_off=retry.Policy(first_s=orders.back_off_s, longest_s=60.0),
    )  # fmt: skip
    limits = fetch.Limits(total_s=orders.total_s, connect_s=min(10.0, orders.total_s), at_once=orders.at_once)
    trusted = ssl.create_default_context(cafile=orders.authority) if orders.authority else None
    found = []
    for day in orders.days:
        if orders.control:
            _tell(orders.control, day)
        async with fetch.Fetcher(
            limits, allowed=[ip_network(addresses.NETWORK)], ports=orders.ports, tls=trusted
        ) as fetcher:
            wall, cpu = time.perf_counter(), time.process_time()
            summary = await run(plan, links, fetcher.get, now=_clock(day), random=Random(day))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        shown = (day in (orders.days[0], orders.days[-1])) and len(orders.urls) < 10_000
        states = _states(links, orders.urls) if shown else {}
        found.append(Day(
            day, wall, cpu, summary.checked, summary.requests,
            {url: state.verdict for url, state in states.items()},
            {url: state.history[0].reason for url, state in states.items() if state.history},
            tuple(url for url, state in states.items() if state.changed_at),
        ))  # fmt: skip
        print(f"... day {day}: {summary.checked} links in {wall:.1f} s", file=sys.stderr, flush=True)
    return found


def _states(links: Links, given: Sequence[str]) -> dict[str, LinkState]:
    """What is no http(s) URL never came to be a link, which is to say excluded."""
    known = {link.url: link.state for link in links.iter_links()}
    return {url: known.get(urls.normalise(url), LinkState(verdict="excluded")) for url in given}


def _tell(port: int, day: int) -> None:
    connection = http.client.HTTPConnection(addresses.CONTROL, port, timeout=30)
    connection.request("GET", f"/day/{day}")
    connection.getresponse().read()
    connection.close()


def main() -> None:
    orders = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    links = open_links(orders.folder)
    # New links are spread over some minutes: let those be over.
    found_at = int(time.time()) - judge.SOON_S - 1
    _fill(links, [normal for url in orders.urls if (normal := urls.normalise(url))], found_at)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        days = runner.run(_runs(orders, links))
    links.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(msgspec.to_builtins(Report(tuple(days), peak))))


if __name__ == "__main__":
    main()
