"""Clocks that jump while it runs, and time zones that change: no entry twice, none late, no byte another.

The clock is libfaketime's, for the daemon and whatever it starts; waiting (the monotonic clock) is real.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path

import pytest
from faults import at_rest, bind, given_back, held, namespaces, troubles
from hypothesis import given
from hypothesis import strategies as st
from newsroom import article, tree
from processes import Daemon, Site, until

from feedd import schedule
from feedd.store.links import open_links
from tests.farm import process
from tests.linksite import asked, checkers, story

HOUR_S = 3_600
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1",
             "/usr/lib*/faketime/libfaketimeMT.so.1")
ZONES = Path("/usr/share/zoneinfo")


class Clock:
    """What the daemon takes for the time."""

    def __init__(self, file: Path) -> None:
        self._file, self._ahead_s = file, 0
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """It is so much later, or earlier, than it would have been; seen within a second."""
        self._ahead_s += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self._ahead_s:+d}\n")
        new.replace(self._file)

    def now(self) -> int:
        return int(time.time()) + self._ahead_s

    def in_s(self, seconds: int) -> str:
        """A date, as articles have it."""
        return datetime.fromtimestamp(self.now() + seconds, UTC).isoformat()


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    found = [str(path) for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])]
    if not found:
        pytest.skip("libfaketime is not installed (apt install faketime)")
    clock = Clock(tmp_path / "clock")
    for name, value in {
        "LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"), "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        "FAKETIME_DONT_RESET": "1",
    }.items():
        monkeypatch.setenv(name, value)
    yield clock


def jump(feedd: Daemon, clock: Clock, seconds: int) -> None:
    """When it has nothing to do, it becomes so much later or earlier; returns when the daemon has seen that."""
    at_rest(feedd)
    clock.jump(seconds)

    def is_seen() -> bool:
        said = parsedate_to_datetime(feedd.get("/readyz")[1]["Date"]).timestamp()
        return abs(said - clock.now()) < 5

    until(is_seen, "the clock is seen")


def dates(site: Site) -> dict[str, tuple[datetime, datetime]]:
    """Title -> published and updated, as readers of JSON see them."""
    return {
        item["title"]: (datetime.fromisoformat(item["date_published"]), datetime.fromisoformat(item["date_modified"]))
        for item in site.items()
    }


@contextmanager
def nothing_twice(site: Site, feedd: Daemon) -> Iterator[None]:
    """Entries keep their ids, and `updated` never goes back."""
    ids, before, was = site.ids(), dates(site), held(feedd)
    yield
    until(site.is_written, "everything is written")
    items = site.items()
    assert len({item["id"] for item in items}) == len(items)
    assert len({item["title"] for item in items}) == len(items)
    assert site.ids().items() >= ids.items()
    after = dates(site)
    assert all(after[title][1] >= before[title][1] for title in before)
    assert all(after[title][0] == before[title][0] for title in before)
    assert troubles(feedd).total() == 0
    given_back(feedd, was)


def test_a_clock_that_jumps_an_hour_ahead_publishes_what_is_due_by_it(tmp_path: Path, clock: Clock) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.put("held.md", article("Held", publishedDateTime=clock.in_s(HOUR_S // 2)))
    site.put("later.md", article("Later", publishedDateTime=clock.in_s(2 * HOUR_S)))
    with site.running() as feedd, nothing_twice(site, feedd):
        assert site.titles() == ["One"]
        jump(feedd, clock, HOUR_S)
        site.shows("One", "Held")  # nobody touched a file
        site.put("one.md", article("One", excerpt="Edited"))
        until(lambda: dates(site)["One"][1].timestamp() > clock.now() - 60, "the edit has today's date")
        assert dates(site)["One"][1].timestamp() < clock.now() + 60
        site.put("new.md", article("New"))
        site.shows("One", "Held", "New")
    site.check()


def test_a_clock_that_jumps_an_hour_back_stops_nothing(tmp_path: Path, clock: Clock) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd, nothing_twice(site, feedd):
        site.put("one.md", article("One", excerpt="Edited before"))
        until(lambda: [item["summary"] for item in site.items()] == ["Edited before"], "the edit is in")
        edited_at = dates(site)["One"][1]
        jump(feedd, clock, -HOUR_S)
        site.put("one.md", article("One", excerpt="Edited after"))
        until(lambda: [item["summary"] for item in site.items()] == ["Edited after"], "the edit is in")
        assert edited_at < dates(site)["One"][1] < edited_at + timedelta(minutes=1)  # later, and no more than that
        site.put("held.md", article("Held", publishedDateTime=clock.in_s(3)))
        site.put("new.md", article("New"))
        site.shows("One", "New")
        site.shows("One", "New", "Held")
    site.check()


@pytest.mark.long
def test_a_clock_that_jumps_to_and_fro_leaves_what_was_published_published(tmp_path: Path, clock: Clock) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.put("held.md", article("Held", publishedDateTime=clock.in_s(HOUR_S // 2)))
    with site.running() as feedd, nothing_twice(site, feedd):
        jump(feedd, clock, HOUR_S)
        site.put("new.md", article("New"))
        site.shows("One", "Held", "New")
        before = dates(site)
        jump(feedd, clock, -HOUR_S)
        site.put("last.md", article("Last"))
        site.shows("One", "Held", "New", "Last")
        assert {title: dates(site)[title] for title in before} == before
    with site.running() as feedd:  # and a start with the clock behind what it wrote
        assert sorted(site.titles()) == ["Held", "Last", "New", "One"]
        assert {title: dates(site)[title] for title in before} == before
    site.check()


def is_right(site: Site) -> bool:
    with contextlib.suppress(AssertionError):
        site.check()
        return True
    return False


def test_links_are_checked_when_cron_says_so_and_not_before(tmp_path: Path, farm: process.Farm, clock: Clock) -> None:
    at = datetime.fromtimestamp(clock.now() + HOUR_S, UTC)
    site = Site(tmp_path, links={
        "enabled": True, "cron": f"{at.minute} {at.hour} * * *", "soon_s": 86_400, "gap_ms": 5,
        "allow_networks": ["127.1.0.0/16"], "ports": farm.ports.allowed,
    })  # fmt: skip
    site.put("one.md", story("One", farm.healthy_urls(1)[0]))
    with site.running() as feedd:
        jump(feedd, clock, HOUR_S // 2)
        assert not feedd.find("links checked")
        jump(feedd, clock, HOUR_S // 2 + 120)
        assert feedd.wait("links checked")["checked"] == 1


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))
def test_each_time_of_cron_comes_once_and_less_than_a_minute_late(start: datetime) -> None:
    trigger, at, found = schedule.cron("*/2 3 * * *"), None, list[datetime]()
    now = start
    for _ in range(40):
        at = trigger.get_next_fire_time(at, now)
        assert at is not None and at >= start
        found.append(at)
        now = max(now, at)
    named = [at.replace(second=0, microsecond=0) for at in found]
    assert [at.minute % 2 for at in named] == [0] * 40
    assert len({at.second for at in found}) > 1
    steps = {after - before for before, after in pairwise(named)}
    assert steps <= {timedelta(minutes=2), timedelta(hours=23, minutes=2)}


@pytest.mark.long
def test_link_runs_neither_repeat_nor_stop_when_the_clock_jumps(
    tmp_path: Path, farm: process.Farm, clock: Clock
) -> None:
    networks, urls = ["127.1.0.0/16"], farm.healthy_urls(3)
    site = Site(tmp_path, links={
        "enabled": True, "every_minutes": 1, "soon_s": 1, "gap_ms": 5, "allow_networks": networks,
        "ports": farm.ports.allowed,
    })  # fmt: skip

    def runs() -> int:
        with contextlib.closing(open_links(str(site.state), read_only=True)) as links:
            return len(links.list_runs(1_000))

    def put(number: int) -> None:
        site.put(f"{number}.md", article(f"S{number}", related=[{"title": "R", "webUrl": urls[number]}]))

    put(0)
    with site.running() as feedd:
        feedd.wait("links checked", fresh=1)
        was = held(feedd)
        for number, seconds in ((1, HOUR_S), (2, -HOUR_S)):
            before, line = runs(), len(feedd.lines)
            jump(feedd, clock, seconds)
            put(number)
            feedd.wait("links checked", line)
            until(lambda n=before: runs() >= n + 2, "a run by the clock", within_s=90)  # type: ignore[misc]
            assert runs() <= before + 4
        assert troubles(feedd).total() == 0
        until(lambda: not checkers(feedd), "the run is over")
        until(lambda: is_right(site), "what was found is published")
        given_back(feedd, was)
    assert all(asked(farm, url)[url] == 1 for url in urls)
    site.check()


# --- time zones -------------------------------------------------------------------------------------------------------

TIMES = {"zulu": "2024-03-31T01:30:00Z", "offset": "2024-03-31T02:30:00+05:45", "naive": "2024-03-31 02:30:00",
         "day": "2024-10-27"}


def with_times(site: Site) -> None:
    for name, text in TIMES.items():
        site.put(f"{name}.md", article(name, publishedDateTime=text))
    site.put("2024-05-01-of-its-name.md", article("none", publishedDateTime=None))


def test_bytes_do_not_depend_on_the_time_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for number, zone in enumerate(("UTC", "Pacific/Kiritimati", "XYZ+9:17")):
        monkeypatch.setenv("TZ", zone)
        site = Site(tmp_path / str(number))
        with_times(site)
        assert site.command("build").returncode == 0
        seen.append(tree(site.out))
    assert all(each == seen[0] for each in seen)


def test_a_time_zone_that_changes_while_it_runs_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone = ZONES / "Pacific/Kiritimati"
    local = Path("/etc/localtime")
    if not zone.exists() or not local.exists():
        pytest.skip("no time zones are installed")
    monkeypatch.delenv("TZ", raising=False)
    site = Site(tmp_path)
    with_times(site)
    with namespaces():
        with site.running() as feedd, nothing_twice(site, feedd):
            before = tree(site.out)
            bind(zone, local.resolve())
            for name, text in TIMES.items():
                site.put(f"again-{name}.md", article(f"Again {name}", publishedDateTime=text))
            site.shows("none", *TIMES, *(f"Again {name}" for name in TIMES))
            assert all(dates(site)[name][0] == dates(site)[f"Again {name}"][0] for name in TIMES)
            for name in TIMES:
                (site.articles / f"again-{name}.md").unlink()
            site.shows("none", *TIMES)
            until(site.is_written, "everything is written")
        with site.running():
            assert tree(site.out).keys() >= before.keys()
        site.check()
