"""A thread with a loop: begins, is spoken to from others, ends at once, and hands on the error that ends it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from processes import until

from feedd.background import Background


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
