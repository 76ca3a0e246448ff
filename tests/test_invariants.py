"""After any sequence of edits, renames, removals, ticks and crashes, feeds/ equals a clean rebuild, byte for byte."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from newsroom import START, Newsroom, article, settings_for, tree

from feedd import model, plan

PATHS = [f"{folder}{name}.md" for folder in ("", "a/", "a/b/") for name in ("one", "two", "three")]
TITLES = ["Alpha", "Beta", "Gamma", "Delta"]
DATES = [f"2023-0{month}-01T00:00:00Z" for month in range(1, 9)]
DATES += ["2023-11-15T10:00:00Z", "2023-11-20T00:00:00Z", None]
RULES = plan.Rules(custom=(("good", model.FeedFilter(min_quality=50, not_topics=("dull",))),))

articles = st.fixed_dictionaries({
    "title": st.sampled_from(TITLES),
    "excerpt": st.sampled_from(["x", "y", ""]),
    "publishedDateTime": st.sampled_from(DATES),
    "webUrl": st.sampled_from([None, "https://s.example/1", "https://www.s.example/1/", "https://s.example/2", "/rel"]),
    "originalUrl": st.sampled_from([None, None, "https://o.example/1", "https://o.example/2"]),
    "topics": st.lists(st.sampled_from(["AI", "ai", "C", "C++", "Dull", "機械"]), max_size=3),
    "provider": st.sampled_from([None, {"name": "S", "domain": "s.example"}, {"name": "T", "domain": "www.t.example"}]),
    "published": st.sampled_from([True, True, True, False, None]),
    "removed": st.sampled_from([None, None, None, True]),
    "quality": st.sampled_from([None, 10, 90]),
    "secured": st.sampled_from(["p", "q"]),
    "related": st.sampled_from([None, [{"title": "R", "webUrl": "https://r.example/"}]]),
})


class Histories(RuleBasedStateMachine):
    """Any order of what publishers, clocks and crashes do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="feedd-history-"))
        self.room = Newsroom(self.folder, settings_for(limit=2, rules=RULES))
        self.minted: dict[int, str] = {}

    def teardown(self) -> None:
        self.room.publish()
        self.room.check()
        self.room.close()
        shutil.rmtree(self.folder)

    def existing(self, number: int) -> str | None:
        paths = sorted(str(path.relative_to(self.room.articles)) for path in self.room.articles.rglob("*.md"))
        return paths[number % len(paths)] if paths else None

    @rule(path=st.sampled_from(PATHS), fields=articles)
    def write(self, path: str, fields: dict[str, object]) -> None:
        self.room.put(path, article(**fields))  # type: ignore[arg-type]

    @rule(number=st.integers(0, 99), junk=st.sampled_from(["---\na: [\n---\n", "", "no front matter", "---\n"]))
    def break_it(self, number: int, junk: str) -> None:
        if path := self.existing(number):
            self.room.put(path, junk)

    @rule(number=st.integers(0, 99), to=st.sampled_from(PATHS))
    def move(self, number: int, to: str) -> None:
        if path := self.existing(number):
            self.room.move(path, to)

    @rule(number=st.integers(0, 99), to=st.sampled_from(PATHS))
    def copy(self, number: int, to: str) -> None:
        if path := self.existing(number):
            self.room.put(to, (self.room.articles / path).read_bytes())

    @rule(number=st.integers(0, 99))
    def drop(self, number: int) -> None:
        if path := self.existing(number):
            self.room.drop(path)

    @rule(seconds=st.sampled_from([1, 3600, 86_400 * 3, -3600]))
    def tick(self, seconds: int) -> None:
        self.room.now += seconds

    @rule(paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=4))
    def hear_events(self, paths: list[str]) -> None:
        self.room.see(*paths)

    @rule()
    def release(self) -> None:
        self.room.publisher.release(now=self.room.now)

    @rule()
    def publish(self) -> None:
        self.room.publish()
        self.room.check()

    @rule()
    def rebuild_without_a_scan(self) -> None:
        self.room.publisher.rebuild(now=self.room.now)

    @rule()
    def crash_and_restart(self) -> None:
        self.room.restart()
        self.room.check()

    @rule(limit=st.sampled_from([1, 2, 4]), full=st.booleans())
    def reconfigure(self, limit: int, full: bool) -> None:
        self.room.restart(settings_for(limit=limit, full_content=full, rules=RULES))
        self.room.check()

    @invariant()
    def ids_never_change(self) -> None:
        now = {known.id: known.entry_path for known in self.room.store.list_minted(
            [*PATHS, *(f"{path}~{n}" for path in PATHS for n in range(2, 9))])}
        assert {i: path for i, path in now.items() if i in self.minted} == self.minted
        self.minted = now


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@settings(max_examples=15, deadline=None)
@given(st.lists(articles, min_size=1, max_size=8), st.randoms(use_true_random=False), st.integers(1, 4))
def test_the_order_of_arrival_never_matters(files: list[dict[str, object]], rng: random.Random, size: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="feedd-order-"))
    rooms = [Newsroom(folder / name, settings_for(limit=3, rules=RULES)) for name in ("scan", "arrive")]
    paths = [f"{number}.md" for number in range(len(files))]
    for room in rooms:
        for path, fields in zip(paths, files, strict=True):
            room.put(path, article(**fields))  # type: ignore[arg-type]
    rng.shuffle(paths)
    for start in range(0, len(paths), size):
        rooms[1].see(*paths[start : start + size])
    for room in rooms:
        room.publish()
        room.check()
        room.close()
    assert tree(rooms[0].out) == tree(rooms[1].out)
    shutil.rmtree(folder)


@settings(max_examples=25, deadline=None)
@given(st.lists(articles, min_size=1, max_size=6), st.data())
def test_silent_changes_write_nothing(files: list[dict[str, object]], data: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp(prefix="feedd-silent-"))
    room = Newsroom(folder, settings_for(limit=3))
    for number, fields in enumerate(files):
        room.put(f"{number}.md", article(**fields))  # type: ignore[arg-type]
    room.publish()
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in room.out.rglob("*") if path.is_file()}
    room.now = START + 100
    for number, fields in enumerate(files):
        keys = data.draw(st.permutations(sorted(fields)))
        silent = {key: fields[key] for key in keys} | {
            "secured": data.draw(st.text(max_size=5)), "heat": data.draw(st.integers(-1, 300)),
            "quality": data.draw(st.integers(0, 150)), "ratings": [1],
        }
        room.put(f"{number}.md", article(**silent))  # type: ignore[arg-type]
    room.publish()
    after = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in room.out.rglob("*") if path.is_file()}
    assert after == before
    room.close()
    shutil.rmtree(folder)
