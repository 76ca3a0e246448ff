"""Export and import: whoever takes in what another state knew publishes the same feeds, byte for byte."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom import Newsroom, article, settings_for, tree

from feedd import errors, portable
from feedd.freshness.effects import Rules
from feedd.freshness.states import Evidence, LinkState
from feedd.linkcheck.sync import sync
from feedd.store import Store, open_store
from feedd.store.identities import Identities, LinkStates
from feedd.store.links import open_links
from tests import history, replay

DAY = 86_400
SETTINGS = {"limit": 2, "links": None}


def exported(state: Path, now: int = 1) -> bytes:
    out = io.BytesIO()
    count = portable.export(str(state), out, now=now, progress=_quiet)
    assert out.getvalue().count(b"\n") == count
    return out.getvalue()


def take_in(state: Path, data: bytes, *, force: bool = False, now: int = 1) -> portable.Imported:
    return portable.take_in(str(state), io.BytesIO(data), force=force, now=now, progress=_quiet)


def _quiet(_what: str, _count: int) -> None:
    pass


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def text(values: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def twin_of(room: Newsroom, folder: Path, data: bytes) -> Newsroom:
    """Another newsroom with the same files and settings, whose state is what was imported."""
    shutil.copytree(room.articles, folder / "articles")
    take_in(folder / "state", data, now=room.now)
    twin = Newsroom(folder, room.settings)
    twin.now = room.now
    twin.publish()
    return twin


def eventful(folder: Path, **own: Any) -> Newsroom:
    """A newsroom with all that only a state knows."""
    room = Newsroom(folder, settings_for(**SETTINGS | own))
    for day in range(1, 8):
        room.put(f"{day}.md", article(f"Day {day}", publishedDateTime=f"2023-02-0{day}T00:00:00Z"))
    room.put("held.md", article("Held", publishedDateTime="2023-11-20T00:00:00Z"))
    room.put("hidden.md", article("Hidden", published=False))
    room.put("undated.md", article("Undated", publishedDateTime=None))
    room.publish()
    room.now += DAY
    room.put("1.md", article("Day 1, edited", publishedDateTime="2023-02-01T00:00:00Z"))
    room.put("late.md", article("Late", publishedDateTime="2023-01-15T00:00:00Z", topics=["C", "C++"]))
    room.put("2.md", article("Day 2", publishedDateTime="2023-02-02T00:00:00Z", published=False))
    room.publish()
    room.now += DAY
    room.move("3.md", "elsewhere/three.md")
    room.put("2.md", article("Day 2", publishedDateTime="2023-02-02T00:00:00Z"))
    room.drop("4.md")
    room.put("copy.md", (room.articles / "5.md").read_bytes())
    room.publish()
    room.now += DAY
    room.put("3.md", article("Another at the path of day 3"))
    room.put("4.md", article("Another at the path of day 4"))
    room.put("elsewhere/three.md", article("Day 3, moved, then edited", publishedDateTime="2023-02-03T00:00:00Z"))
    room.drop("6.md")
    room.publish()
    return room


def test_an_import_into_nothing_publishes_the_same_bytes(tmp_path: Path) -> None:
    room = eventful(tmp_path / "one")
    assert {"1.md", "3.md~2", "3.md", "6.md"} <= {item["entry_path"] for item in lines(exported(room.state))[:-1]
                                              if item["type"] == "article"}
    twin = twin_of(room, tmp_path / "two", exported(room.state))
    assert tree(twin.out) == tree(room.out)
    twin.check()
    for each in (room, twin):  # and whatever comes
        each.now += 20 * DAY
        each.publish()
        each.put("6.md", article("Day 6", publishedDateTime="2023-02-06T00:00:00Z"))
        each.put("hidden.md", article("Hidden"))
        each.drop("elsewhere/three.md")
        each.publish()
    assert "Held" in twin.titles("all") or "Hidden" in twin.titles("all")
    assert tree(twin.out) == tree(room.out)
    assert _without_head(exported(twin.state)) == _without_head(exported(room.state))
    room.close()
    twin.close()


def _without_head(data: bytes) -> bytes:
    return data.partition(b"\n")[2]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(5, 30))
def test_whatever_happened_before_an_import_publishes_the_same_bytes(seed: int, commits: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="feedd-portable-"))
    room = Newsroom(folder / "one", settings_for(**SETTINGS))
    replay.replay(room, history.make(seed=seed, articles=25, commits=commits, rewrites=12), how="scans")
    for problem in room.store.list_problems():  # what such a file said before it broke is nowhere but in the state
        room.drop(problem.path)
    room.publish()
    twin = twin_of(room, folder / "two", exported(room.state))
    assert tree(twin.out) == tree(room.out)
    assert _without_head(exported(twin.state)) == _without_head(exported(room.state))
    room.close()
    twin.close()
    shutil.rmtree(folder)


# -- links -------------------------------------------------------------------------------------------------------------

STATES = st.builds(
    LinkState, verdict=st.sampled_from(["fresh", "moved", "dead", "failing", "stale", "excluded", "blocked"]),
    since_at=st.integers(0, 2**40), verified_at=st.integers(0, 2**40), checked_at=st.integers(1, 2**40),
    next_check_at=st.integers(0, 2**40), strikes=st.integers(0, 9), status=st.integers(0, 599), etag=st.text(),
    final_url=st.sampled_from(["", "https://there.example/"]), fingerprint=st.binary(max_size=9),
    other_fingerprint=st.binary(max_size=9), interval_days=st.integers(0, 30),
    archive_url=st.sampled_from(["", "https://archive.example/x"]), by_hand=st.sampled_from(["", "dead", "fresh"]),
    history=st.lists(st.builds(
        Evidence, at=st.integers(0, 2**40), finding=st.sampled_from(["good", "gone", "weak"]), reason=st.text(),
        fingerprint=st.binary(max_size=9), permanent=st.booleans(),
    ), max_size=3).map(tuple),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.integers(0, 99).map(lambda n: f"https://far.example/{n}"), STATES, min_size=1, max_size=5))
def test_all_that_is_known_of_links_survives(states: dict[str, LinkState]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="feedd-portable-"))
    open_store(str(folder / "one")).close()
    put_states(folder / "one", states)
    data = exported(folder / "one")
    done = take_in(folder / "two", data)
    assert (done.taken["links"], done.kept["links"]) == (len(states), 0)
    assert states_of(folder / "two") == states
    assert _without_head(exported(folder / "two")) == _without_head(data)
    assert take_in(folder / "two", data).kept["links"] == len(states)
    shutil.rmtree(folder)


def put_states(state: Path, states: dict[str, LinkState]) -> None:
    links = open_links(str(state))
    with links.transaction():
        for url, known in states.items():
            assert LinkStates(links).put_known(url, known, 1, force=True)
    links.close()


def states_of(state: Path) -> dict[str, LinkState]:
    links = open_links(str(state))
    found = dict(LinkStates(links).iter_known())
    links.close()
    return found


def test_readers_see_imported_verdicts_at_once_and_still_when_links_were_gone_over(tmp_path: Path) -> None:
    river, lake = "https://far.example/river", "https://far.example/lake"
    room = Newsroom(tmp_path / "one", settings_for(links=Rules()))
    for name, link in (("a", river), ("b", lake)):
        room.put(f"{name}.md", article(name, related=[{"title": f"Of {link[-5:]}", "webUrl": link}]))
    room.publish()
    dead = LinkState("dead", since_at=5, checked_at=6, history=(Evidence(6, "gone", "410", 410),))
    fresh = LinkState("fresh", since_at=5, checked_at=6, verified_at=6, interval_days=2, next_check_at=room.now + DAY)
    put_states(room.state, {river: dead, lake: fresh})

    def hear(each: Newsroom) -> None:
        links = open_links(str(each.state))
        sync(links, each.store.marks, ("related",), each.now)
        each.publisher.take_verdicts(links, now=each.now)
        links.close()
        each.publisher.rebuild(now=each.now)

    hear(room)
    assert b"dead link" in (room.out / "all.atom").read_bytes()
    twin = twin_of(room, tmp_path / "two", exported(room.state))
    assert tree(twin.out) == tree(room.out)
    hear(twin)
    assert tree(twin.out) == tree(room.out)
    assert states_of(twin.state) == states_of(room.state)
    twin.check()
    room.close()
    twin.close()


def test_an_import_beside_links_that_publishing_has_not_heard_of_leaves_it_to_hear_of_all(tmp_path: Path) -> None:
    one, other = "https://far.example/1", "https://far.example/2"
    state = LinkState("dead", since_at=5, checked_at=6)
    open_store(str(tmp_path / "one")).close()
    put_states(tmp_path / "one", {one: state})
    data = exported(tmp_path / "one")
    open_store(str(tmp_path / "two")).close()
    put_states(tmp_path / "two", {other: state})
    take_in(tmp_path / "two", data)
    with open_store(str(tmp_path / "two")) as store:
        assert store.find_meta("links_told") is None
        assert store.marks.find_marks([one, other]).keys() == {one}


# -- over a state that is there ----------------------------------------------------------------------------------------


def identities(state: Path) -> dict[str, str | None]:
    """Where articles were first seen -> where they are."""
    with open_store(str(state)) as store:
        return {known.entry_path: known.path for known in Identities.of(store).iter_identities()}


def lost_and_begun_anew(tmp_path: Path) -> tuple[Newsroom, bytes]:
    """A newsroom that lost its state after an export, and published again without it."""
    room = eventful(tmp_path / "one")
    data = exported(room.state)
    room.close()
    shutil.rmtree(room.state)
    room.open()
    room.publish()
    return room, data


def test_what_a_state_knows_stays_but_if_forced(tmp_path: Path) -> None:
    room, data = lost_and_begun_anew(tmp_path)
    before, shown = list(room.store.iter_files()), tree(room.out)
    room.close()
    fresh = identities(room.state)
    assert fresh["elsewhere/three.md"] == "elsewhere/three.md"  # where it was first seen, for all that this state knows
    exported_paths = [line["entry_path"] for line in lines(data) if line["type"] == "article"]
    done = take_in(room.state, data)
    assert done.kept["articles"] == len(set(exported_paths) & fresh.keys())
    assert done.taken["articles"] == len(set(exported_paths) - fresh.keys())
    assert identities(room.state) == dict.fromkeys(exported_paths) | fresh
    room.open()
    assert list(room.store.iter_files()) == before
    room.publish()
    room.check()
    assert tree(room.out) == shown
    room.close()


def test_a_forced_import_gives_a_lost_state_its_identities_back(tmp_path: Path) -> None:
    room, data = lost_and_begun_anew(tmp_path)
    lost = tree(room.out)
    room.close()
    take_in(room.state, data, force=True, now=room.now)
    room.open()
    room.publish()
    room.check()
    wanted = {line["entry_path"]: line.get("path") for line in lines(data) if line["type"] == "article"}
    room.close()
    found = identities(room.state)
    assert {path: found[path] for path in wanted} == wanted
    assert found["elsewhere/three.md"] is None  # who was made of it is gone for good
    assert tree(room.out) != lost


def test_a_forced_import_gives_feeds_their_names_back(tmp_path: Path) -> None:
    rooms = {}
    for name, topics in (("one", ("C#", "C")), ("two", ("C", "C#"))):  # who comes first has the short name
        rooms[name] = room = Newsroom(tmp_path / name, settings_for(**SETTINGS))
        for number, topic in enumerate(topics):
            room.put(f"{number}.md", article(topic, topics=[topic]))
            room.publish()
        room.close()
    slugs = {name: slugs_of(room.state) for name, room in rooms.items()}
    assert slugs["one"]["c#"] == slugs["two"]["c"] == "c"
    data = exported(rooms["one"].state)
    take_in(rooms["two"].state, data)
    assert slugs_of(rooms["two"].state) == slugs["two"]
    take_in(rooms["two"].state, data, force=True)
    assert slugs_of(rooms["two"].state) == slugs["one"]
    rooms["two"].open()
    rooms["two"].publish()
    rooms["two"].check()
    rooms["two"].close()


def test_a_name_that_another_feed_has_by_now_stays_with_that(tmp_path: Path) -> None:
    room = Newsroom(tmp_path / "one", settings_for(**SETTINGS))
    room.put("a.md", article("A", topics=["C#"]))
    room.publish()
    data = exported(room.state)
    other = Newsroom(tmp_path / "two", settings_for(**SETTINGS))
    other.put("a.md", article("A", topics=["C"]))
    other.publish()
    other.close()
    take_in(other.state, data)
    assert slugs_of(other.state)["c"] == "c" and "c#" not in slugs_of(other.state)
    other.open()
    other.publish()
    assert slugs_of(other.state, other.store)["c#"] not in ("c", "")
    other.close()
    take_in(other.state, data, force=True)
    assert slugs_of(other.state)["c#"] == "c" and "c" not in slugs_of(other.state)
    room.close()


def slugs_of(state: Path, store: Store | None = None) -> dict[str, str]:
    with open_store(str(state), read_only=True) as reader:
        return {feed.key: feed.slug for feed in Identities.of(store or reader).iter_feeds() if feed.kind == "topic"}


def test_an_article_moves_between_files_when_an_import_is_forced(tmp_path: Path) -> None:
    """As an older export over a newer state does."""
    room = Newsroom(tmp_path, settings_for(**SETTINGS))
    room.put("a.md", article("A"))
    room.publish()
    data = exported(room.state)
    room.move("a.md", "b.md")
    room.publish()
    room.close()
    take_in(room.state, data, force=True)
    assert identities(room.state) == {"a.md": "a.md"}
    room.open()
    room.publish()
    assert room.known("b.md").entry_path == "a.md"  # by its link
    room.check()
    room.close()


def test_a_held_article_is_not_due_before_its_file_was_read(tmp_path: Path) -> None:
    room = Newsroom(tmp_path / "one", settings_for(**SETTINGS))
    room.put("a.md", article("A", publishedDateTime="2023-11-20T00:00:00Z"))
    room.publish()
    data = exported(room.state)
    take_in(tmp_path / "two", data)
    with open_store(str(tmp_path / "two")) as store:
        assert store.list_due(1 << 40) == [] and store.next_release() is None
    room.now += 20 * DAY
    twin = twin_of(room, tmp_path / "three", data)
    room.publish()
    assert room.titles() == ["A"] and tree(twin.out) == tree(room.out)
    room.close()
    twin.close()


# -- a state that is gone ----------------------------------------------------------------------------------------------


def test_without_a_state_ids_are_the_same_but_of_what_moved_or_came_to_a_path_that_was_used(tmp_path: Path) -> None:
    room = eventful(tmp_path)
    had = {room.known(row.path).entry_path: room.known(row.path) for row in room.store.iter_files()}
    room.close()
    shutil.rmtree(room.state)
    room.open()
    room.publish()
    now = {row.path: room.known(row.path) for row in room.store.iter_files()}
    room.close()
    for entry_path, before in had.items():
        assert before.path
        after = now[before.path]
        if entry_path == before.path:  # neither renamed, nor where another one was before: the same id
            assert after.entry_path == entry_path
        else:
            assert after.entry_path == before.path
    assert {path for path, known in had.items() if path != known.path} == {"3.md", "3.md~2"}
    # When it was edited and when it came is lost: by its own dates, as in a folder that is seen for the first time.
    assert now["1.md"].updated_us < had["1.md"].updated_us
    assert now["late.md"].public_at == now["late.md"].published_at != had["late.md"].public_at
    assert now["undated.md"].published_at != had["undated.md"].published_at
    for name in ("5.md", "7.md", "held.md"):  # and nothing of what was never touched
        assert (now[name].updated_us, now[name].position) == (had[name].updated_us, had[name].position)


# -- what is no export -------------------------------------------------------------------------------------------------

GOOD = [
    {"type": "feedd", "version": 1, "made_by": "0", "created_at": 1, "scanned": True},
    {"type": "feed", "kind": "topic", "key": "ai", "label": "AI", "slug": "ai",
     "pages": [{"page": 0, "updated_us": 1}, {"page": 1, "updated_us": 1, "bound": 7}]},
    {"type": "article", "entry_path": "a.md", "path": "a.md", "story": "ff", "published_at": 1, "updated_us": 1},
    {"type": "link", "url": "https://far.example/", "verdict": "dead",
     "history": [{"at": 1, "finding": "gone", "reason": "410"}]},
    {"type": "end", "lines": 3},
]  # fmt: skip


def test_the_good_lines_are_good(tmp_path: Path) -> None:
    done = take_in(tmp_path / "state", text(GOOD))
    assert dict(done.taken) == {"feeds": 1, "articles": 1, "links": 1}
    assert identities(tmp_path / "state") == {"a.md": "a.md"}


PAGE = {"page": 0, "updated_us": 1}
BAD: dict[str, tuple[int, dict[str, Any]]] = {
    "not of the right type": (3, {"published_at": "1"}), "unknown field": (3, {"colour": 1}),
    "before 1970": (3, {"published_at": -1}), "far away": (3, {"published_at": 1 << 62}),
    "leading out": (3, {"path": "../a.md"}), "absolute": (3, {"entry_path": "/a.md"}), "no hash": (3, {"story": "x"}),
    "64 bits": (3, {"story": "f" * 16}), "nothing": (3, {"path": ""}), "NUL": (3, {"path": "a\0.md"}),
    "kind": (2, {"kind": "planet"}), "slug leads out": (2, {"slug": "../ai"}), "dots": (2, {"slug": "a..b"}),
    "no live page": (2, {"pages": [PAGE | {"page": 1, "bound": 1}]}), "no bound": (2, {"pages": [PAGE, PAGE]}),
    "archive without": (2, {"pages": [PAGE, PAGE | {"page": 1}]}),
    "bound of page 0": (2, {"pages": [PAGE | {"bound": 1}]}),
    "falling": (2, {"pages": [PAGE, PAGE | {"page": 1, "bound": 2}, PAGE | {"page": 2, "bound": 2}]}),
    "no link": (4, {"url": "mailto:a@b.example"}), "verdict": (4, {"verdict": "tired"}),
    "huge": (4, {"strikes": 1 << 70}),
    "second head": (2, GOOD[0]), "later version": (1, {"version": 2}), "no head": (1, GOOD[4]),
    "count": (5, {"lines": 2}),
    "feed again": (3, GOOD[1]), "its slug again": (3, GOOD[1] | {"key": "b"}), "article again": (4, GOOD[2]),
    "its path again": (4, GOOD[2] | {"entry_path": "b.md"}), "link again": (3, GOOD[3]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_and_nothing_is_imported(tmp_path: Path, name: str) -> None:
    number, other = BAD[name]
    values = [dict(value) for value in GOOD]
    values[number - 1] = other if other.get("type") else values[number - 1] | other
    if name == "link again":
        number = 4
    with pytest.raises(portable.LineError, match=f"^line {number}: .*nothing was imported") as caught:
        take_in(tmp_path / "state", text(values))
    assert caught.value.line == number
    assert identities(tmp_path / "state") == {} and states_of(tmp_path / "state") == {}
    assert slugs_of(tmp_path / "state") == {}


@pytest.mark.parametrize(("data", "number"), [
    (b"", 1), (text(GOOD[:3]), 4), (text(GOOD) + b"{}\n", 6), (text(GOOD[:1]) + b"\xff\n", 2),
    (text(GOOD[:1]) + b'"' + b"x" * portable.MAX_LINE, 2), (text(GOOD)[:-20], 5),
])  # fmt: skip
def test_what_is_cut_off_or_no_lines_at_all_is_refused(tmp_path: Path, data: bytes, number: int) -> None:
    with pytest.raises(portable.LineError) as caught:
        take_in(tmp_path / "state", data)
    assert caught.value.line == number
    assert identities(tmp_path / "state") == {}


def test_nothing_is_imported_under_a_running_feedd_and_all_is_exported(tmp_path: Path) -> None:
    with open_store(str(tmp_path)):
        assert len(lines(exported(tmp_path))) == 2
        with pytest.raises(errors.StateLockedError):
            take_in(tmp_path, text(GOOD))
    with pytest.raises(errors.StateError, match="no state yet"):
        exported(tmp_path / "nowhere")
