"""Writes Atom 1.0 (RFC 4287) with Media RSS and feed history (RFC 5005): the fast lane.

Byte for byte what the reference lane makes through feedgen and lxml, about thirty times as fast. Takes only what
`clean` has passed. Called by `render`.
"""

from __future__ import annotations

from functools import lru_cache

from feedd import model
from feedd.render import content, heads, media, text

NAMESPACE = "http://www.w3.org/2005/Atom"
HISTORY = "http://purl.org/syndication/history/1.0"
TAIL = "</feed>"


def fragment(shown: content.Shown) -> str:
    """One `<entry>`, without a line end after it."""
    entry = shown.entry
    article = entry.article
    start = f'<entry xml:lang="{shown.language}">' if shown.language else "<entry>"
    links = "".join([_link(rel, href, title) for rel, href, title in shown.links])
    categories = "".join([_category(term, scheme) for term, scheme in shown.categories])
    return (
        f"{start}\n<id>{text.text(entry.id)}</id>\n"
        f"{_text('title', article.title)}\n"
        f"<updated>{text.rfc3339_us(entry.updated_us)}</updated>\n"
        f"{_author(shown.author, shown.author_url)}"
        f'<content type="html"><![CDATA[{text.cdata(shown.html)}]]></content>\n'
        f"{links}{_text('summary', article.summary)}\n"
        f"{categories}<published>{text.rfc3339(entry.published_at)}</published>\n"
        f"{media.elements(article)}</entry>"
    )


def head(value: model.Head) -> str:
    """All before the first entry, with the line end after it."""
    namespaces = f'xmlns:media="{media.NAMESPACE}" xmlns:fh="{HISTORY}" xmlns="{NAMESPACE}"'
    lines = [
        "<?xml version='1.0' encoding='UTF-8'?>",
        f'<feed {namespaces} xml:lang="{value.language}">',
        f"<id>{text.text(value.id)}</id>",
        _text("title", value.title),
        f"<updated>{text.rfc3339_us(value.updated_us)}</updated>",
        f"<author><name>{text.text(text.lookalike(value.author))}</name></author>",
        *(head_link("link", *link) for link in heads.links(value, "atom")),
    ]
    if value.category:
        lines.append(f'<category term="{text.attr(value.category)}"/>')
    lines.append(f'<generator version="{heads.VERSION}">{heads.GENERATOR}</generator>')
    if value.icon_url:
        lines.append(f"<icon>{text.text(value.icon_url)}</icon>")
    if value.logo:
        lines.append(f"<logo>{text.text(value.logo.url)}</logo>")
    if value.subtitle:
        lines.append(_text("subtitle", value.subtitle))
    lines += [f"<fh:{mark}/>" for mark in heads.history_marks(value, "atom")]
    return "\n".join([*lines, ""])


def head_link(element: str, rel: str, href: str, media_type: str) -> str:
    """A feed's `atom:link` under the element name given."""
    kind = f' type="{media_type}"' if media_type else ""
    return f'<{element} href="{text.attr(href)}" rel="{rel}"{kind}/>'


def _text(element: str, value: str) -> str:
    """A text construct (RFC 4287 section 3.1): plain, or HTML of it where readers would take it for markup."""
    if text.looks_like_markup(value):
        return f'<{element} type="html">{text.text(text.text(value))}</{element}>'
    return f"<{element}>{text.text(value)}</{element}>"


@lru_cache(maxsize=4096)
def _author(name: str, url: str) -> str:
    if not name:
        return ""
    uri = f"<uri>{url}</uri>" if url else ""
    return f"<author><name>{text.text(text.lookalike(name))}</name>{uri}</author>\n"


def _link(rel: str, href: str, title: str) -> str:
    if title:
        return f'<link href="{text.attr(href)}" rel="{rel}" title="{text.attr(text.lookalike(title))}"/>\n'
    return f'<link href="{text.attr(href)}" rel="{rel}"/>\n'


@lru_cache(maxsize=4096)
def _category(term: str, scheme: str) -> str:
    within = f' scheme="{text.attr(scheme)}"' if scheme else ""
    return f'<category term="{text.attr(term)}"{within} label="{text.attr(text.lookalike(term))}"/>\n'
