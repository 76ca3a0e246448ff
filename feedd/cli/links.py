"""The commands about links: check them now, list, show, mark, recheck and export them.

Thin verbs over `linkcheck` and its store; `cli` adds them to its own. What was found by hand is published at once, or
by the daemon that is running.
"""

from __future__ import annotations

import csv
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from feedd import errors
from feedd.cli import common
from feedd.freshness.states import VERDICTS

if TYPE_CHECKING:  # imported where used: `feedd --help` answers at once
    from feedd import config
    from feedd.linkcheck.settings import Progress, Summary
    from feedd.store.linkrows import Link
    from feedd.store.links import Links

_PAGE = 1_000


# -- check-links -------------------------------------------------------------------------------------------------------


@click.command("check-links")
@click.option("--all", "everything", is_flag=True, help="Every link, due or not.")
@click.option("--url", "urls", multiple=True, metavar="URL", help="This link, due or not.")
@click.option("--article", "articles", multiple=True, metavar="PATH", help="The links of this article, due or not.")
@click.option("--dry-run", is_flag=True, help="Ask nobody; say what would be asked for.")
@click.pass_obj
def check_links(
    config_path: str, everything: bool, urls: tuple[str, ...], articles: tuple[str, ...], dry_run: bool
) -> None:
    """Check the links that are due, now. Ctrl-C ends it, and what was found stays."""
    import structlog

    from feedd import logs
    from feedd.daemon import checks, opening
    from feedd.linkcheck import work

    settings = _settings(config_path, "links")
    logs.configure(settings.log.format, settings.log.level, sys.stderr)
    log = structlog.get_logger("feedd")
    plan = opening.plan_of(settings)
    job = checks.job_of(settings, plan)
    choose = _chooser(settings, everything, urls, articles)
    if dry_run:
        with _in_words():
            for planned in work.look_ahead(job, log, choose=choose):
                click.echo("\t".join((planned.action, planned.host, planned.url)))
        return
    with _until_interrupted() as stop, _bar() as progress, _in_words():
        summary = work.check(job, log, by="hand", stop=stop, progress=progress, choose=choose)
    _say(summary)
    _publish(settings, plan, log)
    if stop.is_set():
        sys.exit(130)


def _settings(config_path: str, *secrets: str, only_reads: bool = False) -> config.Config:
    from feedd import config

    settings = common.reading(config_path) if only_reads else config.load(config_path, secrets=secrets)
    if not settings.links.enabled:
        said = "is false, so that links are not checked"
        raise click.ClickException(errors.located(config_path, 0, "links.enabled", said))
    return settings


def _chooser(
    settings: config.Config, everything: bool, urls: Sequence[str], articles: Sequence[str]
) -> Callable[[Links], Sequence[int]] | None:
    if not (everything or urls or articles):
        return None

    def choose(links: Links) -> Sequence[int]:
        if everything:
            return [link.id for link in links.iter_links() if link.uses]
        found = [_find(links, url).id for url in urls]
        for path in articles:
            found += [link.id for link in links.list_links_of(_article_id(settings, path))]
        return list(dict.fromkeys(found))

    return choose


def _article_id(settings: config.Config, path: str) -> int:
    from feedd.store import open_store

    with open_store(str(settings.state.path), read_only=True) as state:
        row = state.find_files([path]).get(path)
    if row is None or row.article_id is None:
        raise click.ClickException(f"{path}: no such article; paths are relative to {settings.articles.path}")
    return row.article_id


def _find(links: Links, url: str) -> Link:
    from feedd.freshness.urls import normalise

    link = links.find_link(normalise(url))
    if link is None:
        raise click.ClickException(f"{url}: no published article has this link; `feedd links list` shows all")
    return link


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Yields what is set by Ctrl-C and SIGTERM."""
    stop = threading.Event()

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one, in the middle of `set`, would wait for itself
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None] | None]:
    """How far it is, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("links"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
               TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)

        def show(progress: Progress) -> None:
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(progress.verdicts.items()))
            done = progress.checked + progress.put_off
            bars.update(
                task, completed=done, total=done + progress.left, description=f"{progress.rate:.0f}/s  {verdicts}"
            )

        yield show


def _say(summary: Summary) -> None:
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(summary.verdicts.items())) or "none"
    click.echo(f"{summary.checked} links checked: {verdicts}")
    for (was, now), count in sorted(summary.changed.items()):
        click.echo(f"  {count} went from {was} to {now}")
    if summary.put_off or summary.left:
        click.echo(f"{summary.put_off} put off, {summary.left} left for the next run")
    click.echo(f"{summary.requests} requests, {summary.bytes} bytes, {summary.seconds:.1f} s")
    if summary.unreachable:
        click.echo("No host could be reached: no link is blamed.")


def _publish(settings: config.Config, plan: Any, log: Any) -> None:
    """Lets feeds show what was found, unless a daemon is there to do it."""
    from feedd import publish, store
    from feedd.store.links import open_links

    try:
        with _in_words():
            state = store.open_store(plan.state_folder)
    except errors.StateLockedError:
        click.echo("The feedd that is running will publish what was found.")
        return
    with _in_words(), state:
        publisher = publish.Publisher(state, plan, log, settle_ns=0)
        links = open_links(plan.state_folder, read_only=True)
        try:
            publisher.prepare(now=int(time.time()))
            publisher.take_verdicts(links, now=int(time.time()))
            publisher.rebuild(now=int(time.time()))
        finally:
            links.close()
            publisher.close()


# -- links -------------------------------------------------------------------------------------------------------------


@click.group("links")
def links_group() -> None:
    """Look at links, and overrule what was found of them."""


@links_group.command("list")
@click.option("--verdict", type=click.Choice(VERDICTS), help="Only those with this verdict.")
@click.option("--host", default="", help="Only those of this host.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a link.")
@click.pass_obj
def list_links(config_path: str, verdict: Any, host: str, as_json: bool) -> None:
    """List links with their verdicts."""
    with _opened(config_path) as links:
        for link in _every(links, verdict):
            if not host or link.host == host:
                row = _row(link)
                click.echo(json.dumps(row, ensure_ascii=False) if as_json else
                           f"{row['verdict']:<10}{row['checked'] or '-':<22}{row['url']}")


@links_group.command("show")
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@click.pass_obj
def show_link(config_path: str, url: str, as_json: bool) -> None:
    """Show all that is known of a link, with the evidence."""
    from msgspec.structs import asdict

    from feedd.linkcheck.rows import evidence_row

    with _opened(config_path) as links:
        link = _find(links, url)
    row: dict[str, Any] = _row(link)
    row["history"] = [asdict(evidence_row(seen)) for seen in link.state.history]
    if as_json:
        click.echo(json.dumps(row, indent=2, ensure_ascii=False))
        return
    for key, value in row.items():
        if key != "history" and value not in ("", 0, None):
            click.echo(f"{key.replace('_', ' '):<14}{value}")
    for seen in row["history"]:
        where = f" -> {seen['final_url']}" if seen["final_url"] else ""
        click.echo(f"  {seen['at']}  {seen['finding']:<9}{seen['reason']}{where}")


@links_group.command("mark")
@click.argument("url")
@click.argument("verdict", type=click.Choice(["fresh", "dead", "excluded", "none"]))
@click.pass_obj
def mark_link(config_path: str, url: str, verdict: Any) -> None:
    """Overrule what is found of a link.

    With `none`, checks decide again.
    """
    from feedd.freshness import judge

    now = int(time.time())
    # Read in the transaction, too: what a run notes meanwhile is not to be lost.
    with _opened(config_path, to_write=True) as links, links.transaction():
        link = _find(links, url)
        state = judge.unmark(link.url, link.state, now) if verdict == "none" else judge.mark(
            link.url, link.state, verdict, now, in_feed=link.in_feed
        )
        links.put_by_hand([(link.id, state)], now)
    click.echo(f"{link.url}: {state.verdict}")
    _publish_now(config_path)


@links_group.command("recheck")
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--verdict", type=click.Choice(VERDICTS), help="Every link with this verdict.")
@click.pass_obj
def recheck_links(config_path: str, urls: tuple[str, ...], verdict: Any) -> None:
    """Let links be checked in the next run."""
    if not urls and not verdict:
        raise click.UsageError("which links? Give URLs, or --verdict")
    with _opened(config_path, to_write=True) as links:
        ids = [_find(links, url).id for url in urls]
        ids += [link.id for link in _every(links, verdict)] if verdict else []
        with links.transaction():
            links.put_due(ids, int(time.time()))
    click.echo(f"{len(ids)} links are due")


@links_group.command("export")
@click.option("--format", "fmt", type=click.Choice(["csv", "json"]), default="csv", show_default=True,
              help="What is written.")
@click.pass_obj
def export_links(config_path: str, fmt: str) -> None:
    """Write all links to standard output, as CSV or as JSON lines."""
    from feedd.linkcheck import rows

    with _opened(config_path) as links:
        writer = csv.DictWriter(sys.stdout, rows.COLUMNS)
        if fmt == "csv":
            writer.writeheader()
        for link in links.iter_links():
            if fmt == "csv":
                writer.writerow({key: _safe(value) for key, value in _row(link).items()})
            else:
                click.echo(json.dumps(_row(link), ensure_ascii=False))


def _safe(value: object) -> object:
    """A text that no spreadsheet takes for a formula."""
    return "'" + value if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _publish_now(config_path: str) -> None:
    import structlog

    from feedd import logs
    from feedd.daemon import opening

    settings = _settings(config_path)
    logs.configure(settings.log.format, settings.log.level, sys.stderr)
    _publish(settings, opening.plan_of(settings), structlog.get_logger("feedd"))


@contextmanager
def _opened(config_path: str, *, to_write: bool = False) -> Iterator[Links]:
    from feedd.store.links import open_links

    settings = _settings(config_path, only_reads=not to_write)
    folder = str(settings.state.path)
    with _in_words():
        links = open_links(folder, read_only=True)
        if to_write:  # never links where there are none
            links.close()
            links = open_links(folder)
        try:
            yield links
        finally:
            links.close()


@contextmanager
def _in_words() -> Iterator[None]:
    from feedd.store.sqlite import errors_in_words

    with errors_in_words():
        yield


def _every(links: Links, verdict: Any) -> Iterator[Link]:
    after = 0
    while found := links.list_by_verdict(verdict, after, _PAGE):
        yield from found
        after = found[-1].id


def _row(link: Link) -> dict[str, Any]:
    """A link as the operator sees it; times in RFC 3339, None for never."""
    from msgspec.structs import asdict

    from feedd.linkcheck.rows import link_row

    return asdict(link_row(link))
