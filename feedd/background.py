"""A thread with an event loop of its own, in which one piece of work runs from `start` to `stop`.

For services that wait for the network beside who publishes: `notify`, the built-in hub, alerts. What the work is
for, and what of it outlives a stop, is theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

GOODBYE_S = 0.5  # for the last word of TLS (RFC 8446, section 6.1)

Work = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]
"""Is given a function to call when it has begun, and may be cancelled at any time."""


class Loop(uvloop.Loop):
    """When a connection with TLS is closed, the other side may go on sending for `GOODBYE_S`, not half a minute."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """As of any loop."""
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", GOODBYE_S)
        return await super().create_connection(*args, **options)


class Background:
    """Runs `work`. `failed` is called, in the thread, with the error that ends it unexpectedly."""

    def __init__(self, name: str, work: Work, *, failed: Callable[[BaseException], None]) -> None:
        self._work, self._failed = work, failed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Returns when the work has begun, or ended."""
        self._thread.start()
        self._begun.wait()

    def stop(self) -> None:
        """Cancels the work and waits for its end; does nothing before `start`, or the second time."""
        if self._main:
            self.soon(self._main.cancel)
            self._thread.join()

    def soon(self, call: Callable[[], object]) -> None:
        """Calls it on the loop: from any thread, and at hardly any cost to it. Before and after the work: never."""
        if self._loop:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(call)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=Loop) as runner:
                runner.run(self._work_noted())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self._failed(error)
        finally:
            self._begun.set()

    async def _work_noted(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        await self._work(self._begun.set)
