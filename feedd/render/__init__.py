"""Turns entries and heads into feeds: Atom 1.0, RSS 2.0, JSON Feed 1.1. Pure; the only part that knows feedgen.

An entry is rendered once per format (`fragment`); the caller keeps those bytes and joins them under a head
(`document`). Two lanes write the same bytes: templates, and feedgen with our extensions, which takes over whatever is
not plainly safe to write. Called by the services that build feeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from feedd import model
from feedd.render import atom, clean, content, jsonfeed, rss
from feedd.render.heads import GENERATOR, MEDIA_TYPES, VERSION
from feedd.render.options import Options

__all__ = [
    "GENERATOR", "MEDIA_TYPES", "VERSION", "Options", "document", "documents", "fragment", "fragments", "is_plain_head",
]


def fragment(entry: model.Entry, fmt: model.Format, options: Options) -> bytes:
    """The entry as it stands in any feed of that format, UTF-8, without a line end after it.

    Never raises because of what a text or URL holds: what a feed cannot hold is repaired or left out.
    """
    return fragments(entry, (fmt,), options)[0][0]


def fragments(
    entry: model.Entry, formats: Sequence[model.Format], options: Options
) -> tuple[list[bytes], bool]:
    """`fragment` for several formats, in their order; half the price of asking for each alone.

    And whether the entry needed no repair and shows no HTML of a body, so that all of it is valid by construction.
    """
    sure = clean.is_clean(entry, options)
    plain = sure and not (options.full_content and entry.article.content_html)
    if not sure:
        entry, options = clean.repair(entry), clean.repair_options(options)
    shown = content.show(entry, options)
    return [_write(shown, fmt, sure) for fmt in formats], plain


def is_plain_head(head: model.Head) -> bool:
    """Whether nothing in a head needs repair."""
    return clean.head(head) == head


def _write(shown: content.Shown, fmt: model.Format, sure: bool) -> bytes:
    if fmt == "json":
        return jsonfeed.fragment(shown)
    if not sure:
        from feedd.render import feedgen_lane  # lxml takes 40 ms to import, and is hardly ever needed

        return feedgen_lane.fragment(shown, fmt)
    written = atom.fragment(shown) if fmt == "atom" else rss.fragment(shown)
    return written.encode()


def document(head: model.Head, fragments: Iterable[bytes], fmt: model.Format) -> bytes:
    """A whole feed: head, the fragments in the order given (newest first), tail. Valid without any fragment, too."""
    return documents(head, {fmt: fragments})[fmt]


def documents(
    head: model.Head, fragments: Mapping[model.Format, Iterable[bytes]]
) -> dict[model.Format, bytes]:
    """`document` in each of several formats, from the fragments in that format."""
    head = clean.head(head)
    out: dict[model.Format, bytes] = {}
    for fmt, parts in fragments.items():
        if fmt == "json":
            out[fmt] = b"".join((jsonfeed.head(head), b",\n".join(parts), jsonfeed.TAIL))
        else:
            lane = atom if fmt == "atom" else rss
            out[fmt] = b"\n".join((lane.head(head).encode()[:-1], *parts, lane.TAIL.encode(), b""))
    return out
