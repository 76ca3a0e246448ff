"""Commands about articles and feeds: run, build, diff, lint, status, check-config, init."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from feedd import errors
from feedd.cli import common, refusals

if TYPE_CHECKING:  # imported where used: `feedd --help` answers at once
    from structlog.typing import FilteringBoundLogger

    from feedd import bulk, preview, publish


@click.command()
@click.pass_obj
def run(config_path: str) -> None:
    """Publish, and keep publishing until SIGTERM or Ctrl-C.

    A changed configuration takes effect as soon as it is saved, or at once by SIGHUP.
    """
    from feedd import config
    from feedd.daemon import life

    settings = config.load(config_path)
    log = common.logger(settings)
    for key, what in config.warnings(settings):
        if key != "articles.path":  # a folder that is not there is said by whoever waits for it
            log.warning("configuration", key=key, hint=what)
    life.run(settings, config_path, log)


@click.command()
@click.option("--dry-run", is_flag=True, help="Write nothing.")
@click.option("--diff", is_flag=True,
              help="With --dry-run: say which entries subscribers would see as new, updated, removed.")
@click.pass_obj
def build(config_path: str, dry_run: bool, diff: bool) -> None:
    """Bring every feed up to date once."""
    from feedd import config, preview
    from feedd.daemon import opening
    from feedd.store.sqlite import errors_in_words

    if diff and not dry_run:
        raise click.UsageError("--diff needs --dry-run")
    settings = config.load(config_path, secrets=())
    log = common.logger(settings)
    for key, what in config.variables.problems(settings):
        log.warning("configuration", key=key, hint=f"{what}; `feedd run` needs it")
    plan = opening.plan_of(settings)
    if dry_run:
        with errors_in_words(), refusals.articles_in_words():
            found = preview.differences(plan, log, now=int(time.time()), now_ns=time.time_ns())
        if diff:
            for item in found:
                click.echo(f"{item.feed}: {item.what}: {item.title} ({item.path})")
        counts = {what: sum(item.what == what for item in found) for what in ("new", "updated", "removed")}
        click.echo(", ".join(f"{count} {what}" for what, count in counts.items()) + " (entries, summed over feeds)")
        return
    with errors_in_words(), refusals.articles_in_words():
        left = opening.mending(plan.state_folder, log, lambda: _build(plan, log))
    if left:
        raise errors.OutputError(f"{left} documents could not be written; `feedd status` names them")


def _build(plan: bulk.Plan, log: FilteringBoundLogger) -> int:
    """Everything once; returns how many documents could not be written. Raises sqlite3.DatabaseError."""
    from feedd import publish
    from feedd.daemon import opening

    began = time.monotonic()
    with ExitStack() as opened:
        state = opened.enter_context(opening.open_state(plan.state_folder, log, now=int(time.time())))
        advance = opened.enter_context(common.progress())
        publisher = publish.Publisher(state, plan, log, settle_ns=50_000_000, progress=advance)
        opened.callback(publisher.close)  # also after a fault: Python ends badly with threads and processes at work
        publisher.prepare(now=int(time.time()))
        try:
            left = _publish(publisher)
        except errors.WorkerError as error:
            log.error(f"{error}; its work is done without any")
            publisher.go_alone()
            left = _publish(publisher)
        totals = publisher.totals
        log.info("built", seconds=round(time.monotonic() - began, 2), **{
            name: getattr(totals, name) for name in totals.__struct_fields__
        })
    return left


def _publish(publisher: publish.Publisher) -> int:
    unsettled = publisher.scan(now=int(time.time()), now_ns=time.time_ns())
    while unsettled:  # files written a moment ago: once more when they have settled
        time.sleep(0.06)
        unsettled = publisher.scan(now=int(time.time()), now_ns=time.time_ns())
    publisher.release(now=int(time.time()))
    publisher.reconcile()
    return publisher.rebuild(now=int(time.time()))


@click.command()
@click.argument("new", metavar="NEW.toml", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@click.pass_obj
def diff(config_path: str, new: str, as_json: bool) -> None:
    """Say what subscribers would see by NEW.toml.

    That is, if it were the configuration; nothing is written. Its relative paths are taken as if it stood in the place
    of the present one. Exits with 1 if there are differences.
    """
    import msgspec

    from feedd import config, logs, preview
    from feedd.daemon import opening
    from feedd.store.sqlite import errors_in_words

    settings = config.load(config_path, secrets=())
    wanted = config.load(new, instead_of=config_path, secrets=())
    log = common.logger(settings)
    logs.configure(settings.log.format, "error", sys.stderr)  # what is done to the copy is no news
    with errors_in_words(), refusals.articles_in_words():
        found = preview.compare(
            opening.plan_of(settings), opening.plan_of(wanted), log, now=int(time.time()), now_ns=time.time_ns()
        )
    waiting = [key for key in config.changed_keys(settings, wanted) if key in config.RESTART]
    if as_json:
        click.echo(json.dumps({**msgspec.to_builtins(found), "needs_restart": waiting}, indent=2, ensure_ascii=False))
    else:
        _show_comparison(found)
        if waiting:
            click.echo(f"a running feedd needs a restart for: {', '.join(waiting)}", err=True)
    if found.feeds or found.entries:
        sys.exit(common.EXIT_FINDINGS)


def _show_comparison(found: preview.Comparison) -> None:
    for feed in found.feeds:
        if feed.what == "changed":
            for name, value in feed.after.items():
                click.echo(f"{feed.feed}: {name}: {feed.before[name] or 'none'} -> {value or 'none'}")
        else:
            click.echo(f"{feed.feed}: {feed.what} feed of {feed.entries} entries")
    for entry in found.entries:
        click.echo(f"{entry.feed}: {entry.what}: {entry.title} ({entry.path})")
    feeds, entries = [one.what for one in found.feeds], [one.what for one in found.entries]
    click.echo(
        f"feeds: {feeds.count('new')} new, {feeds.count('changed')} changed, {feeds.count('removed')} removed; "
        f"entries, summed over feeds: {entries.count('new')} new, {entries.count('updated')} updated, "
        f"{entries.count('removed')} removed"
    )


@click.command()
@click.argument("files", nargs=-1, type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
@click.pass_obj
def lint(config_path: str, files: tuple[str, ...], as_json: bool) -> None:
    """Check feeds against the rules of validators.

    All that were published, or FILES.
    """
    from feedd import catalog, model
    from feedd import lint as linter

    formats: dict[str, model.Format] = {".atom": "atom", ".rss": "rss", ".json": "json"}
    urls: dict[str, str] = {}
    if not files:
        settings = common.reading(config_path, "site.public_url", "server.host", "server.port")
        out = os.path.abspath(settings.feeds.path)
        names = sorted(name for name in catalog.list_own(out) if name.endswith((*formats, ".opml")))
        urls = {os.path.join(out, name): f"{settings.site.public_url}/{name}" for name in names}
        files = tuple(urls)
    unknown = [path for path in files if os.path.splitext(path)[1] not in (*formats, ".opml")]
    if unknown:
        raise click.ClickException(f"{unknown[0]}: the name does not end in {', '.join(formats)} or .opml")
    count, now = 0, int(time.time())
    for path in files:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise click.ClickException(f"{path}: {errors.in_words(error)}") from error
        fmt, url = formats.get(os.path.splitext(path)[1]), urls.get(path, "")
        for finding in linter.lint(data, fmt, self_url=url, now=now) if fmt else linter.lint_opml(data, now=now):
            count += 1
            if as_json:
                click.echo(json.dumps({"file": path, **{f: getattr(finding, f) for f in finding.__struct_fields__}}))
            else:
                click.echo(f"{path}:{finding.line}: {finding.level}: {finding.rule}: {finding.message}")
    click.echo(f"{len(files)} files, {count} findings", err=as_json)
    if count:
        sys.exit(common.EXIT_FINDINGS)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@click.option("--feeds", "all_feeds", is_flag=True, help="List every feed, not only the first twenty.")
@click.pass_obj
def status(config_path: str, as_json: bool, all_feeds: bool) -> None:
    """Say what is published, what is wrong, and what changed last."""
    from feedd.cli import report
    from feedd.store.sqlite import errors_in_words

    settings = common.reading(config_path)
    with errors_in_words():
        found = report.status(settings)
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        report.show(found, all_feeds=all_feeds)
    if found["problems"] or found["failed"]:
        sys.exit(common.EXIT_FINDINGS)


@click.command("check-config")
@click.pass_obj
def check_config(config_path: str) -> None:
    """Check config.toml, and say everything that is wrong at once."""
    from feedd import config

    settings, lines = config.load(config_path), config.lines_of(config_path)
    for key, what in config.warnings(settings):
        click.echo(errors.located(config_path, lines.get(key, 0), key, f"{what} (a hint, not an error)"))
    click.echo(f"{config_path}: good")


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path())
def init(folder: str) -> None:
    """Write a commented config.toml for the articles below DIR.

    Looks at them, and says what it found.
    """
    from feedd import files, initialise

    try:
        findings = initialise.inspect(folder)
    except files.RootGoneError as error:
        todo = f"name the folder that your articles are in, or make it: mkdir -p {folder}/articles"
        raise click.ClickException(f"{folder}: {error.reason}; {todo}") from error
    click.echo(initialise.describe(findings))
    path = initialise.write_config(folder, findings)
    if not findings.articles and not findings.problems:
        place, kinds = os.path.join(folder, findings.articles_path), ", ".join(files.ARTICLE_SUFFIXES)
        click.echo(f"{place} is made: put articles into it, each a file ({kinds}).")
    click.echo(f"{path} is written; next: feedd --config {path} run")
