"""Front matter bytes -> plain data, as `yaml.safe_load` gives it less `secured`, and the body after it.

Two lanes: the fast one reads what machines write, line by line, and gives up on anything whose meaning in YAML 1.1
is not certain; then `yamldata` decides. Tests hold both equal to safe_load. Called by `parse`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from json.decoder import scanstring  # type: ignore[attr-defined]  # there since Python 2.7, not in the stubs
from typing import Any, Final

import yaml
from yaml.cyaml import CSafeLoader
from yaml.nodes import MappingNode, Node, SequenceNode

from feedd import errors, yamldata

MAX_FILE: Final = 8 << 20  # bytes
MAX_FRONT_MATTER: Final = 256 << 10  # characters

_DROPPED = yamldata.DROPPED
_CLOSING = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_OPENING = re.compile(r"---[ \t]*(?:\r?\n|\Z)")


def load(data: bytes, path: str, *, yaml_only: bool = False) -> tuple[dict[str, Any], str]:
    """(front matter, body) of a file; with `yaml_only` all of it is the document and the body is empty.

    UTF-8, with or without a BOM, any line ends. Raises errors.ArticleError with line and column in the file.
    """
    text = _decode(data, path)
    front, body, start = (text, "", 0) if yaml_only else _split(text, path)
    if len(front) > MAX_FRONT_MATTER:
        raise _error(path, text, start, f"the front matter is longer than {MAX_FRONT_MATTER:,} characters")
    fields = fast(front)
    if fields is not None:
        return fields, body
    try:
        value = yamldata.load(front)
    except yamldata.YamlError as trouble:
        raise _error(path, text, start + trouble.index, trouble.message) from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise _error(path, text, start, "the front matter must be a mapping, lines of `key: value`")
    return value, body


def locate(data: bytes, path: str, field: str, *, yaml_only: bool = False) -> tuple[int, int]:
    """Line and column, from 1, of a dotted field in a file that `load` accepts; of its parent where it is missing."""
    text = _decode(data, path)
    front, _, start = (text, "", 0) if yaml_only else _split(text, path)
    node: Node | None = yaml.compose(front, Loader=CSafeLoader)  # recursion is bounded: `load` has seen the depth
    found = start
    for part in field.split("."):
        step: Node | None = None
        if isinstance(node, MappingNode):
            step = next((value for key, value in reversed(node.value) if key.value == part), None)
        elif isinstance(node, SequenceNode) and part.isdecimal() and int(part) < len(node.value):
            step = node.value[int(part)]
        if step is None:
            break
        node, found = step, start + step.start_mark.index
    return _place(text, found)


def _decode(data: bytes, path: str) -> str:
    if len(data) > MAX_FILE:
        raise errors.ArticleError(path, f"the file is larger than {MAX_FILE >> 20} MiB", line=1, column=1)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _error(path, data[: error.start].decode(), error.start, "not UTF-8 text") from None
    if text[:1] == "\ufeff":
        text = text[1:]
    if b"\0" in data:
        raise _error(path, text, text.index("\0"), "a NUL byte: not a text file")
    return text


def _split(text: str, path: str) -> tuple[str, str, int]:
    """(front matter, body, index where the front matter starts)."""
    if text[:4] == "---\n":
        start = 4
    else:
        opening = _OPENING.match(text)
        if opening is None:
            raise _error(path, text, 0, "no front matter: the first line must be ---")
        start = opening.end()
    end = text.find("\n---", start - 1)
    if end != -1 and text[end + 4 : end + 5] in ("\n", ""):
        return text[start : end + 1], text[end + 5 :], start
    closing = _CLOSING.search(text, start)
    if closing is None:
        raise _error(path, text, 0, "the front matter does not end: a line --- is missing")
    return text[start : closing.start()], text[closing.end() + 1 :], start


def _place(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    line = before.count("\n") + before.count("\r") - before.count("\r\n") + 1
    return line, index - max(before.rfind("\n"), before.rfind("\r"))


def _error(path: str, text: str, index: int, message: str) -> errors.ArticleError:
    line, column = _place(text, min(index, len(text)))
    return errors.ArticleError(path, message, line=line, column=column)


# --- the fast lane ----------------------------------------------------------------------------------------------


class _Unsure(Exception):
    """Left to the general lane."""


class _Memo(dict[str, Any]):
    """Remembers what `compute` says about short strings, up to a number of them; never holds a `secured` value."""

    def __init__(self, compute: Callable[[str], Any]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, text: str) -> Any:
        value = self._compute(text)
        if len(self) < 4096 and len(text) <= 64 and not isinstance(value, date):
            self[text] = value
        return value


_KEY = re.compile(r"( {0,20})(- )?([A-Za-z_][\w-]{0,60})", re.ASCII)
_ITEM = re.compile(r"( {0,20})- (.+)")
_WORDS = re.compile(r"[^\W\d_](?:[\w .,'’“”–—…&()+/!?%$@*=~|-]*[\w.,'’“”…&()+/!?%$@*=~|-])?")
_LINK = re.compile(r"(?:https?://|/)[A-Za-z0-9/._~?=&%+@,;!$'()*:-]*[A-Za-z0-9/_=-]")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]{0,8})\.[0-9]{1,9}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONSTANTS: dict[str, bool | None] = {
    **{form: True for word in ("yes", "true", "on") for form in (word, word.title(), word.upper())},
    **{form: False for word in ("no", "false", "off") for form in (word, word.title(), word.upper())},
    **dict.fromkeys(("null", "Null", "NULL", "")),
}
_CONTROLS = bytes(range(10)) + bytes(range(11, 32)) + b"\x7f"
_NOT_FAST = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def _plain_scalar(text: str) -> Any:
    """The value of a plain scalar whose meaning in YAML 1.1 is certain."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _WORDS.fullmatch(text) or _LINK.fullmatch(text):
        return text
    try:
        if _MOMENT.fullmatch(text):
            return datetime.fromisoformat(text)
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        raise _Unsure from None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    raise _Unsure


def _quoted_scalar(text: str) -> str:
    """A double-quoted scalar on one line, with escapes that mean the same in JSON and YAML."""
    inner = text[1:-1]
    if len(text) < 2 or text[-1] != '"':
        raise _Unsure
    if "\\" not in inner:
        if '"' in inner:
            raise _Unsure
        return inner
    if "\\u" in inner:  # JSON joins surrogates, YAML does not
        raise _Unsure
    try:
        value, end = scanstring(text, 1)
    except ValueError:
        raise _Unsure from None
    if end != len(text):
        raise _Unsure
    return str(value)


def _key(prefix: str) -> tuple[int, int, str]:
    """(level of the container it belongs to, level of the mapping it is in, key).

    The level of a mapping in column c is 2c, of a list 2c + 1: an order of nesting, as a list may
    stand in the column of the key that it belongs to.
    """
    match = _KEY.fullmatch(prefix)
    if match is None or match[3] in _CONSTANTS:
        raise _Unsure
    column = len(match[1])
    return (2 * column + 1, 2 * column + 4, match[3]) if match[2] else (2 * column, -1, match[3])


def _item(line: str) -> tuple[int, Any]:
    """(level of the list, value) of a line that is a scalar in a list."""
    match = _ITEM.fullmatch(line)
    if match is None:
        raise _Unsure
    value = match[2]
    return 2 * len(match[1]) + 1, _quoted_scalar(value) if value[0] == '"' else _plain_scalar(value)


_KEYS = _Memo(_key)
_ITEMS = _Memo(_item)
_PLAIN = _Memo(_plain_scalar)
MEMOS: Final = (_KEYS, _ITEMS, _PLAIN)


def fast(front: str) -> dict[str, Any] | None:
    """The data of front matter in the shape that machines write, or None: then the general lane decides."""
    if len(front) > 65_536:
        return None
    if "\r" in front:
        front = front.replace("\r\n", "\n")
    if front.isascii():
        octets = front.encode()
        if len(octets.translate(None, _CONTROLS)) != len(octets):
            return None
    elif not front.replace("\n", " ").isprintable() and _NOT_FAST.search(front):
        return None
    try:
        return _assemble(front)
    except _Unsure:
        return None


def _assemble(front: str) -> dict[str, Any]:
    """Lines to data. `here` is the open container, `level` its level (see `_key`), `above` those around it."""
    root: dict[str, Any] = {}
    here: Any = root
    level = 0
    above: list[tuple[int, Any]] = []
    waiting: str | None = None  # the key in `here` whose value starts on a later line, if it has one
    keys, plain = _KEYS, _PLAIN
    for line in front.split("\n"):
        if not line:
            continue
        prefix, colon, value = line.partition(": ")
        if colon or line[-1] == ":":
            wanted, inner, key = keys[prefix if colon else line[:-1]]
        else:
            wanted, item = _ITEMS[line]
            inner, key = -1, None
        if wanted != level:
            if waiting is not None and wanted > level:
                child: Any = [] if wanted & 1 else {}
                here[waiting] = child
                above.append((level, here))
                here, level = child, wanted
            else:
                while level > wanted:
                    level, here = above.pop()
                if level != wanted:
                    raise _Unsure
        waiting = None
        if key is None:
            here.append(item)
            continue
        if inner >= 0:
            above.append((level, here))
            here.append(child := {})
            here, level = child, inner
        if not value:
            if key == _DROPPED:
                raise _Unsure
            here[key] = None
            waiting = key
        elif value[0] == '"':
            text = value[1:-1]
            if value[-1] != '"' or "\\" in text or '"' in text or not text:
                text = _quoted_scalar(value)
            if key != _DROPPED:
                here[key] = text
        elif key == _DROPPED:
            raise _Unsure
        else:
            here[key] = plain[value]
    return root
