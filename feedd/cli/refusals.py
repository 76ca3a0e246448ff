"""How feedd says on the command line what it cannot do: `feedd: WHAT: WHY; WHAT TO DO` on standard error, a line each.

Only for wrong usage does the usage stand above it. Called by `cli.main`; `Input` is for files that commands read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from feedd import errors


def say(message: str) -> None:
    """One line for each of the message."""
    for line in message.splitlines():
        click.echo(f"feedd: {line}", err=True)


def show(error: click.ClickException) -> None:
    """What click raised, in our form; its own help for a command that was given nothing."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    message = error.format_message()
    if isinstance(error, click.UsageError):
        _show_usage(error)
        message = " ".join(message.split())  # choices stand in lines of their own
    say(message)


def _show_usage(error: click.UsageError) -> None:
    if error.ctx is not None:
        click.echo(error.ctx.get_usage(), err=True)
        click.echo(f"Try '{error.ctx.command_path} --help' for help.\n", err=True)


@contextmanager
def articles_in_words() -> Iterator[None]:
    """A folder of articles that cannot be read, with what to do about it."""
    from feedd import files

    try:
        yield
    except files.RootGoneError as error:
        todo = "articles are read there: make it, mount it, or set articles.path"
        raise errors.FeeddError(f"{error.root}: {error.reason}; {todo}") from error


class Input(click.File):
    """A file that is read as bytes, or - for standard input. One that is not there is no wrong usage."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> IO[bytes]:
        """The open file, which is closed with the command."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            if isinstance(error.__context__, OSError):
                raise click.ClickException(f"{value}: {errors.in_words(error.__context__)}") from error
            raise
