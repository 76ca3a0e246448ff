"""A folder -> what articles it holds -> a commented config.toml for them: what `feedd init DIR` does.

Reads every article once, remembers counts only, and writes that one file, never over another; where there are no
articles yet, makes a folder for them. Says nothing by itself: `describe` returns the text. Called by the command line.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from pydantic.fields import FieldInfo

from feedd import config, errors, files, logs, model, parse
from feedd.config.keys import Config, Table, below, extra
from feedd.config.values import toml

CONFIG_NAME = "config.toml"
_MAX_BYTES = 8 << 20
_UNKNOWN_SITE = "http://site.invalid"  # relative URLs come out below it (RFC 2606), and are seen to have been relative
_COMMENT_COLUMN = 36
_SHOWN = 10  # of each list, in `describe`

Counts = tuple[tuple[str, int], ...]
"""Names with how often each occurs, the most frequent first."""


class Problem(Struct, frozen=True):
    """A file that feedd cannot use as it is; `line` is 0 where the trouble has no place in the text."""

    path: str
    line: int
    message: str


class Findings(Struct, frozen=True):
    """What a folder holds. `articles_path` is relative to the folder; `first_at` and `last_at` are of publication.

    `hosts` are those that all articles link to; topics, providers, categories and dates are those of published ones.
    `relative` counts published articles that need `site.url`; `site_url` and `language` are guesses, or empty.
    """

    articles_path: str
    suffixes: Counts
    published: int
    unpublished: int
    metadata: int
    topics: Counts
    providers: Counts
    categories: Counts
    hosts: Counts
    relative: int
    first_at: int | None
    last_at: int | None
    site_url: str
    language: str
    problems: tuple[Problem, ...]

    @property
    def articles(self) -> int:
        """How many files are readable articles."""
        return self.published + self.unpublished


# --- looking ---------------------------------------------------------------------------------------------------------


def inspect(folder: str) -> Findings:
    """Read all articles below `folder`, or below its `articles/` where there is one. Raises files.RootGoneError."""
    inside = "articles" if os.path.isdir(os.path.join(folder, "articles")) else ""
    problems: list[Problem] = []
    articles: dict[str, model.Article] = {}
    metadata: list[str] = []
    relative = 0

    def skipped(path: str, why: str) -> None:
        problems.append(Problem(path, 0, why))

    for path, _ in files.scan(folder, under=inside, on_problem=skipped):
        try:
            data = _read(folder, path)
            if parse.metadata_kind(path):
                parse.parse_metadata(data, path, _UNKNOWN_SITE)
                metadata.append(path)
            else:
                article = parse.parse(data, path, _UNKNOWN_SITE)
                relative += article.public and _needs_site_url(article)
                articles[path] = _slim(article)
        except errors.ArticleError as error:
            field = f"{error.field}: " if error.field else ""
            problems.append(Problem(path, error.line, field + error.message))
    root = inside or _common_folder([*articles, *metadata])
    public = [article for article in articles.values() if article.public]
    dates = [article.published_at for article in public if article.published_at is not None]
    origins = Counter(_origin(article.url) for article in articles.values() if article.has_own_url)
    return Findings(
        articles_path=root or ("." if articles or problems else "articles"),
        suffixes=_ranked(Counter(os.path.splitext(path)[1].lower() for path in articles)),
        published=len(public),
        unpublished=len(articles) - len(public),
        metadata=len(metadata),
        topics=_ranked(Counter(topic for article in public for topic in article.topics)),
        providers=_ranked(Counter(article.provider.domain or article.provider.name for article in public)),
        categories=_ranked(Counter(article.category for article in public)),
        hosts=_ranked(Counter(urlsplit(article.url).netloc for article in articles.values() if article.has_own_url)),
        relative=relative,
        first_at=min(dates, default=None),
        last_at=max(dates, default=None),
        site_url=_icon_site(public) or _main(origins, len(articles)),
        language=_main(Counter(article.language for article in public), len(public)),
        problems=tuple(problem for problem in problems if not root or problem.path.startswith(root + "/")),
    )


def _read(folder: str, path: str) -> bytes:
    read = files.read(folder, path, max_bytes=_MAX_BYTES, now_ns=time.time_ns())
    if isinstance(read, files.Read):
        return read.data
    raise errors.ArticleError(path, "changes at this moment")


def _slim(article: model.Article) -> model.Article:
    """Without what is long and not counted: a hundred thousand of them are held at once."""
    return model.Article(
        title="", url=article.url, summary="", public=article.public, has_own_url=article.has_own_url,
        published_at=article.published_at, category=article.category, language=article.language,
        provider=article.provider, topics=article.topics,
    )  # fmt: skip


def _common_folder(paths: Iterable[str]) -> str:
    """The one top folder that all paths share, else "". A year is none: the next one would not be watched."""
    tops = {path.partition("/")[0] if "/" in path else "" for path in paths}
    top = tops.pop() if len(tops) == 1 else ""
    return "" if top.isdigit() or _refused("articles", {"path": top}) else top


def _icon_site(articles: list[model.Article]) -> str:
    """Where icons of several providers come from, none of them its own: who collects others' stories hosts those."""
    providers = {article.provider for article in articles if article.provider.icon_url}
    origins = Counter(
        _origin(provider.icon_url) for provider in providers if provider.domain not in _origin(provider.icon_url)
    )
    return _main(origins, len(providers)) if len(providers) > 1 else ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc and not url.startswith(_UNKNOWN_SITE) else ""


def _needs_site_url(article: model.Article) -> bool:
    urls = [article.url, article.provider.icon_url, *(image.url for image in article.images)]
    return any(url.startswith(_UNKNOWN_SITE) for url in urls)


def _ranked(counter: Counter[str]) -> Counts:
    return tuple(sorted(((name, n) for name, n in counter.items() if name), key=lambda pair: (-pair[1], pair[0])))


def _main(counter: Counter[str], total: int) -> str:
    """The name that more than half of all have, and two at least, else ""."""
    ranked = _ranked(counter)
    return ranked[0][0] if ranked and ranked[0][1] > max(1, total // 2) else ""


# --- telling ---------------------------------------------------------------------------------------------------------


def describe(findings: Findings) -> str:
    """The findings for people: some lines of plain text, safe on a terminal."""
    return "\n".join(map(logs.escape, _sentences(findings)))


def _sentences(found: Findings) -> Iterator[str]:
    if not found.articles and not found.problems:
        yield "No articles yet."
        return
    suffixes = ", ".join(f"{n} {suffix}" for suffix, n in found.suffixes)
    yield f"Articles: {found.articles}{f' ({suffixes})' if suffixes else ''}, of which {found.published} published."
    if found.first_at is not None and found.last_at is not None:
        yield f"Dated {_day(found.first_at)} to {_day(found.last_at)}."
    for what, counts in (("Topics", found.topics), ("Providers", found.providers), ("Categories", found.categories)):
        if counts:
            yield f"{what} ({len(counts)}): {_some([f'{name} {n}' for name, n in counts])}."
    if found.metadata:
        yield f"Files that describe topics and providers: {found.metadata}."
    if found.relative:
        yield f"Articles with relative URLs, or without an address: {found.relative}; site.url completes them."
    if found.site_url:
        yield f"A guess, to be looked at: site.url is {found.site_url}."
    if found.problems:
        yield f"Files that cannot be read as articles: {len(found.problems)}."
        for problem in found.problems[:_SHOWN]:
            yield f"  {problem.path}{f':{problem.line}' if problem.line else ''}: {problem.message}"
        if len(found.problems) > _SHOWN:
            yield f"  and {len(found.problems) - _SHOWN} more"


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


# --- writing ---------------------------------------------------------------------------------------------------------


def write_config(folder: str, findings: Findings) -> str:
    """Write `folder`/config.toml, return its path; where there are no articles yet, make their folder.

    Raises ConfigError if there is one, or if it cannot be written.
    """
    path = os.path.join(folder, CONFIG_NAME)
    title = os.path.basename(os.path.abspath(folder))
    try:
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(config_text(guesses(findings, title), HEADER))
    except FileExistsError as error:
        raise errors.ConfigError(path, [("", "is there already, and stays; move it away for a new one")]) from error
    except OSError as error:
        raise errors.ConfigError(path, [("", f"cannot be written: {errors.in_words(error)}")]) from error
    articles = os.path.join(folder, findings.articles_path)
    try:
        os.makedirs(articles, exist_ok=True)
    except OSError as error:
        raise errors.ConfigError(articles, [("", f"cannot be made: {errors.in_words(error)}")]) from error
    return path


def guesses(findings: Findings, title: str) -> dict[str, object]:
    """What the findings suggest to set, by dotted key; only what config.toml may hold."""
    site = {"title": title, "url": findings.site_url, "language": findings.language}
    values: dict[str, object] = {
        f"site.{key}": value for key, value in site.items() if value and not _refused("site", {key: value})
    }
    values["articles.path"] = findings.articles_path
    # beside the articles; where these begin in the folder itself, below a hidden one, which the watcher does not enter
    beside = ".feedd/" if findings.articles_path == "." else ""
    return values | {"feeds.path": beside + "feeds", "state.path": beside + "state"}


def _refused(section: str, values: dict[str, Any]) -> bool:
    return bool(config.validate(Config, {section: values})[1])


HEADER = """\
# feedd's configuration. Every key is here: one with a # before it has its default or, where that follows from other
# keys, shows an example. Paths are relative to this file. `feedd check-config` says what is wrong with it.
"""


def config_text(values: Mapping[str, object], header: str) -> str:
    """A whole config.toml: those values set, every other key there with its default, but commented out."""
    return header + "".join(_table_text(Config, "", values))


def _table_text(table: type[Table], name: str, values: Mapping[str, object]) -> Iterator[str]:
    tables: list[str] = []
    seen: list[type[Table]] = []
    for key, field in table.model_fields.items():
        inner, named = below(field)
        dotted = f"{name}.{key}" if name else key
        if inner is None:
            yield _line(key, values.get(dotted), field)
            continue
        title = f"#[{dotted}.{extra(field)['example']}]" if named else f"[{dotted}]"
        tables.append(f"\n{title:<{_COMMENT_COLUMN - 1}} # {field.description}\n")
        if inner not in seen:
            tables += _table_text(inner, f"{dotted}.<name>" if named else dotted, values)
        seen += [inner] if named else []
    yield from tables


def _line(key: str, value: object, field: FieldInfo) -> str:
    more = extra(field)
    if value is None:
        shown = f"#{key} = {toml(field.default if more['example'] is None else more['example'])}"
    else:
        shown = f"{key} = {toml(value)}"
    comment = f"{field.description}" + (f"; default: {more['otherwise']}" if more["otherwise"] else "")
    return f"{shown:<{_COMMENT_COLUMN - 1}} # {comment}\n"
