"""What loops tell of themselves, as others read it: counts, times, the queue's age, and what cannot be written now."""

from __future__ import annotations

import os
from pathlib import Path

import faults
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd import meters
from feedd.journal import UNKNOWN_CAUSE
from feedd.meters import Health, InHand, Meters, Times, cause_of
from feedd.settle import Batch, Inbox, Waiting

LONG_S = 20.0
FULL = "/out/topics/ai.atom: cannot be written: no space left on device"
IN_THE_WAY = "/out/topics/ai.atom: cannot be written: not a directory"


# --- causes and times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "cause"), [
    ("new: 2026/a.md", "new"), ("edited: a: b and c.md and 3 more", "edited"), ("removed: removed.md", "removed"),
    ("related or copies changed: a.md and 1 more", "related"), ("link dead: https://a.example/x", "verdicts"),
    ("links were checked and 2 more", "verdicts"), ("configuration", "configuration"),
    ("missing: topics/ai.atom", "repair"),
    ("configuration and 12 more", "configuration"), (UNKNOWN_CAUSE, "unknown"), ("", "unknown"),
    ("silent: a.md", "unknown"),
])
def test_whatever_the_log_says_of_a_cause_has_a_place_in_a_small_set(said: str, cause: str) -> None:
    assert cause_of(said) == cause


@given(st.text())
def test_no_text_makes_a_series_of_its_own(said: str) -> None:
    assert cause_of(said) in meters.CAUSES


@given(st.lists(st.floats(-1, 1e6), max_size=50))
def test_times_are_counted_up_to_each_bound(seconds: list[float]) -> None:
    times = Times((0.1, 1.0, 10.0))
    for each in seconds:
        times.observe(each)
    spread = times.read()
    assert spread.counts == tuple(sum(each <= bound for each in seconds) for bound in (0.1, 1.0, 10.0, float("inf")))
    assert spread.total_s == pytest.approx(sum(max(0.0, each) for each in seconds))


# --- from event to disk -----------------------------------------------------------------------------------------------


def published(counted: Meters, now: float, *, is_scan: bool = False) -> None:
    """A round that wrote a feed."""
    counted.wrote("edited: a.md", 100, archive=False)
    counted.done(now, is_scan=is_scan)


def test_the_time_to_disk_begins_with_the_first_news_of_all_that_was_taken() -> None:
    counted = Meters()
    counted.took(10.0, 2)
    counted.took(8.0, 1)  # the round before came to nothing
    assert (counted.in_hand, counted.oldest(9.0), counted.oldest(None)) == (InHand(3, 8.0), 8.0, 8.0)
    published(counted, 11.0)
    assert (counted.on_disk.read().counts[-1], counted.on_disk.read().total_s) == (1, 3.0)
    assert (counted.in_hand, counted.oldest(None), counted.oldest(9.0)) == (InHand(), None, 9.0)


def test_what_shows_nowhere_and_scans_of_everything_say_nothing_of_it() -> None:
    counted = Meters()
    counted.took(1.0, 1)
    counted.done(2.0)
    counted.took(1.0, 0)
    published(counted, 90.0, is_scan=True)
    published(counted, 91.0)  # nothing was taken: an article whose time has come
    assert counted.on_disk.read().counts[-1] == 0
    assert counted.written == {"edited": 2}


def test_news_that_a_failed_feed_is_to_show_waits_until_it_does() -> None:
    counted = Meters()
    counted.took(1.0, 1)
    counted.failed(FULL, archive=False)
    counted.done(2.0)
    counted.took(3.0, 1)
    counted.failed(FULL, archive=False)
    published(counted, 4.0)
    assert (counted.oldest(None), counted.on_disk.read().counts[-1], counted.faults) == (1.0, 0, {"output": 2})
    counted.done(9.0)
    assert (counted.oldest(None), counted.on_disk.read().total_s) == (None, 8.0)
    counted.done(10.0)
    assert counted.on_disk.read().counts[-1] == 1


def test_an_archive_that_fails_holds_up_no_news() -> None:
    counted = Meters()
    counted.took(1.0, 1)
    counted.failed(IN_THE_WAY, archive=True)
    published(counted, 2.0)
    assert (counted.oldest(None), counted.on_disk.read().total_s, counted.faults["output"]) == (None, 1.0, 1)
    counted.wrote("archive", 100, archive=True)
    assert (counted.written, counted.bytes_written) == ({"edited": 1, "archive": 1}, 200)


def test_changes_of_articles_are_those_that_readers_see() -> None:
    counted = Meters()
    for what in ("new", "edited", "related or copies changed", "silent", "removed", "new"):
        counted.changed(what)
    assert counted.changes == {"new": 2, "edited": 1, "related": 1, "removed": 1}


def test_a_refused_configuration_leaves_the_time_of_the_one_that_holds() -> None:
    counted = Meters()
    counted.reloaded(100.0, succeeded=True)
    counted.reloaded(200.0, succeeded=False)
    assert counted.reloads == meters.Reloads(1, 1, 100.0, is_current=False)
    counted.reloaded(300.0, succeeded=True)
    assert counted.reloads == meters.Reloads(2, 1, 300.0, is_current=True)


# --- what waits in the inbox ------------------------------------------------------------------------------------------


def test_a_batch_knows_when_the_first_news_in_it_came() -> None:
    box = Inbox(0.0, LONG_S, LONG_S)
    assert box.waiting() == Waiting()
    box.closed("a.md")
    first = box.waiting()
    box.closed("b.md")
    box.folder("c")
    box.full("asked")
    assert first.since is not None
    assert (first.count, box.waiting()) == (1, Waiting(4, first.since))
    batch = box.take(0)
    assert batch is not None
    assert (batch.since, box.waiting()) == (first.since, Waiting())
    box.closed("a.md")
    later = box.take(0)
    assert later is not None and later.since >= first.since


def test_news_of_a_file_that_is_never_closed_is_as_old_as_the_last_write() -> None:
    box = Inbox(0.0, LONG_S, 0.05)
    box.written("a.md")
    assert box.waiting() == Waiting()  # it is being written
    batch = box.take(LONG_S)
    box.closed("b.md")
    after = box.waiting().since
    assert batch is not None and after is not None
    assert after - batch.since >= 0.05


def test_batches_of_which_the_same_is_to_be_made_are_equal() -> None:
    one, other = Batch(frozenset({"a.md"}), since=1.0), Batch(frozenset({"a.md"}), since=2.0)
    assert (one == other, hash(one) == hash(other), one == Batch(), one == "a.md") == (True, True, False, False)


# --- health -----------------------------------------------------------------------------------------------------------


def test_what_failed_is_said_without_a_path_until_it_is_done_again(tmp_path: Path) -> None:
    counted = Meters({"output": str(tmp_path), "state": str(tmp_path)})
    assert counted.health.troubles() == ()
    counted.fault("state", "database is locked")
    counted.failed(FULL, archive=True)
    assert counted.health.troubles() == (
        "The output cannot be written: no space left on device.", "The state cannot be written: database is locked.",
    )
    counted.done(1.0)
    published(counted, 2.0)  # which shows that the output takes feeds again
    assert counted.health.troubles() == ("The state cannot be written: database is locked.",)
    counted.well()
    assert (counted.health.troubles(), counted.faults) == ((), {"state": 1, "output": 1})


def test_a_feed_that_something_is_in_the_way_of_is_no_trouble_of_the_whole(tmp_path: Path) -> None:
    counted = Meters({"output": str(tmp_path)})
    counted.failed(IN_THE_WAY, archive=False)
    assert counted.health.troubles() == ()


def test_articles_that_are_away_do_not_make_it_unready(tmp_path: Path) -> None:
    counted = Meters({"output": str(tmp_path)})
    counted.fault("articles", "gone")
    assert (counted.health.troubles(), counted.faults) == ((), {"articles": 1})


def test_a_folder_that_is_gone_is_trouble_at_once(tmp_path: Path) -> None:
    health = Health({"output": str(tmp_path / "feeds")})
    assert health.troubles() == ("The output cannot be written: no such file or directory.",)
    (tmp_path / "feeds").mkdir()
    assert health.troubles() == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_others_is_trouble_at_once(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert Health({"state": str(tmp_path)}).troubles() == ("The state cannot be written: permission denied.",)
    tmp_path.chmod(0o700)


def test_a_disk_that_is_full_or_read_only_is_trouble_at_once(tmp_path: Path) -> None:
    options = "size=64k,nr_inodes=8"
    with faults.disk(tmp_path / "disk", options):
        folder = tmp_path / "disk"
        health = Health({"output": str(folder)})
        assert health.troubles() == ()
        with faults.filled(folder):
            assert health.troubles() == ("The output cannot be written: no space left on device.",)
        faults.turn_read_only(folder, options)
        assert health.troubles() == ("The output cannot be written: read-only file system.",)
        faults.turn_writable(folder, options)
        for number in range(7):
            (folder / str(number)).touch()
        assert health.troubles() == ("The output cannot be written: no more files can be made there.",)
