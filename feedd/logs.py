"""structlog, set up once: what feedd and its libraries say -> one line each on a stream.

`console` is a short event and `key=value` pairs, in colour on a terminal; `journald` the same for systemd's journal,
which has a time of its own and is told the priority; `json` is an object a line. Nothing in a value can forge a line,
move a terminal's cursor or make logging fail: odd characters are escaped, and a stream that cannot be written to is
let be. The command line calls `configure`; modules log through `structlog.get_logger()`.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Format = Literal["auto", "console", "journald", "json"]
Level = Literal["debug", "info", "warning", "error"]

# Controls of any kind, line separators, marks that reverse the order of text, and lone surrogates
# (how Python holds the bytes of a path that is not UTF-8).
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NEEDS_QUOTES = re.compile(r"[\s=\"'\\]|^$")
_NAMED_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_DEEPEST = 8
_OURS = frozenset({"timestamp", "level", "exception"})  # keys that no caller can set

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}  # of syslog, see sd-daemon(3)

_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_LEVEL_COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_LEVEL_COLOURS["critical"] = "\x1b[1;31m"


def configure(format: Format = "auto", level: Level = "info", stream: TextIO | None = None) -> None:
    """Send every log line from `level` upwards to `stream` (stderr). May be called again, for another format or level.

    The standard library's loggers, and so watchdog's and APScheduler's, come along from "warning" upwards.
    """
    out = stream or sys.stderr
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _stamp, _renderer(format, out)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Factory(out),
        cache_logger_on_first_use=False,  # or a second call would not reach loggers already used
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Forward)]:
        root.removeHandler(handler)
    root.addHandler(_Forward())
    root.setLevel(logging.ERROR if level == "error" else logging.WARNING)


def escape(text: str) -> str:
    """The text on one line, with every character that is not to be trusted written as an escape."""
    return _ODD.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    return _NAMED_ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _renderer(format: Format, stream: TextIO) -> Processor:
    if format == "json":
        return _json_line
    if format == "journald" or (format == "auto" and is_journal(stream)):
        return _journal_lines
    return _console_line_in_colour if _takes_colour(stream) else _console_line


def is_journal(stream: TextIO) -> bool:
    """Whether what is written there goes to systemd's journal: the variable names the file it gave us.

    systemd.exec(5), $JOURNAL_STREAM: programs that are started by us inherit the variable, and not always the file.
    """
    try:
        found = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):  # not a file, or a closed one
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _takes_colour(stream: TextIO) -> bool:
    try:
        terminal = stream.isatty()
    except (AttributeError, ValueError):  # not a file, or a closed one
        return False
    return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# --- streams ---------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes whole lines. Logging must not stop the daemon: what the stream refuses is lost without a word."""

    def __init__(self, stream: TextIO, lock: threading.Lock) -> None:
        self._stream, self._lock = stream, lock

    def write(self, line: str) -> None:
        with self._lock:
            try:
                try:
                    self._stream.write(line)
                except UnicodeEncodeError:  # a stream that is not UTF-8
                    encoding = self._stream.encoding
                    self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
                self._stream.flush()
            except (OSError, ValueError):  # full disk, closed pipe, closed file
                pass

    debug = info = warning = error = critical = write


class _Factory:
    def __init__(self, stream: TextIO) -> None:
        self._writer = _Writer(stream, threading.Lock())

    def __call__(self, *names: object) -> _Writer:
        return self._writer


class _Forward(logging.Handler):
    """A record of the standard library becomes an event, with its logger's name."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit the message
            message = str(record.msg)
        names = ((logging.CRITICAL, "critical"), (logging.ERROR, "error"), (logging.WARNING, "warning"))
        method = next((name for least, name in names if record.levelno >= least), "info")
        log = structlog.get_logger().bind(logger=record.name)
        getattr(log, method)(message.rstrip(), **({"exc_info": record.exc_info} if record.exc_info else {}))


# --- lines -----------------------------------------------------------------------------------------------------------


def _stamp(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    stamped = {"timestamp": now, "level": method, "event": event.pop("event", "")}
    return stamped | {key + "_" if key in _OURS else key: value for key, value in event.items()}


def _json_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    values = {_key(key): _plain(value, 0) for key, value in event.items() if key != "exc_info"}
    trace = _trace(event.get("exc_info"))
    if trace:
        values["exception"] = _SURROGATE.sub(_escaped, trace)
    # JSON's own escapes keep newlines; the odd characters that it would let through can only be inside texts
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _ODD.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def _console_line(logger: WrappedLogger, method: str, event: EventDict) -> str:
    return _console(event, lambda style, text: text)


def _console_line_in_colour(logger: WrappedLogger, method: str, event: EventDict) -> str:
    return _console(event, lambda style, text: f"{style}{text}{_RESET}")


def _journal_lines(logger: WrappedLogger, method: str, event: EventDict) -> str:
    """Each line, those of a trace as well, begins with its priority: the journal takes lines one by one."""
    priority = f"<{_PRIORITIES[event['level']]}>"
    lines = _console({**event, "timestamp": ""}, lambda style, text: text)
    return priority + lines.rstrip("\n").replace("\n", "\n" + priority) + "\n"


def _console(event: EventDict, paint: Callable[[str, str], str]) -> str:
    rest = dict(event)
    stamp, level, exc_info = rest.pop("timestamp"), rest.pop("level"), rest.pop("exc_info", None)
    said = [*([paint(_DIM, stamp)] if stamp else []), paint(_LEVEL_COLOURS.get(level, ""), f"{level:<8}")]
    said.append(paint(_BOLD, escape(_text(rest.pop("event")))))
    pairs = [f"{paint(_DIM, escape(_key(key)) + '=')}{_quoted(_shown(value))}" for key, value in rest.items()]
    line = " ".join([*said, "", *pairs]) if pairs else " ".join(said)
    # a trace's lines are marked, so that none can pass for a line of the log
    return "\n    | ".join([line, *map(escape, _trace(exc_info).splitlines())]) + "\n"


def _quoted(text: str) -> str:
    safe = escape(text)
    if safe == text and not _NEEDS_QUOTES.search(text):
        return text
    return '"' + escape(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _shown(value: object) -> str:
    if isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str | int) for item in value):
        return ",".join(map(_shown, value)) or "none"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return json.dumps(_plain(value, 0), ensure_ascii=False)
    return json.dumps(value) if value is None or isinstance(value, bool) else _text(value)


def _plain(value: object, depth: int) -> object:
    """The value as JSON can hold it, whatever it is."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and -1e300 < value < 1e300:  # not NaN, and no number of 5,000 digits
        return value
    if isinstance(value, str):
        return _SURROGATE.sub(_escaped, value)
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_plain(item, depth + 1) for item in value]
    return _SURROGATE.sub(_escaped, _text(value))


def _text(value: object) -> str:
    try:
        if isinstance(value, datetime.datetime):
            return value.isoformat()
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        return str(value)
    except Exception:  # a broken __str__ is not worth a crash
        return f"<{type(value).__name__}>"


def _key(key: object) -> str:
    return re.sub(r"[\s=]", "_", _SURROGATE.sub(_escaped, _text(key)))


def _trace(exc_info: object) -> str:
    """The traceback that belongs to `exc_info` as loggers take it: an exception, a triple, or true; else empty."""
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(error, BaseException):
        return ""
    return "".join(traceback.format_exception(error)).rstrip()
