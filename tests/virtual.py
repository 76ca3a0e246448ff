"""An event loop whose time is its own: it never waits, but jumps to the next timer. A day costs nothing.

What happens in it happens in the same order every time. For what waits on timers alone, not on sockets or threads.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
START = 1_700_000_000.0


class _Jumper(selectors.SelectSelector):
    """Nothing is ever ready: the time until the next timer is over at once."""

    elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will come")
        self.elapsed += max(timeout, 0.0)
        return []


class Loop(asyncio.SelectorEventLoop):
    """The loop; `time` begins at 0."""

    def __init__(self) -> None:
        self._jumper = _Jumper()
        super().__init__(self._jumper)

    def time(self) -> float:
        return self._jumper.elapsed

    def be_busy(self, seconds: float) -> None:
        """Time passes in which nothing else happens."""
        self._jumper.elapsed += seconds


def run(main: Callable[[Callable[[], float]], Coroutine[Any, Any, T]], *, at: float = START) -> T:
    """Runs `main(now)` to its end in a loop of its own; `now` says seconds since 1970, from `at` on."""
    loop = Loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(lambda: at + loop.time()))
