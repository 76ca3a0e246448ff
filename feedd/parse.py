"""Bytes and path of a source file -> model.Article or model.Metadata, typed, plain, clean; or an error with its place.

Tolerates every shape that real files have; refuses only what has no meaning. Reads no file, decides nothing about
feeds. Called by `ingest` for each file that changed, and 100,000 times in a cold build.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import quote

from feedd import errors, frontmatter, html, model, text

MAX_TEXT: Final = 65_536  # characters of one field
MAX_ITEMS: Final = 1_000  # of one list
_TITLE_LENGTH: Final = 100  # of a title made from other text
_SUMMARY_LENGTH: Final = 1_000  # of a summary made from the body

_EXTENSION = re.compile(r"\.(?:md|markdown|html?|txt|ya?ml)\Z", re.IGNORECASE)
_HTML_FILE = re.compile(r"\.html?\Z", re.IGNORECASE)
_METADATA = re.compile(
    r"(?:^|/)_data/(?:(topics)/(?:[^/]+/)*[^/]+\.ya?ml|organizations/(?:[^/]+/)*[^/]+\.(?:md|ya?ml))\Z"
)
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = -2_208_988_800, 253_402_300_799  # 1900-01-01 and the end of the year 9999
_NO_PROVIDER = model.Provider()


class _Problem(Exception):
    """A field whose value has no meaning."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


def metadata_kind(path: str) -> Literal["topic", "provider"] | None:
    """What a source path describes: a topic, a provider, or (None) an article."""
    if "_data/" not in path:
        return None
    match = _METADATA.search(path)
    if match is None:
        return None
    return "topic" if match[1] else "provider"


def parse(data: bytes, path: str, site_url: str) -> model.Article:
    """The article in a file. `path` is relative to the articles' root; `site_url` is what relative URLs mean.

    Of an article that is not public only title, URL and original URL are filled in. Raises errors.ArticleError.
    """
    fields, body = frontmatter.load(data, path)
    try:
        return _article(fields, body, path, site_url)
    except _Problem as problem:
        raise _located(data, path, problem, yaml_only=False) from None


def parse_metadata(data: bytes, path: str, site_url: str) -> model.Metadata:
    """The description of a topic or a provider, at a path that `metadata_kind` knows. Raises errors.ArticleError."""
    yaml_only = not path.endswith(".md")
    fields, _ = frontmatter.load(data, path, yaml_only=yaml_only)
    try:
        return _metadata(fields, metadata_kind(path) or "topic", site_url)
    except _Problem as problem:
        raise _located(data, path, problem, yaml_only=yaml_only) from None


def _located(data: bytes, path: str, problem: _Problem, *, yaml_only: bool) -> errors.ArticleError:
    line, column = frontmatter.locate(data, path, problem.field, yaml_only=yaml_only)
    return errors.ArticleError(path, problem.message, line=line, column=column, field=problem.field)


def _article(fields: dict[str, Any], body: str, path: str, site_url: str) -> model.Article:
    get = fields.get
    title = _text(get("title"), "title")
    original_url = _url(get("originalUrl"), "originalUrl", site_url)
    own_url = _url(get("webUrl"), "webUrl", site_url) or original_url
    url = own_url or _built_url(path, site_url)
    public = _flag(get("published"), "published", True) and not (
        _flag(get("removed"), "removed", False) or _flag(get("deleted"), "deleted", False)
    )
    if not public:
        return model.Article(title, url, title, False, bool(own_url), original_url=original_url)
    summary = _text(get("excerpt"), "excerpt")
    content = ""
    if body and not body.isspace():
        content = html.render_body(body, not _HTML_FILE.search(path), site_url)
        if not summary:
            summary = _shortened(html.first_paragraph(content), _SUMMARY_LENGTH)
    if not title:
        title = _shortened(summary or html.first_paragraph(content), _TITLE_LENGTH)
        if not title:
            raise _Problem("title", "missing, and no excerpt or body to take it from")
    updated_at = _moment(get("updatedDateTime"), "updatedDateTime")
    published_at = _moment(get("publishedDateTime"), "publishedDateTime")
    featured = get("featuredContent")
    return model.Article(
        title=title,
        url=url,
        summary=summary or title,
        public=True,
        has_own_url=bool(own_url),
        published_at=updated_at if published_at is None else published_at,
        updated_at=updated_at,
        category=_text(get("category"), "category"),
        type=_text(get("type"), "type"),
        language=_language(get("language", get("lang"))),
        original_url=original_url,
        amp_url=_url(get("ampWebUrl"), "ampWebUrl", site_url),
        cdn_amp_url=_url(get("cdnAmpWebUrl"), "cdnAmpWebUrl", site_url),
        provider=_provider(get("provider"), "provider", site_url),
        topics=_names(get("topics"), "topics"),
        images=_images(get("images"), "images", site_url),
        related=_related(get("related"), "related", site_url),
        embed=html.embed_from(_raw(featured, "featuredContent")) if featured else None,
        content_html=content,
        length=_text(get("length"), "length"),
        price=_text(get("price"), "price"),
        levels=_names(get("levels"), "levels"),
        quality=_number(get("quality")),
        heat=_number(get("heat")),
    )


def _metadata(fields: dict[str, Any], kind: Literal["topic", "provider"], site_url: str) -> model.Metadata:
    get = fields.get
    name = _text(get("name"), "name") or _text(get("title"), "title")
    identifier = _text(get("_id"), "_id")
    if kind == "topic":
        key = name or identifier
    else:
        key = _domain(_raw(get("domain"), "domain")) or _domain(identifier) or name
    if not key:
        raise _Problem("name", "missing")
    others = [*_names(get("otherNames"), "otherNames"), _text(get("shortname"), "shortname")]
    return model.Metadata(
        kind=kind,
        key=key,
        name=name or key,
        description=_text(get("description"), "description"),
        parent=_text(get("parent"), "parent"),
        images=_images(get("images"), "images", site_url),
        other_names=tuple(dict.fromkeys(other for other in others if other and other != name)),
    )


# --- one field --------------------------------------------------------------------------------------------------


def _raw(value: Any, field: str) -> str:
    """A scalar as text, as it stands; '' for nothing and for what is no scalar."""
    if isinstance(value, str):
        raw = value
    elif value is None or isinstance(value, (dict, list, tuple, set, bytes)):
        return ""
    elif isinstance(value, bool):
        return "true" if value else "false"
    else:
        raw = str(value)
    if len(raw) > MAX_TEXT:
        raise _Problem(field, f"longer than {MAX_TEXT:,} characters")
    return raw


def _text(value: Any, field: str) -> str:
    if value is None:
        return ""
    return text.plain(_raw(value, field))


def _language(value: Any) -> str:
    return "no" if value is False else _text(value, "language")  # Norwegian, which YAML 1.1 takes for a denial


def _url(value: Any, field: str, site_url: str) -> str:
    if value is None:
        return ""
    return text.clean_url(_raw(value, field), site_url)


def _built_url(path: str, site_url: str) -> str:
    """The page that the file itself stands for."""
    return text.clean_url(f"{site_url.rstrip('/')}/{quote(_EXTENSION.sub('', path), errors='replace')}", site_url)


def _flag(value: Any, field: str, default: bool) -> bool:
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    word = _raw(value, field).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    if not word:
        return default
    raise _Problem(field, "must be true or false")


def _number(value: Any) -> float | None:
    """A finite number, or None for anything else: a score without a meaning is no score."""
    if type(value) is int or type(value) is float or type(value) is str:
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        if -1e15 < number < 1e15:
            return number
    return None


def _moment(value: Any, field: str) -> int | None:
    """Seconds since 1970 of a date, a date and time (UTC where it names no zone), or either as ISO 8601 text."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise _Problem(field, "not a date: write it as 2020-05-19T12:08:00Z") from None
    if isinstance(value, datetime):
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    elif isinstance(value, date):
        moment = datetime(value.year, value.month, value.day, tzinfo=UTC)
    else:
        raise _Problem(field, "not a date: write it as 2020-05-19T12:08:00Z")
    passed = moment - _EPOCH
    seconds = passed.days * 86_400 + passed.seconds
    if not _EARLIEST <= seconds <= _LATEST:
        raise _Problem(field, "a date before 1900 or after 9999")
    return seconds


def _items(value: Any, field: str) -> list[Any]:
    """A list; a single value is a list of one."""
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_ITEMS:
        raise _Problem(field, f"more than {MAX_ITEMS:,} items")
    return items


def _names(value: Any, field: str) -> tuple[str, ...]:
    """Texts in their order, once each."""
    if value is None:
        return ()
    names = [_text(item, field) for item in _items(value, field)]
    return tuple(dict.fromkeys(name for name in names if name))


def _size(value: Any) -> int:
    """Pixels; 0 for anything that is no such number."""
    if type(value) is str and len(value) <= 7:
        value = value.strip().removesuffix("px")
        value = int(value) if value.isascii() and value.isdecimal() else 0
    return value if type(value) is int and 0 < value < 100_000 else 0


def _images(value: Any, field: str, site_url: str) -> tuple[model.Image, ...]:
    """Images with a usable URL; an item may be the URL alone."""
    if not value:
        return ()
    images = []
    for item in _items(value, field):
        get = item.get if isinstance(item, dict) else {"url": item}.get
        url = _url(get("url"), field, site_url)
        if url:
            images.append(
                model.Image(
                    url,
                    _size(get("width")),
                    _size(get("height")),
                    _text(get("title"), field),
                    _text(get("attribution"), field),
                )
            )
    return tuple(images)


def _provider(value: Any, field: str, site_url: str) -> model.Provider:
    if value is None:
        return _NO_PROVIDER
    if not isinstance(value, dict):
        return model.Provider(_text(value, field))
    get = value.get
    pictures = get("images")
    images = _images(pictures, field, site_url) if pictures else ()
    name, domain = get("name"), get("domain")
    if not images and type(name) is str and type(domain) is str and len(name) + len(domain) < 200:
        return _known_provider(name, domain)
    icon_url = images[0].url if images else ""
    return model.Provider(_text(name, field), _domain(_raw(domain, field)), icon_url)


@lru_cache(maxsize=4096)
def _known_provider(name: str, domain: str) -> model.Provider:
    return model.Provider(text.plain(name), _domain(domain))


def _domain(domain: str) -> str:
    """A host name in lower case and Punycode, without `www.`, from a domain or a URL; '' where it is none."""
    domain = text.plain(domain).lower()
    host = domain.partition("://")[2] or domain
    host = re.split(r"[/?#]", host, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    host = text.clean_host(host)
    return host.removeprefix("www.") or host


def _related(value: Any, field: str, site_url: str) -> tuple[model.Related, ...]:
    """Related stories; those with neither title nor URL say nothing, and are left out."""
    if value is None:
        return ()
    found = []
    for position, item in enumerate(_items(value, field)):
        if isinstance(item, dict):
            related = _one_related(item.get, f"{field}.{position}", site_url)
            if related is not None:
                found.append(related)
    return tuple(found)


def _one_related(get: Callable[[str], Any], field: str, site_url: str) -> model.Related | None:
    original_url = _url(get("originalUrl"), f"{field}.originalUrl", site_url)
    url = _url(get("webUrl"), f"{field}.webUrl", site_url) or original_url
    excerpt = _text(get("excerpt"), f"{field}.excerpt")
    title = _text(get("title"), f"{field}.title") or _shortened(excerpt, _TITLE_LENGTH) or url
    if not title:
        return None
    return model.Related(
        title=title,
        url=url,
        excerpt=excerpt,
        published_at=_moment(get("publishedDateTime"), f"{field}.publishedDateTime"),
        type=_text(get("type"), f"{field}.type"),
        provider=_provider(get("provider"), f"{field}.provider", site_url),
        images=_images(get("images"), f"{field}.images", site_url),
        amp_url=_url(get("ampWebUrl"), f"{field}.ampWebUrl", site_url),
        original_url=original_url,
    )


def _shortened(long: str, length: int) -> str:
    """At most `length` characters, cut between words where there are any."""
    if len(long) <= length:
        return long
    start = long[: length - 1]
    if long[length - 1] != " ":
        start = start.rpartition(" ")[0] or start
    return text.plain(start.rstrip(" ,;:-–—") + "…")
