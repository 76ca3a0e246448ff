"""What a robots.txt allows, and to whom: as RFC 9309 says, and quickly whatever it holds."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd.freshness.states import Answer, Failure
from feedd.linkcheck import robots

NOW = 1_700_000_000
SITE = "https://h.example"
AGENT = "feedd/1.0 (+https://news.example/about)"


def said(text: str | bytes, status: int = 200) -> robots.Robots:
    body = text if isinstance(text, bytes) else text.encode()
    return robots.read(Answer(f"{SITE}/robots.txt", status, body=body), NOW)


def allowed(text: str | bytes, path: str, agent: str = AGENT) -> bool:
    return robots.allows(said(text), SITE + path, agent)


@pytest.mark.parametrize(("url", "at"), [
    ("https://h.example/a/b?c", "https://h.example/robots.txt"),
    ("http://h.example:8080/", "http://h.example:8080/robots.txt"),
    ("http://[::1]:81/x", "http://[::1]:81/robots.txt"),
])  # fmt: skip
def test_the_rules_for_a_url_are_at_the_root_of_its_host(url: str, at: str) -> None:
    assert robots.robots_url(url) == at


@pytest.mark.parametrize(("status", "expected"), [
    (200, "read"), (204, "read"), (301, "absent"), (304, "absent"), (400, "absent"), (401, "absent"), (403, "absent"),
    (404, "absent"), (410, "absent"), (451, "absent"), (429, "unreachable"), (500, "unreachable"), (503, "unreachable"),
    (999, "unreachable"),
])  # fmt: skip
def test_who_has_none_allows_all_and_who_cannot_say_allows_nothing(status: int, expected: robots.Status) -> None:
    found = said(b"", status)
    assert found.status == expected
    assert robots.allows(found, f"{SITE}/x", AGENT) == (expected != "unreachable")
    assert robots.delay_s(found, AGENT) == 0.0


@pytest.mark.parametrize(("failure", "expected"), [
    ("timeout", "unreachable"), ("refused", "unreachable"), ("reset", "unreachable"), ("tls", "unreachable"),
    ("lookup", "unreachable"), ("size", "unreachable"), ("protocol", "unreachable"), ("name", "absent"),
    ("address", "absent"), ("port", "absent"),
])  # fmt: skip
def test_a_failure_allows_nothing_but_where_there_is_nobody_to_say_so(failure: Failure, expected: str) -> None:
    assert robots.read(Answer("", failure=failure), NOW).status == expected


def test_what_was_read_holds_a_day_and_what_could_not_be_an_hour() -> None:
    assert robots.expires_at(said("")) == robots.expires_at(said("", 404)) == NOW + 86_400
    assert robots.expires_at(said("", 503)) == NOW + 3600


TEXT = """\
# For everybody
User-agent: *
Disallow: /private   # not this
Allow: /private/public
Disallow: /*.pdf$
Disallow: /search?q=
Disallow:
Crawl-delay: 2
Sitemap: https://h.example/map.xml

User-agent: OtherBot
User-agent: FEEDD-news/2.0
Disallow: /
"""


@pytest.mark.parametrize(("path", "expected"), [
    ("/", True), ("/private", False), ("/private/x", False), ("/private/public/x", True), ("/a.pdf", False),
    ("/a.pdf?x", True), ("/search?q=1", False), ("/search", True), ("/robots.txt", True), ("/PRIVATE", True),
    ("/%70rivate/x", False), ("//private", True),
])  # fmt: skip
def test_the_longest_rule_that_matches_holds(path: str, expected: bool) -> None:
    assert allowed(TEXT, path) == expected
    assert allowed(TEXT.replace("\n", "\r\n"), path) == expected
    assert allowed(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r").encode(), path) == expected


@pytest.mark.parametrize(("agent", "expected"), [
    (AGENT, True), ("feedd", True), ("feedd-news/1.0", False), ("Feedd-News", False), ("otherbot/3 (x)", False),
    ("Mozilla/5.0 (compatible; feedd-news/1.0; +https://x.example)", False),
    ("Mozilla/5.0 (compatible; feedd/1.0; +https://otherbot.example)", True), ("bot (otherbot)", True), ("", True),
])  # fmt: skip
def test_the_group_is_the_one_that_names_the_product_and_nothing_else_does(agent: str, expected: bool) -> None:
    assert allowed(TEXT, "/x", agent) == expected


def test_a_product_is_told_from_what_is_said_with_it() -> None:
    assert robots.product("Mozilla/5.0 (compatible; feedd/1.0; +https://x.example)") == "feedd"
    assert robots.product("(nothing)") == ""


def test_groups_of_the_same_name_are_one_and_exclude_that_for_everybody() -> None:
    text = "User-agent: feedd\nDisallow: /a\nUser-agent: *\nDisallow: /b\n\nUser-agent: feedd*\n\nDisallow: /c\n"
    assert [allowed(text, path) for path in ("/a", "/b", "/c")] == [False, True, False]
    assert [allowed(text, path, "other/1") for path in ("/a", "/b", "/c")] == [True, False, True]


def test_a_group_of_ours_that_says_nothing_allows_all() -> None:
    assert allowed("User-agent: *\nDisallow: /\nUser-agent: feedd\nDisallow:\n", "/x")


@pytest.mark.parametrize("text", [
    "Disallow: /", "<html><p>User-agent: * Disallow: /</html>", "User-agents: *\nDisallow: /", "\0\xff", "",
    "User-agent:\nDisallow: /", "User-agent: /\nDisallow: /",
])  # fmt: skip
def test_what_is_no_rule_for_anybody_forbids_nothing(text: str) -> None:
    assert allowed(text, "/x")


@pytest.mark.parametrize("text", [
    "user agent *\ndisallow /", "  USERAGENT : *\n\tDissallow:/", "User-agent:*\nUser-agent: x\nDisalow: /",
    "User-agent: *\nSitemap: x\nNoindex: /y\nDisallow: /*",
])  # fmt: skip
def test_what_is_meant_is_understood(text: str) -> None:
    assert not allowed(text, "/x")


@pytest.mark.parametrize(("lines", "delay_s"), [
    ("Crawl-delay: 2", 2.0), ("Crawl-delay: 2.5", 2.5), ("crawl delay 7", 7.0), ("Crawl-delay: 3600", 60.0),
    ("Crawl-delay: x", 0.0), ("Crawl-delay: -1", 0.0), ("Crawl-delay: inf", 0.0), ("Crawl-delay: nan", 0.0),
    ("Request-rate: 1/5", 5.0), ("Request-rate: 10/1m", 6.0), ("Request-rate: 1/1d", 60.0),
    ("Request-rate: 1/" + "9" * 1000, 60.0), ("Request-rate: 1/0", 0.0), ("Request-rate: 4/2 0800-1200", 0.5),
    ("Crawl-delay: 3\nRequest-rate: 1/2", 3.0), ("Disallow: /", 0.0),
])  # fmt: skip
def test_a_host_may_ask_for_a_delay_of_a_minute_at_most(lines: str, delay_s: float) -> None:
    assert robots.delay_s(said("User-agent: *\n" + lines), AGENT) == delay_s
    assert robots.delay_s(said("User-agent: x\n" + lines), AGENT) == 0.0


def test_what_is_kept_of_a_text_is_what_is_of_use() -> None:
    assert said(TEXT).text.count(b"\n") == 9 and b"#" not in said(TEXT).text and b"Sitemap" not in said(TEXT).text


def test_the_first_500_kibibytes_count() -> None:
    early, late = b"User-agent: *\nDisallow: /early\n", b"\nDisallow: /late\n"
    body = early + b"#" * (robots.TEXT_BYTES - len(early)) + late
    assert [allowed(body, path) for path in ("/early", "/late")] == [False, True]
    assert robots.TEXT_BYTES >= 500 * 1024


def test_who_has_more_rules_than_anybody_is_not_asked() -> None:
    many = "".join(f"Allow: /{n}\n" for n in range(robots.RULES))
    assert allowed("User-agent: *\n" + many, "/1")
    assert not allowed("User-agent: *\n" + many + "Allow: /\n", "/1")
    assert robots.delay_s(said("User-agent: *\nCrawl-delay: 5\n" + many), AGENT) == 0.0
    assert not allowed("User-agent: *\n" + "Allow: /*a\n" * (robots.WILDCARDS + 1), "/a")


@pytest.mark.parametrize("body", [
    b"User-agent: *\n" + b"".join(b"User-agent: a%d\n" % n for n in range(14_000)) + b"Disallow: /a\n" * 14_000,
    b"User-agent: *\n" + b"Disallow: /*aab\n" * 30_000, b"User-agent: *\n" + b"Disallow: /*aab\n" * 1000,
    b"User-agent: *\n" + b"Disallow: /x$\n" * 5000, b"User-agent: *\nDisallow: /" + b"*a" * 200_000,
    b"User-agent: *\nDisallow: /" + b"%41" * 150_000, b"User-agent: *\nDisallow: /" + b"*a" * 1000,
    b" " * 500_000, b"user-agent" + b" " * 500_000, b"User-agent: *\nCrawl-delay: " + b"9" * 500_000, b"\r" * 500_000,
])  # fmt: skip
def test_no_text_takes_long(body: bytes) -> None:
    began = time.process_time()
    found = said(body)
    for number in range(10):
        robots.allows(found, f"{SITE}/{number}" + "a" * 2000, AGENT)
    assert time.process_time() - began < 2.0  # in fact a tenth of it, at most


def test_rules_are_parsed_once_for_many_urls() -> None:
    found = said("User-agent: *\n" + "".join(f"Disallow: /{n}\n" for n in range(2000)))
    robots.allows(found, f"{SITE}/x", AGENT)
    began = time.process_time()
    assert not any(robots.allows(found, f"{SITE}/{n}", AGENT) for n in range(100))
    assert time.process_time() - began < 0.5


def test_what_was_asked_long_ago_is_parsed_again() -> None:
    parsed = robots._Parsed(3000)
    texts = [said(f"User-agent: *\nDisallow: /{n}\n").text for n in range(20)]
    for _ in range(2):
        rules = [parsed.get(text, "feedd") for text in texts]
        assert [rule and rule.can_fetch(f"/{n}", "*") for n, rule in enumerate(rules)] == [False] * 20
    assert parsed.get(texts[-1], "feedd") is rules[-1]
    assert parsed.get(texts[0], "feedd") is not rules[0]


LINES = st.sampled_from([
    "User-agent: *", "User-agent: feedd", "Disallow: /a", "Allow: /a/b", "Disallow: /*c$", "Crawl-delay: 1", "Disallow",
    "Request-rate: 1/1s", "Sitemap: x", "", "# c", "Disallow: %", "Disallow: http://[", "Allow: /index.html",
])  # fmt: skip


TEXTS = st.lists(LINES | st.text()).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))


@given(text=TEXTS | st.binary())
@settings(max_examples=300, deadline=None)
def test_no_text_makes_it_raise(text: bytes) -> None:
    found = said(text)
    assert robots.allows(found, f"{SITE}/robots.txt", AGENT)
    assert robots.allows(found, f"{SITE}/a/%C3%BC?x=[1]", AGENT) in (True, False)
    assert 0.0 <= robots.delay_s(found, AGENT) <= 60.0
