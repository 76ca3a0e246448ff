"""Commands that keep what feedd knows: backup, restore, export, import, verify."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import click

from feedd import errors
from feedd.cli import common, refusals

if TYPE_CHECKING:  # imported where used: `feedd --help` answers at once
    from feedd import bulk, config
    from feedd import verify as checks


@click.command()
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_obj
def backup(config_path: str, file: str, force: bool) -> None:
    """Copy the state into FILE, whether feedd runs or not.

    FILE (- for standard output) is a gzipped tar archive of the databases as they are now, for its owner's eyes alone:
    it holds the secrets of subscribers. Not in it: config.toml, the articles, and the feeds, which follow from both.
    """
    from feedd import backup as backups

    folder, now = str(common.reading(config_path).state.path), int(time.time())
    os.nice(10)  # publishing goes first
    with _megabytes() as progress:
        if file == "-":
            with tempfile.TemporaryDirectory(prefix="feedd-backup-") as scratch:
                made = backups.write(folder, _stdout(), scratch=f"{scratch}/copies", now=now, progress=progress)
                _stdout().flush()
        else:
            made = backups.to_file(folder, file, force=force, now=now, progress=progress)
    for copy in made.databases:
        click.echo(f"{copy.name}: {copy.bytes} bytes, schema {copy.schema}", err=True)


@click.command()
@click.argument("file", type=refusals.Input())
@click.pass_obj
def restore(config_path: str, file: IO[bytes]) -> None:
    """Make the state what it was when FILE was backed up.

    feedd must not run. FILE (- for standard input) is checked before anything is touched, and the state that was there
    is kept beside it. The next start publishes; entries have the ids of the backup.
    """
    from feedd import backup as backups

    try:
        with _megabytes() as progress:
            done = backups.restore(_state_folder(config_path), file, now=int(time.time()), progress=progress)
    except backups.NoBackupError as error:
        raise backups.NoBackupError(f"{file.name}: {error}; the state is as it was") from error
    made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(done.manifest.created_at))
    click.echo(f"restored: {', '.join(copy.name for copy in done.manifest.databases)}, as of {made_at}")
    for path in done.aside:
        click.echo(f"what was there is kept: {path}")


@click.command("export")
@click.argument("file", type=click.Path(allow_dash=True), default="-")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_obj
def export_state(config_path: str, file: str, force: bool) -> None:
    """Write what cannot be found again as JSON lines.

    To FILE, or standard output: the identities of articles, names of feeds, and what is known of links. For another
    machine, another tool, or a state that is to be made anew: no subscriber sees an entry twice.
    """
    from feedd import backup as backups
    from feedd import portable

    folder, now = str(common.reading(config_path).state.path), int(time.time())
    with common.progress() as progress:
        if file == "-":
            count = portable.export(folder, sys.stdout.buffer, now=now, progress=progress)
            sys.stdout.buffer.flush()
        else:
            with backups.new_file(file, force=force, mode=0o644) as out:
                count = portable.export(folder, out, now=now, progress=progress)
    click.echo(f"{count} lines", err=True)


@click.command("import")
@click.argument("file", type=refusals.Input())
@click.option("--force", is_flag=True, help="What FILE says wins over what the state knows.")
@click.pass_obj
def import_state(config_path: str, file: IO[bytes], force: bool) -> None:
    """Take in what was exported to FILE.

    All of it, or nothing; - is standard input. feedd must not run. What the state knows already stays, unless --force
    is given.
    """
    from feedd import portable

    folder, now = _state_folder(config_path), int(time.time())
    try:
        with common.progress() as progress:
            done = portable.take_in(folder, file, force=force, now=now, progress=progress)
    except portable.LineError as error:
        reason = str(error).removeprefix(f"line {error.line}: ")
        raise click.ClickException(f"{file.name}:{error.line}: {reason}") from error
    finally:
        _give_back(folder)
    for what in sorted(done.taken.keys() | done.kept.keys()):
        click.echo(f"{what}: {done.taken[what]} imported, {done.kept[what]} known and kept")


@click.command()
@click.option("--fix", is_flag=True, help="Mend what is found. feedd must not run.")
@click.option("--quick", is_flag=True, help="Look for files, and not into them; not at links.")
@click.pass_obj
def verify(config_path: str, fix: bool, quick: bool) -> None:
    """Check the state and the feeds against each other.

    Says each fault in a line, and exits with 1 if there are any, or any left by --fix.
    """
    from feedd.daemon import opening
    from feedd.service.running import is_running

    settings = _settings(config_path) if fix else common.reading(config_path, "hub")
    plan = opening.plan_of(settings)
    running = is_running(plan.state_folder)
    if fix and running:
        raise errors.StateLockedError(f"{plan.state_folder}: another feedd is working on this state; stop it first")
    found = _faults(plan, running=running, quick=quick, fix=fix)
    if fix and found:
        from feedd import repair

        log = common.logger(settings)
        try:
            with common.progress() as progress, refusals.articles_in_words():
                deeds = repair.fix(plan, found, log, now=int(time.time()), now_ns=time.time_ns(), progress=progress)
        finally:
            _give_back(plan.state_folder, plan.out)
        for deed in deeds:
            click.echo(str(deed))
        found = _faults(plan, running=False, quick=quick)
    click.echo(f"{len(found)} fault{'' if len(found) == 1 else 's'}{' left' if fix else ''}")
    if found:
        sys.exit(common.EXIT_FINDINGS)


def _give_back(*folders: str) -> None:
    """What root wrote below a folder belongs to whom that does: to the service, which must go on with it."""
    for folder in folders if os.geteuid() == 0 else ():
        if os.path.isdir(folder):
            owner = os.stat(folder)
            for base, below, names in os.walk(folder):
                for name in (*below, *names):
                    os.lchown(os.path.join(base, name), owner.st_uid, owner.st_gid)


def _faults(plan: bulk.Plan, *, running: bool, quick: bool, fix: bool = False) -> list[checks.Finding]:
    """Says each as soon as it is found; what to do about it only if that is not done at once."""
    from feedd import verify as checks

    found = []
    with common.progress() as progress:
        for finding in checks.verify(plan, running=running, quick=quick, progress=progress):
            click.echo(f"{finding.place}: {finding.what}" if fix else str(finding))
            found.append(finding)
    return found


def _settings(config_path: str) -> config.Config:
    from feedd import config

    return config.load(config_path, secrets=())


def _state_folder(config_path: str) -> str:
    return str(_settings(config_path).state.path)


def _stdout() -> IO[bytes]:
    """For bytes that are no text. Raises UsageError where a person would see them."""
    if sys.stdout.isatty():
        raise click.UsageError("standard output is a terminal: name a FILE, or send it on to one")
    return sys.stdout.buffer


@contextmanager
def _megabytes() -> Iterator[Callable[[str, int], None]]:
    """A bar that is told of bytes."""
    with common.progress() as advance:
        rest: Counter[str] = Counter()

        def tell(what: str, size: int) -> None:
            rest[what] += size
            advance(f"megabytes {what}", rest[what] // 1_000_000)
            rest[what] %= 1_000_000

        yield tell
