"""`feedd doctor`: is everything as it should be, and what to do where it is not."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from feedd.cli import common

if TYPE_CHECKING:  # imported where used: `feedd --help` answers at once
    from feedd.doctor import Finding

_COLOURS = {"good": "green", "hint": "yellow", "trouble": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@click.option("--bundle", metavar="FILE.tar.gz", type=click.Path(dir_okay=False),
              help="Write a file for whoever helps you: no articles, no secrets.")
@click.pass_obj
def doctor(config_path: str, as_json: bool, bundle: str | None) -> None:
    """Look at the whole installation, and say what to do about it."""
    from feedd import doctor as examination
    from feedd.doctor import bundle as bundles

    report = examination.examine(config_path, os.environ)
    if as_json:
        found = [{name: getattr(each, name) for name in each.__struct_fields__} for each in report.findings]
        said = {"at": report.at, "is_well": report.is_well, "versions": report.versions, "findings": found}
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        for each in report.findings:
            click.echo(_line(each), color=False if os.environ.get("NO_COLOR") else None)
    if bundle:
        bundles.write(bundle, report)
        click.echo(f"{bundle} is written: look it over before you pass it on", err=as_json)
    if not report.is_well:
        sys.exit(common.EXIT_FINDINGS)


def _line(finding: Finding) -> str:
    from feedd import logs

    level = click.style(f"{finding.level:<8}", fg=_COLOURS[finding.level])
    todo = f"; to do: {finding.todo}" if finding.todo else ""
    return f"{level} {finding.check:<12} {logs.escape(finding.said + todo)}"
