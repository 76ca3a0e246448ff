"""The cards of all feeds -> the index page: grouped, with counts, dates, and every way to subscribe.

Called by the services that build feeds, when a feed comes, goes or changes.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup
from msgspec import Struct

from feedd import model, site
from feedd.pages import templating
from feedd.render import clean, text


class Card(Struct, frozen=True):
    """What the index shows of a feed. `urls` and `page_url` are absolute; the latter is empty where it has no page."""

    kind: str
    title: str
    name: str
    urls: dict[model.Format, str]
    page_url: str
    entries: int
    updated_us: int


class _Row(Struct, frozen=True):
    """A card as the template takes it. `href` is empty without a page; `date` and `day` are without entries."""

    name: str
    href: str
    links: Markup
    entries: str
    date: str
    day: str


def index_page(settings: site.Settings, cards: Iterable[Card]) -> bytes:
    """The page that names every feed, for people and for readers that are given only the site's address."""
    language = templating.language_of(settings)
    english = templating.is_english(language)
    root = settings.public_url + "/"
    grouped = _grouped(cards)
    groups = [
        (kind, title, f"{len(members):,}", [_row(card, root, english) for card in members])
        for kind, title, members in grouped
    ]
    main = [
        (clean.plain(card.title), templating.formats(card.urls))
        for kind, _, members in grouped if kind in ("all", "custom") for card in members
    ]
    feeds = sum(len(members) for *_, members in grouped)
    return templating.template("index.html").render(
        language=language, ui=templating.mark_of(language), root="", title=clean.plain(settings.title),
        description=clean.plain(settings.description), site_url=clean.url(settings.url + "/"),
        opml_url=clean.url(root + "feeds.opml"), canonical=clean.url(root), main=main, groups=groups,
        feeds=f"{feeds:,}",
    ).encode()


def _grouped(cards: Iterable[Card]) -> list[tuple[str, str, list[Card]]]:
    """(kind, title, cards) of each group that has any, ordered as the OPML list is."""
    by_kind: dict[str, list[Card]] = {}
    for card in sorted(cards, key=lambda card: site.alphabetical(card.title, card.urls.values())):
        by_kind.setdefault(card.kind, []).append(card)
    return [(kind, title, by_kind[kind]) for kind, title in site.GROUP_TITLES.items() if kind in by_kind]


def _row(card: Card, root: str, english: bool) -> _Row:
    date = text.rfc3339(clean.microseconds(card.updated_us) // 1_000_000)[:10] if card.entries > 0 else ""
    # Beside this page wherever that is: a copy of the folder need not be at `public_url`. With `./` it is a path,
    # whatever it begins with: neither a scheme nor a host.
    page_url = clean.url(card.page_url)
    below = page_url.removeprefix(root)
    return _Row(
        name=clean.plain(card.name) or clean.plain(card.title),
        href=page_url if below == page_url else f"./{below}",
        links=_links(card),
        entries=_count(card.entries),
        date=date,
        day=templating.day(date, english) if date else "",
    )


def _links(card: Card) -> Markup:
    """The formats to take it in. Without a template: with thousands of feeds, this is the half of the page."""
    return Markup("".join([
        f'<a type="{media_type}" href="{text.attr(url)}">{name}</a> '
        for name, media_type, url in templating.formats(card.urls)
    ]))


def _count(entries: int) -> str:
    return "1 entry" if entries == 1 else f"{max(entries, 0):,} entries"
