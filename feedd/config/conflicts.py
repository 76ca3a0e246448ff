"""Keys that are right alone and wrong together. Looks where links of folders lead, and at nothing else.

Used by `config`, when each key has been looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from feedd import plan
from feedd.config.keys import Config
from feedd.config.messages import dotted
from feedd.config.values import toml


def conflicts(config: Config, file: Path) -> Iterator[tuple[str, str, str]]:
    """Keys that are right alone and wrong together: the one to change, the other one, and why."""
    articles, feeds, state = config.articles, config.feeds, config.state
    if config.hub.enabled and not config.server.enabled:
        yield "hub.enabled", "server.enabled", "true is not allowed: subscribers reach the hub through the server"
    if config.links.cron and not _is_cron(config.links.cron):
        yield "links.cron", "", f"{toml(config.links.cron)} is not allowed; allowed: five fields that name some time"
    if config.server.status == "token" and not config.server.token:
        yield "server.token", "server.status", 'is missing, and server.status is "token": nobody could see /-/'
    if articles.max_wait_ms < articles.settle_ms:
        least = f"at least articles.settle_ms, which is {articles.settle_ms}"
        yield "articles.max_wait_ms", "articles.settle_ms", f"{articles.max_wait_ms} is not allowed; allowed: {least}"
    for key, other, inner, outer, why in (
        ("feeds.path", "", file, feeds.path, "what lies below it is published, and this file would be"),
        ("articles.path", "feeds.path", articles.path, feeds.path, "what lies below feeds.path is published"),
        ("state.path", "feeds.path", state.path, feeds.path, "what lies below feeds.path is published"),
        ("feeds.path", "articles.path", feeds.path, articles.path, "feedd would read what it wrote"),
        ("state.path", "articles.path", state.path, articles.path, "feedd would watch its own state"),
    ):
        if _lies_in(inner, outer, hidden_is_apart=other == "articles.path"):
            allowed = f"a folder outside {other}" if other else "another folder"
            allowed += ", or below a hidden folder in it" if other == "articles.path" else ""
            yield key, other, f"{toml(inner if other else outer)} is not allowed: {why}; allowed: {allowed}"
    for kind, names in (("topic", feeds.topic), ("category", feeds.category)):
        first: dict[str, str] = {}
        for name in names:
            other = first.setdefault(feed_key(kind, name), name)
            if other is not name:
                twice = f"is the same {kind} as {toml(other)}, and each has one table"
                yield dotted(["feeds", kind, name]), "", twice
    for name, custom in feeds.custom.items():
        for condition in ("topics", "providers", "categories", "types", "languages"):
            kind = "topic" if condition == "topics" else condition
            wanted = {feed_key(kind, value) for value in getattr(custom, condition)}
            both = [value for value in getattr(custom, f"not_{condition}") if feed_key(kind, value) in wanted]
            if both:
                key = f"feeds.custom.{name}.not_{condition}"
                text = f"{toml(both)} is not allowed; allowed: what {condition} does not ask for"
                yield key, f"feeds.custom.{name}.{condition}", text


def _lies_in(inner: Path, outer: Path, *, hidden_is_apart: bool) -> bool:
    """Whether `inner` is `outer` or below it, links followed. The watcher does not enter hidden folders."""
    real_inner, real_outer = Path(os.path.realpath(inner)), Path(os.path.realpath(outer))
    if not real_inner.is_relative_to(real_outer):
        return False
    steps = real_inner.relative_to(real_outer).parts
    return not (hidden_is_apart and any(step.startswith(".") for step in steps))


def _is_cron(text: str) -> bool:
    """Whether the five fields name times."""
    from feedd import schedule  # with APScheduler, for those alone who ask

    try:
        schedule.cron(text)
    except ValueError:
        return False
    return True


def feed_key(kind: str, name: str) -> str:
    """A feed's key as `plan.feeds_of` gives it."""
    return plan.topic_key(name) if kind == "topic" else name.casefold()
