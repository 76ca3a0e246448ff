"""The raw path of a request -> the name of a file below the output folder, and what that says. Pure, for `feeds`."""

from __future__ import annotations

from functools import lru_cache

from msgspec import Struct

from feedd import model, site
from feedd.web import guesses, http, shelf

FEEDS = {".atom": "application/atom+xml", ".rss": "application/rss+xml", ".json": "application/feed+json"}


class Name(Struct, frozen=True, gc=False):
    """A name that was confined. `base` is without its suffix; `media_type` is empty for what is no live feed."""

    name: str
    base: str
    media_type: bytes
    is_private: bool


def find(path: str) -> Name | None:
    """None for what cannot be one of ours."""
    return _find(path) if len(path) <= http.CACHEABLE else _find.__wrapped__(path)


@lru_cache(maxsize=4096)
def _find(path: str) -> Name | None:
    name = guesses.LIST if path == guesses.LIST_PATH else shelf.confine(path)
    if name is None:
        return None
    base, _, suffix = name.rpartition(".")
    media_type = "" if is_archive(name) else FEEDS.get("." + suffix, "")
    return Name(name, base, media_type.encode(), site.is_private(name))


def is_archive(name: str) -> bool:
    """Whether it is a document that holds older entries (RFC 5005)."""
    base = name.rpartition(".")[0]
    number = base.rpartition("/")[2]
    return name.startswith(site.ARCHIVES + "/") and number.isascii() and number.isdigit()


def format_of(name: str) -> model.Format | None:
    """The format of a live feed, None for anything else."""
    suffix = name.rpartition(".")[2]
    return next((fmt for fmt in model.FORMATS if fmt == suffix and not is_archive(name)), None)
