"""A YAML document -> plain data, exactly as `yaml.safe_load` gives it, built from libyaml's events.

libyaml's events come from a state machine that does not recurse, so a limit on depth stops nesting bombs; limits
on nodes and aliases stop the others. Keys called `secured` are dropped while building. On purpose unlike safe_load:
merge keys, recursive aliases, aliases into what was dropped, numbers of more than MAX_NUMBER characters, lone
surrogates in escapes, and documents beyond the limits are errors. Called by `frontmatter`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import yaml
from yaml._yaml import CParser
from yaml.constructor import SafeConstructor
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.nodes import ScalarNode

MAX_DEPTH: Final = 64
MAX_NODES: Final = 50_000  # after aliases are expanded
MAX_ALIASES: Final = 100
MAX_NUMBER: Final = 1000  # characters of a number, date or other value that is not text
MAX_DIRECTIVES: Final = 32  # libyaml compares each %TAG with all before it
DROPPED: Final = "secured"

_CORE = "tag:yaml.org,2002:"
_STR = _CORE + "str"
_SAFE = SafeConstructor()
_CONSTRUCT: dict[str, Callable[[ScalarNode], Any]] = {
    _CORE + name: getattr(_SAFE, f"construct_yaml_{name}")
    for name in ("null", "bool", "int", "float", "binary", "timestamp", "str")
}
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers
_UNREADABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COLON_HINT = " (a value may not hold a colon and a space like that: quote the value)"

# What an open container collects. A PAIR is a mapping directly inside PAIRS.
_LIST, _MAP, _SET, _PAIRS, _PAIR = range(5)
_SEQUENCE_KINDS = {None: _LIST, "!": _LIST, _CORE + "seq": _LIST, _CORE + "omap": _PAIRS, _CORE + "pairs": _PAIRS}
_MAPPING_KINDS = {None: _MAP, "!": _MAP, _CORE + "map": _MAP, _CORE + "set": _SET}


class _Mark:
    """Stands for something that no document can hold; compared by identity."""


_NOTHING: Any = _Mark()
_UNFINISHED: Any = _Mark()  # the anchor of a node that is still open
_GONE: Any = _Mark()  # what was dropped
_EQUALS: Any = _Mark()  # a plain `=`: text as a key, without a meaning elsewhere


class YamlError(Exception):
    """What is wrong, without any text of the document, and where: `index` counts characters."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.message, self.index = message, index


def load(document: str) -> Any:
    """What `yaml.safe_load` makes of the document, less `secured`. Raises YamlError."""
    unreadable = _UNREADABLE.search(document)
    if unreadable:
        raise YamlError("a character that YAML does not allow", unreadable.start())
    if document.count("\n%") >= MAX_DIRECTIVES:
        raise YamlError("too many lines that start with %", 0)
    try:
        return _build(CParser(document).get_event)
    except yaml.MarkedYAMLError as error:  # its problem is a fixed text of libyaml's
        problem = str(error.problem)
        hint = _COLON_HINT if problem.startswith("mapping values are not allowed") else ""
        mark = error.problem_mark
        raise YamlError(problem + hint, mark.index if mark else 0) from None


def _build(get_event: Callable[[], Event | None]) -> Any:
    """The loop over events: `here` is the open container, `kind` what it collects, `key` the key that waits."""
    get_event()  # the stream starts
    if type(get_event()) is StreamEndEvent:
        return None
    anchors: dict[str, tuple[Any, int]] = {}  # name -> value and its number of nodes
    above: list[tuple[Any, int, Any, str | None, int]] = []
    here: Any = []
    kind, key, anchor, begun = _LIST, _NOTHING, None, 0
    nodes = aliases = 0
    while True:
        event: Any = get_event()
        what = type(event)
        if what is ScalarEvent:
            nodes += 1
            value = _scalar(event)
            if event.anchor is not None:
                _declare(anchors, event, value)
        elif what is MappingStartEvent or what is SequenceStartEvent:
            nodes += 1
            if len(above) >= MAX_DEPTH:
                raise _at(event, f"nested more than {MAX_DEPTH} deep")
            above.append((here, kind, key, anchor, begun))
            kind = _kind(event, kind)
            here, key, anchor, begun = [] if kind in (_LIST, _PAIRS, _PAIR) else {}, _NOTHING, event.anchor, nodes
            if anchor is not None:
                _declare(anchors, event, _UNFINISHED)
            continue
        elif what is MappingEndEvent or what is SequenceEndEvent:
            value = set(here) if kind == _SET else here
            if anchor is not None:
                anchors[anchor] = (_GONE if kind == _PAIR else value, nodes - begun + 1)
            here, kind, key, anchor, begun = above.pop()
        elif what is AliasEvent:
            aliases += 1
            value, size = _aliased(anchors, event, aliases)
            nodes += size
        else:  # the document ends
            break
        if nodes > MAX_NODES:
            raise _at(event, f"more than {MAX_NODES:,} values, with aliases expanded")
        if key is _NOTHING and kind in (_MAP, _SET, _PAIR):
            key = _key(value, event, kind)
            if key == DROPPED:
                nodes += _skip(get_event, anchors, len(above))
                if kind == _PAIR:
                    here.append(_GONE)
                key = _NOTHING
            continue
        if value is _EQUALS:
            raise _at(event, "a value that is only =, which has no meaning in YAML 1.1: quote it")
        if kind == _LIST:
            here.append(value)
        elif kind == _PAIRS:
            _add_pair(here, value, event)
        elif kind == _PAIR:
            here.append((key, value))
            key = _NOTHING
        else:
            here[key] = value
            key = _NOTHING
    event = get_event()
    if type(event) is not StreamEndEvent:
        raise _at(event, "a second document starts here")
    return here[0]


def _at(event: Any, message: str) -> YamlError:
    return YamlError(message, event.start_mark.index)


def _kind(event: Any, parent: int) -> int:
    """What the container that starts with this event collects."""
    mapping = type(event) is MappingStartEvent
    if parent == _PAIRS and mapping:
        return _PAIR
    kind = (_MAPPING_KINDS if mapping else _SEQUENCE_KINDS).get(event.tag)
    if kind is None:
        raise _at(event, "a tag that does not fit here")
    return kind


def _key(value: Any, event: Any, kind: int) -> Any:
    if value is _EQUALS:
        return "="
    if kind != _PAIR:
        try:
            hash(value)
        except TypeError:
            raise _at(event, "a key that is a list or a mapping") from None
    return value


def _add_pair(pairs: list[Any], value: Any, event: Any) -> None:
    if type(event) is not MappingEndEvent or type(value) is not list or len(value) != 1:
        raise _at(event, "an ordered map or pairs must hold mappings with one key each")
    if value[0] is not _GONE:
        pairs.append(value[0])


def _declare(anchors: dict[str, tuple[Any, int]], event: Any, value: Any) -> None:
    if event.anchor in anchors:
        raise _at(event, "an anchor is declared twice")
    anchors[event.anchor] = (value, 1)


def _aliased(anchors: dict[str, tuple[Any, int]], event: Any, aliases: int) -> tuple[Any, int]:
    value, size = anchors.get(event.anchor, (_NOTHING, 0))
    if value is _NOTHING:
        raise _at(event, "an alias without its anchor")
    if value is _UNFINISHED:
        raise _at(event, "an alias inside the node that it stands for")
    if value is _GONE:
        raise _at(event, "an alias of something that cannot be used here")
    if aliases > MAX_ALIASES:
        raise _at(event, f"more than {MAX_ALIASES} aliases")
    return value, size


def _skip(get_event: Callable[[], Event | None], anchors: dict[str, tuple[Any, int]], depth: int) -> int:
    """Leaves out one node; how many nodes it held."""
    inside = nodes = 0
    while True:
        event: Any = get_event()
        what = type(event)
        if what is MappingEndEvent or what is SequenceEndEvent:
            inside -= 1
        else:
            nodes += 1
            if what is AliasEvent:
                if event.anchor not in anchors:
                    raise _at(event, "an alias without its anchor")
            elif event.anchor is not None:
                _declare(anchors, event, _GONE)
            if what is MappingStartEvent or what is SequenceStartEvent:
                inside += 1
                if depth + inside > MAX_DEPTH:
                    raise _at(event, f"nested more than {MAX_DEPTH} deep")
            if nodes > MAX_NODES:
                raise _at(event, f"more than {MAX_NODES:,} values")
        if inside == 0:
            return nodes


def _scalar(event: Any) -> Any:
    text, tag = event.value, event.tag
    try:
        if tag is not None and tag != "!":
            return _construct(tag, text)
        if not event.implicit[0]:
            return text
        return _plain(text) if len(text) <= 64 else _construct(_resolve(text), text)
    except ValueError as error:
        raise _at(event, str(error)) from None


@lru_cache(maxsize=4096)
def _plain(text: str) -> Any:
    return _construct(_resolve(text), text)


def _resolve(text: str) -> str:
    """The tag of a plain scalar, by YAML 1.1's patterns as PyYAML has them."""
    for tag, pattern in _RESOLVERS.get(text[:1], ()):
        if pattern.match(text):
            return tag
    return _STR


def _construct(tag: str, text: str) -> Any:
    """PyYAML's value of a scalar. ValueError, fit for a user and without the value, where it has none."""
    if tag == _STR:
        return text
    if tag == _CORE + "value":
        return _EQUALS
    if tag == _CORE + "merge":
        raise ValueError("merge keys (<<) are not supported")
    construct = _CONSTRUCT.get(tag)
    if construct is None:
        raise ValueError("a tag that does not fit here")
    name = tag.removeprefix(_CORE)
    if len(text) > MAX_NUMBER and name != "binary":
        raise ValueError(f"a {name} of more than {MAX_NUMBER:,} characters")
    try:
        return construct(ScalarNode(tag, text))
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError):
        raise ValueError(f"not a valid {name}") from None
