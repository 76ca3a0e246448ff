"""The configuration and the state, as the plain values and the open database that work needs.

Called by the daemon's life and by the commands that do its work once. A torn state is set aside, and made anew.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from feedd import bulk, config, errors, intake, store
from feedd.store.sqlite import set_aside


def plan_of(settings: config.Config) -> bulk.Plan:
    """The configuration as the plain values that the work needs."""
    feeds = config.settings(settings)
    source = intake.Source(
        os.path.abspath(settings.articles.path), settings.site.url, settings.articles.max_bytes, feeds.rules
    )
    return bulk.Plan(source, feeds, os.path.abspath(settings.state.path), os.path.abspath(settings.feeds.path))


def open_state(folder: str, log: FilteringBoundLogger, *, now: int) -> store.Store:
    """The state; one that is torn is set aside, and made anew from the articles with the same ids.

    Raises StateLockedError, StateTooNewError, StateError.
    """
    try:
        return store.open_store(folder)
    except sqlite3.OperationalError as error:
        raise errors.StateError(f"{folder}: the state cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        tell_torn(log, set_aside(folder, now), error)
        return store.open_store(folder)


def mending(folder: str, log: FilteringBoundLogger, work: Callable[[], int]) -> int:
    """What `work` returns; if it finds the state torn, once more over a new one. Raises sqlite3 errors."""
    try:
        return work()
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        tell_torn(log, set_aside(folder, int(time.time())), error)
        return work()


def tell_torn(log: FilteringBoundLogger, aside: str, error: Exception) -> None:
    """Says what became of a torn state."""
    log.error(
        "state is torn, it is made anew from the articles with the same entry ids", reason=str(error), kept_as=aside
    )
