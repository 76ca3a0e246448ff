"""Processes of feedd's own beside the main one: how they start, and that none outlives it.

Spawned, not forked: the daemon has threads. Used by `pool` for its workers, by `linkcheck` for its runs.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait

context = get_context("spawn")


@contextmanager
def without_signals() -> Iterator[None]:
    """Processes that start inside do not get SIGINT and SIGTERM: Ctrl-C is for the one who waits."""
    resource_tracker.ensure_running()  # it comes with the first process, and lets the signals through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """To be called in such a process: the next run must not meet what a killed one started.

    It ends at once, in the middle of whatever it does; the end of a pipe would be noticed after that.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
