"""Bodies: what comes out is safe, absolute, well-formed, and small enough for any reader."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from feedd import html, model

BASE = "https://news.example/"
_ALLOWED = set(
    re.findall(
        r"\w+",
        "a abbr b blockquote br caption cite code dd del dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img"
        " ins kbd li mark ol p pre q s samp small span strong sub sup table tbody td tfoot th thead time tr tt u ul"
        " var wbr root",
    )
)
_TAGS = re.findall(
    r"\w+",
    "a b p div span table tr td th ul li dl dt dd h1 pre code img br hr section button select form svg math font nobr"
    " ruby rt figure figcaption wbr template iframe title textarea noscript q u",
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", ""),
        (" \n", ""),
        ("# Hi\n\n*b* **c** ~~d~~ `e`", "<h1>Hi</h1>\n<p><em>b</em> <strong>c</strong> <s>d</s> <code>e</code></p>"),
        ("[a](/b c)", "<p>[a](/b c)</p>"),
        ("[a](/b) <https://ü.example/é>", None),
        ("![x](a|b.png)", '<p><img src="https://news.example/a%7Cb.png" alt="x"/></p>'),
        ("|a|\n|-|\n|1|",
         "<table>\n<thead>\n<tr>\n<th>a</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n</tr>\n</tbody>\n</table>"),
        ("a\\\nb\n\n---", "<p>a<br/>\nb</p>\n<hr/>"),
        ("<b>raw</b> &copy; &nbsp;&lt;", "<p><b>raw</b> © &#160;&lt;</p>"),
        ("itâ€™s\x00\x85\ufffe", "<p>it’s…</p>"),
    ],
)  # fmt: skip
def test_markdown(body: str, expected: str | None) -> None:
    if expected is None:
        expected = (
            '<p><a href="https://news.example/b">a</a> '
            '<a href="https://xn--tda.example/%C3%A9">https://ü.example/é</a></p>'
        )
    assert html.render_body(body, True, BASE) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a < b & c", "a &lt; b &amp; c"),
        ("<p>one<p>two", "<p>one</p><p>two</p>"),
        ("<script>x</script><style>y</style>a<iframe src='https://x.example/'></iframe><object>z</object>", "a"),
        ('<p style="color:red" onclick="x()" class="y" id="z">a</p>', "<p>a</p>"),
        ('<a href="javascript:x">a</a><a>b</a><a href="#c">c</a><a href="mailto:d@e.example">d</a>', "abcd"),
        ('<a href="/x" title="t" target="_blank">a</a>', '<a href="https://news.example/x">a</a>'),
        ("<a href='/x'>a<a href='javascript:y'>b</a>c</a>", '<a href="https://news.example/x">a</a>bc'),
        ("<img><img src='data:image/png;base64,x'><img src=//c.example/a.png alt='<\">'>",
         '<img src="https://c.example/a.png" alt="&lt;&quot;&gt;"/>'),
        ('<img src=a.png width="10" height="100%" onerror=x>', '<img src="https://news.example/a.png" width="10"/>'),
        ("<article><h1>a</h1><section>b</section></article>", "<h1>a</h1>b"),
        ("<svg><a href='/x'>y</a></svg><math>z</math>a", "a"),
        ("<b><i>a</b>b</i>", "<b><i>a</i></b><i>b</i>"),
        ("<table><td colspan=2 rowspan=x>a", '<table><tbody><tr><td colspan="2">a</td></tr></tbody></table>'),
        ("<pre>" + "\n" * 20 + "a", "<pre>" + "\n" * 15 + "a</pre>"),
        ('<p lang="de" dir="ltr">a</p><p lang="<>" dir="x">b</p>', '<p lang="de" dir="ltr">a</p><p>b</p>'),
        ("<!-- c -->a<?php x ?>b<!DOCTYPE html>", "ab"),
        ("&#1;&#x80;&#xD800;&nbsp;a", "€&#160;a"),
        ("<dd>a<figcaption>b<dd>c</figcaption>", None),
        ("<h1>a<a><h1>b</h1></a>", None),
    ],
)  # fmt: skip
def test_html(body: str, expected: str | None) -> None:
    got = html.render_body(body, False, BASE)
    if expected is None:
        assert got == html.render_body(got, False, BASE)
    else:
        assert got.replace("\ufffd", "") == expected


def test_long_links_and_long_bodies_are_cut() -> None:
    assert html.render_body(f'<a href="https://a.example/{"x" * 3000}">a</a>', False, BASE) == "a"
    assert len(html.render_body("word " * 100_000, False, BASE)) <= html.MAX_BODY


_soup = st.lists(
    st.one_of(
        st.builds(
            "<{}{}>".format,
            st.sampled_from(_TAGS),
            st.sampled_from(["", ' href="/x y"', " src=a.png", ' href="javascript:x"', " alt=x<y", " style=x onclick=y",
                             ' title="<\'&>"', " lang=en", "/", " src='http://['"]),
        ),
        st.builds("</{}>".format, st.sampled_from(_TAGS)),
        st.sampled_from(["text", "&amp;", "&nbsp;", "&lt;", "<", ">", '"', "\n\n", "# ", "*x*", "\x00", "\ufffe",
                         "<!--", "-->", "é", "\ud800", "- ", "    ", "|a|\n|-|\n", "```", "[a](b)", "!["]),
    ),
    max_size=25,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(_soup, st.booleans())
@example("<div><b>x<table><caption><a></caption></table></b></a>", False)
def test_any_body_becomes_safe_and_well_formed(body: str, markdown: bool) -> None:
    got = html.render_body(body, markdown, BASE)
    root = etree.fromstring(f"<root>{got}</root>")
    for element in root.iter():
        assert element.tag in _ALLOWED
        assert set(element.attrib) <= {"href", "src", "alt", "title", "width", "height", "lang", "dir", "colspan",
                                       "rowspan", "scope", "start", "datetime"}  # fmt: skip
        for tag, name in (("img", "src"), ("a", "href")):
            assert element.tag != tag or re.fullmatch(r"https?://[!-~]+", str(element.attrib[name]))
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", got)


_FULL = html.MAX_BODY


@pytest.mark.parametrize("markdown", [False, True])
@pytest.mark.parametrize(
    "unit", ["<div>", "<b>", "<div><!--</div>-->", "<table><a href=x>", "<p>", "<font a=1 b=2>", "&", "<", '"', "[",
             "*a **b", "> ", "- ", "![", "[a](", "`", "a\n=\n", "|a", "<!-- ", "~~a", "\\", "\n", "Ã©Œ ", "<a "],
)  # fmt: skip
def test_hostile_bodies_take_no_more_than_a_moment(unit: str, markdown: bool) -> None:
    started = time.process_time()
    got = html.render_body(unit * (_FULL // len(unit)), markdown, BASE)
    assert time.process_time() - started < 1.5
    assert len(got) < 8 * _FULL


def test_a_link_repeated_by_the_parser_does_not_fill_memory() -> None:
    body = f'<p><a href="https://a.example/{"y" * 2000}"></p>' + "<p>x" * 4_900
    assert len(html.render_body(body, False, BASE)) < 4 * _FULL


def test_deep_nesting_becomes_text() -> None:
    assert html.render_body("<div>" * 300 + "a &amp; <b>c</b>", False, BASE) == "<p>a &amp; c</p>"
    assert html.render_body("<div>" * 200 + "a", False, BASE).startswith("<div>")
    assert html.render_body("<p>a &" * 5001, False, BASE).startswith("<p>a &amp; a &amp;")


def test_long_bodies_are_repaired_as_far_as_it_takes_a_moment() -> None:
    body = "é" * 50_000 + "\nitâ€™s\n" + "é" * 50_000 + "\nplain"
    assert "it’s" in html.render_body(body, False, BASE)


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("", ""),
        ("<p></p><p> </p><p>One <b>two</b> &amp; three</p><p>four</p>", "One two & three"),
        ('<p lang="de">eins</p>', "eins"),
        ("<pre>a</pre>b", "a b"),
        ('<p><img src="https://a.example/b"/></p>', ""),
    ],
)
def test_first_paragraph(fragment: str, expected: str) -> None:
    assert html.first_paragraph(fragment) == expected


@pytest.mark.parametrize(
    ("featured", "expected"),
    [
        ('<iframe width="800" height="500" src="https://v.example/e/1" allow="x"></iframe>',
         model.Embed("https://v.example/e/1", 800, 500)),
        ("<div><IFRAME SRC='//v.example/e?a=1&amp;b' width=640px height=100%></IFRAME>",
         model.Embed("https://v.example/e?a=1&b", 640, 0)),
        ("<iframe src=https://v.example/ width=0 height=٣></iframe>", model.Embed("https://v.example/")),
        ('<iframe src="" ></iframe>', None),
        ("<iframe></iframe>", None),
        ('<iframe src="javascript:x"></iframe>', None),
        ('<iframe src="/relative"></iframe>', None),
        ("https://v.example/", None),
    ],
)  # fmt: skip
def test_embed_from(featured: str, expected: model.Embed | None) -> None:
    assert html.embed_from(featured) == expected
