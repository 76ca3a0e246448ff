"""The command line: thin verbs over the modules that do the work, and exit codes that mean something."""

from __future__ import annotations

import os
import signal
import sys

import click

from feedd import __version__, errors
from feedd.cli import alerts, common, doctor, health, links, publishing, refusals, service, state
from feedd.service import places

EXIT_CODES = """\b
Exit codes:
  0   done
  1   findings: lint, status, verify, diff, doctor or healthcheck found some
  2   the command line or config.toml is wrong, or names what is not there
  3   the state is in use, was written by a newer feedd, or cannot be had
  4   articles could not be read, a feed not written, or an address not had
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
    if os.getpid() == 1:  # of a container: the kernel drops a signal that its first process has no handler for
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    code = _run()
    try:
        if sys.stdout is not None:  # it may have been closed by whoever started us
            sys.stdout.flush()
    except OSError:  # who reads has had enough, as in `feedd status | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
    sys.exit(code)


def _run() -> int:
    try:
        cli.main(prog_name="feedd", standalone_mode=False)
        return 0
    except SystemExit as ended:
        return int(ended.code or 0)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        refusals.show(error)
        return common.EXIT_CONFIG
    except (click.Abort, KeyboardInterrupt):
        return 130
    except errors.FeeddError as error:
        refusals.say(str(error))
        return _code_of(error)
    except Exception:
        import traceback

        traceback.print_exc()
        return common.EXIT_DEFECT


def _code_of(error: errors.FeeddError) -> int:
    if isinstance(error, errors.ConfigError):
        return common.EXIT_CONFIG
    return common.EXIT_STATE if isinstance(error, errors.StateError) else common.EXIT_OUTPUT


for command in (
    publishing.run, publishing.build, publishing.diff, publishing.lint, publishing.status, publishing.check_config,
    publishing.init,
    links.check_links, links.links_group,
    service.service_group, service.completion,
    health.healthcheck, doctor.doctor, alerts.alerts_group,
    state.backup, state.restore, state.export_state, state.import_state, state.verify,
):
    cli.add_command(command)
