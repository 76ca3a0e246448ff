"""A connection to the farm: requests in, replies out, a line of log for each. Each host answers as its site says.

Made to be no bottleneck: more than 10,000 healthy answers a second on one core. Made by `server`, and `secure`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

import httptools

from tests.farm import addresses, places
from tests.farm.log import Log
from tests.farm.replies import Call, Reply, article, message, status

_DAY_S = 86_400
_MISSING = status(404)
_monotonic = time.monotonic
new_number = itertools.count().__next__


class Settings(NamedTuple):
    """`delay_s`: what an answer takes, unless its behaviour says otherwise. `epoch`: when day 0 began."""

    copies: int
    hosts: int
    delay_s: float
    paragraphs: int
    epoch: float


class Farm:
    """What all connections share."""

    def __init__(self, settings: Settings, log: Log, ports: places.Ports) -> None:
        self.settings, self.log, self.ports = settings, log, ports
        self.places = places.places(settings.copies)
        numbers = {name: str(value) for name, value in ports._asdict().items()}
        self.names = {address: numbers | dict(place.names) for address, place in self.places.items()}
        self.memory: dict[str, dict[str, float]] = {}
        self.healthy = article(paragraphs=settings.paragraphs)
        self.day = 0
        self.began = _monotonic()
        self.count = itertools.count().__next__

    def reply(self, host: str, target: str, headers: dict[str, str]) -> Reply:
        """What the host says to this."""
        place = self.places.get(host)
        now = _monotonic()
        epoch = self.settings.epoch + self.day * _DAY_S
        call = Call(
            target=target, headers=headers, names=self.names.get(host, {}), day=self.day, now=epoch + now - self.began,
            clock=now, count=self.count(), memory=self.memory.setdefault(host, {}) if place else {},
        )  # fmt: skip
        if place is None:
            known = addresses.is_healthy(host) and (target.startswith("/n/") or target == "/")
            return (self.healthy if known else _MISSING)(call)
        if target == places.ROBOTS:
            return (place.site.robots or _MISSING)(call)
        page = place.site.pages.get(target)
        return (page.answer if page else place.site.other)(call)

    def control(self, target: str) -> Reply:
        """/flush, /day (which it is) and /day/N (from now on); all of them flush the log."""
        if target.startswith("/day/"):
            self.day = int(target.removeprefix("/day/"))
        self.log.flush()
        return Reply(200, message(200, str(self.day).encode(), kind="text/plain"), delay_s=0.0)


class Connection(asyncio.Protocol):
    """One client; its requests are answered one after the other."""

    __slots__ = (
        "_agent", "_chunks", "_farm", "_handle", "_headers", "_host", "_number", "_opened", "_parser", "_reply",
        "_start", "_target", "_transport",
    )  # fmt: skip

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[str, str] = {}
        self._host, self._target, self._agent = "", "", "-"
        self._number, self._start, self._opened = new_number(), 0.0, 0.0
        self._reply: Reply | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._chunks: Iterator[bytes] | None = None

    # What the transport calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport, self._opened = transport, _monotonic()
        name = transport.get_extra_info("sockname")
        self._host = name[0]
        farm = self._farm
        if not addresses.is_inside(self._host) or name[1] == farm.ports.stray:
            farm.log.strayed(self._opened, farm.day, self._host, name[1])

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # a fault of ours
        except httptools.HttpParserError:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._handle:
            self._handle.cancel()
        if self._reply:
            self._end(self._reply)
        if self._host != addresses.CONTROL:
            self._farm.log.connected(self._opened, _monotonic(), self._farm.day, self._host, self._number)

    def resume_writing(self) -> None:
        if self._chunks and self._reply and not self._reply.every_s:
            self._pour(self._reply)

    # What the parser calls

    def on_message_begin(self) -> None:
        self._start = _monotonic()
        self._headers = {}

    def on_url(self, url: bytes) -> None:
        self._target = url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        farm = self._farm
        if self._host == addresses.CONTROL:
            self._reply = reply = farm.control(self._target)
        else:
            self._agent = self._headers.get("user-agent", "-").partition("/")[0].partition(" ")[0].lower() or "-"
            self._reply = reply = farm.reply(self._host, self._target, self._headers)
        delay_s = farm.settings.delay_s if reply.delay_s is None else reply.delay_s
        if delay_s:
            self._handle = asyncio.get_running_loop().call_later(delay_s, self._send)
        else:
            self._send()

    # Answers

    def _send(self) -> None:
        reply, transport = self._reply, self._transport
        assert reply
        if transport.is_closing():
            return
        if reply.data:
            transport.write(reply.data)
        if reply.chunks:
            self._chunks = reply.chunks()
            self._pour(reply)
        else:
            self._finish(reply)

    def _pour(self, reply: Reply) -> None:
        """Chunks, while they are taken."""
        assert self._chunks
        for chunk in self._chunks:
            if self._transport.is_closing():
                return
            self._transport.write(chunk)
            if reply.every_s:
                self._handle = asyncio.get_running_loop().call_later(reply.every_s, self._pour, reply)
                return
            if self._transport.get_write_buffer_size() > 65_536:
                return  # goes on when the buffer is empty again
        self._chunks = None
        self._finish(reply)

    def _finish(self, reply: Reply) -> None:
        if reply.then == "wait":
            return  # until the client goes
        if self._host != addresses.CONTROL:
            self._end(reply)
        self._reply = None
        if reply.then == "reset":
            # Closing with a linger of 0 sends RST instead of FIN.
            with contextlib.suppress(OSError):
                sock = self._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        elif reply.then == "close" or not self._parser.should_keep_alive():
            self._transport.close()

    def _end(self, reply: Reply) -> None:
        farm = self._farm
        farm.log.asked(
            self._start, _monotonic(), farm.day, self._host, self._number, reply.status, reply.pause_s, self._agent,
            self._target,
        )  # fmt: skip
