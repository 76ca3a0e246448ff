"""Decides what a feed's head shows, the same for every format: its links, its history marks, its image, who made it.

Called by every lane, with heads that `clean` has passed.
"""

from __future__ import annotations

from feedd import __version__, model

GENERATOR = "feedd"
VERSION = __version__

MEDIA_TYPES: dict[model.Format, str] = {
    "atom": "application/atom+xml",
    "rss": "application/rss+xml",
    "json": "application/feed+json",
}

IMAGE_WIDTH, IMAGE_HEIGHT = 144, 400  # the most that RSS 2.0 lets a channel's image have
_IMAGE_TYPES = ("jpg", "jpeg", "gif", "png")  # validator: ImageUrlFormat


def links(head: model.Head, fmt: model.Format) -> list[tuple[str, str, str]]:
    """(rel, href, media type or empty) of each link, `self` first.

    A complete feed has no neighbours (RFC 5005 section 2), so it links to none.
    """
    media_type = MEDIA_TYPES[fmt]
    found = [("self", head.self_urls.get(fmt, ""), media_type)]
    if fmt == "atom":
        found.append(("alternate", head.page_url, "text/html"))
    found += [("hub", url, "") for url in head.hub_urls]
    if not head.complete:
        found.append(("current", head.current_urls.get(fmt, ""), media_type))
        found.append(("prev-archive", head.prev_urls.get(fmt, ""), media_type))
        found.append(("next-archive", head.next_urls.get(fmt, ""), media_type))
    return [link for link in found if link[1]]


def history_marks(head: model.Head, fmt: model.Format) -> list[str]:
    """Local names of the empty feed history elements (RFC 5005 sections 2 and 4).

    An archive that names neither its feed nor a neighbour cannot be told from one, and is not marked (validator:
    ArchiveIncomplete, MissingCurrentInArchive).
    """
    rels = {rel for rel, _, _ in links(head, fmt)}
    linked = "current" in rels and not rels.isdisjoint({"prev-archive", "next-archive"})
    return ["archive"] * (head.archive and (linked or head.complete)) + ["complete"] * head.complete


def channel_image(head: model.Head) -> model.Image | None:
    """The logo, else the icon, scaled into what RSS 2.0 allows; width and height are 0 where the size is not known."""
    candidates = (head.logo, model.Image(head.icon_url) if head.icon_url else None)
    image = next((image for image in candidates if image and _is_rss_image(image.url)), None)
    if image is None or image.width <= 0 or image.height <= 0:
        return image and model.Image(image.url)
    scale = min(1.0, IMAGE_WIDTH / image.width, IMAGE_HEIGHT / image.height)
    return model.Image(image.url, max(1, int(image.width * scale)), max(1, int(image.height * scale)))


def _is_rss_image(url: str) -> bool:
    ending = url.rpartition(".")[2].lower()
    return ending in _IMAGE_TYPES or not ending.replace("_", "").isalnum()
