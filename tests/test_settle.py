"""feedd.settle: when paths are handed over, and when they are held back. Every wait has a deadline far away."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from feedd.settle import Batch, Inbox, outermost

LONG_S = 20.0


def inbox(gap_s: float = 0.0, max_wait_s: float = LONG_S, open_wait_s: float = LONG_S) -> Inbox:
    return Inbox(gap_s, max_wait_s, open_wait_s)


def paths(box: Inbox, timeout: float | None = LONG_S) -> list[str]:
    batch = box.take(timeout)
    assert batch is not None
    return sorted(batch.paths)


def nothing(box: Inbox) -> bool:
    return box.take(0) is None


def test_a_closed_file_is_handed_over_at_once_and_once() -> None:
    box = inbox()
    box.written("a.md")
    assert nothing(box)
    box.closed("a.md")
    assert box.take(0) == Batch(frozenset({"a.md"}))
    assert nothing(box)


def test_only_articles_are_handed_over() -> None:
    box = inbox(open_wait_s=0)
    for path in ["a.md.tmp", ".a.md", "4913"]:
        box.written(path)
        box.closed(path)
        box.written(path)
    assert nothing(box)


def test_the_gap_gathers_what_comes_close_together() -> None:
    box = inbox(gap_s=0.05)
    box.closed("a.md")
    box.closed("b.md")
    assert nothing(box)
    assert paths(box) == ["a.md", "b.md"]


def test_a_steady_stream_cannot_hold_a_batch_back_for_ever() -> None:
    box = inbox(gap_s=LONG_S, max_wait_s=0.1)
    stop = threading.Event()

    def stream() -> None:
        while not stop.is_set():
            box.closed("a.md")
            stop.wait(0.001)

    streaming = threading.Thread(target=stream)
    streaming.start()
    assert paths(box) == ["a.md"]
    stop.set()
    streaming.join()


def test_a_waiting_reader_is_woken() -> None:
    box = inbox()
    got: list[list[str]] = []
    reader = threading.Thread(target=lambda: got.append(paths(box, None)))
    reader.start()
    box.closed("a.md")
    reader.join(LONG_S)
    assert got == [["a.md"]]


def test_a_file_opened_again_is_held_back_until_it_is_closed_again() -> None:
    box = inbox()
    box.closed("a.md")
    box.written("a.md")
    assert nothing(box)
    box.closed("a.md")
    assert paths(box) == ["a.md"]


def test_a_file_that_is_never_closed_is_handed_over_in_the_end() -> None:
    box = inbox(open_wait_s=0.05)
    box.written("a.md")
    box.written("b.md")
    assert nothing(box)
    seen = paths(box)
    assert (seen if len(seen) == 2 else seen + paths(box)) == ["a.md", "b.md"]


def test_touching_is_news_unless_the_file_is_being_written() -> None:
    box = inbox()
    box.written("a.md")
    box.touched("a.md")
    box.touched("b.md")
    assert paths(box) == ["b.md"]


def test_a_rename_hands_over_both_names() -> None:
    box = inbox()
    box.renamed_from("a.md", 1)
    box.renamed_to("b.md", 1)
    assert paths(box) == ["a.md", "b.md"]


def test_a_file_that_is_renamed_while_it_is_written_stays_held_back() -> None:
    box = inbox()
    box.closed("b.md")
    box.written("a.md.tmp")
    box.renamed_from("a.md.tmp", 1)
    box.renamed_to("b.md", 1)
    assert nothing(box)
    box.closed("b.md")
    assert paths(box) == ["b.md"]


def test_a_whole_file_that_replaces_one_being_written_is_handed_over() -> None:
    box = inbox()
    box.written("a.md")
    box.renamed_to("a.md", 1)
    assert paths(box) == ["a.md"]


def test_renames_out_of_the_root_are_forgotten() -> None:
    box = inbox()
    for number in range(1000):
        box.written("a.tmp")
        box.renamed_from("a.tmp", number)
    assert len(box._renamed) < 100


def test_what_is_put_back_comes_again_later_or_when_it_is_closed() -> None:
    box = inbox()
    box.hold(["a.md", "b.md"], LONG_S)
    box.hold(["c.md"], 0.0)
    assert paths(box) == ["c.md"]
    box.closed("b.md")
    assert paths(box) == ["b.md"]
    assert nothing(box)


def test_scans_of_folders_and_of_all_are_handed_over_with_the_paths() -> None:
    box = inbox()
    box.settled(["a.md"])
    box.folder("x/y")
    box.folder("x")
    box.full("overflow")
    box.full("overflow")
    box.full("asked")
    assert box.take(0) == Batch(frozenset({"a.md"}), frozenset({"x"}), full_scan=True, reason="overflow, asked")
    assert nothing(box)


def test_nothing_is_said_of_articles_while_the_root_is_gone() -> None:
    box = inbox(open_wait_s=0)
    box.settled(["a.md"])
    box.written("b.md")
    box.folder("x")
    box.full("overflow")
    box.gone()
    assert box.take(0) == Batch(root_gone=True, reason="root_gone")
    assert nothing(box)
    box.gone()
    box.full("root_back")
    assert box.take(0) == Batch(full_scan=True, reason="root_back")


def test_a_reader_can_be_woken_without_news_and_once() -> None:
    box = inbox()
    got: list[Batch | None] = []
    reader = threading.Thread(target=lambda: got.append(box.take(None)))
    reader.start()
    box.wake()
    reader.join(LONG_S)
    assert got == [None]
    box.closed("a.md")
    assert paths(box) == ["a.md"]


def test_closing_wakes_and_ends_every_reader() -> None:
    box = inbox()
    got: list[Batch | None] = []
    readers = [threading.Thread(target=lambda: got.append(box.take(None))) for _ in range(2)]
    for reader in readers:
        reader.start()
    box.closed("a.md.tmp")
    box.close()
    for reader in readers:
        reader.join(LONG_S)
    assert got == [None, None]
    box.closed("a.md")
    assert nothing(box)


folders = st.lists(st.text("ab-/", min_size=1, max_size=6).map(lambda text: text.strip("/") or "a"))


@given(folders)
def test_outermost_covers_every_folder_and_no_other(given_folders: list[str]) -> None:
    kept = outermost(given_folders)
    assert kept <= set(given_folders)
    for folder in given_folders:
        assert sum(f"{folder}/".startswith(f"{outer}/") for outer in kept) == 1
