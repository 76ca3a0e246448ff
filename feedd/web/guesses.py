"""Paths that are tried by who knows only a site's address -> the files that they stand for. Pure; called by `feeds`.

Readers find feeds in the page at `/`; these are for those that guess. `/.well-known/feeds` is the OPML list of all
feeds, as a provisional specification has it, the only one that speaks of feeds there. Other guesses are for the feed of
everything, and are answered by its address, so that no reader has it twice. Nothing is taken from a file that is there,
or from what moved: guesses come last.
"""

from __future__ import annotations

LIST = "feeds.opml"
LIST_PATH = "/.well-known/feeds"
_FORMATS = {
    "atom": ("feed", "feeds", "atom", "feed.xml", "atom.xml", "index.xml", "feed.atom", "index.atom", "feed/atom"),
    "rss": ("rss", "rss.xml", "feed.rss", "index.rss", "feed/rss", "feed/rss2", "rss/feed.xml"),
    "json": ("feed.json", "index.json", "feed/json"),
}
_GUESSES = {f"/{guess}": fmt for fmt, guesses in _FORMATS.items() for guess in guesses}
_ORDER = ("atom", "rss", "json")


def names(path: str) -> tuple[str, ...]:
    """The files that would do for a raw path, best first; none where it is no guess."""
    fmt = _GUESSES.get(path.removesuffix("/"))
    return tuple(f"all.{each}" for each in sorted(_ORDER, key=lambda each: each != fmt)) if fmt else ()
