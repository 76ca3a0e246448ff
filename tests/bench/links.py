"""`./bench links`: link checks against the farm of tests/farm, in a network namespace of its own where that is allowed.

Verdicts, manners and cost beside the peers on the same URLs; then 100,000 healthy links with and without a gap; then
what a host that hangs, one that never ends and a bomb cost the others. The farm has one core, feedd the other.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.bench import corpus, link_known, link_peers, link_publish, link_runs, sites
from tests.bench.report import megabytes, seconds, table, times
from tests.farm import addresses, breaches, log, process
from tests.farm.places import Case

COPIES, DAYS, PORT = 2, 15, 8000
HOSTS, DELAY_MS = 5_000, 20.0
# Gap in seconds, hosts, links: as fast as may be, politely, and politely where one core is enough for it.
SPEEDS = ((0.0, HOSTS, 100_000), (1.0, HOSTS, 100_000), (1.0, 1_000, 20_000))
OTHERS, OTHER_LINKS = 1_000, 20_000
KNOWN, DUE = 1_000_000, 300
_WRONG = {"dead": "false dead", "fresh": "false good", "moved": "false good", "stale": "false good"}
# Behind a busy loop the farm sees late that a client has gone.
BUSY_TOLERANCE_S = 0.25
_FARM, _FEEDD = ("taskset", "-c", "1"), ("taskset", "-c", "0")


def run(workshop: sites.Workshop, parts: Sequence[str] = ()) -> None:
    """All parts, or some of them, each in a process that cannot reach anything real."""
    if workshop.peer:
        for missing in link_peers.install():
            print(f"without {missing}")
    for part in parts or _PARTS:
        command = [sys.executable, "-P", "-m", "tests.bench.links", part, str(workshop.home / f"links-{part}")]
        if not workshop.peer:
            command.append("--no-peers")
        if _may_seal():
            command = addresses.sealed(command)
        else:
            sites.say("no network namespaces here: what names real addresses is left out, and so are the peers")
            command.append("--no-peers")
        subprocess.run(command, cwd=corpus.ROOT, env=os.environ | {"PYTHONPATH": str(corpus.ROOT)}, check=True)


def _may_seal() -> bool:
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run(addresses.sealed(["true"]), capture_output=True, check=False).returncode == 0


# Verdicts


def verdicts(folder: Path, with_peers: bool) -> None:
    """Right verdicts, false "dead", breaches and cost: feedd, and each of the peers, on a farm of its own."""
    rows = [_feedd_row(folder)]
    for peer in link_peers.peers() if with_peers else []:
        sites.say(f"{peer.name}, for {link_peers.LIMIT_S:g} s at most")
        home = folder / peer.name.replace(" ", "-")
        with process.running(folder / f"{home.name}.log", copies=COPIES, options=("--port", str(PORT))) as farm:
            cases = farm.urls()
            outcome = link_peers.check(peer, [case.url for case in cases], home)
            found = farm.breaches()
        counted = Counter(_mark_of_peer(case, outcome.said.get(case.url)) for case in cases)
        name = f"{peer.name}{f', ended ({outcome.ended})' if outcome.ended else ''}"
        rows.append(_row(name, counted, found, outcome.wall_s, outcome.cpu_s, outcome.rss))
    head = (
        "one run", "links", "right", "false dead", "false good", "no word", *breaches.RULES, "wall", "CPU", "peak RSS",
    )  # fmt: skip
    table("Links of the farm, a gap of 1 s asked for", head, rows)


def _feedd_row(folder: Path) -> tuple[str, ...]:
    """One run as the policy says; then a fortnight of daily ones, with less patience. Says what was wrong."""
    with process.running(folder / "feedd.log", copies=COPIES, options=("--port", str(PORT))) as farm:
        cases = farm.urls(trusted=True)
        orders = link_runs.Orders(
            str(folder / "state"), tuple(case.url for case in cases), tuple(farm.ports.allowed),
            authority=str(process.AUTHORITY), control=farm.ports.port,
        )  # fmt: skip
        report = link_runs.feedd_side(orders)
        (day,) = report.days
        found = farm.breaches()
    counted = _counted(cases, day, lambda case: case.expected.first)
    _fortnight(folder)
    return _row("feedd", counted, found, day.wall_s, day.cpu_s, report.rss)


def _fortnight(folder: Path) -> None:
    with process.running(folder / "fortnight.log", copies=1, options=("--port", str(PORT))) as farm:
        cases = farm.urls(trusted=True)
        orders = link_runs.Orders(
            str(folder / "fortnight"), tuple(case.url for case in cases), tuple(farm.ports.allowed),
            authority=str(process.AUTHORITY), control=farm.ports.port, days=tuple(range(DAYS)), total_s=4.0,
            back_off_s=0.5,
        )  # fmt: skip
        report = link_runs.feedd_side(orders)
        found = farm.breaches()
    first, last = report.days[0], report.days[-1]
    counts = [
        _counted(cases, first, lambda case: case.expected.first),
        _counted(cases, last, lambda case: case.expected.later),
    ]
    flags = sum(
        case.expected.changed is not None and case.expected.changed != (case.url in last.changed) for case in cases
    )
    requests = sum(day.requests for day in report.days)
    rows = [
        (f"day {day.day}", f"{counted['right'] / len(cases):.1%}", str(counted["false dead"]), f"{requests:,}")
        for day, counted in zip((first, last), counts, strict=True)
    ]
    table(f"A fortnight of daily runs, {len(cases)} links", ("feedd", "right", "false dead", "requests in all"), rows)
    print(f"\nchanged flags that are wrong: {flags}; breaches: {_told(found) or 'none'}", flush=True)


def _counted(cases: Sequence[Case], day: link_runs.Day, right: Callable[[Case], frozenset[str]]) -> Counter[str]:
    """What feedd said, by how right it was; and on standard error what was wrong."""
    counted: Counter[str] = Counter()
    for case in cases:
        verdict = day.verdicts[case.url]
        mark = "right" if verdict in right(case) else _WRONG.get(verdict, "no word")
        counted[mark] += 1
        if mark != "right":
            wanted, why = " or ".join(sorted(right(case))), day.reasons.get(case.url, "no evidence")
            sites.say(f"day {day.day}: {case.name} is {verdict}, not {wanted}: {why} ({case.url})")
    return counted


def _mark_of_peer(case: Case, said: link_peers.Said | None) -> str:
    """A peer knows alive and dead, and what it skips. It is right to call dead what a fortnight would, and what leads
    inside, for that it asked there is counted apart; and to say nothing of what is neither.
    """
    if "excluded" in case.expected.first:
        return {"alive": "false good", None: "no word"}.get(said, "right")
    alive, dead = "fresh" in case.expected.first, "dead" in case.expected.later
    if said == "alive":
        return "right" if alive else "false good"
    if said == "dead":
        return "right" if dead and not _heals(case) else "false dead"
    return "no word" if alive or dead or said is None else "right"


def _heals(case: Case) -> bool:
    """A link that a strike is due to, but that need not die in the end."""
    return "failing" in case.expected.first and "fresh" in case.expected.later


def _row(
    name: str, counted: Mapping[str, int], found: Sequence[breaches.Breach], wall_s: float, cpu_s: float, rss: int
) -> tuple[str, ...]:
    total, by_rule = sum(counted.values()), breaches.count(found)
    return (
        name, str(total), f"{counted['right'] / total:.1%}", str(counted["false dead"]), str(counted["false good"]),
        str(counted["no word"]), *(str(by_rule[rule]) for rule in breaches.RULES), seconds(wall_s), seconds(cpu_s),
        megabytes(rss),
    )  # fmt: skip


def _told(found: Sequence[breaches.Breach]) -> str:
    for breach in found[:20]:
        sites.say(f"breach: {breach.rule} {breach.host} {breach.detail}")
    return ", ".join(f"{number} {rule}" for rule, number in breaches.count(found).items() if number)


# Speed


def speed(folder: Path, with_peers: bool) -> None:
    """Due links on healthy hosts, as in `SPEEDS`."""
    rows = []
    for gap_s, hosts, links in SPEEDS:
        sites.say(f"{links:,} links on {hosts:,} hosts, gap {gap_s:g} s")
        name = f"gap-{gap_s:g}-{hosts}"
        with process.running(
            folder / f"{name}.log", hosts=hosts, copies=0, delay_ms=DELAY_MS, prefix=_FARM
        ) as farm:
            orders = link_runs.Orders(
                str(folder / name), tuple(farm.healthy_urls(links)), tuple(farm.ports.allowed), gap_s=gap_s,
                at_once=512,
            )  # fmt: skip
            report = link_runs.feedd_side(orders, _FEEDD)
            found = farm.breaches(gap_s=gap_s, tolerance_s=BUSY_TOLERANCE_S if not gap_s else breaches.TOLERANCE_S)
            asked = Counter(entry.host for entry in farm.entries() if isinstance(entry, log.Asked))
        (day,) = report.days
        each = links // hosts
        least_s = _least_s(each + 2, gap_s)  # robots.txt before its links, and the made-up path to compare them with
        least_bare_s = _least_s(each + 1, gap_s)
        rows.append((
            f"{links:,} on {hosts:,} hosts, gap {gap_s:g} s", f"{day.checked:,}", seconds(day.wall_s),
            f"{day.checked / day.wall_s:,.0f}", seconds(least_s), times(day.wall_s / least_s),
            times(day.wall_s / least_bare_s), f"{day.cpu_s / day.checked * 1000:.3f} s", megabytes(report.rss),
            f"{sum(asked.values()) / hosts:.1f}", _told(found) or "none",
        ))  # fmt: skip
    head = (
        f"links, answered in {DELAY_MS:g} ms", "checked", "wall", "links/s", "least that manners allow",
        "ratio", "to the least without made-up paths", "CPU per 1,000", "peak RSS", "requests a host", "breaches",
    )  # fmt: skip
    table("Speed of link checks, one core", head, rows)


def _least_s(requests: int, gap_s: float) -> float:
    """Seconds that so many requests to one host take at least, one after the other."""
    return (requests - 1) * gap_s + requests * DELAY_MS / 1000


# Trouble


def trouble(folder: Path, with_peers: bool) -> None:
    """1,000 hosts with 20 links each, gap 0.1 s; then with a host that hangs, one that never ends, and a bomb."""
    rows = []
    for bad in ((), ("hangs",), ("endless-body",), ("gzip-bomb",), ("hangs", "endless-body", "gzip-bomb")):
        name = " and ".join(bad) or "none"
        sites.say(f"{OTHERS:,} hosts, bad ones: {name}")
        home = folder / "-".join(["with", *bad])
        with process.running(
            Path(f"{home}.log"), hosts=OTHERS, copies=1, delay_ms=DELAY_MS, prefix=_FARM
        ) as farm:
            urls = [case.url for case in farm.urls() if case.name in bad] + farm.healthy_urls(OTHER_LINKS)
            report = link_runs.feedd_side(
                link_runs.Orders(str(home), tuple(urls), tuple(farm.ports.allowed), gap_s=0.1), _FEEDD
            )
            entries = [entry for entry in farm.entries() if isinstance(entry, log.Asked)]
        # Their links: at the end a host may be asked once more, to see whether it is us who are cut off.
        healthy = [entry for entry in entries if entry.path.startswith("/n/")]
        (day,) = report.days
        rows.append((
            name, seconds(max(entry.end for entry in healthy) - min(entry.start for entry in entries)),
            seconds(day.wall_s), seconds(day.cpu_s), megabytes(report.rss),
        ))  # fmt: skip
    head = ("bad hosts", "the others are done after", "all", "CPU", "peak RSS")
    table(f"{OTHER_LINKS:,} links on {OTHERS:,} healthy hosts, and bad ones beside them", head, rows)


# Many links


def known(folder: Path, with_peers: bool) -> None:
    """1,000,000 links known, 300 of them due: what finding those takes, in a process that has just come up."""
    found = link_known.measure(folder / "known", KNOWN, DUE)
    head = ("", "finding what is due", "and reading it", "both again", "resident before", "and after")
    row = (
        f"{found.due} of {KNOWN:,}", seconds(found.found_s), seconds(found.first_s), seconds(found.again_s),
        megabytes(found.before), megabytes(found.after),
    )  # fmt: skip
    table("Links that are due, of many", head, [row])


def publish(folder: Path, with_peers: bool) -> None:
    """An edit while links are checked, and while they are not."""
    link_publish.run(folder)


_PARTS: dict[str, Callable[[Path, bool], None]] = {
    "verdicts": verdicts, "speed": speed, "trouble": trouble, "known": known, "publish": publish,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.links", description=__doc__)
    parser.add_argument("part", choices=_PARTS)
    parser.add_argument("folder", type=Path, nargs="?", help="for what is written (default: one that is removed)")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        _PARTS[options.part](folder, not options.no_peers)


if __name__ == "__main__":
    main()
