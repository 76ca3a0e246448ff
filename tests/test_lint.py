"""feedd.lint: every golden bad feed breaks exactly the rule it is named after, every good one none; nothing raises.

A case is a file: tests/lint/<Rule>[-<what>].<atom|rss|json|opml>, or good-<what>.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd import lint
from feedd.lint import jsonfeed, rules, xmltree

FOLDER = Path(__file__).parent / "lint"
CASES = sorted(FOLDER.iterdir())
NOW = 1_767_225_600  # 2026-01-01
FORMATS = ("atom", "rss", "json", "opml")


def run(data: bytes, kind: str, **options: object) -> list[lint.Finding]:
    if kind == "opml":
        return lint.lint_opml(data, now=NOW)
    return lint.lint(data, kind, **{"self_url": f"https://feeds.example/all.{kind}", "now": NOW, **options})  # type: ignore[arg-type]


def good(kind: str) -> bytes:
    return (FOLDER / f"good-minimal.{kind}").read_bytes()


def broken(findings: list[lint.Finding]) -> set[str]:
    return {finding.rule for finding in findings}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.name)
def test_a_golden_feed_breaks_exactly_the_rule_it_is_named_after(path: Path) -> None:
    rule = path.stem.partition("-")[0]
    findings = run(path.read_bytes(), path.suffix[1:])
    assert broken(findings) == (set() if rule == "good" else {rule})


def test_every_rule_has_a_golden_feed() -> None:
    shown = {path.stem.partition("-")[0] for path in CASES} - {"good"}
    assert shown == set(rules.RULES) - {"ValidatorLimit"}  # that one would be 5 MB


@pytest.mark.parametrize("kind", FORMATS)
def test_findings_say_level_and_stay_within_the_document(kind: str) -> None:
    for path in FOLDER.glob(f"*.{kind}"):
        data = path.read_bytes()
        for finding in run(data, kind):
            assert finding.level == rules.RULES[finding.rule][0]
            assert 1 <= finding.line <= data.count(b"\n") + 1
            assert finding.message.isprintable()


def test_a_finding_names_its_line_and_entry() -> None:
    text = (FOLDER / "InvalidRFC3339Date.atom").read_text()
    finding = run(text.encode(), "atom")[0]
    assert "<published>" in text.splitlines()[finding.line - 1]
    assert finding.entry_id == "tag:feeds.example,2024:ferry"
    assert finding.message == "atom:published: 2024-05-02: a date such as 2020-01-01T00:00:00Z (RFC 3339)"


def test_a_finding_in_html_counts_the_lines_of_the_html() -> None:
    data = good("atom").replace(b"It sails", b"\n\n&lt;b>It sails").replace(b"<summary", b'<summary type="html"')
    finding = run(data, "atom")[0]
    assert finding.line == good("atom").decode().splitlines().index("    <summary>It sails twice a day.</summary>") + 3


def test_a_finding_in_json_names_the_line_of_the_items_id() -> None:
    feed = json.loads(good("json"))
    feed["items"] = [{**feed["items"][0], "id": f"item-{n}", "url": f"https://news.example/{n}"} for n in range(5)]
    feed["items"][3]["image"] = "x.jpg"
    text = json.dumps(feed, indent=1)
    (finding,) = run(text.encode(), "json")
    assert (finding.entry_id, finding.rule) == ("item-3", "InvalidFullLink")
    assert '"id": "item-3"' in text.splitlines()[finding.line - 1]


def test_an_item_of_json_whose_id_is_escaped_is_found() -> None:
    feed = json.loads(good("json"))
    feed["items"].append({"id": "ä", "content_text": ""})
    text = json.dumps(feed, indent=1)
    (finding,) = run(text.encode(), "json")
    assert (finding.entry_id, finding.rule) == ("ä", "MissingTextualContent")
    assert '"id": "\\u00e4"' in text.splitlines()[finding.line - 1]


def test_keys_that_come_twice_are_named() -> None:
    (finding,) = run((FOLDER / "DuplicateElement.json").read_bytes(), "json")
    assert finding.message.startswith("title in item")


def test_without_now_no_date_is_in_the_future() -> None:
    for name in ("ImplausibleDate-future.atom", "ImplausibleDate.rss"):
        path = FOLDER / name
        assert run(path.read_bytes(), path.suffix[1:], now=None) == []


def test_without_a_url_the_self_link_may_be_any() -> None:
    for kind in ("atom", "rss", "json"):
        assert run((FOLDER / f"SelfDoesntMatchLocation.{kind}").read_bytes(), kind, self_url="") == []


def test_findings_come_in_the_order_of_lines() -> None:
    data = good("rss").replace(b"news.example/", b"news.example/|")
    lines = [finding.line for finding in run(data, "rss")]
    assert lines == sorted(lines)
    assert len(lines) > 1


def test_what_is_wrong_below_a_hundred_times_is_reported_up_to_a_bound() -> None:
    data = good("atom").replace(b"<entry>", b"<entry>" + b"<x/>" * 5000)
    assert len(run(data, "atom")) == rules.MAX_FINDINGS


def test_a_feed_of_more_than_five_megabytes_is_checked_and_reported() -> None:
    data = good("atom").replace(b"</feed>", b"<x/>" + b" " * xmltree.MAX_BYTES + b"</feed>")
    assert broken(run(data, "atom")) == {"ValidatorLimit", "UndefinedElement", "MisplacedMetadata"}


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_far_too_large_is_not_read(kind: str) -> None:
    assert broken(run(b" " * (rules.MAX_PARSED_BYTES + 1), kind)) == {"ValidatorLimit"}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("json", b"[" * 200_000),
        ("json", b'{"version": ' + b"9" * 200_000 + b"}"),
        ("json", b'{"a": 1, "a": 2, ' + b",".join(b'"k%d": 1' % n for n in range(50_000)) + b"}"),
        ("json", b'{"items": [' + b",".join([b'{"id": "\\u0041"}'] * 20_000) + b"]}"),
        ("atom", b"<a>" * 500_000),
        ("atom", b"<feed>" + b"x<b/>" * 50_000 + b"</feed>"),
        ("rss", b"<rss><channel>" + b"<item><x/></item>" * 10_000 + b"</channel></rss>"),
        ("opml", b"<opml>" + b"<outline/>" * 20_000 + b"</opml>"),
    ],
    ids=lambda value: str(value[:24]),
)
def test_hostile_documents_end_soon(kind: str, data: bytes) -> None:
    start = time.process_time()
    assert run(data, kind)
    assert time.process_time() - start < 3


HOSTILE = {
    "<div>": 20_000,
    "<p><b>": 20_000,
    "<a b='": 20_000,
    "<!--": 20_000,
    "<": 100_000,
    "&": 100_000,
    "<a b c": 20_000,
    "</a": 20_000,
    "&a": 20_000,
    "<script>": 20_000,
    "a": 200_000,
    "@a.a": 20_000,
    "<ul><li>": 20_000,
    "<table><tr><td>": 20_000,
}


@pytest.mark.parametrize("html", HOSTILE)
@pytest.mark.parametrize("kind", ["html", "text"])
def test_hostile_content_ends_soon(kind: str, html: str) -> None:
    content = b"&lt;" + (html * HOSTILE[html]).replace("&", "&amp;").replace("<", "&lt;").encode()
    data = good("atom").replace(b"<summary>", b'<summary type="%s">' % kind.encode() + content)
    start = time.process_time()
    run(data.replace(b"<name>Harbour", b"<name>" + content), "atom")
    assert time.process_time() - start < 3


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(FORMATS))
def test_arbitrary_bytes_raise_nothing(data: bytes, kind: str) -> None:
    assert run(data, kind)  # no bytes of chance are a feed


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(CASES), st.integers(0, 2**32), st.integers(1, 6))
def test_mutated_feeds_raise_nothing(path: Path, seed: int, times: int) -> None:
    chance = random.Random(seed)
    data = path.read_bytes()
    for _ in range(times):
        start, end = sorted(chance.randrange(len(data) + 1) for _ in "12")
        other = good(path.suffix[1:])
        piece = chance.choice([b"", b"<", b'"', b"&amp;", b"\xff", "é".encode(), b"null", b"{", other[start:end]])
        data = data[:start] + piece + data[min(end, start + chance.choice([0, 1, 50])) :]
    run(data, path.suffix[1:])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
JSON_KEYS = st.sampled_from(sorted(jsonfeed.KEYS))
JSON_ITEMS = st.lists(st.dictionaries(JSON_KEYS, JSON_VALUES, max_size=5), max_size=3)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(JSON_KEYS, JSON_VALUES | JSON_ITEMS))
def test_any_value_under_a_key_of_json_feed_raises_nothing(feed: dict[str, object]) -> None:
    run(json.dumps(feed).encode(), "json")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C"]), max_size=60))
def test_a_text_that_is_escaped_as_it_should_be_is_never_undeclared_markup(text: str) -> None:
    escaped = (text + "x").replace("&", "&#x26;").replace("<", "&#x3C;").replace("]]>", "]]&#x3E;").encode()
    found = broken(run(good("rss").replace(b"A ferry", escaped), "rss"))
    assert found <= {"ContainsHTML", "BadCharacters"}
    assert "ContainsHTML" not in found or "</" in text
