"""The daemon from end to end, as subscribers, browsers, operators and hubs have it: over HTTP, through restarts."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import http.server
import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urljoin, urlsplit
from xml.etree import ElementTree

import brotli
import feedparser
import pytest
from newsroom import article, tree
from processes import DEADLINE_S, Daemon, Site, until

from feedd import notify

FORMATS = ("atom", "rss", "json")
TYPES = {
    "atom": "application/atom+xml; charset=utf-8", "rss": "application/rss+xml; charset=utf-8",
    "json": "application/feed+json",
}
BROWSER = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
}
TOKEN = "a-token-of-a-test-4711"


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def links(self) -> list[tuple[str, str, str]]:
        """Address, relation and type of each `Link` (RFC 8288)."""
        said = ", ".join(self.headers.get_all("Link", []))
        return [
            (url, rel, type_) for url, rel, type_ in re.findall(r'<([^>]*)>; rel="([^"]*)"(?:; type="([^"]*)")?', said)
        ]


def ask(port: int, path: str, **headers: str) -> Answer:
    """One request, on a connection of its own; underscores in names of headers are hyphens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Host": f"127.0.0.1:{port}", **given}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def site_at(folder: Path, port: int, **tables: Mapping[str, Any]) -> Site:
    """A site whose feeds say that they are where they are served."""
    own = {"port": port, **tables.pop("server", {})}
    return Site(folder, server=own, site={"public_url": f"http://127.0.0.1:{port}"}, **tables)


@pytest.fixture
def port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def fill(site: Site) -> None:
    """Two articles that share no feed but the one of all."""
    site.put("one.md", article("One", topics=["AI", "Dünen & Watt"]))
    site.put("two.md", article(
        "Two", topics=["Tides"], category="essays", provider={"name": "Harbour Post", "domain": "harbourpost.example"}
    ))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that serves two articles; tests change nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    site = site_at(tmp_path_factory.mktemp("served"), port)
    fill(site)
    with site.running() as feedd:
        until(site.is_written, "everything is written")
        yield feedd


# --- how feeds are found ----------------------------------------------------------------------------------------------


class Finder(HTMLParser):
    """What readers do with the address of a site: the feeds that its page links to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        if tag == "link" and "alternate" in (own.get("rel") or "").split():
            self.found.append((own.get("type") or "", own.get("href") or ""))


@pytest.mark.parametrize(("page", "feed"), [("/", "all"), ("/all.html", "all"), ("/topics/ai.html", "topics/ai")])
def test_a_reader_finds_feeds_from_the_address_of_a_page(served: Daemon, page: str, feed: str) -> None:
    url = f"http://127.0.0.1:{served.port}"
    status, headers, body = ask(served.port, page)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    found = [(type_, urljoin(url + page, href)) for type_, href in Finder(body.decode()).found]
    own = [(TYPES[fmt].partition(";")[0], f"{url}/{feed}.{fmt}") for fmt in FORMATS]
    assert [link for link in found if link in own] == own
    for type_, href in found:
        answer = ask(served.port, href.removeprefix(url))
        assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, type_)
        if not href.endswith(".json"):
            found = feedparser.parse(answer.body)
            assert (found.bozo, bool(found.entries)) == (0, True)


def test_the_list_of_feeds_names_all_and_all_are_there(served: Daemon) -> None:
    status, headers, body = ask(served.port, "/feeds.opml")
    assert (status, headers["Content-Type"]) == (200, "text/x-opml; charset=utf-8")
    outlines = [x for x in ElementTree.fromstring(body).iter("outline") if "xmlUrl" in x.attrib]
    names = [urlsplit(x.attrib["xmlUrl"]).path for x in outlines]
    assert len(set(names)) == len(names)
    bases = {re.sub(r"\.(?:json|atom|rss)$", "", str(path.relative_to(served.site.out)))
             for fmt in FORMATS for path in served.site.out.rglob(f"*.{fmt}")}
    assert len(bases) == 8  # all, three topics, two providers, two categories
    assert {re.sub(r"\.\w+$", "", name) for name in names} == {"/" + quote(base) for base in bases}
    for outline in outlines:
        url = outline.attrib["xmlUrl"]
        assert url.startswith(f"http://127.0.0.1:{served.port}/")
        assert ask(served.port, urlsplit(url).path).status == 200
        found = feedparser.parse(url)
        assert (found.status, found.bozo, found.feed.title) == (200, 0, outline.attrib["title"])


def test_who_guesses_finds_feeds_too(served: Daemon) -> None:
    assert ask(served.port, "/.well-known/feeds").body == ask(served.port, "/feeds.opml").body
    url = f"http://127.0.0.1:{served.port}"
    for guess, feed in (("feed/", "all.atom"), ("rss.xml", "all.rss"), ("index.xml", "all.atom")):
        found = feedparser.parse(f"{url}/{guess}")
        assert (found.status, found.href, found.bozo, len(found.entries)) == (301, f"{url}/{feed}", 0, 2)


@pytest.mark.parametrize("feed", ["all", "topics/ai", "providers/harbourpost.example"])
@pytest.mark.parametrize("fmt", FORMATS)
def test_a_feeds_own_address_is_a_page_to_a_browser_only(served: Daemon, feed: str, fmt: str) -> None:
    path = f"/{feed}.{fmt}"
    data, page = ((served.site.out / f"{feed}.{end}").read_bytes() for end in (fmt, "html"))
    status, headers, body = ask(served.port, path, **BROWSER)
    assert (status, headers["Content-Type"], body) == (200, "text/html; charset=utf-8", page)
    varies = {name.strip().lower() for name in headers["Vary"].split(",")}
    assert varies >= {"accept", "sec-fetch-dest"}
    readers: list[dict[str, str]] = [
        {}, {"Accept": "*/*"}, {"Accept": BROWSER["Accept"]}, {"Sec-Fetch-Dest": "document"},
        {**BROWSER, "Sec-Fetch-Dest": "empty"},
        {**BROWSER, "Accept": f"{TYPES[fmt].partition(';')[0]}, text/html;q=0.5"},
    ]
    for reader in readers:
        answer = ask(served.port, path, **reader)
        assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, TYPES[fmt], data), reader
        assert answer.headers["Vary"] == headers["Vary"]
        assert answer.headers["ETag"] != headers["ETag"]
    again = ask(served.port, path, **BROWSER, If_None_Match=headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert ask(served.port, path, If_None_Match=headers["ETag"]).status == 200


def test_links_lead_to_the_other_formats_and_back(served: Daemon) -> None:
    root = f"http://127.0.0.1:{served.port}"
    for feed in ("all", "topics/ai", "categories/essays"):
        for fmt in FORMATS:
            links = ask(served.port, f"/{feed}.{fmt}").links
            assert [url for url, rel, _ in links if rel == "self"] == [f"{root}/{feed}.{fmt}"]
            others = [(url, type_) for url, rel, type_ in links if rel == "alternate"]
            assert sorted(url for url, _ in others) == sorted(
                f"{root}/{feed}.{end}" for end in (*FORMATS, "html") if end != fmt
            )
            for url, type_ in others:
                assert ask(served.port, url.removeprefix(root)).headers["Content-Type"].partition(";")[0] == type_
            assert not [link for link in links if link[1] == "hub"]


def test_a_date_is_told_only_once_it_can_tell_states_apart(tmp_path: Path, port: int) -> None:
    # libcurl drops a feed whose Last-Modified is the one that it has, whatever its ETag: an edit would be lost to it.
    site = site_at(tmp_path, port, server={"full_fetches_per_hour": 0})
    dated: dict[str, bytes] = {}
    with site.running():
        for number in range(12):
            site.put("one.md", article(f"Story {number}"))
            until(lambda title=f"Story {number}": site.titles() == [title], "the edit is published")
            until(site.is_written, "everything is written")
            answer = ask(port, "/all.atom")
            assert answer.headers["ETag"]
            if at := answer.headers["Last-Modified"]:
                assert parsedate_to_datetime(answer.headers["Date"]) > parsedate_to_datetime(at)
                assert dated.setdefault(at, answer.body) == answer.body
        at = until(lambda: ask(port, "/all.atom").headers["Last-Modified"], "its second is over")
        assert ask(port, "/all.atom", If_Modified_Since=at).status == 304


# --- feeds that moved or went -----------------------------------------------------------------------------------------


def test_a_feed_that_moved_is_followed(tmp_path: Path, port: int) -> None:
    site = site_at(
        tmp_path, port, server={"redirects": ["topics/old -> topics/ai", "feeds/gone -> all"]}, feeds={"limit": 1}
    )
    for number in range(3):
        site.put(f"{number}.md", article(f"Story {number}"))
    with site.running():
        until(site.is_written, "everything is written")
        for ending in (*FORMATS, "html"):
            answer = ask(port, f"/topics/old.{ending}")
            assert (answer.status, answer.headers["Location"]) == (301, f"http://127.0.0.1:{port}/topics/ai.{ending}")
        answer = ask(port, "/archives/topics/old/1.rss?from=reader")
        assert answer.headers["Location"] == f"http://127.0.0.1:{port}/archives/topics/ai/1.rss?from=reader"
        assert ask(port, "/archives/topics/ai/1.rss").status == 200
        found = feedparser.parse(f"http://127.0.0.1:{port}/feeds/gone.atom")
        assert (found.status, found.href) == (301, f"http://127.0.0.1:{port}/all.atom")
        assert len(found.entries) == 1
        assert ask(port, "/topics/older.atom").status == 404


def test_only_what_configuration_took_away_is_gone(tmp_path: Path, port: int) -> None:
    site = site_at(tmp_path, port)
    fill(site)
    topics = [f"/topics/{name}.{ending}" for name in ("ai", "tides") for ending in FORMATS]
    with site.running():
        assert {ask(port, path).status for path in topics} == {200}
    server, about = {"port": port}, {"public_url": f"http://127.0.0.1:{port}"}
    site.configure(server=server, site=about, feeds={"topics": False})
    with site.running():
        assert {ask(port, path).status for path in topics} == {410}
        for path in ("/topics/never.atom", "/providers/never.example.rss", "/never.json", "/feeds/never.atom"):
            assert ask(port, path).status == 404
        until(site.is_written, "everything is written")
        for fmt in FORMATS:
            for file in (site.out / "providers").glob(f"source.example.{fmt}*"):
                file.unlink()  # by hand, and by mistake: readers must not unsubscribe
            assert ask(port, f"/providers/source.example.{fmt}").status == 404
        assert b"topics/" not in ask(port, "/feeds.opml").body
    site.configure(server=server, site=about)
    with site.running():
        assert {ask(port, path).status for path in topics} == {200}
        assert {ask(port, f"/providers/source.example.{fmt}").status for fmt in FORMATS} == {200}
    site.check()


# --- who may see what -------------------------------------------------------------------------------------------------

STATUS = ("/-/", "/-/status.json", "/-/problems.json", "/-/feeds.json", "/-/changes.json", "/-/problems.atom")


def test_the_status_is_for_this_machine(served: Daemon) -> None:
    for path in STATUS:
        assert ask(served.port, path).status == 200
        assert ask(served.port, path, Host="localhost").status == 200
        for stranger in (
            {"Host": "feeds.example"}, {"X_Forwarded_For": "192.0.2.1"}, {"Forwarded": "for=192.0.2.1"},
            {"X_Real_IP": "127.0.0.1"}, {"Via": "1.1 proxy"},
        ):
            assert ask(served.port, path, **stranger).status == 404
    rows = json.loads(ask(served.port, "/-/feeds.json").body)
    assert (rows["total"], len(rows["feeds"])) == (8, 8)
    assert ask(served.port, "/-/nothing").status == 404


def test_what_is_not_there_is_told_to_people_as_a_page_and_to_others_in_a_line(served: Daemon) -> None:
    browser, other = ask(served.port, "/nope.html", **BROWSER), ask(served.port, "/nope.html")
    assert (browser.status, other.status) == (404, 404)
    assert browser.headers["Content-Type"].startswith("text/html") and b"There is nothing here" in browser.body
    assert other.headers["Content-Type"].startswith("text/plain") and b"There is nothing here" in other.body


def test_with_a_token_the_status_is_for_who_has_it(tmp_path: Path, port: int) -> None:
    site = site_at(tmp_path, port, server={"status": "token", "token": TOKEN})
    with site.running() as feedd:
        basic = base64.b64encode(f"me:{TOKEN}".encode()).decode()
        for path in STATUS:
            refused = ask(port, path)
            assert (refused.status, "Bearer" in refused.headers["WWW-Authenticate"]) == (401, True)
            assert ask(port, path, Authorization=f"Bearer {TOKEN}x").status == 401
            for right in (f"Bearer {TOKEN}", f"Basic {basic}"):
                assert ask(port, path, Authorization=right, X_Forwarded_For="192.0.2.1").status == 200
        assert ask(port, f"/-/problems.atom?token={TOKEN}").status == 200
        assert ask(port, "/readyz").status == 200
    assert TOKEN not in json.dumps(feedd.lines)


@pytest.mark.parametrize("server", [{"status": "off"}, {"host": "0.0.0.0"}])
def test_a_status_that_is_nobodys(tmp_path: Path, port: int, server: dict[str, str]) -> None:
    with site_at(tmp_path, port, server=server).running():
        assert {ask(port, path).status for path in STATUS} == {404}
        assert ask(port, "/all.atom").status == 200


def test_who_fetches_whole_feeds_again_and_again_is_slowed_down(tmp_path: Path, port: int) -> None:
    site = site_at(tmp_path, port, server={"full_fetches_per_hour": 2})
    site.put("one.md", article("One"))
    with site.running():
        until(site.is_written, "everything is written")
        answers = [ask(port, "/all.atom") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 1800
        assert answers[-1].headers["Cache-Control"] == "no-store"
        tag = answers[0].headers["ETag"]
        assert {ask(port, "/all.atom", If_None_Match=tag).status for _ in range(20)} == {304}
        assert ask(port, "/all.atom", If_None_Match='"older"').status == 200
        assert ask(port, "/all.rss").status == 200  # of this feed it had none
        assert {ask(port, "/all.atom", **BROWSER).status for _ in range(5)} == {200}  # that is the page
        counted = json.loads(ask(port, "/-/status.json").body)["requests"]["by_status"]
        assert counted == {"2xx": 9, "3xx": 20, "4xx": 2}


# --- hubs -------------------------------------------------------------------------------------------------------------


class Hub(http.server.ThreadingHTTPServer):
    """Notes the topics that it is told of. While it is not `open`, it says nothing to who tells it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.asked, self.told = Counter[str](), Counter[str]()
        super().__init__(("127.0.0.1", 0), Told)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hub"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def end(self) -> None:
        """Ends it, and whoever waits for it."""
        self.open.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class Told(http.server.BaseHTTPRequestHandler):
    """One request to a hub."""

    def do_POST(self) -> None:
        hub = self.server
        assert isinstance(hub, Hub)
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode(), strict_parsing=True)
        assert form["hub.mode"] == ["publish"]
        (topic,) = form["hub.url"]
        hub.asked[topic] += 1
        if hub.open.is_set():
            hub.told[topic] += 1
            self.send_response(204)
            self.end_headers()
        else:
            hub.open.wait(DEADLINE_S)
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.end()


def topics_at(port: int, *feeds: str) -> Counter[str]:
    """The addresses of feeds, once each."""
    return Counter(f"http://127.0.0.1:{port}/{feed}.{fmt}" for feed in feeds for fmt in FORMATS)


OF_ONE = ("all", "topics/ai", "topics/dunen-watt", "providers/source.example", "categories/news")
OF_TWO = ("all", "topics/tides", "providers/harbourpost.example", "categories/essays")


def test_a_hub_is_told_once_of_each_feed_that_changed_and_of_no_other(tmp_path: Path, port: int, hub: Hub) -> None:
    site = site_at(tmp_path, port, hub={"urls": [hub.url], "allow_networks": ["127.0.0.0/8"]})
    fill(site)
    every = topics_at(port, *{*OF_ONE, *OF_TWO})
    with site.running():
        until(lambda: hub.told == every, "it is told of the first feeds")
        for topic in every:
            links = ask(port, urlsplit(topic).path).links
            assert [url for url, rel, _ in links if rel == "hub"] == [hub.url]
            assert [url for url, rel, _ in links if rel == "self"] == [topic]

        site.put("two.md", article("Two, edited", topics=["Tides"], category="essays", provider={
            "name": "Harbour Post", "domain": "harbourpost.example",
        }))
        changed = topics_at(port, *OF_TWO)
        until(lambda: hub.told == every + changed, "it is told of the edit")
        site.put("one.md", article("One", topics=["AI", "Dünen & Watt"], heat=7))  # which nobody sees
        site.put("three.md", article("Three", topics=[], provider=None, category=None))
        until(lambda: hub.told == every + changed + topics_at(port, "all"), "it is told of the new article")
    assert hub.asked == hub.told == every + changed + topics_at(port, "all")
    with site.running() as feedd:
        feedd.wait("up to date")
    assert hub.asked == every + changed + topics_at(port, "all")


def test_what_a_hub_was_not_told_before_a_kill_it_is_told_after_it(tmp_path: Path, port: int, hub: Hub) -> None:
    site = site_at(tmp_path, port, hub={"urls": [hub.url], "allow_networks": ["127.0.0.0/8"]})
    fill(site)
    every = topics_at(port, *{*OF_ONE, *OF_TWO})
    with Daemon(site) as feedd:
        until(lambda: len(feedd.find("hub told")) == every.total(), "it is told of the first feeds, which is noted")
        before = hub.asked.total()
        hub.open.clear()
        site.put("one.md", article("One, edited", topics=["AI", "Dünen & Watt"]))
        until(lambda: hub.asked.total() == before + notify.AT_ONCE, "it is asked, and says nothing")
        until(site.is_written, "everything is written")
        feedd.kill()
    assert hub.told == every
    hub.open.set()
    with site.running():
        changed = topics_at(port, *OF_ONE)
        until(lambda: hub.told >= every + changed, "it is told of the edit")
    assert hub.told == every + changed
    site.check()


# --- kills ------------------------------------------------------------------------------------------------------------


def test_after_kills_in_the_middle_of_edits_what_is_served_is_what_a_clean_rebuild_writes(
    tmp_path: Path, port: int
) -> None:
    site = site_at(tmp_path, port, feeds={"limit": 4}, articles={"settle_ms": 3, "max_wait_ms": 20})
    number = 0
    for lines in (4, 9, 14):
        with Daemon(site) as feedd:
            feedd.wait("watching")
            start = len(feedd.lines)
            while len(feedd.lines) < start + lines:  # in the middle of whatever it does by then
                site.put(f"{number % 9}.md", article(f"Story {number}", topics=[f"Topic {number % 3}"]))
                number += 1
            feedd.kill()
    site.put("last.md", article("The last one", publishedDateTime="2024-01-01T00:00:00Z"))
    with site.running():
        assert "The last one" in site.titles()
        until(site.is_written, "everything is written")
        clean = site.clean_rebuild()
        plain = [name for name in clean if not name.endswith((".gz", ".br"))]
        assert {"all.atom", "archives/all/1.atom", "topics/topic-0.json", "feeds.opml", "index.html"} <= set(plain)
        for name in plain:
            path = "/" + quote(name)
            answers = [ask(port, path), ask(port, path, Accept_Encoding="gzip"), ask(port, path, Accept_Encoding="br")]
            assert {answer.status for answer in answers} == {200}
            codings = [answer.headers["Content-Encoding"] for answer in answers]
            assert codings == [None, "gzip" if name + ".gz" in clean else None, "br" if name + ".br" in clean else None]
            unpack = {None: bytes, "gzip": gzip.decompress, "br": brotli.decompress}
            assert {unpack[c](x.body) for c, x in zip(codings, answers, strict=True)} == {clean[name]}
        assert {name.removesuffix(".br").removesuffix(".gz") for name in tree(site.out)} == set(plain)
    site.check()
