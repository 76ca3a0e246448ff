"""Conditions, codings, media types and dates by the letter of RFC 9110, and no value that makes them fail."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.web import http

TAG = b'"abc"'
DATE_S = 784_111_777
DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
BROWSER = b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(("accept", "expected"), [
    (None, ["identity"]),
    (b"", ["identity"]),
    (b"gzip", ["gzip", "identity"]),
    (b"x-gzip", ["gzip", "identity"]),
    (b"GZIP", ["gzip", "identity"]),
    (b"gzip, deflate, br, zstd", ["br", "gzip", "identity"]),
    (b"gzip;q=1.0, br;q=0.9", ["gzip", "br", "identity"]),
    (b"br;q=0, gzip", ["gzip", "identity"]),
    (b"*", ["br", "gzip", "identity"]),
    (b"*;q=0", []),
    (b"gzip, *;q=0", ["gzip"]),
    (b"identity;q=0", []),
    (b"identity;q=0, br", ["br"]),
    (b"identity, gzip;q=0.5", ["identity", "gzip"]),
    (b"gzip;q=0.5, identity;q=0.5", ["gzip", "identity"]),
    (b"gzip ; q=0.000", ["identity"]),
    (b"gzip;q=2", ["identity"]),
    (b"gzip;q=x, br;q=0.001", ["br", "identity"]),
    (b"*;q=0.1, gzip;q=0", ["br", "identity"]),
    (b",, gzip ,", ["gzip", "identity"]),
])
def test_codings_are_chosen_by_weight(accept: bytes | None, expected: list[str]) -> None:
    assert list(http.encodings(accept)) == expected


@given(st.binary(max_size=600))
def test_no_list_of_codings_makes_it_fail(value: bytes) -> None:
    found = http.encodings(value)
    assert set(found) <= {"br", "gzip", "identity"} and len(set(found)) == len(found)


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 200),
    ({b"if-none-match": TAG}, 304),
    ({b"if-none-match": b'W/"abc"'}, 304),
    ({b"if-none-match": b"*"}, 304),
    ({b"if-none-match": b' "x" , W/"y,z","abc"'}, 304),
    ({b"if-none-match": b'"x", "y"'}, 200),
    ({b"if-none-match": b"abc"}, 200),
    ({b"if-none-match": b'"ABC"'}, 200),
    ({b"if-none-match": b'"x"', b"if-modified-since": DATE}, 200),
    ({b"if-none-match": b'""', b"if-modified-since": DATE}, 200),
    ({b"if-modified-since": DATE}, 304),
    ({b"if-modified-since": b"Sun, 06 Nov 1994 08:49:38 GMT"}, 304),
    ({b"if-modified-since": b"Sun, 06 Nov 1994 08:49:36 GMT"}, 200),
    ({b"if-modified-since": b"Sunday, 06-Nov-94 08:49:37 GMT"}, 304),
    ({b"if-modified-since": b"Sun Nov  6 08:49:37 1994"}, 304),
    ({b"if-modified-since": b"yesterday"}, 200),
    ({b"if-modified-since": DATE + b", " + DATE}, 200),
    ({b"if-match": TAG}, 200),
    ({b"if-match": b"*"}, 200),
    ({b"if-match": b'W/"abc"'}, 412),
    ({b"if-match": b'"x"'}, 412),
    ({b"if-match": b'"x"', b"if-none-match": TAG}, 412),
    ({b"if-match": TAG, b"if-none-match": TAG}, 304),
    ({b"if-match": TAG, b"if-unmodified-since": b"Sun, 06 Nov 1994 08:49:36 GMT"}, 200),
    ({b"if-unmodified-since": DATE}, 200),
    ({b"if-unmodified-since": b"Sun, 06 Nov 1994 08:49:36 GMT"}, 412),
    ({b"if-unmodified-since": b"never"}, 200),
])
def test_conditions_are_taken_in_their_order(headers: dict[bytes, bytes], status: int) -> None:
    assert http.precondition(headers, TAG, DATE_S) == status


@given(st.lists(st.tuples(st.booleans(), st.text("abcxyz,!-", max_size=6)), max_size=6))
def test_a_tag_matches_exactly_the_lists_that_hold_it(tags: list[tuple[bool, str]]) -> None:
    value = ", ".join(("W/" if weak else "") + f'"{tag}"' for weak, tag in tags).encode()
    expected = 304 if "abc" in [tag for _, tag in tags] else 200
    assert http.precondition({b"if-none-match": value}, TAG, 0) == expected


@given(st.integers(0, 253_402_300_799))
def test_dates_come_back(at_s: int) -> None:
    assert http.http_date(at_s) == formatdate(at_s, usegmt=True).encode()
    assert http.parse_date(http.http_date(at_s)) == at_s


@given(st.one_of(st.binary(max_size=300), st.text("0123456789 :-,GMTSunNovFeb", max_size=32).map(str.encode)))
def test_nothing_that_is_no_date_makes_it_fail(value: bytes) -> None:
    found = http.parse_date(value)
    assert found is None or found >= 0


@pytest.mark.parametrize("value", [
    b"Sun, 31 Feb 2021 00:00:00 GMT", b"Sun, 06 Nov 1994 24:00:00 GMT", b"Sun, 06 Nov 1994 08:60:00 GMT",
    b"Sun, 06 Foo 1994 08:49:37 GMT", b"Sun, 00 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 08:49:37 +0200",
    b"Sun, 06 Nov 1960 08:49:37 GMT", b"", b"0", DATE + b" " * 300,
])
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert http.parse_date(value) is None


def test_two_digits_of_a_year_are_of_this_century_or_the_last() -> None:
    assert http.parse_date(b"Monday, 06-Nov-23 08:49:37 GMT") == http.parse_date(b"Mon, 06 Nov 2023 08:49:37 GMT")


@pytest.mark.parametrize(("accept", "media_type", "weight"), [
    (BROWSER, b"text/html", 1.0),
    (BROWSER, b"application/atom+xml", 0.8),
    (b"text/*;q=0.3, text/html;q=0.7, */*;q=0.5", b"text/html", 0.7),
    (b"text/*;q=0.3, */*;q=0.5", b"text/html", 0.3),
    (b"*/*;q=0.5", b"text/html", 0.5),
    (b"application/json", b"text/html", 0.0),
    (b"text/html;level=1;q=0.4", b"text/html", 0.4),
    (b"", b"text/html", 0.0),
])
def test_the_closest_media_range_counts(accept: bytes, media_type: bytes, weight: float) -> None:
    assert http.quality(accept, media_type) == weight


@pytest.mark.parametrize(("headers", "wants"), [
    ({b"accept": BROWSER, b"sec-fetch-dest": b"document"}, True),
    ({b"accept": BROWSER}, False),
    ({b"accept": BROWSER, b"sec-fetch-dest": b"empty"}, False),
    ({b"accept": b"*/*", b"sec-fetch-dest": b"document"}, False),
    ({b"sec-fetch-dest": b"document"}, False),
    ({b"accept": b"application/atom+xml, text/html;q=0.9", b"sec-fetch-dest": b"document"}, False),
    ({b"accept": b"application/atom+xml, application/rss+xml, */*;q=0.1"}, False),
    ({}, False),
])
def test_only_a_browser_that_goes_to_a_page_wants_one(headers: dict[bytes, bytes], wants: bool) -> None:
    assert http.wants_page(headers) is wants


def test_errors_are_told_as_html_only_to_who_would_rather_have_it() -> None:
    assert http.wants_html({b"accept": BROWSER})
    assert not http.wants_html({b"accept": b"*/*"})
    assert not http.wants_html({})
    page = http.problem(404, html=True, detail="<script>")
    assert b"&lt;script&gt;" in page.body and b"<script>" not in page.body
    assert dict(page.headers)[b"content-length"] == b"%d" % len(page.body)
    brief = http.problem(404, head_only=True)
    assert brief.body == b"" and brief.headers == http.problem(404).headers


def test_a_head_has_a_line_for_each_header() -> None:
    assert http.head_of(304, ((b"etag", TAG),)) == b'HTTP/1.1 304 Not Modified\r\netag: "abc"\r\n'
    assert http.head_of(226, ()) == b"HTTP/1.1 226 IM Used\r\n"
    assert http.head_of(299, ()) == b"HTTP/1.1 299 \r\n"


@pytest.mark.parametrize(("peer", "forwarded", "address"), [
    ("192.0.2.1", b"198.51.100.7", "192.0.2.1"),
    ("127.0.0.1", b"198.51.100.7", "198.51.100.7"),
    ("127.0.0.1", b"203.0.113.9, 198.51.100.7", "198.51.100.7"),
    ("127.0.0.1", b"198.51.100.7, 10.0.0.1", "198.51.100.7"),
    ("127.0.0.1", b"", "127.0.0.1"),
    ("127.0.0.1", b"x" * 60, "127.0.0.1"),
    ("127.0.0.1", b"203.0.113.9, unknown", "127.0.0.1"),
    ("127.0.0.1", b"203.0.113.9, unknown, 10.0.0.1", "10.0.0.1"),
    ("127.0.0.1", b" 2001:DB8::1 ", "2001:db8::1"),
])
def test_only_proxies_of_ours_are_believed(peer: str, forwarded: bytes, address: str) -> None:
    trusted = frozenset(("127.0.0.1", "10.0.0.1"))
    assert http.address_of(peer, {b"x-forwarded-for": forwarded}, trusted) == address


def test_repeated_headers_are_a_list() -> None:
    assert http.joined([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]) == {b"a": b"1, 3", b"b": b"2"}
