"""The state's contract: locks, versions, transactions, and what its queries promise."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from feedd import errors, model, plan
from feedd.store import FileRow, Problem, Store, open_store, pack_ids, schema, unpack_ids
from feedd.store.sqlite import NAME, errors_in_words, set_aside


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "state")) as opened:
        yield opened


def known(number: int, **own: object) -> plan.Known:
    plain = plan.Known(
        id=number, entry_path=f"{number}.md", path=f"{number}.md", story=number, original=0, public=True, public_at=1,
        published_at=1, updated_us=1, release_at=None, position=number, editorial=b"e", rendered=b"r", revision=1,
        copies=1, feeds=b"", shown_in=b"", title="t",
    )
    return msgspec.structs.replace(plain, **own)


def test_two_writers_are_refused_politely_and_a_reader_is_not(store: Store, tmp_path: Path) -> None:
    with pytest.raises(errors.StateLockedError, match="another feedd"):
        open_store(str(tmp_path / "state"))
    with open_store(str(tmp_path / "state"), read_only=True) as reader:
        assert reader.count()["files"] == 0
    store.close()
    open_store(str(tmp_path / "state")).close()


def test_a_state_that_is_not_there_or_cannot_be_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(errors.StateError, match="no state yet"):
        open_store(str(tmp_path), read_only=True)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(errors.StateError, match="cannot keep state there"):
        open_store(str(tmp_path / "file" / "state"))


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_state_is_refused_and_left_alone(tmp_path: Path, read_only: bool) -> None:
    open_store(str(tmp_path)).close()
    with sqlite3.connect(tmp_path / NAME) as database:
        database.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    database.close()
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(errors.StateTooNewError, match="newer feedd"):
        open_store(str(tmp_path), read_only=read_only).close()
    assert (tmp_path / NAME).read_bytes() == before


def test_garbage_is_a_database_error_and_can_be_set_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database at all" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        open_store(str(tmp_path))
    aside = set_aside(str(tmp_path), 7)
    assert Path(aside).read_bytes().startswith(b"no database")
    with open_store(str(tmp_path)) as fresh:
        assert fresh.is_sound()


def test_every_earlier_schema_migrates_to_today(tmp_path: Path) -> None:
    for version in range(len(schema.MIGRATIONS) + 1):
        folder = tmp_path / str(version)
        folder.mkdir()
        with sqlite3.connect(folder / NAME, isolation_level=None) as database:
            for number, step in enumerate(schema.MIGRATIONS[:version], 1):
                database.executescript(f"{step}; PRAGMA user_version = {number}")
        database.close()
        with open_store(str(folder)) as migrated:
            assert migrated.check_version() == len(schema.MIGRATIONS)


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.put_meta("a", "1")
        raise ZeroDivisionError
    assert store.find_meta("a") is None
    with pytest.raises(ZeroDivisionError), store.transaction():
        store._db.execute("ROLLBACK")  # as SQLite does by itself when the disk is full
        raise ZeroDivisionError
    with store.transaction():
        store.put_meta("a", "2")
    assert store.find_meta("a") == "2"


def test_files_come_in_the_order_of_a_scan_and_below_a_folder_only_its_own(store: Store) -> None:
    assert not store.has_files()
    paths = ["a-b/x.md", "a/x.md", "a/y/z.md", "a0.md", "ä.md"]
    with store.transaction():
        store.put_files([FileRow(path, 1, 2, 3, b"d", None) for path in reversed(paths)])
    assert [row.path for row in store.iter_files()] == paths
    assert [row.path for row in store.iter_files("a")] == ["a/x.md", "a/y/z.md"]
    assert store.find_files(["a0.md", "no.md"]).keys() == {"a0.md"}
    with store.transaction():
        store.assign_file("a0.md", 7)
        store.drop_files(["a/x.md"])
    assert store.find_files(["a0.md"])["a0.md"].article_id == 7
    assert store.has_files()


def test_a_problem_is_known_since_it_first_came(store: Store) -> None:
    with store.transaction():
        store.put_problems([Problem("a", 1, 2, "", "first", 100)])
        store.put_problems([Problem("a", 3, 4, "title", "then", 200)])
    assert store.list_problems() == [Problem("a", 3, 4, "title", "then", 100)]
    with store.transaction():
        store.drop_problems(["a"])
    assert store.list_problems() == []


def test_articles_are_found_by_id_story_identity_and_original(store: Store) -> None:
    rows = [known(1), known(2, story=1, path=None, original=9), known(3, release_at=50)]
    with store.transaction():
        store.put_articles(rows)
        store.put_bodies([(1, b"x"), (2, b"y"), (3, b"z")])
        store.drop_bodies([2])
    assert store.next_article_id() == 4
    assert store.find_articles([1, 3, 8]) == {1: rows[0], 3: rows[2]}
    assert store.list_stories([1]) == rows[:2]
    assert store.list_gone([9, 8]) == [rows[1]]
    assert store.list_minted(["3.md"]) == [rows[2]]
    assert store.list_entry_paths(["1.md", "9.md"]) == {"1.md"}
    assert (store.list_due(49), store.list_due(50), store.next_release()) == ([], [3], 50)
    assert store.get_body(1) == b"x"
    assert store.find_articles(list(range(5_000))).keys() == {1, 2, 3}


def test_windows_bounds_and_pages(store: Store) -> None:
    with store.transaction():
        feed_id = store.put_feed(plan.FeedRef("topic", "ai", "AI"))
        store.put_articles([known(number) for number in range(1, 11)])
        store.apply_memberships([], [(feed_id, number, number) for number in range(1, 11)])
        store.apply_memberships([(feed_id, 10, 10)], [])
    assert [row.id for row in store.list_window(feed_id, above=-1, up_to=None, limit=3)] == [9, 8, 7]
    assert [row.id for row in store.list_window(feed_id, above=2, up_to=5, limit=-1)] == [5, 4, 3]
    assert (store.count_entries(feed_id), store.count_entries(feed_id, 4)) == (9, 5)
    assert store.list_bounds(feed_id, above=-1, every=4, pages=2) == [4, 8]
    assert (store.last_page(feed_id), store.find_page(feed_id, 3)) == ((0, -1), None)
    with store.transaction():
        store.put_document(feed_id, 1, 4, 0)
        store.put_document(feed_id, 2, 8, 0)
    assert store.last_page(feed_id) == (2, 8)
    assert [store.find_page(feed_id, position) for position in (1, 4, 5, 9)] == [1, 1, 2, None]
    with store.transaction():
        store.drop_archives()
    assert store.last_page(feed_id) == (0, -1)


def test_a_document_is_dirty_until_the_change_that_was_read_is_written(store: Store) -> None:
    with store.transaction():
        feed_id = store.put_feed(plan.FeedRef("topic", "ai", "AI"))
    assert (store.list_dirty(live=True), store.list_unwritten()) == ([(feed_id, 0)], {feed_id})
    read = store.get_document(feed_id, 0)
    with store.transaction():
        store.mark_dirty([(feed_id, 0, 500)])
        store.mark_written([(feed_id, 0, read.dirty_seq, None, 90, 1, 10, 3)])
    assert (store.list_dirty(live=True), store.count_dirty()) == ([(feed_id, 0)], 1)
    with store.transaction():
        store.mark_failed(feed_id, 0, "disk full")
    assert store.get_document(feed_id, 0).error == "disk full"
    with store.transaction():
        store.mark_written([(feed_id, 0, read.dirty_seq + 1, 7, 90, 2, 20, None)])
        store.mark_written([(feed_id, 0, read.dirty_seq, None, 0, 0, 0, None)])
    document = store.get_document(feed_id, 0)
    assert (document.floor, document.entries, document.written_at, document.updated_us) == (7, 2, 3, 500)
    assert store.list_unwritten() == frozenset()
    assert (document.error, store.list_dirty(live=True), store.list_documents(page=0)) == ("", [], [document])
    with store.transaction():
        store.mark_all_dirty([feed_id])
    assert store.list_dirty(live=True, limit=1) == [(feed_id, 0)]
    with pytest.raises(LookupError):
        store.get_document(feed_id, 9)
    with store.transaction():
        store.drop_feed(feed_id)
    assert (store.find_feed("topic", "ai"), store.find_document(feed_id, 0)) == (None, None)


def test_a_feed_id_is_never_used_again(store: Store) -> None:
    with store.transaction():
        first = store.put_feed(plan.FeedRef("topic", "ai", "AI"))
        store.drop_feed(first)
        second = store.put_feed(plan.FeedRef("topic", "ai", "AI"))
    assert second > first
    assert [feed.id for feed in store.list_unnamed()] == [second]
    with store.transaction():
        store.lower_label(second, "Ai")
        store.lower_label(second, "A.I.")
        store.put_slugs([(second, "ai")])
        store.lower_label(second, "A")
    assert store.get_feed(second).label == "A.I."
    assert (store.list_unnamed(), store.list_slugs("topic"), store.get_feed(second).slug) == ([], ["ai"], "ai")


def test_the_first_metadata_file_by_path_speaks(store: Store) -> None:
    two = [model.Metadata("topic", "ai", name) for name in ("Second", "First")]
    with store.transaction():
        store.put_metadata("b.yaml", two[0], "ai")
        store.put_metadata("a.yaml", two[1], "ai")
    assert store.metadata_of("topic", "ai") == two[1]
    with store.transaction():
        store.drop_metadata("a.yaml")
    assert (store.metadata_of("topic", "ai"), store.find_metadata("a.yaml")) == (two[0], None)
    assert store.find_metadata("b.yaml") == two[0]


def test_only_the_newest_changes_are_kept(store: Store) -> None:
    with store.transaction():
        store.put_changes([(number, f"{number}.md", "new") for number in range(10)], keep=4)
        store.put_changes([(10, "10.md", "edited")], keep=4)
    assert [path for _, path, _ in store.list_changes(9)] == ["10.md", "9.md", "8.md", "7.md"]
    assert len(store.list_changes(2)) == 2


@pytest.mark.parametrize(("error", "said"), [
    (sqlite3.OperationalError("disk full"), "cannot be used: disk full"), (sqlite3.DatabaseError("malformed"), "torn"),
])
def test_what_sqlite_says_comes_out_in_words(error: sqlite3.Error, said: str) -> None:
    with pytest.raises(errors.StateError, match=said), errors_in_words():
        raise error
    with errors_in_words():
        pass


def test_an_error_says_where_it_is() -> None:
    error = errors.ArticleError("a.md", "missing", line=3, column=7, field="title")
    assert str(error) == "a.md:3:7: title: missing"
    assert str(errors.ArticleError("a.md", "gone")) == "a.md: gone"


def test_packed_ids_are_the_same_bytes_in_any_order() -> None:
    assert pack_ids([3, 1]) == pack_ids({1, 3})
    assert (unpack_ids(pack_ids([3, 1])), unpack_ids(b"")) == ((1, 3), ())
