"""What several commands share: exit codes, the log as configured, and a bar for work that takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from feedd import config

EXIT_FINDINGS = 1
EXIT_CONFIG = 2
EXIT_STATE = 3
EXIT_OUTPUT = 4
EXIT_DEFECT = 70


def reading(config_path: str, *needs: str) -> config.Config:
    """The configuration for a command that looks or saves: what is wrong with it is a warning, on stderr.

    But where folders, or keys in `needs`, might be meant otherwise; then ConfigError is raised, as by `config.load`.
    """
    from feedd import config
    from feedd.cli import refusals

    settings, warned = config.salvage(config_path, *needs)
    for sentence in warned:
        refusals.say(sentence)
    return settings


def logger(settings: config.Config) -> FilteringBoundLogger:
    import structlog

    from feedd import logs

    logs.configure(settings.log.format, settings.log.level, sys.stderr)
    log: FilteringBoundLogger = structlog.get_logger("feedd")
    return log


@contextmanager
def progress() -> Iterator[Callable[[str, int], None]]:
    """A bar on a terminal, for work that takes long; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _what, _count: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def advance(what: str, count: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=None)
            bars.advance(tasks[what], count)

        yield advance
