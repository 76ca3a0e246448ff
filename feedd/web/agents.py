"""A User-Agent header -> what asks: a browser, a bot, a reader of one, or an aggregator and for how many it asks.

Pure, and linear in the header, of which it reads no more than 512 characters. There is no standard for any of this:
the rules follow what readers send today. Called by `audience`.
"""

from __future__ import annotations

import re
from enum import Enum

from msgspec import Struct

LENGTH = 512  # characters of a header that count; known aggregators say all in 200
MOST = 100_000_000  # a greater number of subscribers is not believed

# "12 subscribers", "1 subscriber", "1,234 readers"; the number stands by itself.
_COUNT = re.compile(r"(?<![\w.,])(\d{1,10}|\d{1,3}(?:,\d{3}){1,3}) (?:subscriber|reader)s?\b", re.IGNORECASE)
_FEED_ID = re.compile(r"\bfeed-?id ?[=:] ?([\w-]{1,64})", re.IGNORECASE)
_NAME_ENDS = re.compile(r"[/;(]| - |\bfeed-?id\b", re.IGNORECASE)
_COMPATIBLE = re.compile(r"mozilla/[\d.]{1,8} \((?:compatible; ?)?", re.IGNORECASE)
# Of programs that crawl, look at links or watch whether a server is up. "Cubot" makes telephones.
_BOT = re.compile(
    r"(?<!cu)bots?(?![a-z])|crawl|spider|slurp|archiver|headless|lighthouse|validator|facebookexternalhit|"
    r"prerender|pingdom|uptime|monitoring|nagios|zabbix|scrapy|censys|zgrab|masscan|nikto|nmap|"
    r"link ?(?:check|preview)|google-read-aloud",
    re.IGNORECASE,
)
_FEED = re.compile(r"rss|feed(?!back)", re.IGNORECASE)  # a bot of that name is somebody's reader
_BROWSER = re.compile(r"(?:mozilla|opera)/[\d.]+ (?!\(compatible; (?!msie))", re.IGNORECASE)
_READER = re.compile(
    r"rss|feed(?!back)|reader|thunderbird|seamonkey|liferea|akregator|reeder|newsblur|inoreader|miniflux|podcast",
    re.IGNORECASE,
)


class Kind(Enum):
    """What asks, where it does not say for how many."""

    READER = "reader"
    BROWSER = "browser"
    BOT = "bot"


class Aggregator(Struct, frozen=True, gc=False):
    """Asks once for many people. `name` is its own, in lower case; `feed_id` is its number of the feed, or empty."""

    name: str
    feed_id: str
    subscribers: int


def recognise(user_agent: str) -> Kind | Aggregator:
    """What asks. Whatever fetches a feed and is neither a browser nor calls itself a bot is a reader, nameless or not.

    Some readers (sfeed) send no header at all; many copy the head of a browser's.
    """
    agent = user_agent[:LENGTH]
    count = _COUNT.search(agent)
    if count:
        feed_id = _FEED_ID.search(agent)
        subscribers = min(int(count[1].replace(",", "")), MOST)
        return Aggregator(_name(agent, count[0]), feed_id[1] if feed_id else "", subscribers)
    if _BOT.search(agent) and ("validator" in agent.lower() or not _FEED.search(agent)):
        return Kind.BOT
    if _BROWSER.match(agent) and not _READER.search(agent):
        return Kind.BROWSER
    return Kind.READER


def _name(agent: str, count: str) -> str:
    """The aggregator without its version, and without what it says of its browser, both of which change."""
    start = _COMPATIBLE.match(agent)
    rest = agent[start.end() if start else 0 :].replace(count, "")
    return _NAME_ENDS.split(rest, maxsplit=1)[0].strip(" -,").lower()[:60]
