"""A connection that is taken over from aiohttp: what happened to it before, and what comes where none is asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
import uvloop
import yarl
from aiohttp.connector import Connection

from feedd import wire

Greet = Callable[[asyncio.StreamWriter], None]
Opened = tuple[Connection, aiohttp.ClientRequest]


def run(work: Awaitable[None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 20))


@contextlib.asynccontextmanager
async def connected(greet: Greet = lambda writer: None) -> AsyncIterator[Opened]:
    """A connection as aiohttp opens it, to a server that greets whoever connects."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greet(writer)
        while await reader.read(65_536):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connector = aiohttp.TCPConnector()
    request = aiohttp.ClientRequest(
        "GET", yarl.URL(f"http://127.0.0.1:{port}/"), loop=asyncio.get_running_loop()
    )
    try:
        yield await connector.connect(request, [], aiohttp.ClientTimeout()), request
    finally:
        await connector.close()
        server.close()


def exchange() -> wire.Exchange:
    return wire.Exchange(
        lambda status, headers: lambda data, room: data[:room], head_bytes=1000, wire_bytes=1000, body_bytes=1000
    )


def test_one_that_is_closed_already_is_not_asked() -> None:
    async def work() -> None:
        async with connected(lambda writer: writer.close()) as (connection, request):
            while not connection.closed:
                await asyncio.sleep(0.001)
            with pytest.raises(wire.ClosedError):
                wire.open_wire(connection, request)

    run(work())


def test_one_that_speaks_first_is_not_asked() -> None:
    """What it says would be taken for the answer."""

    async def work() -> None:
        async with connected(lambda writer: writer.write(b"220 hello\r\n")) as (connection, request):
            assert connection.protocol is not None
            while not connection.protocol.should_close:
                await asyncio.sleep(0.001)
            with pytest.raises(wire.TroubleError, match="spoke before") as caught:
                wire.open_wire(connection, request)
            assert caught.value.failure == "protocol"
            assert connection.closed

    run(work())


def test_what_comes_to_a_request_that_was_broken_off_just_now_is_nobodys() -> None:
    async def work() -> None:
        async with connected() as (connection, request):
            opened, asked = wire.open_wire(connection, request), exchange()
            deadline = asyncio.get_running_loop().time() + 10
            task = asyncio.create_task(opened.ask(b"GET / HTTP/1.1\r\n", asked, deadline))
            await asyncio.sleep(0)
            task.cancel()
            opened.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not opened.is_open

    run(work())
