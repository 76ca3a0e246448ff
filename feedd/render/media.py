"""Writes an article's pictures and player as Media RSS 1.5.1 elements, the same in Atom and RSS.

Called by the fast lanes; `extensions` builds the same elements for the reference lane.
"""

from __future__ import annotations

from feedd import model
from feedd.render import text

NAMESPACE = "http://search.yahoo.com/mrss/"  # with the slash (validator: MediaRssNamespace)


def elements(article: model.Article) -> str:
    """The lines of media elements, empty for an article with neither picture nor player.

    A player is `media:content medium="video"` with `media:player`; several pictures are alternatives of one
    (`media:group`), a single one stands alone (validator: MediaGroupWithoutAlternatives).
    """
    embed, images = article.embed, article.images
    shown = ""
    if embed is not None:
        duration_s = text.duration_s(article.length)
        duration = f' duration="{duration_s}"' if duration_s else ""
        size = _size(embed.width, embed.height)
        shown = (
            f'<media:content medium="video"{size}{duration}>'
            f'<media:player url="{text.attr(embed.url)}"{size}/>'
            f"{_title(article.title)}</media:content>\n"
        )
    if len(images) > 1:
        first, *others = images
        contents = _content(first, ' isDefault="true"') + "".join([_content(image, "") for image in others])
        shown += f"<media:group>{contents}</media:group>\n"
    elif images:
        shown += _content(images[0], "") + "\n"
    if images:
        shown += f'<media:thumbnail url="{text.attr(images[0].url)}"{_size(images[0].width, images[0].height)}/>\n'
    return shown


def _content(image: model.Image, default: str) -> str:
    inner = _title(image.title) if image.title else ""
    if image.attribution:
        inner += f"<media:credit>{text.text(text.lookalike(image.attribution))}</media:credit>"
    start = f'<media:content url="{text.attr(image.url)}" medium="image"{_size(image.width, image.height)}{default}'
    return f"{start}>{inner}</media:content>" if inner else f"{start}/>"


def _size(width: int, height: int) -> str:
    shown = f' width="{width}"' if width > 0 else ""
    return f'{shown} height="{height}"' if height > 0 else shown


def _title(title: str) -> str:
    if text.looks_like_markup(title):
        return f'<media:title type="html">{text.text(text.text(title))}</media:title>'
    return f"<media:title>{text.text(title)}</media:title>"
