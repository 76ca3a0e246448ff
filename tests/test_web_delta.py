"""feedd.web.delta: what a reader had and the delta together are the feed, whatever the entries hold."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import feedparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from newsroom import Newsroom, article, settings_for

from feedd import lint, model, render
from feedd.web import delta

FORMATS = pytest.mark.parametrize("fmt", model.FORMATS)
ATOM = "{http://www.w3.org/2005/Atom}"
OLD, NEW = ('"old"', '"old-gz"'), ('"new"', '"new-gz"')

# Texts that would fool whoever takes what they say for the feed's own marks.
MARKS = (
    "</entry>\n", "</entry>\n</feed>\n", "\n<entry>\n<id>x</id>\n", '<entry xml:lang="en">', "</item>\n", "\n<item>\n",
    "</channel></rss>\n", "<![CDATA[", "]]>", "]]", ">", "]]&gt;", '"},\n{"id":"', '",\n"items":[\n', "\n]\n}\n", ",\n",
    "\n<fh:complete/>\n", "\\", '"', "é", "\n", "<p>text</p>", "&", "a",
)  # fmt: skip
hostile = st.lists(st.sampled_from(MARKS), min_size=1, max_size=6).map("".join)


def entry(number: int, version: int = 0, title: str = "Title", html: str = "") -> model.Entry:
    at = 1_700_000_000 + number
    return model.Entry(
        f"tag:news.example,2026-01-01:{number}",
        model.Article(title, f"https://www.source.example/{number}", "About it", content_html=html, topics=(title,)),
        published_at=at, updated_us=at * 1_000_000 + version,
    )  # fmt: skip


def document(entries: Iterable[model.Entry], fmt: model.Format, *, complete: bool = False) -> bytes:
    own = f"https://feeds.example/all.{fmt}"
    head = model.Head(
        "tag:news.example,2026-01-01:all", "</entry>\n<item>\n", "Sub", "https://news.example/", "en", "Desk",
        2_000_000_000_000_000, {fmt: own}, complete=complete,
    )  # fmt: skip
    options = render.Options(full_content=True)
    return render.document(head, [render.fragment(one, fmt, options) for one in entries], fmt)


def shown(data: bytes, fmt: model.Format) -> dict[str, str]:
    """Id -> all of an entry, in the feed's order, as a parser that knows nothing of marks reads it."""
    if fmt == "json":
        return {item["id"]: json.dumps(item) for item in json.loads(data)["items"]}
    root = ElementTree.fromstring(data)
    name, key = (f"{ATOM}entry", f"{ATOM}id") if fmt == "atom" else ("item", "guid")
    return {str(one.findtext(key)): ElementTree.tostring(one, "unicode") for one in root.iter(name)}


def answered(old: bytes, new: bytes, fmt: model.Format, known: Iterable[str] = OLD) -> bytes | None:
    """What a server answers that read the file before and after a change."""
    deltas = delta.Deltas()
    deltas.note("all", OLD, old, fmt)
    deltas.note("all", NEW, new, fmt)
    return deltas.answer("all", known, new, fmt)


# --- what is in a delta --------------------------------------------------------------------------------------------


@FORMATS
def test_only_what_is_new_or_changed_comes_and_in_order(tmp_path: Path, fmt: model.Format) -> None:
    room = Newsroom(tmp_path, settings_for(limit=5))
    for number in range(7):
        room.put(f"{number}.md", article(f"Title {number}", publishedDateTime=f"2023-01-01T0{number}:00:00Z"))
    room.publish()
    old = (room.out / f"all.{fmt}").read_bytes()

    room.now += 3600
    room.put("4.md", article("Title 4, corrected", publishedDateTime="2023-01-01T04:00:00Z"))
    room.put("9.md", article("Title 9", publishedDateTime="2023-01-01T09:00:00Z"))
    room.drop("5.md")
    room.publish()
    new = (room.out / f"all.{fmt}").read_bytes()
    room.close()

    found = answered(old, new, fmt)
    assert found is not None
    assert lint.lint(found, fmt, now=room.now) == lint.lint(new, fmt, now=room.now) == []
    feed = feedparser.parse(found)
    titles = [item["title"] for item in json.loads(found)["items"]] if fmt == "json" else [
        item.title for item in feed.entries
    ]
    assert titles == ["Title 9", "Title 4, corrected"]
    assert fmt == "json" or not feed.bozo
    head, tail = new[: new.index(b"Title 9")], new[-12:]
    assert found.startswith(head)
    assert found.endswith(tail)
    assert len(found) < len(new)


@FORMATS
@given(data=st.data())
def test_what_a_reader_had_and_the_delta_are_the_feed(fmt: model.Format, data: st.DataObject) -> None:
    texts = data.draw(st.lists(hostile, min_size=3, max_size=3))
    instance = st.dictionaries(st.integers(0, 6), st.integers(0, 2), max_size=6)
    old, new = (
        document([entry(n, version, texts[version], texts[n % 3]) for n, version in versions.items()], fmt)
        for versions in (data.draw(instance), data.draw(instance))
    )
    had, now = shown(old, fmt), shown(new, fmt)
    changed = {key: value for key, value in now.items() if had.get(key) != value}
    found = answered(old, new, fmt)
    if found is None:
        assert changed == now
        return
    assert list(shown(found, fmt).items()) == list(changed.items())
    union = had | shown(found, fmt)
    assert {key: union[key] for key in now} == now
    assert len(found) < len(new)


@FORMATS
@given(st.lists(st.tuples(hostile, hostile), max_size=5))
def test_a_feed_is_taken_apart_at_its_own_marks_only(fmt: model.Format, texts: list[tuple[str, str]]) -> None:
    entries = [entry(n, 0, title, html) for n, (title, html) in enumerate(texts)]
    data = document(entries, fmt)
    parts = delta.split(data, fmt)
    assert parts is not None
    fragments = [render.fragment(one, fmt, render.Options(full_content=True)) for one in entries]
    assert [part.removesuffix(b"\n") for part in parts.entries] == fragments
    assert parts.head + parts.separator.join(parts.entries) + parts.tail == data


@FORMATS
@given(st.binary(max_size=60), st.integers(0, 10**6), st.integers(0, 40))
def test_a_feed_that_is_not_ours_is_left_whole(fmt: model.Format, junk: bytes, at: int, cut: int) -> None:
    whole = document([entry(1, html="a"), entry(2, html="b")], fmt)
    at %= len(whole)
    data = whole[:at] + junk + whole[at + cut :]
    parts = delta.split(data, fmt)
    if parts is not None:
        assert parts.head + parts.separator.join(parts.entries) + parts.tail == data


BEFORE_END: dict[model.Format, tuple[bytes, bytes]] = {
    "atom": (b"</feed>", b"<x/>\n</feed>"), "rss": (b"</channel>", b"<x/>\n</channel>"),
    "json": (b"\n]\n}", b",\n{}\n]\n}"),
}  # fmt: skip


@FORMATS
def test_of_a_feed_that_is_not_ours_there_is_no_delta(fmt: model.Format) -> None:
    whole = document([entry(1, html="a"), entry(2, html="b")], fmt)
    for wrong in (
        b"", b"\n]\n}\n", whole[:-1], whole[: len(whole) // 2], whole.replace(*BEFORE_END[fmt]),
        whole.replace(b'"items":[\n', b'"items": [').replace(b"]]>", b"").replace(b"]]&gt;", b""),
        whole.replace(b"</entry>", b"").replace(b"</item>", b"").replace(b'{"id', b'{ "id'),
    ):  # fmt: skip
        assert delta.split(wrong, fmt) is None
        deltas = delta.Deltas()
        deltas.note("all", OLD, wrong, fmt)
        assert len(deltas) == 0
        deltas.note("all", OLD, whole, fmt)
        assert deltas.answer("all", OLD, wrong, fmt) is None


@FORMATS
def test_removed_entries_alone_give_a_feed_without_entries(fmt: model.Format) -> None:
    old, new = document([entry(2), entry(1)], fmt), document([entry(1)], fmt)
    found = answered(old, new, fmt)
    assert found is not None
    assert shown(found, fmt) == {}
    assert lint.lint(found, fmt) == lint.lint(document([], fmt), fmt)


@FORMATS
def test_a_delta_does_not_say_that_it_is_all_there_is(fmt: model.Format) -> None:
    old, new = (document([entry(n) for n in numbers], fmt, complete=True) for numbers in ((1,), (2, 1)))
    found = answered(old, new, fmt)
    assert found is not None
    assert (b"fh:complete" in new) == (fmt != "json")
    assert b"fh:complete" not in found
    assert shown(found, fmt).keys() == shown(document([entry(2)], fmt), fmt).keys()


@FORMATS
def test_where_nothing_would_be_saved_the_feed_is_whole(fmt: model.Format) -> None:
    none, some = document([], fmt), document([entry(1), entry(2)], fmt)
    other = document([entry(n, title="Another") for n in (1, 2)], fmt)
    assert answered(none, some, fmt) is None
    assert answered(some, other, fmt) is None
    assert answered(some, none, fmt) is None


# --- which instances are known -------------------------------------------------------------------------------------


def test_any_etag_of_an_instance_will_do_and_no_other() -> None:
    old, new = document([entry(1)], "atom"), document([entry(2), entry(1)], "atom")
    for known in ([OLD[0]], [OLD[1]], ['"x"', OLD[1]], [f"W/{OLD[0]}"]):
        assert answered(old, new, "atom", known) is not None
    for known in ([], ["*"], ['"x"'], ["old"], ['"OLD"']):
        assert answered(old, new, "atom", known) is None


def test_feeds_are_told_apart() -> None:
    deltas = delta.Deltas()
    deltas.note("a", OLD, document([entry(1)], "atom"), "atom")
    assert deltas.answer("b", OLD, document([entry(2), entry(1)], "atom"), "atom") is None


def test_the_newest_of_several_known_instances_counts() -> None:
    deltas = delta.Deltas()
    for number in range(1, 4):
        deltas.note("all", [f'"{number}"'], document([entry(n) for n in range(number)], "rss"), "rss")
    new = document([entry(n) for n in range(4)], "rss")
    found = deltas.answer("all", ['"1"', '"3"', '"2"'], new, "rss")
    assert found is not None
    assert list(shown(found, "rss")) == [entry(3).id]


def test_the_same_instance_is_kept_once_with_the_etags_of_all_its_encodings() -> None:
    deltas = delta.Deltas()
    data = document([entry(1)], "rss")
    deltas.note("all", ['"plain"'], data, "rss")
    deltas.note("all", ['"plain"', '"br"'], data, "rss")
    deltas.note("all", [], data, "rss")
    assert len(deltas) == 1
    new = document([entry(2), entry(1)], "rss")
    assert deltas.answer("all", ['"br"'], new, "rss") == deltas.answer("all", ['"plain"'], new, "rss") is not None


def test_a_feed_keeps_a_few_instances_and_the_oldest_goes_first() -> None:
    deltas = delta.Deltas(per_feed=3)
    for number in (0, 1, 2, 0, 3):
        deltas.note("all", [f'"{number}"'], document([entry(9), entry(number)], "json"), "json")
    new = document([entry(9), entry(8)], "json")
    known = [number for number in range(4) if deltas.answer("all", [f'"{number}"'], new, "json")]
    assert known == [0, 2, 3]


# --- memory and time -----------------------------------------------------------------------------------------------


@given(
    st.integers(0, 6000),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 12), st.booleans()), max_size=40),
)
def test_memory_is_bounded_whatever_is_noted(max_bytes: int, steps: list[tuple[int, int, int, bool]]) -> None:
    deltas = delta.Deltas(max_bytes, per_feed=2)
    for feed, number, length, asked in steps:
        data, etags = DOCUMENTS[length], [f'"{number}"', f'"{number}-br"']
        if asked:
            deltas.answer(f"feed {feed}", etags, data, "json")
        else:
            deltas.note(f"feed {feed}", etags, data, "json")
        assert 0 <= deltas.size <= max_bytes
        assert len(deltas) <= 12
    if not len(deltas):
        assert deltas.size == 0


DOCUMENTS = [document([entry(n) for n in range(length)], "json") for length in range(13)]


def test_the_feed_least_recently_used_is_forgotten_first() -> None:
    one = delta.Deltas()
    one.note("a", OLD, DOCUMENTS[3], "json")
    deltas = delta.Deltas(one.size * 2)
    for path in ("a", "b"):
        deltas.note(path, OLD, DOCUMENTS[3], "json")
    assert deltas.answer("a", OLD, DOCUMENTS[4], "json")
    deltas.note("c", OLD, DOCUMENTS[3], "json")
    assert [path for path in "abc" if deltas.answer(path, OLD, DOCUMENTS[4], "json")] == ["a", "c"]


def test_what_it_says_it_holds_is_what_it_holds() -> None:
    data = document([entry(n) for n in range(50)], "json")
    gc.collect()
    tracemalloc.start()
    try:
        deltas = delta.Deltas(1 << 20)
        for number in range(3000):
            etags = [f'"{number:032x}{suffix}"' for suffix in ("", "-gz", "-br")]
            deltas.note(f"topics/topic-{number // 3}.json", etags, data, "json")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert deltas.size > 1_000_000
    assert held < 1.2 * (1 << 20)


@FORMATS
def test_a_large_feed_is_noted_in_no_time_and_twice_as_large_takes_twice_as_long(fmt: model.Format) -> None:
    def best_s(data: bytes) -> float:
        runs = []
        for _ in range(20):
            deltas = delta.Deltas()
            began = time.perf_counter()
            deltas.note("all", OLD, data, fmt)
            runs.append(time.perf_counter() - began)
            assert len(deltas) == 1
        return min(runs)

    entries = [entry(n, html=f"<p>{'Some words of it. ' * 100}</p>") for n in range(200)]
    small, large = document(entries[:50], fmt), document(entries, fmt)
    assert len(small) > 100_000
    small_s, large_s = best_s(small), best_s(large)
    assert small_s < 0.005  # 0.0004 where nothing else runs
    assert large_s < small_s * 16  # 4, if nothing else runs


@pytest.mark.parametrize("inside", ["<![CDATA[", "]]>", "</entry>\n", "\n<entry>\n", "<![CDATA[</entry>\n"])
def test_what_an_entry_repeats_costs_no_more_than_its_length(inside: str) -> None:
    data = document([entry(1, html=inside * 100_000), entry(2, html=inside * 100_000)], "atom")
    began = time.perf_counter()
    parts = delta.split(data, "atom")
    assert time.perf_counter() - began < 1.0
    assert parts is not None
    assert len(parts.entries) == 2


# --- negotiation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [
    "feed", "FEED", " feed ", "feed, gzip;q=0.5", "gzip;q=0.5 , Feed;Q=1.000", "vcdiff,,feed", "feed;q=0.001",
    "feed ; q = 0.5", "feed;q=1", "feed;q=1.", "feed;format=any", "diffe, feed;x;q=0.2",
])  # fmt: skip
def test_readers_that_take_deltas(value: str) -> None:
    assert delta.wants_feed_delta([(b"host", b"feeds.example"), (b"A-IM", value.encode())])


@pytest.mark.parametrize("value", [
    "", ",", "gzip", "feeds", "fee", "feed;q=0", "feed;q=0.", "feed;q=0.000", "feed;q=", "feed;q", "feed;q=x",
    "feed;q=2", "feed;q=1.001", "feed;q=0.0001", "feed;q=-1", "feed;q=.5", "feed;q=0, gzip", "x;feed", "\x00\xff",
])  # fmt: skip
def test_readers_that_do_not(value: str) -> None:
    assert not delta.wants_feed_delta([(b"host", b"feed"), (b"a-im", value.encode())])


@given(st.binary(max_size=300) | hostile.map(str.encode))
def test_no_header_is_too_odd(value: bytes) -> None:
    assert isinstance(delta.wants_feed_delta([(b"a-im", value)]), bool)


def test_a_list_may_be_on_several_lines_or_missing() -> None:
    assert delta.wants_feed_delta([(b"a-im", b"gzip"), (b"A-Im", b"feed")])
    assert delta.wants_feed_delta({b"a-im": b"feed"}.items())
    assert not delta.wants_feed_delta([])
