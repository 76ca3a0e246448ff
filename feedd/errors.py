"""Every error feedd raises on purpose, as one tree; the key (path, line, field) is an attribute.

Anything else that escapes is a defect: it is logged as critical and stops the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


class FeeddError(Exception):
    """The root. `str(error)` is a sentence fit for an operator."""


class ArticleError(FeeddError):
    """An article or metadata file that cannot be read as one.

    `line` and `column` count from 1; 0 where the error has no place in the text. `field` is dotted
    (`related.2.webUrl`), empty where none is meant. Never carries a value from the file: it may be secret.
    """

    def __init__(self, path: str, message: str, *, line: int = 0, column: int = 0, field: str = "") -> None:
        super().__init__(message)
        self.path, self.message, self.line, self.column, self.field = path, message, line, column, field

    def __str__(self) -> str:
        place = self.path + (f":{self.line}:{self.column}" if self.line else "")
        return f"{place}: {self.field + ': ' if self.field else ''}{self.message}"


class ConfigError(FeeddError):
    """config.toml cannot be used. `problems`: one (dotted key, what is wrong and what is allowed) each.

    `lines`: key -> line, of those whose place is known; of the whole file with the key "".
    """

    def __init__(self, path: str, problems: list[tuple[str, str]], lines: Mapping[str, int] | None = None) -> None:
        self.path, self.problems, self.lines = path, problems, lines or {}
        super().__init__("\n".join(self.sentences()))

    def sentences(self) -> list[str]:
        """One for each problem, in the order of the file; those whose place is not known come last."""
        said = [(self.lines.get(key, 0), key, what) for key, what in self.problems]
        said.sort(key=lambda problem: problem[0] or float("inf"))
        return [located(self.path, line, key, what) for line, key, what in said]


def located(path: str, line: int, key: str, what: str) -> str:
    """A sentence about a key of config.toml, with its place as editors know it; 0 is no line.

    >>> located("config.toml", 12, "server.port", "is wrong")
    'config.toml:12: [server] port: is wrong'
    """
    last = _LAST_STEP.search(key)
    table = key[: last.start()].rstrip(".") if last else ""
    shown = f"[{table}] {key[len(table) + 1 :]}" if table else key
    return f"{path}{f':{line}' if line else ''}: {f'{shown}: ' if shown else ''}{what}"


_LAST_STEP = re.compile(r"""(?:[^".]+|"(?:[^"\\]|\\.)*")$""")


class StateError(FeeddError):
    """The state cannot be used as it is."""


class StateTooNewError(StateError):
    """Written by a newer feedd than this one."""


class StateLockedError(StateError):
    """Another feedd works on this state."""


class WorkerError(FeeddError):
    """A process that did a part of the work was ended by somebody else, or could not be started."""


class OutputError(FeeddError):
    """A feed could not be written: full disk, read-only output. The last good one stays."""


def in_words(error: BaseException) -> str:
    """What the system says of an error, to stand within a sentence."""
    return (getattr(error, "strerror", "") or str(error)).lower()
