"""Front matter: both lanes give what yaml.safe_load gives, less `secured`; all else is an error with its place.

Where feedd differs from safe_load on purpose (each has a test below):
- the key `secured` is dropped at any depth;
- refused: merge keys, aliases inside the node they stand for or of something dropped, more than 100 aliases, more than
  50,000 values with aliases expanded, nesting deeper than 64, numbers and dates of more than 1,000 characters, more
  than 32 lines that start with %, a document of more than 256 Ki characters;
- libyaml reads, not PyYAML's own parser: where the two differ, CSafeLoader is the oracle (surrogates in escapes, say).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
import strategies
import yaml
from hypothesis import example, given, settings

from feedd import errors, frontmatter, yamldata

_ON_PURPOSE = (
    "merge keys",
    "an alias inside the node",
    "an alias of something",
    "more than",
    "nested more than",
    "too many lines that start with %",
    "the front matter must be a mapping",
)


def without_secured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_secured(inner) for key, inner in value.items() if key != "secured"}
    if isinstance(value, list):
        return [without_secured(inner) for inner in value if not (isinstance(inner, tuple) and inner[0] == "secured")]
    if isinstance(value, tuple):
        return tuple(without_secured(inner) for inner in value)
    if isinstance(value, set):
        return value - {"secured"}
    return value


def same(left: Any, right: Any) -> bool:
    """Equal in value and type, at every depth, with NaN equal to itself and 1 unlike True and 1.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(a, b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, datetime):
        return bool(left == right and left.tzinfo == right.tzinfo)
    return bool(left == right)


def oracle(document: str, loader: Any) -> Any:
    """What a loader of PyYAML gives, an exception where it gives none."""
    try:
        value = yaml.load(document, Loader=loader)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        return error
    return without_secured({} if value is None else value)


def check_against_oracle(document: str) -> None:
    try:
        mine, _ = frontmatter.load(document.encode(), "a.yaml", yaml_only=True)
    except errors.ArticleError as error:
        if not error.message.startswith(_ON_PURPOSE):
            expected = oracle(document, yaml.SafeLoader), oracle(document, yaml.CSafeLoader)
            assert any(isinstance(value, Exception) for value in expected), (error, expected)
        assert error.line >= 1 and error.column >= 1
        return
    expected = oracle(document, yaml.SafeLoader)
    if isinstance(expected, Exception) or not same(mine, expected):
        expected = oracle(document, yaml.CSafeLoader)
    if isinstance(expected, Exception):
        assert "secured" in document, (mine, expected)  # what is dropped is not looked at
        return
    assert same(mine, expected), (mine, expected)


def front(document: str) -> dict[str, Any]:
    return frontmatter.load(document.encode(), "a.yaml", yaml_only=True)[0]


def fails(document: str | bytes, *, yaml_only: bool = True) -> errors.ArticleError:
    data = document if isinstance(document, bytes) else document.encode()
    with pytest.raises(errors.ArticleError) as caught:
        frontmatter.load(data, "news/a.md", yaml_only=yaml_only)
    assert caught.value.path == "news/a.md"
    return caught.value


# --- equal to safe_load -----------------------------------------------------------------------------------------


def test_equals_safe_load_on_every_real_file_in_both_lanes() -> None:
    fast = total = 0
    for path, data in strategies.sources():
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        document = text if path.endswith(".yaml") else text.split("\n---", 1)[0].removeprefix("---\n") + "\n"
        expected = oracle(document, yaml.SafeLoader)
        if isinstance(expected, Exception):
            assert fails(data, yaml_only=path.endswith(".yaml")).line > 0
            continue
        got, _ = frontmatter.load(data, path, yaml_only=path.endswith(".yaml"))
        assert same(got, expected), path
        assert same(yamldata.load(document) or {}, expected), path
        quick = frontmatter.fast(document)
        total += 1
        if quick is not None:
            fast += 1
            assert same(quick, expected), path
    assert fast / total >= 0.9


@settings(max_examples=150, deadline=None)
@given(strategies.dumped())
@example("a: !!set {x, y}\nb: !!omap [x: 1, y: 2]\nc: !!pairs [x: 1, x: 2]\n")
@example("a: !!binary aGVsbG8=\nb: !!int '7'\nc: !!str 7\nd: ! 7\ne: !!float 1\nf: !!null ''\ng: !!bool 'on'\n")
@example("a: &x [1, 2]\nb: *x\nc: [*x, *x]\nd: &y {k: *x}\n? &k key\n: *k\n")
@example("=: 1\n? [a]\n: 1\n")
@example("? !!binary c2VjdXJlZA==\n: 1\n'secured': 2\n!!str secured: 3\n")
def test_equals_safe_load_on_documents_dumped_in_many_styles(document: str) -> None:
    check_against_oracle(document)


@settings(max_examples=250, deadline=None)
@given(strategies.machine_like())
@example("a: 1\n- b\n")
@example("a: b\n  c: d\n")
@example("a:\n- b: c\n  d: e\n- f\ng: h\n")
@example("a:\n    - b\n  c: d\n")
@example('a: "b" "c"\n')
@example('a: "\\u00e9\\n"\n')
@example('a: "\\d"\n')
@example('a: "b\\" c\n')
@example('a: "b\\n" "c"\n')
@example('a: "\n')
@example('a: ""\n')
def test_equals_safe_load_on_lines_like_those_of_machines(document: str) -> None:
    check_against_oracle(document)
    quick = frontmatter.fast(document)
    if quick is not None:
        assert same(quick, oracle(document, yaml.SafeLoader)), quick


@settings(max_examples=80, deadline=None)
@given(strategies.mutated())
def test_equals_safe_load_on_damaged_real_files(data: bytes) -> None:
    document = data.decode(errors="ignore").replace("\0", "").removeprefix("---\n").split("\n---", 1)[0]
    check_against_oracle(document.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    "scalar",
    ["yes", "No", "ON", "~", "null", "", "0", "-0", "+1", "017", "0b11", "0x1F", "1_000", "190:20:30", "1.5", "-.inf",
     ".nan", "1e3", "1.5e+3", "190:20:30.15", "2020-05-19", "2020-05-19T12:08:00Z", "2020-05-19 12:08:00.5 +02:30",
     "2020-05-19T12:08:00", "2020-5-9 1:02:03", "9" * 20, "y", "n", "1,000", "a b", "https://a.example/#b", "'it''s'",
     "A|B", "a/b", "PT6S", "12.5", "-3.25", "00.5", "/a.jpg", "Дмитрий", "1e400", "0o17"],
)  # fmt: skip
def test_scalars_mean_what_yaml_1_1_says(scalar: str) -> None:
    check_against_oracle(f"a: {scalar}\n")
    check_against_oracle(f"a:\n  - {scalar}\n")
    check_against_oracle(f"a: [{scalar.replace(',', '')}]\n")
    check_against_oracle(f"{scalar}: a\n" if scalar else "a: b")


# --- the file around it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "fields", "body"),
    [
        (b"---\na: 1\n---\nbody\n", {"a": 1}, "body\n"),
        (b"\xef\xbb\xbf---\na: 1\n---\n", {"a": 1}, ""),
        (b"---\r\na: 1\r\nb: 'x'\r\n---\r\n\r\nbody\r\n", {"a": 1, "b": "x"}, "\r\nbody\r\n"),
        (b"---\r\na: 1\r\n---\r\n", {"a": 1}, ""),
        (b"---  \na: 1\n--- \t\nbody", {"a": 1}, "body"),
        (b"---\n---\nbody", {}, "body"),
        (b"---\n# only a comment\n---", {}, ""),
        (b"---\na: 1\n---", {"a": 1}, ""),
        (b"---\na: |\n ----\n  x\nb: 2\n---\n", {"a": "----\n x\n", "b": 2}, ""),
        (b"---\na: 1\n---\nbody\n---\nmore\n", {"a": 1}, "body\n---\nmore\n"),
    ],
)
def test_splits_front_matter_and_body(data: bytes, fields: dict[str, Any], body: str) -> None:
    assert frontmatter.load(data, "a.md") == (fields, body)


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b" " * (9 << 20), (1, 1), "the file is larger than 8 MiB"),
        (b"", (1, 1), "no front matter: the first line must be ---"),
        (b"title: x\n", (1, 1), "no front matter: the first line must be ---"),
        (b"\n---\na: 1\n---\n", (1, 1), "no front matter: the first line must be ---"),
        (b"---\na: 1\n", (1, 1), "the front matter does not end: a line --- is missing"),
        (b"---\na: 1\n----\n--- x\n", (1, 1), "the front matter does not end: a line --- is missing"),
        (b"---\na: \xff\n---\n", (2, 4), "not UTF-8 text"),
        (b"---\na: \xed\xa0\x80\n---\n", (2, 4), "not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n", (1, 1), "not UTF-8 text"),
        (b"---\na: 1\n---\nbo\0dy", (4, 3), "a NUL byte: not a text file"),
        (b"---\na: \x07\n---\n", (2, 4), "a character that YAML does not allow"),
        ("---\na: é\x80\n---\n".encode(), (2, 5), "a character that YAML does not allow"),
        (b"---\n- a\n---\n", (2, 1), "the front matter must be a mapping, lines of `key: value`"),
        (b"---\r\na: 1\r\nb: c: d\r\n---\r\n", (3, 5), "mapping values are not allowed in this context"),
        (b"---\na: 1\rb: c: d\n---\n", (3, 5), "mapping values are not allowed in this context"),
        (b'---\na: "\\ud800"\n---\n', (2, 7), "found invalid Unicode character escape code"),
        (b"---\na: 2020-02-30\n---\n", (2, 4), "not a valid timestamp"),
        (b"---\na: 2020-02-30T00:00:00Z\n---\n", (2, 4), "not a valid timestamp"),
        (b"---\na: !!int x\n---\n", (2, 4), "not a valid int"),
        (b"---\na: !!binary \xc3\xa9\n---\n", (2, 4), "not a valid binary"),
        (b"---\na: !!timestamp x\n---\n", (2, 4), "not a valid timestamp"),
        (b"---\na: !mine x\n---\n", (2, 4), "a tag that does not fit here"),
        (b"---\na: !!map x\n---\n", (2, 4), "a tag that does not fit here"),
        (b"---\na: !!str [x]\n---\n", (2, 4), "a tag that does not fit here"),
        (b"---\na: !!seq {}\n---\n", (2, 4), "a tag that does not fit here"),
        (b"---\n<<: {a: 1}\n---\n", (2, 1), "merge keys (<<) are not supported"),
        (b"---\n? [a]\n: 1\n---\n", (2, 5), "a key that is a list or a mapping"),
        (b"---\na: =\n---\n", (2, 4), "a value that is only =, which has no meaning in YAML 1.1: quote it"),
        (b"---\na: *x\n---\n", (2, 4), "an alias without its anchor"),
        (b"---\na: &x [*x]\n---\n", (2, 8), "an alias inside the node that it stands for"),
        (b"---\na: &x 1\nb: &x 2\n---\n", (3, 4), "an anchor is declared twice"),
        (b"---\na: &x [1]\nb: &x 2\n---\n", (3, 4), "an anchor is declared twice"),
        (b"---\nsecured: &x 1\nb: *x\n---\n", (3, 4), "an alias of something that cannot be used here"),
        (b"---\nsecured: *x\n---\n", (2, 10), "an alias without its anchor"),
        (b"---\na: !!omap [1]\n---\n", (2, 12), "an ordered map or pairs must hold mappings with one key each"),
        (b"---\na: !!pairs [{b: 1, c: 2}]\n---\n", (2, 24), "an ordered map or pairs must hold mappings with one key"),
        (b"---\na: 1\n...\nb: 2\n---\n", (4, 1), "did not find expected <document start>"),
        (b"---\na: " + b"1" * 1001 + b"\n---\n", (2, 4), "a int of more than 1,000 characters"),
        (b"---\na: " + b"x" * 270_000 + b"\n---\n", (2, 1), "the front matter is longer than 262,144 characters"),
    ],
)
def test_names_line_and_column_of_what_is_wrong(data: bytes, place: tuple[int, int], message: str) -> None:
    error = fails(data, yaml_only=False)
    assert error.message.startswith(message)
    assert (error.line, error.column) == place


def test_a_second_document_is_an_error() -> None:
    error = fails("a: 1\n---\nb: 2\n")
    assert (error.message, error.line, error.column) == ("a second document starts here", 2, 1)


def test_hints_at_an_unquoted_colon() -> None:
    assert "quote the value" in fails("title: Diablo: the news\n").message


@pytest.mark.parametrize(
    "document", ["a: [hunter2: x: y", "hunter2: - x", "a: *hunter2", "a: !hunter2 hunter2", "a: !!int hunter2",
                 "a: &hunter2 1\nb: &hunter2 1", "a: 2020-99-99 hunter2: x", '"hunter2', "%hunter2\n---\na: 1",
                 "<<: hunter2"],
)  # fmt: skip
def test_an_error_never_quotes_the_file(document: str) -> None:
    error = fails(document)
    assert "hunter2" not in str(error) and "hunter2" not in repr(error.__dict__)


# --- secured ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ('a: 1\nsecured: "x"\nb: 2\n', {"a": 1, "b": 2}),
        ("secured: x\n", {}),
        ("secured:\n", {}),
        ("secured:\n  a: [x, {y: z}]\n  b: &n x\nc: 1\n", {"c": 1}),
        ('a:\n  - secured: "x"\n    b: 1\n', {"a": [{"b": 1}]}),
        ("a: {secured: [x], b: {secured: y}}\n", {"a": {"b": {}}}),
        ("a: &k secured\nb: {*k : x}\n", {"a": "secured", "b": {}}),
        ("secured: !unknown x\na: 1\n", {"a": 1}),
        ("secured: {a: *b}\n", None),
        ("b: &b 1\nsecured: {a: *b}\n", {"b": 1}),
        ("a: !!omap [secured: x, b: 1]\n", {"a": [("b", 1)]}),
        ("a: !!set {secured, b}\n", {"a": {"b"}}),
        ("a: [secured]\nb: secured\n", {"a": ["secured"], "b": "secured"}),
    ],
)
def test_drops_secured_at_any_depth(document: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        assert fails(document).message == "an alias without its anchor"
    else:
        assert front(document) == expected


def test_a_secured_value_is_in_no_memory_of_the_reader() -> None:
    front('title: x\nsecured: "xyzzy"\n')
    front("title: x\nsecured: xyzzy\n")
    front("title: x\nsecured: [xyzzy, {xyzzy: xyzzy}]\n")
    for memo in frontmatter.MEMOS:
        assert not any("xyzzy" in str(item) for item in memo.items())


# --- limits -----------------------------------------------------------------------------------------------------


def test_nests_64_deep_and_no_deeper() -> None:
    assert front("a: " + "[" * 63 + "]" * 63)
    assert fails("a: " + "[" * 64 + "]" * 64).message == "nested more than 64 deep"
    assert fails("secured: " + "[" * 64 + "]" * 64).message == "nested more than 64 deep"


def test_limits_aliases_and_values() -> None:
    assert fails("a: &a 1\nb: [" + "*a, " * 101 + "]").message == "more than 100 aliases"
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8)
    )
    assert fails(laughs).message == "more than 50,000 values, with aliases expanded"
    assert fails("secured: [" + "a, " * 50_001 + "]").message == "more than 50,000 values"


def test_limits_directives() -> None:
    assert fails("%YAML 1.1\n" + "%TAG !a! b\n" * 40 + "---\na: 1").message == "too many lines that start with %"


def test_the_fast_lane_leaves_long_documents_to_the_other() -> None:
    document = "".join(f"k{n}: value\n" for n in range(8000))
    assert frontmatter.fast(document) is None
    assert len(front(document)) == 8000


def test_memos_are_bounded() -> None:
    for start in range(0, 9000, 1000):
        front("".join(f"k{n}: word{n}x\n" for n in range(start, start + 1000)))
    assert all(len(memo) <= 4096 for memo in frontmatter.MEMOS)


def test_moments_of_both_lanes_are_the_same() -> None:
    assert front("a: 2020-05-19T12:08:00Z\n") == front("a: [2020-05-19T12:08:00Z]\n") | {
        "a": datetime(2020, 5, 19, 12, 8, tzinfo=UTC)
    }
    assert math.isnan(front("a: .nan")["a"])


@pytest.mark.parametrize(
    ("field", "place"),
    [("b.1.c", (5, 8)), ("b.1.no", (5, 5)), ("b.7", (4, 3)), ("b.x", (4, 3)), ("nothing", (2, 1)), ("a.b", (2, 4))],
)
def test_locates_a_field(field: str, place: tuple[int, int]) -> None:
    data = b"---\na: 1\nb:\n  - c: 2\n  - c: 3\n---\n"
    assert frontmatter.locate(data, "a.md", field) == place
    assert frontmatter.locate(b"a: 1\n", "a.yaml", "a", yaml_only=True) == (1, 4)
