"""A thread with a loop: begins, is spoken to from others, ends at once, and hands on the error that ends it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from typing import cast

from processes import until

from feedd.background import Background, Loop
from tests.farm.process import AUTHORITY


class Waiter:
    """Work that waits until it is cancelled, and notes where it has been."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.ended = False

    async def work(self, begun: Callable[[], None]) -> None:
        self.threads.append(threading.current_thread().name)
        begun()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


class Deaf(asyncio.Protocol):
    """A server that goes on sending, and never hears that the other has closed."""

    def __init__(self, lost: asyncio.Event) -> None:
        self.lost = lost

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.pause_reading()
        self.go_on()

    def go_on(self) -> None:
        if not self.lost.is_set():
            self.transport.write(b"x" * 1000)
            asyncio.get_running_loop().call_later(0.01, self.go_on)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def test_who_goes_on_sending_after_the_goodbye_is_soon_cut_off() -> None:
    """Soon is less than the 30 s of asyncio and uvloop."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(AUTHORITY.parent / "good.pem")
    ours = ssl.create_default_context(cafile=str(AUTHORITY))

    async def work() -> None:
        loop, lost = asyncio.get_running_loop(), asyncio.Event()
        server = await loop.create_server(lambda: Deaf(lost), "127.1.200.1", 0, ssl=theirs)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.1.200.1", port, ssl=ours)
        transport.close()
        try:
            async with asyncio.timeout(15):
                await lost.wait()
        finally:
            lost.set()
            transport.abort()
            server.close()

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(work())


def test_it_works_in_a_thread_of_its_name_until_it_is_stopped() -> None:
    waiter, failures = Waiter(), list[BaseException]()
    thread = Background("waits", waiter.work, failed=failures.append)
    thread.start()
    assert waiter.threads == ["waits"]  # has begun when `start` returns
    called = list[str]()
    thread.soon(lambda: called.append(threading.current_thread().name))
    until(lambda: called == ["waits"], "called on the loop")
    assert not waiter.ended
    thread.stop()
    assert waiter.ended
    assert failures == []
    thread.stop()
    thread.soon(lambda: called.append("too late"))
    assert called == ["waits"]


def test_what_is_not_started_can_be_stopped_and_spoken_to() -> None:
    waiter = Waiter()
    thread = Background("waits", waiter.work, failed=lambda _: None)
    thread.soon(lambda: 1 // 0)
    thread.stop()
    assert waiter.threads == []


def test_an_error_ends_it_and_is_handed_on_even_before_it_has_begun() -> None:
    async def work(_begun: Callable[[], None]) -> None:
        raise ArithmeticError("no")

    failures = list[BaseException]()
    thread = Background("fails", work, failed=failures.append)
    thread.start()
    assert [repr(error) for error in failures] == ["ArithmeticError('no')"]
    thread.stop()


def test_work_that_comes_to_its_end_is_no_error() -> None:
    async def work(_begun: Callable[[], None]) -> None:
        await asyncio.sleep(0)

    failures = list[BaseException]()
    thread = Background("ends", work, failed=failures.append)
    thread.start()
    thread.stop()
    assert failures == []
