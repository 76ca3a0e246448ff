"""Fuzzing that is led by coverage, by hand: what hypothesis tries at random is grown here from what reached new lines.

    uv pip install atheris
    PYTHONPATH=. python tests/fuzz/guided.py parser FOLDER -max_total_time=300 -max_len=8192 -timeout=20

FOLDER keeps what was found to be of interest; begin with a few real files in it. No part of ./test: atheris needs
Clang's runtime, and minutes. What it finds becomes an `@example` or a test of its own.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["feedd", "protego"]):
    from feedd import errors, parse
    from feedd.freshness import fingerprint
    from feedd.freshness.states import Answer
    from feedd.hub import protocol, settings
    from feedd.linkcheck import robots
    from feedd.web import delta, feeds, front, http, shelf
    from feedd.web import protocol as connections

from uvicorn.config import Config
from uvicorn.server import ServerState

PATHS = ("a.md", "a.html", "_data/topics/a.yaml", "_data/organizations/a.md")


def parser(data: bytes) -> None:
    """The first byte chooses the kind of file."""
    path = PATHS[data[0] % len(PATHS)] if data else PATHS[0]
    read = parse.parse_metadata if parse.metadata_kind(path) else parse.parse
    try:
        read(data[1:], path, "https://news.example")
    except errors.ArticleError as error:
        assert error.path == path and error.line >= 1 and error.column >= 1


def robots_txt(data: bytes) -> None:
    found = robots.read(Answer("http://h.example/robots.txt", status=200, body=data), 0)
    assert robots.allows(found, "http://h.example/a/%C3%BC?x=[1]", "feedd/1") in (True, False)
    assert 0.0 <= robots.delay_s(found, "feedd/1") <= 60.0


def form(data: bytes) -> None:
    try:
        request = protocol.parse_request(protocol.FORM, data, settings.Leases())
    except protocol.RefusedError as error:
        assert 400 <= error.status < 500
        return
    assert request.callback.lower().startswith(("http://", "https://"))
    assert protocol.verification_url(request, "c").startswith(request.callback)
    protocol.topic_name(request.topic, "https://feeds.example")


def headers(data: bytes) -> None:
    """A header a line."""
    given = {name.lower(): value for name, _, value in (line.partition(b":") for line in data.split(b"\n"))}
    assert http.precondition(given, b'"abc"', 5) in (200, 304, 412)
    for value in given.values():
        http.encodings(value)
        http.quality(value, b"text/html")
        delta.wants_feed_delta([(b"a-im", value)])
        http.address_of("127.0.0.1", {b"x-forwarded-for": value}, frozenset({"127.0.0.1"}))


def page(data: bytes) -> None:
    fingerprint.read(data, "text/html")
    found = fingerprint.fingerprint(data, "text/html")
    assert fingerprint.likeness(found, found) == (1.0 if found else 0.0)


class Transport:
    """As much of one as a connection asks for."""

    def __init__(self) -> None:
        self.out, self.closed = b"", False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: bytes) -> None:
        self.out += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def connection() -> Callable[[bytes], None]:
    """Bytes of a connection, in two pieces."""
    loop, folder = asyncio.new_event_loop(), tempfile.mkdtemp()
    with open(f"{folder}/all.atom", "wb") as file:
        file.write(b"<feed/>")
    served = feeds.Feeds(shelf.Shelf(folder), feeds.Policy("https://feeds.example"), feeds.Hooks())
    before = front.Front(served, None, lambda: True, frozenset({"127.0.0.1"}))
    config = Config(before.first, loop="none", ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    clock, log = connections.Clock(loop.time(), time.time()), logging.getLogger("fuzz")

    async def talk(data: bytes) -> None:
        state, transport = ServerState(), Transport()
        made: Any = connections.Connection(config, state, loop, before, connections.Limits(), clock, log)
        made.connection_made(transport)
        for piece in filter(None, (data[: len(data) // 2], data[len(data) // 2 :])):
            if not transport.closed:
                made.data_received(piece)
        await asyncio.sleep(0)
        assert not transport.out or transport.out.startswith(b"HTTP/1.1 ")
        made.eof_received()
        made.connection_lost(None)
        for task in state.tasks:
            task.cancel()

    return lambda data: loop.run_until_complete(talk(data))


TARGETS = {"parser": parser, "robots": robots_txt, "form": form, "headers": headers, "page": page}

if __name__ == "__main__":
    target = sys.argv.pop(1)
    atheris.Setup(sys.argv, connection() if target == "connection" else TARGETS[target])
    atheris.Fuzz()
