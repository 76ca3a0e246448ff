"""Commands about feedd as a program of this machine: service install, uninstall, status; completion."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from feedd.cli import common
from feedd.service import places

F = TypeVar("F", bound=Callable[..., Any])


def _for_user(command: F) -> F:
    return click.option("--user", "of_user", is_flag=True, help="A service of your own, not of the system.")(command)


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """What cannot be done, as a sentence and exit code 2."""
    from feedd.service.install import ServiceError

    try:
        yield
    except ServiceError as error:
        raise click.ClickException(str(error)) from error


def _config_path(context: click.Context, usual: str) -> str:
    """The configuration that is named, or is here; else the one of such a service, there or not."""
    named: str | None = context.find_root().params["config_path"]
    return named or (places.HERE if os.path.exists(places.HERE) else usual)


@click.group("service")
def service_group() -> None:
    """Run feedd as a service of systemd."""


@service_group.command()
@_for_user
@click.option("--as", "run_as", default="", metavar="NAME", help="Run as this user instead of one of feedd's own.")
@click.option("--articles", default="", metavar="DIR", help="The articles, where there is no configuration yet.")
@click.option("--no-start", is_flag=True, help="Install only.")
@click.option("--print", "only_print", is_flag=True, help="Show the unit, and write nothing.")
@click.pass_context
def install(
    context: click.Context, of_user: bool, run_as: str, articles: str, no_start: bool, only_print: bool
) -> None:
    """Install, enable and start feedd as a service.

    Once more brings it up to date.
    """
    from feedd import config
    from feedd.service import install as services
    from feedd.service import unit

    if of_user and run_as:
        raise click.UsageError("--as is for a service of the system")
    where, user = (places.of_user(os.environ), "") if of_user else (places.of_system(), run_as or services.USER)
    path = _config_path(context, where.config)
    is_new = path == where.config and not os.path.exists(path)
    if articles and not is_new:
        raise click.ClickException(f"{path}: is there already; set articles.path in it instead of --articles")
    with _in_words():
        if only_print:
            settings = services.planned(where, articles) if is_new else config.load(path, secrets=())
            click.echo(unit.text(services.service_of(settings, path, user=user)), nl=False)
            return
        services.check_machine(user=of_user, uid=os.geteuid(), run=services.call)
        if is_new:
            click.echo(f"{services.write_config(where, articles)} is written.")
        service = services.service_of(config.load(path, secrets=()), path, user=user)
        for line in services.install(service, where, run=services.call, start=not no_start):
            click.echo(line)


@service_group.command()
@_for_user
def uninstall(of_user: bool) -> None:
    """Stop the service and take its unit away.

    Articles, feeds and state stay.
    """
    from feedd.service import install as services

    where = places.of_user(os.environ) if of_user else places.of_system()
    with _in_words():
        services.check_machine(user=of_user, uid=os.geteuid(), run=services.call)
        for line in services.uninstall(where, user=of_user, run=services.call):
            click.echo(line)


@service_group.command()
@_for_user
def status(of_user: bool) -> None:
    """Say how the service is, and what to do.

    Exits with 1 if it does not run.
    """
    from feedd.service import install as services

    with _in_words():
        services.check_machine(user=of_user, uid=0, run=services.call)
        found = services.look(user=of_user, run=services.call)
    for line in services.describe(found, user=of_user):
        click.echo(line)
    if found.get("ActiveState") not in ("active", "reloading"):
        sys.exit(common.EXIT_FINDINGS)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete feedd's commands.

    For bash: `eval "$(feedd completion bash)"`.
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete
    click.echo(complete(context.find_root().command, {}, "feedd", "_FEEDD_COMPLETE").source())
