"""feedd.render, by example: what an entry and a head show in each format, and what is repaired or left out."""

from __future__ import annotations

import json

import msgspec
import pytest
from lxml import etree
from test_render import HEAD, OPTIONS, SELF, XML_FORMATS, entry, feed, parsed

from feedd import model, render
from feedd.render import clean, content, heads, text

ATOM = "{http://www.w3.org/2005/Atom}"
MEDIA = "{http://search.yahoo.com/mrss/}"

# --- entries ------------------------------------------------------------------------------------------------------


def test_text_that_looks_like_markup_says_that_it_is_html_escaped() -> None:
    atom = render.fragment(entry(title="How to use <b>", summary="Q&A: 1 < 2"), "atom", OPTIONS).decode()
    assert '<title type="html">How to use &amp;lt;b&amp;gt;</title>' in atom
    assert "<summary>Q&amp;A: 1 &lt; 2</summary>" in atom
    rss = render.fragment(entry(title="Q&A: 1 < 2", summary="AT&T"), "rss", OPTIONS).decode()
    assert "<title>Q&#x26;A: 1 &#x3C; 2</title>" in rss
    assert "<description>AT&amp;amp;T</description>" in rss


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("plain", False), ("Q&A", False), ("1 < 2 > 0", False), ("a & b", False), ("R&D department", False)),
        *(("<b>", True), ("</b>", True), ("<!-- x", True), ("&amp;", True), ("&copy 2020", True), ("&#38;", True)),
        *(("AT&T5", True), ("&unknown;", True), ("&apos", True)),
    ],
)
def test_what_looks_like_markup(value: str, expected: bool) -> None:
    assert text.looks_like_markup(value) is expected


def test_names_and_attributes_show_markup_without_being_it() -> None:
    article = entry(
        provider=model.Provider("<b>Bold</b>", "x.example"), related=(model.Related("A <i> tag", "https://r.example/"),)
    )
    atom = render.fragment(article, "atom", OPTIONS).decode()
    assert "<name>‹b›Bold‹/b›</name>" in atom
    assert '<link href="https://r.example/" rel="related" title="A ‹i› tag"/>' in atom


def test_a_provider_without_name_goes_by_its_domain_and_without_both_has_no_author() -> None:
    by_domain = render.fragment(entry(provider=model.Provider("", "x.example")), "atom", OPTIONS)
    assert b"<author><name>x.example</name><uri>https://x.example/</uri></author>" in by_domain
    nobody = entry(provider=model.Provider("", "not a domain"))
    assert b"<author>" not in render.fragment(nobody, "atom", OPTIONS)
    assert b"dc:creator" not in render.fragment(nobody, "rss", OPTIONS)
    assert b"authors" not in render.fragment(nobody, "json", OPTIONS)
    assert b"<uri>" not in render.fragment(entry(provider=model.Provider("Somebody", "")), "atom", OPTIONS)


def test_links_name_every_related_story_source_and_copy_once() -> None:
    other, same = model.Provider("Other"), model.Provider("Same")
    article = entry(
        url="https://x.example/a",
        original_url="https://o.example/",
        related=(
            model.Related("One", "https://r.example/1"),
            model.Related("Again", "https://r.example/1"),
            model.Related("Itself", "https://x.example/a"),
            model.Related("Without a link"),
        ),
        sources=(
            model.Source(other, "https://s.example/"),
            model.Source(same, "https://x.example/a"),
            model.Source(other, "https://s.example/"),
            model.Source(other, "https://o.example/"),
        ),
    )
    assert content.links(article) == [
        ("alternate", "https://x.example/a", ""),
        ("related", "https://r.example/1", "One"),
        ("via", "https://o.example/", ""),
        ("via", "https://s.example/", "Other"),
    ]
    item = json.loads(render.fragment(article, "json", OPTIONS))
    assert item["external_url"] == "https://o.example/"
    assert [source["url"] for source in item["_feedd"]["sources"]] == ["https://s.example/", "https://o.example/"]


def test_the_category_is_one_unless_a_topic_says_so_already() -> None:
    options = render.Options(topic_base_url="https://x.example/topics/")
    article = entry(topics=("AI", " ", "C++"), category="news").article
    assert content.categories(article, options) == [
        ("AI", "https://x.example/topics/"),
        ("C++", "https://x.example/topics/"),
        ("news", ""),
    ]
    assert content.categories(entry(topics=("News",), category="news").article, OPTIONS) == [("News", "")]
    assert content.categories(entry(category=" ").article, OPTIONS) == []


def test_a_language_is_named_where_it_is_not_the_feeds_and_is_one() -> None:
    german = entry(language="de")
    assert b'<entry xml:lang="de">' in render.fragment(german, "atom", OPTIONS)
    assert b"<dc:language>de</dc:language>" in render.fragment(german, "rss", OPTIONS)
    assert b'"language":"de"' in render.fragment(german, "json", OPTIONS)
    for said in ("", "en", "xx", "klingon", "e\x00"):
        assert b"<entry>" in render.fragment(entry(language=said), "atom", OPTIONS)
    assert text.language_tag("pt_BR") == "pt-BR"
    assert text.language_tag("gsw") == "gsw"


def content_of(each: model.Entry, options: render.Options = OPTIONS) -> str:
    return str(json.loads(render.fragment(each, "json", options))["content_html"])


def test_content_shows_picture_summary_particulars_and_related_stories() -> None:
    article = entry(
        title='A "title"',
        images=(model.Image("https://x.example/i.jpg", 640, 480, attribution="Photo & Co"),),
        length="PT21M31S",
        price="$10",
        levels=("Beginner", "", "Expert"),
        related=(
            model.Related("One & two", "https://r.example/?a&b", provider=model.Provider("TechSpot")),
            model.Related("", "https://r.example/2", provider=model.Provider("Only")),
            model.Related("No link"),
            model.Related(""),
        ),
    )
    assert content_of(article) == (
        '<figure><img src="https://x.example/i.jpg" alt="A &quot;title&quot;" width="640" height="480">'
        "<figcaption>Photo &amp; Co</figcaption></figure>\n"
        "<p>A summary</p>\n<p>21:31 | $10 | Beginner, Expert</p>\n<p><strong>Related</strong></p>\n<ul>\n"
        '<li><a href="https://r.example/?a&amp;b">One &amp; two</a> (TechSpot)</li>\n'
        '<li><a href="https://r.example/2">Only</a></li>\n<li>No link</li>\n</ul>'
    )


def test_full_content_takes_the_place_of_the_summary_and_no_picture_is_shown_twice() -> None:
    picture = (model.Image("https://x.example/i.jpg"),)
    full = render.Options(full_content=True)
    article = entry(content_html='<p><img src="https://x.example/i.jpg" alt=""></p>', images=picture)
    assert content_of(article, full) == article.article.content_html
    assert content_of(article) == '<figure><img src="https://x.example/i.jpg" alt="A title"></figure>\n<p>A summary</p>'
    assert content_of(entry(), full) == "<p>A summary</p>"
    copy = model.Source(model.Provider("Same link"), "https://x.example/a")
    assert content_of(entry(sources=(copy,), related=(model.Related(""),))) == "<p>A summary</p>"


def test_a_player_is_a_linked_picture_and_a_video() -> None:
    embed = model.Embed("https://y.example/embed?v=1&x", 800, 0)
    with_picture = entry(embed=embed, images=(model.Image("https://x.example/i.jpg"),), length="PT1H2S")
    assert '<a href="https://y.example/embed?v=1&amp;x"><img src="https://x.example/i.jpg"' in content_of(with_picture)
    assert content_of(entry(embed=embed)).startswith('<p><a href="https://y.example/embed?v=1&amp;x">A title</a></p>')
    item = parsed(feed("rss", with_picture)).entries[0]
    assert item.media_player["url"] == embed.url
    video = [each for each in item.media_content if each["medium"] == "video"]
    assert video == [{"medium": "video", "width": "800", "duration": "3602"}]


def test_one_picture_stands_alone_and_several_are_alternatives() -> None:
    one = model.Image("https://x.example/1.jpg", 640, 480, "Title & <b>", "Credit")
    two = model.Image("https://x.example/2.jpg")
    for fmt in XML_FORMATS:
        single = etree.fromstring(feed(fmt, entry(images=(one,))))
        assert single.find(f".//{MEDIA}group") is None
        (shown_one,) = single.iter(f"{MEDIA}content")
        assert dict(shown_one.attrib) == {"url": one.url, "medium": "image", "width": "640", "height": "480"}
        assert [(child.tag, child.text) for child in shown_one] == [
            (f"{MEDIA}title", "Title &amp; &lt;b&gt;"),
            (f"{MEDIA}credit", "Credit"),
        ]
        both = etree.fromstring(feed(fmt, entry(images=(one, two))))
        (group,) = both.iter(f"{MEDIA}group")
        assert [child.get("isDefault") for child in group] == ["true", None]
        (thumbnail,) = both.iter(f"{MEDIA}thumbnail")
        assert thumbnail.get("url") == one.url


def test_lengths_are_shown_as_players_do() -> None:
    assert [text.clock(length) for length in ("PT52S", "PT4H11M12S", "P1D", "PT", "10 min")] == [
        "0:52",
        "4:11:12",
        "24:00:00",
        "PT",
        "10 min",
    ]


# --- heads --------------------------------------------------------------------------------------------------------


def test_links_of_live_archived_and_complete_feeds() -> None:
    def urls(name: str) -> dict[model.Format, str]:
        return {fmt: f"https://feeds.example/{name}.{fmt}" for fmt in model.FORMATS}

    archive = msgspec.structs.replace(
        HEAD,
        archive=True,
        current_urls=SELF,
        prev_urls=urls("1"),
        next_urls=urls("3"),
        hub_urls=("https://hub.example/",),
    )
    for fmt, root in (("atom", "."), ("rss", "channel")):
        channel = etree.fromstring(feed(fmt, head=archive)).find(root)
        assert channel is not None
        rels = [link.get("rel") for link in channel.iter(f"{ATOM}link")]
        assert rels[0] == "self"
        assert set(rels) - {"alternate"} == {"self", "hub", "current", "prev-archive", "next-archive"}
        assert channel.find("{http://purl.org/syndication/history/1.0}archive") is not None
    as_json = json.loads(feed("json", head=archive))
    assert as_json["next_url"] == "https://feeds.example/1.json"
    assert as_json["hubs"] == [{"type": "WebSub", "url": "https://hub.example/"}]
    complete = msgspec.structs.replace(archive, archive=False, complete=True)
    assert [rel for rel, _, _ in heads.links(complete, "atom")] == ["self", "alternate", "hub"]
    assert heads.history_marks(complete, "atom") == ["complete"]
    lonely = msgspec.structs.replace(archive, prev_urls={}, next_urls={})
    assert heads.history_marks(lonely, "atom") == []
    assert heads.history_marks(msgspec.structs.replace(lonely, complete=True), "atom") == ["archive", "complete"]
    assert "next_url" not in json.loads(feed("json", head=complete))


@pytest.mark.parametrize(
    ("logo", "icon_url", "expected"),
    [
        (None, "", None),
        (None, "https://x.example/i.svg", None),
        (None, "https://x.example/i", model.Image("https://x.example/i")),
        (
            model.Image("https://x.example/l.webp", 9, 9),
            "https://x.example/i.png",
            model.Image("https://x.example/i.png"),
        ),
        (model.Image("https://x.example/l.png", 100, 50), "", model.Image("https://x.example/l.png", 100, 50)),
        (model.Image("https://x.example/l.png", 288, 100), "", model.Image("https://x.example/l.png", 144, 50)),
        (model.Image("https://x.example/l.png", 1, 9000), "", model.Image("https://x.example/l.png", 1, 400)),
    ],
)
def test_a_channels_image_fits_rss(logo: model.Image | None, icon_url: str, expected: model.Image | None) -> None:
    assert heads.channel_image(msgspec.structs.replace(HEAD, logo=logo, icon_url=icon_url)) == expected


def test_a_head_without_anything_is_filled_in() -> None:
    bare = model.Head(
        id="", title="", subtitle="", page_url="", language="", author="", updated_us=10**30, self_urls={}
    )
    filled = clean.head(bare)
    assert (filled.title, filled.author, filled.language) == ("urn:feedd:unnamed", "urn:feedd:unnamed", "en")
    assert filled.page_url == "https://feed.invalid/"
    assert parsed(feed("atom", head=bare)).feed.updated == "9999-12-31T23:59:59.999999Z"


# --- repair -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://x.example/a b|c[1]", "https://x.example/a%20b%7Cc%5B1%5D"),
        ("HTTP://x.example", "http://x.example"),
        ("https://bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
        ("https://x.example/\x00\n", "https://x.example/"),
        *(
            (value, "")
            for value in ("", "javascript:alert(1)", "//x.example/", "/a.jpg", "ftp://x.example/", "https://")
        ),
        *((value, "") for value in ("https:///a", "http://[::1]/", "https://ü..example/", "data:text/html,x")),
    ],
)
def test_urls_are_repaired_or_refused(value: str, expected: str) -> None:
    assert clean.url(value) == expected


def test_texts_are_repaired() -> None:
    assert clean.plain(" a\x00b\x85c\td\ufffe ") == "ab c d"
    assert clean.identifier("tag:x,2020:ü b") == "tag:x,2020:%C3%BC%20b"


def test_what_cannot_be_shown_is_left_out_and_the_rest_stays() -> None:
    spoilt = entry(
        title="\x00",
        summary="\ufffd",
        url="javascript:alert(1)",
        images=(model.Image("/relative.jpg"), model.Image("https://x.example/i j.jpg")),
        embed=model.Embed("javascript:alert(1)"),
        related=(model.Related("Kept", "javascript:alert(1)", published_at=10**20),),
        sources=(model.Source(model.Provider("x"), "nonsense"),),
        published_at=10**20,
        updated_us=-(10**30),
    )
    atom = parsed(feed("atom", spoilt)).entries[0]
    assert (atom.title, atom.published) == ("tag:x.example,2020:a.md", "9999-12-31T23:59:59Z")
    assert atom.updated == "0001-01-01T00:00:00.000000Z"
    assert "links" not in atom
    assert b"javascript" not in b"".join(render.fragments(spoilt, model.FORMATS, OPTIONS)[0])
    item = json.loads(render.fragment(spoilt, "json", OPTIONS))
    assert item["image"] == "https://x.example/i%20j.jpg"
    assert item["_feedd"]["related"] == [{"title": "Kept", "date_published": "9999-12-31T23:59:59Z"}]
