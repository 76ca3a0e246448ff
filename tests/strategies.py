"""Hypothesis strategies and sources that the tests of reading share: real files, YAML documents, texts, mutations.

Real files are the samples in articles/ and, where there is a ../shared beside the project, its seeds and corpora.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@cache
def sources() -> tuple[tuple[str, bytes], ...]:
    """(path, bytes) of every real file there is, in a stable order."""
    found: list[tuple[str, bytes]] = []
    for folder in (ROOT / "articles", SHARED / "seeds", SHARED / "corpus" / "real"):
        found += [
            (path.relative_to(folder).as_posix(), path.read_bytes())
            for path in sorted(folder.rglob("*"))
            if path.suffix in (".md", ".markdown", ".html", ".txt", ".yaml") and path.name != "README.md"
        ]
    return (("seed.md", SAMPLE), *found)


SAMPLE = """---
category: news
title: "A \\"quoted\\" title: still fine"
excerpt: "It’s an excerpt."
publishedDateTime: 2020-05-19T12:08:00Z
webUrl: "https://www.news.example/story/"
type: article
quality: 105
heat: -1
price: 9.50
published: true

provider:
  name: Example News
  domain: news.example
  images:
    - url: /assets/news.example-50x50.jpg
      width: 50
      height: 50

topics:
  - "Q&A <live>"
  - Computer Vision
  - AI

related:
  - title: "Another"
    publishedDateTime: 2020-05-18T10:00:00Z
    webUrl: "https://other.example/a"
    provider:
      name: Other
      domain: other.example
    images:
      - url: https://other.example/a.jpg
        width: 10
  - title: "A third"

secured: "c2VjcmV0"
---

A *body*.
""".encode()

# Text that YAML can hold, leaning towards what means something to it.
_ODD = st.sampled_from(
    ["", " ", "null", "~", "yes", "No", "1", "01", "0x1F", "1_000", "1e3", "1.5", ".inf", "2020-01-01", "12:30:45",
     "<<", "=", "- a", "a: b", "a #b", "#c", "'", '"', "\\", "[", "{", "&a", "*a", "!t", "|", ">", "%", "@", "`",
     "a\nb", "\n", "\t", "é", "’", "😀", "\x85", "\u2028", "\ufeff", "secured", "---", "...", "a: ",
     "key: value\n  other"]
)  # fmt: skip
texts = st.one_of(
    _ODD,
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20),
    st.text("ab :-#\"'", max_size=8),
)
scalars = st.one_of(
    texts,
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False),
    st.booleans(),
    st.none(),
    st.datetimes(),
    st.dates(),
    st.binary(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(texts, scalars), inner, max_size=4)),
    max_leaves=12,
)
mappings = st.dictionaries(st.one_of(texts, st.just("secured")), values, max_size=6)


@st.composite
def dumped(draw: st.DrawFn) -> str:
    """A mapping, written as YAML in one of many styles."""
    data: dict[str, Any] = draw(mappings)
    return yaml.safe_dump(
        data,
        default_flow_style=draw(st.sampled_from([True, False, None])),
        default_style=draw(st.sampled_from([None, '"', "'", "|", ">"])),
        allow_unicode=draw(st.booleans()),
        indent=draw(st.integers(2, 6)),
        width=draw(st.sampled_from([20, 80, 100_000])),
        line_break=draw(st.sampled_from(["\n", "\r\n"])),
        sort_keys=False,
    )


_words = st.sampled_from(
    ["article", "true", "No", "null", "105", "-1", "9.50", "010", "1_0", "0x1", "2020-05-19T12:08:00Z", "2020-13-19",
     "2020-02-30T00:00:00Z", "https://a.example/b?c=d", "https://a.example/b#c", "/a/b.jpg", "A - B", "A: B", "A #b",
     "PT20M33S", "Дмитрий", "’", "a, b", "it's", "[a]", "{}", "a:", "- a", "", " ", "~", "y", "1:30", ".5", "5.", "<<",
     "Q&A", "&a", "*a", "a  b", "a ", "'a'", "\\", '"', "a|b", "|", ">-", "@a", "%a", "!a", "?", "? a", "=", "a\tb"]
)  # fmt: skip


@st.composite
def machine_like(draw: st.DrawFn) -> str:
    """Lines as machines write them, mostly: the fast lane must know which of them it understands."""
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 10))):
        indent = " " * draw(st.sampled_from([0, 0, 0, 2, 2, 4, 6, 1, 3]))
        dash = draw(st.sampled_from(["", "", "", "- ", "-"]))
        key = draw(st.sampled_from(["title", "topics", "url", "_id", "secured", "yes", "null", "a-b", "2020", "é"]))
        value = draw(
            st.one_of(
                _words,
                st.builds(lambda text: json.dumps(text, ensure_ascii=False), texts),
                st.builds(json.dumps, texts),
            )
        )
        shape = draw(st.sampled_from(["pair", "pair", "pair", "key", "item", "blank", "raw", "comment"]))
        lines.append(
            {
                "pair": f"{indent}{dash}{key}: {value}",
                "key": f"{indent}{dash}{key}:",
                "item": f"{indent}- {value}",
                "blank": indent,
                "raw": f"{indent}{value}",
                "comment": f"{indent}# {value}",
            }[shape]
        )
    return draw(st.sampled_from(["\n", "\n", "\r\n"])).join(lines)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real file with some of its bytes or lines changed."""
    data = draw(st.sampled_from([content for _, content in sources()]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from([0, 0, 1, 1, 2, 10, 60]))
        new = draw(
            st.one_of(
                st.sampled_from(
                    [b"", b":", b": ", b"-", b"\n", b"  ", b"\n  ", b'"', b"'", b"#", b" #", b"[", b"{", b"&a ", b"*a ",
                     b"!!str ", b"|\n", b"\t", b"\\", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc2\x85", b"\xe2\x80\xa8",
                     b"<<: ", b"null", b"---\n", b"...\n", b"\r", b"99999999999", b"&amp;", b"<b>", b"%", b"http://[",
                     b"secured: x\n"]
                ),
                st.binary(max_size=3),
            )
        )  # fmt: skip
        data = data[:at] + new + data[at + length :]
    return data
