"""What ends up on the stream, for terminals, files and machines, whatever is logged."""

from __future__ import annotations

import datetime
import io
import json
import logging
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from feedd import logs

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def console(level: logs.Level = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.configure("console", level, stream)
    return stream


def machine() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    return stream


def test_a_console_line_is_time_level_event_and_pairs() -> None:
    stream = console()
    structlog.get_logger().info("feed written", feed="topics/ai.atom", entries=50, cause="a b.md changed", late=False)
    line = stream.getvalue()
    assert re.fullmatch(
        STAMP + r' info     feed written  feed=topics/ai\.atom entries=50 cause="a b\.md changed" late=false\n', line
    )


def test_an_event_without_pairs_ends_with_the_event() -> None:
    stream = console()
    structlog.get_logger().info("up to date")
    assert stream.getvalue().endswith("info     up to date\n")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain/päth-東京.md", "plain/päth-東京.md"),
        ("", '""'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("x\n2026-01-01T00:00:00.000Z error    forged", r'"x\n2026-01-01T00:00:00.000Z error    forged"'),
        ("\x1b[2Jgone\x07", r'"\x1b[2Jgone\x07"'),
        ("a\u2028b\u202ec\x85", r'"a\u2028b\u202ec\x85"'),
        ("caf\udce9.md", r'"caf\udce9.md"'),
        (None, "null"),
        (2.5, "2.5"),
        (["site.title", "feeds.limit"], "site.title,feeds.limit"),
        (("feeds.topic.Open Source", "x"), '"feeds.topic.Open Source,x"'),
        ((True, 2), "true,2"),
        ([], "none"),
        (["a b", 1, {"k": None}], r'"[\"a b\", 1, {\"k\": null}]"'),
        (OSError(28, "No space left on device"), '"OSError: [Errno 28] No space left on device"'),
    ],
)
def test_console_values_are_quoted_and_escaped_when_they_must_be(value: object, shown: str) -> None:
    stream = console()
    structlog.get_logger().warning("x", value=value)
    assert stream.getvalue().split("  value=", 1)[1] == shown + "\n"


def test_what_is_below_the_level_is_not_written() -> None:
    stream = console("warning")
    log = structlog.get_logger()
    log.info("quiet")
    log.warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_json_has_one_object_a_line_with_time_level_and_event_first() -> None:
    stream = machine()
    structlog.get_logger().info("feed written", feed="é", size=3, keys=("a", "b"))
    found = json.loads(stream.getvalue())
    assert list(found) == ["timestamp", "level", "event", "feed", "size", "keys"]
    assert found["keys"] == ["a", "b"]  # a list, no text that holds one
    assert re.fullmatch(STAMP, found["timestamp"])
    assert (found["level"], found["feed"], found["size"]) == ("info", "é", 3)


def test_json_keeps_newlines_and_replaces_lone_surrogates_only() -> None:
    stream = machine()
    structlog.get_logger().info("x", path="a\nb\u2028c\x9b", name="caf\udce9")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert not re.search(r"[\u2028\x9b]", text)
    assert json.loads(text)["path"] == "a\nb\u2028c\x9b"
    assert json.loads(text)["name"] == "caf\\udce9"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else "deep"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (float("nan"), "nan"),
        pytest.param(10**5000, "<int>", id="huge"),
        (Broken(), "<Broken>"),
        ({("a", 1): {1.5}}, {"('a',_1)": [1.5]}),
        (logs, str(logs)),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "2026-01-02T00:00:00+00:00"),
    ],
)
def test_json_takes_any_value(value: object, kept: object) -> None:
    stream = machine()
    structlog.get_logger().info("x", value=value)
    assert json.loads(stream.getvalue())["value"] == kept


def test_values_may_be_nested_without_end() -> None:
    endless: list[object] = []
    endless.append(endless)
    for configured in (machine, console):
        stream = configured()
        structlog.get_logger().info("x", value=endless, deep=nested(50), map={"a": {"b": {}}})
        assert stream.getvalue().count("\n") == 1


def test_a_caller_cannot_pass_for_another_time_or_level() -> None:
    stream = machine()
    structlog.get_logger().info("x", level="error", timestamp="never")
    found = json.loads(stream.getvalue())
    assert (found["level"], found["level_"], found["timestamp_"]) == ("info", "error", "never")


@given(event=st.text(), key=st.text(min_size=1), value=st.text() | st.integers() | st.floats() | st.lists(st.text()))
def test_any_text_makes_one_line(event: str, key: str, value: object) -> None:
    pairs = {key + "\udc80": value} | {"text": key}
    for format in ("console", "journald", "json"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        logs.configure(format, "info", stream)
        structlog.get_logger().info(event.replace("%", ""), **pairs)
        written = stream.buffer.getvalue().decode()  # type: ignore[attr-defined]
        assert written.endswith("\n")
        assert len(written.splitlines()) == 1
        if format == "json":
            assert json.loads(written)["level"] == "info"


def test_a_traceback_cannot_pass_for_lines_of_the_log() -> None:
    forged = "2026-01-01T00:00:00.000Z info     all is well"
    stream = console()
    try:
        raise ValueError(f"bad\n{forged}\x1b[1m")
    except ValueError:
        structlog.get_logger().exception("broken")
    head, *trace = stream.getvalue().splitlines()
    assert head.endswith("error    broken")
    assert all(line.startswith("    | ") for line in trace)
    assert trace[-1] == f"    | {forged}\\x1b[1m"


def test_json_carries_the_traceback_as_text() -> None:
    stream = machine()
    error = ValueError("caf\udce9")
    structlog.get_logger().error("broken", exc_info=error)
    assert json.loads(stream.getvalue())["exception"] == "ValueError: caf\\udce9"


def test_exc_info_without_an_exception_adds_nothing() -> None:
    stream = machine()
    structlog.get_logger().error("fine", exc_info=True)
    assert "exception" not in json.loads(stream.getvalue())


def test_libraries_are_heard_from_warning_upwards() -> None:
    stream = machine()
    for name, emit in (("apscheduler.scheduler", "warning"), ("watchdog", "error"), ("asyncio", "critical")):
        getattr(logging.getLogger(name), emit)("%s was late", "job")
    logging.getLogger("apscheduler.scheduler").info("added a job")
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["logger"], line["level"], line["event"]) for line in found] == [
        ("apscheduler.scheduler", "warning", "job was late"),
        ("watchdog", "error", "job was late"),
        ("asyncio", "critical", "job was late"),
    ]


def test_a_librarys_own_level_finds_one_of_ours() -> None:
    stream = machine()
    chatty = logging.getLogger("chatty")
    chatty.setLevel(1)
    chatty.log(25, "notice")
    chatty.log(35, "alarm")
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == ["info", "warning"]
    chatty.setLevel(logging.NOTSET)


def test_a_librarys_traceback_and_broken_message_come_through() -> None:
    stream = machine()
    del logging.getLogger().handlers[:-1]  # pytest's own, which want every message well made
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("x").exception("%d of 100%", "many")
    found = json.loads(stream.getvalue())
    assert found["event"] == "%d of 100%"
    assert "ValueError: why" in found["exception"]


def test_configuring_again_replaces_what_was_there() -> None:
    first = console()
    log = structlog.get_logger()
    log.info("one")
    second = console("error")
    log.warning("two")
    logging.getLogger("lib").warning("three")
    logging.getLogger("lib").error("four")
    assert "one" in first.getvalue() and "four" not in first.getvalue()
    assert second.getvalue().count("\n") == 1 and "four" in second.getvalue()


def test_a_stream_that_is_not_utf8_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    logs.configure("console", "info", stream)
    structlog.get_logger().info("tōkyō", path="東.md")
    assert raw.getvalue().decode("ascii").endswith("t\\u014dky\\u014d  path=\\u6771.md\n")


def test_a_closed_stream_stops_nothing() -> None:
    stream = console()
    stream.close()
    structlog.get_logger().error("nobody hears this")
    logs.configure("auto", "info", stream)
    structlog.get_logger().error("nor this")


def written_to_terminal(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    try:
        with open(theirs, "w", closefd=True) as terminal:
            logs.configure("auto", "info", terminal)
            structlog.get_logger().info("hello", path="a b\x1b[0m")
            return os.read(ours, 4096).decode()
    finally:
        os.close(ours)


def test_a_terminal_gets_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    written = written_to_terminal({"TERM": "xterm"}, monkeypatch)
    assert "\x1b[1mhello\x1b[0m" in written
    assert '"a b\\x1b[0m"' in written


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in written_to_terminal(environment, monkeypatch)


def test_without_a_stream_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    structlog.get_logger().info("hello")
    out, err = capsys.readouterr()
    assert out == "" and "hello" in err and "\x1b" not in err


class Mute:
    """A stream that is no file."""

    def write(self, text: str) -> None:
        raise BrokenPipeError


def test_a_stream_that_is_no_file_will_do() -> None:
    stream: TextIO = Mute()  # type: ignore[assignment]
    logs.configure("auto", "info", stream)
    structlog.get_logger().info("hello")


# --- systemd's journal -----------------------------------------------------------------------------------------------

SAYS = """
import os, sys, structlog
from feedd import logs
logs.configure(sys.argv[1], "debug")
log = structlog.get_logger()
for level in ("debug", "info", "warning", "error", "critical"):
    getattr(log, level)("feed written", feed="all", cause="a b")
try:
    raise ValueError("bad\\n<0>forged")
except ValueError:
    log.exception("broken")
"""


def written_to_journal(format: logs.Format, *, names_another: bool = False) -> list[str]:
    """What feedd writes to a pipe that it is given as systemd gives it: as stderr, and named in the environment."""
    ours, theirs = os.pipe()
    with open(ours) as journal:
        try:
            found = os.fstat(theirs)
            named = f"{found.st_dev}:{found.st_ino + names_another}"
            environment = os.environ | {"JOURNAL_STREAM": named, "PYTHONPATH": os.pathsep.join(sys.path)}
            command = [sys.executable, "-P", "-c", SAYS, format]
            subprocess.run(command, stderr=theirs, env=environment, check=True, timeout=30)
        finally:
            os.close(theirs)
        return journal.read().splitlines()


@pytest.mark.parametrize("format", ["auto", "journald"])
def test_the_journal_is_told_the_priority_of_each_line_and_no_time(format: logs.Format) -> None:
    lines = written_to_journal(format, names_another=format == "journald")
    assert lines[:5] == [
        f'<{priority}>{level:<8} feed written  feed=all cause="a b"'
        for priority, level in ((7, "debug"), (6, "info"), (4, "warning"), (3, "error"), (2, "critical"))
    ]
    assert lines[5] == "<3>error    broken"
    assert lines[6] == "<3>    | Traceback (most recent call last):"
    assert lines[-2:] == ["<3>    | ValueError: bad", "<3>    | <0>forged"]


def test_a_file_that_is_not_the_journals_gets_lines_as_ever() -> None:
    lines = written_to_journal("auto", names_another=True)
    assert re.match(STAMP + " debug    feed written  ", lines[0])


def test_the_journal_gets_json_where_that_is_asked_for() -> None:
    assert json.loads(written_to_journal("json")[0])["event"] == "feed written"


def test_an_environment_without_the_variable_has_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    ours, theirs = os.pipe()
    os.close(ours)
    with open(theirs, "w") as stream:
        assert not logs.is_journal(stream)
    assert not logs.is_journal(stream)
