"""feedd.lint.markup and nesting: HTML fragments that parse without errors, and those that do not."""

from __future__ import annotations

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedd.lint import markup, nesting

TAGS = sorted(markup.HTML_TAGS | {"marquee", "ruby"})
PIECES = st.sampled_from(
    [f"<{tag}>" for tag in TAGS]
    + [f"</{tag}>" for tag in TAGS]
    + [
        "text",
        " ",
        "&amp;",
        "&bad",
        "<a href=x>",
        "<p/>",
        "<!-- c -->",
        "<!",
        "<b c='",
        "</",
        "<br/>",
        "&#1;",
        "<IMG SRC=x>",
    ]
)


def rules(html: str) -> list[str]:
    return [rule for rule, _, _ in markup.problems(html)]


@pytest.mark.parametrize(
    "html",
    [
        "",
        "AT&amp;T",
        "a & b",
        "<p>one<p>two",
        "<P>One</P>",
        "<ul><li>a<li>b<ul><li>c</ul></ul>",
        "<dl><dt>a<dd>b<dt>c</dl>",
        "<p>text<div>block</div>",
        "<h1>a</h1><h2>b</h2>",
        "<select><optgroup><option>a<option>b</select>",
        "<ruby>a<rp>(<rt>b<rp>)</ruby>",
        "<a href='https://a.example/'>x</a><a href=https://b.example/>y</a>",
        "<button>a</button><button>b</button>",
        "<img src='https://a.example/a.png' alt><br/><hr />",
        "<textarea><p></textarea>",
        "<p>a<table><caption>b<colgroup><col><tbody><tr><td>c<td>d<tr><th>e<tfoot><tr><td>f</table>",
        "<table><col><tr><td><table><tr><td>x</table></table>",
        "<table><colgroup><col></colgroup><tr><td>x</td></tr></table>",
        "<table><tr><td><p>x</td></tr></tbody></table>",
        "<div><span><em>x</em></span></div><template><p>x</p></template>",
        "<blockquote cite='https://a.example/'>x</blockquote><!-- a - b -->",
        "<li><div>x</div></li>",
        "<nobr>x</nobr><details><summary>a</summary>b</details>".replace("nobr", "b"),
    ],
)
def test_fragments_without_parse_errors(html: str) -> None:
    assert rules(html) == []


@pytest.mark.parametrize(
    "html",
    [
        "<div>",
        "</p>",
        "<b><p>x</b></p>",
        "<h1>a<h2>b</h2>",
        "<p><h1>a</h1></p>",
        "<h1><p>x</h2>",
        "<form><form></form>",
        "<dl><dt><b>x<dd>y</b></dl>",
        "<ul><li><b>x</ul>",
        "<table><li></li></table>",
        "<table><div><tr>",
        "<table><caption>a<tr><td>b</td></tr></caption></table>",
        "<table><tr><td><div>x<tr></table>",
        "<table><colgroup><p>x</p></colgroup></table>",
        "<table><col>x</table>",
        "<select><li>x</select>",
        "<ruby><b><rt>x</b></ruby>",
        "<caption>x</caption>",
        "<table><template><td>x</td></template></table>",
        "<table><tr><td>x</th></tr></table>",
        "<table><tr><td><ul><li>x</td></tr></table>",
        "<span></p>",
        "<abbr><div></abbr></div>",
        "</span>",
        "</br>",
        "<a title='x'y='z'>x</a>",
        "<a =x>x</a>",
        "<!-->",
        "<!---->x<!--->",
        "<?php x ?>",
        "<![CDATA[x]]>",
        "&lt",
        "&#;",
        "&#x110000;",
        "&#xFDD0;",
        "x &notanentity; y",
        "<p a=1 A=2>x",
    ],
)
def test_fragments_with_parse_errors(html: str) -> None:
    assert set(rules(html)) == {"NotHtml"}


def test_every_risky_element_is_a_risk() -> None:
    for tag in sorted(markup.RISKY_TAGS):
        assert "SecurityRisk" in rules(f"<{tag}>")


def test_raw_text_is_not_looked_into() -> None:
    assert rules("<script>'<b onclick=x>' </b></script><p>x</p>") == ["SecurityRisk"]
    assert rules("<script><b>") == ["SecurityRisk", "NotHtml"]


@pytest.mark.parametrize(
    ("tag", "name", "value", "rule"),
    [
        ("a", "href", "https://a.example/", ""),
        ("a", "href", "  https://a.example/  ", ""),
        ("a", "href", "//a.example/", "ContainsRelRef"),
        ("a", "href", "https:///a", "InvalidFullLink"),
        ("a", "href", "JavaScript:x()", "SecurityRiskAttr"),
        ("a", "href", "tel:112", "SchemeNotHttp"),
        ("img", "src", "data:image/png;base64,AA==", "SecurityRiskAttr"),
        ("img", "srcset", "", ""),
        ("img", "srcset", "https://a.example/a,b.png 1x,\n https://a.example/c.png 2x", ""),
        ("img", "srcset", "https://a.example/a.png 1x, c.png 2x", "ContainsRelRef"),
        ("p", "style", "color: red", "DangerousStyleAttr"),
        ("p", "onload", "", "SecurityRiskAttr"),
        ("p", "title", "javascript:", ""),
    ],
)
def test_attributes(tag: str, name: str, value: str, rule: str) -> None:
    assert markup.attribute_problem(tag, name, value)[0] == rule


def test_the_offset_is_that_of_the_tag() -> None:
    html = "<p>text <i>x</i> <b>y</p>"
    assert [offset for _, offset, _ in markup.problems(html)] == [html.index("</p>")]


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_tag_soup_raises_nothing_and_points_into_the_text(html: str) -> None:
    for _, offset, about in markup.problems(html):
        assert 0 <= offset <= len(html)
        assert about


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_what_an_html5_sanitiser_writes_is_html(html: str) -> None:
    clean = nh3.clean(html, tags=set(markup.PLAIN_TAGS) - {"noscript", "textarea", "option", "select", "template"})
    assert {rule for rule in rules(clean) if rule not in ("ContainsRelRef", "InvalidFullLink")} <= ALLOWED_OF_SOUP


# A tree that only a confused parser builds can hold a link in a link or text in a table, and is written out as it is.
ALLOWED_OF_SOUP = {"NotHtml"}


def test_a_stack_that_is_empty_closes_nothing() -> None:
    for tag in TAGS:
        assert nesting.close_tag([], tag) == f"stray </{tag}>"
        nesting.open_tag([], tag)
    assert nesting.end_of_text([]) == ""
