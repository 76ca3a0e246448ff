"""A history of the nature of real ones: no feed is missed, none is written needlessly, however feedd learns of it."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from newsroom import SITE, START, Newsroom, article, changed, settings_for, tree

from tests import history, replay
from tests.history_oracle import Oracle

ROOT = Path(__file__).parent.parent
REAL = Path(os.environ.get("FEEDD_SHARED") or ROOT.parent / "shared") / "corpus/real"
LIMIT = 6
SILENT = ("secured", "scores", "related", "layout", "amp", "type")  # as the real histories were counted


@pytest.mark.parametrize("seed", [3, 5])
def test_exactly_the_feeds_are_written_that_a_commit_changes_and_events_scans_and_crashes_end_alike(
    tmp_path: Path, seed: int
) -> None:
    past = history.make(seed=seed, articles=80, commits=70, rewrites=9)
    ends = {}
    for how in ("events", "scans", "crashes"):
        room = Newsroom(tmp_path / how, settings_for(limit=LIMIT, encodings=()))
        oracle = Oracle(site=SITE, tag="tag:news.example,2026-01-01", limit=LIMIT)
        outcome = replay.replay(room, past, how=how, oracle=oracle)  # type: ignore[arg-type]
        assert (outcome.missed, outcome.needless, outcome.wrong) == ([], [], [])
        assert outcome.written == outcome.expected > 500
        room.check()
        ends[how] = tree(room.out)
        room.close()
    assert ends["events"] == ends["scans"] == ends["crashes"]


def test_the_history_is_of_the_nature_of_real_ones() -> None:
    past = history.make(seed=3, articles=200, commits=300, rewrites=12)
    shares = {kind: count / past.rewrites for kind, count in past.kinds.items()}
    assert 0.92 < sum(shares[kind] for kind in SILENT) < 0.97
    assert 0.48 < shares["secured"] < 0.56 and 0.26 < shares["scores"] < 0.32 and 0.10 < shares["related"] < 0.14
    states: dict[str, list[bool]] = {}
    for operation in (operation for commit in past.commits for operation in commit.operations):
        if isinstance(operation, history.Put) and not operation.path.startswith("_data"):
            states.setdefault(operation.path, []).append("\npublished: false\n" not in operation.text)
    flips = Counter({path: sum(a != b for a, b in pairwise(s)) for path, s in states.items()})
    assert 0.08 < sum(count > 0 for count in flips.values()) / len(flips) < 0.30
    assert flips.most_common(1)[0][1] > 4
    assert past == history.make(seed=3, articles=200, commits=300, rewrites=12)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Newsroom]:
    newsroom = Newsroom(tmp_path)
    yield newsroom
    newsroom.check()
    newsroom.close()


def test_a_type_that_no_feed_shows_is_silent(room: Newsroom) -> None:
    room.put("a.md", article("One", type="article"))
    room.publish()
    before = tree(room.out)
    room.now += 60
    room.put("a.md", article("One", type="video"))
    room.publish()
    assert tree(room.out) == before


@pytest.mark.parametrize(("before", "after"), [
    ({"publishedDateTime": "2023-01-01T00:00:00Z"}, {"publishedDateTime": "2023-01-02T00:00:00Z"}),
    ({"provider": {"domain": "one.example"}}, {"provider": {"domain": "two.example"}}),
])
def test_whatever_a_feed_shows_of_a_related_story_is_rendered_anew(
    room: Newsroom, before: dict[str, object], after: dict[str, object]
) -> None:
    story = {"title": "Other", "webUrl": "https://r.example/"}
    room.put("a.md", article("One", related=[story | before]))
    room.publish()
    (entry,) = room.entries()
    room.put("a.md", article("One", related=[story | after]))
    room.publish()
    assert room.entries()[0]["_feedd"] != entry["_feedd"]
    assert room.entries()[0]["date_modified"] == entry["date_modified"]


def test_an_article_that_returns_just_below_a_full_live_feed_is_in_an_archive(room: Newsroom) -> None:
    for day in (1, 2, 3, 4):
        room.put(f"{day}.md", article(f"Day {day}", publishedDateTime=f"2023-01-0{day}T00:00:00Z", published=day != 4))
    room.publish()
    room.put("1.md", article("Day 1", publishedDateTime="2023-01-01T00:00:00Z", published=False))
    room.publish()
    room.now += 60
    room.put("4.md", article("Day 4", publishedDateTime="2023-01-04T00:00:00Z"))
    room.publish()
    assert room.titles() == ["Day 4", "Day 3", "Day 2"] and not (room.out / "archives").exists()
    room.put("1.md", article("Day 1", publishedDateTime="2023-01-01T00:00:00Z"))
    room.publish()
    assert room.titles() == ["Day 4", "Day 3", "Day 2"]
    assert "Day 1" in (room.out / "archives/all/1.atom").read_text(encoding="utf-8")
    assert 'rel="prev-archive"' in (room.out / "all.atom").read_text(encoding="utf-8")


def test_the_topic_of_an_article_dated_ahead_does_not_show_before_its_time(room: Newsroom) -> None:
    room.put("a.md", article("Now"))
    room.put("b.md", article("Later", publishedDateTime="2023-11-15T00:00:00Z", topics=["Under embargo"]))
    room.publish()
    assert not any(b"mbargo" in name.encode() + data for name, data in tree(room.out).items())
    room.now = START + 86_400
    room.publisher.release(now=room.now)
    room.publisher.rebuild(now=room.now)
    assert room.titles("topics/under-embargo") == ["Later"]
    assert "Under embargo" in (room.out / "feeds.opml").read_text(encoding="utf-8")


def test_what_leaves_an_archive_while_a_feed_awaits_its_rebuild_does_not_move_its_updated(room: Newsroom) -> None:
    for day in range(1, 9):
        room.put(f"{day}.md", article(f"Day {day}", publishedDateTime=f"2023-01-0{day}T00:00:00Z"))
    room.put("_data/topics/ai.yaml", "name: AI\nkeywords: [one]\n")
    room.publish()
    before = tree(room.out)
    room.now += 60
    room.drop("1.md")
    room.put("_data/topics/ai.yaml", "name: AI\nkeywords: [two]\n")  # which marks the feed, and shows nowhere
    room.publish()
    assert {name.partition(".")[0] for name in changed(before, tree(room.out))} >= {"archives/topics/ai/1"}
    assert tree(room.out)["topics/ai.atom"] == before["topics/ai.atom"]


def _silently(text: str, rng: random.Random) -> str:
    """The same article with other scores and opaque data, its keys in another order, and other white space."""
    parts = re.split(r"(?m)^---[ \t]*$\n?", text, maxsplit=2)
    if len(parts) != 3 or parts[0]:
        return text + "\n"
    blocks = re.findall(r"(?ms)^[A-Za-z]\w*:.*?(?=^[A-Za-z]\w*:|\Z)", parts[1])
    keys = [block.partition(":")[0] for block in blocks]
    if len(set(keys)) != len(keys) or "".join(blocks).strip() != parts[1].strip():
        return text + "\n"
    kept = [b.rstrip() for b, key in zip(blocks, keys, strict=True) if key not in ("secured", "heat", "quality")]
    kept = [re.sub(r"(?m)^( +(?:quality|heat):).*$", rf"\1 {rng.randrange(100)}", block) for block in kept]
    kept += [f"secured: {rng.randbytes(200).hex()}", f"quality: {rng.randrange(99)}"]
    kept += [f"heat: {rng.choice(('', -1, 7, 250))}"]
    rng.shuffle(kept)
    return "---\n" + "".join(block + rng.choice(("\n", "\n\n", "  \n")) for block in kept) + "---\n" + parts[2]


def _without_silence(text: str) -> object:
    """What a file says besides; None for one of the few that are broken YAML."""
    try:
        data = yaml.load(text.split("---\n")[1], yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    for holder in (data, *(data.get("related") or ())):
        for key in ("secured", "heat", "quality"):
            holder.pop(key, None)
    return data


@pytest.mark.skipif(not REAL.is_dir(), reason="no real files: name the folder that holds corpus/real in FEEDD_SHARED")
def test_silent_rewrites_of_every_real_file_write_nothing(tmp_path: Path) -> None:
    rng = random.Random(1)
    texts = {
        str(path.relative_to(REAL)): path.read_text(encoding="utf-8")
        for path in sorted(REAL.rglob("*")) if path.is_file() and path.name != "README.md"
    }
    room = Newsroom(tmp_path, settings_for(limit=50, encodings=()))
    for path, text in texts.items():
        room.put(path, text)
    room.publish()
    before = replay.stamps_of(room.out)
    assert len(before) > 100
    rewritten = 0
    for _ in range(2):
        room.now += 3600
        for path, text in texts.items():
            if not path.startswith(("_data", "power-apps/_data", "diablo4/_data")):
                silent = _silently(text, rng)
                if silent != text + "\n":
                    rewritten += 1
                    assert _without_silence(silent) == _without_silence(text)
                room.put(path, silent)
        room.publish()
    assert rewritten > 1_000
    assert replay.stamps_of(room.out) == before
    room.check()
    room.close()
