"""Makes any Entry, Head or Options fit for a feed: no character that XML or HTML forbids, only absolute http(s) URLs.

`parse` already gives clean ones, so nearly every call ends at `is_clean` (a microsecond or two); what is not clean is
repaired piece by piece, so that one bad character never stops a feed. Called by `render` before either lane.
"""

from __future__ import annotations

import re
from urllib.parse import quote

import msgspec

from feedd import model
from feedd.render import text
from feedd.render.options import Options

# C0 and C1 controls, surrogates, U+FFFD, noncharacters: XML 1.0 section 2.2, HTML, validators' BadCharacters.
_BAD = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffd-\uffff" + "".join(
    f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(1, 17)
)
_BAD_IN_HTML = re.compile(f"[{_BAD}\r]")
_BAD_IN_TEXT = re.compile(f"[{_BAD}\t\n\r]")

# RFC 3986 without brackets, which only an IPv6 host may have: validators refuse those, and so do the rest of us.
_URL_SAFE = "!#$%&'()*+,/:;=?@~"
_URL_CHARACTERS = r"[!#-;=?-Z_a-z~]"
_CLEAN_URL_LINES = re.compile(rf"(?:https?://[A-Za-z0-9]{_URL_CHARACTERS}*+\n)*+")
_CLEAN_URL = re.compile(rf"https?://[A-Za-z0-9]{_URL_CHARACTERS}*")
_CLEAN_ID = re.compile(rf"{_URL_CHARACTERS}+")
_SPLIT_URL = re.compile(r"(https?)://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)

_FALLBACK_ID = "urn:feedd:unnamed"
_FALLBACK_LANGUAGE = "en"
_FALLBACK_URL = "https://feed.invalid/"


def is_clean(entry: model.Entry, options: Options) -> bool:
    """Whether the entry can be written as it is."""
    article = entry.article
    texts = [article.title, article.summary, article.category, article.length, article.price, article.provider.name]
    texts += article.topics
    texts += article.levels
    texts.append(options.related_heading)
    urls = [article.url]
    if article.original_url:
        urls.append(article.original_url)
    if article.provider.icon_url:
        urls.append(article.provider.icon_url)
    if article.embed is not None:
        urls.append(article.embed.url)
    if options.topic_base_url:
        urls.append(options.topic_base_url)
    for image in article.images:
        texts.append(image.title)
        texts.append(image.attribution)
        urls.append(image.url)
    for related in article.related:
        texts.append(related.title)
        texts.append(related.provider.name)
        if related.url:
            urls.append(related.url)
        if related.published_at is not None and not text.FIRST_SECOND <= related.published_at <= text.LAST_SECOND:
            return False
    for source in entry.sources:
        texts.append(source.provider.name)
        urls.append(source.url)
    urls.append("")
    return (
        _CLEAN_URL_LINES.fullmatch("\n".join(urls)) is not None
        and _is_clean_text("".join(texts))
        and not article.title.isspace()
        and article.title != ""
        and article.summary != ""
        and _CLEAN_ID.fullmatch(entry.id) is not None
        and text.FIRST_SECOND <= entry.published_at <= text.LAST_SECOND
        and text.FIRST_SECOND * 1_000_000 <= entry.updated_us < (text.LAST_SECOND + 1) * 1_000_000
        and not (options.full_content and _BAD_IN_HTML.search(article.content_html))
    )


def _is_clean_text(value: str) -> bool:
    # isprintable() knows nothing worse than U+FFFD, and is ten times as fast; it says no to some good ones.
    return (value.isprintable() and "\ufffd" not in value) or _BAD_IN_TEXT.search(value) is None


def plain(value: str) -> str:
    """The text without what feeds cannot hold, on one line, without space around it."""
    if value.isascii() and value.isprintable() and "  " not in value:
        return value.strip()
    return " ".join(_BAD_IN_TEXT.sub(_space_for, value).split())


def _space_for(match: re.Match[str]) -> str:
    return " " if match[0] in "\t\n\r\x0b\x0c\x85" else ""


def url(value: str) -> str:
    """The URL as an absolute, ASCII http(s) one (RFC 3986, host as in IDNA), or empty where it cannot be one."""
    if _CLEAN_URL.fullmatch(value):
        return value
    match = _SPLIT_URL.fullmatch(plain(value))
    if match is None:
        return ""
    scheme, authority, rest = match.groups()
    try:
        host = authority if authority.isascii() else authority.encode("idna").decode("ascii")
    except UnicodeError:  # an empty or overlong label
        return ""
    cleaned = f"{scheme.lower()}://{quote(host, safe=_URL_SAFE)}{quote(rest, safe=_URL_SAFE)}"
    return cleaned if _CLEAN_URL.fullmatch(cleaned) else ""


def identifier(value: str) -> str:
    """The id as a URI: what a URI cannot hold is percent-encoded."""
    return quote(plain(value), safe=_URL_SAFE) or _FALLBACK_ID


def seconds(at: int) -> int:
    """The nearest second that a date can say."""
    return min(max(at, text.FIRST_SECOND), text.LAST_SECOND)


def microseconds(us: int) -> int:
    """The nearest microsecond that a date can say."""
    return min(max(us, text.FIRST_SECOND * 1_000_000), text.LAST_SECOND * 1_000_000 + 999_999)


def repair(entry: model.Entry) -> model.Entry:
    """The nearest clean entry: bad characters gone, unusable URLs left out, a title and a summary in any case."""
    article = entry.article
    entry_id = identifier(entry.id)
    title = plain(article.title) or plain(article.summary) or entry_id
    embed = article.embed
    return msgspec.structs.replace(
        entry,
        id=entry_id,
        published_at=seconds(entry.published_at),
        updated_us=microseconds(entry.updated_us),
        sources=tuple(
            model.Source(_provider(source.provider), url(source.url)) for source in entry.sources if url(source.url)
        ),
        article=msgspec.structs.replace(
            article,
            title=title,
            summary=plain(article.summary) or title,
            url=url(article.url),
            original_url=url(article.original_url),
            category=plain(article.category),
            length=plain(article.length),
            price=plain(article.price),
            provider=_provider(article.provider),
            topics=tuple(map(plain, article.topics)),
            levels=tuple(map(plain, article.levels)),
            images=_images(article.images),
            related=tuple(
                msgspec.structs.replace(
                    related,
                    title=plain(related.title),
                    url=url(related.url),
                    published_at=None if related.published_at is None else seconds(related.published_at),
                    provider=_provider(related.provider),
                )
                for related in article.related
            ),
            embed=msgspec.structs.replace(embed, url=url(embed.url)) if embed and url(embed.url) else None,
            content_html=_BAD_IN_HTML.sub("", article.content_html),
        ),
    )


def repair_options(options: Options) -> Options:
    """Options whose text and URL can stand in a feed."""
    return msgspec.structs.replace(
        options, topic_base_url=url(options.topic_base_url), related_heading=plain(options.related_heading)
    )


def _provider(provider: model.Provider) -> model.Provider:
    return msgspec.structs.replace(provider, name=plain(provider.name), icon_url=url(provider.icon_url))


def _images(images: tuple[model.Image, ...]) -> tuple[model.Image, ...]:
    return tuple(
        model.Image(url(image.url), image.width, image.height, plain(image.title), plain(image.attribution))
        for image in images
        if url(image.url)
    )


def head(value: model.Head) -> model.Head:
    """The head as it can be written: every text and URL repaired, and what a feed cannot do without filled in."""
    head_id = identifier(value.id)
    title = plain(value.title) or head_id
    logo = _images((value.logo,)) if value.logo else ()
    self_urls = _urls(value.self_urls)
    return msgspec.structs.replace(
        value,
        id=head_id,
        title=title,
        subtitle=plain(value.subtitle),
        page_url=url(value.page_url) or next(iter(self_urls.values()), _FALLBACK_URL),
        language=text.language_tag(plain(value.language)) or _FALLBACK_LANGUAGE,
        author=plain(value.author) or title,
        updated_us=microseconds(value.updated_us),
        self_urls=self_urls,
        icon_url=url(value.icon_url),
        logo=logo[0] if logo else None,
        category=plain(value.category),
        current_urls=_urls(value.current_urls),
        prev_urls=_urls(value.prev_urls),
        next_urls=_urls(value.next_urls),
        hub_urls=tuple(filter(None, map(url, value.hub_urls))),
    )


def _urls(urls: dict[model.Format, str]) -> dict[model.Format, str]:
    return {fmt: cleaned for fmt, value in urls.items() if (cleaned := url(value))}
