"""`./bench month`: a month of daily runs over links of many kinds, with a fake clock and no network.

A month is counted three times: of links that were all just found, of the same when all are known for half a year, and
of those of a site that found them one after the other in the course of a year. What the judge plans is compared with
the policy told once more, over the whole life of a link at once; the requests are counted beside those of daily
checking.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from zlib import crc32

from msgspec import Struct, field

from feedd.freshness import judge
from feedd.freshness.states import Evidence, Finding, LinkState
from tests.bench.report import seconds, table, times

DAY_S = 86_400
START = 20_000 * DAY_S + 4 * 3600  # of the first run; the others follow at the same hour
MONTH = 30  # days, and so runs
KNOWN = 180  # days after which a link counts as known for long
YEAR = 365  # in which a site found its links
DAYS = max(KNOWN + MONTH, YEAR)
HOSTS = 5_000
REFERENCES = 5.7  # to one link, in real data: 5,315 to 934
SEEN_WITHIN = 60  # days from a page's end to the verdict: the longest interval, and three strikes of weak evidence


class Found(Struct, frozen=True, gc=False):
    """What a link answers with on a day, and how many requests that takes: hops and retries are requests."""

    finding: Finding
    status: int
    version: int = 0
    is_moved: bool = False
    requests: int = 1


class Kind(Struct, frozen=True, gc=False):
    """Links that behave alike: what one answers, by its number and the day, and what is right to say of it at last."""

    name: str
    per_mille: int
    answer: Callable[[int, int], Found]
    verdict: str


class Check(Struct, frozen=True, gc=False):
    """A check that was made, and the run of the next one; `lapses`: the link is stale before that."""

    day: int
    found: Found
    next_day: int
    lapses: bool


class Month(Struct):
    """What is counted in a month: `days` of all links, which is what daily checking asks; `hosts` of each day."""

    name: str
    days: int = 0
    checks: int = 0
    requests: int = 0
    hosts: set[int] = field(default_factory=set)


class Tally(Struct):
    """What is counted of one kind of links. What ended so lately that no policy can know of it counts as right."""

    links: int = 0
    right: int = 0
    checks: list[int] = field(default_factory=lambda: [0, 0, 0])


class Outcome(Struct):
    """What a simulation counted; `delays`: the days from a page's end to the verdict. `breaches`: what is not as the
    policy says, in words.
    """

    tallies: dict[str, Tally]
    months: tuple[Month, Month, Month]
    delays: list[int]
    breaches: list[str]


def _chance(number: int, day: int) -> int:
    """0 to 99, at random but always the same."""
    return crc32(b"%d %d" % (number, day)) % 100


def _end(number: int) -> int:
    """The day on which a page ends, from long before its link was found to after the month."""
    return crc32(b"end %d" % number) % 450 - 220


GOOD = Found("good", 200)
MISSING = Found("missing", 404)
ENDS = (Found("gone", 410), Found("gone", 0), MISSING)  # 410, no such name, 404
WEAK = Found("weak", 503, requests=3)  # and two retries

KINDS = (
    Kind("healthy", 620, lambda number, day: GOOD, "fresh"),
    # Rewritten every 20 to 80 days, and then left.
    Kind("changing", 120, lambda number, day: Found("good", 200, (day + number % 97) // (20 + number % 61)), "fresh"),
    Kind("never the same", 40, lambda number, day: Found("good", 200, day + 1), "fresh"),
    Kind("moved", 50, lambda number, day: Found("good", 200, is_moved=True, requests=2), "moved"),
    Kind("ends", 70, lambda number, day: GOOD if day < _end(number) else ENDS[number % 3], "dead"),
    Kind("soft 404", 10, lambda number, day: MISSING, "dead"),
    Kind("host ends", 10, lambda number, day: GOOD if day < _end(number) else WEAK, "dead"),
    Kind("flaky", 30, lambda number, day: WEAK if _chance(number, day) < 15 else GOOD, "fresh"),
    Kind("blocked", 50, lambda number, day: Found("blocked", 403), "blocked"),
)


def run(links: int = 100_000) -> None:
    """Prints what a month takes; raises RuntimeError where a link was not checked as the policy says."""
    started = time.perf_counter()
    outcome = simulate(links)
    took = time.perf_counter() - started
    if outcome.breaches:
        raise RuntimeError(f"{len(outcome.breaches):,} links not checked by the policy, as {outcome.breaches[0]}")
    rows = [
        (month.name, f"{links:,}", f"{month.checks:,}", f"{month.requests:,}", f"{len(month.hosts):,}",
         times(month.days / month.requests), times(month.days * REFERENCES / month.requests))
        for month in outcome.months
    ]  # fmt: skip
    head = (
        "30 daily runs", "links", "checks", "requests", "and for robots.txt", "fewer than one a day for each link",
        "for each reference",
    )  # fmt: skip
    table("A month of links", head, rows)
    kinds = [
        (name, f"{t.links:,}", *(f"{checks / t.links:.1f}" for checks in t.checks), f"{t.right / t.links:.2%}")
        for name, t in outcome.tallies.items()
    ]
    columns = ("kind", "links", *(month.name for month in outcome.months), "right verdict at the end")
    table("Checks by what links do", columns, kinds)
    just_found, known, _ = (month.requests for month in outcome.months)
    daily = links * MONTH
    print(
        f"\nAll checks of {DAYS} days were made when the policy says, and no link got stale that answered well. A page "
        f"that ended was dead after {median(outcome.delays):.0f} days (median), {max(outcome.delays)} at most. A tenth "
        f"of daily checking is kept while no more than {(daily / 10 - known) / (just_found - known):.0%} of links were "
        f"found this month. Simulated in {seconds(took)}."
    )


def simulate(links: int) -> Outcome:
    """Lets links live through all days, one link after the other: none knows of another."""
    months = (Month("all just found"), Month("all known for half a year"), Month("found in the course of a year"))
    outcome = Outcome({kind.name: Tally() for kind in KINDS}, months, [], [])
    kinds = [kind for kind in KINDS for _ in range(kind.per_mille)]
    for number in range(links):
        kind = kinds[number % len(kinds)]
        url = f"https://h{crc32(b'host %d' % number) % HOSTS}.example/{number}"
        state, checks = _live(url, number, kind)
        if fault := _fault(checks):
            outcome.breaches.append(f"{kind.name} {url}: {fault}")
        _count(outcome, kind, number, state, checks)
    return outcome


def _live(url: str, number: int, kind: Kind) -> tuple[LinkState, list[Check]]:
    """A link's life from run to run."""
    state, checks = LinkState(), []
    day = _run_at(judge.first_check_at(url, START - 3600))
    while day < DAYS:
        now, found = START + day * DAY_S, kind.answer(number, day)
        state = judge.judge(url, state, _evidence(url, number, found, now, state.etag), now)
        next_day = _run_at(state.next_check_at)
        lapses = 0 < judge.lapses_at(state) <= START + next_day * DAY_S
        checks.append(Check(day, found, next_day, lapses))
        day = next_day
    return state, checks


def _run_at(due_at: int) -> int:
    """The first run at a time or later."""
    return -(-(due_at - START) // DAY_S)


def _evidence(url: str, number: int, found: Found, now: int, known_etag: str) -> Evidence:
    """What a check shows; every other server answers 304 where nothing changed."""
    if found.finding != "good":
        return Evidence(now, found.finding, found.finding, found.status)
    target, etag = url + "/new" if found.is_moved else "", f'"{found.version}"' if number % 2 else ""
    if etag and etag == known_etag:
        return Evidence(now, "good", "304", 304, target, found.is_moved, unchanged=True)
    mark = b"\0" + (found.version + 1000).to_bytes(15, "big")
    return Evidence(now, "good", "200", 200, target, found.is_moved, fingerprint=mark, etag=etag)


def _count(outcome: Outcome, kind: Kind, number: int, state: LinkState, checks: list[Check]) -> None:
    tally, host = outcome.tallies[kind.name], crc32(b"host %d" % number) % HOSTS
    tally.links += 1
    age = crc32(b"age %d" % number) % YEAR + 1  # in days, at the end of the month of a site that grows
    for which, end in enumerate((MONTH, KNOWN + MONTH, age)):
        begin, month = max(end - MONTH, 0), outcome.months[which]
        month.days += end - begin
        for check in checks:
            if begin <= check.day < end:
                tally.checks[which] += 1
                month.checks += 1
                month.requests += check.found.requests
                month.hosts.add(host * YEAR + end - check.day)
    if kind.name in ("ends", "host ends"):
        end = _end(number)
        if state.verdict == "dead" and end > 0:
            outcome.delays.append((state.since_at - START) // DAY_S - end)
        right = "dead" if end < DAYS - SEEN_WITHIN else "fresh" if end >= DAYS else state.verdict
        tally.right += state.verdict == right
    else:
        tally.right += state.verdict == kind.verdict


# -- the policy, told a second time ------------------------------------------------------------------------------------


def _fault(checks: list[Check]) -> str:
    """Why a link was not checked as the policy says; empty if it was."""
    if not checks or checks[0].day != 0:
        return "not in the first run"
    for check, planned in zip(checks, _planned(checks), strict=True):
        gap = check.next_day - check.day
        # Within 15 % of the plan, and then by the next of the daily runs.
        if not 0.85 * planned <= gap < 1.15 * planned + 1:
            return f"on day {check.day}, {check.found.finding}: {gap} days to the next check, {planned} in the policy"
        if check.lapses and check.found.finding == "good":
            return f"on day {check.day}: stale though checked when it was due"
    return ""


def _planned(checks: list[Check]) -> list[int]:
    """Days from each check to the next, by link-freshness alone: of the whole life, and without the judge."""
    planned: list[int] = []
    interval = dead_step = 0
    strikes: list[tuple[int, str]] = []
    weak: set[int] = set()
    dead = changed = moved = False
    first = last = -1  # contents
    moved_on = -1
    for check in checks:
        day, found = check.day, check.found
        if found.finding == "good":
            was = changed, moved
            first = found.version if first < 0 else first
            changed = found.version != first and (changed or found.version == last)
            last = found.version
            moved_on = (day if moved_on < 0 else moved_on) if found.is_moved else -1
            moved = found.is_moved and day > moved_on
            if strikes:
                interval = 1
            elif was != (changed, moved):
                interval = max(1, interval // 2)
            else:
                interval = _grown(interval)
            strikes, weak, dead, dead_step = [], set(), False, 0
            planned.append(interval)
            continue
        if found.finding == "weak" and (not strikes or day > strikes[-1][0]):
            weak.add(day)
        is_strike = found.finding in ("missing", "gone") or (found.finding == "weak" and len(weak) >= 3)
        if is_strike and (not strikes or day - strikes[-1][0] >= 3):
            strikes.append((day, found.finding))
            weak = set()
            dead = dead or len(strikes) > 2 or [finding for _, finding in strikes[-2:]] == ["gone", "gone"]
        if dead:
            dead_step += 1
            planned.append((7, 14, 30, 60, 90)[min(dead_step, 5) - 1])
        elif strikes or found.finding == "weak":
            planned.append(1)
        else:
            interval = _grown(interval)
            planned.append(interval)
    return planned


def _grown(interval: int) -> int:
    return {0: 1, 1: 2, 2: 4, 3: 4, 4: 7, 7: 14, 14: 30, 15: 30, 30: 30}[interval]


if __name__ == "__main__":
    run()
