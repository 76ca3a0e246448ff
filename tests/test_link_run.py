"""A run of link checks: politeness, redirects, retries, whose fault it is, bounds; in virtual time, to the second."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from itertools import count, pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from feedd.freshness import urls
from feedd.freshness.states import Answer, Request
from feedd.linkcheck import exchange, network, register
from feedd.linkcheck.dryrun import plan_of_run
from feedd.linkcheck.hosts import HostRule
from feedd.linkcheck.settings import Plan
from tests import virtual
from tests.linkfarm import Farm, Page, Room

DAY = 86_400
HOUR = 3_600
GAP_S = 1.0


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.links.close()


def many(host: str, number: int) -> list[str]:
    return [f"https://{host}/{page}" for page in range(number)]


def then(*pages: Page) -> Callable[[Request], Page]:
    """One after the other, and then the last for ever."""
    turn = count()
    return lambda _: pages[min(next(turn), len(pages) - 1)]


# -- what a run does ---------------------------------------------------------------------------------------------------


def test_a_due_link_is_asked_for_judged_and_noted_and_not_asked_for_again(room: Room) -> None:
    room.add("https://a.example/1")
    summary = room.run()
    state = room.state("https://a.example/1")
    assert room.farm.urls == ["https://a.example/robots.txt", "https://a.example/1"]
    assert (state.verdict, state.status, state.checked_at) == ("fresh", 200, int(virtual.START + 1))
    assert state.next_check_at > state.checked_at
    assert (summary.checked, summary.requests, summary.left, summary.put_off) == (1, 2, 0, 0)
    assert summary.verdicts == {"fresh": 1}
    assert summary.changed == {("unchecked", "fresh"): 1}
    assert room.run().requests == 0


def test_nothing_due_is_a_run_that_ends_at_once(room: Room) -> None:
    summary = room.run()
    assert (summary.checked, summary.requests, summary.seconds) == (0, 0, 0)


def test_a_run_is_noted_with_what_it_did(room: Room) -> None:
    room.add("https://a.example/1", "https://b.example/1")
    room.run(by="hand")
    (noted,) = room.links.list_runs(5)
    assert (noted.by, noted.finished_at > 0) == ("hand", True)
    assert (noted.counts["checked"], noted.counts["fresh"], noted.counts["unreachable"]) == (2, 2, 0)


def test_links_by_their_ids_are_checked_due_or_not_and_no_others(room: Room) -> None:
    room.add(*many("a.example", 3))
    room.run()
    room.add("https://b.example/1")
    chosen = room.link("https://a.example/1").id
    assert room.run(only=[chosen, 999]).checked == 1
    assert room.farm.links[3:] == ["https://a.example/1"]


def test_progress_is_told_as_results_are_written(room: Room) -> None:
    room.add(*many("a.example", 5))
    room.run()
    seen = [(told.checked, told.left) for told in room.progress]
    assert seen == sorted(seen)
    assert set(seen) >= {(1, 4), (3, 2), (5, 0)}
    assert room.progress[-1].verdicts == {"fresh": 5}
    assert 0.5 < room.progress[-1].rate < 2


def test_a_link_that_is_not_verified_for_long_becomes_stale_by_a_run(room: Room) -> None:
    room.know_as_fresh("https://a.example/1")
    room.at += 10 * DAY
    room.farm.hosts["a.example"] = Page(403)
    summary = room.run(Plan(max_links=0))
    assert (summary.lapsed, room.state("https://a.example/1").verdict) == (1, "stale")


def test_an_error_of_the_store_ends_the_run_with_that_error(room: Room) -> None:
    room.add(*many("a.example", 5))

    def page(_: Request) -> Page:
        room.links._db.execute("DROP TABLE host")
        return Page()

    room.farm.pages["https://a.example/1"] = page
    with pytest.raises(sqlite3.OperationalError):
        room.run()


class TornFarm(Farm):
    """The answer of b.example is none that anything could be read from."""

    async def get(self, request: Request, *, body_bytes: int = 0, keep: bool = True) -> Answer:
        """One exchange."""
        answer = await super().get(request)
        return answer if "b.example/" not in request.url else replace(answer, headers=None)  # type: ignore[arg-type]


def test_a_defect_at_one_answer_ends_the_run_and_those_that_came_with_it_are_noted(tmp_path: Path) -> None:
    given = [f"https://{name}.example/1" for name in "abc"]
    with closing((room := Room(tmp_path, *given, farm=TornFarm())).links):
        with pytest.raises(AttributeError):
            room.run(Plan(robots=False))
        assert room.verdicts(given) == ["fresh", "unchecked", "fresh"]


# -- politeness --------------------------------------------------------------------------------------------------------


def test_a_host_is_asked_one_thing_at_a_time_with_a_gap_from_end_to_start(room: Room) -> None:
    room.farm.hosts["a.example"] = Page(takes=3.0)
    room.add(*many("a.example", 4), *many("b.example", 4))
    room.run()
    assert room.farm.most_of_a_host == 1
    assert room.farm.most_at_once == 2
    assert room.farm.shortest_gaps() == pytest.approx({"a.example": GAP_S, "b.example": GAP_S})


def test_no_more_hosts_are_asked_at_once_than_allowed(room: Room) -> None:
    room.add(*(f"https://h{number}.example/" for number in range(20)))
    assert room.run(Plan(at_once=3)).checked == 20
    assert room.farm.most_at_once == 3


def test_http_and_https_of_a_host_share_its_turns(room: Room) -> None:
    room.add("http://a.example/1", "https://a.example/1", "http://a.example/2", "https://a.example/2")
    room.run()
    assert room.farm.shortest_gaps()["a.example"] == pytest.approx(GAP_S)


def test_a_rule_may_ask_for_a_longer_gap_and_so_may_robots(room: Room) -> None:
    room.add(*many("slow.example", 3), *many("a.sub.example", 3), *many("delay.example", 3))
    room.farm.robots["delay.example"] = "User-agent: *\nCrawl-delay: 7\n"
    room.run(Plan(rules=(HostRule("slow.example", gap_s=5.0), HostRule("*.sub.example", gap_s=0.0))))
    gaps = room.farm.shortest_gaps()
    assert gaps == pytest.approx({"slow.example": 5.0, "a.sub.example": 0.0, "delay.example": 7.0})
    asked = [asked.began for asked in room.farm.asked if asked.host == "delay.example"]
    assert [round(after - before - 0.02) for before, after in pairwise(asked)] == [7] * 3


def test_a_crawl_delay_is_kept_from_one_run_to_the_next(room: Room) -> None:
    room.farm.robots["a.example"] = "User-agent: *\nCrawl-delay: 30\n"
    room.add("https://a.example/1")
    room.run()
    room.at += 5
    room.add("https://a.example/2")
    before = room.at
    room.run()
    assert room.at - before == pytest.approx(25, abs=2)


def test_a_crawl_delay_longer_than_anybody_waits_puts_off_what_is_left(room: Room) -> None:
    room.farm.robots["a.example"] = "User-agent: *\nCrawl-delay: 50\n"
    room.add(*many("a.example", 3))
    summary = room.run(Plan(patience_s=30))
    assert summary.checked + summary.put_off == 3
    assert summary.put_off >= 2
    assert summary.seconds < 30


def test_a_restart_does_not_break_the_gap(room: Room) -> None:
    room.add("https://a.example/1")
    room.run()
    room.add("https://a.example/2")
    room.run()
    first, second = (asked.ended for asked in room.farm.asked[1:])
    assert len(room.farm.asked) == 3
    assert virtual.START + first > 0
    assert second == pytest.approx(GAP_S + 0.02, abs=1.0)


def test_after_a_kill_nobody_is_asked_before_the_gap_is_over(room: Room) -> None:
    with room.links.transaction():
        room.links.start_run("schedule", int(room.at))  # and never finished
    room.add("https://a.example/1", "https://b.example/1")
    room.run(Plan(gap_s=4.0))
    assert {asked.began for asked in room.farm.asked[:2]} == {4.0}


def sizes(draw_from: list[int]) -> list[str]:
    return [url for number, size in enumerate(draw_from) for url in many(f"h{number}.example", size)]


def least_s(farm: Farm, at_once: int, gap_s: float = GAP_S) -> float:
    """The least time that politeness allows for the requests that were made."""
    by_host: dict[str, list[float]] = {}
    for asked in farm.asked:
        by_host.setdefault(asked.host, []).append(asked.ended - asked.began)
    longest = max(sum(took) + gap_s * (len(took) - 1) for took in by_host.values())
    return max(longest, sum(map(sum, by_host.values())) / at_once)


@pytest.mark.parametrize("shape", [
    [300, *[1] * 200], [50] * 40, [2 ** (number % 8) for number in range(60)], [1] * 500, [100, 99, *[3] * 300],
])  # fmt: skip
def test_a_run_takes_hardly_longer_than_politeness_asks_for(room: Room, shape: list[int]) -> None:
    room.add(*sizes(shape))
    summary = room.run(Plan(at_once=16))
    assert summary.checked == sum(shape)
    assert summary.seconds <= 1.15 * least_s(room.farm, 16) + GAP_S


@given(st.lists(st.sampled_from([1, 1, 2, 3, 8, 40]), min_size=1, max_size=40), st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_whatever_the_sizes_of_hosts(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], at_once: int
) -> None:
    room = Room(tmp_path_factory.mktemp("sizes"), *sizes(shape))
    summary = room.run(Plan(at_once=at_once))
    assert summary.checked == sum(shape)
    assert summary.seconds <= 1.15 * least_s(room.farm, at_once) + GAP_S
    room.links.close()


@pytest.mark.parametrize(("at_once", "hosts"), [(2, 120), (2, 140), (4, 220), (4, 250)])
def test_no_host_is_left_over_when_all_others_are_done(room: Room, at_once: int, hosts: int) -> None:
    """One more than can be kept busy at a time, a batch after the other, would be asked all alone in the end."""
    room.add(*sizes([20] * hosts))
    summary = room.run(Plan(at_once=at_once))
    assert summary.checked == 20 * hosts
    assert summary.seconds <= 1.15 * least_s(room.farm, at_once)


def test_hosts_with_most_links_come_first(room: Room) -> None:
    room.add(*sizes([1, 1, 1, 30, 1, 1, 20]))
    room.run(Plan(at_once=2))
    assert {asked.host for asked in room.farm.asked[:2]} == {"h3.example", "h6.example"}


def test_more_hosts_than_fit_into_memory_are_all_asked(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "HELD", 20)
    monkeypatch.setattr(register, "KEPT", 5)
    monkeypatch.setattr(exchange, "OPENED", 7)
    room.add(*sizes([40, 9, *[3] * 50]))
    summary = room.run(Plan(at_once=4))
    assert (summary.checked, summary.left) == (199, 0)
    assert min(room.farm.shortest_gaps().values()) > 0.999
    assert len(set(room.farm.links)) == len(room.farm.links) == 199


def test_links_that_pile_up_behind_one_host_do_not_fill_the_memory(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "HELD", 10)
    monkeypatch.setattr(exchange, "PIECE", 2)
    for number in range(20):
        for page in range(10):
            to = f"https://popular.example/{number}/{page}"
            room.farm.pages[f"https://h{number}.example/{page}"] = Page(302, b"", location=to)
    room.add(*sizes([10] * 20))
    most = 0

    def look(request: Request) -> Page:
        nonlocal most
        asked = [asked.url for asked in room.farm.asked if asked.url.rpartition("/")[2].isdigit()]
        most = max(most, sum(url.startswith("https://h") for url in asked) - sum("popular" in url for url in asked))
        return Page()

    room.farm.hosts["popular.example"] = look
    assert room.run().checked == 200
    assert most < 50


def test_links_that_are_gone_from_the_store_meanwhile_keep_no_others_waiting(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "PIECE", 2)
    given = many("a.example", 10)
    room.add(*given)

    def drop(_: Request) -> Page:
        with closing(sqlite3.connect(tmp_path / "links.sqlite")) as database, database:
            database.executemany("DELETE FROM link WHERE url = ?", [(url,) for url in given[2:6]])
        return Page()

    room.farm.pages[given[0]] = drop
    summary = room.run()
    assert (summary.checked, summary.put_off, summary.left) == (6, 0, 0)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_whatever_leads_where_every_link_comes_to_its_end(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Links of many hosts lead to some few, some of which want to be left alone, with little room in memory."""
    random, room, given = Random(seed), Room(tmp_path_factory.mktemp("anywhere")), list[str]()
    names = [f"h{number}.example" for number in range(random.choice((15, 60, 150)))]
    few = [f"p{number}.example" for number in range(random.choice((1, 5, 20)))]
    for name in names:
        for url in many(name, random.choice((1, 8, 20))):
            given.append(url)
            if random.random() < 0.8:
                to = f"https://{random.choice(few if random.random() < 0.9 else names)}/{len(given)}"
                room.farm.pages[url] = Page(302, b"", location=to)
    for name in few:
        answers = [Page()] * random.choice((2, 10, 100))
        if random.random() < 0.5:
            room.farm.hosts[name] = then(*answers, Page(429, b"", headers={"retry-after": "5000"}))
    room.add(*given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "HELD", random.choice((5, 60, 120)))
        patch.setattr(exchange, "PIECE", random.choice((1, 2, 8)))
        patch.setattr(exchange, "OPENED", random.choice((1, 7)))
        patch.setattr(register, "KEPT", random.choice((1, 5)))
        summary = room.run(Plan(at_once=random.choice((4, 8, 32)), max_run_s=1e6))
    assert (summary.checked + summary.put_off, summary.left) == (len(given), 0)
    assert room.farm.most_of_a_host == 1
    assert min(room.farm.shortest_gaps().values(), default=GAP_S) > 0.999 * GAP_S
    room.links.close()


@pytest.mark.parametrize(("most", "expected"), [(256, [64, 64]), (4_096, [1_024, 1_024])])
def test_no_more_than_half_of_a_process_s_files_are_idle_connections(most: int, expected: list[int]) -> None:
    script = "from feedd.linkcheck.work import limits_of; found = limits_of(64); print(found.idle, found.idle_tls)"
    command = ["sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", sys.executable, "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert list(map(int, said.split())) == expected


# -- robots.txt --------------------------------------------------------------------------------------------------------


def test_what_robots_txt_forbids_is_not_asked_for_and_blocked(room: Room) -> None:
    room.farm.robots["a.example"] = "User-agent: *\nDisallow: /private\n"
    room.add("https://a.example/private/1", "https://a.example/open", "https://a.example/private/2")
    summary = room.run()
    assert room.farm.urls == ["https://a.example/robots.txt", "https://a.example/open"]
    assert summary.verdicts == {"blocked": 2, "fresh": 1}
    assert "robots" in room.state("https://a.example/private/1").history[0].reason


def test_robots_txt_is_remembered_for_later_runs_and_read_again_when_it_is_old(room: Room) -> None:
    room.farm.robots["a.example"] = "User-agent: *\nDisallow: /private\n"
    room.add("https://a.example/private/1", "https://a.example/open")
    room.run()
    room.at += HOUR
    room.make_due()
    room.run()
    assert room.farm.urls.count("https://a.example/robots.txt") == 1
    room.at += 2 * DAY
    room.make_due()
    room.run()
    assert room.farm.urls.count("https://a.example/robots.txt") == 2
    assert room.farm.urls.count("https://a.example/private/1") == 0


def test_robots_txt_may_be_left_unread(room: Room) -> None:
    room.farm.robots["a.example"] = "User-agent: *\nDisallow: /\n"
    room.add("https://a.example/1")
    room.run(Plan(robots=False))
    assert room.farm.urls == ["https://a.example/1"]


def test_robots_txt_that_is_elsewhere_is_read_there_in_that_hosts_turn(room: Room) -> None:
    room.farm.pages["https://a.example/robots.txt"] = Page(301, b"", location="https://b.example/robots.txt")
    room.farm.robots["b.example"] = "User-agent: *\nDisallow: /private\n"
    room.add("https://a.example/private", "https://a.example/1", *many("b.example", 3))
    room.run()
    assert room.state("https://a.example/private").verdict == "blocked"
    assert room.state("https://a.example/1").verdict == "fresh"
    assert min(room.farm.shortest_gaps().values()) > 0.999


def test_robots_txt_is_followed_five_times(room: Room) -> None:
    for step in range(20):
        here = "https://a.example/robots.txt" if step == 0 else f"https://r{step}.example/r"
        room.farm.pages[here] = Page(302, b"", location=f"https://r{step + 1}.example/r")
    room.add("https://a.example/1")
    room.run()
    assert len([url for url in room.farm.urls if ".example/r" in url]) == 6
    assert room.state("https://a.example/1").checked_at


def test_a_server_that_fails_for_robots_txt_is_not_asked_for_pages(room: Room) -> None:
    room.farm.pages["https://a.example/robots.txt"] = Page(500, b"")
    room.add("https://a.example/1", "https://b.example/1")
    room.run()
    assert "https://a.example/1" not in room.farm.urls
    assert room.state("https://a.example/1").verdict == "blocked"


def test_a_host_that_does_not_exist_is_found_out_by_its_robots_txt(room: Room) -> None:
    room.farm.hosts["gone.example"] = Page(failure="name")
    room.add(*many("gone.example", 2), *many("b.example", 4))
    room.run()
    assert room.farm.urls.count("https://gone.example/robots.txt") == 2
    assert [room.state(url).history[0].finding for url in many("gone.example", 2)] == ["gone", "gone"]
    assert room.state("https://gone.example/0").verdict == "failing"


def test_a_hop_of_a_redirect_is_kept_from_us_by_robots_too(room: Room) -> None:
    room.farm.pages["https://a.example/1"] = Page(302, b"", location="https://b.example/private")
    room.farm.robots["b.example"] = "User-agent: *\nDisallow: /private\n"
    room.add("https://a.example/1")
    room.run()
    assert "https://b.example/private" not in room.farm.urls
    assert room.state("https://a.example/1").verdict == "blocked"


# -- redirects ---------------------------------------------------------------------------------------------------------


def test_a_redirect_is_followed_in_the_turn_of_the_host_that_it_leads_to(room: Room) -> None:
    for page in range(3):
        room.farm.pages[f"https://a.example/{page}"] = Page(301, b"", location=f"https://b.example/to/{page}")
    room.add(*many("a.example", 3), *many("b.example", 3))
    room.run()
    state = room.state("https://a.example/0")
    assert (state.verdict, state.final_url) == ("fresh", "https://b.example/to/0")
    assert state.history[0].permanent
    assert min(room.farm.shortest_gaps().values()) > 0.999
    assert room.farm.most_of_a_host == 1


def test_a_loop_of_redirects_ends(room: Room) -> None:
    room.farm.pages["https://a.example/1"] = Page(302, b"", location="https://b.example/1")
    room.farm.pages["https://b.example/1"] = Page(302, b"", location="https://a.example/1#again")
    room.add("https://a.example/1")
    room.run()
    assert len(room.farm.links) == 2
    assert room.state("https://a.example/1").verdict != "fresh"


def test_ten_redirects_are_followed_and_no_more(room: Room) -> None:
    room.farm.hosts["a.example"] = lambda request: (
        Page(404) if "robots" in request.url
        else Page(302, b"", location=f"https://a.example/{int(request.url.rpartition('/')[2]) + 1}")
    )  # fmt: skip
    room.add("https://a.example/1")
    room.run()
    assert len(room.farm.links) == 11
    assert room.state("https://a.example/1").verdict != "fresh"


# -- made-up paths -----------------------------------------------------------------------------------------------------

HTML = {"content-type": "text/html"}


def page_of(text: str) -> Page:
    words = " ".join(f"{text}{number}" for number in range(80))
    return Page(body=f"<html><title>{text}</title><body><p>{words}</p></body></html>".encode(), headers=HTML)


def test_a_host_that_has_a_page_for_everything_has_none(room: Room) -> None:
    room.farm.hosts["soft.example"] = lambda request: (
        Page(404) if "robots" in request.url else page_of("real") if request.url.endswith("/0") else page_of("sorry")
    )
    room.add(*many("soft.example", 3))
    room.run()
    assert len([url for url in room.farm.urls if "/link-check" in url]) == 1
    assert room.verdicts(many("soft.example", 3)) == ["fresh", "failing", "failing"]
    assert min(room.farm.shortest_gaps().values()) > 0.999


def test_a_made_up_path_is_asked_for_once_a_day_at_most(room: Room) -> None:
    room.farm.hosts["a.example"] = lambda request: (
        Page(404) if "robots" in request.url or "/link-check" in request.url else page_of(request.url)
    )
    for day in range(3):
        room.add(*(f"https://a.example/{day}/{page}" for page in range(2)))
        room.run()
        room.add(f"https://a.example/again/{day}")
        room.run()
        made_up = [url for url in room.farm.urls if "/link-check" in url]
        assert len(made_up) == day + 1
        room.at += 25 * HOUR


def test_made_up_paths_are_asked_for_only_where_that_is_wanted_and_allowed(room: Room) -> None:
    for host in ("a.example", "b.example"):
        room.farm.hosts[host] = lambda request: page_of(request.url)
        room.farm.robots[host] = "User-agent: *\nDisallow: /link-check\n"
    room.add("https://a.example/1")
    room.run()
    room.add("https://b.example/1")
    room.run(Plan(made_up=False, robots=False))
    assert not any("/link-check" in url for url in room.farm.urls)
    assert room.verdicts(["https://a.example/1", "https://b.example/1"]) == ["fresh", "fresh"]


def test_a_made_up_path_may_lead_elsewhere(room: Room) -> None:
    room.farm.hosts["a.example"] = lambda request: (
        Page(404) if "robots" in request.url
        else Page(302, b"", location="https://b.example/none") if "/link-check" in request.url
        else page_of(request.url)
    )  # fmt: skip
    room.farm.pages["https://b.example/none"] = Page(404)
    room.add(*many("a.example", 2), *many("b.example", 5))
    room.run()
    assert room.verdicts(many("a.example", 2)) == ["fresh", "fresh"]
    assert min(room.farm.shortest_gaps().values()) > 0.999


# -- retries and rests -------------------------------------------------------------------------------------------------


def test_weak_evidence_is_looked_at_three_times_and_holds_up_nobody(room: Room) -> None:
    room.farm.pages["https://a.example/0"] = then(Page(500), Page(500), Page())
    room.add(*many("a.example", 4))
    summary = room.run()
    assert room.farm.links.count("https://a.example/0") == 3
    assert room.state("https://a.example/0").verdict == "fresh"
    assert len(room.state("https://a.example/0").history) == 1
    first_try, *others, second_try, third_try = room.farm.links
    assert first_try == second_try == third_try == "https://a.example/0"
    assert len(others) == 3
    assert summary.checked == 4


def test_evidence_that_stays_weak_counts_once(room: Room) -> None:
    room.farm.pages["https://a.example/0"] = Page(500)
    room.add(*many("a.example", 1))
    room.run()
    state = room.state("https://a.example/0")
    assert room.farm.links.count("https://a.example/0") == 3
    assert (len(state.history), state.history[0].finding) == (1, "weak")


def test_strong_evidence_is_looked_at_once(room: Room) -> None:
    room.farm.pages["https://a.example/0"] = Page(404)
    room.add(*many("a.example", 1))
    room.run()
    assert room.farm.links == ["https://a.example/0"]


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_pauses_the_whole_host(room: Room, status: int, form: str) -> None:
    wish = "40" if form == "seconds" else formatdate(virtual.START + 41, usegmt=True)
    room.farm.pages["https://a.example/0"] = then(Page(status, headers={"retry-after": wish}), Page())
    room.add(*many("a.example", 3), *many("b.example", 3))
    room.run()
    asked = sorted(room.farm.asked, key=lambda asked: asked.began)
    of_a = [asked for asked in asked if asked.host == "a.example"]
    at = next(number for number, asked in enumerate(of_a) if asked.url.endswith("/0"))
    assert of_a[at + 1].began - of_a[at].ended >= 38.9
    assert {asked.url for asked in of_a} >= set(many("a.example", 3))
    assert max(asked.ended for asked in asked if asked.host == "b.example") < 10


class UnreadFarm(Farm):
    """Each answer is there for 0.4 s before anybody has time to read it."""

    async def get(self, request: Request, *, body_bytes: int = 0, keep: bool = True) -> Answer:
        """One exchange."""
        answer = await super().get(request)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual.Loop)
        loop.call_soon(loop.be_busy, 0.4)
        return answer


def test_a_date_that_a_host_asks_for_is_kept_however_late_its_answer_is_read(tmp_path: Path) -> None:
    given = many("a.example", 2)
    with closing((room := Room(tmp_path, *given, farm=UnreadFarm())).links):
        busy = Page(503, headers={"retry-after": formatdate(virtual.START + 41, usegmt=True)})
        room.farm.pages[given[0]] = room.farm.pages[given[1]] = then(busy, Page())
        room.run(Plan(robots=False))
        first, second, *_ = sorted(asked.began for asked in room.farm.asked)
        assert first < 10
        assert second == pytest.approx(41, abs=0.001)


def test_who_asks_for_more_than_a_run_is_left_alone_and_what_waits_is_put_off(room: Room) -> None:
    room.farm.pages["https://a.example/0"] = Page(429, headers={"retry-after": str(5 * HOUR)})
    room.add(*many("a.example", 30))
    summary = room.run()
    assert room.farm.links == ["https://a.example/0"]
    assert (summary.checked, summary.put_off, summary.left) == (1, 29, 0)
    other = room.state("https://a.example/7")
    assert (other.verdict, other.history) == ("unchecked", ())
    assert other.next_check_at == pytest.approx(virtual.START + 5 * HOUR, abs=5)
    assert room.state("https://a.example/0").verdict == "blocked"
    room.add("https://a.example/new")  # another run, another link: the host is still left alone
    assert room.run().requests == 0
    assert room.state("https://a.example/new").next_check_at == other.next_check_at
    room.at = virtual.START + 5 * HOUR + 10
    assert room.run().checked == 30


def test_nobody_is_left_alone_for_more_than_a_day(room: Room) -> None:
    room.farm.pages["https://a.example/0"] = Page(503, headers={"retry-after": "99999999"})
    room.add(*many("a.example", 2))
    room.run()
    assert room.state("https://a.example/1").next_check_at == pytest.approx(virtual.START + DAY, abs=5)
    assert room.state("https://a.example/0").history[0].finding == "weak"


def test_a_429_without_a_time_slows_down(room: Room) -> None:
    room.farm.pages["https://a.example/0"] = Page(429)
    room.add(*many("a.example", 2))
    room.run()
    first, second = (asked for asked in room.farm.asked if not asked.url.endswith("txt"))
    assert second.began - first.ended >= 60


def test_a_host_that_fails_five_times_in_a_row_is_left_for_some_hours(room: Room) -> None:
    room.farm.hosts["a.example"] = lambda request: Page(404) if "robots" in request.url else Page(502)
    room.add(*many("a.example", 40), *many("b.example", 3))
    summary = room.run()
    asked = [url for url in room.farm.links if "a.example" in url]
    assert len(asked) == 5
    assert summary.put_off == 40 - len(set(asked))
    tried = [room.state(url) for url in set(asked)]
    assert {state.history[0].finding for state in tried} == {"weak"}
    other = room.state("https://a.example/39")
    assert other.history == ()
    assert 2 * HOUR < other.next_check_at - room.at < 5 * HOUR
    assert room.links.find_hosts(["a.example"])["a.example"].breaker_until > room.at
    room.at = other.next_check_at
    assert room.run().checked == 5  # it has five tries again, and then rests longer
    later = room.links.find_hosts(["a.example"])["a.example"]
    assert later.breaker_until - room.at > 5 * HOUR
    room.farm.hosts.clear()
    room.at = float(later.breaker_until)
    room.run()
    assert room.links.find_hosts(["a.example"])["a.example"].rests == 0


def test_what_is_needed_from_a_host_that_is_left_alone_is_not_waited_for(room: Room) -> None:
    room.farm.pages["https://tired.example/1"] = Page(429, headers={"retry-after": "9000"})
    room.farm.pages["https://a.example/robots.txt"] = Page(301, b"", location="https://tired.example/robots.txt")
    room.farm.hosts["b.example"] = lambda request: (
        Page(404) if "robots" in request.url
        else Page(302, b"", location="https://tired.example/none") if "/link-check" in request.url
        else page_of("some")
    )  # fmt: skip
    room.add("https://tired.example/1")
    room.run()
    room.add(*many("a.example", 3), *many("b.example", 3))
    summary = room.run()
    assert summary.seconds < 30
    assert room.verdicts(many("b.example", 3)) == ["fresh"] * 3
    assert (summary.checked, summary.put_off) == (3, 3)
    assert 8000 < room.state("https://a.example/1").next_check_at - virtual.START < 9100


def test_ends_wait_together_for_what_a_made_up_path_shows(room: Room) -> None:
    room.farm.hosts["a.example"] = lambda request: (
        Page(404) if "robots" in request.url
        else Page(302, b"", location="https://slow.example/none") if "/link-check" in request.url
        else page_of("same for all")
    )  # fmt: skip
    room.farm.pages["https://slow.example/none"] = page_of("same for all")
    room.farm.robots["slow.example"] = "User-agent: *\nCrawl-delay: 9\n"
    room.add(*many("a.example", 6))
    room.run()
    assert len([url for url in room.farm.urls if "/none" in url]) == 1
    assert room.verdicts(many("a.example", 6)) == ["failing"] * 6


# -- is it us? ---------------------------------------------------------------------------------------------------------


def test_a_failure_without_an_answer_counts_once_somebody_answers(room: Room) -> None:
    room.farm.hosts["a.example"] = Page(failure="timeout", takes=10)
    room.add("https://a.example/1", *many("b.example", 60))
    summary = room.run()
    assert not summary.unreachable
    assert room.state("https://a.example/1").history[0].finding == "weak"


def test_a_lonely_failure_is_confirmed_by_a_host_that_did_well_of_late(room: Room) -> None:
    room.know_as_fresh("https://well.example/1", "https://other.example/1")
    room.farm.hosts["a.example"] = Page(failure="refused")
    room.add("https://a.example/1")
    summary = room.run()
    assert not summary.unreachable
    assert room.state("https://a.example/1").history[0].finding == "weak"
    canaries = [asked for asked in room.farm.asked if asked.host != "a.example"]
    assert len(canaries) == 1


@pytest.mark.parametrize("failure", ["timeout", "refused", "lookup", "name", "reset", "tls"])
def test_a_lonely_failure_is_ours_if_nobody_answers(room: Room, failure: str) -> None:
    room.know_as_fresh(*(f"https://well{number}.example/1" for number in range(9)))
    room.farm.is_down = lambda _: True
    room.farm.hosts["a.example"] = Page(failure=failure)  # type: ignore[arg-type]  # one of them
    room.add("https://a.example/1")
    summary = room.run()
    state = room.state("https://a.example/1")
    assert (summary.unreachable, summary.checked, summary.put_off) == (True, 0, 1)
    assert (state.verdict, state.history, state.strikes) == ("unchecked", (), 0)
    assert len({asked.host for asked in room.farm.asked} - {"a.example"}) == network.CANARIES
    assert 4 * 60 < state.next_check_at - room.at <= 6 * 60
    assert room.links.list_runs(1)[0].counts["unreachable"] == 1


def test_the_longer_we_are_cut_off_the_seldomer_it_is_tried(room: Room) -> None:
    room.know_as_fresh("https://well.example/1")
    room.farm.is_down = lambda _: True
    room.add("https://a.example/1")
    waits = []
    for _ in range(6):
        assert room.run().unreachable
        waits.append(round((room.state("https://a.example/1").next_check_at - room.at) / 60))
        room.at = float(room.state("https://a.example/1").next_check_at)
    assert waits == [5, 10, 20, 40, 60, 60]
    room.farm.is_down = lambda _: False
    assert room.run().checked == 1
    room.farm.is_down = lambda _: True
    room.make_due("https://a.example/1")
    room.run()
    assert room.state("https://a.example/1").next_check_at - room.at <= 301


def test_a_run_that_reaches_nobody_ends_early(room: Room) -> None:
    room.know_as_fresh("https://well.example/1")
    room.farm.is_down = lambda _: True
    room.add(*sizes([3] * 400))
    summary = room.run(Plan(at_once=8))
    assert summary.unreachable
    assert len({asked.host for asked in room.farm.asked}) < 2 * network.SUSPICIOUS
    assert (summary.checked, summary.left + summary.put_off) == (0, 1200)
    assert all(link.state.history == () for link in room.links.list_by_verdict("unchecked", 0, 2000))
    assert all(host.failures == 0 for host in room.links.find_hosts([f"h{n}.example" for n in range(400)]).values())


def test_a_network_that_breaks_down_in_the_middle_punishes_nobody(room: Room) -> None:
    room.farm.is_down = lambda at: at > 5
    room.add(*sizes([12] * 60))
    summary = room.run()
    assert summary.unreachable
    assert summary.verdicts == {"fresh": summary.checked}
    assert summary.checked > 100
    assert summary.seconds < 60


def test_a_network_that_comes_back_is_used(room: Room) -> None:
    room.know_as_fresh("https://well.example/1")
    room.farm.is_down = lambda at: 5 < at < 9
    room.add(*sizes([12] * 15))
    summary = room.run()
    assert not summary.unreachable
    assert summary.checked + summary.put_off == 180
    assert set(summary.verdicts) <= {"fresh"} | ({"unchecked"} if "unchecked" in summary.verdicts else set())


def test_many_dead_hosts_do_not_end_a_run(room: Room) -> None:
    room.know_as_fresh("https://well.example/1")
    for number in range(100):
        room.farm.hosts[f"h{number}.example"] = Page(failure="name")
    room.add(*sizes([2] * 100 + [1] * 50))
    summary = room.run(Plan(at_once=10))
    assert not summary.unreachable
    assert summary.verdicts == {"failing": 200, "fresh": 50}


def test_many_dead_hosts_do_not_end_the_first_run_either(room: Room) -> None:
    for number in range(30):
        room.farm.hosts[f"h{number}.example"] = Page(failure="name", takes=0.01)
    room.add(*sizes([2] * 30 + [1] * 50))
    summary = room.run(Plan(at_once=100))
    assert (summary.unreachable, summary.checked) == (False, 110)


def test_the_breaker_does_not_count_what_may_be_ours(room: Room) -> None:
    room.farm.is_down = lambda _: True
    room.add(*many("a.example", 30), *many("b.example", 30))
    summary = room.run()
    assert summary.unreachable
    assert len(room.farm.asked) <= 12
    rows = room.links.find_hosts(["a.example", "b.example"])
    assert [(row.failures, row.breaker_until) for row in rows.values()] == [(0, 0), (0, 0)]


def test_a_silent_host_rests_once_somebody_else_has_answered(room: Room) -> None:
    room.farm.hosts["a.example"] = Page(failure="timeout", takes=10)
    room.add(*many("a.example", 30), *many("b.example", 200))
    summary = room.run()
    assert len([url for url in room.farm.urls if "a.example" in url]) == 5
    assert summary.put_off >= 25
    assert room.links.find_hosts(["a.example"])["a.example"].breaker_until > room.at + HOUR


# -- rules -------------------------------------------------------------------------------------------------------------


def test_rules_say_what_is_not_asked_for(room: Room) -> None:
    room.add("https://skip.example/1", "https://www.fine.example/1", "https://a.example/1")
    rules = (HostRule("skip.example", "skip"), HostRule("*.fine.example", "ok"))
    summary = room.run(Plan(rules=rules))
    assert summary.verdicts == {"excluded": 1, "fresh": 2}
    assert {asked.host for asked in room.farm.asked} == {"a.example"}


def test_rules_hold_for_where_redirects_lead(room: Room) -> None:
    room.farm.pages["https://a.example/1"] = Page(302, b"", location="https://skip.example/1")
    room.farm.pages["https://a.example/2"] = Page(302, b"", location="https://fine.example/1")
    room.farm.pages["https://b.example/robots.txt"] = Page(302, b"", location="https://skip.example/robots.txt")
    room.add("https://a.example/1", "https://a.example/2", "https://b.example/1")
    room.run(Plan(rules=(HostRule("skip.example", "skip"), HostRule("fine.example", "ok"))))
    assert {asked.host for asked in room.farm.asked} <= {"a.example", "b.example"}
    assert room.verdicts(["https://a.example/1", "https://a.example/2"]) == ["blocked", "fresh"]
    assert room.state("https://b.example/1").checked_at


def test_headers_and_user_agents_of_a_rule_go_to_its_hosts_alone(room: Room) -> None:
    room.farm.pages["https://a.example/1"] = Page(302, b"", location="https://b.example/1")
    room.add("https://a.example/1")
    rule = HostRule("a.example", user_agent="other", headers=(("authorization", "secret"),))
    room.run(Plan(user_agent="feedd/1", contact="https://me.example/", rules=(rule,)))
    sent = {asked.host: (asked.request.user_agent, asked.request.headers) for asked in room.farm.asked}
    assert sent == {
        "a.example": ("other", (("authorization", "secret"),)), "b.example": ("feedd/1 (+https://me.example/)", ()),
    }  # fmt: skip


def test_a_recheck_is_conditional_and_asks_where_the_page_was(room: Room) -> None:
    tagged = Page(headers={"etag": '"1"'})
    room.farm.pages["https://a.example/1"] = Page(301, b"", location="https://b.example/1")
    room.farm.pages["https://b.example/1"] = room.farm.pages["https://b.example/2"] = lambda request: (
        Page(304, b"") if request.etag else tagged
    )
    room.add("https://a.example/1", "https://b.example/2")
    room.run()
    room.make_due()
    room.run()
    asked = {asked.url: asked.request.etag for asked in room.farm.asked}
    assert asked["https://a.example/1"] == ""
    assert asked["https://b.example/1"] == asked["https://b.example/2"] == '"1"'
    assert room.state("https://b.example/2").history[0].unchanged


# -- bounds and stops --------------------------------------------------------------------------------------------------


def test_a_run_is_bounded_in_links_and_takes_those_longest_due(room: Room) -> None:
    room.add(*many("a.example", 5))
    room.at += 100
    room.add(*many("b.example", 50))
    summary = room.run(Plan(max_links=8))
    assert (summary.checked, summary.left) == (8, 0)
    assert set(many("a.example", 5)) <= set(room.farm.links)


def test_a_run_is_bounded_in_time(room: Room) -> None:
    room.add(*many("a.example", 100))
    summary = room.run(Plan(max_run_s=20))
    assert summary.seconds <= 21
    assert 17 <= summary.checked <= 21
    assert summary.left == 100 - summary.checked
    room.run()
    assert len(room.farm.links) == len(set(room.farm.links)) == 100


def test_a_run_is_bounded_in_bytes(room: Room) -> None:
    room.farm.hosts["a.example"] = Page(body=b"x" * 10_000)
    room.add(*many("a.example", 100))
    summary = room.run(Plan(max_bytes=100_000))
    assert 100_000 <= summary.bytes <= 120_000
    assert summary.left > 80


def stopping(after_s: float) -> Callable[[], asyncio.Event]:
    def make() -> asyncio.Event:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(after_s, stop.set)
        return stop

    return make


def test_a_stop_breaks_off_what_hangs_and_notes_what_was_answered(room: Room) -> None:
    room.farm.hosts["slow.example"] = Page(takes=1000)
    room.add(*many("slow.example", 1), *many("a.example", 10))
    summary = room.run(stop=stopping(5.5))
    assert summary.stopped
    assert summary.seconds == pytest.approx(5.5, abs=0.01)
    assert room.verdicts(many("a.example", 10)).count("fresh") == summary.checked == 5
    assert room.state("https://slow.example/0").history == ()


class LateFarm(Farm):
    """Sets `stop` as it answers a link, and answers after so many more `turns` of the loop, if it is let."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns, self.stop = turns, asyncio.Event()
        self.answered: list[str] = []

    async def get(self, request: Request, *, body_bytes: int = 0, keep: bool = True) -> Answer:
        """One exchange."""
        answer = await super().get(request)
        if not request.url.endswith("robots.txt"):
            self.stop.set()
            for _ in range(self.turns):
                await asyncio.sleep(0)
            self.answered.append(request.url)
        return answer


@pytest.mark.parametrize("turns", range(8))
def test_an_answer_that_comes_while_a_stop_is_seen_to_is_noted(tmp_path: Path, turns: int) -> None:
    farm = LateFarm(turns)
    with closing((room := Room(tmp_path, "https://a.example/1", "https://b.example/1", farm=farm)).links):
        summary = room.run(stop=lambda: farm.stop)
        assert summary.stopped
        assert summary.checked == len(farm.answered)
        assert {link.url for link in room.links.list_by_verdict("fresh", 0, 10)} == set(farm.answered)


@given(st.floats(0, 12), st.lists(st.integers(1, 6), min_size=1, max_size=6))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_stop_at_any_time_loses_nothing_and_repeats_nothing(
    tmp_path_factory: pytest.TempPathFactory, after_s: float, shape: list[int]
) -> None:
    room = Room(tmp_path_factory.mktemp("stop"))
    room.add(*sizes(shape))
    first = room.run(stop=stopping(after_s))
    fresh = {link.url for link in room.links.list_by_verdict("fresh", 0, 100)}
    assert len(fresh) == first.checked
    done = len(room.farm.asked)
    second = room.run()
    again = {asked.url for asked in room.farm.asked[done:] if not asked.url.endswith("robots.txt")}
    assert first.checked + second.checked == sum(shape)
    assert not again & fresh
    room.links.close()


# -- a dry run ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_asked_for_and_asks_nothing(room: Room) -> None:
    room.farm.robots["known.example"] = "User-agent: *\nDisallow: /private\n"
    room.farm.hosts["tagged.example"] = Page(headers={"etag": '"1"'})
    room.farm.pages["https://tired.example/1"] = Page(429, headers={"retry-after": "9000"})
    room.add("https://known.example/1", "https://tagged.example/1", "https://tired.example/1")
    room.run()
    room.add("https://known.example/private", "https://new.example/1", "https://skip.example/1", "https://ok.example/1")
    room.make_due()
    done = len(room.farm.asked)
    plan = Plan(rules=(HostRule("skip.example", "skip"), HostRule("ok.example", "ok")))
    planned = {each.url: (each.action, each.robots) for each in plan_of_run(plan, room.links, now=room.at)}
    assert planned == {
        "https://known.example/1": ("get", True), "https://known.example/private": ("robots", True),
        "https://tagged.example/1": ("conditional", True), "https://tired.example/1": ("wait", False),
        "https://new.example/1": ("get", False), "https://skip.example/1": ("skip", False),
        "https://ok.example/1": ("ok", False),
    }  # fmt: skip
    later = {each.url: each.robots for each in plan_of_run(plan, room.links, now=room.at + 3 * DAY)}
    assert not any(later.values())
    assert len(room.farm.asked) == done


# -- all of it together ------------------------------------------------------------------------------------------------

HOSTS = [f"h{number}.example" for number in range(8)]
PAGES = st.one_of(
    st.builds(Page, status=st.sampled_from([200, 200, 200, 404, 410, 403, 500])),
    st.builds(Page, failure=st.sampled_from(["timeout", "refused", "name", "tls", "protocol", "size"])),
    st.builds(
        lambda status, wish: Page(status, headers={"retry-after": wish}), st.sampled_from([429, 503]),
        st.sampled_from(["3", "30", "5000", "nonsense"]),
    ),
    st.builds(
        lambda status, host, page: Page(status, b"", location=f"https://{host}/{page}"),
        st.sampled_from([301, 302, 308]), st.sampled_from(HOSTS), st.integers(0, 6),
    ),
    st.builds(page_of, st.sampled_from(["alpha", "beta"])),
)  # fmt: skip
ROBOTS = st.sampled_from(["", "User-agent: *\nDisallow: /3\n", "User-agent: *\nCrawl-delay: 4\n"])


@given(
    st.dictionaries(st.tuples(st.sampled_from(HOSTS), st.integers(0, 6)), PAGES, min_size=1, max_size=30),
    st.dictionaries(st.sampled_from(HOSTS), ROBOTS), st.integers(1, 6), st.floats(0, 3),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_in_any_farm_every_rule_is_kept_and_every_link_comes_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, pages: dict[tuple[str, int], Page], robots: dict[str, str], at_once: int,
    gap_s: float,
) -> None:
    room = Room(tmp_path_factory.mktemp("farm"))
    room.farm.pages = {f"https://{host}/{page}": behaviour for (host, page), behaviour in pages.items()}
    room.farm.robots = robots
    given_ = list(room.farm.pages)
    room.know_as_fresh("https://well.example/1")
    room.add(*given_)
    summary = room.run(Plan(gap_s=gap_s, at_once=at_once))
    assert (summary.checked + summary.put_off, summary.left) == (len(given_), 0)
    assert not summary.unreachable
    assert room.farm.most_of_a_host == 1
    assert room.farm.most_at_once <= at_once
    assert min(room.farm.shortest_gaps().values()) >= gap_s - 1e-6
    for url in given_:
        state = room.state(url)
        assert state.next_check_at > room.at
        assert len(state.history) <= 1
    check_rules(room.farm, robots)
    room.links.close()


def check_rules(farm: Farm, robots: dict[str, str]) -> None:
    """Robots, crawl delays and Retry-After of every host, by the log of requests."""
    alone_until: dict[str, float] = {}
    last: dict[str, float] = {}
    for asked in sorted(farm.asked, key=lambda asked: asked.began):
        rules = robots.get(asked.host, "")
        assert not ("Disallow: /3" in rules and asked.url.endswith("/3"))
        assert asked.began >= alone_until.get(asked.host, 0.0) - 1e-6
        if "Crawl-delay" in rules and not asked.url.endswith("robots.txt") and asked.host in last:
            assert asked.began - last[asked.host] >= 4 - 1e-6
        last[asked.host] = asked.ended
        page = farm.page(asked.request)
        if page.status in (429, 503) and page.headers.get("retry-after", "").isdigit():
            alone_until[asked.host] = asked.ended + int(page.headers["retry-after"])


def test_hosts_are_named_as_the_store_names_them() -> None:
    assert urls.host_of("https://a.example/x") == "a.example"
