"""The templates, the assets and what every template is given: dates as people write them, names of formats.

Templates escape whatever they show. Called by `index` and `feed`; entries are written without templates.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources
from typing import TYPE_CHECKING

from markupsafe import Markup

from feedd import model, site
from feedd.render import clean, text

if TYPE_CHECKING:
    import jinja2

ASSETS: dict[str, bytes] = {
    name: resources.files(__package__).joinpath("assets", name).read_bytes() for name in ("feedd.css", "feedd.js")
}
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)


@cache
def template(name: str) -> jinja2.Template:
    """A template of this package, compiled once in a process."""
    return _environment().get_template(name)


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # 40 ms, which workers that write entries only need not wait for

    return jinja2.Environment(
        loader=jinja2.PackageLoader("feedd.pages"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )


def is_english(language: str) -> bool:
    """Whether words of ours stand in the language of what surrounds them."""
    return language[:3].lower().rstrip("-_") == "en"


@lru_cache(maxsize=8192)
def day(date: str, english: bool) -> str:
    """`19 February 2026` from a text that begins with `2026-02-19`; the date alone where other languages are read."""
    return f"{int(date[8:10])} {_MONTHS[int(date[5:7]) - 1]} {int(date[:4])}" if english else date[:10]


def moment(us: int) -> tuple[str, str]:
    """Microseconds since 1970 UTC, for machines and for people: `2026-02-19T18:05:31Z`, `18:05 UTC`."""
    exact = text.rfc3339(clean.microseconds(us) // 1_000_000)
    return exact, f"{exact[11:16]} UTC"


def mark_of(language: str) -> Markup:
    """The attribute that words of ours need on a page in that language."""
    return Markup("" if is_english(language) else ' lang="en"')


def language_of(settings: site.Settings) -> str:
    """The site's language as `lang` may have it."""
    return text.language_tag(settings.language) or "en"


def formats(urls: dict[model.Format, str]) -> list[tuple[str, str, str]]:
    """(name, media type, URL) of each format that has an http(s) URL."""
    return [
        (site.FORMAT_NAMES[fmt], site.MEDIA_TYPES[fmt], cleaned)
        for fmt, url in urls.items() if (cleaned := clean.url(url))
    ]
