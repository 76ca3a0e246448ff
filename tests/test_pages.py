"""feedd.pages: what entries, feeds' pages and the index show, as a parser reads it; and that no text becomes markup."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import html
from test_render import any_entries, any_heads, any_options, any_text, any_urls, clean_entries, entry

from feedd import model, pages, render, site

OPTIONS = render.Options()
SETTINGS = site.Settings(
    title="Example News", url="https://news.example", public_url="https://feeds.example/site", tag_host="news.example",
    description="Machines & tides",
)
HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='alert(1)", "</article></main>",
    "<!--", "-->", "{{ 7 * 7 }}", "{% raw %}", "&lt;b&gt;", "\0", "\ud800", "</title><style>*{}</style>", "\u202e",
    "]]>", "<a", "javascript:alert(1)", "data:text/html,x", "//evil.example", "<plaintext>", "<base href=//x.example>",
)
_parts = st.sampled_from(HOSTILE) | st.text("ab \"'<>&=/", max_size=6)
hostile_text = st.lists(_parts, min_size=1, max_size=3).map("".join)
hostile_url = hostile_text | hostile_text.map("https://x.example/{}".format) | any_urls
ADDRESSES = {"href", "src"}
OURS = re.compile(r"(?:\.\./)*(?:feedd\.(?:css|js)|index\.html)|#[a-z]+|\./.*", re.DOTALL)


def tree(page: bytes) -> Any:
    return html.document_fromstring(page, parser=html.HTMLParser(encoding="utf-8"))


def piece(fragment: bytes) -> Any:
    return html.fragment_fromstring(fragment.decode(), parser=html.HTMLParser(encoding="utf-8"))


def words(element: Any) -> str:
    return " ".join(element.text_content().split())


def links(element: Any, path: str) -> list[tuple[str, str]]:
    return [(words(link), link.get("href")) for link in element.xpath(path)]


def shape(element: Any) -> set[tuple[str, str]]:
    """Every (element, attribute) that there is; an element without attributes has an empty one."""
    return {(str(found.tag), name) for found in element.iter() for name in ("", *found.keys())}


def addresses(element: Any) -> list[str]:
    return [found.get(name) for found in element.iter() for name in ADDRESSES if found.get(name) is not None]


def assert_safe(element: Any, known: set[tuple[str, str]]) -> None:
    """No element or attribute that our templates lack, and no address but http(s) ones and those of our own files."""
    assert shape(element) <= known
    for address in addresses(element):
        known_address = re.match(r"https?://[A-Za-z0-9]", address) or OURS.fullmatch(address)
        assert known_address or address.startswith(_ICON), address


_ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"

# --- entries ------------------------------------------------------------------------------------------------------

RELATED = (
    model.Related("Tides & mills", "https://r.example/1?a=1&b=2", published_at=1_750_000_000,
                  provider=model.Provider("Tidewire", "tidewire.example")),
    model.Related("", "https://r.example/2", provider=model.Provider("", "harbour.example")),
    model.Related("On paper only"),
    model.Related(""),
)  # fmt: skip
FULL = entry(
    title="A <b> tag & more", summary="What it does", url="https://a.example/?x=1&y=2", language="fr",
    provider=model.Provider("The Harbour Post", "harbour.example", "https://i.example/icon.png"),
    images=(model.Image("https://i.example/1.jpg", 1600, 900, 'The "wheel"', "Photo: I. B."),),
    related=RELATED, topics=("Energy", "C++"), category="news", length="PT21M31S", price="€ 4", levels=("easy", ""),
)


def test_an_entry_shows_all_that_a_subscriber_would_see() -> None:
    shown = piece(pages.entry(FULL, OPTIONS))
    assert (shown.tag, shown.get("lang")) == ("article", "fr")
    assert links(shown, ".//h3/a") == [("A <b> tag & more", "https://a.example/?x=1&y=2")]
    assert words(shown.find("p[@class='by']/bdi")) == "The Harbour Post"
    assert dict(shown.find("p[@class='by']/img").attrib) == {
        "src": "https://i.example/icon.png", "alt": "", "width": "16", "height": "16", "loading": "lazy",
    }
    assert dict(shown.find("figure/img").attrib) == {
        "src": "https://i.example/1.jpg", "alt": 'The "wheel"', "width": "1600", "height": "900", "loading": "lazy",
        "decoding": "async",
    }
    assert words(shown.find("figure/figcaption")) == "Photo: I. B."
    assert [words(p) for p in shown.xpath("./p[not(@class='by')]")] == ["What it does", "21:31 | € 4 | easy"]
    assert [words(item) for item in shown.xpath(".//ul[@class='topics']/li")] == ["Energy", "C++", "news"]
    assert [words(item) for item in shown.xpath(".//div[@class='related']//li")] == [
        "Tides & mills Tidewire 2025-06-15", "harbour.example", "On paper only",
    ]
    assert links(shown, ".//div[@class='related']//a") == [
        ("Tides & mills", "https://r.example/1?a=1&b=2"), ("harbour.example", "https://r.example/2"),
    ]


@pytest.mark.parametrize(("article", "feed", "expected"), [
    ("", "en", "18 May 2033"), ("", "en-GB", "18 May 2033"), ("fr", "en", "2033-05-18"), ("", "de", "2033-05-18"),
    ("en", "de", "18 May 2033"), ("", "enm", "2033-05-18"),
])  # fmt: skip
def test_dates_are_in_words_only_where_english_is_read(article: str, feed: str, expected: str) -> None:
    given_entry = msgspec.structs.replace(entry(language=article), published_at=2_000_000_000)
    shown = piece(pages.entry(given_entry, render.Options(language=feed))).find("p/time")
    assert (words(shown), shown.get("datetime")) == (expected, "2033-05-18T03:33:20Z")


def test_an_entry_shows_nothing_where_there_is_nothing() -> None:
    bare = model.Entry("tag:x.example,2020:a", model.Article("Same", "https://a.example/", "Same"), 0, 0)
    assert pages.entry(bare, OPTIONS).decode() == (
        '<article class="entry">\n<h3 dir="auto"><a href="https://a.example/">Same</a></h3>\n'
        '<p class="by"><time datetime="1970-01-01T00:00:00Z">1 January 1970</time></p>\n</article>'
    )
    hollow = entry(url="javascript:alert(1)", levels=("",), related=(model.Related(""),), images=(), topics=())
    shown = piece(pages.entry(hollow, OPTIONS))
    assert shown.xpath(".//a") == []
    assert words(shown.find("h3")) == hollow.article.title
    assert [found.get("class") for found in shown] == [None, "by", None]


def test_a_picture_says_what_it_shows_and_leads_to_the_player() -> None:
    picture, player = model.Image("https://i.example/1.jpg", 0, 900), model.Embed("https://p.example/?v=1&a=2")
    still = piece(pages.entry(entry(title="T", images=(picture,)), OPTIONS)).find("figure")
    assert (still.find("img").get("alt"), still.find("img").get("width"), still.find("a")) == ("", None, None)
    moving = piece(pages.entry(entry(title="T", images=(picture,), embed=player), OPTIONS)).find("figure/a")
    assert (moving.get("href"), moving.find("img").get("alt")) == (player.url, "T")
    alone = piece(pages.entry(entry(title="T", images=(), embed=player), OPTIONS))
    assert links(alone, "./p[@class='player']/a") == [("T", player.url)]


def test_further_copies_of_a_story_are_listed_with_the_related_ones() -> None:
    copy = model.Source(model.Provider("Tidewire", "tidewire.example"), "https://copy.example/")
    given_entry = msgspec.structs.replace(entry(title="T", related=()), sources=(copy,))
    shown = piece(pages.entry(given_entry, render.Options(related_heading="")))
    assert links(shown, ".//div[@class='related']//a") == [("T", "https://copy.example/")]
    assert shown.find("div/p") is None
    same = msgspec.structs.replace(given_entry, sources=(model.Source(copy.provider, given_entry.article.url),))
    assert piece(pages.entry(same, OPTIONS)).find("div") is None


def test_only_links_that_were_checked_bear_a_mark() -> None:
    checked = {"https://r.example/1?a=1&b=2": ("<gone>", 1_760_000_000), "https://other.example/": ("fine", 0)}
    plain, marked = piece(pages.entry(FULL, OPTIONS)), piece(pages.entry(FULL, OPTIONS, checked))
    assert plain.find(".//span") is None
    (mark,) = marked.xpath(".//span[@class='freshness']")
    assert mark.getparent().find("a").get("href") == "https://r.example/1?a=1&b=2"
    assert (words(mark), mark.get("data-verdict")) == ("<gone> 2025-10-09", "<gone>")
    assert mark.find("time").get("datetime") == "2025-10-09T08:53:20Z"


_PLAYER = model.Embed("https://p.example/")
_SAMPLES = (FULL, entry(images=FULL.article.images, embed=_PLAYER), entry(images=(), embed=_PLAYER))
KNOWN_IN_ENTRY = {
    found for sample in _SAMPLES
    for found in shape(piece(pages.entry(sample, OPTIONS, {"https://r.example/2": ("gone", 0)})))
}


def hostile_entry(text: str, url: str) -> model.Entry:
    """The text and the URL wherever an entry can hold one."""
    provider = model.Provider(text, text, url)
    related = model.Related(text, url, text, 1 << 70, text, provider, (), url, url)
    images = (model.Image(url, 1, 1, text, text), model.Image("https://i.example/x", 1, 1, text, text))
    return model.Entry(text, model.Article(
        text, url, text + " ", language=text, category=text, type=text, original_url=url, amp_url=url,
        provider=provider, topics=(text, text), images=images, embed=model.Embed(url), content_html=text, length=text,
        price=text, levels=(text,), related=(related, model.Related(text)),
    ), -(1 << 70), 1 << 80, (model.Source(provider, url),))  # fmt: skip


@given(hostile_text, hostile_url)
@example(HOSTILE[0], "javascript:alert(1)")
@example(HOSTILE[1], "https://x.example/'\"><script>")
def test_no_text_or_url_of_an_entry_becomes_markup(text: str, url: str) -> None:
    hostile = hostile_entry(text, url)
    written = pages.entry(hostile, render.Options(False, url, text, text), {url: (text, 1 << 70)})
    shown = piece(written)
    assert shown.tag == "article"
    assert_safe(shown, KNOWN_IN_ENTRY)
    assert shown.getnext() is None
    if not set(text) & set("\0\ud800\u202e"):
        title = " ".join(text.split())
        assert not title or words(shown.find("h3")) == title


@given(any_entries, any_options)
def test_every_entry_is_written_and_the_same_each_time(given_entry: model.Entry, options: render.Options) -> None:
    written = pages.entry(given_entry, options)
    assert written == pages.entry(msgspec.structs.replace(given_entry), options)
    assert_safe(piece(written), KNOWN_IN_ENTRY)


@given(clean_entries)
def test_a_clean_entry_is_not_altered(given_entry: model.Entry) -> None:
    shown, article = piece(pages.entry(given_entry, OPTIONS)), given_entry.article
    assert shown.find("h3/a").get("href") == article.url
    assert shown.find("h3/a").text == article.title
    assert [img.get("src") for img in shown.xpath("./figure//img")] == [image.url for image in article.images[:1]]


# --- the page of a feed -------------------------------------------------------------------------------------------


def head(**own: Any) -> model.Head:
    given_head = site.head(
        SETTINGS, kind="topic", key="AI", label="AI", slug="ai", page=0, pages=own.pop("pages", 2), complete=False,
        updated_us=1_750_000_000_000_000, metadata=None,
    )
    return msgspec.structs.replace(given_head, **own)


def feed_page(given_head: model.Head, *fragments: bytes, base: str = "topics/ai") -> Any:
    return tree(pages.feed_page(given_head, fragments, SETTINGS, base=base))


def alternates(page: Any) -> list[tuple[str, str, str]]:
    return [(link.get("type"), link.get("title"), link.get("href")) for link in page.xpath("//link[@rel='alternate']")]


def test_a_feed_page_names_the_feed_and_every_way_to_subscribe() -> None:
    page = feed_page(head(subtitle="On <machines>"), b"<article>1</article>", b"<article>2</article>")
    assert page.findtext(".//title") == "AI – Example News"
    assert words(page.find(".//h1")) == "AI"
    assert words(page.find(".//p[@class='lead']")) == "On <machines>"
    assert page.xpath("//meta[@name='description']/@content") == ["On <machines>"]
    base = "https://feeds.example/site/topics/ai"
    assert alternates(page) == [
        ("application/atom+xml", "AI – Example News (Atom)", f"{base}.atom"),
        ("application/rss+xml", "AI – Example News (RSS)", f"{base}.rss"),
        ("application/feed+json", "AI – Example News (JSON)", f"{base}.json"),
    ]
    assert links(page, "//section[@class='subscribe']//a") == [
        ("Atom", f"{base}.atom"), ("RSS", f"{base}.rss"), ("JSON", f"{base}.json"),
    ]
    assert [code.text for code in page.iter("code")] == [f"{base}.atom", f"{base}.rss", f"{base}.json"]
    assert page.xpath("//link[@rel='canonical']/@href") == [f"{base}.html"]
    assert [found.text for found in page.xpath("//section[@class='entries']/article")] == ["1", "2"]
    assert words(page.find(".//div/p/time")) == "15 June 2025, 15:06 UTC"
    assert links(page, "//p[@class='older']/a") == [
        ("Older entries (Atom)", "https://feeds.example/site/archives/topics/ai/2.atom"),
    ]
    assert links(page, "//footer//a") == [
        ("subscription list (OPML)", "https://feeds.example/site/feeds.opml"), ("news.example", "https://news.example/"),
    ]


@pytest.mark.parametrize(("base", "root"), [("all", ""), ("topics/ai", "../"), ("archives/topics/ai/1", "../../../")])
def test_a_page_finds_what_is_beside_it_from_any_depth(base: str, root: str) -> None:
    page = feed_page(head(), base=base)
    assert page.xpath("//link[@rel='stylesheet']/@href") == [f"{root}feedd.css"]
    assert page.xpath("//script/@src") == [f"{root}feedd.js"]
    assert page.xpath("//nav//a/@href") == [f"{root}index.html"]


def test_a_feed_page_leaves_out_what_there_is_not() -> None:
    page = feed_page(head(pages=0, subtitle="AI – Example News"))
    assert page.find(".//p[@class='lead']") is None
    assert page.find(".//p[@class='older']") is None
    assert page.find(".//div/img") is None
    assert words(page.find(".//p[@class='none']")) == "There are no entries now."


def test_a_feed_page_shows_the_logo_else_the_icon() -> None:
    logo = model.Image("https://i.example/logo.png", 100, 50)
    page = feed_page(head(logo=logo, icon_url="https://i.example/icon.png"))
    assert dict(page.find(".//div/img").attrib) == {"src": logo.url, "alt": "", "width": "100", "height": "50"}
    page = feed_page(head(icon_url="https://i.example/icon.png"))
    assert dict(page.find(".//div/img").attrib) == {"src": "https://i.example/icon.png", "alt": ""}


def test_a_title_that_is_the_site_alone_stays() -> None:
    assert words(feed_page(head(title=" – Example News")).find(".//h1")) == "– Example News"
    assert words(feed_page(head(title="Example News"), base="all").find(".//h1")) == "Example News"


@pytest.mark.parametrize(("language", "mark"), [("en", None), ("en-GB", None), ("de", "en")])
def test_words_of_ours_say_their_language_on_a_page_in_another(language: str, mark: str | None) -> None:
    for page in (
        feed_page(head(language=language)),
        tree(pages.index_page(msgspec.structs.replace(SETTINGS, language=language), [card()])),
    ):
        assert page.get("lang") == language
        for ours in page.xpath("//footer | //a[@class='skip'] | //p[@class='about']"):
            assert ours.get("lang") == mark


def headings(page: Any) -> list[int]:
    return [int(found.tag[1]) for found in page.iter("h1", "h2", "h3", "h4")]


def test_pages_have_landmarks_and_headings_in_order() -> None:
    for page in (feed_page(head(), pages.entry(FULL, OPTIONS)), tree(pages.index_page(SETTINGS, [card()]))):
        levels = headings(page)
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert [len(page.findall(f".//{name}")) for name in ("header", "main", "footer")] == [1, 1, 1]
        assert page.xpath("//a[1]/@href")[0] == f"#{page.find('.//main').get('id')}"
        ids = page.xpath("//@id")
        assert len(ids) == len(set(ids))
        assert set(page.xpath("//@aria-labelledby | //@for")) <= set(ids)


KNOWN_ON_PAGE = shape(feed_page(
    head(logo=model.Image("https://i.example/logo.png", 1, 1), language="de"), b"<article></article>"
)) | shape(feed_page(head(), base="all"))  # fmt: skip


@given(any_heads, st.lists(any_text, max_size=2), hostile_text, st.sampled_from(["all", "topics/a b", "providers/ü"]))
@example(head(title=HOSTILE[6], subtitle=HOSTILE[0], language='"><b>'), [], "\0", "all")
def test_no_text_of_a_head_becomes_markup(
    given_head: model.Head, titles: list[str], text: str, base: str
) -> None:
    fragments = [pages.entry(entry(title=title), OPTIONS) for title in titles]
    settings = msgspec.structs.replace(SETTINGS, title=text)
    written = pages.feed_page(given_head, fragments, settings, base=base)
    assert written == pages.feed_page(msgspec.structs.replace(given_head), fragments, settings, base=base)
    page = tree(written)
    assert_safe(page, KNOWN_ON_PAGE | KNOWN_IN_ENTRY)
    assert len(page.findall(".//article")) == len(fragments)
    assert b"\0" not in written


# --- the index ----------------------------------------------------------------------------------------------------

ROOT = "https://feeds.example/site"


def card(kind: str = "topic", name: str = "AI", entries: int = 1234, formats: Sequence[model.Format] = model.FORMATS,
         page: bool = True) -> pages.Card:  # fmt: skip
    base = site.base_path(kind, site.slugify(name))
    return pages.Card(
        kind, f"{name} – Example News", name, {fmt: f"{ROOT}/{base}.{fmt}" for fmt in formats},
        f"{ROOT}/{base}.html" if page else "", entries, 1_750_000_000_000_000,
    )


CARDS = (
    card("provider", "Tidewire"), card("topic", "zebras"), card("topic", "Apes", 1), card("all", "Example News"),
    card("custom", "Short reads", 0), card("topic", "Éclairs", page=False), card("category", "News", formats=("rss",)),
)


def test_the_index_groups_feeds_as_the_opml_list_does() -> None:
    page = tree(pages.index_page(SETTINGS, CARDS))
    listed = [site.Listed(card.kind, card.title, card.name, card.urls) for card in CARDS]
    opml = html.etree.fromstring(site.opml(SETTINGS, listed))
    assert [words(title) for title in page.iter("h2")] == opml.xpath("//body/outline/@text")
    names = [words(name) for name in page.xpath("//*[@class='name']")]
    assert names == [title.removesuffix(" – Example News") for title in opml.xpath("//outline/outline/@title")]
    assert names == ["Example News", "Short reads", "Apes", "Éclairs", "zebras", "News", "Tidewire"]
    assert links(page, "//nav//a") == [
        ("Everything 1", "#all"), ("Selections 1", "#custom"), ("Topics 3", "#topic"), ("Categories 1", "#category"),
        ("Providers 1", "#provider"),
    ]


def test_the_index_shows_of_each_feed_its_page_its_size_its_date_and_its_formats() -> None:
    page = tree(pages.index_page(SETTINGS, CARDS))
    shown = {words(item.find("*[@class='name']")): item for item in page.xpath("//ul[@class='cards']/li")}
    assert links(shown["zebras"], "./a") == [("zebras", "./topics/zebras.html")]
    assert words(shown["zebras"].find("p")) == "1,234 entries, 15 June 2025"
    assert shown["zebras"].find("p/time").get("datetime") == "2025-06-15"
    assert links(shown["zebras"], "./p/a") == [
        ("Atom", f"{ROOT}/topics/zebras.atom"), ("RSS", f"{ROOT}/topics/zebras.rss"),
        ("JSON", f"{ROOT}/topics/zebras.json"),
    ]
    assert shown["zebras"].xpath("./p/a/@type") == list(site.MEDIA_TYPES.values())
    assert words(shown["Apes"].find("p")) == "1 entry, 15 June 2025"
    assert words(shown["Short reads"].find("p")) == "0 entries"
    assert links(shown["Éclairs"], "./a") == []
    assert links(shown["News"], "./p/a") == [("RSS", f"{ROOT}/categories/news.rss")]


def test_readers_find_the_main_feeds_and_the_list_of_all() -> None:
    page = tree(pages.index_page(SETTINGS, CARDS))
    assert [(title, url) for _, title, url in alternates(page)] == [
        *((f"Example News – Example News ({name})", f"{ROOT}/all.{fmt}") for fmt, name in site.FORMAT_NAMES.items()),
        *((f"Short reads – Example News ({name})", f"{ROOT}/feeds/short-reads.{fmt}")
          for fmt, name in site.FORMAT_NAMES.items()),
    ]  # fmt: skip
    assert links(page, "//footer//a") == [
        ("subscription list (OPML)", f"{ROOT}/feeds.opml"), ("news.example", "https://news.example/"),
    ]
    assert page.findtext(".//title") == "Example News: feeds"
    assert page.xpath("//link[@rel='canonical']/@href") == [f"{ROOT}/"]
    assert page.find(".//form").get("hidden") is not None


def test_an_index_of_nothing_says_so() -> None:
    page = tree(pages.index_page(SETTINGS, []))
    assert "There are no feeds yet." in words(page.find(".//main"))
    assert page.find(".//nav") is None
    assert "To subscribe" not in words(page.find(".//header"))


def test_the_head_of_the_index_counts_in_words_and_runs_as_its_texts_do() -> None:
    assert "give the reader the address of the feed below." in words(tree(pages.index_page(SETTINGS, CARDS[:1])))
    head = tree(pages.index_page(SETTINGS, CARDS)).find(".//header")
    assert "give the reader the address of any of these 7 feeds." in words(head)
    assert [each.get("dir") for each in head.xpath("./h1 | ./p[@class='lead']")] == ["auto"] * 2


def test_feeds_that_are_elsewhere_are_linked_there() -> None:
    away = msgspec.structs.replace(card(), page_url="https://elsewhere.example/ai.html")
    scheme = msgspec.structs.replace(card(), page_url=f"{ROOT}/javascript:alert(1)")
    host = msgspec.structs.replace(card(), page_url=f"{ROOT}//evil.example/")
    shown = [
        tree(pages.index_page(SETTINGS, [given_card])).xpath("//a[@class='name']/@href")[0]
        for given_card in (away, scheme, host)
    ]
    assert shown == ["https://elsewhere.example/ai.html", "./javascript:alert(1)", ".//evil.example/"]


KNOWN_ON_INDEX = shape(tree(pages.index_page(msgspec.structs.replace(SETTINGS, language="de"), CARDS)))
any_cards = st.lists(
    st.builds(
        pages.Card, st.sampled_from([*site.GROUP_TITLES, "<b>"]), hostile_text | any_text, hostile_text | any_text,
        st.dictionaries(st.sampled_from(model.FORMATS), hostile_url), hostile_url, st.integers(-1, 10**7),
        st.integers(-(1 << 80), 1 << 80),
    ),
    max_size=4,
)  # fmt: skip


@given(any_cards, hostile_text, hostile_url)
def test_no_text_of_a_card_or_a_setting_becomes_markup(cards: list[pages.Card], text: str, url: str) -> None:
    settings = msgspec.structs.replace(SETTINGS, title=text, description=text, language=text, url=url, public_url=url)
    page = tree(pages.index_page(settings, cards))
    assert_safe(page, KNOWN_ON_INDEX)
    assert len(page.xpath("//ul[@class='cards']/li")) == sum(card.kind != "<b>" for card in cards)


@given(any_cards, st.randoms(use_true_random=False))
def test_the_index_is_the_same_in_whatever_order_feeds_come(cards: list[pages.Card], random: Any) -> None:
    distinct = [msgspec.structs.replace(card, title=f"{n}{card.title}") for n, card in enumerate(cards)]
    written = pages.index_page(SETTINGS, distinct)
    random.shuffle(distinct)
    assert pages.index_page(SETTINGS, distinct) == written


# --- what the pages bring with them -------------------------------------------------------------------------------


def test_pages_hold_no_script_and_no_style_of_their_own() -> None:
    for page in (feed_page(head(), pages.entry(FULL, OPTIONS)), tree(pages.index_page(SETTINGS, CARDS))):
        assert [script.text for script in page.iter("script")] == [None]
        assert list(page.iter("style")) == []
        assert [name for _, name in shape(page) if name == "style" or name.startswith("on")] == []


def test_style_and_script_fetch_nothing() -> None:
    assert pages.ASSETS.keys() == {"feedd.css", "feedd.js"}
    style, script = (pages.ASSETS[name].decode() for name in ("feedd.css", "feedd.js"))
    assert not re.search(r"url\(|@import|@font-face", style)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|innerHTML|eval\(|https?://(?!\.)\w", script)
