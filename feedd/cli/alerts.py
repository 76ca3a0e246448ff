"""The commands about alerts: try the ways in which somebody is told, and list the troubles that are open.

Thin verbs over `alerts` and its store; `cli` adds them to its own.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import click

from feedd.cli import common


@click.group("alerts")
def alerts_group() -> None:
    """Try who is told of troubles, and list those that are open."""


@alerts_group.command("test")
@click.pass_obj
def test(config_path: str) -> None:
    """Send a test message by every way that is configured."""
    import asyncio
    import time
    from uuid import uuid4

    from feedd import config
    from feedd.daemon import alarm

    settings = config.load(config_path, secrets=("alerts",))
    ways = alarm.ways(settings)
    if not ways:
        raise click.ClickException(f"{config_path}: [alerts]: nobody is to be told; set webhook or command")
    from feedd.alerts import message

    body = message.encode_test(alarm.sender(settings), message_id=uuid4().hex, now=int(time.time()))
    is_told = True
    for way in ways:
        answer = asyncio.run(way.tell(body))
        said = f": {answer.said}" if answer.said else ""
        is_told &= not answer.error
        click.echo(f"{way.name} {way.place}: {f'not told, {answer.error}' if answer.error else 'told'}{said}")
    if not is_told:
        sys.exit(common.EXIT_OUTPUT)


@alerts_group.command("list")
@click.pass_obj
def list_open(config_path: str) -> None:
    """List open troubles, and messages that nobody has taken yet."""
    from feedd import errors
    from feedd.store.sqlite import errors_in_words
    from feedd.store.told import open_told

    settings = common.reading(config_path)
    with errors_in_words():
        try:
            told = open_told(str(settings.state.path), read_only=True)
        except errors.StateTooNewError:
            raise
        except errors.StateError:
            click.echo("nothing was told yet")
            return
        known, notices = told.list_known(), told.list_notices()
        told.close()
    there = [each for each in known if each.stage != "over"]
    for each in there:
        since = datetime.fromtimestamp(each.since_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        click.echo(f"{since}  {_STAGES.get(each.stage, each.stage)}  {each.text}")
    for stage, meaning in _MEANINGS.items():
        if any(each.stage == stage for each in there):
            click.echo(meaning)
    if not there:
        click.echo("nothing is the matter")
    for way in sorted({notice.way for notice in notices}):
        mine = [notice for notice in notices if notice.way == way]
        why = f": {mine[0].error}" if mine[0].error else ""
        click.echo(f"{way}: {len(mine)} message{'s' if len(mine) > 1 else ''} waiting{why}")


_STAGES = {"told": "told     ", "held": "not told ", "ending": "ending   "}
_MEANINGS = {
    "held": "not told: it was told not long ago and came back, or there were too many messages; it is told later",
    "ending": "ending: it is gone; unless it comes back within minutes, its end is told, too",
}
