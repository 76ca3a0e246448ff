"""The output folder between two states, under other people's hands, and exchanged: it ends as its state says."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import stop
from newsroom import Newsroom, article, tree
from processes import Daemon, Site, until

from feedd import catalog, errors
from feedd.ownership import NAME
from feedd.stamps import AT_ONCE, Stamps

GONE, CHANGED = (f"files of feeds are {what}, they are written again" for what in ("missing", "changed"))
NO_OUTPUT = "the output cannot be written, the last good feeds stay"
COMPARED = "another state published here, so that every feed is compared"


# --- one folder, two states -------------------------------------------------------------------------------------------


def two_sites(folder: Path) -> tuple[Site, Site]:
    """Each with articles and a state of its own, and one output."""
    mine, other = Site(folder / "mine"), Site(folder / "other", feeds={"path": str(folder / "mine/feeds")})
    other.out = mine.out
    mine.put("mine.md", article("Mine", topics=["Rivers"]))
    other.put("other.md", article("Other", topics=["Lakes"]))
    return mine, other


@pytest.mark.parametrize("verb", ["run", "build"])
def test_a_second_feedd_with_another_state_is_refused_and_nothing_is_touched(tmp_path: Path, verb: str) -> None:
    mine, other = two_sites(tmp_path)
    with mine.running() as feedd:
        before = tree(mine.out)
        refused = other.command(verb)
        assert refused.returncode == 4
        assert refused.stderr.splitlines()[-1] == (
            f"feedd: {mine.out}: another feedd (process {feedd.pid}, with its state in {mine.state}) publishes there; "
            "stop it, or give one of the two another feeds.path"
        )
        assert tree(mine.out) == before
        mine.put("more.md", article("More"))
        mine.shows("Mine", "More")
    mine.check()


def test_who_comes_after_another_state_makes_the_feeds_its_own(tmp_path: Path) -> None:
    mine, other = two_sites(tmp_path)
    with mine.running():
        pass
    before = tree(mine.out)
    assert other.command("build").returncode == 0
    assert other.titles() == ["Other"]
    with mine.running() as feedd:  # its state believes that nothing is left to be written
        assert tree(mine.out) == before
        feedd.wait(COMPARED, level="warning", state=str(other.state))
    mine.check()
    with mine.running() as feedd:
        assert not feedd.find(COMPARED)
        assert not feedd.find("feed written")


def test_a_killed_one_keeps_nobody_out(tmp_path: Path) -> None:
    mine, other = two_sites(tmp_path)
    with Daemon(mine) as feedd:
        feedd.wait_until_ready()
        feedd.kill()
    assert other.command("build").returncode == 0
    assert mine.command("build").returncode == 0
    mine.check()


@pytest.mark.parametrize("lost", [False, True])
def test_a_state_that_was_lost_moved_or_copied_has_its_folder_back(tmp_path: Path, lost: bool) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running():
        pass
    before = tree(site.out)
    if lost:
        shutil.rmtree(site.state)
    else:
        site.state.rename(tmp_path / "moved")
        site.state = tmp_path / "moved"
        site.configure(state={"path": "moved"})
    with site.running() as feedd:
        assert tree(site.out) == before
        assert not feedd.find(COMPARED)
    site.check()


def test_a_folder_that_another_feedd_took_meanwhile_is_left_to_it(tmp_path: Path, often: None) -> None:
    mine, other = two_sites(tmp_path)
    away = tmp_path / "away"
    with mine.running() as feedd:
        mine.put("two.md", article("Two"))
        mine.shows("Mine", "Two")
        (away / "feeds").mkdir(parents=True)
        other.configure(feeds={"path": str(away / "feeds")})
        with other.running():
            until(lambda: _link(mine.out, away / "feeds"), "now they share one folder")
            said = feedd.wait(NO_OUTPUT)
            assert str(other.state) in said["reason"]
            mine.put("three.md", article("Three"))
            assert "Three" not in mine.titles()
        mine.shows("Mine", "Two", "Three")
        feedd.wait("it works again")
    mine.check()


def _link(path: Path, target: Path) -> bool:
    """Puts a link where feedd, at any moment, makes its folder anew."""
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.symlink_to(target)
    except FileExistsError:
        return False
    return True


# --- other hands ------------------------------------------------------------------------------------------------------


def turn_often(environment: pytest.MonkeyPatch) -> None:
    """A service manager that is not there, and that wants its watchdog fed within 0.8 s: an idle loop turns four times
    as often, instead of every 15 s.
    """
    environment.setenv("NOTIFY_SOCKET", "/nobody/listens")
    environment.setenv("WATCHDOG_USEC", "800000")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    turn_often(monkeypatch)


def _all(out: Path) -> None:
    for path in out.iterdir():
        if not path.name.startswith("."):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


HANDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "everything in it": (GONE, _all),
    "the folder itself": (GONE, shutil.rmtree),
    "one file": (GONE, lambda out: (out / "topics/ai.atom").unlink()),
    "one compressed copy": (GONE, lambda out: (out / "all.rss.br").unlink()),
    "an archive": (GONE, lambda out: (out / "archives/all/1.atom").unlink()),
    "the index page": (GONE, lambda out: (out / "index.html").unlink()),
    "a file replaced": (CHANGED, lambda out: _replace(out / "topics/ai.json")),
    "a compressed copy replaced": (CHANGED, lambda out: _replace(out / "all.atom.gz")),
    "the list of feeds replaced": (CHANGED, lambda out: _replace(out / "feeds.opml")),
}  # fmt: skip


def _replace(path: Path) -> None:
    """As an editor does."""
    beside = path.with_name(".beside")
    beside.write_bytes(b"by somebody else")
    beside.replace(path)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Daemon]]:
    """A daemon that turns often, with feeds and archives."""
    with pytest.MonkeyPatch.context() as patch:
        turn_often(patch)
        site = Site(tmp_path_factory.mktemp("busy"), feeds={"limit": 3})
        for day in range(1, 9):
            site.put(f"{day}.md", article(f"Day {day}", publishedDateTime=f"2023-01-0{day}T00:00:00Z"))
        with site.running() as feedd:
            until(site.is_written, "everything is written")
            yield site, feedd


@pytest.mark.parametrize("what", HANDS)
def test_what_somebody_else_takes_away_or_replaces_is_soon_there_again(busy: tuple[Site, Daemon], what: str) -> None:
    site, feedd = busy
    until(site.is_written, "what came before is written")
    event, hand = HANDS[what]
    before, line = tree(site.out), len(feedd.lines)
    stop(feedd)  # for its turn not to come in the midst of it
    hand(site.out)
    os.kill(feedd.pid, signal.SIGCONT)
    until(lambda: tree(site.out) == before, "it is as it was")
    said = feedd.wait(event, line)
    assert said["level"] == "warning" and said["cause"].startswith("not by feedd: somebody else did it")
    assert said["first"] in before and said["count"] > 0
    until(site.is_written, "everything is written")
    named = {x["cause"].partition(":")[0] for x in feedd.find("feed written", line)}
    assert named <= {"missing", "changed", "archive", "first scan, configuration, or an earlier run"}
    assert not feedd.find("scanning", line)
    site.check()


def test_what_somebody_else_adds_stays_or_goes_and_no_feed_is_written_for_it(busy: tuple[Site, Daemon]) -> None:
    site, feedd = busy
    line = len(feedd.lines)
    (site.out / "robots.txt").write_text("User-agent: *\n")
    (site.out / "topics/stray.atom").write_text("of no feed")
    feedd.wait("files removed", line, first="topics/stray.atom")
    assert (site.out / "robots.txt").exists()
    (site.out / "robots.txt").unlink()
    site.put("9.md", article("Day 9", publishedDateTime="2023-01-09T00:00:00Z"))
    until(lambda: "Day 9" in site.titles(), "an edit is seen")
    causes = {x["cause"] for x in feedd.find("feed written", line)}
    assert not any(cause.startswith(("missing", "changed")) for cause in causes)
    assert not feedd.find(GONE, line) and not feedd.find(CHANGED, line)


def test_feeds_are_mended_while_the_articles_are_away(tmp_path: Path, often: None) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    away = tmp_path / "away"
    with site.running() as feedd:
        until(site.is_written, "everything is written")
        before = tree(site.out)
        site.articles.rename(away)
        feedd.wait("the folder of articles is gone, its feeds stay as they are")
        (site.out / "topics/ai.atom").unlink()
        feedd.wait(GONE, first="topics/ai.atom")
        until(lambda: tree(site.out) == before, "it is as it was")
        away.rename(site.articles)
        feedd.wait("it works again")
    site.check()


def test_what_was_taken_away_before_a_reload_is_there_again_after_it(tmp_path: Path, often: None) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd:
        until(site.is_written, "everything is written")
        stop(feedd)
        (site.out / "topics/ai.rss").unlink()
        site.configure(articles={"scan_interval_s": 7200})
        os.kill(feedd.pid, signal.SIGHUP)
        os.kill(feedd.pid, signal.SIGCONT)
        feedd.wait("configuration applied")
        until((site.out / "topics/ai.rss").exists, "it is as it was")
    site.check()


def test_feeds_that_were_away_with_their_folder_are_brought_up_to_date_when_it_is_back(
    tmp_path: Path, often: None
) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    away = tmp_path / "away"
    with site.running() as feedd:
        site.out.rename(away)  # as a disk that is unmounted
        until(lambda: site.titles() == ["One"], "written anew")
        site.put("one.md", article("One, edited"))
        site.shows("One, edited")
        until(site.is_written, "everything is written")
        shutil.rmtree(site.out, ignore_errors=True)
        until(lambda: _move(away, site.out), "the old one is back")
        site.shows("One, edited")
        feedd.wait("this is another output, so that every feed is compared")
    site.check()


def test_who_takes_away_while_feedd_writes_anew_is_noticed_in_the_end(busy: tuple[Site, Daemon]) -> None:
    site, _ = busy
    until(site.is_written, "what came before is written")  # counts on the index page, too
    before = tree(site.out)
    for _ in range(20):
        for path in [path for path in site.out.rglob("*") if path.is_file()]:
            path.unlink(missing_ok=True)
    until(lambda: tree(site.out) == before, "it is as it was")
    until(site.is_written, "everything is written")
    site.check()


def _move(path: Path, to: Path) -> bool:
    """Over a folder that feedd may make anew at any moment."""
    shutil.rmtree(to, ignore_errors=True)
    try:
        path.rename(to)
    except OSError:
        return False
    return True


def test_an_edit_at_the_same_time_hides_nothing(tmp_path: Path) -> None:
    """Whatever the pace of an idle loop is: the round of an edit looks before it writes."""
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.put("two.md", article("Two", topics=["Rivers"]))
    with site.running() as feedd:
        before = tree(site.out)
        stop(feedd)  # for its turn not to come in the midst of it
        (site.out / "topics/rivers.atom").unlink()
        (site.out / "topics/rivers.rss.gz").unlink()
        site.put("one.md", article("One, edited"))
        os.kill(feedd.pid, signal.SIGCONT)
        until(lambda: tree(site.out).keys() == before.keys(), "all is there again")
        feedd.wait(GONE, count=2, first="topics/rivers.atom")
    site.check()


# --- stamps -----------------------------------------------------------------------------------------------------------


def stamps_of(out: Path) -> Stamps:
    found = Stamps(str(out))
    found.put({folder.path: folder.mtime_ns for folder in catalog.walk(str(out))})
    return found


def backdate(*folders: Path) -> None:
    """So that the next change is another tick of the clock."""
    for folder in folders:
        os.utime(folder, (1, 1))


def test_only_what_feedd_did_not_say_is_another_hand(tmp_path: Path) -> None:
    found = Stamps(str(tmp_path))
    found.take(["topics"])
    assert not found.knows() and not found.differ()
    (tmp_path / "topics").mkdir()
    backdate(tmp_path, tmp_path / "topics")
    found = stamps_of(tmp_path)
    assert found.knows() and not found.differ()
    (tmp_path / "topics/a.atom").touch()
    assert found.differ() and found.differ(all_of_them=False)
    found.take(["topics"])
    assert not found.differ()
    (tmp_path / "archives/topics/a").mkdir(parents=True)
    (tmp_path / "archives/topics/a/1.atom").touch()
    assert found.differ()
    found.take(["archives/topics/a"])  # and those above it, which are new
    assert not found.differ()
    backdate(tmp_path / "archives/topics/a")
    assert found.differ() and not found.differ(all_of_them=False)
    found.forget()
    assert not found.knows() and not found.differ()


def test_folders_of_archives_are_looked_at_in_turn(tmp_path: Path) -> None:
    for number in range(2 * AT_ONCE):
        (tmp_path / f"archives/topics/{number}").mkdir(parents=True)
    found = stamps_of(tmp_path)
    shutil.rmtree(tmp_path / "archives/topics/7")
    found.take(["archives/topics"])
    assert sorted(found.differ() for _ in range(2)) == [False, True]


# --- without a daemon -------------------------------------------------------------------------------------------------


def test_a_publisher_that_is_closed_lets_go(tmp_path: Path) -> None:
    room = Newsroom(tmp_path / "a")
    other = Newsroom(tmp_path / "b")
    other.close()
    other.out = room.out
    with pytest.raises(errors.OutputError, match="another feedd"):
        other.open()
    other.close()
    room.close()
    other.open()
    other.close()


def test_two_copies_of_one_state_are_told_apart(tmp_path: Path) -> None:
    room = Newsroom(tmp_path / "a")
    room.put("a.md", article("One"))
    room.publish()
    room.close()
    shutil.copytree(tmp_path / "a/state", tmp_path / "b/state")
    shutil.copytree(tmp_path / "a/articles", tmp_path / "b/articles")
    copy = Newsroom(tmp_path / "b")
    copy.close()
    copy.out = room.out
    copy.open()
    copy.put("a.md", article("One, edited by the copy"))
    copy.publish()
    copy.close()
    assert room.titles() == ["One, edited by the copy"]
    room.open()
    room.publish()
    assert room.titles() == ["One"]
    room.check()
    room.close()


def test_a_folder_that_cannot_be_listed_is_said_and_is_no_defect(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One", topics=None))
    with site.running() as feedd:
        (site.out / "topics").symlink_to("topics")  # which leads nowhere for ever
        site.put("two.md", article("Two", topics=None))
        said = feedd.wait(NO_OUTPUT)
        assert said["reason"] == f"{site.out}/topics: cannot be listed: too many levels of symbolic links"
        site.shows("One", "Two")
        (site.out / "topics").unlink()
        feedd.wait("it works again")
    site.check()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_waited_for(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    room.close()
    (room.out / NAME).unlink()
    room.out.chmod(0o555)
    room.open()
    room.publisher.custody.own()
    room.out.chmod(0o755)
    room.publisher.custody.own()
    assert (room.out / NAME).exists()
    room.close()
