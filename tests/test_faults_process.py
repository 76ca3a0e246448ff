"""What becomes of the process itself: killed, stopped, started twice, told to reload while it is busy, swamped.

After each: `feeds/` is what a clean rebuild from the same state writes, every article is in, nothing is held on to.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from faults import at_rest, given_back, held, known_titles, stop, troubles
from newsroom import article, tree
from processes import DEADLINE_S, ROOT, Daemon, Site, until
from test_crash import Churn

KILLS = 100
LOCKED = "another feedd is working on this state"


# --- kill -9 ----------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_killed_at_a_hundred_random_moments_of_a_busy_run(tmp_path: Path) -> None:
    """At any time from its first instruction on, while it starts, scans, writes, or follows a steady stream."""
    site = Site(tmp_path, feeds={"limit": 8}, articles={"settle_ms": 3, "max_wait_ms": 20})
    churn, moments = Churn(site, 100, 40), random.Random(100)
    reached = 0
    for number in range(KILLS):
        with Daemon(site) as feedd:
            if number % 2:
                feedd.wait("watching")
            end = time.monotonic() + moments.uniform(0, 0.6)
            while time.monotonic() < end:
                churn.step()
                time.sleep(moments.uniform(0, 0.01))  # as long as somebody's next change takes
            reached += bool(feedd.find("watching"))
            feedd.kill()
            until(lambda: feedd.members() == [], "its workers end by themselves")
        churn.look()
    assert reached >= KILLS // 2, "half of them were at work, if not more"
    with site.running() as feedd:
        churn.add()
        until(lambda: churn.look() == churn.paths.keys(), "all articles, and no others")
        assert troubles(feedd).total() == 0
    site.check()
    assert not [name for name in tree(tmp_path) if "/.feedd-" in name]


# --- SIGSTOP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stopped_s", [3, pytest.param(60, marks=pytest.mark.long)])
def test_stopped_and_continued_it_answers_those_who_waited_and_sees_what_changed(
    tmp_path: Path, stopped_s: float
) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.put("gone.md", article("Gone"))
    with site.running() as feedd, ExitStack() as readers:
        before, line = held(feedd), len(feedd.lines)
        kept = readers.enter_context(socket.create_connection(("127.0.0.1", feedd.port), timeout=DEADLINE_S))
        assert b"200 OK" in _ask(kept)
        stop(feedd)
        waiting = []
        for _ in range(20):
            reader = readers.enter_context(socket.create_connection(("127.0.0.1", feedd.port), timeout=DEADLINE_S))
            reader.sendall(b"GET /all.json HTTP/1.1\r\nHost: x\r\n\r\n")
            waiting.append(reader)
        kept.sendall(b"GET /all.json HTTP/1.1\r\nHost: x\r\n\r\n")
        site.put("one.md", article("One", excerpt="Edited meanwhile"))
        site.put("deep/two.md", article("Two"))
        (site.articles / "gone.md").unlink()
        threading.Event().wait(stopped_s)  # that is the fault
        os.kill(feedd.pid, signal.SIGCONT)
        began = time.monotonic()
        for reader in [*waiting, kept]:
            assert b"200 OK" in reader.recv(4096)
        site.shows("One", "Two")
        until(lambda: "Edited meanwhile" in [item["summary"] for item in site.items()], "the edit is in")
        assert time.monotonic() - began < 5
        assert troubles(feedd, line).total() == 0
        readers.close()
        until(site.is_written, "everything is written")
        given_back(feedd, before)
    site.check()


def _ask(reader: socket.socket) -> bytes:
    reader.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    return reader.recv(4096)


# --- two at once ------------------------------------------------------------------------------------------------------


def test_of_two_started_at_once_on_one_state_one_works_and_the_other_says_why_not(tmp_path: Path) -> None:
    for number in range(2):
        site = Site(tmp_path / str(number))
        site.put("one.md", article("One"))
        if number % 2:  # with a state that is there already
            site.command("build")
        with Daemon(site) as one, Daemon(site) as other:
            loser = until(lambda: next((x for x in (one, other) if x.poll() is not None), None), "one gives up")
            winner = other if loser is one else one
            assert loser.end() == 3
            assert loser.lines == []
            assert loser.noise == [f"feedd: {site.state}: {LOCKED}\n"]
            winner.wait_until_ready()
            site.put("two.md", article("Two"))
            site.shows("One", "Two")
            assert troubles(winner).total() == 0
            until(site.is_written, "everything is written")
            winner.stop()
        site.check()


def test_of_two_started_at_once_at_one_address_one_works_and_the_other_says_why_not(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    sites = [Site(tmp_path / name, server={"port": port}) for name in ("a", "b")]
    for site in sites:
        site.put("one.md", article("One"))
    with Daemon(sites[0]) as one, Daemon(sites[1]) as other:
        loser = until(lambda: next((x for x in (one, other) if x.poll() is not None), None), "one gives up")
        winner = other if loser is one else one
        assert loser.end() == 4
        assert loser.noise == [f"feedd: cannot listen on 127.0.0.1:{port}: Address already in use; see [server]\n"]
        winner.wait_until_ready()
        winner.site.shows("One")
        until(winner.site.is_written, "everything is written")
        winner.stop()
    loser.site.configure(server={"port": 0})  # and it left nothing behind that would be in the way
    with loser.site.running():
        loser.site.shows("One")
    for site in sites:
        site.check()


# --- reloads ----------------------------------------------------------------------------------------------------------


@contextmanager
def busy(site: Site, churn: Churn, port: int) -> Iterator[list[int]]:
    """Somebody edits, and a reader asks, until left; yields the statuses that the reader got."""
    ended, statuses = threading.Event(), list[int]()

    def edit() -> None:
        while not ended.wait(0.02):
            churn.step()

    def read() -> None:
        while not ended.wait(0.01):
            with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as reader:
                reader.sendall(b"GET /all.atom HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                statuses.append(int(reader.recv(4096).split()[1]))

    threads = [threading.Thread(target=work) for work in (edit, read)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("count", [15, pytest.param(100, marks=pytest.mark.long)])
def test_reloads_under_load_leave_feeds_as_the_last_configuration_wants_them(tmp_path: Path, count: int) -> None:
    if "SIGHUP" not in (ROOT / "feedd/daemon/life.py").read_text():
        pytest.skip("feedd does not reload yet")
    site = Site(tmp_path, feeds={"limit": 8})
    churn = Churn(site, 7, 40)
    with site.running() as feedd:
        at_rest(feedd)
        before = held(feedd)
        with busy(site, churn, feedd.port) as statuses:
            for number in range(count):
                line = len(feedd.lines)
                is_bad = number % 5 == 4
                site.configure(
                    site={"title": f"News {number}"},
                    feeds={"limit": 999_999 if is_bad else 5 + number % 7, "topics": number % 3 != 0},
                )
                os.kill(feedd.pid, signal.SIGHUP)
                if is_bad:
                    said = feedd.wait("configuration refused, the old one stays", line)
                    assert (said["level"], said["key"]) == ("error", "feeds.limit")
                else:
                    feedd.wait("configuration applied", line)
        assert statuses
        assert set(statuses) == {200}
        line = len(feedd.lines)
        site.configure(site={"title": "The last"}, feeds={"limit": 6})
        os.kill(feedd.pid, signal.SIGHUP)
        feedd.wait("configuration applied", line)
        churn.add()
        until(lambda: churn.look() == churn.paths.keys(), "all articles, and no others")
        until(lambda: b"The last" in (site.out / "all.atom").read_bytes(), "by the last configuration")
        until(site.is_written, "everything is written")
        at_rest(feedd)
        given_back(feedd, before)
        refused = len(feedd.find("configuration refused, the old one stays"))
        assert refused == count // 5, "each bad file once"
        assert troubles(feedd).total() == refused
    site.check()


# --- bursts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2_000, pytest.param(50_000, marks=pytest.mark.long)])
def test_a_burst_of_files_that_come_and_go_is_followed_and_forgotten(tmp_path: Path, count: int) -> None:
    site = Site(
        tmp_path, feeds={"limit": 50, "compress": [], "formats": ["atom", "json"], "archives": False},
        log={"level": "info"},
    )
    site.put("one.md", article("One"))
    staging = tmp_path / "staging"
    for number in range(count):
        path = staging / f"{number % 50}/{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(article(f"Story {number}", topics=[f"Topic {number % 5}"]))
    for number in range(50):
        (site.articles / str(number)).mkdir()

    def move(source: Path, target: Path) -> None:
        for number in range(count):
            name = f"{number % 50}/{number}.md"
            (source / name).rename(target / name)

    patience_s = 30 + count / 500
    with site.running() as feedd:
        before = held(feedd)
        for is_last in (False, True) if count > 10_000 else (True,):  # many files warm it up the first time
            if is_last:
                at_rest(feedd, within_s=patience_s)
                before = held(feedd)
            began = time.monotonic()
            move(staging, site.articles)
            until(lambda: len(known_titles(site)) == count + 1, "all of them are in", within_s=patience_s)
            until(site.is_written, "everything is written", within_s=patience_s)
            came_s, began = time.monotonic() - began, time.monotonic()
            assert len(site.items()) == 50
            move(site.articles, staging)
            until(lambda: known_titles(site) == {"One"}, "all of them are out", within_s=patience_s)
            until(site.is_written, "everything is written", within_s=patience_s)
            site.shows("One")
            print(f"{count} files: in after {came_s:.1f} s, out after {time.monotonic() - began:.1f} s")
        at_rest(feedd, within_s=patience_s)
        given_back(feedd, before)
        allowed = {"the kernel's event queue overflowed: events were lost", "watching anew",
                   "Inotify queue overflowed; filesystem events were lost"}
        assert troubles(feedd).keys() <= allowed
        assert troubles(feedd).total() <= 12
    site.check()
