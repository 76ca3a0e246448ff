"""Processes that answer calls, all cores at once; one that dies fails its call at once and holds up nothing.

`concurrent.futures.ProcessPoolExecutor` does not promise that: a worker that is killed while the others start, or while
a call is written to its queue, leaves it hanging or with an OSError. Here a process shares nothing with the others: a
pipe of its own, whose end tells of its death.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import TypeVar

from feedd import errors, spawn

T = TypeVar("T")
P = TypeVar("P")


class Pool:
    """`count` processes. `prepare` is called with `value` in each before its first call.

    Functions, what they are called with, and what they return or raise are pickled. WorkerError if one cannot start.
    """

    def __init__(self, count: int, prepare: Callable[[P], None], value: P) -> None:
        self._threads = ThreadPoolExecutor(count, "worker")  # one for each process: a thread always finds a free one
        self._free: SimpleQueue[Connection] = SimpleQueue()
        self._started: list[tuple[SpawnProcess, Connection]] = []
        try:
            with spawn.without_signals():
                for _ in range(count):
                    self._threads.submit(self._greet, self._start(), prepare, value)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | RuntimeError):  # the latter: no thread can be started
                raise errors.WorkerError(f"no worker process can be started: {errors.in_words(error)}") from error
            raise

    def submit(self, function: Callable[[P], T], value: P) -> Future[T]:
        """The call's result or error in time; WorkerError if its process ended."""
        return self._threads.submit(self._ask, function, value)

    def close(self) -> None:
        """Waits for the calls that are being answered; those that are not begun are not made."""
        try:
            self._threads.shutdown(cancel_futures=True)
        finally:
            for _, pipe in self._started:
                pipe.close()
        for process, _ in self._started:
            process.join()

    def _start(self) -> Connection:
        """The process is given nothing but its pipe: whoever writes to one that dies as it starts may wait for ever."""
        ours, theirs = spawn.context.Pipe()
        with theirs:  # nobody but the process has it open then: its death is the pipe's end
            process = spawn.context.Process(target=_serve, args=(theirs,), name="worker")
            process.start()
        self._started.append((process, ours))
        return ours

    def _greet(self, pipe: Connection, prepare: Callable[[P], None], value: P) -> None:
        with suppress(OSError):  # it has ended, as its first call will find
            pipe.send((prepare, value))
        self._free.put(pipe)

    def _ask(self, function: Callable[[P], T], value: P) -> T:
        pipe = self._free.get()
        try:
            pipe.send((function, value))
            result, error = pipe.recv()
        except (EOFError, OSError):
            raise errors.WorkerError("a worker process was ended, for want of memory perhaps") from None
        finally:
            self._free.put(pipe)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]


def _serve(pipe: Connection) -> None:
    spawn.end_with_parent()
    with suppress(EOFError, OSError):  # whoever asked has closed the pipe
        prepare, value = pipe.recv()
        prepare(value)
        while True:
            pipe.send(_answer(*pipe.recv()))


def _answer(function: Callable[[P], T], value: P) -> tuple[T | None, Exception | None]:
    try:
        return function(value), None
    except Exception as error:
        error.add_note(f"In a worker process: {traceback.format_exc()}")
        return None, error
