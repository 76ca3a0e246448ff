"""What the same entry may be rendered with; part of the key that a cached fragment is kept under."""

from __future__ import annotations

from msgspec import Struct


class Options(Struct, frozen=True, gc=False):
    """How entries are shown.

    `full_content`: the whole body where there is one, else the summary. `topic_base_url`: the scheme of topic
    categories, empty for none. `language`: the language that entries are in unless they say otherwise.
    `related_heading`: the line above the list of related stories.
    """

    full_content: bool = False
    topic_base_url: str = ""
    language: str = "en"
    related_heading: str = "Related"
