"""feedd.lint.values and text: which strings are URLs, ids, dates, languages, plain texts, and what the others break."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd.lint import names, text, values
from feedd.lint.rules import shown


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("https://news.example", ""),
        ("HTTPS://News.example:8080/a;b=c/(d)?e=f&g[]=h".replace("[]", "%5B%5D"), ""),
        ("http://[2001:db8::1]/a#b", ""),
        ("https://user:pass@news.example/", ""),
        ("https://xn--mnchen-3ya.example/~a/*b'", ""),
        ("", ""),
        ("/a", "InvalidFullLink"),
        ("news.example/a", "InvalidFullLink"),
        ("https:news.example", "InvalidFullLink"),
        ("https://", "InvalidFullLink"),
        ("https://news.example:99999999/", "InvalidFullLink"),
        ("https://a@b@news.example/", "InvalidFullLink"),
        ("https://news.example/a#b#c", "InvalidFullLink"),
        ("https://news.example/a b", "InvalidUriChar"),
        ("https://news.example/a\n", "InvalidUriChar"),
        ("https://news.example/a\\b", "InvalidUriChar"),
        ("https://news.example/a^b`", "InvalidUriChar"),
        ("https://news.example/%zz", "InvalidUriChar"),
        ("https://news.example/[a]", "InvalidUriChar"),
        ("https://münchen.example/", "UriNotIri"),
        ("mailto:ann@news.example", "SchemeNotHttp"),
        ("data:text/plain,x", "SchemeNotHttp"),
    ],
)
def test_urls(url: str, rule: str) -> None:
    assert values.url_rule(url) == rule


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("tag:news.example,2024-01-02:a/b?c#d", ""),
        ("tag:ann@news.example,2024:", ""),
        ("tag:News.example,2024:a", "InvalidTAG"),
        ("tag:news.example,24:a", "InvalidTAG"),
        ("urn:isbn:0451450523", ""),
        ("urn:uuid:1225c695-cfb8-4ebb-aaaa-80da344efa6a", ""),
        ("urn:uuid:1", "InvalidUUID"),
        ("urn:1", "InvalidURN"),
        ("https://news.example/", ""),
        ("https://news.example/%C3%A4%2F", ""),
        ("https://news.example/%FF", ""),
        ("https://news.example", "NonCanonicalURI"),
        ("https://news.example./a", "NonCanonicalURI"),
        ("http://news.example:80/", "NonCanonicalURI"),
        ("https://:@news.example/", "NonCanonicalURI"),
        ("https://news.example/./a", "NonCanonicalURI"),
        ("https://news.example/%61", "NonCanonicalURI"),
        ("https://news.example/%2f", "NonCanonicalURI"),
        ("mailto:ann@news.example", ""),
        ("info:lccn/2002022641", ""),
        ("whatever:1", "SchemeNotIANARegistered"),
        ("1", "InvalidFullLink"),
        ("a b", "InvalidUriChar"),
        ("ä:1", "UriNotIri"),
    ],
)
def test_ids(value: str, rule: str) -> None:
    assert values.id_rule(value) == rule


def test_an_enclosure_has_a_host_with_a_dot() -> None:
    assert values.enclosure_url_rule("https://news.example/a.mp3") == ""
    assert values.enclosure_url_rule("http://localhost/a.mp3") == "InvalidURLAttribute"
    assert values.enclosure_url_rule("a.mp3") == "InvalidFullLink"


@settings(max_examples=150)
@given(st.datetimes(datetime(1990, 1, 2), datetime(2999, 1, 1)))
def test_dates_that_python_writes_are_right(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC)
    now = int(moment.timestamp())
    assert values.rfc3339_rule(moment.isoformat(), now) == ""
    assert values.w3cdtf_rule(moment.isoformat(), now) == ""
    assert values.rfc822_rule(format_datetime(moment, usegmt=True), now) == ""
    assert values.rfc3339_rule(moment.isoformat(), now - 700) == "ImplausibleDate"
    assert values.rfc822_rule(format_datetime(moment, usegmt=True), now - 700) == "ImplausibleDate"
    assert values.rfc822_rule(format_datetime(moment), now) == "ProblematicalRFC822Date"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("2024", ""),
        ("2024-05", ""),
        ("2024-05-02", ""),
        ("2024-05-02T10:00Z", ""),
        ("2024-05-02T10:00", "InvalidW3CDTFDate"),
        ("2024-05-32", "InvalidW3CDTFDate"),
        ("0000", "InvalidW3CDTFDate"),
        ("1980", "ImplausibleDate"),
        ("", "InvalidW3CDTFDate"),
    ],
)
def test_dates_of_the_w3c_profile(value: str, rule: str) -> None:
    assert values.w3cdtf_rule(value, None) == rule


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("2024-05-02T10:00:00Z", ""),
        ("2024-05-02T10:00:00.123456789+05:30", ""),
        ("2024-05-02t10:00:00z", "InvalidRFC3339Date"),
        ("2024-05-02T25:00:00Z", "InvalidRFC3339Date"),
        ("2024-05-02T10:00:00+99:00", "InvalidRFC3339Date"),
        ("２０24-05-02T10:00:00Z", "InvalidRFC3339Date"),
        ("0001-01-01T00:00:00+14:00", "ImplausibleDate"),
    ],
)
def test_dates_of_atom(value: str, rule: str) -> None:
    assert values.rfc3339_rule(value, None) == rule


@pytest.mark.parametrize(
    ("tag", "right"),
    [
        ("en", True),
        ("EN-gb", True),
        ("zh-Hant-TW", True),
        ("gsw", True),
        ("x-feedd", True),
        ("i-klingon", False),
        ("", False),
        ("e", False),
        ("qq", False),
        ("en_GB", False),
        ("english", False),
        ("en-", False),
    ],
)
def test_languages(tag: str, right: bool) -> None:
    assert (values.language_rule(tag) == "") is right


def test_media_types_addresses_and_numbers() -> None:
    assert values.is_media_type('text/html; charset="utf-8"; a=b')
    assert not values.is_media_type("html")
    assert not values.is_media_type("text/html;")
    assert values.is_email("ann.o'sea+x@mail.news.example")
    assert not values.is_email("ann@localhost")
    assert values.contains_email("Ann <ann@news.example>")
    assert not values.contains_email("@ann")
    assert values.is_positive("1") and not values.is_positive("0") and not values.is_positive("٣")
    assert values.is_count("0") and not values.is_count("-1") and not values.is_count("")
    assert values.is_number("29.97") and not values.is_number(".5")


@pytest.mark.parametrize(
    ("value", "source", "in_rss", "rule"),
    [
        ("plain", b"", True, ""),
        ("a > b", b"", True, ""),
        ("1 < 2 & 3", b"", True, ""),
        ("AT&T", b"", True, ""),
        ("a <b", b"", True, "CharacterData"),
        ("a <b", b"a &#x3C;b", True, ""),
        ("a <b", b"", False, ""),
        ("a <b>", b"", False, "ContainsHTML"),
        ("a <q7>", b"", False, ""),
        ("a </b>", b"&#x3C;", True, "ContainsHTML"),
        ("a </q7>", b"", True, "CharacterData"),
        ("&copy 2024", b"", True, "ContainsHTML"),
        ("&copy 2024", b"&#x26;", True, ""),
        ("&#39;", b"", False, "ContainsHTML"),
        ("&unheard;", b"", False, ""),
    ],
)
def test_plain_texts(value: str, source: bytes, in_rss: bool, rule: str) -> None:
    assert text.plain_rule(value, source, in_rss=in_rss) == rule


@pytest.mark.parametrize(
    ("value", "rule"),
    [("S&P500 <br> it's", ""), ("<b>x</b>", "ContainsHTML"), ("a&nbsp;b", "ContainsHTML"), ("a&unheard;</q7>", "")],
)
def test_plain_texts_in_json(value: str, rule: str) -> None:
    assert text.json_rule(value) == rule


@pytest.mark.parametrize(
    ("value", "bad"),
    [
        ("Lübeck", False),
        ("L\xc3\xbcbeck", True),
        ("a\x92b", True),
        ("a\ufffdb", True),
        ("\ud800", True),
        ("«ROMÃ»", False),
        ("漢字 \xc3\xbc", False),
        ("x\nL\xc3\xbcbeck", True),
        ("naïve café", False),
        ("\uffff", True),
    ],
)
def test_characters(value: str, bad: bool) -> None:
    assert text.is_bad(value) is bad


def test_namespaces() -> None:
    atom, media = "http://www.w3.org/2005/Atom", "http://search.yahoo.com/mrss/"
    assert names.namespace_rule("", atom, in_atom=True) == ""
    assert names.namespace_rule("atom", atom, in_atom=False) == ""
    assert names.namespace_rule("a", atom, in_atom=True) == "AvoidNamespacePrefix"
    assert names.namespace_rule("m", media, in_atom=True) == ""
    assert names.namespace_rule("dc", media, in_atom=True) == "ReservedPrefix"
    assert names.namespace_rule("", "", in_atom=False) == "UnknownNamespace"


def test_a_message_shows_values_on_one_printable_line() -> None:
    assert shown("a\nb\x00") == "a\\nb\\x00"
    assert shown("ä" * 100) == "ä" * 79 + "…"
