"""config.toml -> Config: typed, frozen, every default filled in; or one ConfigError that names every problem.

Only edges import this module; they hand plain values down. A message says the key, its value and what is
allowed; where a key's name says secret, or a value carries a password, the value stays out of it.
No folder is made and nothing is written here.

| module | has |
|---|---|
| `keys`, `values` | the keys: type, default, meaning; what a value may be |
| `messages`, `lines` | what is wrong with a key, in words; the line where it stands |
| `conflicts`, `hints` | keys that are wrong together; what works and is hardly meant |
| `variables` | secrets that are left to the environment |
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic.fields import FieldInfo

from feedd import errors, plan, site
from feedd.config import variables as variables
from feedd.config.conflicts import conflicts, feed_key
from feedd.config.hints import server_url
from feedd.config.hints import warnings as warnings
from feedd.config.keys import Config as Config
from feedd.config.keys import CustomFeed, Links, Override, Table, extra, fields
from feedd.config.keys import Server as Server
from feedd.config.lines import lines, steps_of
from feedd.config.messages import Problem, dotted, drop, instead
from feedd.config.messages import validate as validate
from feedd.config.values import toml
from feedd.freshness import effects

# --- reading ---------------------------------------------------------------------------------------------------------


def load(
    path: str | os.PathLike[str], *, instead_of: str | os.PathLike[str] | None = None,
    secrets: Collection[str] = variables.TABLES,
) -> Config:
    """The configuration in that file, as if it were `instead_of`, if given: its folders begin there.

    `secrets`: the tables for whose secrets the environment is to have all that they name; `()` for who needs none.
    Raises ConfigError with every problem at once.
    """
    return _load(path, Path(instead_of or path), secrets)[1]


def _load(path: str | os.PathLike[str], place: Path, secrets: Collection[str]) -> tuple[Config, Config]:
    """What the file says, and what that comes to."""
    text = _read(path)
    said, config, problems = _judge(_parse(path, text), place, set())
    problems += variables.problems(said, secrets)
    if problems:
        raise errors.ConfigError(os.fspath(path), problems, lines(text))
    return said, config


def _judge(raw: dict[str, Any], place: Path, known: Collection[str]) -> tuple[Config, Config, list[Problem]]:
    """What a table says, what that comes to, and what is wrong besides `known` keys. `raw` loses keys wrong alone."""
    said, problems = validate(Config, raw)
    config = _resolve(said, place)
    wrong = {*known, *(key for key, _ in problems)}
    for key, other, text in conflicts(config, place):
        if not wrong & {key, other}:  # else it may follow from what is said already
            wrong.add(key)
            problems.append((key, text))
    return said, config, problems


def salvage(path: str | os.PathLike[str], *needs: str) -> tuple[Config, list[str]]:
    """For commands that look or save: the configuration with wrong keys at their defaults, and a sentence for each.

    Raises ConfigError with every problem where folders, or any of the keys in `needs`, might be meant otherwise.
    """
    text = _read(path)
    raw, found = _parse(path, text), list[Problem]()
    while True:
        _, config, problems = _judge(raw, Path(path), {key for key, _ in found})
        found += problems
        if not problems:
            break
        for key, _ in problems:
            drop(raw, steps_of(key))
    if not found:
        return config, []
    at, whole = lines(text), tomllib.loads(text)
    if any(_is_needed(steps_of(key), whole, (*_FOLDERS, *needs)) for key, _ in found):
        raise errors.ConfigError(os.fspath(path), found, at)
    warned = [(key, f"{what} (a warning: {instead(what)})") for key, what in found]
    return config, errors.ConfigError(os.fspath(path), warned, at).sentences()


_FOLDERS = ("articles.path", "feeds.path", "state.path")


def _is_needed(wrong: Sequence[str], whole: Mapping[str, Any], needs: Sequence[str]) -> bool:
    """Whether a wrong key is one of them, holds one or is in one; or may be meant for a folder's path."""
    for need in needs:
        steps = need.split(".")
        if list(wrong[: len(steps)]) == steps[: len(wrong)]:
            return True
    inside: Any = whole
    for step in wrong:
        inside = inside.get(step) if isinstance(inside, Mapping) else None
    names = [wrong[-1], *(inside if isinstance(inside, Mapping) else ())]
    return any(difflib.get_close_matches(name, ["path"]) for name in names)


def reload(path: str | os.PathLike[str], running: Config) -> tuple[Config, tuple[str, ...]]:
    """What takes effect in a process that runs by `running`, and the keys that wait for its restart.

    Those keep their values. Where the rest of the file does not go together with them, all of it waits.
    Raises ConfigError with every problem of the file at once.
    """
    said, config = _load(path, Path(path), variables.TABLES)
    waiting = tuple(key for key in changed_keys(running, config) if key in RESTART)
    if not waiting:
        return config, ()
    for key in waiting:
        section, _, name = key.partition(".")
        kept = getattr(getattr(running, section), name)
        said = said.model_copy(update={section: getattr(said, section).model_copy(update={name: kept})})
    kept = _resolve(said, Path(path))
    if any(conflicts(kept, Path(path))):
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
            (kind, feed_key(kind, name)): site.FeedSettings(
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


def _read(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        what, line = "there is no such file; `feedd init DIR` writes one", 0
    except OSError as error:
        what, line = f"cannot be read: {errors.in_words(error)}", 0
    except UnicodeDecodeError as error:
        line = error.object.count(10, 0, error.start) + 1
        what = f"not UTF-8 (at line {line})"
    raise errors.ConfigError(os.fspath(path), [("", what)], {"": line})


def _parse(path: str | os.PathLike[str], text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        what = "nested too deeply"
    except ValueError as error:  # tomllib's, which name a place and never a value
        what = f"not TOML: {error}" + ("; text needs quotes" if str(error).startswith("Invalid value") else "")
    place = re.search(r"\(at line (\d+), ", what)
    raise errors.ConfigError(os.fspath(path), [("", what)], {"": int(place[1]) if place else 0})


def lines_of(path: str | os.PathLike[str]) -> dict[str, int]:
    """Dotted key -> its line in that file. Raises ConfigError where it cannot be read."""
    return lines(_read(path))


# --- what follows from several keys ----------------------------------------------------------------------------------


def _tag_host(site_url: str) -> str:
    """RFC 4151 wants a host name; and no id may hang on the server's address, which stands in for an unset URL."""
    host = urlsplit(site_url).hostname or ""
    return "localhost" if not host or ":" in host else host.rstrip(".")


def _effects(links: Links) -> effects.Rules | None:
    if not links.enabled:
        return None
    return effects.Rules(dead=links.dead, dead_mark=links.dead_mark, follow_moves=links.follow_moves)


def _resolve(config: Config, file: Path) -> Config:
    """Derived defaults filled in, folders absolute: relative ones start at the file's folder."""
    site, feeds, here = config.site, config.feeds, server_url(config.server)
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
            "server": config.server.model_copy(update={"token": variables.token(config)}),
            "links": config.links.model_copy(update={"contact": config.links.contact or site.url}),
        }
    )


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
