"""feedd.render: two lanes with the same bytes, feeds that any reader gets back what went in from, whatever the text."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from calendar import timegm
from contextlib import suppress
from typing import Any

import feedparser
import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import sources

from feedd import errors, model, parse, render
from feedd.render import clean, content, feedgen_lane, text

XML_FORMATS: tuple[model.Format, ...] = ("atom", "rss")

# --- what may come in ---------------------------------------------------------------------------------------------

ODDITIES = (
    *("&", "<", ">", '"', "'", "]]>", "<b>", "</b>", "</p>", "&amp;", "&lt;", "&#38;", "&#x26;", "&copy", "&nbsp;"),
    *("\x00", "\x0b", "\x1f", "\x7f", "\x85", "\x9f", "\xa0", "\ud800", "\ufdd0", "\ufffd", "\uffff", "\U0001ffff"),
    *("\t", "\r\n", "  ", "\u2028", "\u200b", "\ufeff", "\u202e", "é", "機械学習", "😀", "<!--", "<?", "<![CDATA["),
    *("<script>alert(1)</script>", "Q&A", "AT&T5", "1 < 2", "C++", "a@b.example", "<a@b.example>", "%", "%zz", "|"),
)
any_text = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from(ODDITIES) | st.text("abc XYZ", max_size=5), max_size=6).map("".join),
)
clean_text = st.text("abc XYZ&<>\"']é€學😀;#-\xa0", max_size=20)
clean_urls = st.from_regex(r"https?://[a-z]{1,8}\.example(:[0-9]{2})?/[a-z0-9/?=&%;~._'+-]{0,12}", fullmatch=True)
any_urls = (
    clean_urls | any_text.map("https://x.example/{}".format) | any_text | st.just("http://bücher.example/ü?a=[1]#ß")
)
any_second = st.integers(0, 4_000_000_000) | st.integers(text.FIRST_SECOND, text.LAST_SECOND)
beyond_time = any_second | st.integers()


def articles(texts: st.SearchStrategy[str], urls: st.SearchStrategy[str]) -> st.SearchStrategy[model.Article]:
    some_urls = urls | st.just("")
    sizes = st.integers(-1, 2000)
    domains = st.sampled_from(["cnet.com", "", "nonsense", "a.b.example", "bad/../domain"])
    providers = st.builds(model.Provider, texts, domains, some_urls)
    images = st.builds(model.Image, urls, sizes, sizes, texts, texts)
    related = st.builds(
        model.Related, texts, some_urls, published_at=st.none() | any_second, provider=providers, images=st.just(())
    )
    return st.builds(
        model.Article,
        texts,
        urls,
        texts,
        category=texts,
        language=st.sampled_from(["", "en", "de", "pt_BR", "xx", "english", "gsw", "d\x00"]),
        original_url=some_urls,
        provider=providers,
        topics=st.lists(texts, max_size=4).map(tuple),
        images=st.lists(images, max_size=3).map(tuple),
        related=st.lists(related, max_size=3).map(tuple),
        embed=st.none() | st.builds(model.Embed, urls, sizes, sizes),
        content_html=texts.map("<p>{}</p>".format) | st.just(""),
        length=st.sampled_from(["", "PT21M31S", "P1DT2H", "PT8S", "10 minutes", "PT"]) | texts,
        price=st.just("") | texts,
        levels=st.lists(texts, max_size=2).map(tuple),
    )


def entries_of(
    ids: st.SearchStrategy[str],
    texts: st.SearchStrategy[str],
    urls: st.SearchStrategy[str],
    moments: st.SearchStrategy[int],
) -> st.SearchStrategy[model.Entry]:
    sources = st.builds(model.Source, st.builds(model.Provider, texts), urls)
    return st.builds(
        model.Entry,
        ids,
        articles(texts, urls),
        moments,
        moments.map(lambda at: at * 1_000_000 + 123_456),
        st.lists(sources, max_size=2).map(tuple),
    )


def heads_of(texts: st.SearchStrategy[str], urls: st.SearchStrategy[str]) -> st.SearchStrategy[model.Head]:
    per_format = st.dictionaries(st.sampled_from(model.FORMATS), urls)
    return st.builds(
        model.Head,
        st.just("tag:x.example,2020:feed") | texts,
        texts,
        texts,
        urls,
        st.sampled_from(["en", "de-CH", "", "nonsense"]),
        texts,
        beyond_time.map(lambda at: at * 1_000_000),
        per_format,
        icon_url=urls | st.sampled_from(["", "https://x.example/i.svg", "https://x.example/i.PNG"]),
        logo=st.none() | st.builds(model.Image, urls, st.integers(0, 900), st.integers(0, 900)),
        category=texts,
        archive=st.booleans(),
        complete=st.booleans(),
        current_urls=per_format,
        prev_urls=per_format,
        next_urls=per_format,
        hub_urls=st.lists(urls, max_size=2).map(tuple),
        ttl_minutes=st.integers(-1, 90),
    )


tag_ids = st.integers(0, 10**6).map("tag:x.example,2020:news/{}.md".format)
clean_entries = entries_of(tag_ids, clean_text.map("x{}".format), clean_urls, any_second)
any_entries = entries_of(tag_ids | any_text, any_text, any_urls, beyond_time) | clean_entries
any_heads = heads_of(any_text, any_urls)
any_options = st.builds(
    render.Options,
    full_content=st.booleans(),
    topic_base_url=st.sampled_from(["", "https://x.example/topics/?a&b", "not a URL", "https://x.example/\x00"]),
    language=st.sampled_from(["en", "de"]),
    related_heading=st.sampled_from(["Related", "", "Siehe <auch>", "\x00"]),
)

SELF = {fmt: f"https://feeds.example/all.{fmt}" for fmt in model.FORMATS}
HEAD = model.Head(
    id="tag:news.example,2020:feeds/all",
    title="Example News",
    subtitle="All of it",
    page_url="https://news.example/",
    language="en",
    author="Example News",
    updated_us=1_589_890_080_000_000,
    self_urls=SELF,
)
OPTIONS = render.Options()


def entry(**fields: Any) -> model.Entry:
    """An entry with a plain article, and what the test is about."""
    own = {name: fields.pop(name) for name in ("id", "published_at", "updated_us", "sources") if name in fields}
    article = model.Article(**{"title": "A title", "url": "https://x.example/a", "summary": "A summary"} | fields)
    return model.Entry(
        **{"id": "tag:x.example,2020:a.md", "published_at": 5, "updated_us": 7_000_001} | own, article=article
    )


def feed(fmt: model.Format, *entries: model.Entry, head: model.Head = HEAD, options: render.Options = OPTIONS) -> bytes:
    return render.document(head, [render.fragment(each, fmt, options) for each in entries], fmt)


def parsed(document: bytes) -> Any:
    result = feedparser.parse(document, sanitize_html=False, resolve_relative_uris=False)
    assert not result.bozo, result.get("bozo_exception")
    return result


def plain(value: str, kind: str) -> str:
    """What a reader shows: HTML decoded where the feed says (or feedparser found) that it is HTML; space collapsed."""
    return " ".join((html.unescape(value) if kind == "text/html" else value).split())


def shown(value: str) -> str:
    """What feedparser is expected to show of a text that went in: it undoes what it takes for double encoding."""
    value = clean.plain(value)
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode("utf-8")
    return " ".join(value.split())


# --- the two lanes ------------------------------------------------------------------------------------------------


def reference(head: model.Head, entries: list[model.Entry], fmt: model.Format, options: render.Options) -> bytes:
    """The whole feed at once, through feedgen."""
    decided = []
    for each in entries:
        if clean.is_clean(each, options):
            decided.append(content.show(each, options))
        else:
            decided.append(content.show(clean.repair(each), clean.repair_options(options)))
    return feedgen_lane.document(head, decided, fmt)


@settings(max_examples=80, deadline=None)
@given(any_heads, st.lists(any_entries, max_size=3), any_options, st.sampled_from(XML_FORMATS))
def test_joined_fragments_are_the_whole_feed_that_feedgen_writes(
    head: model.Head, entries: list[model.Entry], options: render.Options, fmt: model.Format
) -> None:
    assert feed(fmt, *entries, head=head, options=options) == reference(head, entries, fmt, options)


@settings(max_examples=80, deadline=None)
@given(clean_entries, any_options.filter(lambda o: "\x00" not in o.topic_base_url + o.related_heading))
def test_the_templates_write_what_feedgen_writes(each: model.Entry, options: render.Options) -> None:
    options = clean.repair_options(options)
    decided = content.show(each, options)
    assert clean.is_clean(each, options)
    assert render.atom.fragment(decided).encode() == feedgen_lane.fragment(decided, "atom")
    assert render.rss.fragment(decided).encode() == feedgen_lane.fragment(decided, "rss")


@settings(max_examples=60, deadline=None)
@given(any_entries, any_options)
def test_repair_makes_clean_and_several_formats_at_once_are_the_same(
    each: model.Entry, options: render.Options
) -> None:
    repaired, repaired_options = clean.repair(each), clean.repair_options(options)
    if repaired.article.url:
        assert clean.is_clean(repaired, repaired_options)
    assert render.fragments(each, model.FORMATS, options)[0] == [
        render.fragment(each, fmt, options) for fmt in model.FORMATS
    ]


def test_real_articles_are_clean_and_come_out_alike_from_both_lanes() -> None:
    entries = []
    for path, data in sources():
        if parse.metadata_kind(path) is None:
            with suppress(errors.ArticleError):
                article = parse.parse(data, path, "https://news.example/")
                number = len(entries)
                entries.append(model.Entry(f"tag:news.example,2020:{number}", article, number, number * 1_000_000))
    options = render.Options(full_content=True, topic_base_url="https://news.example/topics/")
    assert entries
    assert all(clean.is_clean(each, options) for each in entries)
    for fmt in XML_FORMATS:
        assert feed(fmt, *entries, options=options) == reference(HEAD, entries, fmt, options)


def test_feedgen_is_not_imported_for_clean_entries() -> None:
    program = (
        "import sys\nfrom feedd import model, render\n"
        "article = model.Article('Title', 'https://x.example/', 'Summary')\n"
        "entry = model.Entry('tag:x.example,2020:a', article, 1, 1)\n"
        "render.fragments(entry, model.FORMATS, render.Options())\n"
        "assert not {'lxml', 'feedgen'} & set(sys.modules), 'imported'\n"
        "render.fragment(model.Entry('tag:x.example,2020:a\\0', article, 1, 1), 'atom', render.Options())\n"
        "assert {'lxml', 'feedgen'} <= set(sys.modules), 'not used'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- what readers get ---------------------------------------------------------------------------------------------


def link(url: str, fmt: model.Format) -> str:
    """As feedparser has it: in RSS, without the semicolon of what looks to it like a reference to a character."""
    return html.unescape(re.sub("&([A-Za-z0-9_]+);", r"&\1", url.replace("&amp;", "&")) if fmt == "rss" else url)


@settings(max_examples=80, deadline=None)
@given(any_heads, st.lists(any_entries, min_size=1, max_size=3), st.sampled_from(XML_FORMATS))
@example(HEAD, [entry(url="http://a.example/&0;")], "rss")
@example(HEAD, [entry(url="http://a.example/&0;")], "atom")
@example(HEAD, [entry(title="</b> &amp; <i>x", summary="AT&amp;T")], "rss")
@example(HEAD, [entry(title="</b> &amp; <i>x", summary="AT&amp;T")], "atom")
def test_feedparser_gets_back_what_went_in(head: model.Head, entries: list[model.Entry], fmt: model.Format) -> None:
    result = parsed(feed(fmt, *entries, head=head))
    cleaned = clean.head(head)
    assert plain(result.feed.title, result.feed.title_detail.type) == shown(cleaned.title)
    assert link(result.feed.link, fmt) == link(cleaned.page_url, fmt)
    assert len(result.entries) == len(entries)
    for got, given_entry in zip(result.entries, entries, strict=True):
        each = given_entry if clean.is_clean(given_entry, OPTIONS) else clean.repair(given_entry)
        article = each.article
        assert got.id == each.id
        assert plain(got.title, got.title_detail.type) == shown(article.title)
        assert plain(got.summary, "text/html" if fmt == "rss" else got.summary_detail.type) == shown(article.summary)
        if article.url:  # feedparser takes the id for a link where there is none
            assert link(got.link, fmt) == link(article.url, fmt)
        if text.rfc3339(each.published_at) >= "1000":
            assert timegm(got.published_parsed) == each.published_at
        if fmt == "atom":
            assert got.updated == text.rfc3339_us(each.updated_us)
            expected = [html.unescape(href) for rel, href, _ in content.links(each) if rel == "related"]
            assert [html.unescape(each.href) for each in got.get("links", ()) if each.rel == "related"] == expected
            terms = {tag.term for tag in got.get("tags", ())}
            assert {shown(topic) for topic in article.topics if shown(topic)} <= {shown(term) for term in terms}


@settings(max_examples=80, deadline=None)
@given(any_heads, st.lists(any_entries, max_size=3), any_options)
def test_json_feeds_hold_what_went_in(head: model.Head, entries: list[model.Entry], options: render.Options) -> None:
    document = json.loads(feed("json", *entries, head=head, options=options))
    cleaned = clean.head(head)
    assert document["version"] == "https://jsonfeed.org/version/1.1"
    assert (document["title"], document["home_page_url"]) == (cleaned.title, cleaned.page_url)
    assert document.get("feed_url", "") == cleaned.self_urls.get("json", "")
    assert len(document["items"]) == len(entries)
    for item, given_entry in zip(document["items"], entries, strict=True):
        sure = clean.is_clean(given_entry, options)
        each = given_entry if sure else clean.repair(given_entry)
        assert (item["id"], item["title"], item["summary"]) == (each.id, each.article.title, each.article.summary)
        assert item.get("url", "") == each.article.url
        assert item["date_modified"] == text.rfc3339_us(each.updated_us)
        assert all(item.values()), "no empty members"
        assert not clean._BAD_IN_HTML.search(item["content_html"])


@settings(max_examples=80, deadline=None)
@given(st.lists(any_entries, max_size=2), any_options)
def test_markup_in_texts_stays_text(entries: list[model.Entry], options: render.Options) -> None:
    options = msgspec.structs.replace(options, full_content=False)
    for each in entries:
        item = json.loads(render.fragment(each, "json", options))
        tags = set(re.findall(r"<(/?\w*)", item["content_html"]))
        known = {"p", "figure", "img", "figcaption", "a", "strong", "ul", "li"}
        assert tags <= known | {f"/{tag}" for tag in known}


def test_a_feed_without_entries_is_a_feed() -> None:
    assert parsed(feed("atom")).feed.updated == "2020-05-19T12:08:00.000000Z"
    assert parsed(feed("rss")).feed.updated == "Tue, 19 May 2020 12:08:00 GMT"
    assert json.loads(feed("json"))["items"] == []
