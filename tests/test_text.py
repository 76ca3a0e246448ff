"""Plain text and URLs: what comes out is clean, and cleaning it again changes nothing."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from ftfy.badness import is_bad
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feedd import text

BASE = "https://news.example/"
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffd-\uffff]")
_RFC_3986 = re.compile(
    r"https?://[a-z0-9._-]+(:[0-9]+)?"
    r"(/(?:[A-Za-z0-9._~!$&()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(\?(?:[A-Za-z0-9._~!$&()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
    r"(#(?:[A-Za-z0-9._~!$&()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)
_pieces = st.sampled_from(
    ["&", "&amp;", "&#38;", "&#0;", "&#x80;", "&lt;", "&gt;", "<", ">", "<b>", "</b>", "<br/>", "<live>", "<script>",
     "x", "</script>", "<!--", "-->", " ", "  ", "\n", "\x00", "\x85", "\x1f", "\xa0", "\ud800", "\ufffe", "\ufffd",
     "é", "e\u0301", "Ã©", "â€™", "Â ", "à", "Œ", "’", "“", "日本", "\u0338", "am", "p;", "#", "38", ";", '"', "'", "=",
     "ﬁ", "\U0001fffe"]
)  # fmt: skip
anything = st.one_of(
    st.text(st.characters(exclude_categories=[]), max_size=40), st.lists(_pieces, max_size=12).map("".join)
)


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("plain", "plain"),
        (" edges  and\tgaps\n", "edges and gaps"),
        ("We&#8217;re", "We’re"),
        ("we&amp;#39;re", "we're"),
        ("Q &amp;amp; A", "Q & A"),
        ("AT&T <b>bold</b> & co.", "AT&T bold & co."),
        ("Q&A <live>", "Q&A <live>"),
        ("List<String> and a < b > c", "List<String> and a < b > c"),
        ("one<br>two</p><p>three", "one two three"),
        ('a <a href="x>y" title=\'<\'>link</a>', 'a <a href="x>y" title=\'<\'>link'),
        ('a <a href="x>y">link</a>', "a link"),
        ("&lt;i&gt;x&lt;/i&gt;", "x"),
        ("a<script>alert('<b>')</script>b", "a b"),
        ("a<!-- <b> -->b", "ab"),
        ("a<![CDATA[b]]>c", "abc"),
        ("itâ€™s", "it’s"),
        ("Ã©cole", "école"),
        ("l’été — “œuvre”", "l’été — “œuvre”"),
        ("naïve café ¡olé!", "naïve café ¡olé!"),
        ("Диабло ёж", "Диабло ёж"),
        ("日本語の見出し", "日本語の見出し"),
        ("a\x00b\x1fc\ufffd\ud800d\ufdd0e\U0001ffff", "ab cde"),
        ("cafe\u0301", "café"),
        ("non\u00a0breaking\u3000space", "non breaking space"),
        ("no character &#0; &#xFFFFFFFFFF; &#99999999999999;", "no character"),
        ("&#0000038;amp;", "&"),
        ("a" + "\u0301" * 100, "á" + "\u0301" * 29),
        ("\ufb01\u0301" + "\u2028" + "x", "\ufb01\u0301 x"),
        ("", ""),
    ],
)
def test_plain(given_text: str, expected: str) -> None:
    assert text.plain(given_text) == expected


@settings(max_examples=400, deadline=None)
@given(anything)
@example("&am&amp;p;lt;b>")
@example("<<b>b>x")
@example("<" * 30 + "b>" * 30)
@example("&" + "amp;" * 30 + "lt;b>")
@example("&#3\x008;lt;")
def test_plain_text_stays_as_it_is(given_text: str) -> None:
    once = text.plain(given_text)
    assert text.plain(once) == once
    assert not _FORBIDDEN.search(once)
    assert once == " ".join(once.split())
    assert unicodedata.is_normalized("NFC", once)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=1, max_size=5), st.data())
def test_repair_misses_nothing_that_ftfy_finds(given_text: str, data: st.DataObject) -> None:
    odd = data.draw(st.text("ÂÃâ€™œàÐС Œ×²²В‚Äåßż\x80\xa0­¬–aZ ", max_size=6))
    if is_bad(given_text + odd):
        assert text.may_be_mojibake(given_text + odd)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/b?c=d#e", "https://a.example/b?c=d#e"),
        ("HTTPS://User:Pw@A.Example:443/B", "https://a.example/B"),
        ("http://a.example:8080/", "http://a.example:8080/"),
        ("http://a.example:/", "http://a.example/"),
        ("http://a.example:080/x", "http://a.example/x"),
        ("https://a.example./x", "https://a.example/x"),
        ("https://a.example/?fit=1280%2C720&#038;ssl=1", "https://a.example/?fit=1280%2C720&ssl=1"),
        ("https://a.example/?a=1&amp;amp;b=2&copy=3", "https://a.example/?a=1&b=2&copy=3"),
        ("https://a.example/?a&unknown;", "https://a.example/?a&unknown;"),
        (" https://a.example/a b|c[d]\"e'f\n ", "https://a.example/a%20b%7Cc%5Bd%5D%22e%27f"),
        ("https://a.example/100%/%41%zz", "https://a.example/100%25/%41%25zz"),
        ("https://a.example/é?ü#ß#x", "https://a.example/%C3%A9?%C3%BC#%C3%9F%23x"),
        ("https://münchen.example/", "https://xn--mnchen-3ya.example/"),
        ("https://m%C3%BCnchen.example/", "https://xn--mnchen-3ya.example/"),
        ("https://a_b.example/", "https://a_b.example/"),
        ("/a.jpg", "https://news.example/a.jpg"),
        ("a/b.jpg?x y", "https://news.example/a/b.jpg?x%20y"),
        ("?q", "https://news.example/?q"),
        ("//cdn.example/a", "https://cdn.example/a"),
        ("https://a.example/\x00\ud800\u200bb", "https://a.example/b"),
        ("https://" + "a" * 63 + ".example/" + "b" * 300, "https://" + "a" * 63 + ".example/" + "b" * 300),
        ("", ""),
        ("   ", ""),
        ("https://", ""),
        ("https:///a", ""),
        ("http:a.example", ""),
        ("javascript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("mailto:a@b.example", ""),
        ("ftp://a.example/", ""),
        ("https://a b.example/", ""),
        ("https://[::1]/", ""),
        ("//[", ""),
        ("https://a..example/", ""),
        ("https://-a.example/", ""),
        ("https://a.example:99999/", ""),
        ("https://a.example:0/", ""),
        ("https://a.example:x/", ""),
        ("https://a.example:" + "9" * 5000 + "/", ""),
        ("https://%FF.example/", ""),
        ("https://" + "ü" * 80 + ".example/", ""),
        ("https://" + "a." * 200 + "example/", ""),
        ("https://" + "a." * 600 + "example/", ""),
        ("https://a.example/" + "x" * 9000, ""),
        ("https://a.example/" + "é" * 3000, ""),
        ("https://a.example/?" + "&amp" + ";amp" * 30 + ";x;", ""),
    ],
)
def test_clean_url(url: str, expected: str) -> None:
    assert text.clean_url(url, BASE) == expected


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.lists(
            st.sampled_from(
                ["http://", "https://", "HTTP:", "//", "/", "a", "é", ".", "..", ":", "80", "443", "@", "?", "#", ";",
                 "&amp;", "&#38;", "&", "%", "%41", "%zz", " ", "|", "[", "]", "'", '"', "\\", "\x00", "\ud800", "\n",
                 "例え", "example", "A", "-", "_", "~", "+", "=", "^", "{", "<", ">", "\xad", "ß", "。"]
            ),
            max_size=12,
        ).map("".join),
        st.text(max_size=20).map("https://a.example/".__add__),
        st.text(max_size=20).map("https://".__add__),
    )
)  # fmt: skip
def test_a_clean_url_is_valid_and_stays_as_it_is(url: str) -> None:
    cleaned = text.clean_url(url, BASE)
    assert cleaned == "" or _RFC_3986.fullmatch(cleaned), cleaned
    assert text.clean_url(cleaned, BASE) == cleaned
    assert text.clean_url(cleaned, "https://other.example/") == cleaned


@pytest.mark.parametrize(
    "hostile",
    ["a" + "\u0730\u0731" * 32_000, "<" * 65_536, '<b "' * 16_000, "<b " + '""' * 32_000, "<!--" * 16_000,
     "<script>" * 8_000, "&" * 65_536, "&#" + "1" * 65_000 + ";", "&#" + "0" * 65_000 + "38;", "Ã©Œ " * 16_000,
     "<" * 20_000 + "b>" * 20_000, "&" + "amp;" * 16_000 + "lt;b>", "\x80" * 65_536],
)  # fmt: skip
def test_hostile_text_takes_no_more_than_a_moment(hostile: str) -> None:
    started = time.process_time()
    text.plain(hostile)
    text.clean_url("https://a.example/" + hostile, BASE)
    assert time.process_time() - started < 1


def test_without_forbidden_keeps_lines() -> None:
    assert text.without_forbidden("a\tb\r\nc\x00\x0b\x85\ufffe\ud800d") == "a\tb\r\ncd"
