"""The line that an error names: the key really stands there, however the file is written; else none is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd import config, errors
from feedd.config.lines import lines, steps_of
from feedd.config.messages import dotted


def said(folder: Path, text: str) -> list[str]:
    """What is wrong with that file, without its path."""
    path = folder / "config.toml"
    path.write_bytes(text.encode())
    with pytest.raises(errors.ConfigError) as caught:
        config.load(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_every_problem_names_its_line_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = '''\
limit = 5
[server] # port = 1
port = "http"
# host = "999.1.1.1"
host = "999.1.1.1"

[feeds]
topic.AI.limit = 0
formats = [ # a list
  "atom", "xml",
]
[feeds.custom."a b"]
[feeds.custom.mine]
title = """
limit = 7
"""
limit = 0
[log]
levle = "info"
'''
    assert said(tmp_path, text) == [
        "1: limit: unknown key here; did you mean feeds.limit?",
        '3: [server] port: "http" is not allowed; allowed: a whole number from 0 to 65535',
        '5: [server] host: "999.1.1.1" is not allowed; allowed: an IP address or a host name',
        "8: [feeds.topic.AI] limit: 0 is not allowed; allowed: a whole number from 1 to 1000",
        '9: [feeds] formats: "xml" is not allowed; allowed: a list of at least one of "atom", "rss", "json"',
        ('12: [feeds.custom] "a b": "a b" is not allowed; allowed: tables [feeds.custom.NAME], the name of a-z, 0-9 and'
        " inner hyphens, at most 64 characters"),
        r'14: [feeds.custom.mine] title: "limit = 7\n" is not allowed; allowed: text that is not blank, on one line',
        "17: [feeds.custom.mine] limit: 0 is not allowed; allowed: a whole number from 1 to 1000",
        '19: [log] levle: unknown key; did you mean "level"?',
    ]


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ('\n[links.host."*.a.example"]\ngap_ms = -1', '3: [links.host."*.a.example"] gap_ms: -1 '),
        ("\n[[feeds.custom]]\nlimit = 0", "2: [feeds] custom: "),
        ("\nfeeds = { topics = true,\tcustom = { a = { limit = 0 } } }", "2: [feeds.custom.a] limit: 0 "),
        ("\r\n[feeds]\r\n'limit' = 0\r\n", "3: [feeds] limit: 0 "),
        ("﻿[feeds]\n limit\t=\t0", "2: [feeds] limit: 0 "),
        ('[server]\nstatus = "token"', ' [server] token: is missing, and server.status is "token"'),
        ('\n[articles]\nsettle_ms = 900', " [articles] max_wait_ms: 500 is not allowed"),  # stands in no line
        ("\n\n[sites]\n", "3: sites: unknown key; "),
        ("\n[feeds\n", "2: not TOML: Expected ']' "),
        ('a = """', ' not TOML: Unterminated string (at end of document)'),
    ],
)  # fmt: skip
def test_a_line_is_named_where_the_key_stands_in_one(tmp_path: Path, text: str, starts: str) -> None:
    (found,) = said(tmp_path, text)
    assert found.startswith(starts)


def test_what_is_not_utf_8_is_in_a_line_as_well(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\n# caf\xe9")
    with pytest.raises(errors.ConfigError, match=r"config\.toml:2: not UTF-8"):
        config.load(tmp_path / "config.toml")
    with pytest.raises(errors.ConfigError, match=r"config\.toml:2: not UTF-8"):
        config.lines_of(tmp_path / "config.toml")


def test_a_value_never_passes_for_a_key() -> None:
    text = r'''
a = ["[b]", '[c]', """
[d]
e = 1 \""" x"""", {f = 1}, [
  [1], # ] g = 1
], 2026-01-01 07:32:00, 'h = 1']
i.'j.k'."l\"m\u0020" = {n = {o = [{p = 1}]}, q.r = '}'} # s = 1
t = QQQ'it'' = 1
u = 1'QQQ
'''.replace("QQQ", "'" * 3)
    assert lines(text) == {"a": 2, "i": 7, 'i."j.k"': 7, 'i."j.k"."l\\"m "': 7, 'i."j.k"."l\\"m ".n': 7,
                           'i."j.k"."l\\"m ".n.o': 7, 'i."j.k"."l\\"m ".q': 7, 'i."j.k"."l\\"m ".q.r': 7, "t": 8}


def test_keys_in_lists_have_no_line_and_do_not_disturb_the_others() -> None:
    text = "[[a.b]]\nc = 1\n[a.b.d]\ne = 1\n[[a.b]]\nc = 2\n[[a.b.f]]\n[a.g]\nh = 1\n[a]\ni = { }\n"
    assert lines(text) == {"a": 1, "a.b": 1, "a.g": 8, "a.g.h": 9, "a.i": 11}


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2", "[a", "]", "a = " + "[" * 100_000, "a = 1]"])
def test_what_is_not_toml_has_no_lines(text: str) -> None:
    assert lines(text) == {}


# --- any file --------------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b-c", "7", "limit"]) | st.text(max_size=4)
NOISE = st.sampled_from(["", "", "\n", "# a = 1\n", "\t\n#[a]\n", "\r\n"])
texts = st.text(max_size=6) | st.sampled_from(["\na = 1\n", "[a]", "'''", '"""', '\\"', "a]\n#", "{a = 1}"])
leaves = st.integers() | st.booleans() | texts
inner = st.recursive(leaves, lambda each: st.lists(each, max_size=3) | st.dictionaries(names, each, max_size=2))
tables = st.recursive(
    st.dictionaries(names, inner, max_size=3), lambda each: st.dictionaries(names, each | inner, max_size=3)
)


class Writer:
    """A table as TOML, in one of the many ways, and the line of each key as it was written."""

    def __init__(self, draw: Any) -> None:
        self.draw, self.text = draw, ""
        self.at: dict[str, int] = {}

    def put(self, text: str) -> None:
        self.text += text

    def note(self, steps: list[str]) -> None:
        for end in range(1, len(steps) + 1):
            self.at.setdefault(dotted(steps[:end]), self.text.count("\n") + 1)

    def name(self, name: str) -> str:
        """Bare, or in either kind of quotes, where it can be so."""
        ways = [json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f"), dotted([name])]
        ways += [f"'{name}'"] if name.isprintable() and "'" not in name else []
        return str(self.draw(st.sampled_from(ways)))

    def key(self, steps: list[str]) -> None:
        self.put(self.draw(st.sampled_from([".", " . ", "\t."])).join(map(self.name, steps)))

    def value(self, value: Any, steps: list[str] | None) -> None:
        """`steps` is None within lists."""
        if isinstance(value, dict):
            self.put("{")
            for number, (name, each) in enumerate(value.items()):
                self.put(", " if number else " ")
                below = None if steps is None else [*steps, name]
                if below:
                    self.note(below)
                self.key([name])
                self.put(" = ")
                self.value(each, below)
            self.put("}")
        elif isinstance(value, list):
            self.put("[")
            for each in value:
                self.put(self.draw(NOISE))
                self.value(each, None)
                self.put(",")
            self.put(self.draw(NOISE) + "]")
        elif isinstance(value, str):
            quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            ways = [quoted, f'""{quoted}""', f'"""\n{quoted[1:-1]}"""']
            if "'''" not in value and value.replace("\n", "").isprintable():
                ways.append(f"'''{value}'''")
            if value.isprintable() and "'" not in value:
                ways.append(f"'{value}'")
            self.put(self.draw(st.sampled_from(ways)))
        else:
            self.put(str(value).lower())

    def table(self, table: dict[str, Any], steps: list[str]) -> None:
        """Its values first, some as tables in braces; then tables with heads of their own."""
        later = {}
        for name, value in table.items():
            if isinstance(value, dict) and self.draw(st.booleans()):
                later[name] = value
                continue
            self.put(self.draw(NOISE))
            self.note([*steps, name])
            self.key([name])
            self.put("=")
            self.value(value, [*steps, name])
            self.put(self.draw(st.sampled_from(["\n", " # a = 1\n", "\r\n"])))
        for name, value in later.items():
            self.put(self.draw(NOISE))
            self.note([*steps, name])
            self.put("[")
            self.key([*steps, name])
            self.put("]\n")
            self.table(value, [*steps, name])


@given(st.data(), tables)
def test_a_named_line_holds_the_key(data: st.DataObject, table: dict[str, Any]) -> None:
    writer = Writer(data.draw)
    writer.table(table, [])
    assert lines(writer.text) == writer.at


PIECES = [
    "a", "b", ".", "=", " ", "\n", "[", "]", "[[", "]]", "{", "}", ",", '"', "'", '"""', "'''", "#", "1", "\\", "\r\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_no_text_is_too_odd(text: str) -> None:
    rows = text.split("\n")
    for key, line in lines(text).items():
        assert steps_of(key)[-1] in rows[line - 1]
