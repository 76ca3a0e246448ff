"""Whatever a file holds, `parse` gives an article or an ArticleError: never a crash, never long, never much memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import strategies
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feedd import errors, parse

# Each is Python that makes a file of bytes; they run in a process that may take 100 MB more than it had.
BOMBS = {
    "nested lists": "fm(b'a: ' + b'[' * 30_000)",
    "nested lists, 200 kB": "fm(b'a: ' + b'[' * 200_000)",
    "nested mappings": "fm(b'a: ' + b'{a: ' * 50_000)",
    "nested blocks": "fm(b'- ' * 100_000)",
    "nested keys": "fm(b'? ' * 100_000)",
    "nested by indentation": "fm(b''.join(b' ' * i + b'a:\\n' for i in range(600)))",
    "nested secured": "fm(b'secured: ' + b'[' * 200_000)",
    "laughs": "fm(b'a0: &a0 [x,x,x,x,x,x,x,x,x]\\n' + b''.join(b'a%d: &a%d [' % (i, i)"
    " + b','.join([b'*a%d' % (i - 1)] * 9) + b']\\n' for i in range(1, 30)))",
    "merge keys": "fm(b'a0: &a0 {x: 1}\\n' + b''.join(b'a%d: &a%d {<<: [' % (i, i)"
    " + b','.join([b'*a%d' % (i - 1)] * 9) + b']}\\n' for i in range(1, 30)))",
    "recursion": "fm(b'a: &a {b: *a}')",
    "many values": "fm(b'a: [' + b'x,' * 120_000 + b']')",
    "many secured values": "fm(b'secured: [' + b'x,' * 120_000 + b']')",
    "many lines": "fm(b'a: b\\n' * 50_000)",
    "many anchors": "fm(b''.join(b'a%d: &a%d 1\\n' % (i, i) for i in range(12_000)))",
    "many tags": "b'%TAG !a! b\\n' * 20_000 + b'---\\na: 1'",
    "long number": "fm(b'a: ' + b'9' * 250_000)",
    "long sexagesimal": "fm(b'a: 1' + b':1' * 120_000)",
    "long text": "fm(b'title: ' + b'x' * 250_000)",
    "long key": "fm(b'x' * 250_000 + b': 1')",
    "long title of marks": "fm(b'title: a' + '\\u0730\\u0731'.encode() * 30_000)",
    "long title of tags": "fm(b'title: \"' + b'<b ' * 20_000 + b'\"')",
    "long title of entities": "fm(b'title: \"' + b'&amp' * 1 + b';amp' * 15_000 + b'\"')",
    "mojibake": "fm(b'title: \"' + 'Ã©Œ '.encode() * 16_000 + b'\"')",
    "quoted, never closed": "fm(b'title: \"' + b'x\\n' * 100_000)",
    "comments": "fm(b'#\\n' * 120_000)",
    "huge front matter": "fm(b'a: b\\n' * 1_000_000)",
    "50 MB": "fm(b'title: x') + b'x' * 50_000_000",
    "8 MB of lines, then a wrong byte": "fm(b'title: x') + b'\\n' * 8_000_000 + b'\\xff'",
    "8 MB of dashes": "b'---\\n' + b'----\\n' * 1_600_000",
    "zeros": "bytes(1_000_000)",
    "every byte": "bytes(range(256)) * 4_000",
    "NUL in the body": "fm(b'title: x') + b'a\\0b'",
    "NUL in the front matter": "fm(b'title: \\0')",
    "surrogates": "fm(b'title: \\xed\\xa0\\x80')",
    "escaped surrogates": "fm(b'title: \"\\\\ud800\"')",
    "UTF-16": "'---\\ntitle: x\\n---\\n'.encode('utf-16')",
}
FINE = {"nested by indentation", "many lines", "many anchors", "long title of marks", "long title of tags",
        "long title of entities", "mojibake", "comments", "long key"}  # fmt: skip

_CHILD = """
import json, resource, sys, time
from feedd import errors, parse
import ftfy, markdown_it, nh3

def fm(front):
    return b"---\\n" + front + b"\\n---\\n"

for name, code in json.load(sys.stdin).items():
    data = eval(code)
    pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + 100_000_000, resource.RLIM_INFINITY))
    started = time.process_time()
    result = None
    try:
        parse.parse(data, "bomb.md", "https://news.example")
    except errors.ArticleError as error:
        result = [error.path, error.line, error.column, str(error)]
    print(json.dumps([name, time.process_time() - started, result]), flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_bombs_are_errors_within_a_second_and_100_mb() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _CHILD], input=json.dumps(BOMBS), cwd=strategies.ROOT, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    results = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [name for name, _, _ in results] == list(BOMBS)
    for name, seconds, error in results:
        assert seconds < 1, name
        if error is None:
            assert name in FINE, name
        else:
            path, line, column, message = error
            assert path == "bomb.md" and line >= 1 and column >= 1, name
            assert len(message) < 200, name


@settings(max_examples=300, deadline=None)
@given(strategies.mutated(), st.sampled_from(["a.md", "a.html", "_data/topics/a.yaml", "_data/organizations/a.md"]))
def test_only_article_errors_escape_from_damaged_files(data: bytes, path: str) -> None:
    read = parse.parse_metadata if parse.metadata_kind(path) else parse.parse
    try:
        read(data, path, "https://news.example")
    except errors.ArticleError as error:
        assert error.path == path
        assert error.line >= 1 and error.column >= 1


@settings(max_examples=150, deadline=None)
@given(strategies.dumped(), st.text(max_size=30))
@example("title: T\nimages: !!pairs [a: b]\nprovider: !!set {a}\ntopics: !!omap [a: b]\nrelated: !!binary aGk=", "")
@example("title: &a [1]\nexcerpt: *a\nrelated: &b {title: x}\nimages: *b", "")
@example("secured: {x: [&a b]}\ntitle: x\npublished: maybe", "")
def test_only_article_errors_escape_from_odd_documents(document: str, body: str) -> None:
    names = iter(["title", "published", "webUrl", "images", "related", "provider", "topics", "updatedDateTime", "heat"])
    keyed = re.sub(r"(?m)^[a-z ]+(?=:)", lambda match: next(names, match[0]), document)
    for text in (document, keyed):
        data = f"---\n{text}\n---\n{body}".encode(errors="replace")
        try:
            parse.parse(data, "a.md", "https://news.example")
        except errors.ArticleError as error:
            assert error.line >= 1 and error.column >= 1
