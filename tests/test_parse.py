"""Articles and metadata: every field of the format, every shape it comes in, and errors that name their place."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from feedd import errors, model, parse

SITE = "https://news.example"


def article(front: str, body: str = "", path: str = "2020/05/a-story.md") -> model.Article:
    return parse.parse(f"---\n{front}\n---\n{body}".encode(), path, SITE)


def titled(front: str) -> model.Article:
    return article(f"title: T\n{front}")


def fails(front: str) -> errors.ArticleError:
    with pytest.raises(errors.ArticleError) as caught:
        article(front)
    return caught.value


def test_every_field() -> None:
    got = article(
        """
category: news
title: "Face masks &amp; <b>AI</b>"
excerpt: "itâ€™s  here"
publishedDateTime: 2020-05-19T12:08:00Z
updatedDateTime: 2020-05-20T00:00:00+02:00
webUrl: "https://www.a.example/b c"
originalUrl: https://www.a.example/original
ampWebUrl: /amp
cdnAmpWebUrl: "https://cdn.example/c/s/a"
type: article
language: en
quality: 105
heat: -1
published: true
removed: false
deleted: no
length: PT20M33S
price: 9.50
levels: [beginner, "advanced "]
featuredContent: '<iframe width="8" height="5" src="//v.example/1"></iframe>'
provider:
  name: "A &amp; B"
  domain: https://WWW.A.Example/x
  images:
    - url: /icon.png
      width: 50
topics: [AI, "Q&A <live>", AI, "", null, 2020]
images:
  - url: /a.jpg
    width: 1200
    height: "630px"
    isCached: true
    title: "a &lt; b"
    attribution: Someone
  - https://i.example/b.jpg
  - url: "javascript:x"
  - null
related:
  - title: One
    excerpt: "x &#8217;"
    publishedDateTime: 2020-05-18
    webUrl: ""
    originalUrl: https://o.example/1
    ampWebUrl: https://o.example/amp
    type: article
    provider: {name: O, domain: o.example}
    images: [https://o.example/i.png]
    quality: 5
  - excerpt: Only an excerpt
  - webUrl: https://o.example/2
  - just text
  - {type: article}
  - title: No link
secured: "hunter2"
unknown: {a: [b]}
""",
        "Hello *there*.\n",
    )
    assert got == model.Article(
        title="Face masks & AI",
        url="https://www.a.example/b%20c",
        summary="it’s here",
        public=True,
        has_own_url=True,
        published_at=1589890080,
        updated_at=1589925600,
        category="news",
        type="article",
        language="en",
        original_url="https://www.a.example/original",
        amp_url="https://news.example/amp",
        cdn_amp_url="https://cdn.example/c/s/a",
        provider=model.Provider("A & B", "a.example", "https://news.example/icon.png"),
        topics=("AI", "Q&A <live>", "2020"),
        images=(
            model.Image("https://news.example/a.jpg", 1200, 630, "a < b", "Someone"),
            model.Image("https://i.example/b.jpg"),
        ),
        related=(
            model.Related(
                "One",
                "https://o.example/1",
                "x ’",
                1589760000,
                "article",
                model.Provider("O", "o.example"),
                (model.Image("https://o.example/i.png"),),
                "https://o.example/amp",
                "https://o.example/1",
            ),
            model.Related("Only an excerpt", excerpt="Only an excerpt"),
            model.Related("https://o.example/2", "https://o.example/2"),
            model.Related("No link"),
        ),
        embed=model.Embed("https://v.example/1", 8, 5),
        content_html="<p>Hello <em>there</em>.</p>",
        length="PT20M33S",
        price="9.5",
        levels=("beginner", "advanced"),
        quality=105.0,
        heat=-1.0,
    )
    assert "hunter2" not in repr(got)


def test_the_least_article() -> None:
    assert titled("") == model.Article("T", "https://news.example/2020/05/a-story", "T", has_own_url=False)


# --- public or not ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("front", "public"),
    [
        ("", True),
        ("published:", True),
        ("published: ''", True),
        ("published: true", True),
        ("published: 'Yes'", True),
        ("published: 1", True),
        ("published: false", False),
        ("published: 'false'", False),
        ("published: 0", False),
        ("removed: true", False),
        ("published: true\ndeleted: true", False),
        ("published: true\nremoved: 'no'\ndeleted:", True),
    ],
)
def test_public(front: str, public: bool) -> None:
    assert titled(front).public is public


def test_an_article_that_is_not_public_costs_little_and_says_little() -> None:
    got = article("title: T\npublished: false\noriginalUrl: /o\npublishedDateTime: nonsense\ntopics: [a]", "body")
    assert got == model.Article(
        "T", "https://news.example/o", "T", public=False, original_url="https://news.example/o"
    )
    assert article("published: false").title == ""


# --- title, summary, body ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("front", "body", "title", "summary"),
    [
        ("title: 2020", "", "2020", "2020"),
        ("title: 'null'", "", "null", "null"),
        ("title: true", "", "true", "true"),
        ("title: 2020-05-19", "", "2020-05-19", "2020-05-19"),
        ("title:\nexcerpt: An excerpt", "", "An excerpt", "An excerpt"),
        ("title: ' <b></b> '", "# H\n\nA para *graph*.\n\nTwo.", "A para graph.", "A para graph."),
        ("title: T", "# Only a heading", "T", "Only a heading"),
        ("title: T", "<script>x</script>", "T", "T"),
        ("title: [a]\nexcerpt: b", "", "b", "b"),
        ("title: T\nexcerpt: {a: b}", "", "T", "T"),
    ],
)
def test_title_and_summary(front: str, body: str, title: str, summary: str) -> None:
    got = article(front, body)
    assert (got.title, got.summary) == (title, summary)


def test_long_texts_are_cut_between_words() -> None:
    got = article("excerpt: " + "word " * 100)
    assert got.title == "word " * 19 + "word…"
    assert article("excerpt: x" + "word " * 100).title == "xword " + "word " * 17 + "word…"
    assert article("excerpt: " + "x" * 200).title == "x" * 99 + "…"
    assert len(article("title: T", "word " * 1000).summary) <= 1000


def test_the_file_name_says_what_the_body_is() -> None:
    assert article("title: T", "*a*", "a.markdown").content_html == "<p><em>a</em></p>"
    assert article("title: T", "*a*", "a.txt").content_html == "<p><em>a</em></p>"
    assert article("title: T", "*a*<br>", "a.HTML").content_html == "*a*<br/>"


# --- URLs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("front", "path", "url", "own"),
    [
        ("webUrl: https://a.example/\noriginalUrl: https://b.example/", "a.md", "https://a.example/", True),
        ("webUrl:\noriginalUrl: https://b.example/", "a.md", "https://b.example/", True),
        ("webUrl: 'ftp://x'\noriginalUrl: ''", "a.md", "https://news.example/a", False),
        ("webUrl: [x]", "x/ü b#.v2.md", "https://news.example/x/%C3%BC%20b%23.v2", False),
        ("webUrl: 5", "a.md", "https://news.example/5", True),
        ("", "a.b", "https://news.example/a.b", False),
        ("", "\udcff.md", "https://news.example/%3F", False),
    ],
)
def test_url(front: str, path: str, url: str, own: bool) -> None:
    got = article(f"title: T\n{front}", path=path)
    assert (got.url, got.has_own_url) == (url, own)


# --- dates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("2020-05-19T12:08:00Z", 1589890080),
        ("2020-05-19T12:08:00", 1589890080),
        ("2020-05-19 14:08:00.75 +02:00", 1589890080),
        ("2020-05-19", 1589846400),
        ("'2020-05-19T12:08:00Z'", 1589890080),
        ("' 2020-05-19T12:08:00.5+00:00 '", 1589890080),
        ("1900-01-01", -2208988800),
        ("1969-12-31T23:59:59.5Z", -1),
        ("9999-12-31T23:59:59Z", 253402300799),
        ("", None),
        ("''", None),
        ("null", None),
    ],
)
def test_dates(date: str, seconds: int | None) -> None:
    assert titled(f"publishedDateTime: {date}").published_at == seconds


@given(st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 31)))
def test_dates_equal_what_datetime_says(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    expected = int(moment.replace(tzinfo=UTC).timestamp())
    for form in (f"{moment.isoformat()}Z", f"'{moment.isoformat()}'", moment.isoformat(" ")):
        assert titled(f"publishedDateTime: {form}").published_at == expected


def test_a_missing_publication_date_is_the_one_of_the_update() -> None:
    got = titled("updatedDateTime: 2020-05-19")
    assert (got.published_at, got.updated_at) == (1589846400, 1589846400)


@pytest.mark.parametrize(
    "date", ["nonsense", "2020", "true", "[2020-05-19]", "1899-12-31", "9999-12-31T23:59:59-05:00", "0001-01-01", "1.5"]
)
def test_a_date_without_a_meaning_is_an_error(date: str) -> None:
    error = fails(f"title: T\npublishedDateTime: {date}")
    assert (error.field, error.line, error.column) == ("publishedDateTime", 3, 20)
    assert date not in error.message.partition("write it as")[0]


# --- lists, numbers, providers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("front", "field", "expected"),
    [
        ("topics: AI", "topics", ("AI",)),
        ("topics:", "topics", ()),
        ("topics: [[a], {b: c}, d]", "topics", ("d",)),
        ("levels: 300", "levels", ("300",)),
        ("price: 12", "price", "12"),
        ("price: Free", "price", "Free"),
        ("images: /a.png", "images", (model.Image("https://news.example/a.png"),)),
        ("images: {url: /a.png, width: -5, height: 1e9}", "images", (model.Image("https://news.example/a.png"),)),
        ("images: [{url: /a.png, width: ' 12 ', height: 0x10}]", "images",
         (model.Image("https://news.example/a.png", 12, 16),)),
        ("images: [{url: /a.png, width: wide, height: true}]", "images", (model.Image("https://news.example/a.png"),)),
        ("related: {title: R}", "related", (model.Related("R"),)),
        ("related: [x, 5, [y]]", "related", ()),
        ("provider: CNET", "provider", model.Provider("CNET")),
        ("provider:", "provider", model.Provider()),
        ("provider: [x]", "provider", model.Provider()),
        ("provider: {name: 7, domain: 8}", "provider", model.Provider("7", "8")),
        ("provider: {name: A, images: [{url: x:y}]}", "provider", model.Provider("A")),
        ("provider: {name: A, domain: 'www.münchen.example:80'}", "provider",
         model.Provider("A", "xn--mnchen-3ya.example")),
        ("provider: {name: A, domain: 'u@a.example?x'}", "provider", model.Provider("A", "a.example")),
        ("provider: {name: A, domain: '../etc'}", "provider", model.Provider("A", "")),
        ("provider: {name: A, domain: 'www.'}", "provider", model.Provider("A", "www")),
        ("language: no", "language", "no"),
        ("lang: de", "language", "de"),
        ("language:\nlang: de", "language", ""),
        ("featuredContent: <b>x</b>", "embed", None),
        ("heat:", "heat", None),
        ("heat: ''", "heat", None),
        ("heat: '7.5'", "heat", 7.5),
        ("heat: .nan", "heat", None),
        ("heat: .inf", "heat", None),
        ("heat: true", "heat", None),
        ("heat: [1]", "heat", None),
        ("heat: 1" + "0" * 400, "heat", None),
        ("quality: 0", "quality", 0.0),
    ],
)  # fmt: skip
def test_shapes(front: str, field: str, expected: Any) -> None:
    assert getattr(titled(front), field) == expected


@pytest.mark.parametrize(
    ("front", "place", "message"),
    [
        ("type: x", ("title", 2, 1), "missing, and no excerpt or body to take it from"),
        ("type: x\ntitle:", ("title", 3, 7), "missing, and no excerpt or body to take it from"),
        ("title: T\npublished: maybe", ("published", 3, 12), "must be true or false"),
        ("title: T\nremoved: [x]\ndeleted: soon", ("deleted", 4, 10), "must be true or false"),
        ("title: T\nrelated:\n  - title: a\n  - title: b\n    publishedDateTime: soon",
         ("related.1.publishedDateTime", 6, 24), "not a date: write it as 2020-05-19T12:08:00Z"),
        ("title: T\nexcerpt: " + "x" * 65_537, ("excerpt", 3, 10), "longer than 65,536 characters"),
        ("title: T\nimages: [" + "a," * 1001 + "]", ("images", 3, 9), "more than 1,000 items"),
    ],
)  # fmt: skip
def test_errors_name_field_line_and_column(front: str, place: tuple[str, int, int], message: str) -> None:
    error = fails(front)
    assert (error.field, error.line, error.column) == place
    assert error.message == message
    assert error.path == "2020/05/a-story.md"


def test_an_error_in_the_yaml_names_its_place() -> None:
    error = fails("title: T\nprovider:\n  name: DM: Diablo")
    assert (error.line, error.column) == (4, 11)
    assert "quote the value" in str(error)


# --- metadata ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("_data/topics/ai.yaml", "topic"),
        ("x/y/_data/topics/deep/ai.yml", "topic"),
        ("_data/organizations/a.example.md", "provider"),
        ("x/_data/organizations/a.yaml", "provider"),
        ("_data/organizations/a.yml", "provider"),
        ("_data/topics/ai.md", None),
        ("_data/topics.yaml", None),
        ("my_data/topics/ai.yaml", None),
        ("_data/people/a.md", None),
        ("2020/a.md", None),
    ],
)
def test_metadata_kind(path: str, kind: str | None) -> None:
    assert parse.metadata_kind(path) == kind


def test_topic_metadata() -> None:
    data = b"""_id: ai
name: AI &amp; more
shortname: AI
description: "What  machines do"
parent: Science
otherNames: [Artificial Intelligence, AI]
images:
  - /ai.jpg
secured: x
"""
    assert parse.parse_metadata(data, "_data/topics/ai.yaml", SITE) == model.Metadata(
        "topic", "AI & more", "AI & more", "What machines do", "Science",
        (model.Image("https://news.example/ai.jpg"),), ("Artificial Intelligence", "AI"),
    )  # fmt: skip
    assert parse.parse_metadata(b"_id: ai", "_data/topics/ai.yaml", SITE) == model.Metadata("topic", "ai", "ai")
    assert parse.parse_metadata(b"title: AI", "_data/topics/ai.yaml", SITE).name == "AI"


def test_provider_metadata() -> None:
    data = b"---\n_id: x.example\nname: X\ndomain: www.X.example\nimages:\n  - url: /x.png\n    width: 50\n---\n"
    assert parse.parse_metadata(data, "_data/organizations/x.md", SITE) == model.Metadata(
        "provider", "x.example", "X", images=(model.Image("https://news.example/x.png", 50),)
    )
    by_id = parse.parse_metadata(b"_id: x.example\n", "_data/organizations/x.yaml", SITE)
    assert (by_id.key, by_id.name) == ("x.example", "x.example")
    assert parse.parse_metadata(b"name: X Y\n", "_data/organizations/x.yaml", SITE).key == "X Y"


def test_metadata_errors_name_their_place() -> None:
    with pytest.raises(errors.ArticleError) as caught:
        parse.parse_metadata(b"# nothing\nparent: x\n", "_data/topics/ai.yaml", SITE)
    assert (caught.value.field, caught.value.line, caught.value.message) == ("name", 1, "missing")
    with pytest.raises(errors.ArticleError) as caught:
        parse.parse_metadata(b"---\nname: ''\n---\n", "_data/organizations/x.md", SITE)
    assert (caught.value.field, caught.value.line, caught.value.column) == ("name", 2, 7)


# --- as a whole -------------------------------------------------------------------------------------------------


def test_every_real_file_is_an_article_or_an_error_with_a_place() -> None:
    broken = []
    for path, data in strategies.sources():
        read = parse.parse_metadata if parse.metadata_kind(path) else parse.parse
        try:
            got = read(data, path, SITE)
        except errors.ArticleError as error:
            assert error.line > 1 and "quote the value" in error.message
            broken.append(path)
            continue
        assert "secured" not in repr(got)
        if isinstance(got, model.Article):
            assert got.url.startswith("http") and got.summary
    assert len(broken) <= 4


def test_reading_an_unremarkable_article_loads_no_heavy_library() -> None:
    code = (
        "import sys; from feedd import parse;"
        "parse.parse(b'---\\ntitle: Caf\\xc3\\xa9 \\xe2\\x80\\x93 x\\n---\\n\\n', 'a.md', 'https://a.example');"
        "print(*{'nh3', 'markdown_it', 'ftfy'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=strategies.ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
