"""Decides what an entry shows, the same for every format: links, categories, author, and the HTML a reader displays.

Gives plain values and HTML, once for all formats; how they are written is the business of each. Called before every
lane, with entries that `clean` has passed.
"""

from __future__ import annotations

from msgspec import Struct

from feedd import model
from feedd.render import text
from feedd.render.options import Options

ALTERNATE, RELATED, VIA = "alternate", "related", "via"


class Shown(Struct, frozen=True, gc=False):
    """What all formats show of an entry. `language` is empty where it is the feed's; `author` where there is none.

    `links` are (rel, href, title), `categories` (term, scheme); titles and schemes may be empty.
    """

    entry: model.Entry
    author: str
    author_url: str
    language: str
    html: str
    links: list[tuple[str, str, str]]
    categories: list[tuple[str, str]]


def show(entry: model.Entry, options: Options) -> Shown:
    """Everything decided that the lanes then write."""
    article = entry.article
    provider = article.provider
    return Shown(
        entry,
        author_name(provider),
        text.home_url(provider.domain),
        entry_language(article, options),
        html(entry, options),
        links(entry),
        categories(article, options),
    )


def author_name(provider: model.Provider) -> str:
    """The provider's name, else its domain; empty for none."""
    return provider.name or (provider.domain if text.home_url(provider.domain) else "")


def entry_language(article: model.Article, options: Options) -> str:
    """The article's language where it is not the feed's; empty where nothing need be said."""
    if not article.language or article.language == options.language:
        return ""
    return text.language_tag(article.language)


def links(entry: model.Entry) -> list[tuple[str, str, str]]:
    """(rel, href, title) of each link, every pair of rel and href once; titles may be empty."""
    article = entry.article
    found = [(ALTERNATE, article.url, "")] if article.url else []
    seen = {article.url}
    for related in article.related:
        if related.url and related.url not in seen:
            seen.add(related.url)
            found.append((RELATED, related.url, related.title))
    if article.original_url and article.original_url != article.url:
        found.append((VIA, article.original_url, ""))
    via = [source for source in copies(entry) if source.url != article.original_url]
    return found + [(VIA, source.url, author_name(source.provider)) for source in via]


def copies(entry: model.Entry) -> list[model.Source]:
    """The sources that lead elsewhere than the entry does, each URL once."""
    if not entry.sources:
        return []
    by_url = {source.url: source for source in reversed(entry.sources)}
    by_url.pop(entry.article.url, None)
    return list(reversed(by_url.values()))


def categories(article: model.Article, options: Options) -> list[tuple[str, str]]:
    """(term, scheme) of each topic, then of the article's category where no topic says the same."""
    scheme = options.topic_base_url
    found = [(topic, scheme) for topic in article.topics if topic and not topic.isspace()]
    category = article.category
    if category and not category.isspace():
        folded = category.casefold()
        if all(topic.casefold() != folded for topic in article.topics):
            found.append((category, ""))
    return found


def html(entry: model.Entry, options: Options) -> str:
    """The entry for display: picture or player, summary or body, particulars, related stories and further copies.

    Many readers show nothing else, so all that a subscriber should see is in it.
    """
    article = entry.article
    full = article.content_html if options.full_content else ""
    body = full or f"<p>{text.text(article.summary)}</p>"
    blocks = [_picture(article, body), body]
    if article.length or article.price or article.levels:
        blocks.append(_particulars(article))
    if article.related or entry.sources:
        blocks.append(_stories(entry, options))
    return "\n".join(filter(None, blocks))


def _picture(article: model.Article, body: str) -> str:
    """The first picture, unless the body has it already; linked to the player where there is one."""
    embed = article.embed
    if not article.images:
        return f'<p><a href="{text.attr(embed.url)}">{text.text(article.title)}</a></p>' if embed else ""
    image = article.images[0]
    src = text.attr(image.url)
    if src in body and not embed:
        return ""
    size = f' width="{image.width}" height="{image.height}"' if image.width > 0 and image.height > 0 else ""
    shown = f'<img src="{src}" alt="{text.attr(image.title or article.title)}"{size}>'
    if embed:
        shown = f'<a href="{text.attr(embed.url)}">{shown}</a>'
    if image.attribution:
        shown += f"<figcaption>{text.text(image.attribution)}</figcaption>"
    return f"<figure>{shown}</figure>"


def _particulars(article: model.Article) -> str:
    """Length, price and levels in a line, without words: feeds come in any language."""
    parts = (text.clock(article.length), article.price, ", ".join(filter(None, article.levels)))
    return f"<p>{text.text(' | '.join(filter(None, parts)))}</p>"


def _stories(entry: model.Entry, options: Options) -> str:
    items = [_story(related.title, related.url, related.provider) for related in entry.article.related]
    items += [_story(entry.article.title, source.url, source.provider) for source in copies(entry)]
    listed = "\n".join(filter(None, items))
    if not listed:
        return ""
    heading = f"<p><strong>{text.text(options.related_heading)}</strong></p>\n" if options.related_heading else ""
    return f"{heading}<ul>\n{listed}\n</ul>"


def _story(title: str, url: str, provider: model.Provider) -> str:
    name = author_name(provider)
    shown = text.text(title or name or url)
    if url:
        shown = f'<a href="{text.attr(url)}">{shown}</a>'
    elif not shown:
        return ""
    return f"<li>{shown} ({text.text(name)})</li>" if name and title else f"<li>{shown}</li>"
