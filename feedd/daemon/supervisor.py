"""What feedd tells the service manager that started it: sd_notify(3), in a few lines, and when its watchdog is fed.

A datagram each, to the socket that the environment names; without one, nothing is done. Whatever becomes of a datagram,
feedd goes on. `Supervisor` speaks, `Watchdog` decides; both are built by the daemon's life.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from structlog.typing import FilteringBoundLogger

from feedd import errors, logs, pulse

PUBLISHING, WATCHING, SERVING = "publishing", "watching", "serving"  # the loops
# Far more than one that is well takes: publishing was silent for 1.7 s at most over 100,000 articles. A look at a large
# network folder may take minutes.
SILENCE_S = {PUBLISHING: 60.0, WATCHING: 300.0, SERVING: 30.0}
TURN_S = 15.0  # the publishing thread turns at least so often, whoever listens
_PATIENCE_S = 1.0  # the manager's queue may be full
_EXTENSION_S = 60.0  # what a start is granted at a time


def limits(*, serving: bool) -> dict[str, float]:
    """The silence that each loop may keep; without the web's where nothing is served."""
    return {name: limit_s for name, limit_s in SILENCE_S.items() if serving or name != SERVING}


class Supervisor:
    """The manager behind `address` (NOTIFY_SOCKET); an empty one is nobody. From any thread.

    `watchdog_s`: the manager ends the process after so long without `alive`; None if it does not.
    """

    def __init__(self, address: str, watchdog_s: float | None, log: FilteringBoundLogger) -> None:
        self._address, self.watchdog_s, self._log = address, watchdog_s, log
        self._is_heard = True

    def ready(self, status: str) -> None:
        """The start is over, or the reload is."""
        self._say("READY=1", f"MAINPID={os.getpid()}", f"STATUS={_line(status)}")

    def status(self, text: str) -> None:
        """What it does now, in a sentence for `systemctl status`."""
        self._say(f"STATUS={_line(text)}")

    def reloading(self) -> None:
        """The configuration is read anew; `ready` ends it."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1", "STATUS=stopping")

    def alive(self) -> None:
        """The work goes on."""
        self._say("WATCHDOG=1")

    def starting(self) -> None:
        """The start goes on, and may take as long again: a first scan of many articles does."""
        self._say(f"EXTEND_TIMEOUT_USEC={int(_EXTENSION_S * 1e6)}")

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(_PATIENCE_S)
                channel.connect(self._address)
                channel.send("\n".join(lines).encode())
            self._is_heard = True
        except OSError as error:
            if self._is_heard:
                self._log.warning("the service manager cannot be told", reason=errors.in_words(error))
            self._is_heard = False


def of(environment: Mapping[str, str], pid: int, log: FilteringBoundLogger) -> Supervisor:
    """The manager that the environment names: NOTIFY_SOCKET, a path or an abstract name after "@" (others, such as
    vsock, are those of machines and not of services), and WATCHDOG_USEC, if WATCHDOG_PID is this process or not set
    (sd_watchdog_enabled(3)).
    """
    name = environment.get("NOTIFY_SOCKET", "")
    address = "\0" + name[1:] if name.startswith("@") else name if name.startswith("/") else ""
    usec = environment.get("WATCHDOG_USEC", "")
    is_ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    watchdog_s = int(usec) / 1e6 if address and is_ours and usec.isascii() and usec.isdigit() and int(usec) else None
    return Supervisor(address, watchdog_s, log)


class Watchdog:
    """Feeds the manager's watchdog from the publishing thread, which says `turn` as it turns; its beat is among others.

    Only while every loop beats: one that is silent is named in the log, once, and the manager, told nothing, starts
    feedd anew. Until `settled` was said, the time allowed for the start is extended instead.
    """

    def __init__(
        self, supervisor: Supervisor, beats: pulse.Pulse, log: FilteringBoundLogger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._supervisor, self._beats, self._log, self._clock = supervisor, beats, log, clock
        self.every_s = min(TURN_S, (supervisor.watchdog_s or 4 * TURN_S) / 4)
        self._next_at = self._turned_at = clock()
        self._silent: tuple[str, ...] = ()
        self._status: str | None = None

    def turn(self) -> None:
        """The publishing thread turns, at least every `every_s` while it has nothing to do; cheap."""
        self._beats.beat(PUBLISHING)
        now = self._clock()
        was_paused, self._turned_at = now - self._turned_at > 2 * self.every_s, now
        if now < self._next_at:
            return
        self._next_at = now + self.every_s
        # stopped as a whole, or asleep: every loop is late then, and shows until the next turn whether it lives
        silent = () if was_paused else self._beats.silent(now)
        if silent and silent != self._silent:
            then = "; the service manager will start feedd anew" if self._supervisor.watchdog_s else ""
            self._log.error(f"a loop hangs{then}", loop=", ".join(silent))
        self._silent = silent
        if silent:
            return
        if self._status is None:
            self._supervisor.starting()
        else:
            self._supervisor.alive()

    @contextmanager
    def reload(self) -> Iterator[None]:
        """While the configuration is read anew, and applied or not. Before the start is over, nobody is told."""
        if self._status is None:
            yield
            return
        self._supervisor.reloading()
        try:
            yield
        finally:
            self._supervisor.ready(self._status)

    def settled(self, status: str) -> None:
        """All is done that need not wait, so the start is over; from then on only what is new is told."""
        if self._status is None:
            self._supervisor.ready(status)
        elif status != self._status:
            self._supervisor.status(status)
        self._status = status


def _line(text: str) -> str:
    """On one line: a second one would be an assignment of its own."""
    return logs.escape(text)
