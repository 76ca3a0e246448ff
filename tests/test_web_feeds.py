"""Files of a real folder -> answers: types, tags, siblings, pages, links, caching, moved and gone; and the cache."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd.web import feeds, http, partial, shelf

NOW = 1_700_000_000.0
OLD_NS = 1_600_000_000 * 10**9
BROWSER = {b"accept": b"text/html,*/*;q=0.8", b"sec-fetch-dest": b"document"}
PUBLIC = "https://feeds.example"


def put(folder: Path, name: str, data: bytes = b"<feed/>", *, mtime_ns: int = OLD_NS, siblings: bool = False) -> None:
    """Writes as `outputs.write` does: another file takes the place of the old one."""
    packed = {"": data} | ({".gz": gzip.compress(data, mtime=0), ".br": brotli.compress(data)} if siblings else {})
    for suffix, content in packed.items():
        target = folder / (name + suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".tmp-{target.name}")
        temporary.write_bytes(content)
        os.utime(temporary, ns=(mtime_ns, mtime_ns))
        temporary.replace(target)


def get(
    served: feeds.Feeds, path: str, headers: dict[bytes, bytes] | None = None, *, method: str = "GET", now: float = NOW,
) -> http.Answer:
    path, _, query = path.partition("?")
    answer = served.answer(http.Request(method, path, query, headers or {}, "192.0.2.1"), now)
    assert answer is not None, path
    return answer


def none(served: feeds.Feeds, path: str, method: str = "GET") -> bool:
    return served.answer(http.Request(method, path, "", {}, "192.0.2.1"), NOW) is None


def header(answer: http.Answer, name: str) -> str | None:
    found = [value.decode() for key, value in answer.headers if key.decode() == name]
    assert len(found) < 2, name
    return found[0] if found else None


Make = Callable[..., feeds.Feeds]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(hooks: feeds.Hooks | None = None, max_bytes: int = 1 << 20, **policy: object) -> feeds.Feeds:
        given = {"public_url": PUBLIC, "hubs": ("https://hub.example/",)} | policy
        return feeds.Feeds(shelf.Shelf(str(tmp_path), max_bytes), feeds.Policy(**given), hooks)  # type: ignore[arg-type]

    return made


@pytest.mark.parametrize(("name", "expected"), [
    ("all.atom", "application/atom+xml; charset=utf-8"), ("all.rss", "application/rss+xml; charset=utf-8"),
    ("all.json", "application/feed+json"), ("feeds.opml", "text/x-opml; charset=utf-8"),
    ("all.html", "text/html; charset=utf-8"), ("style.css", "text/css; charset=utf-8"),
    ("search.js", "text/javascript; charset=utf-8"), ("icon.svg", "image/svg+xml"), ("robots.txt",
    "text/plain; charset=utf-8"), ("icon.png", "image/png"),
])
def test_types_are_exact(tmp_path: Path, make: Make, name: str, expected: str) -> None:
    put(tmp_path, name, b"x")
    answer = get(make(), "/" + name)
    assert (answer.status, answer.body, header(answer, "content-type")) == (200, b"x", expected)
    assert header(answer, "x-content-type-options") == "nosniff"
    assert header(answer, "content-length") == "1"
    assert header(answer, "accept-ranges") == "none"


def test_each_coding_has_bytes_and_a_strong_tag_of_its_own(tmp_path: Path, make: Make) -> None:
    data = b"<feed>" + b"a" * 999
    put(tmp_path, "all.atom", data, siblings=True)
    served = make()
    plain, packed, small = (get(served, "/all.atom", {b"accept-encoding": x}) for x in (b"", b"gzip", b"br, gzip"))
    assert (plain.body, gzip.decompress(packed.body), brotli.decompress(small.body)) == (data, data, data)
    assert [header(x, "content-encoding") for x in (plain, packed, small)] == [None, "gzip", "br"]
    tags = [header(x, "etag") or "" for x in (plain, packed, small)]
    assert len(set(tags)) == 3 and all(tag[0] == tag[-1] == '"' for tag in tags)
    for answer in (plain, packed, small):
        assert header(answer, "vary") == "Accept-Encoding"
        assert header(answer, "last-modified") == "Sun, 13 Sep 2020 12:26:40 GMT"
        assert header(answer, "content-length") == str(len(answer.body))
    assert get(served, "/all.atom", {b"accept-encoding": b"gzip", b"if-none-match": tags[1].encode()}).status == 304
    assert get(served, "/all.atom", {b"if-none-match": tags[1].encode()}).status == 200


def test_tags_hang_on_bytes_alone(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "a.atom", b"same")
    put(tmp_path, "b.atom", b"same", mtime_ns=OLD_NS + 10**9)
    assert header(get(make(), "/a.atom"), "etag") == header(get(make(), "/b.atom"), "etag")


def test_a_sibling_of_another_time_is_not_served(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "all.atom", b"old", siblings=True)
    served = make()
    accept = {b"accept-encoding": b"gzip, br"}
    assert header(get(served, "/all.atom", accept), "content-encoding") == "br"
    put(tmp_path, "all.atom", b"new", mtime_ns=OLD_NS + 1)
    answer = get(served, "/all.atom", accept)
    assert (answer.body, header(answer, "content-encoding")) == (b"new", None)
    put(tmp_path, "all.atom", b"new", mtime_ns=OLD_NS + 1, siblings=True)
    assert header(get(served, "/all.atom", accept), "content-encoding") == "br"


def test_a_new_file_is_served_at_once_whatever_its_time_and_size(tmp_path: Path, make: Make) -> None:
    served = make()
    for number in range(50):
        put(tmp_path, "all.atom", b"%03d" % number)
        assert get(served, "/all.atom").body == b"%03d" % number


def test_304_and_head_have_the_headers_of_a_200_and_no_body(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "all.atom", b"x" * 50, siblings=True)
    served = make()
    whole = get(served, "/all.atom")
    head = get(served, "/all.atom", method="HEAD")
    assert (head.status, head.headers, head.body) == (200, whole.headers, b"")
    for condition in (
        {b"if-none-match": (header(whole, "etag") or "").encode()}, {b"if-none-match": b"*"},
        {b"if-modified-since": (header(whole, "last-modified") or "").encode()},
    ):
        for method in ("GET", "HEAD"):
            brief = get(served, "/all.atom", condition, method=method)
            assert (brief.status, brief.body) == (304, b"")
            assert set(brief.headers) <= set(whole.headers)
            assert {key for key, _ in set(whole.headers) - set(brief.headers)} == {b"content-type", b"content-length"}
    assert get(served, "/all.atom", {b"if-match": b'"other"'}).status == 412


def test_no_coding_that_is_accepted_is_406(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "all.atom")
    assert get(make(), "/all.atom", {b"accept-encoding": b"identity;q=0"}).status == 406
    assert get(make(), "/all.atom", {b"accept-encoding": b"br"}).status == 200


def test_links_name_self_hub_and_the_formats_that_there_are(tmp_path: Path, make: Make) -> None:
    for name in ("topics/c é.atom", "topics/c é.json", "topics/c é.html", "topics/other.rss"):
        put(tmp_path, name)
    base = "https://feeds.example/topics/c%20%C3%A9"
    served = make()
    assert header(get(served, "/topics/c%20%c3%a9.atom?x=1"), "link") == (
        f'<{base}.atom>; rel="self", <https://hub.example/>; rel="hub", '
        f'<{base}.json>; rel="alternate"; type="application/feed+json", '
        f'<{base}.html>; rel="alternate"; type="text/html"'
    )
    assert header(get(served, "/topics/c%20%c3%a9.html"), "link") == (
        f'<{base}.atom>; rel="alternate"; type="application/atom+xml", '
        f'<{base}.json>; rel="alternate"; type="application/feed+json"'
    )
    assert header(get(make(hubs=()), "/topics/other.rss"), "link") == (
        '<https://feeds.example/topics/other.rss>; rel="self"'
    )


def test_the_site_itself_is_its_index_with_links_to_the_main_feed(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "index.html", b"<p>")
    put(tmp_path, "all.atom")
    answer = get(make(), "/")
    assert (answer.body, header(answer, "cache-control")) == (b"<p>", "no-cache")
    assert header(answer, "link") == '<https://feeds.example/all.atom>; rel="alternate"; type="application/atom+xml"'


def test_formats_that_come_later_are_linked_soon(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "all.atom")
    served = make()
    assert "rss" not in str(header(get(served, "/all.atom"), "link"))
    put(tmp_path, "all.rss")
    assert "all.rss" in str(header(get(served, "/all.atom", now=NOW + 1), "link"))


def test_archives_are_immutable_once_there_is_a_later_one(tmp_path: Path, make: Make) -> None:
    for name in ("all.atom", "archives/all/1.atom", "archives/all/2.atom"):
        put(tmp_path, name)
    served = make(max_age_s=300)
    assert header(get(served, "/all.atom"), "cache-control") == "public, max-age=300"
    assert header(get(served, "/archives/all/1.atom"), "cache-control") == "public, max-age=31536000, immutable"
    assert header(get(served, "/archives/all/2.atom"), "cache-control") == "public, max-age=300"
    put(tmp_path, "archives/all/3.atom")
    assert "immutable" in str(header(get(served, "/archives/all/2.atom", now=NOW + 2), "cache-control"))
    assert "hub" not in str(header(get(served, "/archives/all/2.atom"), "link"))


def test_a_browser_gets_the_page_at_the_feeds_own_address(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "topics/ai.atom", b"feed")
    put(tmp_path, "topics/ai.html", b"page", siblings=True)
    put(tmp_path, "plain.atom", b"feed")
    served = make()
    page, feed = get(served, "/topics/ai.atom", BROWSER), get(served, "/topics/ai.atom")
    assert (page.body, feed.body) == (b"page", b"feed")
    assert header(page, "content-type") == "text/html; charset=utf-8"
    assert header(page, "content-location") == "https://feeds.example/topics/ai.html"
    assert header(page, "vary") == header(feed, "vary") == "Accept-Encoding, Accept, Sec-Fetch-Dest"
    assert header(page, "cache-control") == "no-cache"
    assert 'topics/ai.atom>; rel="alternate"' in str(header(page, "link"))
    assert header(page, "etag") != header(feed, "etag")
    tag = (header(page, "etag") or "").encode()
    again = get(served, "/topics/ai.atom", BROWSER | {b"if-none-match": tag})
    assert again.status == 304 and header(again, "content-location") == header(page, "content-location")
    assert get(served, "/topics/ai.atom", {b"if-none-match": tag}).status == 200
    assert get(served, "/topics/ai.atom", BROWSER | {b"accept-encoding": b"br"}).body == brotli.compress(b"page")
    for reader in ({b"accept": BROWSER[b"accept"]}, {b"accept": b"*/*", b"sec-fetch-dest": b"document"}):
        assert get(served, "/topics/ai.atom", reader).body == b"feed"
    lone = get(served, "/plain.atom", BROWSER)
    assert (lone.body, header(lone, "vary")) == (b"feed", "Accept-Encoding")


def test_pages_are_confined_and_feeds_are_for_everyone(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "all.html")
    put(tmp_path, "all.atom")
    page, feed = get(make(), "/all.html"), get(make(), "/all.atom")
    policy = str(header(page, "content-security-policy"))
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert header(page, "referrer-policy") == "no-referrer"
    assert header(page, "access-control-allow-origin") is None
    assert header(feed, "access-control-allow-origin") == "*"
    assert header(feed, "content-security-policy") is None
    assert header(get(make(cors=False), "/all.atom"), "access-control-allow-origin") is None


def test_other_methods(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "all.atom")
    served = make()
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = get(served, "/all.atom", method=method)
        assert (answer.status, header(answer, "allow")) == (405, "GET, HEAD, OPTIONS")
    asked = get(served, "/all.atom", method="OPTIONS")
    assert (asked.status, asked.body, header(asked, "allow")) == (200, b"", "GET, HEAD, OPTIONS")
    assert header(asked, "access-control-allow-headers") == "If-None-Match, If-Modified-Since, A-IM"
    assert none(served, "/nothing.atom", "POST") and none(served, "/nothing.atom", "OPTIONS")


def test_moved_and_gone_are_asked_for_only_where_no_file_is(tmp_path: Path, make: Make) -> None:
    places = {"topics/old.atom": "topics/n ew.atom", "topics/gone.atom": "", "all.atom": "wrong.atom"}
    put(tmp_path, "all.atom")
    served = make(whereabouts=places.get)
    moved = get(served, "/topics/old.atom?a=b")
    assert (moved.status, header(moved, "location")) == (301, "https://feeds.example/topics/n%20ew.atom?a=b")
    assert get(served, "/topics/gone.atom").status == 410
    assert get(served, "/all.atom").status == 200
    assert none(served, "/topics/unknown.atom")
    page = get(served, "/topics/gone.atom", BROWSER)
    assert header(page, "content-type") == "text/html; charset=utf-8" and b"<h1>410 Gone" in page.body
    assert b'href="../index.html#search"' in page.body
    assert (header(page, "vary"), header(page, "cache-control")) == ("Accept", "public, max-age=600")
    refused = get(served, "/all.atom", BROWSER, method="POST")
    assert b"<h1>405 Method Not Allowed" in refused.body and header(refused, "allow") == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", [
    "/../secret.txt", "/a/../../secret.txt", "/%2e%2e/secret.txt", "/%2E%2E%2Fsecret.txt", "/..%2fsecret.txt",
    "/..%5csecret.txt", "/..\\secret.txt", "/.hidden.txt", "/a/.hidden.txt", "/.tmp/x.txt", "/%00all.txt",
    "/all.txt%00.txt", "//all.txt", "/a//b.txt", "/all.txt/", "/./all.txt", "/a/./b.txt", "/%252e%252e/secret.txt",
    "/%ff.txt", "all.txt", "", "*", "/all.txt.gz", "/all.sqlite", "/a", "/a/", "/link.txt", "/linked/secret.txt",
    "/folder.txt", "/pipe.txt", "/" + "a" * 300 + ".txt", "/" + "a/" * 2500 + ".txt", "/all.txt%0a.txt",
])
def test_nothing_but_files_of_ours_is_served(tmp_path: Path, path: str) -> None:
    out = tmp_path / "out"
    for name in ("all.txt", "a/b.txt", ".hidden.txt", "a/.hidden.txt", ".tmp/x.txt", "all.sqlite", "all.txt.gz"):
        put(out, name)
    put(tmp_path, "secret.txt", b"secret")
    (out / "link.txt").symlink_to(tmp_path / "secret.txt")
    (out / "linked").symlink_to(tmp_path)
    (out / "folder.txt").mkdir()
    os.mkfifo(out / "pipe.txt")
    served = feeds.Feeds(shelf.Shelf(str(out)), feeds.Policy(PUBLIC))
    assert none(served, path)
    assert none(served, path, "POST")
    assert get(served, "/a/b%2Etxt").status == 200


@given(st.text("abé./%\\\0 2eEfF5cC", max_size=30))
def test_a_confined_name_stays_below_the_folder(path: str) -> None:
    name = shelf.confine("/" + path)
    if name is not None:
        assert os.path.normpath(name) == name
        assert not name.startswith(("/", ".")) and "/." not in name and "\\" not in name and "\0" not in name


def test_the_cache_keeps_to_its_size_and_serves_what_it_dropped(tmp_path: Path) -> None:
    kept = shelf.Shelf(str(tmp_path), 100_000)
    for number in range(300):
        put(tmp_path, f"{number}.txt", b"%04d" % number * 500)
    for _ in range(2):
        for number in range(300):
            item = kept.find(f"/{number}.txt")
            assert item is not None and item.data == b"%04d" % number * 500
            assert kept.size <= 100_000
    assert kept.size > 50_000


def test_a_file_that_is_too_large_for_the_cache_is_served_all_the_same(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "all.atom", b"x" * 50_000)
    served = make(max_bytes=1000)
    for _ in range(2):
        assert len(get(served, "/all.atom").body) == 50_000
    assert served.shelf.size < 20_000


def test_what_is_held_is_looked_at_once_and_what_was_replaced_again(tmp_path: Path) -> None:
    kept = shelf.Shelf(str(tmp_path), 1000)  # so that bodies are not kept
    put(tmp_path, "all.txt", b"old" * 200)
    kept.hold()
    before = kept.look("all.txt")
    put(tmp_path, "all.txt", b"new" * 200)
    assert before is not None and kept.look("all.txt") is before
    assert kept.read(before) is None
    item = kept.find("/all.txt")
    assert item is not None and item.data == b"new" * 200
    kept.release()
    item = kept.find("/all.txt")
    assert item is not None and item.data == b"new" * 200


def test_hooks_hear_of_instances_deltas_and_answers(tmp_path: Path, make: Make) -> None:
    noted: list[tuple[object, ...]] = []
    seen: list[tuple[str, int, int]] = []
    put(tmp_path, "all.atom", b"first" * 9, siblings=True)
    served = make(feeds.Hooks(
        noted=lambda *instance: noted.append(instance),
        delta=lambda name, etags, data, fmt: b"delta" if etags == ('"known"',) else None,
        seen=lambda request, answer, size: seen.append((request.path, answer.status, size)),
    ))
    accept = {b"accept-encoding": b"gzip"}
    whole = get(served, "/all.atom", accept)
    get(served, "/all.atom", accept)
    tags = [header(get(served, "/all.atom", {b"accept-encoding": x}), "etag") for x in (b"", b"gzip", b"br")]
    assert set(noted) == {("all.atom", tuple(tags), b"first" * 9, "atom")}
    brief = get(served, "/all.atom", accept | {b"a-im": b"feed", b"if-none-match": b'"known"'})
    assert (brief.status, brief.body, header(brief, "im")) == (226, b"delta", "feed")
    assert header(brief, "etag") == header(whole, "etag")
    assert header(brief, "cache-control") == "no-store, im"
    assert header(brief, "content-length") == "5" and header(brief, "content-encoding") is None
    assert "A-IM" in str(header(brief, "vary"))
    for other in ({b"a-im": b"feed"}, {b"a-im": b"feed", b"if-none-match": b'"unknown"'},
                  {b"a-im": b"feed;q=0", b"if-none-match": b'"known"'}, {b"if-none-match": b'"known"'}):
        assert get(served, "/all.atom", other).status == 200
    assert get(served, "/all.atom", {b"a-im": b"feed", b"if-none-match": str(tags[0]).encode()}).status == 304
    assert seen[0] == ("/all.atom", 200, 45) and seen[-1] == ("/all.atom", 304, 45)


@pytest.mark.parametrize(("path", "formats", "place"), [
    ("/feed", "atom rss json", "all.atom"), ("/feed/", "atom rss json", "all.atom"),
    ("/index.xml", "atom rss json", "all.atom"), ("/feeds/", "atom rss json", "all.atom"),
    ("/rss", "atom rss json", "all.rss"), ("/feed.rss", "atom rss json", "all.rss"),
    ("/feed.json", "atom rss json", "all.json"), ("/feed", "rss json", "all.rss"), ("/rss/", "atom json", "all.atom"),
    ("/atom.xml", "json", "all.json"), ("/feed.json", "rss", "all.rss"),
])
def test_a_guess_is_led_to_the_feed_of_everything(
    tmp_path: Path, make: Make, path: str, formats: str, place: str
) -> None:
    for fmt in formats.split():
        put(tmp_path, f"all.{fmt}")
    served = make()
    for method in ("GET", "HEAD"):
        answer = get(served, f"{path}?a=b", method=method)
        assert (answer.status, header(answer, "location")) == (301, f"{PUBLIC}/{place}?a=b")
        assert header(answer, "cache-control") == "public, max-age=600"
    assert none(served, path, "POST")


def test_a_guess_takes_nothing_from_what_is_there_or_moved(tmp_path: Path, make: Make) -> None:
    served = make(whereabouts=lambda name: {"feed.rss": "topics/ai.rss", "feed.json": ""}.get(name))
    assert none(served, "/feed") and none(served, "/rss.xml")  # there is no feed of everything
    put(tmp_path, "all.atom")
    put(tmp_path, "index.atom", b"mine")
    assert (get(served, "/index.atom").status, get(served, "/index.atom").body) == (200, b"mine")
    assert header(get(served, "/feed.rss"), "location") == f"{PUBLIC}/topics/ai.rss"
    assert get(served, "/feed.json").status == 410
    for path in ("/FEED", "/feed//", "//feed", "/feed.atom.gz", "/feeds/x", "/topics/feed", "/.feed", "/%66eed", ""):
        assert none(served, path), path


def test_the_well_known_list_is_the_opml_file(tmp_path: Path, make: Make) -> None:
    served, path = make(), "/.well-known/feeds"
    assert none(served, path)
    put(tmp_path, "feeds.opml", b"<opml/>" * 99, siblings=True)
    for accept in (b"", b"gzip", b"br"):
        found, own = (get(served, where, {b"accept-encoding": accept}) for where in (path, "/feeds.opml"))
        assert (found.status, found.headers, found.body) == (200, own.headers, own.body)
        assert header(found, "content-type") == "text/x-opml; charset=utf-8"
        assert header(found, "link") == f'<{PUBLIC}/feeds.opml>; rel="self"'
    assert get(served, path, {b"if-none-match": str(header(get(served, path), "etag")).encode()}).status == 304
    assert get(served, path, method="POST").status == 405
    for other in ("/.well-known/feeds/", "/.well-known/", "/.well-known/feeds.opml", "/.well-known/host-meta"):
        assert none(served, other), other


def deltas(name: str, etags: tuple[str, ...], data: bytes, fmt: str) -> bytes | None:
    """A maker of deltas that knows one tag, `"<length>"`, and gives so many bytes of the feed for it."""
    length = etags[0].strip('"')
    return data[: int(length)] if length.isdigit() else None


def compress(data: bytes, coding: str) -> bytes:
    return gzip.compress(data, mtime=0) if coding == "gzip" else bytes(brotli.compress(data))


def text_of(answer: http.Answer) -> bytes:
    """The body as a client sees it."""
    unpack = {"gzip": gzip.decompress, "br": brotli.decompress}.get(header(answer, "content-encoding") or "", bytes)
    return bytes(unpack(answer.body))


WORDS = " ".join(f"word {n * 7919 % 1000}" for n in range(40_000)).encode()  # 350 kB


@pytest.mark.parametrize("coding", ["", "gzip", "br"])
def test_a_delta_comes_in_the_coding_of_the_whole_feed(tmp_path: Path, make: Make, coding: str) -> None:
    put(tmp_path, "all.atom", WORDS, siblings=True)
    served = make(feeds.Hooks(delta=deltas, compress=compress))
    accept = {b"accept-encoding": coding.encode()}
    whole = get(served, "/all.atom", accept)
    ask = accept | {b"a-im": b"feed", b"if-none-match": b'"9000"'}
    for _ in range(2):  # made, and kept
        brief = get(served, "/all.atom", ask)
        assert (brief.status, text_of(brief)) == (226, WORDS[:9000])
        assert header(brief, "content-encoding") == header(whole, "content-encoding") == (coding or None)
        assert header(brief, "etag") == header(whole, "etag")
        assert header(brief, "content-length") == str(len(brief.body))
        assert header(brief, "vary") == "Accept-Encoding, A-IM, If-None-Match"
        assert len(brief.body) < 3500 or not coding
    head = get(served, "/all.atom", ask, method="HEAD")
    assert (head.headers, head.body) == (brief.headers, b"")
    assert get(served, "/all.atom", ask | {b"if-none-match": str(header(brief, "etag")).encode()}).status == 304


def test_a_delta_is_never_longer_than_the_whole_feed(tmp_path: Path, make: Make) -> None:
    put(tmp_path, "all.atom", WORDS, siblings=True)
    with_gzip = {b"accept-encoding": b"gzip", b"a-im": b"feed"}
    for compressing in (None, compress):
        served = make(feeds.Hooks(delta=deltas, compress=compressing))
        size = len(get(served, "/all.atom", {b"accept-encoding": b"gzip"}).body)
        for length in (10, 20_000, partial.MOST_BYTES, partial.MOST_BYTES + 1, len(WORDS)):
            for _ in range(2):
                answer = get(served, "/all.atom", with_gzip | {b"if-none-match": b'"%d"' % length})
                assert answer.status == (226 if len(answer.body) < size else 200)
                assert text_of(answer) == (WORDS[:length] if answer.status == 226 else WORDS)
                is_small = length <= partial.MOST_BYTES if compressing else length < size
                assert (answer.status == 226) == is_small
    tiny = get(served, "/all.atom", with_gzip | {b"if-none-match": b'"10"'})
    assert header(tiny, "content-encoding") is None  # it would only have grown


def test_a_delta_is_made_once_for_all_who_come_from_the_same_instance(tmp_path: Path, make: Make) -> None:
    made: list[str] = []

    def counted(name: str, etags: tuple[str, ...], data: bytes, fmt: str) -> bytes | None:
        made.append(etags[0])
        return deltas(name, etags, data, fmt)

    def ask(tag: str, coding: bytes = b"gzip", path: str = "/all.atom") -> bytes:
        answer = get(served, path, {
            b"accept-encoding": coding, b"a-im": b"feed", b"if-none-match": f'"{tag}"'.encode(),
        })
        assert answer.status == 226
        return text_of(answer)

    put(tmp_path, "all.atom", WORDS, siblings=True)
    served = make(feeds.Hooks(delta=counted, compress=compress), 8 << 20)
    for _ in range(3):
        assert {ask("700"), ask("700", b"br")} == {WORDS[:700]}
    assert made == ['"700"'] * 2
    put(tmp_path, "all.atom", WORDS[::-1], mtime_ns=OLD_NS + 10**9, siblings=True)
    assert ask("700") == WORDS[::-1][:700] and len(made) == 3
    for length in range(800, 1000):  # many go, and what is forgotten is made again
        ask(str(length))
    assert ask("700") == WORDS[::-1][:700] and len(made) == 204
    assert ask("300000", b"") == ask("300000", b"") and len(made) == 206  # too large to be kept


def test_a_reader_that_hammers_is_told_to_wait_and_pages_are_not(tmp_path: Path, make: Make) -> None:
    asked: list[tuple[object, ...]] = []

    def throttle(*what: object) -> float:
        asked.append(what)
        return 0.0 if what[2] else 12.3

    put(tmp_path, "all.atom")
    put(tmp_path, "all.html")
    served = make(feeds.Hooks(throttle=throttle))
    slowed = get(served, "/%61ll.atom", {b"user-agent": b"Reader/1"})
    assert (slowed.status, header(slowed, "retry-after"), header(slowed, "cache-control")) == (429, "13", "no-store")
    assert asked == [("192.0.2.1", "all.atom", False, "Reader/1", NOW)]
    assert get(served, "/all.atom", {b"if-none-match": b'"x"'}).status == 200
    assert get(served, "/all.html").status == 200
    assert get(served, "/all.atom", BROWSER).status == 200


def test_a_count_that_fails_costs_no_answer(tmp_path: Path, make: Make) -> None:
    def fails(*_: object) -> None:
        raise ValueError

    put(tmp_path, "all.atom")
    import structlog.testing

    with structlog.testing.capture_logs() as lines:
        assert get(make(feeds.Hooks(seen=fails)), "/all.atom").status == 200
    assert [line["event"] for line in lines] == ["an answer could not be counted"]
