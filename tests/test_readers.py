"""Feed readers as people have them, subscribed to the daemon as it runs: what they show after each poll, and what that
costs.

Each follows the same story: three articles; a poll with nothing new; a title that is edited; a fourth article. A
reader that is not installed is skipped, and says so.
"""

from __future__ import annotations

import calendar
import contextlib
import email.policy
import importlib.util
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.parser import BytesParser
from pathlib import Path
from typing import Any, NamedTuple

import feedparser
import pytest
from newsroom import article
from processes import DEADLINE_S, Daemon, Site, until

XML = ("atom", "rss")
EVERY = ("atom", "rss", "json")
DATES = {
    "High & low tide": "2024-02-29T23:59:58Z", "Ψηφιακές μηχανές": "2024-03-01T00:00:00+02:00",
    "Plain": "2023-01-01T06:30:00Z", "High & higher tide": "2024-02-29T23:59:58Z", "Late news": "2024-05-06T07:08:09Z",
}
FIRST = ("High & low tide", "Ψηφιακές μηχανές", "Plain")
EDITED = ("High & higher tide", "Ψηφιακές μηχανές", "Plain")
LATER = (*EDITED, "Late news")
TIDE = "https://www.source.example/tide?a=1&b=2"
Statuses = Mapping[str, int]


class Entry(NamedTuple):
    """What a reader shows of an article. `at`: its date, seconds since 1970."""

    title: str
    link: str
    at: int


Shown = dict[str, dict[str, Entry]]  # format -> id -> entry


class Paper:
    """A site with a daemon, and what was asked of it."""

    def __init__(self, site: Site, feedd: Daemon, port: int) -> None:
        self.site, self.feedd, self.root = site, feedd, f"http://127.0.0.1:{port}"
        self._counted: Counter[str] = Counter()

    def url(self, fmt: str) -> str:
        return f"{self.root}/all.{fmt}"

    def publish(self, name: str, title: str, **fields: Any) -> None:
        """Puts an article, and waits until every feed has it."""
        self.site.put(name, article(title, publishedDateTime=DATES[title], **fields))
        until(lambda: title in self.site.titles(), f"{title} is published")
        until(self.site.is_written, "everything is written")

    def statuses(self) -> dict[str, int]:
        """How many answers of each status there were since the last call, by the daemon's own count.

        It counts classes of statuses; those of the third are all 304 here, and whether a 226 is among the second shows
        in the bytes that deltas saved.
        """
        status, _, body = self.feedd.get("/-/status.json")
        assert status == 200
        found = json.loads(body)["requests"]
        own = {name: found[name] for name in ("not_modified", "saved_by_delta")}
        counted = Counter(found["by_status"] | own)
        before, self._counted = self._counted, counted
        new = counted - before
        assert new["not_modified"] == new["3xx"]
        assert set(new) <= {"2xx", "3xx", "not_modified", "saved_by_delta"}
        return dict(+Counter({"226" if new["saved_by_delta"] else "200": new["2xx"], "304": new["3xx"]}))


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[Paper]:
    """Three articles, published under the address that they are served at."""
    port = free_port()
    site = Site(
        tmp_path / "site", server={"port": port}, site={"public_url": f"http://127.0.0.1:{port}"},
        feeds={"topics": False, "providers": False, "categories": False},
    )
    site.put("tide.md", article(FIRST[0], publishedDateTime=DATES[FIRST[0]], webUrl=TIDE))
    for number, title in enumerate(FIRST[1:]):
        site.put(f"{number}.md", article(title, publishedDateTime=DATES[title]))
    with site.running() as feedd:
        assert feedd.port == port
        yield Paper(site, feedd, port)


def free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def expected(titles: Sequence[str]) -> list[Entry]:
    """What every reader is to show."""
    links = {title: "https://www.source.example/" + title.replace(" ", "-") for title in titles}
    links |= {title: TIDE for title in titles if "tide" in title}
    return sorted(Entry(t, normal(links[t]), int(datetime.fromisoformat(DATES[t]).timestamp())) for t in titles)


def normal(link: str) -> str:
    """A link in ASCII, for some readers show it so and others do not."""
    return urllib.request.quote(link, safe="/:?#[]@!$&'()*+,;=%~")


def keep(entries: Sequence[tuple[str, Entry]]) -> dict[str, Entry]:
    """Entries by their ids, of which none may come twice."""
    kept = {key: Entry(x.title, normal(x.link), x.at) for key, x in entries}
    assert len(kept) == len(entries), entries
    return kept


class Reader:
    """What all tests know of a reader: the formats it can read, and what each of its polls costs."""

    formats: Sequence[str] = XML
    second: str = "304"
    unchanged: str = "304"
    changed: str = "200"

    def __init__(self, paper: Paper, folder: Path) -> None:
        self.folder = folder
        self.urls = {fmt: paper.url(fmt) for fmt in self.formats}

    def poll(self) -> Shown:
        """Asks for every feed once; all that it shows afterwards."""
        raise AssertionError("each reader has its own")


class Forgetful(Reader):
    """One that keeps what it has seen in memory, by id, as a program around a parser does."""

    def __init__(self, paper: Paper, folder: Path) -> None:
        super().__init__(paper, folder)
        self.kept: Shown = {fmt: {} for fmt in self.formats}

    def poll(self) -> Shown:
        for fmt, url in self.urls.items():
            self.kept[fmt] |= keep(self.fetch(fmt, url))
        return {fmt: dict(entries) for fmt, entries in self.kept.items()}

    def fetch(self, fmt: str, url: str) -> list[tuple[str, Entry]]:
        """The entries of one answer, none where nothing changed."""
        raise AssertionError("each reader has its own")


class Fetched(Forgetful):
    """One whose parser takes bytes, which are fetched with the ETag of the last answer."""

    def __init__(self, paper: Paper, folder: Path) -> None:
        super().__init__(paper, folder)
        self.etags: dict[str, str] = {}

    def fetch(self, fmt: str, url: str) -> list[tuple[str, Entry]]:
        known = {"If-None-Match": self.etags[url]} if url in self.etags else {}
        request = urllib.request.Request(url, headers={"User-Agent": "parser", **known})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                self.etags[url] = answer.headers["ETag"]
                return self.parse(fmt, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == 304
                return []

    def parse(self, fmt: str, data: bytes) -> list[tuple[str, Entry]]:
        """The entries of a document."""
        raise AssertionError("each reader has its own")


def follow(paper: Paper, reader: Reader) -> None:
    """The story that every reader goes through."""
    formats, count = reader.formats, len(reader.formats)
    paper.statuses()
    shown = reader.poll()
    assert {fmt: sorted(shown[fmt].values()) for fmt in formats} == dict.fromkeys(formats, expected(FIRST))
    assert paper.statuses() == {"200": count}

    for status in (reader.second, reader.unchanged):
        assert reader.poll() == shown
        assert paper.statuses() == {status: count}

    paper.publish("tide.md", EDITED[0], webUrl=TIDE)
    edited = reader.poll()
    assert {fmt: sorted(edited[fmt].values()) for fmt in formats} == dict.fromkeys(formats, expected(EDITED))
    assert {fmt: changes(shown[fmt], edited[fmt]) for fmt in formats} == {x: [(FIRST[0], EDITED[0])] for x in formats}
    assert paper.statuses() == {reader.changed: count}

    paper.publish("late.md", "Late news")
    later = reader.poll()
    assert {fmt: sorted(later[fmt].values()) for fmt in formats} == dict.fromkeys(formats, expected(LATER))
    assert {fmt: changes(edited[fmt], later[fmt]) for fmt in formats} == {x: [("", "Late news")] for x in formats}
    assert paper.statuses() == {reader.changed: count}

    assert reader.poll() == later
    assert paper.statuses() == {reader.unchanged: count}


def changes(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[tuple[str, str]]:
    """Title before and after of each entry that is not as it was; no title where there was none."""
    nothing = Entry("", "", 0)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return [(before.get(key, nothing).title, after.get(key, nothing).title) for key in keys]


def iso(text: str) -> int:
    """A date of RFC 3339 -> seconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp())


def command(*arguments: str, folder: Path, **environment: str) -> str:
    """A program from its start to its end, at home in `folder`; what it says."""
    done = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8", "TERM": "dumb", **environment},
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips a test where one of these programs is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


# --- in Python --------------------------------------------------------------------------------------------------------


class Feedparser(Forgetful):
    """It sends `A-IM: feed` with each ETag (RFC 3229), and is given only what changed."""

    changed = "226"

    def __init__(self, paper: Paper, folder: Path) -> None:
        super().__init__(paper, folder)
        self.last: dict[str, Any] = {}

    def fetch(self, fmt: str, url: str) -> list[tuple[str, Entry]]:
        last = self.last.get(url, {})
        found = feedparser.parse(url, etag=last.get("etag"), modified=last.get("modified"))
        assert found.status in (200, 226, 304)
        assert not found.bozo, found.get("bozo_exception")
        if found.status == 304:
            return []
        self.last[url] = found
        assert found.status == 200 or len(found.entries) == 1
        return [(x.id, Entry(x.title, x.link, calendar.timegm(x.published_parsed))) for x in found.entries]


def test_feedparser(paper: Paper, tmp_path: Path) -> None:
    follow(paper, Feedparser(paper, tmp_path))


class Lemon(Reader):
    """The library `reader`, with its own database. It sends `A-IM: feed` too, and reads JSON Feed."""

    formats = EVERY
    changed = "226"

    def __init__(self, paper: Paper, folder: Path, library: Any) -> None:
        super().__init__(paper, folder)
        self.library = library
        for url in self.urls.values():
            library.add_feed(url)
        self.news: list[tuple[int, int]] = []

    def poll(self) -> Shown:
        results = list(self.library.update_feeds_iter(scheduled=False))
        assert sorted(x.url for x in results) == sorted(self.urls.values())
        assert not [x for x in results if isinstance(x.value, Exception)], results
        self.news = [(x.value.new, x.value.modified) if x.value else (0, 0) for x in results]
        return {
            fmt: keep([
                (x.id, Entry(x.title, x.link, int(x.published.timestamp()))) for x in self.library.get_entries(feed=url)
            ]) for fmt, url in self.urls.items()
        }


def test_reader(paper: Paper, tmp_path: Path) -> None:
    reader = pytest.importorskip("reader", reason="not installed: the Python package reader")
    pytest.importorskip("sgmllib", reason="not installed: the Python package sgmllib3k, which reader cannot do without")
    with reader.make_reader(str(tmp_path / "reader.sqlite")) as library:
        lemon = Lemon(paper, tmp_path, library)
        follow(paper, lemon)
        assert lemon.news == [(0, 0)] * 3
        paper.publish("tide.md", FIRST[0], webUrl=TIDE)  # as it once was
        lemon.poll()
        assert lemon.news == [(0, 1)] * 3
        assert {entry.read for entry in library.get_entries()} == {False}


class Fastfeedparser(Forgetful):
    """It fetches by itself, and knows no validators."""

    second = unchanged = "200"
    formats = EVERY

    def fetch(self, fmt: str, url: str) -> list[tuple[str, Entry]]:
        import fastfeedparser

        return [(x.id, Entry(x.title, x.link, iso(x.published))) for x in fastfeedparser.parse(url).entries]


def test_fastfeedparser(paper: Paper, tmp_path: Path) -> None:
    pytest.importorskip("fastfeedparser", reason="not installed: the Python package fastfeedparser")
    follow(paper, Fastfeedparser(paper, tmp_path))


class Atoma(Fetched):
    """It is strict: a date or a link that is missing is an error."""

    formats = EVERY

    def parse(self, fmt: str, data: bytes) -> list[tuple[str, Entry]]:
        import atoma

        if fmt == "atom":
            found = [
                (x.id_, x.title.value, next(link.href for link in x.links if link.rel == "alternate"), x.published)
                for x in atoma.parse_atom_bytes(data).entries
            ]
        elif fmt == "rss":
            found = [(x.guid, x.title, x.link, x.pub_date) for x in atoma.parse_rss_bytes(data).items]
        else:
            found = [(x.id_, x.title, x.url, x.date_published) for x in atoma.parse_json_feed_bytes(data).items]
        return [(key, Entry(title, link, int(at.timestamp()))) for key, title, link, at in found]


def test_atoma(paper: Paper, tmp_path: Path) -> None:
    pytest.importorskip("atoma", reason="not installed: the Python package atoma")
    follow(paper, Atoma(paper, tmp_path))


class Rss2email(Reader):
    """A mail for each entry, into a Maildir. It tells of an entry once: what is edited is the same to it.

    Its parser is feedparser, which asks for deltas; but it takes a 226 for an error, and is to be given whole feeds.
    """

    def __init__(self, paper: Paper, folder: Path) -> None:
        super().__init__(paper, folder)
        self.run("new", "me@reader.example")
        config = (folder / "config").read_text().replace("email-protocol = sendmail", "email-protocol = maildir")
        config = config.replace("maildir-path = ~/Maildir", f"maildir-path = {folder}/mail")
        config = config.replace("date-header = False", "date-header = True")
        (folder / "config").write_text(config)
        for fmt in self.formats:
            for name in ("new", "cur", "tmp"):
                (folder / "mail" / "INBOX" / name).mkdir(parents=True, exist_ok=True)
            self.run("add", fmt, self.urls[fmt])

    def run(self, *arguments: str) -> None:
        """One command."""
        program = (sys.executable, "-W", "ignore", "-c", "from rss2email.main import run; run()")
        own = ("-c", str(self.folder / "config"), "-d", str(self.folder / "data.json"))
        command(*program, *own, *arguments, folder=self.folder)

    def mails(self) -> Counter[tuple[str, Entry]]:
        """All mails there are, by the feed's address."""
        self.run("run")
        found = Counter[tuple[str, Entry]]()
        for path in (self.folder / "mail" / "INBOX").glob("*/*"):
            mail = BytesParser(policy=email.policy.default).parsebytes(path.read_bytes())
            at = int(mail["Date"].datetime.timestamp())
            found[mail["X-RSS-Feed"], Entry(mail["Subject"], normal(mail["X-RSS-URL"]), at)] += 1
        return found


def test_rss2email(paper: Paper, tmp_path: Path) -> None:
    if importlib.util.find_spec("rss2email") is None:
        pytest.skip("not installed: the Python package rss2email")
    reader = Rss2email(paper, tmp_path)

    def once(titles: Sequence[str]) -> Counter[tuple[str, Entry]]:
        return Counter((url, entry) for url in reader.urls.values() for entry in expected(titles))

    paper.statuses()
    assert reader.mails() == once(FIRST)
    assert paper.statuses() == {"200": 2}
    assert reader.mails() == once(FIRST)
    assert paper.statuses() == {"304": 2}
    paper.publish("tide.md", EDITED[0], webUrl=TIDE)
    paper.publish("late.md", "Late news")
    assert reader.mails() == once((*FIRST, "Late news"))
    assert paper.statuses() == {"200": 2}


# --- of the shell -----------------------------------------------------------------------------------------------------


class Newsboat(Reader):
    """It sends `A-IM: feed` with each ETag, and keeps what it has seen in SQLite.

    It writes the validators of the first answer to a row that it has not made yet, and so has none at its second poll.
    """

    second = "200"
    changed = "226"

    def poll(self) -> Shown:
        return {fmt: self.reload(fmt, url) for fmt, url in self.urls.items()}

    def reload(self, fmt: str, url: str) -> dict[str, Entry]:
        """One feed, with a cache of its own: entries of equal ids are one entry to it, whichever feed they are in."""
        (self.folder / fmt).mkdir(exist_ok=True)
        (self.folder / fmt / "urls").write_text(f"{url}\n")
        (self.folder / fmt / "config").write_text("")
        own = ("-C", "config", "-u", "urls", "-c", "cache.db")
        command("newsboat", *own, "-x", "reload", folder=self.folder / fmt)
        with contextlib.closing(sqlite3.connect(self.folder / fmt / "cache.db")) as cache:
            rows = cache.execute("SELECT guid, title, url, pubDate FROM rss_item WHERE deleted = 0").fetchall()
        return keep([(key, Entry(title, link, int(at))) for key, title, link, at in rows])


@needs("newsboat")
def test_newsboat(paper: Paper, tmp_path: Path) -> None:
    follow(paper, Newsboat(paper, tmp_path))


class Sfeed(Reader):
    """A shell script around curl, without validators and without a User-Agent. Lines of tabs are all it keeps."""

    second = unchanged = "200"
    FETCH = ""
    MERGE = "merge() { sort -t '\t' -u -k6,6 \"$3\" \"$2\"; }"  # newest first, one line for each id

    def poll(self) -> Shown:
        feeds = "\n".join(f'feed "{fmt}" "{url}"' for fmt, url in self.urls.items())
        lines = (f'sfeedpath="{self.folder}/kept"', self.FETCH, self.MERGE, "feeds() {", feeds, "}")
        (self.folder / "kept").mkdir(exist_ok=True)
        (self.folder / "sfeedrc").write_text("\n".join(lines) + "\n")
        command("sfeed_update", str(self.folder / "sfeedrc"), folder=self.folder)
        return {fmt: self.read(fmt) for fmt in self.formats}

    def read(self, fmt: str) -> dict[str, Entry]:
        """sfeed(5): timestamp, title, link, content, its type, id, ..."""
        lines = (self.folder / "kept" / fmt).read_text().splitlines()
        return keep([(x[5], Entry(x[1], x[2], int(x[0]))) for x in (line.split("\t") for line in lines)])


class ConditionalSfeed(Sfeed):
    """With the ETags of curl."""

    second = unchanged = "304"
    FETCH = """fetch() {
        curl -f -s -m 15 --compressed --etag-compare "$sfeedpath/.$1.etag" --etag-save "$sfeedpath/.$1.etag" "$2"
    }"""


@needs("sfeed_update", "sfeed", "curl")
@pytest.mark.parametrize("kind", [Sfeed, ConditionalSfeed])
def test_sfeed(paper: Paper, tmp_path: Path, kind: type[Sfeed]) -> None:
    follow(paper, kind(paper, tmp_path))


# --- in JavaScript ----------------------------------------------------------------------------------------------------


class RssParser(Forgetful):
    """rss-parser fetches by itself, and knows no validators."""

    second = unchanged = "200"
    SCRIPT = """
        const Parser = require("rss-parser");
        new Parser().parseURL(process.argv[1]).then(feed => console.log(JSON.stringify(
            feed.items.map(x => [x.guid || x.id, x.title, x.link, Date.parse(x.isoDate) / 1000]))));
    """

    def fetch(self, fmt: str, url: str) -> list[tuple[str, Entry]]:
        said = command("node", "-e", self.SCRIPT, url, folder=self.folder, NODE_PATH=os.environ.get("NODE_PATH", ""))
        return [(key, Entry(*rest)) for key, *rest in json.loads(said)]


class Feedsmith(Fetched):
    """feedsmith reads what it is given, and tells the formats apart by itself."""

    formats = EVERY
    SCRIPT = """
        const { parseFeed } = require("feedsmith");
        const { format, feed } = parseFeed(require("fs").readFileSync(process.argv[1], "utf8"));
        const entries = (feed.entries || feed.items).map(x => [
            x.id || x.guid.value, x.title.value || x.title, x.url || x.link || x.links.find(y => y.rel != "self").href,
            x.published || x.pubDate || x.date_published]);
        console.log(JSON.stringify([format, entries]));
    """

    def parse(self, fmt: str, data: bytes) -> list[tuple[str, Entry]]:
        (self.folder / "fetched").write_bytes(data)
        own = os.environ.get("NODE_PATH", "")
        told, entries = json.loads(command("node", "-e", self.SCRIPT, "fetched", folder=self.folder, NODE_PATH=own))
        assert told == fmt
        return [(key, Entry(title, link, _date(at))) for key, title, link, at in entries]


def _date(text: str) -> int:
    """Of RFC 3339 or RFC 5322."""
    return iso(text) if text[0].isdigit() else int(datetime.strptime(
        text.replace("GMT", "+0000"), "%a, %d %b %Y %H:%M:%S %z"
    ).astimezone(UTC).timestamp())


@pytest.mark.parametrize(("package", "kind"), [("rss-parser", RssParser), ("feedsmith", Feedsmith)])
def test_javascript(paper: Paper, tmp_path: Path, package: str, kind: type[Forgetful]) -> None:
    if shutil.which("node") is None:
        pytest.skip("not installed: node")
    found = subprocess.run(["node", "-e", f"require.resolve('{package}')"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"not installed: {package} of npm, in a folder that NODE_PATH names")
    follow(paper, kind(paper, tmp_path))
