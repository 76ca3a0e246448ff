"""The state -> what an operator wants to know, as plain data and as text. Called by `feedd status`."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any

import click

from feedd import config, site
from feedd.service.running import is_running
from feedd.store import open_store


def status(settings: config.Config) -> dict[str, Any]:
    """Counts, problems by file, the last changes, and every feed with its documents' state."""
    folder = os.path.abspath(settings.state.path)
    with open_store(folder, read_only=True) as state:
        live = {document.feed_id: document for document in state.list_documents(page=0)}
        feeds = [
            {
                "feed": site.base_path(feed.kind, feed.slug or ""), "title": feed.label,
                "entries": live[feed.id].entries, "bytes": live[feed.id].bytes,
                "written_at": _time(live[feed.id].written_at),
                "waiting": live[feed.id].dirty_seq != live[feed.id].built_seq, "error": live[feed.id].error,
            }
            for feed in state.list_feeds() if feed.id in live
        ]
        return {
            "running": is_running(folder),
            "articles": os.path.abspath(settings.articles.path), "output": os.path.abspath(settings.feeds.path),
            "counts": state.count(), "waiting": state.count_dirty(),
            "problems": [
                {"path": p.path, "line": p.line, "column": p.column, "field": p.field, "reason": p.message,
                 "since": _time(p.since_at)}
                for p in state.list_problems()
            ],
            "failed": [feed for feed in feeds if feed["error"]],
            "changes": [{"at": _time(at), "path": path, "what": what} for at, path, what in state.list_changes(20)],
            "feeds": feeds,
        }


def show(found: dict[str, Any], *, all_feeds: bool) -> None:
    """The same for people."""
    counts = found["counts"]
    click.echo(f"feedd is {'running' if found['running'] else 'not running'}: {found['articles']} -> {found['output']}")
    click.echo(
        f"{counts['articles']} articles, {counts['entries']} entries, {counts['held']} held for later, "
        f"{counts['feeds']} feeds, {counts['archives']} archives, {found['waiting']} documents to be written"
    )
    for problem in found["problems"]:
        place = f":{problem['line']}:{problem['column']}" if problem["line"] else ""
        field = f"{problem['field']}: " if problem["field"] else ""
        click.echo(f"problem: {problem['path']}{place}: {field}{problem['reason']} (since {problem['since']})")
    for feed in found["failed"]:
        click.echo(f"not written: {feed['feed']}: {feed['error']}")
    for change in found["changes"]:
        click.echo(f"change: {change['at']} {change['what']}: {change['path']}")
    shown = found["feeds"] if all_feeds else found["feeds"][:20]
    for feed in shown:
        click.echo(f"feed: {feed['feed']}: {feed['entries']} entries, written {feed['written_at'] or 'never'}")
    if len(shown) < len(found["feeds"]):
        click.echo(f"... and {len(found['feeds']) - len(shown)} more feeds (--feeds)")


def _time(seconds: int | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds is not None else None
