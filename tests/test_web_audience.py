"""Who reads a feed: headers that readers really send, days that pass, and what bounds the counts."""

from __future__ import annotations

import gc
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.web.agents import MOST, Aggregator, Kind, recognise
from feedd.web.audience import DAY_S, Audience, FeedAudience

NOON = 20_000 * DAY_S + 43_200.0
READER = "NetNewsWire (RSS Reader; https://netnewswire.com/)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
FEEDLY = "Feedly/1.0 (+http://www.feedly.com/fetcher.html; {} subscribers; like FeedFetcher-Google)"
OLD_READER = "Mozilla/5.0 (compatible; theoldreader.com; {} subscribers; feed-id={})"
NEWSBLUR = (
    "NewsBlur Feed Fetcher - 1 subscriber - http://www.newsblur.com/site/12345/a-title (Mozilla/5.0 (Macintosh; Intel "
    "Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/14.0.1 Safari/605.1.15)"
)
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"

AGGREGATORS = [
    (FEEDLY.format(16), "feedly", "", 16),
    ("Feedly/1.0 (poller; 1 subscribers; +http://feedly.com/poller.html)", "feedly", "", 1),
    ("Inoreader/1.0 (+http://www.inoreader.com/feed-fetcher; 1,234 subscribers; )", "inoreader", "", 1234),
    ("Feedbin feed-id:1373711 - 142 subscribers", "feedbin", "1373711", 142),
    (NEWSBLUR, "newsblur feed fetcher", "", 1),
    (OLD_READER.format(5, "24e6a1f2"), "theoldreader.com", "24e6a1f2", 5),
    ("Mozilla/5.0 (compatible; BazQux/2.4; +https://bazqux.com/fetcher; 10 subscribers)", "bazqux", "", 10),
    ("FeedFetcher-Google; (+http://www.google.com/feedfetcher.html; 7 subscribers; feed-id=90125)",
     "feedfetcher-google", "90125", 7),
    ("Netvibes (http://www.netvibes.com; 33 subscribers; feedID: 77)", "netvibes", "77", 33),
    ("Tiny Tiny RSS/21.04 (http://tt-rss.org/; 12 subscribers; feed-id=4)", "tiny tiny rss", "4", 12),
    ("Superfeedr bot/2.0 http://superfeedr.com - Make your feeds realtime: get in touch - feed-id:8; 2 subscribers",
     "superfeedr bot", "8", 2),
    ("FeedHQ/1.0 (https://github.com/feedhq/feedhq; 1 subscribers; https://feedhq.example)", "feedhq", "", 1),
    ("BlogReader/2 (http://reader.example; 9 readers)", "blogreader", "", 9),
]
KINDS = {
    Kind.READER: [
        READER, "", "curl/8.5.0", "Newsboat/2.30.1 (Linux x86_64)", "feedparser/6.0.11 +https://feedparser.example/",
        "Mozilla/5.0 (compatible; Miniflux/2.0.51; +https://miniflux.app)",
        "FreshRSS/1.24.1 (Linux; https://freshrss.org)", "Tiny Tiny RSS/21.04 (http://tt-rss.org/)",
        "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.3.1",
        "Mozilla/5.0 (Windows NT 6.1) AppleWebKit/537.21 (KHTML, like Gecko) QuiteRSS/0.18.12 Safari/537.21",
        "Liferea/1.14.0 (Linux; https://lzone.de/liferea/) AppleWebKit (KHTML, like Gecko)",
        "Feedly/1.0 (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)", "rss2email/3.14",
        "Mozilla/5.0 (compatible; NetNewsWire)", "Reeder/5050001 CFNetwork/1568.200.51 Darwin/24.1.0",
        "TheFeedReaderBot/1.0 (+https://thefeedreaderbot.example)",
    ],
    Kind.BROWSER: [
        FIREFOX,
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/129.0.0.0 Safari/537.36 Edg/129.0.0.0",
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1",
        f"Mozilla/5.0 (Linux; Android 8.1.0; CUBOT_P20) {WEBKIT} Chrome/98.0.4758.101 Mobile Safari/537.36",
        "Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18",
        "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1)",
    ],
    Kind.BOT: [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        f"Mozilla/5.0 (Linux; Android 5.0) {WEBKIT} (compatible; Bytespider; spider-feedback@bytedance.com)",
        "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "facebookexternalhit/1.1",
        "FeedValidator/1.3", "W3C_Validator/1.3", "CCBot/2.0 (https://commoncrawl.org/faq/)",
        "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0 Safari/537.36",
        "Googlebot-News", "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    ],
}


def ask(
    audience: Audience, agent: str = READER, address: str = "192.0.2.1", *, path: str = "/all.atom", status: int = 200,
    now: float = NOON,
) -> None:
    """One request of nobody in particular."""
    audience.saw(path, agent, address, status, 100, 400, now)


def counts(audience: Audience, feed: str = "all", now: float = NOON) -> tuple[int, int]:
    """(reported, readers), which `feeds` and `find` must agree about."""
    found = audience.find(feed, now)
    assert [row for row in audience.feeds(now) if row.feed == feed] == ([found] if found else [])
    return (found.reported, found.readers) if found else (0, 0)


# --- what asks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("agent", "name", "feed_id", "subscribers"), AGGREGATORS)
def test_aggregators_say_for_how_many_they_ask(agent: str, name: str, feed_id: str, subscribers: int) -> None:
    assert recognise(agent) == Aggregator(name, feed_id, subscribers)


@pytest.mark.parametrize(("kind", "agent"), [(kind, agent) for kind, agents in KINDS.items() for agent in agents])
def test_readers_browsers_and_bots_are_told_apart(kind: Kind, agent: str) -> None:
    assert recognise(agent) is kind


@given(st.text())
def test_any_header_is_something(agent: str) -> None:
    assert isinstance(recognise(agent), Kind | Aggregator)


@pytest.mark.parametrize("piece", ["1", "1,", "1 ", "feed-id=", "1 subscriber", "mozilla/1", "bot", "(", " - ", "a-"])
def test_a_long_header_takes_no_longer(piece: str) -> None:
    began = time.perf_counter()
    for _ in range(10):
        recognise(piece * 10_000)
    assert time.perf_counter() - began < 0.1


def test_nobody_has_more_subscribers_than_a_world_of_readers() -> None:
    assert recognise("Liar/1 (9999999999 subscribers)") == Aggregator("liar", "", MOST)
    assert recognise("Liar/1 (99999999999999 subscribers)") is Kind.READER


# --- counting ------------------------------------------------------------------------------------------------------


def test_a_reader_counts_once_whatever_format_it_asks_for_and_however_often() -> None:
    audience = Audience()
    for path in ("/topics/ai.atom", "/topics/ai.rss", "/topics/ai.json", "/topics/ai.atom"):
        ask(audience, path=path)
        ask(audience, path=path, status=304)
    assert audience.feeds(NOON) == [FeedAudience("topics/ai", reported=0, readers=1)]


def test_two_people_behind_one_address_or_with_one_reader_are_two() -> None:
    audience = Audience()
    ask(audience)
    ask(audience, agent="Newsboat/2.30.1 (Linux x86_64)")
    ask(audience, address="192.0.2.2")
    assert counts(audience) == (0, 3)


def test_a_privacy_address_of_ipv6_is_no_new_reader() -> None:
    audience = Audience()
    for address in ("2001:db8:1:2:a:b:c:d", "2001:db8:1:2:4:3:2:1", "2001:db8:1:2:ffff::1"):
        ask(audience, address=address)
    ask(audience, address="2001:db8:1:3:a:b:c:d")
    ask(audience, address="::1")
    ask(audience, address="2001:db8::5")
    assert counts(audience) == (0, 4)


def test_browsers_and_bots_are_no_subscribers_but_their_requests_count() -> None:
    audience = Audience()
    ask(audience, agent=FIREFOX)
    ask(audience, agent=KINDS[Kind.BOT][0])
    assert audience.feeds(NOON) == [] and audience.find("all", NOON) is None
    assert audience.totals().requests == 2


@pytest.mark.parametrize("path", [
    "/", "/index.html", "/feeds.opml", "/archives/all/1.atom", "/feedd.css", "atom", "/.atom", "//all.atom",
    "/%61ll.atom", "/topics/../all.atom", "/ALL.atom",
])
def test_what_is_no_live_feed_has_no_subscribers(path: str) -> None:
    audience = Audience()
    ask(audience, path=path)
    assert audience.feeds(NOON) == []


@pytest.mark.parametrize("status", [301, 404, 406, 410, 429, 500])
def test_who_got_no_feed_does_not_subscribe(status: int) -> None:
    audience = Audience()
    ask(audience, status=status)
    assert audience.feeds(NOON) == []


def test_the_latest_number_of_an_aggregator_counts_from_wherever_it_asks() -> None:
    audience = Audience()
    for number, address in enumerate(("192.0.2.1", "192.0.2.2", "192.0.2.3"), 16):
        ask(audience, agent=FEEDLY.format(number), address=address)
    ask(audience, agent=FEEDLY.format(12))
    assert counts(audience) == (12, 0)


def test_numbers_of_several_aggregators_and_feed_ids_add_up() -> None:
    audience = Audience()
    ask(audience, agent=FEEDLY.format(10))
    ask(audience, agent=FEEDLY.format(3), path="/all.rss")  # the people who subscribed to the other format
    ask(audience, agent=OLD_READER.format(5, "a"))
    ask(audience, agent=OLD_READER.format(7, "b"))
    ask(audience, agent=OLD_READER.format(6, "a"), path="/all.rss")  # the same feed, by its number
    ask(audience)
    assert counts(audience) == (10 + 3 + 7 + 6, 1)


# --- days ----------------------------------------------------------------------------------------------------------


def test_readers_and_reports_count_for_the_day_and_the_day_after() -> None:
    audience = Audience()
    ask(audience)
    ask(audience, address="192.0.2.2")
    ask(audience, agent=FEEDLY.format(10))
    tomorrow, later = NOON + DAY_S, NOON + 2 * DAY_S
    assert counts(audience, now=tomorrow) == (10, 2)
    ask(audience, now=tomorrow)  # seen again
    ask(audience, address="192.0.2.3", now=tomorrow)  # new
    assert counts(audience, now=tomorrow) == (10, 3)
    ask(audience, agent=FEEDLY.format(4), now=tomorrow)
    assert counts(audience, now=tomorrow) == (4, 3)
    assert counts(audience, now=later) == (4, 2)
    ask(audience, path="/topics/ai.atom", now=later)
    assert counts(audience, now=later) == (4, 2)
    assert counts(audience, now=later + DAY_S) == (0, 0)


def test_days_without_a_request_leave_nothing_behind() -> None:
    audience = Audience()
    ask(audience)
    ask(audience, agent=FEEDLY.format(10))
    ask(audience, now=NOON + 5 * DAY_S)
    assert counts(audience, now=NOON + 5 * DAY_S) == (0, 1)


def test_a_clock_that_is_put_back_begins_no_new_day() -> None:
    audience = Audience()
    ask(audience)
    ask(audience, now=NOON - 3 * DAY_S)
    assert counts(audience, now=NOON - 3 * DAY_S) == counts(audience) == (0, 1)


# --- bounds and properties -----------------------------------------------------------------------------------------

REQUESTS = st.lists(st.tuples(
    st.sampled_from(["/all.atom", "/all.rss", "/topics/ai.atom", "/index.html"]),
    st.sampled_from([READER, "", FIREFOX, FEEDLY.format(3), FEEDLY.format(5), OLD_READER.format(2, "x")]),
    st.integers(0, 9), st.sampled_from([200, 226, 304, 404]), st.integers(0, 4 * DAY_S), st.integers(0, 1000),
), max_size=60)


@given(REQUESTS)
def test_counts_are_those_of_a_slow_and_exact_count(requests: list[tuple[str, str, int, int, int, int]]) -> None:
    audience = Audience(filter_bits=16)
    exact: dict[str, dict[int, set[tuple[str, int]]]] = {}
    reported: dict[tuple[str, str, str], tuple[int, int]] = {}
    last = 0
    for path, agent, address, status, at, size in sorted(requests, key=lambda request: request[4]):
        audience.saw(path, agent, f"192.0.2.{address}", status, size, size + 1, float(at))
        last = at
        feed = path[1:].rpartition(".")[0]
        if status == 404 or feed == "index" or agent == FIREFOX:
            continue
        told = recognise(agent)
        if isinstance(told, Aggregator):
            reported[feed, feed if told.feed_id else path, told.name] = (at // DAY_S, told.subscribers)
        else:
            exact.setdefault(feed, {}).setdefault(at // DAY_S, set()).add((agent, address))
    today = last // DAY_S
    for feed in ("all", "topics/ai", "index"):
        days = exact.get(feed, {})
        readers = len(days.get(today, set()) | days.get(today - 1, set()))
        told_now = sum(n for (of, *_), (day, n) in reported.items() if of == feed and day >= today - 1)
        assert counts(audience, feed, float(last)) == (told_now, readers)
    assert audience.totals().requests == len(requests)


@given(REQUESTS)
def test_nothing_ever_falls_within_a_day_but_what_aggregators_say(
    requests: list[tuple[str, str, int, int, int, int]],
) -> None:
    audience = Audience(filter_bits=12, max_feeds=2, max_reports=2)
    before: tuple[int, ...] = (0,) * 7
    for path, agent, address, status, at, size in requests:
        audience.saw(path, agent, f"192.0.2.{address}", status, size, size + 1, NOON + at % 1000)
        totals = audience.totals()
        after = (
            counts(audience, "all")[1], counts(audience, "topics/ai")[1], totals.requests, totals.bytes_sent,
            totals.saved_not_modified, totals.saved_delta, totals.saved_compression,
        )
        assert all(old <= new for old, new in zip(before, after, strict=True))
        assert 0 <= totals.not_modified_ratio <= 1 and totals.bytes_saved >= 0
        before = after


def test_a_full_filter_counts_too_few_and_never_too_many() -> None:
    audience, bits = Audience(filter_bits=14), 1 << 14
    for number in range(bits):  # far more than it is made for
        ask(audience, address=f"10.0.{number >> 8}.{number & 255}")
    _, readers = counts(audience)
    assert bits // 50 < readers < bits


def test_a_filter_of_the_usual_size_misses_less_than_one_in_a_thousand_of_two_hundred_thousand() -> None:
    audience, readers = Audience(), 200_000
    for number in range(readers):
        ask(audience, address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert 0.999 * readers < counts(audience)[1] <= readers


def test_feeds_and_reports_beyond_the_bounds_are_not_counted() -> None:
    audience = Audience(max_feeds=2, max_reports=1)
    for feed in "abc":
        ask(audience, path=f"/{feed}.atom")
        ask(audience, path=f"/{feed}.atom", agent=FEEDLY.format(9))
    found = {row.feed: (row.reported, row.readers) for row in audience.feeds(NOON)}
    assert found == {"a": (9, 1), "b": (0, 1)}


def test_many_kinds_of_readers_are_still_told_apart() -> None:
    audience = Audience(filter_bits=16)
    for number in range(5_000):
        ask(audience, agent=f"Firefox-like/{number} (1 subscriber)")
    assert counts(audience) == (1, 0)
    ask(audience, agent=FIREFOX)
    assert counts(audience) == (1, 0)


def test_a_hundred_thousand_feeds_take_less_than_64_megabytes() -> None:
    number_of_feeds = 15_000  # with more of them it takes long to trace
    gc.collect()
    tracemalloc.start()
    try:
        audience = Audience()
        empty = tracemalloc.get_traced_memory()[0]
        for day in (0, 1):
            for number in range(number_of_feeds):
                path = f"/topics/a-topic-with-quite-a-name-{number}.atom"
                ask(audience, path=path, now=NOON + day * DAY_S)
                ask(audience, agent=FEEDLY.format(number % 500), path=path, now=NOON + day * DAY_S)
        each = (tracemalloc.get_traced_memory()[0] - empty) / number_of_feeds
        assert empty + 100_000 * each < 60 << 20
        assert len(audience.feeds(NOON + DAY_S)) == number_of_feeds
    finally:
        tracemalloc.stop()


def test_nothing_that_names_anybody_is_kept() -> None:
    audience = Audience()
    agents = [READER, FIREFOX, FEEDLY.format(41), "SecretReader/1", KINDS[Kind.BOT][0]]
    for agent in agents:
        ask(audience, agent=agent, address="198.51.100.77")
        ask(audience, agent=agent, address="2001:db8:7:7:1:2:3:4")
    held: list[object] = [audience]
    for thing in held:  # whatever can be reached from it, among values
        slots = getattr(type(thing), "__slots__", ())
        held.extend(getattr(thing, name) for name in slots if hasattr(thing, name))
        held.extend(vars(thing).values() if hasattr(thing, "__dict__") and isinstance(thing, Audience) else ())
        if isinstance(thing, dict):
            held += [*thing.keys(), *thing.values()]
    texts = [thing for thing in held if isinstance(thing, str)]
    assert not [text for text in texts for secret in (*agents, "198.51.100", "2001:db8") if secret in text]


def test_two_processes_choose_other_places_for_the_same_reader() -> None:
    one, other, same = Audience(), Audience(), Audience(salt="s")
    for audience in (one, other, same):
        ask(audience)
    assert bytes(one._seen._words) != bytes(other._seen._words)


# --- totals --------------------------------------------------------------------------------------------------------


def test_totals_say_what_was_saved_and_how() -> None:
    audience = Audience()
    for status, sent, identity in ((200, 1_000, 4_000), (200, 500, 500), (304, 0, 4_000), (226, 300, 4_000),
                                   (404, 20, 20), (301, 0, 0), (200, 0, 0)):
        audience.saw("/all.atom", READER, "192.0.2.1", status, sent, identity, NOON)
    totals = audience.totals()
    assert totals.requests == 7 and totals.statuses == {"2xx": 4, "3xx": 2, "4xx": 1}
    assert totals.not_modified == 1 and totals.not_modified_ratio == 1 / 5
    assert totals.bytes_sent == 1_820
    assert (totals.saved_compression, totals.saved_not_modified, totals.saved_delta) == (3_000, 4_000, 3_700)
    assert totals.bytes_saved == 10_700


def test_before_the_first_request_all_is_nought() -> None:
    totals = Audience().totals()
    assert (totals.requests, totals.not_modified_ratio, totals.bytes_saved, totals.statuses) == (0, 0.0, 0, {})
    assert Audience().feeds(NOON) == []


def test_a_known_reader_costs_a_few_microseconds() -> None:
    audience, number = Audience(), 20_000
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(number):
            audience.saw("/topics/ai.atom", READER, "192.0.2.1", 304, 0, 28_000, NOON)
        best = min(best, (time.perf_counter() - began) / number)
    assert best < 10e-6  # 0.9 us on an idle machine; the margin is for a busy one
