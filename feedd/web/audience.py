"""Requests for feeds -> how many subscribe to each, and what was saved. Numbers only: nothing that names anybody.

An aggregator says in its User-Agent for how many it asks: its latest number counts. Others count by themselves: each
pair of address and User-Agent that was seen today or yesterday (24 to 48 hours). What is kept of a pair is a few bits
at a place that a hash with a random key of this process chooses. Nothing is written to disk.

Called by the server for each answer; `feeds` and `totals` also by the status, from another thread.
"""

from __future__ import annotations

import re
import secrets

from msgspec import Struct

from feedd.web import agents

DAY_S = 86_400
MAX_FEEDS = 100_000
MAX_REPORTS = 100_000  # (feed, aggregator) pairs a day
FILTER_BITS = 25  # 4 MB a day
_KINDS = 4_096  # User-Agents whose kind is remembered
_SUFFIXES = frozenset({"atom", "rss", "json"})
# What `site.base_path` makes, and no other spelling of it: those could fill the table.
_IS_FEED = re.compile(r"(?!/archives/)(?:/[a-z0-9][a-z0-9.-]*)+").fullmatch
_READ = frozenset({200, 226, 304})


class FeedAudience(Struct, frozen=True, gc=False):
    """Who reads one feed, all formats together. `feed` is its path without suffix, as `site.base_path` makes it.

    `reported`: the sum of what aggregators say. `readers`: those that ask for themselves.
    """

    feed: str
    reported: int
    readers: int

    @property
    def subscribers(self) -> int:
        """The estimate."""
        return self.reported + self.readers


class Totals(Struct, frozen=True):
    """All requests since the start. `statuses`: by class, such as "2xx". Bytes are of bodies.

    `not_modified_ratio`: of the requests for something that was there, the part that was answered by 304.
    `saved_*`: bytes that were not sent, compared with whole bodies without compression.
    """

    requests: int
    statuses: dict[str, int]
    not_modified: int
    not_modified_ratio: float
    bytes_sent: int
    saved_not_modified: int
    saved_delta: int
    saved_compression: int

    @property
    def bytes_saved(self) -> int:
        """By all three."""
        return self.saved_not_modified + self.saved_delta + self.saved_compression


class _Feed:
    """The counts of one feed as of `day`: of this day, and of the day before what was not seen again since."""

    __slots__ = ("day", "readers", "readers_before", "readers_new", "reported", "reported_before")

    def __init__(self, day: int) -> None:
        self.day = day
        self.readers = self.readers_before = self.readers_new = self.reported = self.reported_before = 0

    def at(self, day: int) -> tuple[int, int]:
        """(readers, reported) of `day` and the day before it, seen from `day`."""
        if day == self.day:
            return self.readers_before + self.readers_new, self.reported + self.reported_before
        return (self.readers, self.reported) if day == self.day + 1 else (0, 0)

    def move_to(self, day: int) -> None:
        """Begins another day."""
        self.readers_before, self.reported_before = self.at(day)
        self.readers = self.readers_new = self.reported = 0
        self.day = day


class _Seen:
    """A Bloom filter in blocks of 64 bits: a set that never forgets, of a fixed size, that holds no members.

    It now and then takes a key that it has not seen for one that it has, so that counts come out a little too low by
    it, and never too high: with 4 MB by 0.002 % after 100,000 keys, 0.04 % after a million, 1.5 % after five.
    """

    __slots__ = ("_mask", "_masks", "_words")

    def __init__(self, bits: int, masks: tuple[int, ...]) -> None:
        self._words = memoryview(bytearray(1 << (bits - 3))).cast("Q")
        self._mask = len(self._words) - 1
        self._masks = masks

    def has(self, key: int) -> bool:
        """Whether the key was added, or another one like it."""
        bits = self._masks[(key >> 40) & 0xFFF]
        return self._words[key & self._mask] & bits == bits

    def add(self, key: int) -> None:
        """Adds a 64-bit key."""
        self._words[key & self._mask] |= self._masks[(key >> 40) & 0xFFF]


class Audience:
    """Counts. `saw` belongs to one thread; the others may be called from any, and may then be a request behind.

    Bounded: 8 MB of filters, and with 100,000 feeds and 100,000 reports a day some 50 MB in all. Feeds and reports
    beyond that are not counted on that day.
    """

    def __init__(
        self, *, max_feeds: int = MAX_FEEDS, max_reports: int = MAX_REPORTS, filter_bits: int = FILTER_BITS,
        salt: str | None = None,
    ) -> None:
        """`filter_bits`: the filter of one day has two to this power. `salt` is given by tests alone."""
        self._max_feeds, self._max_reports, self._bits = max_feeds, max_reports, filter_bits
        # Python's hash of a str is SipHash, which mixes well; with a secret in front it is keyed, whatever
        # PYTHONHASHSEED says.
        self._salt = secrets.token_hex(16) if salt is None else salt
        self._masks = _masks()
        self._day, self._day_ends = 0, 0.0
        self._seen, self._seen_before = self._new_filter(), self._new_filter()
        self._feeds: dict[str, _Feed] = {}
        self._feeds_before: dict[str, _Feed] = {}
        self._reports: dict[int, int] = {}
        self._reports_before: dict[int, int] = {}
        self._kinds: dict[int, agents.Kind | agents.Aggregator] = {}
        self._statuses: dict[int, int] = {}
        self._sent = self._saved_304 = self._saved_226 = self._saved_compression = 0

    def saw(
        self, path: str, user_agent: str, address: str, status: int, sent_bytes: int, identity_bytes: int, now: float
    ) -> None:
        """Counts one answer.

        `path`: as requested, without query. `sent_bytes`: of the body as it went out; `identity_bytes`: of the whole
        body without compression, also where a 304 or 226 spared it; 0 for HEAD. `now`: seconds since 1970.
        """
        statuses = self._statuses
        statuses[status] = statuses.get(status, 0) + 1
        if status == 304:
            self._saved_304 += identity_bytes
        else:
            self._sent += sent_bytes
            if identity_bytes > sent_bytes:
                if status == 226:
                    self._saved_226 += identity_bytes - sent_bytes
                elif status == 200:
                    self._saved_compression += identity_bytes - sent_bytes
        if status not in _READ:
            return
        base, _, suffix = path.rpartition(".")
        if suffix not in _SUFFIXES:
            return
        if now >= self._day_ends:
            self._begin_day(int(now // DAY_S))
        if ":" in address:
            address = _network(address)
        # 64 bits: the place of the pair in the filters. Known already: the whole way of most requests.
        key = hash(f"{self._salt}{base}\n{user_agent}\n{address}")
        if not self._seen.has(key):
            self._look(base, path, user_agent, key)

    def feeds(self, now: float) -> list[FeedAudience]:
        """The feeds that were read today or yesterday, in no order."""
        day = self._day_of(now)
        # Copies first: each is one step of the interpreter, so that the server's thread may go on.
        both = {**dict(self._feeds_before), **dict(self._feeds)}
        counts = ((base, feed.at(day)) for base, feed in both.items())
        return [FeedAudience(base[1:], reported, readers) for base, (readers, reported) in counts if reported + readers]

    def find(self, feed: str, now: float) -> FeedAudience | None:
        """One of `feeds`."""
        base = f"/{feed}"
        counts = self._feeds.get(base) or self._feeds_before.get(base)
        readers, reported = counts.at(self._day_of(now)) if counts else (0, 0)
        return FeedAudience(feed, reported, readers) if readers + reported else None

    def totals(self) -> Totals:
        """All that was answered since the start."""
        statuses = dict(self._statuses)
        classes: dict[str, int] = {}
        for status, number in sorted(statuses.items()):
            name = f"{status // 100}xx"
            classes[name] = classes.get(name, 0) + number
        not_modified = statuses.get(304, 0)
        read = sum(statuses.get(status, 0) for status in _READ)
        return Totals(
            requests=sum(statuses.values()), statuses=classes, not_modified=not_modified,
            not_modified_ratio=not_modified / read if read else 0.0, bytes_sent=self._sent,
            saved_not_modified=self._saved_304, saved_delta=self._saved_226,
            saved_compression=self._saved_compression,
        )

    def _look(self, base: str, path: str, user_agent: str, key: int) -> None:
        """A pair that was not counted today: a reader's first request, or any of those that are not counted so."""
        kind = self._kind(user_agent)
        if isinstance(kind, agents.Aggregator):
            feed = self._feed(base)
            if feed:
                self._report(feed, base, path, kind)
        elif kind is agents.Kind.READER:
            feed = self._feed(base)
            if feed:
                self._seen.add(key)
                feed.readers += 1
                feed.readers_new += not self._seen_before.has(key)

    def _report(self, feed: _Feed, base: str, path: str, told: agents.Aggregator) -> None:
        # Without a number of its own for the feed, an aggregator's subscribers of another format are other people.
        key = hash(f"{self._salt}{base if told.feed_id else path}\n{told.name}\n{told.feed_id}")
        before = self._reports.get(key)
        if before is None:
            if len(self._reports) >= self._max_reports:
                return
            feed.reported_before -= self._reports_before.get(key, 0)  # what it said yesterday counts no more
        self._reports[key] = told.subscribers
        feed.reported += told.subscribers - (before or 0)

    def _feed(self, base: str) -> _Feed | None:
        """The counts of a feed, today; None where there is no room for one more, and for archives."""
        feed = self._feeds.get(base)
        if feed is None:
            if len(self._feeds) >= self._max_feeds or not _IS_FEED(base):
                return None
            feed = self._feeds_before.pop(base, None)
            if feed:
                feed.move_to(self._day)
            else:
                feed = _Feed(self._day)
            self._feeds[base] = feed
        return feed

    def _kind(self, user_agent: str) -> agents.Kind | agents.Aggregator:
        """Remembered by a keyed hash; all are forgotten when there are too many."""
        key = hash(f"{self._salt}{user_agent}")
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            kind = self._kinds[key] = agents.recognise(user_agent)
        return kind

    def _day_of(self, now: float) -> int:
        return max(int(now // DAY_S), self._day)  # a clock that is put back begins no day a second time

    def _begin_day(self, day: int) -> None:
        next_day = day == self._day + 1
        self._seen_before = self._seen if next_day else self._new_filter()
        self._reports_before = self._reports if next_day else {}
        self._feeds_before = self._feeds if next_day else {}
        self._seen, self._reports, self._feeds = self._new_filter(), {}, {}
        self._day, self._day_ends = day, float((day + 1) * DAY_S)

    def _new_filter(self) -> _Seen:
        return _Seen(self._bits, self._masks)


def _network(address: str) -> str:
    """The half of an IPv6 address that stays when a host changes its other half for privacy (RFC 8981)."""
    head, gap, _ = address.partition("::")
    groups = head.split(":")
    return address if gap and len(groups) < 4 else ":".join(groups[:4])


def _masks() -> tuple[int, ...]:
    """4,096 words with 4 of 64 bits set, spread by a small generator of numbers (PCG's multiplier)."""
    state = 1
    found: list[int] = []
    while len(found) < 4096:
        word = 0
        while word.bit_count() < 4:
            state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
            word |= 1 << (state >> 58)
        found.append(word)
    return tuple(found)
