"""The command line: thin verbs over the modules that do the work, and exit codes that mean something."""

from __future__ import annotations

import os
import sys

import click

from feedd import __version__, errors
from feedd.cli import alerts, common, doctor, health, links, publishing, service, state
from feedd.service import places

EXIT_CODES = """\b
Exit codes:
  0   done
  1   findings: lint, status, verify, diff, doctor or healthcheck found some
  2   the command line or config.toml is wrong
  3   the state is in use, was written by a newer feedd, or cannot be had
  4   a feed could not be written, or an address could not be had
  70  a defect of feedd; the log has its trace"""


@click.group(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--config", "config_path", metavar="FILE",
              help="The configuration; paths in it are relative to its folder. By default config.toml here, or else"
              " the user's (~/.config/feedd/), or else the system's (/etc/feedd/).")
@click.version_option(__version__, prog_name="feedd")
@click.pass_context
def cli(context: click.Context, config_path: str | None) -> None:
    """Publishes a folder of articles as Atom, RSS and JSON feeds, and keeps them in step with it."""
    context.obj = config_path or places.find_config(os.environ)


def main() -> None:
    """The entry point: errors as sentences, exit codes as documented."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(common.EXIT_CONFIG)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except errors.ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(common.EXIT_CONFIG)
    except errors.StateError as error:
        click.echo(f"feedd: {error}", err=True)
        sys.exit(common.EXIT_STATE)
    except errors.FeeddError as error:
        click.echo(f"feedd: {error}", err=True)
        sys.exit(common.EXIT_OUTPUT)
    except Exception:
        import traceback

        traceback.print_exc()
        sys.exit(common.EXIT_DEFECT)


for command in (
    publishing.run, publishing.build, publishing.diff, publishing.lint, publishing.status, publishing.check_config,
    publishing.init,
    links.check_links, links.links_group,
    service.service_group, service.completion,
    health.healthcheck, doctor.doctor, alerts.alerts_group,
    state.backup, state.restore, state.export_state, state.import_state, state.verify,
):
    cli.add_command(command)
