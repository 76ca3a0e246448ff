"""An address -> a thread with an event loop that answers there, from `start` to `stop`.

Binds at once, so that a taken address stops the program before it works. Sets no signal handlers, logs errors only.
Called by the daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
import uvloop
from msgspec.structs import replace
from uvicorn.config import Config
from uvicorn.server import ServerState

from feedd import pulse
from feedd.web.feeds import Feeds
from feedd.web.front import ASGIApp, Front, Probes
from feedd.web.protocol import Clock, Connection, Limits

log = structlog.get_logger(__name__)

_BACKLOG = 4096
_STILL_S = 1.0  # a loop that is later than that was stopped, or the machine slept
_GRACE_S = 0.5  # for answers that are being written when the server stops
_IDLE_S = 10.0  # between beats while nobody is connected: who connects sets the clock
_OTHER_FILES = 512  # descriptors that the rest of the process needs


class Server:
    """Serves feeds, and an application behind them. Raises OSError where the address cannot be had.

    `trusted`: addresses of proxies whose X-Forwarded-For is believed. The application gets no lifespan events.
    """

    def __init__(
        self, host: str, port: int, feeds: Feeds | None, app: ASGIApp | None, is_ready: Callable[[], bool],
        limits: Limits | None = None, trusted: frozenset[str] = frozenset(), probes: Probes | None = None,
        beat: pulse.Beat = pulse.unheard,
    ) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._socket = socket.socket(family, kind, protocol)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setblocking(False)
            self._socket.bind(address)
            self._socket.listen(_BACKLOG)
        except OSError:
            self._socket.close()
            raise
        self._name: tuple[Any, ...] = self._socket.getsockname()
        self._front = Front(feeds, app, is_ready, trusted, probes)
        self._limits, self._beat = limits or Limits(), beat
        self._state = ServerState()
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._stopped = asyncio.Event()

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        host, port = self._name[0], self._name[1]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._state.connections)

    def start(self) -> None:
        """Answers from now on."""
        self._limits = replace(self._limits, connections=_room_for(self._limits.connections))
        self._thread.start()

    def change(
        self, feeds: Feeds | None, app: ASGIApp | None, limits: Limits, trusted: frozenset[str] = frozenset()
    ) -> None:
        """Answers with these from now on, at the same address; no connection is closed. From any thread.

        Limits hold for new connections.
        """
        self._limits = replace(limits, connections=_room_for(limits.connections))
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(partial(self._front.change, feeds, app, trusted))

    def stop(self) -> None:
        """Answers no more: what is being written gets half a second. Does nothing the second time."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it ended in between
                self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()
        elif self._thread.ident is None:
            self._socket.close()
            if not self._loop.is_closed():
                self._loop.close()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except Exception:
            log.critical("the web server has ended", exc_info=True)
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        loop, limits, state = self._loop, self._limits, self._state
        loop.set_exception_handler(_log_loop_error)
        config = Config(
            self._front.first, loop="none", ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, interface="asgi3", timeout_keep_alive=int(limits.idle_s) + 1,
        )
        config.load()
        clock = Clock(loop.time(), time.time())
        _set(clock, state, loop)
        logger, busy = _errors_only(), asyncio.Event()

        def connect() -> Connection:
            if not state.connections:
                _set(clock, state, loop)
                busy.set()
            return Connection(config, state, loop, self._front, self._limits, clock, logger)

        listener = await loop.create_server(connect, sock=self._socket, backlog=_BACKLOG)
        deadlines = (limits.head_s, limits.body_s, limits.idle_s, limits.read_s)
        every_s = min(0.5, *(seconds / 8 for seconds in deadlines))
        ticks = loop.create_task(_tick(loop, state, clock, every_s, busy, self._beat))
        await self._stopped.wait()
        listener.close()
        for connection in list(state.connections):
            connection.shutdown()
        end = loop.time() + _GRACE_S
        while (state.connections or state.tasks) and loop.time() < end:
            await asyncio.sleep(0.01)
        ticks.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.sleep(0)


def _set(clock: Clock, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
    clock.tick(loop.time(), time.time())
    state.default_headers = [(b"date", clock.date)]


async def _tick(
    loop: asyncio.AbstractEventLoop, state: ServerState, clock: Clock, every_s: float, busy: asyncio.Event,
    beat: pulse.Beat,
) -> None:
    """Looks at the clock and at connections every `every_s`; where there are none, waits for one: `busy` is set."""
    while True:
        while not state.connections and not busy.is_set():
            beat(_IDLE_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(busy.wait(), _IDLE_S)
        busy.clear()
        beat(every_s)
        began = loop.time()
        await asyncio.sleep(every_s)
        _set(clock, state, loop)
        late_s = clock.now - began - every_s
        for connection in list(state.connections):
            if isinstance(connection, Connection):
                if late_s > _STILL_S:
                    connection.excuse(late_s)
                connection.check()


def _room_for(connections: int) -> int:
    """How many of so many connections the process may have open, after asking for as many files as it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return max(16, min(connections, soft - min(_OTHER_FILES, soft // 2)))
    return connections


def _log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A reader that goes away in the middle is no news; anything else is."""
    error = context.get("exception")
    if not isinstance(error, ConnectionError | TimeoutError):
        log.error("an error in the web server", reason=context.get("message"), exc_info=error)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.error(record.getMessage().strip(), exc_info=record.exc_info)


def _errors_only() -> logging.Logger:
    """What uvicorn logs to: a logger that is in no hierarchy, so that nobody's settings change it."""
    logger = logging.Logger("feedd.web", logging.ERROR)
    logger.addHandler(_Handler())
    return logger
