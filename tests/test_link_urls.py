"""The links of an article, and the one spelling of each."""

from __future__ import annotations

import timeit
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feedd import model, text
from feedd.freshness import urls

SAME = [
    ("https://a.example/b?c=d", "https://a.example/b?c=d"),
    ("HTTPS://WWW.A.Example/B?C=D", "https://www.a.example/B?C=D"),
    ("https://a.example", "https://a.example/"),
    ("https://a.example?q", "https://a.example/?q"),
    ("https://a.example/?", "https://a.example/?"),
    ("https://a.example/#part", "https://a.example/"),
    ("https://a.example#part", "https://a.example/"),
    ("https://a.example/b#c\nd", "https://a.example/b"),
    ("https://a.example:443/", "https://a.example/"),
    ("http://a.example:0080/", "http://a.example/"),
    ("http://a.example:/", "http://a.example/"),
    ("http://a.example:443/", "http://a.example:443/"),
    ("https://a.example.:8443/", "https://a.example:8443/"),
    ("https://user:secret@a.example/", "https://a.example/"),
    ("https://Bücher.example/ü", "https://xn--bcher-kva.example/%C3%BC"),
    ("https://b%C3%BCcher.example/", "https://xn--bcher-kva.example/"),
    ("https://a.example/%7euser/%e9%2F%2f", "https://a.example/~user/%E9%2F%2F"),
    ("https://a.example/100%/%zz/%2541", "https://a.example/100%25/%25zz/%2541"),
    ("https://a.example/?q=%7e%e9", "https://a.example/?q=%7e%e9"),
    ("https://a.example/?q=/../x/./", "https://a.example/?q=/../x/./"),
    ("https://a.example/a b?c d", "https://a.example/a%20b?c%20d"),
    ("https://a.example/it's", "https://a.example/it%27s"),
    (" \nhttps://a.example/a\r\n\tb\x00 ", "https://a.example/ab"),
    ("https://a.example/a/../b/./c", "https://a.example/b/c"),
    ("https://a.example/../../a/..", "https://a.example/"),
    ("https://a.example/a/%2e%2E/b/.", "https://a.example/b/"),
    ("https://a.example/a//../b", "https://a.example/a/b"),
    ("https://a.example/.well-known/..a", "https://a.example/.well-known/..a"),
    ("http://127.0.0.1:8000/a", "http://127.0.0.1:8000/a"),
    ("http://[2001:DB8:0::1]:80/a", "http://[2001:db8::1]/a"),
    ("http://x@[::1]:8000", "http://[::1]:8000/"),
]
NONE = [
    "", " ", "a.example", "//a.example/", "/a", "ftp://a.example/", "mailto:a@a.example", "javascript:alert(1)",
    "https://", "https:///a", "https://@/", "https://a b.example/", "https://a.example\\@b.example/", "https://%00/",
    "https://a.example:99999/", "https://a.example:0/", "https://a.example:x/", "https://a.example:1:2/",
    "https://a.example:²/", "https://-a.example/", "https://" + "a" * 64 + ".example/", "http://[::1", "http://[::1]a/",
    "http://[1.2.3.4]/", "http://[fe80::1%25eth0]/", "http://[::g]/", "https://a.example/\ud800",
    "https://a.example/" + "a" * 8192, "https://a.example/" + "ü" * 4000,
]  # fmt: skip


@pytest.mark.parametrize(("url", "normal"), SAME)
def test_one_spelling_stands_for_all_that_mean_the_same(url: str, normal: str) -> None:
    assert urls.normalise(url) == normal
    assert urls.normalise(normal) == normal


@pytest.mark.parametrize("url", NONE)
def test_what_is_no_http_url_has_none_and_no_host(url: str) -> None:
    assert (urls.normalise(url), urls.host_of(url)) == ("", "")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://WWW.A.example/b?c", "www.a.example"), ("http://www.a.example:80", "www.a.example"),
        ("https://a.example:8443/b", "a.example:8443"), ("http://a.example:443/", "a.example:443"),
        ("http://[::1]:8000/", "[::1]:8000"), ("http://[::1]/", "[::1]"), ("https://bücher.example",
        "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_politeness_counts_by_host_and_a_port_of_its_own(url: str, host: str) -> None:
    assert urls.host_of(url) == host


_hosts = st.one_of(
    st.from_regex(r"[a-zA-Z0-9]{1,6}(\.[a-zA-Z0-9-]{1,6}){0,2}\.?", fullmatch=True),
    st.sampled_from(["BÜCHER.example", "127.0.0.1", "[::1]", "[2001:DB8::1]", "例え.example", "a%2Eexample", "xn--a"]),
)
_parts = st.lists(
    st.sampled_from(["a", "B", "~", "%7e", "%2e", "%2E", ".", "..", "/", "//", "%2f", "%", "%4", "é", "%C3", "+", " ",
                     "'", "&amp;", "=", ";", "@", ":", "*", "%25", "41", "|"])
).map("".join)  # fmt: skip
_urls = st.builds(
    lambda scheme, user, host, port, path, query, fragment: f"{scheme}://{user}{host}{port}{path}{query}{fragment}",
    st.sampled_from(["http", "https", "HTTP", "hTTps"]),
    st.sampled_from(["", "", "me@", "me:it@", "@"]),
    _hosts,
    st.sampled_from(["", "", ":", ":80", ":443", ":8080", ":0443"]),
    st.one_of(st.just(""), _parts.map("/".__add__)),
    st.one_of(st.just(""), _parts.map("?".__add__)),
    st.one_of(st.just(""), _parts.map("#".__add__)),
)


@given(st.one_of(_urls, st.text(), st.text().map("https://a.example/".__add__), st.text().map("https://".__add__)))
@example("https://a.example/%%41")
@example("https://a.example/%2%35")
def test_normalising_never_fails_and_doing_it_again_changes_nothing(url: str) -> None:
    normal = urls.normalise(url)
    assert urls.normalise(normal) == normal
    assert normal == "" or (normal.isascii() and normal.isprintable() and " " not in normal and "#" not in normal)
    assert bool(urls.host_of(url)) == bool(normal)


@given(_urls)
def test_the_normal_spelling_names_the_same_resource(url: str) -> None:
    normal = urls.normalise(url)
    if not normal:
        return
    was, now = urlsplit(url.strip()), urlsplit(normal)
    default = {"http": 80, "https": 443}
    assert now.scheme == was.scheme.lower()
    assert (now.port or default[now.scheme]) == (was.port or default[was.scheme])
    if now.hostname and now.hostname.isascii() and (was.hostname or "").isascii() and "%" not in was.netloc:
        assert now.hostname == (was.hostname or "").removesuffix(".")
    assert unquote(now.query) == unquote(was.query)
    path = was.path.replace("%2e", ".").replace("%2E", ".") or "/"
    if "//" not in path and ";" not in path:  # of which urllib's joins make less than there is
        assert unquote(now.path) == unquote(urlsplit(urljoin("http://a.example/", path)).path)


@given(_urls)
def test_what_articles_have_is_the_same_link_as_what_an_operator_types(url: str) -> None:
    clean = text.clean_url(url, "https://site.example/")
    if clean and "&" not in url and "[" not in url:  # entities are of HTML, and articles have no such addresses
        assert urls.normalise(clean) == urls.normalise(url)


RELATED: tuple[urls.Kind, ...] = ("related",)
OWN: tuple[urls.Kind, ...] = ("own",)
AMP: tuple[urls.Kind, ...] = ("amp",)
IMAGE: tuple[urls.Kind, ...] = ("image",)


def story(url: str, amp_url: str = "", image: str = "") -> model.Related:
    return model.Related("A story", url, amp_url=amp_url, images=(model.Image(image),) if image else ())


ARTICLE = model.Article(
    "A title", "https://own.example", "A summary", amp_url="https://amp.example/1", cdn_amp_url="https://cdn.example/1",
    images=(model.Image("https://images.example/1.png"),),
    related=(
        story("https://one.example/a#b", "https://amp.example/2", "https://images.example/2.png"),
        story(""), story("https://TWO.example/a"), story("https://one.example/a"), story("mailto:a@one.example"),
    ),
)  # fmt: skip
LINKS = ("https://one.example/a", "https://two.example/a")


def test_links_are_those_of_the_kinds_asked_for_each_once_and_in_order() -> None:
    assert urls.links_of(ARTICLE, ()) == ()
    assert urls.links_of(ARTICLE, RELATED) == LINKS
    assert urls.links_of(ARTICLE, frozenset(OWN)) == ("https://own.example/",)
    assert urls.links_of(ARTICLE, AMP) == (
        "https://amp.example/1", "https://cdn.example/1", "https://amp.example/2",
    )
    assert urls.links_of(ARTICLE, IMAGE) == ("https://images.example/1.png", "https://images.example/2.png")
    assert set(urls.links_of(ARTICLE, urls.KINDS)) == {
        link for kind in urls.KINDS for link in urls.links_of(ARTICLE, (kind,))
    }


def test_a_url_that_feedd_built_is_no_link() -> None:
    assert urls.links_of(model.Article("A", "https://site.example/a", "A", has_own_url=False), OWN) == ()


def test_an_article_with_forty_links_takes_tens_of_microseconds() -> None:
    """Forty at 1 us each as measured; the bound leaves room for a busy machine."""
    many = model.Article(
        "A", "https://own.example/", "A",
        related=tuple(story(f"https://www.news{i}.example/some/where/story-{i}.html?a={i}") for i in range(40)),
    )
    assert len(urls.links_of(many, RELATED)) == 40
    assert min(timeit.repeat(lambda: urls.links_of(many, RELATED), number=100, repeat=5)) / 100 < 0.000_4


hosts = st.from_regex(r"\A[a-z0-9-]{1,12}(\.[a-z0-9-]{1,8}){0,3}\Z")
ports = st.one_of(st.just(""), st.integers(0, 70_000).map(":{}".format))
tails = st.text("abAZ09/._~!$&()*+,;=:@-?#%", max_size=30)


@given(st.sampled_from(["http", "https"]), hosts, ports, tails)
def test_what_is_seen_to_be_normal_at_once_is_what_a_longer_look_makes_of_it(
    scheme: str, host: str, port: str, tail: str
) -> None:
    url = f"{scheme}://{host}{port}/{tail}"
    assert urls.normalise(url) == urls.normalise(" " + url)
