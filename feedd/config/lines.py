"""The text of a TOML file -> the line of each key in it, for messages: tomllib reads values and tells no places.

It looks for keys only, in a text that tomllib has read already, and is held to what that found: where the two differ
in a single key, no line is told rather than a wrong one. Used by `config`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

from feedd.config.messages import dotted

Steps = tuple[str, ...]

_STEP = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = rf"{_STEP}(?:[ \t]*\.[ \t]*{_STEP})*"
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_HEADER = re.compile(rf"(\[\[?)[ \t]*({_KEY})[ \t]*\]\]?")
_PAIR = re.compile(rf"({_KEY})[ \t]*=")
_PIECE = re.compile(  # of a value: a text, a comment, a mark, or what has no mark in it
    r'''"""(?:[^"\\]|\\.|"(?!""))*"{3,5}|"(?:[^"\\\n]|\\.)*"|'''
    r"""'''(?:[^']|'(?!''))*'{3,5}|'[^'\n]*'|#[^\n]*|[][{},\n]|[^][{},\n#"']+""",
    re.DOTALL,
)


def lines(text: str) -> dict[str, int]:
    """Dotted key -> its line, from 1; a table has that of its first mention. Keys within lists are left out.

    Nothing for a text that is not TOML.
    """
    found: dict[Steps, int] = {}
    lists: set[Steps] = set()
    line, counted = 1, 0
    try:
        known = set(_flat(tomllib.loads(text), ()))
        for at, steps, is_list in _keys(text):
            line, counted = line + text.count("\n", counted, at), at
            lists |= {steps} if is_list else set()
            for end in range(1, len(steps) + 1):
                found.setdefault(steps[:end], line)
                if steps[:end] in lists:
                    break
    except (ValueError, IndexError, RecursionError):
        return {}
    if found.keys() != known:
        return {}
    return {dotted(list(steps)): line for steps, line in found.items()}


def steps_of(key: str) -> Steps:
    """The names that a key consists of, as TOML writes them. Raises ValueError where it is none."""
    steps, inside = [], tomllib.loads(f"{key} = 0")
    while isinstance(inside, dict):
        ((step, inside),) = inside.items()
        steps.append(step)
    return tuple(steps)


def _keys(text: str) -> Iterator[tuple[int, Steps, bool]]:
    """Each header and each key with a value: where it begins, all of its steps, whether it heads one of a list.

    Raises ValueError where it does not understand the text.
    """
    table: Steps = ()
    current: Steps | None = ()
    open_marks: list[tuple[bool, Steps | None]] = []  # of { or not, and the key; None within lists, which have none
    wants_key, at = True, 0
    while at < len(text):
        if not wants_key:
            piece = _match(_PIECE, text, at)
            mark, at = piece[0], piece.end()
            if mark in ("[", "{"):
                is_in_list = bool(open_marks) and not open_marks[-1][0]
                open_marks.append((mark == "{", None if is_in_list else current))
                wants_key = mark == "{"
            elif mark in ("]", "}"):
                open_marks.pop()
            elif mark == ",":
                wants_key = open_marks[-1][0]
            elif mark == "\n":
                wants_key = not open_marks
        elif (at := _match(_BLANK, text, at).end()) < len(text):
            if open_marks and text[at] == "}":  # an empty table
                wants_key = False
            elif text[at] == "[":
                header = _match(_HEADER, text, at)
                table = steps_of(header[2])
                yield at, table, header[1] == "[["
                at = header.end()
            else:
                pair = _match(_PAIR, text, at)
                base = open_marks[-1][1] if open_marks else table
                current = None if base is None else base + steps_of(pair[1])
                if current is not None:
                    yield at, current, False
                wants_key, at = False, pair.end()


def _match(pattern: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    if not (found := pattern.match(text, at)):
        raise ValueError(at)
    return found


def _flat(table: dict[str, Any], steps: Steps) -> Iterator[Steps]:
    for name, value in table.items():
        yield (*steps, name)
        if isinstance(value, dict):
            yield from _flat(value, (*steps, name))
