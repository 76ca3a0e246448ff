"""What the service manager is told, as it hears it: datagrams on a real socket (sd_notify(3)); the process as a whole
is started by a real systemd in test_service.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from feedd.daemon import supervisor
from feedd.pulse import Pulse

log = structlog.get_logger()


@pytest.fixture(autouse=True)
def warnings_too(quiet_log: None) -> None:
    """Warnings are what these tests are about."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Manager:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.environment = {"NOTIFY_SOCKET": address}

    def heard(self) -> list[list[str]]:
        """The lines of each datagram since last asked."""
        said = []
        while True:
            try:
                said.append(self._socket.recv(4096, socket.MSG_DONTWAIT).decode().split("\n"))
            except BlockingIOError:
                return said

    def close(self) -> None:
        self._socket.close()


@contextmanager
def managed(address: str) -> Iterator[Manager]:
    manager = Manager(address)
    try:
        yield manager
    finally:
        manager.close()


def of(environment: dict[str, str]) -> supervisor.Supervisor:
    return supervisor.of(environment, os.getpid(), log)


# --- what is said -----------------------------------------------------------------------------------------------------


def test_each_step_of_a_life_is_told_in_the_words_of_sd_notify(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify")) as manager:
        one = of(manager.environment)
        one.starting()
        one.ready("up to date")
        one.alive()
        before = time.monotonic_ns() // 1000
        one.reloading()
        one.ready("reloaded")
        one.status("busy")
        one.stopping()
        told = manager.heard()
    assert told[0] == ["EXTEND_TIMEOUT_USEC=60000000"]
    assert told[1] == ["READY=1", f"MAINPID={os.getpid()}", "STATUS=up to date"]
    assert told[2] == ["WATCHDOG=1"]
    assert told[3][0] == "RELOADING=1"
    name, _, usec = told[3][1].partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(usec) <= time.monotonic_ns() // 1000
    assert told[4:] == [
        ["READY=1", f"MAINPID={os.getpid()}", "STATUS=reloaded"], ["STATUS=busy"], ["STOPPING=1", "STATUS=stopping"],
    ]


def test_an_abstract_socket_is_one_too() -> None:
    with managed(f"@feedd-test-{os.getpid()}") as manager:
        of(manager.environment).alive()
        assert manager.heard() == [["WATCHDOG=1"]]


@given(st.text())
def test_a_status_is_one_line_and_never_another_assignment(text: str) -> None:
    with managed(f"@feedd-test-status-{os.getpid()}") as manager:
        of(manager.environment).status(text)
        (lines,) = manager.heard()
    assert len(lines) == 1
    assert lines[0].startswith("STATUS=")


def test_outside_of_systemd_nothing_is_done() -> None:
    with capture_logs() as lines:
        for environment in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:9"}, {"NOTIFY_SOCKET": "relative"}):
            one = of(environment)
            one.ready("up to date")
            one.alive()
            assert one.watchdog_s is None
    assert lines == []


def test_a_manager_that_went_away_or_does_not_listen_stops_nothing_and_is_noted_once(tmp_path: Path) -> None:
    with capture_logs() as lines:
        one = of({"NOTIFY_SOCKET": str(tmp_path / "gone")})
        one.ready("up to date")
        one.alive()
        with managed(str(tmp_path / "gone")) as manager:
            one.alive()
            assert manager.heard() == [["WATCHDOG=1"]]
        one.alive()
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "the service manager cannot be told")
    ] * 2
    assert lines[0]["reason"] == "no such file or directory"


def test_a_full_queue_holds_nothing_up(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify")) as manager, capture_logs() as lines:
        one = of(manager.environment)
        began = time.monotonic()
        while not lines:
            one.alive()
        assert time.monotonic() - began < 5


def test_the_watchdog_is_for_the_process_that_is_meant() -> None:
    socket_there = {"NOTIFY_SOCKET": "@nobody"}
    pid = str(os.getpid())
    assert of(socket_there | {"WATCHDOG_USEC": "60000000"}).watchdog_s == 60.0
    assert of(socket_there | {"WATCHDOG_USEC": "500000", "WATCHDOG_PID": pid}).watchdog_s == 0.5
    for usec, who in (("60000000", "1"), ("", pid), ("0", pid), ("-5", pid), ("soon", pid), ("²", pid)):
        assert of(socket_there | {"WATCHDOG_USEC": usec, "WATCHDOG_PID": who}).watchdog_s is None
    assert of({"WATCHDOG_USEC": "60000000"}).watchdog_s is None


# --- the watchdog -----------------------------------------------------------------------------------------------------


class Room:
    """A watchdog over three loops, its manager and its clock."""

    def __init__(self, manager: Manager, usec: str = "60000000") -> None:
        environment = manager.environment | {"WATCHDOG_USEC": usec}
        self.clock, self.manager = Clock(), manager
        self.pulse = Pulse(LIMITS, self.clock)
        self.watchdog = supervisor.Watchdog(of(environment), self.pulse, log, self.clock)

    def pass_s(self, seconds: float, *beating: str) -> list[str]:
        """Time goes by, these loops beat, the publishing thread turns each second; what the manager heard."""
        for _ in range(int(seconds)):
            self.clock.now += 1
            for name in beating:
                self.pulse.beat(name)
            self.watchdog.turn()
        return [lines[0] for lines in self.manager.heard()]


LIMITS = {supervisor.PUBLISHING: 60.0, supervisor.WATCHING: 60.0, supervisor.SERVING: 30.0}
OTHERS = (supervisor.WATCHING, supervisor.SERVING)


def test_the_watchdog_is_fed_four_times_as_often_as_it_asks_while_every_loop_beats(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify")) as manager:
        room = Room(manager)
        room.watchdog.settled("up to date")
        assert room.watchdog.every_s == 15
        assert room.pass_s(60, *OTHERS) == ["READY=1", *["WATCHDOG=1"] * 4]
        short = Room(manager, "2000000")
        assert short.watchdog.every_s == 0.5


def test_a_loop_that_hangs_is_named_once_and_the_watchdog_is_not_fed(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify")) as manager, capture_logs() as lines:
        room = Room(manager)
        room.watchdog.settled("up to date")
        room.pass_s(60, *OTHERS)
        assert lines == []
        assert room.pass_s(50, supervisor.SERVING) == ["WATCHDOG=1"] * 4
        assert room.pass_s(100, supervisor.SERVING) == []
        assert [(line["log_level"], line["loop"]) for line in lines] == [("error", "watching")]
        assert lines[0]["event"] == "a loop hangs; the service manager will start feedd anew"
        assert room.pass_s(30, *OTHERS) == ["WATCHDOG=1"] * 2  # it was only slow
        room.pass_s(100, supervisor.WATCHING)
        assert [line["loop"] for line in lines] == ["watching", "serving"]


def test_without_a_watchdog_a_loop_that_hangs_is_named_all_the_same() -> None:
    with capture_logs() as lines:
        clock = Clock()
        pulse = Pulse(supervisor.SILENCE_S, clock)
        watchdog = supervisor.Watchdog(of({}), pulse, log, clock)
        assert watchdog.every_s == supervisor.TURN_S
        watchdog.settled("up to date")
        for _ in range(100):
            clock.now += 1
            pulse.beat(supervisor.WATCHING)
            watchdog.turn()
    assert [(line["event"], line["loop"]) for line in lines] == [("a loop hangs", "serving")]


def test_a_process_that_was_stopped_as_a_whole_blames_no_loop(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify")) as manager, capture_logs() as lines:
        room = Room(manager)
        room.watchdog.settled("up to date")
        room.pass_s(30, *OTHERS)
        room.clock.now += 3_600  # a machine that was paused
        room.watchdog.turn()
        assert manager.heard() == [["WATCHDOG=1"]]
        assert room.pass_s(30, *OTHERS) == ["WATCHDOG=1"] * 2
    assert lines == []


def test_a_long_start_is_granted_more_time_as_long_as_it_goes_on(tmp_path: Path) -> None:
    with managed(str(tmp_path / "notify")) as manager, capture_logs():
        room = Room(manager)
        assert room.pass_s(45, *OTHERS) == ["EXTEND_TIMEOUT_USEC=60000000"] * 3
        assert room.pass_s(100) == ["EXTEND_TIMEOUT_USEC=60000000"] * 2  # then the web server is silent
        room.watchdog.settled("up to date")
        room.pass_s(15, *OTHERS)
        room.watchdog.settled("up to date")
        room.watchdog.settled("the output cannot be written")
        assert [lines[0] for lines in manager.heard()] == ["STATUS=the output cannot be written"]


def test_a_turn_costs_next_to_nothing() -> None:
    watchdog = supervisor.Watchdog(of({}), Pulse(supervisor.SILENCE_S, time.monotonic), log)
    began = time.perf_counter()
    for _ in range(100_000):
        watchdog.turn()
    assert time.perf_counter() - began < 1.0  # of a first scan of 100,000 articles; measured: 0.08 s
