"""links.sqlite: who has which link, what is due, what publishing hears of, and what survives."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from feedd import errors
from feedd.freshness import judge
from feedd.freshness.states import Evidence, LinkState
from feedd.store import linkrows
from feedd.store.linkrows import Host, Link, Trouble
from feedd.store.links import NAME, Links, open_links, set_aside, target_of
from feedd.store.linkuses import LINK

NOW = 1_700_000_000
DAY = 86_400
A, B, C = "https://a.example/1", "https://b.example:8443/2", "http://c.example/3"
FRESH = LinkState("fresh", NOW, verified_at=NOW, checked_at=NOW, next_check_at=NOW + DAY, interval_days=1)
DEAD = LinkState("dead", NOW, checked_at=NOW, next_check_at=NOW + 7 * DAY, strikes=3)


@pytest.fixture
def links(tmp_path: Path) -> Iterator[Links]:
    opened = open_links(str(tmp_path / "state ?#%"))
    yield opened
    opened.close()


def use(links: Links, *rows: tuple[int, Iterable[str], bool], now: int = NOW) -> None:
    with links.transaction():
        links.put_uses([(article_id, list(urls), in_feed) for article_id, urls, in_feed in rows], judge.replan, now)


def check(links: Links, url: str, state: LinkState, now: int = NOW) -> int:
    with links.transaction():
        return links.put_checked([(get(links, url).id, state)], now)


def get(links: Links, url: str) -> Link:
    link = links.find_link(url)
    assert link
    return link


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_database_keeps_its_own_id_and_what_is_noted(tmp_path: Path) -> None:
    first = open_links(str(tmp_path))
    own = first.find_meta("id")
    with first.transaction():
        first.put_meta({"a": "1", "b": "2"})
        first.put_meta({"b": None})
    first.close()
    again = open_links(str(tmp_path))
    assert own and (again.find_meta("id"), again.find_meta("a"), again.find_meta("b")) == (own, "1", None)
    again.close()
    other = open_links(str(tmp_path / "other"))
    assert other.find_meta("id") not in (own, None)
    other.close()


def test_a_reader_sees_what_is_written_and_writes_nothing(links: Links, tmp_path: Path) -> None:
    reader = open_links(str(tmp_path / "state ?#%"), read_only=True)
    with links.transaction():
        links.put_uses([(1, [A], True)], judge.replan, NOW)
        assert reader.find_link(A) is None
    assert get(reader, A).url == A
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.put_meta({"a": "1"})
    reader.close()


def test_where_there_are_no_links_a_reader_says_so_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(errors.StateError, match="no links yet"):
        open_links(str(tmp_path), read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / NAME).touch()
    with pytest.raises(errors.StateError, match="older feedd, or none yet"):
        open_links(str(tmp_path), read_only=True)


def test_where_none_can_be_kept_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.StateError, match="links cannot be kept there"):
        open_links(str(tmp_path / "file"))


def test_links_of_a_newer_feedd_are_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / NAME) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    for read_only in (False, True):
        with pytest.raises(errors.StateTooNewError, match="version 99"):
            open_links(str(tmp_path), read_only=read_only)


def test_a_torn_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database" * 999)
    with pytest.raises(sqlite3.DatabaseError):
        open_links(str(tmp_path))
    assert Path(set_aside(str(tmp_path), NOW)).read_bytes() == b"no database" * 999
    open_links(str(tmp_path)).close()


def test_what_comes_in_at_once_is_in_the_file_itself_afterwards(links: Links, tmp_path: Path) -> None:
    with links.loading():
        use(links, (1, [A], True))
    assert (tmp_path / "state ?#%" / f"{NAME}-wal").stat().st_size == 0
    with pytest.raises(ZeroDivisionError), links.loading():
        raise ZeroDivisionError
    assert get(links, A).uses == 1


def test_who_reads_is_not_waited_for_when_all_is_in(tmp_path: Path) -> None:
    log = tmp_path / f"{NAME}-wal"
    with closing(open_links(str(tmp_path), wait_s=3_600)) as writer:  # for hours, if it waits
        with closing(open_links(str(tmp_path), read_only=True)) as reader, reader.snapshot():
            assert reader.find_link(A) is None
            with writer.loading():
                use(writer, (1, [A], True))
            assert log.stat().st_size > 0
        with writer.loading():
            use(writer, (2, [B], True))
        assert log.stat().st_size == 0


def open_at_once(folder: str, barrier: threading.Barrier, ids: list[str | None]) -> None:
    barrier.wait()
    links = open_links(folder)
    ids.append(links.find_meta("id"))
    links.close()


def test_many_may_open_new_ones_at_once(tmp_path: Path) -> None:
    for number in range(5):
        ids: list[str | None] = []
        given = (str(tmp_path / str(number)), threading.Barrier(4), ids)
        threads = [threading.Thread(target=open_at_once, args=given) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ids) == 4 and len(set(ids)) == 1


def test_every_field_of_a_state_has_a_column_and_comes_back(links: Links) -> None:
    evidence = Evidence(NOW, "good", "it is there", 200, A, True, True, b"\x01", "e", "m", 7)
    state = LinkState(
        "moved", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, B, 11, "etag", "modified", b"\x00\xff", b"\x02", 12, 13, C, "",
        (evidence,),
    )
    use(links, (1, [A], True))
    check(links, A, state)
    assert get(links, A).state == state
    columns = [row[1] for row in links._db.execute("PRAGMA table_info(link)")]
    assert tuple(columns[-len(LinkState.__struct_fields__):]) == LinkState.__struct_fields__
    assert [row[1] for row in links._db.execute("PRAGMA table_info(host)")] == list(Host.__struct_fields__)


# --- articles ---------------------------------------------------------------------------------------------------------


def test_a_new_link_is_one_row_however_many_have_it_and_due_soon(links: Links) -> None:
    use(links, (1, [A, B, A], True), (2, [A], False))
    link = get(links, A)
    assert (link.host, link.uses, link.in_feed, get(links, B).host) == ("a.example", 2, True, "b.example:8443")
    assert link.state == LinkState(since_at=NOW, next_check_at=judge.first_check_at(A, NOW, in_feed=True))
    assert [link.url for link in links.list_links_of(1)] == [A, B]
    assert [link.url for link in links.list_links_of(2)] == [A]
    assert links.list_links_of(3) == []
    assert (links.list_users(0, 9), links.list_users(0, 1), links.list_users(1, 9)) == ([1, 2], [1], [2])
    assert links.list_news(0, 9) == []


def test_a_link_in_no_feed_waits_and_in_one_no_longer(links: Links) -> None:
    use(links, (1, [A], False))
    assert get(links, A).state.next_check_at == judge.first_check_at(A, NOW, in_feed=False)
    use(links, (1, [A], False), (2, [A], True), now=NOW + 9)
    assert get(links, A).in_feed
    assert get(links, A).state.next_check_at == judge.first_check_at(A, NOW + 9, in_feed=True)
    use(links, (2, [A], False), now=NOW + 99)
    assert not get(links, A).in_feed
    assert get(links, A).state.next_check_at == judge.first_check_at(A, NOW + 99, in_feed=False)


def test_a_link_that_passes_from_one_article_to_another_is_planned_as_before(links: Links) -> None:
    use(links, (1, [A], True))
    before = get(links, A)
    use(links, (1, [], True), (2, [A], True), now=NOW + 9)
    assert get(links, A) == before
    assert (links.list_users(0, 9), links.next_due_at()) == ([2], before.state.next_check_at)


def test_a_change_of_plan_keeps_what_is_known(links: Links) -> None:
    use(links, (1, [A], False))
    check(links, A, replace(FRESH, interval_days=90, next_check_at=NOW + 90 * DAY))
    assert links.list_lapsing(NOW + 100 * DAY, 9) == []
    use(links, (1, [A], True), now=NOW + DAY)
    state = get(links, A).state
    assert state == judge.replan(A, replace(FRESH, interval_days=90), NOW + DAY, in_feed=True)
    assert [link.url for link in links.list_lapsing(judge.lapses_at(state), 9)] == [A]


def test_a_link_that_no_article_has_keeps_its_state_and_is_not_due(links: Links) -> None:
    use(links, (1, [A, B], True))
    check(links, A, DEAD)
    use(links, (1, [B], True))
    assert replace(get(links, A).state, next_check_at=0, interval_days=0) == replace(DEAD, next_check_at=0)
    assert [link.url for link in links.list_due(NOW + 999 * DAY, 9)] == [B]
    assert (links.count_due(NOW + 999 * DAY), links.count_by_verdict()) == (1, {"unchecked": 1})
    assert [link.url for link in links.iter_links()] == [B]
    assert links.list_marks(0, 9) == []
    use(links, (7, [A], True))
    assert [link.url for link in links.list_due(NOW + 999 * DAY, 9)] == [B, A]


def test_links_without_use_are_forgotten_in_the_end_but_not_before_publishing_heard(links: Links) -> None:
    use(links, (1, [A, B, C], True))
    check(links, A, DEAD)
    with links.transaction():
        links.put_by_hand([(get(links, C).id, replace(DEAD, by_hand="dead"))], NOW)
    use(links, (1, [], True), now=NOW + DAY)
    later, seq = NOW + 91 * DAY, links.newest_news()
    with links.transaction():
        assert links.drop_unused(later - 1) == 0
    with links.transaction():
        assert links.drop_unused(later, limit=1) == 1
        assert links.drop_unused(later) == 1
        assert links.drop_unused(later) == 0
    assert links.find_link(B) is None
    assert get(links, A).state == LinkState(since_at=later)
    ((was, now, verdict),) = [(news.was, news.now, news.mark.verdict) for news in links.list_news(seq, 9)]
    assert (was, now, verdict) == ("dead", "unchecked", "unchecked")
    with links.transaction():
        assert links.drop_unused(later + 90 * DAY) == 1
    assert (links.find_link(A), [news.mark.url for news in links.list_news(0, 9)]) == (None, [C])
    last = get(links, C).id
    use(links, (1, [A], True))
    assert get(links, A).id > last


def test_hosts_that_were_not_asked_for_long_are_forgotten(links: Links) -> None:
    with links.transaction():
        links.put_hosts([Host("a.example", last_at=NOW - 90 * DAY), Host("b.example", robots_at=NOW)])
        links.drop_unused(NOW)
    assert list(links.find_hosts(["a.example", "b.example"])) == ["b.example"]


articles = st.dictionaries(st.integers(1, 4), st.tuples(st.sets(st.sampled_from("abcde")), st.booleans()))


@settings(max_examples=60, deadline=None)
@given(st.lists(articles, max_size=6))
def test_uses_are_those_of_the_last_word_on_each_article(tmp_path_factory: pytest.TempPathFactory, words: list[
    dict[int, tuple[set[str], bool]]
]) -> None:
    links = open_links(str(tmp_path_factory.mktemp("links")))
    links._db.execute("PRAGMA synchronous = OFF")
    last: dict[int, tuple[set[str], bool]] = {}
    for now, word in enumerate(words, NOW):
        last |= word
        use(links, *((i, [f"https://{name}.example/" for name in names], fed) for i, (names, fed) in word.items()),
            now=now)
        had = [(name, fed) for names, fed in last.values() for name in names]
        for name in "abcde":
            feeds = [fed for other, fed in had if other == name]
            link = links.find_link(f"https://{name}.example/")
            assert (link.uses, link.in_feed) == (len(feeds), any(feeds)) if link else not feeds
    assert links.list_users(0, 9) == sorted(i for i, (names, _) in last.items() if names)
    links.close()


# --- runs -------------------------------------------------------------------------------------------------------------


def test_those_due_in_one_hour_come_as_they_lie_in_the_file(links: Links) -> None:
    urls = [f"https://a.example/{number}" for number in range(6)]
    use(links, (1, urls, True))
    begin = NOW - NOW % 3600
    for url, at in zip(urls, (3599, 0, 3600, 7199, 3601, 1), strict=True):
        check(links, url, LinkState(next_check_at=begin + at))

    def found(limit: int) -> list[int]:
        ids = {get(links, url).id: number for number, url in enumerate(urls)}
        return [ids[link_id] for link_id, _ in links.list_due_hosts(begin + 9999, limit)]

    assert found(9) == [0, 1, 5, 2, 3, 4]
    assert found(2) == [1, 5]  # those are due longest


def test_due_links_come_in_pages_longest_due_first(links: Links) -> None:
    urls = [f"https://{name}.example/{number}" for number in range(3) for name in "ab"]
    use(links, (1, urls, True))
    for at, url in enumerate(reversed(urls)):
        check(links, url, LinkState(next_check_at=NOW + at // 2))
    order = [link.url for link in links.list_due(NOW + 9, 9)]
    assert order == [urls[i] for i in (4, 5, 2, 3, 0, 1)]
    paged, after = [], (0, 0)
    while page := links.list_due(NOW + 9, 2, after=after):
        paged += [link.url for link in page]
        after = (page[-1].state.next_check_at, page[-1].id)
    assert paged == order
    assert [link.url for link in links.list_due(NOW, 9)] == order[:2]
    assert (links.count_due(NOW), links.count_due(NOW - 1), links.next_due_at()) == (2, 0, NOW)
    assert [link.url for link in links.list_next(3)] == order[:3]
    assert links.list_due_hosts(NOW + 1, 9) == sorted((link.id, link.host) for link in links.list_due(NOW + 1, 9))
    assert [link_id for link_id, _ in links.list_due_hosts(NOW + 9, 1)] == [get(links, urls[4]).id]


def test_what_is_never_to_be_checked_is_not_due(links: Links) -> None:
    use(links, (1, [A], True))
    check(links, A, LinkState("excluded"))
    assert (links.list_due(NOW + DAY, 9), links.list_due_hosts(NOW + DAY, 9), links.count_due(NOW + DAY)) == ([], [], 0)
    assert (links.next_due_at(), links.list_next(9)) == (None, [])


def test_links_are_found_by_id_however_many_are_asked_for(links: Links) -> None:
    use(links, (1, [f"https://a.example/{number}" for number in range(1_200)], True))
    found = links.find_links([*range(1, 1_201), 9_999])
    assert len(found) == 1_200
    assert all(link.id == link_id for link_id, link in found.items())


def test_checks_change_states_and_tell_of_changes_only(links: Links) -> None:
    use(links, (1, [A], True), (2, [A, B], True))
    assert check(links, A, FRESH) == 1
    assert check(links, A, replace(FRESH, checked_at=NOW + 9, etag="other", final_url=B)) == 0
    assert check(links, A, replace(DEAD, archive_url="https://archive.example/1")) == 1
    assert check(links, A, replace(DEAD, archive_url="https://archive.example/1", strikes=4)) == 0
    assert check(links, A, replace(DEAD, archive_url="https://archive.example/2", changed_at=5), NOW + 7) == 1
    news = links.list_news(0, 9)
    assert [(n.was, n.now, n.at, n.began, n.articles) for n in news] == [
        ("unchecked", "fresh", NOW, False, (1, 2)), ("fresh", "dead", NOW, False, (1, 2)),
        ("dead", "dead", NOW + 7, False, (1, 2)),
    ]
    mark = linkrows.Mark(get(links, A).id, A, "dead", NOW, "https://archive.example/2", 5)
    assert {n.mark for n in news} == {mark}  # as it is today
    assert [n.seq for n in links.list_news(news[0].seq, 1)] == [news[1].seq]
    assert links.list_recent_news(2) == [news[2], news[1]]
    assert (links.list_marks(0, 9), links.list_marks(mark.link_id, 9)) == ([mark], [])
    assert links.find_marks([A, B, C]) == {A: mark}
    with links.transaction():
        assert links.put_checked([], NOW) == 0
        assert links.put_checked([(9_999, FRESH)], NOW) == 0


def test_of_two_words_on_a_link_in_one_go_the_last_counts_and_both_are_told(links: Links) -> None:
    use(links, (1, [A], True))
    link_id = get(links, A).id
    with links.transaction():
        assert links.put_checked([(link_id, FRESH), (link_id, DEAD), (link_id, replace(DEAD, strikes=4))], NOW) == 2
    assert [(n.was, n.now) for n in links.list_news(0, 9)] == [("unchecked", "fresh"), ("fresh", "dead")]
    assert get(links, A).state == replace(DEAD, strikes=4)


def test_targets_are_of_moved_and_dead_links_only() -> None:
    state = replace(FRESH, final_url=B, archive_url=C)
    assert [target_of(replace(state, verdict=verdict)) for verdict in ("moved", "dead", "fresh")] == [B, C, ""]


def test_who_begins_to_have_a_link_of_which_something_is_known_is_news(links: Links) -> None:
    use(links, (1, [A, B], True))
    check(links, A, FRESH)
    seq = links.newest_news()
    use(links, (1, [A, B], False), (2, [A, B, C], True))
    ((began, articles, mark),) = [(n.began, n.articles, n.mark) for n in links.list_news(seq, 9)]
    assert (began, articles, mark.url, mark.verdict) == (True, (2,), A, "fresh")
    assert [n.seq for n in links.list_recent_news(9)] == [seq]  # that is nothing to the operator


def test_news_of_a_link_that_nobody_has_today_names_no_article(links: Links) -> None:
    use(links, (1, [A], True))
    check(links, A, FRESH)
    use(links, (1, [], True))
    (news,) = links.list_news(0, 9)
    assert news.articles == ()


def test_news_that_was_heard_is_dropped_but_for_the_last(links: Links) -> None:
    assert links.newest_news() == 0
    use(links, (1, [A], True))
    for at in range(6):
        check(links, A, replace(DEAD if at % 2 else FRESH, since_at=at))
    last = links.newest_news()
    with links.transaction():
        links.drop_news(last - 4, keep=1)
    assert [n.seq for n in links.list_news(0, 9)] == [last - 3, last - 2, last - 1, last]
    with links.transaction():
        links.drop_news(last, keep=2)
    assert [n.seq for n in links.list_news(0, 9)] == [last - 1, last]
    with links.transaction():
        links.drop_news(last, keep=0)
    assert (links.list_news(0, 9), links.newest_news()) == ([], last)


def test_what_the_operator_says_is_not_undone_by_a_check_that_began_before(links: Links) -> None:
    use(links, (1, [A], True))
    began = get(links, A)
    marked = judge.mark(A, began.state, "excluded", NOW)
    with links.transaction():
        assert links.put_by_hand([(began.id, marked)], NOW) == 1
    assert check(links, A, FRESH) == 0
    assert get(links, A).state == marked
    assert check(links, A, replace(marked, checked_at=NOW)) == 0
    assert get(links, A).state.checked_at == NOW
    with links.transaction():
        assert links.put_by_hand([(began.id, judge.unmark(A, marked, NOW))], NOW) == 1
        links.put_due([began.id], NOW - 5)
    assert (get(links, A).state.verdict, links.next_due_at()) == ("unchecked", NOW - 5)


def test_lapsing_links_are_fresh_ones_that_were_not_verified_in_time(links: Links) -> None:
    use(links, (1, [A, B, C], True))
    check(links, A, FRESH)
    check(links, B, replace(FRESH, verified_at=NOW - 1))
    check(links, C, DEAD)
    lapse_at = judge.lapses_at(FRESH)
    assert links.list_lapsing(lapse_at - 2, 9) == []
    assert [link.url for link in links.list_lapsing(lapse_at, 9)] == [B, A]
    assert [link.url for link in links.list_lapsing(lapse_at, 1)] == [B]
    check(links, B, judge.lapse(get(links, B).state, lapse_at))
    assert [link.url for link in links.list_lapsing(lapse_at, 9)] == [A]


def test_canaries_are_fresh_links_of_as_many_other_hosts(links: Links) -> None:
    urls = [f"https://{name}.example/{number}" for name in "abcd" for number in range(3)]
    use(links, (1, urls, True))
    for url in urls[:9]:
        check(links, url, FRESH)
    assert sorted(link.host for link in links.list_canaries("a.example", 9)) == ["b.example", "c.example"]
    assert len(links.list_canaries("", 2)) == 2


def test_hosts_are_remembered(links: Links) -> None:
    host = Host("a.example", 1, 2, 3, 4, 5, 200, 7, b"User-agent: *\n\xff", 9, b"\x00")
    with links.transaction():
        links.put_hosts([Host("a.example"), Host("b.example"), host])
    assert links.find_hosts(["a.example", "c.example"]) == {"a.example": host}


def test_the_last_hundred_runs_are_kept(links: Links) -> None:
    with links.transaction():
        ids = [links.start_run("schedule", NOW + number) for number in range(102)]
        links.finish_run(ids[-1], {"checked": 3, "dead": 1}, NOW + 200)
    runs = links.list_runs(999)
    assert len(runs) == 100
    assert runs[0] == linkrows.Run(ids[-1], NOW + 101, NOW + 200, "schedule", {"checked": 3, "dead": 1})
    assert runs[1] == linkrows.Run(ids[-2], NOW + 100, 0, "schedule", {})


# --- the operator -----------------------------------------------------------------------------------------------------


def test_links_are_counted_and_listed_by_verdict(links: Links) -> None:
    use(links, (1, [A, B, C], True))
    check(links, A, DEAD)
    check(links, C, DEAD)
    assert links.count_by_verdict() == {"dead": 2, "unchecked": 1}
    assert [link.url for link in links.list_by_verdict("dead", 0, 9)] == [A, C]
    assert [link.url for link in links.list_by_verdict("dead", get(links, A).id, 9)] == [C]
    assert [link.url for link in links.list_by_verdict(None, 0, 2)] == [A, B]
    assert [link.url for link in links.iter_links()] == [A, B, C]


def test_hosts_in_trouble_are_those_whose_links_do_not_hold_or_that_are_left_alone(links: Links) -> None:
    urls = [f"https://{name}.example/{number}" for name in "ab" for number in range(3)]
    use(links, (1, [*urls, C], True))
    for url, verdict in zip(urls, ("dead", "fresh", "blocked", "failing", "dead", "unchecked"), strict=True):
        check(links, url, replace(FRESH, verdict=verdict))
    with links.transaction():
        links.put_hosts([
            Host("a.example", pause_until=NOW + 1, failures=2), Host("d.example", breaker_until=NOW + 9),
            Host("e.example", pause_until=NOW - 1), Host("f.example", failures=1),
        ])
    rows = links.list_hosts_in_trouble(NOW, 9)
    assert rows == [
        Trouble("b.example", 1, 1, 0, 0, 0, 0), Trouble("a.example", 1, 0, 1, 2, NOW + 1, 0),
        Trouble("f.example", 0, 0, 0, 1, 0, 0), Trouble("d.example", 0, 0, 0, 0, 0, NOW + 9),
    ]
    assert links.list_hosts_in_trouble(NOW, 1) == rows[:1]


PAGE = "(next_check_at, id) > (1, 1) AND next_check_at <= 1 ORDER BY next_check_at, id LIMIT 1"


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT verdict, count(*) FROM link INDEXED BY link_verdict WHERE uses > 0 GROUP BY verdict",
         "SCAN link USING COVERING INDEX link_verdict"),
        ("SELECT count(*) FROM link INDEXED BY link_due WHERE uses > 0 AND next_check_at > 0 AND next_check_at <= 1",
         "COVERING INDEX link_due (next_check_at>? AND next_check_at<?)"),
        (f"SELECT {LINK} FROM link INDEXED BY link_due WHERE uses > 0 AND {PAGE}",
         "link_due (next_check_at>? AND next_check_at<?)"),
        (f"SELECT id, host FROM link INDEXED BY link_due WHERE uses > 0 AND {PAGE}",
         "COVERING INDEX link_due (next_check_at>? AND next_check_at<?)"),
        ("SELECT id FROM link WHERE lapses_at > 0 AND uses > 0 AND host <> 1 ORDER BY lapses_at DESC, id DESC",
         "COVERING INDEX link_lapse"),
        ("SELECT article_id, link_id, in_feed FROM use WHERE article_id IN (1, 2)", "COVERING INDEX use_article"),
        ("SELECT id FROM link WHERE uses = 0 AND unused_at <= 1 ORDER BY unused_at", "link_unused (unused_at<?)"),
    ],
)  # fmt: skip
def test_questions_are_answered_by_an_index_alone_or_in_its_order(links: Links, query: str, index: str) -> None:
    plan = [row[3] for row in links._db.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert len(plan) == 1  # and nothing is sorted
    assert index in plan[0]
