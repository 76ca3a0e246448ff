"""A feed's head and its entries as HTML -> the feed's page.

Called by the services that build feeds, with the fragments that `entries` made, newest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from feedd import model, site
from feedd.pages import templating
from feedd.render import clean

_ENTRIES = "\0"  # where they go: no text can hold it once `clean` has passed it


def feed_page(head: model.Head, fragments: Sequence[bytes], settings: site.Settings, *, base: str) -> bytes:
    """The whole page. `base` is where it is below the output folder, without suffix, as in `site.base_path`."""
    head = clean.head(head)
    site_title = clean.plain(settings.title)
    exact, clock = templating.moment(head.updated_us)
    logo = head.logo or (model.Image(head.icon_url) if head.icon_url else None)
    older = templating.formats(head.prev_urls)
    page = templating.template("feed.html").render(
        language=head.language, ui=templating.mark_of(head.language), root="../" * base.count("/"),
        title=head.title, name=head.title.removesuffix(f" – {site_title}") or head.title, site_title=site_title,
        description="" if head.subtitle in ("", head.title) else head.subtitle, logo=logo,
        updated=exact, updated_day=templating.day(exact[:10], True), updated_clock=clock,
        formats=templating.formats(head.self_urls), older_url=older[0][2] if older else "",
        site_url=head.page_url, opml_url=clean.url(f"{settings.public_url}/feeds.opml"),
        canonical=clean.url(f"{settings.public_url}/{quote(base)}.html"),
        entries=_ENTRIES if fragments else "",
    )
    before, _, after = page.partition(_ENTRIES)
    return b"".join((before.encode(), b"\n".join(fragments), after.encode()))
