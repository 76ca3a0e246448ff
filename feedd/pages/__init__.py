"""Turns cards, entries and heads into the pages that people read: an index and a page for each feed.

Pure: the same values give the same bytes, with no clock. Pages are files beside the feeds, with a style and a script
(`ASSETS`); they work from any folder of any server, and without script. An entry is written once (`entry`) and joined
under a head (`feed_page`), as feeds are. Writes no files; takes no HTML from articles. Called by the services.
"""

from __future__ import annotations

from feedd.pages.entries import Check, entry
from feedd.pages.feed import feed_page
from feedd.pages.index import Card, index_page
from feedd.pages.templating import ASSETS

__all__ = ["ASSETS", "Card", "Check", "entry", "feed_page", "index_page"]
