"""Every error feedd raises on purpose, as one tree; the key (path, line, field) is an attribute.

Anything else that escapes is a defect: it is logged as critical and stops the process.
"""

from __future__ import annotations


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
    """config.toml cannot be used. `problems`: one (dotted key, what is wrong and what is allowed) each."""

    def __init__(self, path: str, problems: list[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{path}: {key + ': ' if key else ''}{what}" for key, what in problems))
        self.path, self.problems = path, problems


class StateError(FeeddError):
    """The state cannot be used as it is."""


class StateTooNewError(StateError):
    """Written by a newer feedd than this one."""


class StateLockedError(StateError):
    """Another feedd works on this state."""


class OutputError(FeeddError):
    """A feed could not be written: full disk, read-only output. The last good one stays."""


def in_words(error: OSError) -> str:
    """What the system says of an error, to stand within a sentence."""
    return (error.strerror or str(error)).lower()
