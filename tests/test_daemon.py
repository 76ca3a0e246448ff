"""The daemon as operators have it: a process over real files, its feeds, its log, its built-in server.

Everything is told apart by what a subscriber or an operator sees; what happens in the process is its own affair.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from newsroom import article, changed, tree
from processes import Daemon, Site, nameless, until

from feedd.store import open_store

GONE = "the folder of articles is gone, its feeds stay as they are"
STOP_WITHIN_S = 1.0
BUSY_STOP_WITHIN_S = 2.0  # 0.2 to 0.6 s on two free cores; but tests run side by side


# --- ready ------------------------------------------------------------------------------------------------------------


def test_it_is_ready_when_the_first_scan_is_published_and_not_before(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.articles.rmdir()  # so that the first scan must wait
    with site.running(ready=False) as feedd:
        feedd.wait(GONE)
        status, headers, body = feedd.get("/readyz")
        assert (status, headers["Content-Type"]) == (503, "text/plain; charset=utf-8")
        assert b"The first scan is not published yet." in body
        site.put("one.md", article("One"))
        feedd.wait_until_ready()
        assert site.titles() == ["One"]


def test_after_a_restart_it_is_ready_when_it_has_seen_what_changed_meanwhile(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.put("two.md", article("Two"))
    with site.running():
        pass
    site.put("three.md", article("Three"))
    (site.articles / "one.md").unlink()
    with site.running() as feedd:
        assert sorted(site.titles()) == ["Three", "Two"]
        feedd.wait("up to date")
        assert [x["event"] for x in feedd.lines if x["event"] in ("scanned", "up to date")] == ["scanned", "up to date"]


def test_a_file_that_is_written_to_during_the_first_scan_does_not_hold_it_up(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    busy = site.articles / "busy.md"
    with site.running(ready=False) as feedd, busy.open("w") as file:
        while not feedd.find("scanned"):
            file.write(" ")  # no front matter yet, but a new mtime
            file.flush()
        file.truncate(0)
        file.seek(0)
        file.write(article("Busy"))
        file.close()
        feedd.wait_until_ready()
        site.shows("One", "Busy")


# --- following the files ----------------------------------------------------------------------------------------------


def test_feeds_follow_files_that_come_change_move_and_go(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.running() as feedd:
        site.put("one.md", article("One"))
        site.shows("One")
        site.put("deep/down/two.html", article("Two", topics=["Tides"]))
        site.shows("One", "Two")
        site.shows("Two", feed="topics/tides")
        ids = site.ids()

        site.put("one.md", article("One", excerpt="Something else", topics=["Tides"]))
        site.shows("One", "Two", feed="topics/tides")
        until(lambda: site.items("topics/ai") == [], "the old topic loses its entry")

        (site.articles / "deep/down/two.html").rename(site.articles / "elsewhere.html")
        until(lambda: site.paths() == {"one.md", "elsewhere.html"}, "the rename is seen")
        site.shows("One", "Two")
        (site.articles / "one.md").unlink()
        site.shows("Two")
        assert site.ids() == {"Two": ids["Two"]}
        feedd.wait("feed written", feed="all", cause="removed: one.md")
    site.check()


def test_editors_that_write_beside_and_rename(tmp_path: Path) -> None:
    site = Site(tmp_path, articles={"settle_ms": 30})
    site.put("one.md", article("One"))
    path, backup = site.articles / "one.md", site.articles / "one.md~"
    with site.running():
        ids = site.ids()
        path.rename(backup)  # as vim does, with 'backup'
        path.write_text(article("One", excerpt="By the first editor"))
        backup.unlink()
        until(lambda: [x["summary"] for x in site.items()] == ["By the first editor"], "the first edit is seen")
        site.put("one.md", article("One", excerpt="By the second editor"))
        until(lambda: [x["summary"] for x in site.items()] == ["By the second editor"], "the second edit is seen")
        assert site.ids() == ids


def test_a_file_that_is_still_open_is_not_published_half(tmp_path: Path) -> None:
    site = Site(tmp_path, feeds={"full_content": True})
    text = article("Long", "First half. Second half.")
    with site.running() as feedd:
        with (site.articles / "long.md").open("w") as file:
            file.write(text.removesuffix("Second half."))
            file.flush()
            site.put("other.md", article("Other"))
            site.shows("Other")
            file.write("Second half.")
        site.shows("Other", "Long")
        assert "Second half." in (site.out / "all.atom").read_text()
        until(site.is_written, "everything is written")
        feedd.stop()
        causes = [x["cause"] for x in feedd.find("feed written", feed="all")][1:]  # the first one is of no entries
        assert causes == ["new: other.md", "new: long.md"]
        assert not feedd.find("article rejected")


def test_whole_folders_move_in_and_out(tmp_path: Path) -> None:
    site = Site(tmp_path)
    outside = tmp_path / "outside"
    for number in range(20):
        path = outside / f"deep/{number % 4}/{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(article(f"Story {number}"))
    with site.running():
        outside.rename(site.articles / "inside")
        site.shows(*(f"Story {number}" for number in range(20)))
        ids = site.ids()
        (site.articles / "inside/deep/0").rename(site.articles / "zero")
        (site.articles / "inside").rename(outside)
        site.shows(*(f"Story {number}" for number in range(0, 20, 4)))
        outside.rename(site.articles / "back")
        site.shows(*(f"Story {number}" for number in range(20)))
        assert site.ids() == ids
    site.check()


def test_thousands_of_files_checked_out_at_once(tmp_path: Path) -> None:
    site = Site(tmp_path, feeds={"limit": 1000, "compress": [], "formats": ["atom", "json"]}, log={"level": "info"})
    count = 3_000
    texts = [article(f"Story {number}", topics=[f"Topic {number % 5}"]) for number in range(count)]
    with site.running():
        for number, text in enumerate(texts):
            path = site.articles / f"{number % 60}/{number}.md"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

        def known() -> int:
            with contextlib.closing(sqlite3.connect(site.state / "feedd.db")) as state:
                return int(state.execute("SELECT count(*) FROM article WHERE position IS NOT NULL").fetchone()[0])

        until(lambda: known() == count, "all of the files are in")
        for number, text in enumerate(texts):  # another branch: the same files, a third without their last topic
            path = site.articles / f"{number % 60}/{number}.md"
            path.unlink()
            if number % 3:
                path.write_text(text)
        until(lambda: known() == count - count // 3, "what is not on the branch is out")
        until(site.is_written, "everything is written")
        assert sorted(site.titles("topics/topic-1")) == sorted(
            f"Story {number}" for number in range(count) if number % 5 == 1 and number % 3
        )
        pages = [site.out / "all.atom", *(site.out / "archives/all").glob("*.atom")]
        ids = {found for page in pages for found in re.findall(rb"<entry>\s*<id>([^<]+)", page.read_bytes())}
        assert len(ids) == count - count // 3
    site.check()


def test_the_folder_of_articles_deleted_and_made_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd:
        before = tree(site.out)
        shutil.move(site.articles, tmp_path / "away")
        feedd.wait(GONE)
        assert tree(site.out) == before
        line = len(feedd.lines)
        shutil.move(tmp_path / "away", site.articles)
        feedd.wait("scanned", line)
        assert tree(site.out) == before
        ids = site.ids()
        shutil.rmtree(site.articles)  # file by file: what is seen gone before its folder is may leave the feeds
        feedd.wait(GONE, line)
        site.put("one.md", article("One"))
        site.put("two.md", article("Two"))
        site.shows("One", "Two")
        assert site.ids()["One"] == ids["One"]
        (site.articles / "one.md").unlink()
        site.shows("Two")
    site.check()


def test_the_folder_of_articles_back_between_two_looks_of_the_watcher_and_gone_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd:
        shutil.move(site.articles, tmp_path / "away")
        feedd.wait(GONE)
        line = len(feedd.lines)
        shutil.move(tmp_path / "away", site.articles)
        site.configure(site={"title": "Other"})
        os.kill(feedd.pid, signal.SIGHUP)  # wakes who publishes, who then looks before the watcher does
        feedd.wait("configuration applied", line)
        feedd.wait("scanned", line)
        shutil.rmtree(site.articles)
        feedd.wait(GONE, line)
        site.put("two.md", article("Two"))
        site.shows("Two")
    site.check()


def test_a_folder_of_articles_that_comes_late_changes_nothing_that_was_published(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running():
        before = tree(site.out)
    site.articles.rename(tmp_path / "away")
    with site.running(ready=False) as feedd:
        feedd.wait(GONE)
        assert tree(site.out) == before
        (tmp_path / "away").rename(site.articles)
        feedd.wait_until_ready()
        assert tree(site.out) == before


def test_what_is_no_regular_file_is_named_and_blocks_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    secret = tmp_path / "secret.md"
    secret.write_text(article("Secret"))
    (site.articles / "out.md").symlink_to(secret)
    (site.articles / "nowhere.md").symlink_to("nothing.md")
    os.mkfifo(site.articles / "pipe.md")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener, contextlib.chdir(site.articles):
        listener.bind("socket.md")
    site.put("one.md", article("One"))
    (site.articles / "in.md").symlink_to("one.md")
    with site.running() as feedd:
        assert site.titles() == ["One"]
        rejected = {x["path"]: x["reason"] for x in feedd.find("article rejected")}
        assert rejected.keys() == {"out.md", "nowhere.md", "pipe.md", "socket.md"}
        assert rejected["out.md"] == "a symlink that leads out of the article folder"
        (site.articles / "later.md").symlink_to(secret)
        os.mkfifo(site.articles / "later-pipe.md")
        feedd.wait("article rejected", path="later.md")
        site.put("two.md", article("Two"))
        site.shows("One", "Two")
        found = json.loads(site.command("status", "--json").stdout)
        assert {problem["path"] for problem in found["problems"]} >= rejected.keys() | {"later.md"}


def test_a_rejected_article_keeps_its_last_good_version_and_comes_back(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd:
        before = tree(site.out)
        site.put("one.md", "---\ntitle: One: again\n---\n")
        said = feedd.wait("article rejected", path="one.md")
        assert (said["level"], said["line"]) == ("warning", 2)
        assert tree(site.out) == before
        site.put("one.md", article("One again", webUrl="https://www.source.example/One"))
        site.shows("One again")
        assert feedd.wait("article accepted again", path="one.md")["level"] == "info"


def test_polling_follows_as_well(tmp_path: Path) -> None:
    site = Site(tmp_path, articles={"watch": "polling", "poll_interval_s": 1})
    site.put("one.md", article("One"))
    with site.running() as feedd:
        assert feedd.find("watching", mode="polling")
        site.put("two.md", article("Two"))
        (site.articles / "one.md").rename(site.articles / "deep.md")
        site.shows("One", "Two")
        site.put("two.md", article("Two", topics=["Tides"]))
        (site.articles / "deep.md").unlink()
        site.shows("Two")
        site.shows("Two", feed="topics/tides")
    site.check()


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_article_dated_ahead_appears_by_itself(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.running() as feedd:
        at = int(time.time()) + 5
        site.put("ahead.md", article("Ahead", publishedDateTime=datetime.fromtimestamp(at, UTC).isoformat()))
        site.put("one.md", article("One"))
        site.shows("One")
        until(site.is_written, "everything is written")
        assert time.time() < at
        line = len(feedd.lines)
        site.shows("One", "Ahead")
        assert at <= time.time() < at + 2
        feedd.wait("feed written", line)
        assert {x["event"] for x in feedd.lines[line:]} == {"feed written"}  # nobody looked at a file


def test_an_article_whose_time_came_while_the_daemon_was_away(tmp_path: Path) -> None:
    site = Site(tmp_path)
    now = int(time.time())
    site.put("ahead.md", article("Ahead", publishedDateTime=datetime.fromtimestamp(now, UTC).isoformat()))
    site.build(now=now - 60)
    assert site.titles() == []
    with site.running():
        assert site.titles() == ["Ahead"]


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_and_in_order(tmp_path: Path, number: signal.Signals) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd, contextlib.closing(socket.create_connection(("127.0.0.1", feedd.port))):
        assert feedd.stop(number) < STOP_WITHIN_S  # also with a reader connected
        assert [x["event"] for x in feedd.lines[-2:]] == ["stopping", "stopped"]
        assert feedd.lines[-2]["signal"] == number.name
        assert feedd.members() == []
    assert not (site.state / "feedd.db-wal").exists()  # the state was closed
    assert site.command("status").stdout.startswith("feedd is not running")


def test_a_stop_right_after_an_edit_leaves_nothing_to_be_written(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd:
        for number in range(3):  # from the second on, the index page waits for a lull
            site.put("one.md", article("One", updatedDateTime=f"2024-02-0{number + 1}T00:00:00Z", excerpt=f"{number}"))
            until(lambda n=number: site.items()[0]["summary"] == str(n), "the edit is seen")  # type: ignore[misc]
        with open_store(str(site.state), read_only=True) as state:
            until(lambda: state.count_dirty() == 0, "the edit is in every feed")
        feedd.stop()
    assert site.is_written()
    site.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_once_during_the_first_scan_of_many_files(tmp_path: Path, number: signal.Signals) -> None:
    site = Site(tmp_path, log={"level": "info"})
    for start in range(4_000):
        (site.articles / f"{start}.md").write_text(article(f"Story {start}", topics=[f"Topic {start % 500}"]))
    with site.running(ready=False) as feedd:
        feedd.wait("scanning")
        until(lambda: len(feedd.members()) > 1, "workers are at it")
        seconds = feedd.stop(number)
        until(lambda: feedd.members() == [], "nothing is left of it")
        assert not feedd.find("up to date")
        assert seconds < BUSY_STOP_WITHIN_S
    with site.running(ready=False) as feedd:  # and during the first writing of many feeds
        feedd.wait("scanned", within_s=40)
        until(lambda: len(feedd.members()) > 1, "workers are at it")
        seconds = feedd.stop(number)
        until(lambda: feedd.members() == [], "nothing is left of it")
        assert not feedd.find("up to date")
        assert seconds < BUSY_STOP_WITHIN_S


def test_ctrl_c_at_a_terminal_reaches_the_workers_too_and_they_do_not_mind(tmp_path: Path) -> None:
    site = Site(tmp_path, log={"level": "info"})
    for start in range(4_000):
        (site.articles / f"{start}.md").write_text(article(f"Story {start}", topics=[f"Topic {start % 500}"]))
    with site.running(ready=False) as feedd:
        feedd.wait("scanning")
        until(lambda: len(feedd.members()) > 2, "workers are at it")
        for worker in set(feedd.members()) - {feedd.pid}:
            os.kill(worker, signal.SIGINT)
        feedd.wait("up to date", within_s=60)
        assert not feedd.find("a worker process was ended, for want of memory perhaps; its work is done without any")


def test_files_made_ready_are_let_go_when_nothing_is_to_be_done(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd:
        site.put("one.md", article("Edited"))
        until(lambda: site.titles() == ["Edited"], "by an event")
        until(lambda: not nameless(feedd), "it is at rest")
        site.configure(site={"title": "Other News"})
        until(lambda: b"Other News" in (site.out / "all.atom").read_bytes(), "by a reload, which is none")
        until(site.is_written, "all of it")
        until(lambda: not nameless(feedd), "it is at rest")


# --- state ------------------------------------------------------------------------------------------------------------


def test_a_second_daemon_on_the_same_state_refuses_politely(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running():
        second = site.command("run")
        assert (second.returncode, second.stdout) == (3, "")
        assert second.stderr.splitlines()[-1] == f"feedd: {site.state}: another feedd is working on this state"
        assert "Traceback" not in second.stderr
        assert site.command("build").returncode == 3
        site.put("two.md", article("Two"))
        site.shows("One", "Two")


def test_an_address_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        site = Site(tmp_path, server={"port": taken.getsockname()[1]})
        done = site.command("run")
        assert done.returncode == 4
        assert "cannot listen on 127.0.0.1:" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["run", "build", "status"])
def test_a_newer_state_is_refused_and_left_alone(tmp_path: Path, verb: str) -> None:
    site = Site(tmp_path)
    site.state.mkdir()
    with contextlib.closing(sqlite3.connect(site.state / "feedd.db")) as state:
        state.execute("PRAGMA user_version = 99")
    before = (site.state / "feedd.db").read_bytes()
    done = site.command(verb)
    assert done.returncode == 3
    assert "written by a newer feedd (schema 99" in done.stderr
    assert "Traceback" not in done.stderr
    assert (site.state / "feedd.db").read_bytes() == before
    assert not site.out.exists()


def _overwrite(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 8)
        file.write(b"\xa5torn\x00" * (size // 8))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 - 100)


def _garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def _zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(path.stat().st_size - 4096))


def _rot(path: Path) -> None:
    """What SQLite does not notice: some text is none any more."""
    path.write_bytes(path.read_bytes().replace(b"Story 1", b"\xff" * 7))


TEARS = pytest.mark.parametrize("tear", [_overwrite, _truncate, _garbage, _zeros, _rot])


def many_articles(site: Site) -> dict[str, str]:
    """Sixty articles, published; title -> id."""
    for number in range(60):
        site.put(f"{number}.md", article(f"Story {number}", topics=[f"Topic {number % 7}"]))
    assert site.command("build").returncode == 0
    return site.ids()


@TEARS
def test_a_state_torn_while_stopped_is_made_anew_with_the_same_ids(tmp_path: Path, tear: object) -> None:
    assert callable(tear)
    site = Site(tmp_path, feeds={"limit": 100})
    ids = many_articles(site)
    tear(site.state / "feedd.db")
    (site.articles / "3.md").unlink()
    with site.running() as feedd:
        until(lambda: site.ids() == {title: ids[title] for title in ids if title != "Story 3"}, "the same ids")
        said = feedd.wait("state is torn, it is made anew from the articles with the same entry ids")
        assert said["level"] == "error"
        assert Path(said["kept_as"]).exists()
        site.put("new.md", article("New"))
        until(lambda: "New" in site.titles(), "work goes on")
    site.check()


@TEARS
def test_a_state_torn_while_running_is_made_anew_with_the_same_ids(tmp_path: Path, tear: object) -> None:
    assert callable(tear)
    site = Site(tmp_path, feeds={"limit": 100})
    ids = many_articles(site)
    with site.running() as feedd:
        tear(site.state / "feedd.db")
        for number in range(0, 60, 2):
            site.put(f"{number}.md", article(f"Story {number}", excerpt="Edited", topics=[f"Topic {number % 7}"]))
        (site.articles / "5.md").unlink()
        os.mkdir(site.articles / "folder")  # looked at with a second connection
        kept = {title: ids[title] for title in ids if title != "Story 5"}
        until(lambda: site.ids() == kept, "the same ids")
        until(lambda: sum(x["summary"] == "Edited" for x in site.items()) == 30, "the edits are in")
        torn = bool(feedd.find("state is torn, it is made anew from the articles with the same entry ids"))
    with site.running() as feedd:
        torn |= bool(feedd.find("state is torn, it is made anew from the articles with the same entry ids"))
        assert site.ids() == kept
    if not torn:  # what it had in memory was written over what is torn
        assert tear is _rot
        assert site.command("verify").returncode == 0
    site.check()


def test_feeds_stay_while_the_articles_are_away_from_a_state_that_was_torn(tmp_path: Path) -> None:
    site = Site(tmp_path, feeds={"limit": 100})
    ids = many_articles(site)
    before = tree(site.out)
    away = tmp_path / "away"
    site.articles.rename(away)
    _garbage(site.state / "feedd.db")
    with site.running(ready=False) as feedd:
        feedd.wait("state is torn, it is made anew from the articles with the same entry ids")
        feedd.wait(GONE)
    assert tree(site.out) == before
    with site.running(ready=False) as feedd:  # with a state that is sound, and knows nothing
        feedd.wait(GONE)
        feedd.wait("serving")
        assert tree(site.out) == before
        away.rename(site.articles)
        feedd.wait("up to date")
        assert site.ids() == ids
    site.check()


# --- an output that cannot be written (whole disks: test_faults_disk) -------------------------------------------------


def test_a_folder_that_cannot_be_made_stops_its_own_feeds_only(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.out.mkdir()
    (site.out / "topics").write_text("in the way")
    with site.running() as feedd:
        said = feedd.wait("feed not written, the last good one stays", feed="topics/ai")
        assert (said["level"], "topics/ai" in said["reason"]) == ("error", True)
        assert site.titles() == site.titles("providers/source.example") == ["One"]
        site.put("two.md", article("Two"))
        site.shows("One", "Two")
        assert (site.out / "topics").read_text() == "in the way"
        (site.out / "topics").unlink()
        site.shows("One", "Two", feed="topics/ai")
    site.check()


def test_files_that_may_grow_no_more_leave_the_last_good_feeds(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd:
        before = tree(site.out)
        resource.prlimit(feedd.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        site.put("two.md", article("Two"))
        said = feedd.wait("the state cannot be written, the last good feeds stay")
        assert (said["level"], said["again_in_s"]) == ("error", 2.0)
        assert tree(site.out) == before
        resource.prlimit(feedd.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        site.shows("One", "Two")
    site.check()


def test_a_feed_too_large_for_the_disk_stays_as_it_was_while_others_are_written(tmp_path: Path) -> None:
    site = Site(tmp_path, feeds={"full_content": True, "compress": [], "providers": False, "categories": False})
    for number in range(30):
        site.put(f"{number}.md", article(f"Story {number}", f"{number} words. " * 1_000, topics=[]))
    with site.running():
        pass
    with site.running() as feedd:  # its journal is empty again
        before = tree(site.out)
        resource.prlimit(feedd.pid, resource.RLIMIT_FSIZE, (250_000, resource.RLIM_INFINITY))
        site.put("new.md", article("New", topics=["Tides"]))
        said = feedd.wait("feed not written, the last good one stays", feed="all")
        assert "all." in said["reason"]
        assert "file too large" in said["reason"]
        site.shows("New", feed="topics/tides")
        assert {name for name in changed(before, tree(site.out)) if name.startswith("all.")} == set()
        resource.prlimit(feedd.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(lambda: "New" in site.titles(), "the feed that waited is written")
    site.check()


# --- what it says -----------------------------------------------------------------------------------------------------


def test_every_feed_that_is_written_is_a_line_with_its_cause(tmp_path: Path) -> None:
    site = Site(tmp_path, feeds={"limit": 3})
    for number in range(8):
        site.put(f"{number}.md", article(f"Story {number}"))
    with site.running() as feedd:
        line = len(feedd.lines)
        site.put("0.md", article("Story 0", excerpt="Edited"))
        site.put("new.md", article("New", publishedDateTime="2024-01-01T00:00:00Z"))
        site.put("bad.md", "---\n{\n---\n")
        until(lambda: "New" in site.titles(), "the new one is in")
        feedd.wait("article rejected", line)
        until(site.is_written, "everything is written")
        feedd.stop()
        assert feedd.noise == []
        written = feedd.find("feed written")
        assert {x["feed"] for x in written} >= {"all", "topics/ai", "providers/source.example", "categories/news"}
        assert all(x["cause"] and x["bytes"] > 0 for x in written)
        assert {"timestamp", "level", "event"} <= set.intersection(*(set(x) for x in feedd.lines))
        causes = {x["cause"] for x in feedd.find("feed written", line, feed="all")}
        assert any("new.md" in cause or "0.md" in cause for cause in causes)


def test_a_change_that_no_reader_sees_writes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One", heat=1))
    with site.running() as feedd:
        before = {path: path.stat().st_mtime_ns for path in site.out.rglob("*")}
        line = len(feedd.lines)
        site.put("one.md", article("One", heat=99))
        (site.articles / "one.md").touch()
        site.put("two.md", article("Two", published=False))
        site.put("bad.md", "no front matter")
        feedd.wait("article rejected", line)
        feedd.stop()
        assert feedd.find("feed written", line) == []
    assert {path: path.stat().st_mtime_ns for path in site.out.rglob("*")} == before


def test_what_is_secured_is_nowhere(tmp_path: Path) -> None:
    site = Site(tmp_path, feeds={"full_content": True})
    secrets = [f"hush-{number}-4711" for number in range(6)]
    site.put("one.md", article("One", secured=secrets[0], provider={"name": "S", "domain": "s.example", "secured": {
        "key": secrets[1]}}, related=[{"title": "R", "webUrl": "https://r.example/", "secured": [secrets[2]]}]))
    site.put("bad.md", f"---\ntitle: Bad\nsecured: {secrets[3]}: {secrets[3]}\n---\n")
    site.put("worse.md", f"---\nsecured: [{secrets[4]}\n---\n")
    site.put("none.md", f"---\ntitle: 3\npublishedDateTime: never\nsecured: '{secrets[5]}'\n---\n")
    with site.running() as feedd:
        assert {x["path"] for x in feedd.find("article rejected")} >= {"bad.md", "worse.md"}
        status = site.command("status", "--json").stdout
        held = b"".join(tree(site.state).values())
        published = tree(site.out)
        feedd.stop()
        texts = [json.dumps(feedd.lines), status, held.decode("latin-1")]
        texts += [(gzip.decompress(d) if n.endswith(".gz") else d).decode("latin-1") for n, d in published.items()]
        assert "hush" not in "".join(texts)


# --- the built-in server ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that serves one article, and files beside the feeds."""
    site = Site(tmp_path_factory.mktemp("served"))
    site.put("one.md", article("One"))
    with site.running() as feedd:
        (site.out / ".hidden").write_text("hidden")
        (site.out / "topics" / ".feedd-0123").write_text("half")
        yield feedd


@pytest.mark.parametrize(("path", "kind"), [
    ("/all.atom", "application/atom+xml; charset=utf-8"), ("/all.rss", "application/rss+xml; charset=utf-8"),
    ("/all.json", "application/feed+json"), ("/feeds.opml", "text/x-opml; charset=utf-8"),
    ("/index.html", "text/html; charset=utf-8"), ("/", "text/html; charset=utf-8"),
    ("/topics/ai.atom?from=reader", "application/atom+xml; charset=utf-8"),
])  # fmt: skip
def test_it_serves_the_feeds(served: Daemon, path: str, kind: str) -> None:
    name = {"/": "index.html"}.get(path, path[1:].partition("?")[0])
    data = (served.site.out / name).read_bytes()
    status, headers, body = served.get(path)
    assert (status, headers["Content-Type"], body) == (200, kind, data)
    head_status, head_headers, head_body = served.get(path, "HEAD")
    assert (head_status, head_headers["Content-Type"], head_body) == (200, kind, b"")
    assert head_headers["Content-Length"] == str(len(data))
    assert head_headers["Last-Modified"] == headers["Last-Modified"]


@pytest.mark.parametrize("path", [
    "/none.atom", "/topics/", "/topics/none.rss", "/.hidden", "/topics/.feedd-0123", "/../config.toml",
    "/..%2fconfig.toml", "/%2e%2e/config.toml", "/topics/../../config.toml", "//etc/passwd",
    "/%2e%2e%2f%2e%2e%2fetc/passwd", "/all.atom%00", "/%ff%fe", "/all.atom/", "/" + "x" * 500,
])  # fmt: skip
def test_it_serves_nothing_else(served: Daemon, path: str) -> None:
    for method in ("GET", "HEAD"):
        assert served.get(path, method)[0] == 404
    assert served.noise == []


def test_readyz_answers_head_as_well(served: Daemon) -> None:
    assert served.get("/readyz")[::2] == (200, b"ready\n")
    assert served.get("/readyz", "HEAD")[::2] == (200, b"")
    assert served.get("/all.atom", "POST")[0] == 405


def test_a_reader_that_goes_away_in_the_middle_is_no_news(served: Daemon) -> None:
    big = served.site.out / "big.json"
    big.write_bytes(bytes(8 << 20))
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", served.port)) as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset, not end
            reader.sendall(b"GET /big.json HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reader.recv(1000).startswith(b"HTTP/1.1 200 OK")
    until(lambda: _threads(served.pid) <= 16, "its threads end")
    assert served.get("/readyz")[0] == 200
    assert served.noise == []


def _threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))
