"""One entry -> the `<article>` that pages show of it: picture, title, source, date, summary, topics, related stories.

Nothing of an article is HTML here: every text is escaped, and only absolute http(s) URLs are linked, as `render.clean`
sees to. Written without a template, which would take five times as long. Called by the services that build feeds.
"""

from __future__ import annotations

from collections.abc import Mapping

from feedd import model
from feedd.pages import templating
from feedd.render import Options, clean, content, text

Check = tuple[str, int]  # a verdict on a link, and since when it holds: seconds since 1970 UTC
_NONE_CHECKED: dict[str, Check] = {}


def entry(entry: model.Entry, options: Options, checked: Mapping[str, Check] = _NONE_CHECKED) -> bytes:
    """The entry as it stands on any page, UTF-8, without a line end after it; never raises because of what it holds.

    `checked`: the URLs of related links whose freshness is known; other links bear no mark.
    """
    if not clean.is_clean(entry, options):
        entry, options = clean.repair(entry), clean.repair_options(options)
    article = entry.article
    language = content.entry_language(article, options)
    english = templating.is_english(language or options.language)
    start = f'<article class="entry" lang="{language}">' if language else '<article class="entry">'
    title = text.text(article.title)
    if article.url:
        title = f'<a href="{text.attr(article.url)}">{title}</a>'
    summary = "" if article.summary == article.title else f'<p dir="auto">{text.text(article.summary)}</p>\n'
    shown = (
        f'{start}\n<h3 dir="auto">{title}</h3>\n{_source(article.provider)}{_time(entry.published_at, english)}</p>\n'
        f"{_picture(article)}{summary}{_particulars(article)}{_topics(article, options)}"
        f"{_stories(entry, options, english, checked)}</article>"
    )
    return shown.encode()


def _source(provider: model.Provider) -> str:
    """The line of source and date, still open."""
    name = content.author_name(provider)
    icon = text.attr(provider.icon_url)
    shown = f'<img src="{icon}" alt="" width="16" height="16" loading="lazy">' if icon else ""
    return f'<p class="by">{shown}<bdi>{text.text(name)}</bdi> ' if name else f'<p class="by">{shown}'


def _time(at: int, english: bool) -> str:
    exact = text.rfc3339(at)
    return f'<time datetime="{exact}">{templating.day(exact[:10], english)}</time>'


def _picture(article: model.Article) -> str:
    """The first picture; the player's link where there is one.

    A picture without a title of its own says nothing that the entry's title does not, and so has no text instead.
    """
    embed, images = article.embed, article.images
    if not images:
        if embed is None:
            return ""
        return f'<p class="player"><a href="{text.attr(embed.url)}">{text.text(article.title)}</a></p>\n'
    image = images[0]
    size = f' width="{image.width}" height="{image.height}"' if image.width > 0 and image.height > 0 else ""
    alt = image.title or (article.title if embed else "")
    shown = f'<img src="{text.attr(image.url)}" alt="{text.attr(alt)}"{size} loading="lazy" decoding="async">'
    if embed:
        shown = f'<a class="player" href="{text.attr(embed.url)}">{shown}</a>'
    if image.attribution:
        shown += f"<figcaption>{text.text(image.attribution)}</figcaption>"
    return f"<figure>{shown}</figure>\n"


def _particulars(article: model.Article) -> str:
    """Length, price and levels in a line, without words: entries come in any language."""
    if not (article.length or article.price or article.levels):
        return ""
    parts = (text.clock(article.length), article.price, ", ".join(filter(None, article.levels)))
    shown = " | ".join(filter(None, parts))
    return f'<p class="particulars">{text.text(shown)}</p>\n' if shown else ""


def _topics(article: model.Article, options: Options) -> str:
    terms = "".join([f"<li>{text.text(term)}</li>" for term, _ in content.categories(article, options)])
    return f'<ul class="topics">{terms}</ul>\n' if terms else ""


def _stories(entry: model.Entry, options: Options, english: bool, checked: Mapping[str, Check]) -> str:
    """The related stories, then the further copies of this one."""
    article = entry.article
    if not article.related and not entry.sources:
        return ""
    items = [_story(r.title, r.url, r.provider, r.published_at, english, checked) for r in article.related]
    items += [_story(article.title, s.url, s.provider, None, english, checked) for s in content.copies(entry)]
    listed = "".join(items)
    if not listed:
        return ""
    heading = f"<p>{text.text(options.related_heading)}</p>\n" if options.related_heading else ""
    return f'<div class="related">\n{heading}<ul>\n{listed}</ul>\n</div>\n'


def _story(
    title: str, url: str, provider: model.Provider, at: int | None, english: bool, checked: Mapping[str, Check]
) -> str:
    name = content.author_name(provider)
    shown = text.text(title or name or url)
    if not shown:
        return ""
    if url:
        shown = f'<a href="{text.attr(url)}">{shown}</a>'
    if title and name:
        shown += f" <bdi>{text.text(name)}</bdi>"
    if at is not None:
        shown += " " + _time(at, english)
    if url in checked:
        shown += " " + _freshness(*checked[url], english)
    return f'<li dir="auto">{shown}</li>\n'


def _freshness(verdict: str, since_at: int, english: bool) -> str:
    shown = clean.plain(verdict)
    when = ("since " if english else "") + _time(clean.seconds(since_at), english)
    return f'<span class="freshness" data-verdict="{text.attr(shown)}">{text.text(shown)} {when}</span>'
