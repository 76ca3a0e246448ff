"""config.toml -> Config: typed, frozen, every default filled in; or one ConfigError that names every problem.

Only edges import this module; they hand plain values down. A message says the key, its value and what is
allowed; where a key's name says secret, or a value carries a password, the value stays out of it.
No folder is made and nothing is written here; `warnings` is the one function that looks at other files.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic.fields import FieldInfo

from feedd import plan, site
from feedd.config.keys import Config as Config
from feedd.config.keys import CustomFeed, Links, Override, Table, extra, fields
from feedd.config.keys import Server as Server
from feedd.config.messages import Problem, dotted
from feedd.config.messages import validate as validate
from feedd.config.values import toml
from feedd.errors import ConfigError
from feedd.freshness import effects

# --- reading ---------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], *, instead_of: str | os.PathLike[str] | None = None) -> Config:
    """The configuration in that file, as if it were `instead_of`, if given: its folders begin there.

    Raises ConfigError with every problem at once.
    """
    return _load(path, Path(instead_of or path))[1]


def _load(path: str | os.PathLike[str], place: Path) -> tuple[Config, Config]:
    """What the file says, and what that comes to."""
    said, problems = validate(Config, _parse(path))
    config = _resolve(said, place)
    wrong = {key for key, _ in problems}
    for key, other, text in _conflicts(config, place):
        if not wrong & {key, other}:  # else it may follow from what is said already
            wrong.add(key)
            problems.append((key, text))
    if problems:
        raise ConfigError(os.fspath(path), problems)
    return said, config


def reload(path: str | os.PathLike[str], running: Config) -> tuple[Config, tuple[str, ...]]:
    """What takes effect in a process that runs by `running`, and the keys that wait for its restart.

    Those keep their values. Where the rest of the file does not go together with them, all of it waits.
    Raises ConfigError with every problem of the file at once.
    """
    said, config = _load(path, Path(path))
    waiting = tuple(key for key in changed_keys(running, config) if key in RESTART)
    if not waiting:
        return config, ()
    for key in waiting:
        section, _, name = key.partition(".")
        kept = getattr(getattr(running, section), name)
        said = said.model_copy(update={section: getattr(said, section).model_copy(update={name: kept})})
    kept = _resolve(said, Path(path))
    if any(_conflicts(kept, Path(path))):
        return running, changed_keys(running, config)
    return kept, waiting


def changed_keys(old: Config, new: Config) -> tuple[str, ...]:
    """The keys, dotted, whose values differ; derived ones with those that they follow. No values: some are secret."""
    return tuple(_differences(old, new, []))


def _differences(old: object, new: object, keys: list[str]) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, Table) and type(old) is type(new):
        for key in type(old).model_fields:
            yield from _differences(getattr(old, key), getattr(new, key), [*keys, key])
    elif isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(old.get(name), new.get(name), [*keys, name])
    else:
        yield dotted(keys)


def warnings(config: Config) -> list[Problem]:
    """What works but is hardly meant. Looks whether the folder of articles exists."""
    found: list[Problem] = []
    here = _server_url(config.server)
    if config.site.url == here:
        found.append(("site.url", f"not set: relative URLs in articles become addresses below {here}"))
    if config.site.public_url == here:
        found.append(("site.public_url", f"not set: feeds name {here} as their address, for this machine alone"))
    if not config.articles.path.is_dir():
        found.append(("articles.path", f"there is no folder {toml(str(config.articles.path))} yet"))
    hidden = [name for name, feed in config.feeds.custom.items() if feed.private]
    server = config.server
    is_here = server.host in ("localhost", "::1") or server.host.startswith("127.")
    if hidden and not (server.enabled and (server.token or server.private_networks or is_here)):
        why = "set server.token or server.private_networks" if server.enabled else "server.enabled is false"
        found.append((f"feeds.custom.{hidden[0]}.private", f"nobody can read it over HTTP: {why}"))
    return found


def settings(config: Config) -> site.Settings:
    """All that feeds depend on, as the plain values that core and services take."""
    own, feeds = config.site, config.feeds
    public = {name: feed for name, feed in feeds.custom.items() if not feed.private}
    private = {name: feed for name, feed in feeds.custom.items() if feed.private}
    tables: list[tuple[str, Mapping[str, Override]]] = [
        ("topic", feeds.topic), ("provider", feeds.provider), ("category", feeds.category), ("custom", public),
        ("private", private),
    ]
    return site.Settings(
        title=own.title,
        url=own.url.rstrip("/"),
        public_url=own.public_url.rstrip("/"),
        tag_host=own.tag_host,
        tag_date=own.tag_date,
        language=feeds.language,
        author=feeds.author,
        description=own.description,
        limit=feeds.limit,
        formats=feeds.formats,
        archives=feeds.archives,
        full_content=feeds.full_content,
        encodings=feeds.compress,
        ttl_minutes=feeds.ttl_minutes,
        pages=feeds.pages,
        hubs=config.hub.urls,
        own_hub=own.public_url.rstrip("/") + "/hub" if config.hub.enabled else "",
        links=_effects(config.links),
        rules=plan.Rules(
            topics=feeds.topics,
            providers=feeds.providers,
            categories=feeds.categories,
            language=own.language,
            custom=tuple(sorted((name, feed.filter()) for name, feed in public.items())),
            private=tuple(sorted((name, feed.filter()) for name, feed in private.items())),
        ),
        feeds={
            (kind, _feed_key(kind, name)): site.FeedSettings(
                title=feed.title,
                description=feed.description,
                language=feed.language,
                author=feed.author,
                limit=feed.limit,
                full_content=feed.full_content,
                formats=(feed.formats if isinstance(feed, CustomFeed) else ()) or None,
            )
            for kind, table in tables
            for name, feed in table.items()
        },
    )


def _feed_key(kind: str, name: str) -> str:
    """A feed's key as `plan.feeds_of` gives it."""
    return plan.topic_key(name) if kind == "topic" else name.casefold()


def _parse(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        what = "there is no such file; `feedd init DIR` writes one"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (at line {error.object.count(10, 0, error.start) + 1})"
    except RecursionError:
        what = "nested too deeply"
    except ValueError as error:  # tomllib's, which name a place and never a value
        what = f"not TOML: {error}" + ("; text needs quotes" if str(error).startswith("Invalid value") else "")
    raise ConfigError(os.fspath(path), [("", what)])


# --- what follows from several keys ----------------------------------------------------------------------------------


def _server_url(server: Server) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


def _tag_host(site_url: str) -> str:
    """RFC 4151 wants a host name; and no id may hang on the server's address, which stands in for an unset URL."""
    host = urlsplit(site_url).hostname or ""
    return "localhost" if not host or ":" in host else host.rstrip(".")


def _is_cron(text: str) -> bool:
    """Whether the five fields name times."""
    from feedd import schedule  # with APScheduler, for those alone who ask

    try:
        schedule.cron(text)
    except ValueError:
        return False
    return True


def _effects(links: Links) -> effects.Rules | None:
    if not links.enabled:
        return None
    return effects.Rules(dead=links.dead, dead_mark=links.dead_mark, follow_moves=links.follow_moves)


def _resolve(config: Config, file: Path) -> Config:
    """Derived defaults filled in, folders absolute: relative ones start at the file's folder."""
    site, feeds, here = config.site, config.feeds, _server_url(config.server)
    site = site.model_copy(
        update={
            "url": site.url or here,
            "public_url": site.public_url or here,
            "author": site.author or site.title,
            "tag_host": site.tag_host or _tag_host(site.url),
        }
    )
    base = Path(os.path.abspath(file)).parent

    def placed(folder: Path) -> dict[str, Path]:
        return {"path": Path(os.path.normpath(base / folder))}

    own = {"language": feeds.language or site.language, "author": feeds.author or site.author}
    return config.model_copy(
        update={
            "site": site,
            "articles": config.articles.model_copy(update=placed(config.articles.path)),
            "feeds": feeds.model_copy(update=placed(feeds.path) | own),
            "state": config.state.model_copy(update=placed(config.state.path)),
            "links": config.links.model_copy(update={"contact": config.links.contact or site.url}),
        }
    )


def _conflicts(config: Config, file: Path) -> Iterator[tuple[str, str, str]]:
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
            other = first.setdefault(_feed_key(kind, name), name)
            if other is not name:
                twice = f"is the same {kind} as {toml(other)}, and each has one table"
                yield dotted(["feeds", kind, name]), "", twice
    for name, custom in feeds.custom.items():
        for condition in ("topics", "providers", "categories", "types", "languages"):
            kind = "topic" if condition == "topics" else condition
            wanted = {_feed_key(kind, value) for value in getattr(custom, condition)}
            both = [value for value in getattr(custom, f"not_{condition}") if _feed_key(kind, value) in wanted]
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


# --- for people ------------------------------------------------------------------------------------------------------


RESTART = frozenset(key for key, field in fields(Config) if extra(field)["restart"])
"""Keys that take effect when feedd starts. They are not below tables of the user's own names."""


def reference() -> list[tuple[str, str, str]]:
    """Every key as (dotted key, its default as TOML or in words, one line of comment).

    A kind of table that several names share (`feeds.topic.<name>`, `feeds.provider.<name>`) is spelled out once.
    """
    return [(key, _default(field), str(field.description)) for key, field in fields(Config)]


def _default(field: FieldInfo) -> str:
    otherwise = extra(field)["otherwise"]
    if otherwise:
        return str(otherwise)
    return "none" if field.default is None or field.default in ("", (), {}) else toml(field.default)


def table() -> str:
    """The reference as a Markdown table, for the README."""
    lines = ["| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | {default} | {comment} |" for key, default, comment in reference()]
    return "\n".join(lines) + "\n"
