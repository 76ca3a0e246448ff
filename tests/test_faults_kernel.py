"""What the kernel gives out, used up: inotify watches and instances, the queue of events, open files.

After each: nothing that changed meanwhile is lost, and what was taken is given back.
"""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import processes
import pytest
from faults import at_rest, given_back, held, known_titles, stop, troubles
from newsroom import article
from processes import Site, until

from feedd import files
from feedd.watch import Watcher

QUEUE_LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")
LIMITS = Path("/proc/sys/user")  # of this user within this user namespace
POLLING = "polling for changes, as inotify cannot be used"
UNREADABLE = "articles cannot be read now, their feeds stay as they are"
OVERFLOW = "the kernel's event queue overflowed: events were lost"


@contextmanager
def of_its_own_user(monkeypatch: pytest.MonkeyPatch, **limits: int) -> Iterator[None]:
    """Daemons are started in a user namespace with these limits, which are then nobody else's."""
    tool = shutil.which("unshare")
    if tool is None:
        pytest.skip("unshare of util-linux is not installed")
    into = [tool, "--user", "--map-root-user"]
    tried = subprocess.run([*into, "test", "-w", LIMITS / "max_inotify_watches"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"no user namespaces for this user: {tried.stderr.decode().strip() or 'no limits of its own'}")
    orders = "".join(f"echo {limit} >{LIMITS}/{name} && " for name, limit in limits.items())
    monkeypatch.setattr(processes, "FEEDD", [*into, "sh", "-c", f'{orders}exec "$@"', "sh", *processes.FEEDD])
    yield
    monkeypatch.undo()


# --- inotify ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "most"), [("watches", 5), ("instances", 0)])
def test_a_start_without_inotify_polls_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, most: int
) -> None:
    site = Site(tmp_path, articles={"poll_interval_s": 1})
    for number in range(20):
        site.put(f"{number}/{number}.md", article(f"Story {number}"))
    with of_its_own_user(monkeypatch, **{f"max_inotify_{what}": most}), site.running() as feedd:
        said = feedd.wait(POLLING, level="warning")
        assert f"fs.inotify.max_user_{what}" in said["reason"]
        before = held(feedd)
        site.put("new/new.md", article("New"))
        (site.articles / "3/3.md").unlink()
        until(lambda: {"New"} <= known_titles(site) and "Story 3" not in known_titles(site), "polling finds both")
        assert troubles(feedd) == {POLLING: 1}
        until(site.is_written, "everything is written")
        given_back(feedd, before)
    site.check()


def test_watches_that_run_out_while_it_runs_are_no_end_of_following(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path, articles={"poll_interval_s": 1}, feeds={"limit": 100})
    site.put("one.md", article("One"))
    with of_its_own_user(monkeypatch, max_inotify_watches=20), site.running() as feedd:
        assert feedd.find("watching", mode="inotify")
        before = held(feedd)
        titles = [f"Story {number}" for number in range(40)]
        for title in titles:
            site.put(f"{title}/deep/one.md", article(title))
        site.shows("One", *titles)
        said = feedd.wait(POLLING)
        assert "fs.inotify.max_user_watches" in said["reason"]
        site.put("Story 7/deep/two.md", article("Later"))
        site.shows("One", "Later", *titles)
        assert troubles(feedd)[POLLING] == 1
        until(site.is_written, "everything is written")
        given_back(feedd, before)
    site.check()


def test_a_queue_that_overflows_while_it_is_stopped_loses_nothing(tmp_path: Path) -> None:
    limit = max(int(QUEUE_LIMIT.read_text()), 16_384)  # the kernel's default: a test beside this one may lower it
    if limit > 200_000:
        pytest.skip(f"{QUEUE_LIMIT} is {limit}: too many to fill")
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.put("gone.md", article("Gone"))
    with site.running() as feedd:
        before = held(feedd)
        stop(feedd)
        names = [site.articles / "a.tmp", site.articles / "b.tmp"]
        names[0].touch()
        for number in range(limit // 2 + 1_000):  # two events each
            names[number % 2].rename(names[1 - number % 2])
        site.put("deep/down/two.md", article("Two"))  # nobody is told of these any more
        (site.articles / "gone.md").unlink()
        line = len(feedd.lines)
        os.kill(feedd.pid, signal.SIGCONT)
        site.shows("One", "Two")
        feedd.wait("scanning", line, reason="overflow")
        site.put("deep/down/three.md", article("Three"))
        site.shows("One", "Two", "Three")
        said = troubles(feedd, line)  # watchdog has a line of its own
        assert (said[OVERFLOW], said["watching anew"]) == (1, 1)
        assert said.total() <= 3
        until(site.is_written, "everything is written")
        given_back(feedd, before)
    site.check()


# --- open files -------------------------------------------------------------------------------------------------------


@contextmanager
def few_files(pid: int, count: int) -> Iterator[None]:
    """The process may open no more than so many files, until left."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_open_files_that_run_out_lose_nothing_and_come_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(5):
        site.put(f"{number}/{number}.md", article(f"Story {number}"))
    kept = [f"Story {number}" for number in range(4)]
    with site.running() as feedd:
        before = held(feedd)
        ids, line = site.ids(), len(feedd.lines)
        with few_files(feedd.pid, before.files), ExitStack() as idle:  # not one more
            for _ in range(50):
                idle.enter_context(socket.create_connection(("127.0.0.1", feedd.port)))
            site.put("0/0.md", article("Story 0", excerpt="Edited meanwhile"))
            site.put("new/new.md", article("New"))
            (site.articles / "4/4.md").unlink()
            until(lambda: len(feedd.lines) > line, "it says something")
            assert feedd.poll() is None
            assert set(kept) <= set(site.titles())
        site.shows("New", *kept)
        until(lambda: "Edited meanwhile" in {item["summary"] for item in site.items()}, "the edit is in")
        assert {title: site.ids()[title] for title in kept} == {title: ids[title] for title in kept}
        until(lambda: feedd.get("/readyz")[0] == 200, "it is well again")  # which it says after the edit
        said = troubles(feedd, line)
        assert 1 <= said.total() <= 12, said
        assert all("too many open files" in x["reason"] for x in feedd.lines[line:] if x["level"] == "error"), said
        until(site.is_written, "everything is written")
        given_back(feedd, before)
    site.check()


def test_edits_while_no_file_can_be_opened_are_read_when_one_can(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(5):
        site.put(f"{number}.md", article(f"Story {number}"))
    with site.running() as feedd:
        at_rest(feedd)
        before, ids, line = held(feedd), site.ids(), len(feedd.lines)
        with few_files(feedd.pid, 8):  # all of these numbers are taken
            site.put("0.md", article("Story 0", excerpt="Edited meanwhile"))
            site.put("new.md", article("New"))
            (site.articles / "4.md").unlink()
            said = feedd.wait(UNREADABLE, line, level="error")
            assert "too many open files" in said["reason"]
            assert site.ids() == ids
        site.shows("New", *(f"Story {number}" for number in range(4)))
        until(lambda: "Edited meanwhile" in {item["summary"] for item in site.items()}, "the edit is in")
        assert troubles(feedd, line)["article rejected"] == 0
        assert troubles(feedd, line)[UNREADABLE] == 1
        assert feedd.wait("it works again", line)["after"] == UNREADABLE
        until(site.is_written, "everything is written")
        given_back(feedd, before)
    site.check()


def test_nothing_is_said_of_a_file_that_cannot_be_opened_now(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/one.md").write_text(article("One"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(files.ExhaustedError, match=r"one\.md: cannot be read: too many open files"):
            files.read(str(tmp_path), "below/one.md", max_bytes=1_000, now_ns=0)
        for under in ("", "below"):
            with pytest.raises(files.ExhaustedError, match="cannot be listed: too many open files"):
                list(files.scan(str(tmp_path), under=under))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [path for path, _ in files.scan(str(tmp_path))] == ["below/one.md"]


def test_that_the_folder_is_gone_is_known_from_worker_processes_too() -> None:
    error = pickle.loads(pickle.dumps(files.RootGoneError("/articles", "gone")))
    assert (error.root, error.reason, str(error)) == ("/articles", "gone", "/articles: gone")


def test_inotify_is_taken_up_again_when_there_is_room(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    watcher = Watcher(str(tmp_path), gap_s=0.0, check_s=0.02, poll_s=0.05, again_s=0.1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        watcher.start()
        assert watcher.mode == "polling"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        until(lambda: watcher.mode == "inotify", "watched by inotify again")
        (tmp_path / "new.md").write_text(article("New"))
        paths: set[str] = set()
        while "new.md" not in paths:
            batch = watcher.next_batch(5.0)
            assert batch is not None
            paths |= batch.paths
    finally:
        watcher.stop()


def test_idle_readers_up_to_the_limit_leave_files_for_the_work(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    few = ["sh", "-c", 'ulimit -n 256 && exec "$@"', "sh"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "FEEDD", [*few, *processes.FEEDD])
        with site.running() as feedd:
            before = held(feedd)
            with ExitStack() as idle:
                for _ in range(400):
                    reader = socket.create_connection(("127.0.0.1", feedd.port), timeout=10)
                    idle.enter_context(reader)
                for number in range(20):
                    site.put(f"{number}/new.md", article(f"New {number}"))
                site.shows("One", *(f"New {number}" for number in range(20)))
                assert held(feedd).files < 256
                assert troubles(feedd).total() == 0
            until(lambda: held(feedd).files <= before.files + 4, "readers are gone")
            assert feedd.get("/all.atom")[0] == 200
            until(site.is_written, "everything is written")
            given_back(feedd, before)
    site.check()


