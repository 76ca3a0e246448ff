"""The status under /-/ as a client sees it, over the state of a real newsroom; and who is not to see it."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import feedparser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from newsroom import Newsroom, article, settings_for
from starlette.applications import Starlette

from feedd import errors
from feedd.lint import lint
from feedd.plan import FeedRef
from feedd.store import Problem, Store, Topic, open_store
from feedd.web import trouble
from feedd.web.access import Access, Verdict, is_loopback, judge, local_host
from feedd.web.audience import Audience
from feedd.web.overview import About, OwnHub
from feedd.web.server import Server
from feedd.web.status import status_app

TOKEN = "a-token-of-some-length-é"
LOCAL = [(b"host", b"127.0.0.1:8080")]
TEXT = st.characters(exclude_categories=["Cs"])
STRANGER = ("203.0.113.9", 4711)
HERE = ("127.0.0.1", 4711)


class Answer(Struct):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON and says so."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


def get(
    app: Starlette, path: str, query: str = "", *, headers: Sequence[tuple[bytes, bytes]] = LOCAL,
    client: tuple[str, int] | None = HERE, method: str = "GET", version: str = "1.1",
) -> Answer:
    """One request, in a loop of its own."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": version, "method": method, "scheme": "http",
        "path": path, "raw_path": quote(path).encode(), "query_string": query.encode(), "root_path": "",
        "headers": list(headers), "client": client, "server": ("127.0.0.1", 8080),
    }
    asyncio.run(app(scope, receive, send))
    start = sent[0]
    names = [name for name, _ in start["headers"]]
    assert len(names) == len(set(names))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body)


@pytest.fixture(scope="module")
def newsroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newsroom]:
    """Four articles in two topics, one edited and one removed since; three bad files, one named for mischief."""
    room = Newsroom(tmp_path_factory.mktemp("status"))
    for number, topic in enumerate(("AI", "AI", "C++", "C++"), 1):
        room.put(f"2023/{number}.md", article(f"Title {number}", topics=[topic]))
    room.publish()
    room.put("2023/1.md", article("Another title", topics=["AI"]))
    room.put("2023/3.md", article("Title 3", topics=["C++"], published=False))
    room.put("2023/broken.md", "---\ntitle: [1\n---\n")
    room.put("2023/<b>&'.md", "---\ntitle: a: b\n---\n")
    room.put("2023/tabs.md", "---\n\ttitle: a\n---\n")
    room.publish()
    yield room
    room.close()


def app_of(
    newsroom: Newsroom, audience: Audience | None = None, *, token: str = "", loopback_only: bool = True,
    own_hub: OwnHub | None = None, troubles: tuple[str, ...] = (),
) -> Starlette:
    """The app as a daemon makes it."""
    def about() -> About:
        return About(
            "1.2.3", 4242, "inotify", True, newsroom.now - 90, str(newsroom.articles), str(newsroom.out), own_hub,
            troubles=troubles,
        )

    return status_app(
        lambda: open_store(str(newsroom.state), read_only=True), audience or Audience(), about,
        settings=newsroom.settings, token=token, loopback_only=loopback_only, now=lambda: float(newsroom.now),
    )


@pytest.fixture(scope="module")
def app(newsroom: Newsroom) -> Starlette:
    """For whoever is here."""
    return app_of(newsroom)


PATHS = [
    "/-/", "/-/status.css", "/-/status.json", "/-/problems.json", "/-/feeds.json", "/-/changes.json", "/-/hubs.json",
    "/-/problems.atom", "/-/openapi.json",
]


# --- what it says --------------------------------------------------------------------------------------------------


def test_the_summary_says_what_runs_and_how_much_there_is(newsroom: Newsroom) -> None:
    audience = Audience()
    audience.saw("/all.atom", "Newsboat/2", "192.0.2.1", 200, 10, 40, newsroom.now)
    audience.saw("/all.atom", "Newsboat/2", "192.0.2.1", 304, 0, 40, newsroom.now)
    found = get(app_of(newsroom, audience), "/-/status.json").json
    assert (found["version"], found["pid"], found["mode"], found["uptime_s"]) == ("1.2.3", 4242, "inotify", 90)
    assert found["counts"] == newsroom.store.count()
    assert found["counts"]["articles"] == 4 and found["counts"]["problems"] == 3
    assert (found["waiting"], found["failed"]) == (0, 0)
    requests = found["requests"]
    assert (requests["total"], requests["not_modified_ratio"], requests["bytes_saved"]) == (2, 0.5, 70)
    assert requests["by_status"] == {"2xx": 1, "3xx": 1}


def test_problems_are_told_with_place_and_reason(newsroom: Newsroom, app: Starlette) -> None:
    found = get(app, "/-/problems.json").json
    assert [row["path"] for row in found["problems"]] == [row.path for row in newsroom.store.list_problems()]
    broken = next(row for row in found["problems"] if row["path"] == "2023/broken.md")
    assert broken["line"] >= 2 and broken["column"] >= 1 and broken["reason"]
    assert broken["since"] == "2023-11-14T22:13:20Z"
    assert (found["total"], found["next"]) == (3, None)


def test_feeds_are_told_with_size_and_subscribers(newsroom: Newsroom) -> None:
    audience = Audience()
    for address in ("192.0.2.1", "192.0.2.2"):
        audience.saw("/topics/ai.rss", "Newsboat/2", address, 200, 10, 40, newsroom.now)
    audience.saw("/topics/ai.atom", "Feedbin feed-id:13 - 140 subscribers", "192.0.2.3", 200, 10, 40, newsroom.now)
    rows = {row["feed"]: row for row in get(app_of(newsroom, audience), "/-/feeds.json").json["feeds"]}
    assert rows.keys() == {"all", "categories/news", "providers/source.example", "topics/ai", "topics/c"}
    ai = rows["topics/ai"]
    assert (ai["title"], ai["entries"], ai["subscribers"], ai["reported"], ai["readers"]) == ("AI", 2, 142, 140, 2)
    assert ai["bytes"] > 1000 and ai["written_at"] == "2023-11-14T22:13:20Z"
    assert not ai["waiting"] and ai["error"] == ""
    assert rows["all"]["subscribers"] == 0


def test_changes_are_told_with_their_cause(app: Starlette) -> None:
    found = get(app, "/-/changes.json").json["changes"]
    assert {(row["path"], row["what"]) for row in found} == {("2023/1.md", "edited"), ("2023/3.md", "removed")}
    assert all(row["at"] == "2023-11-14T22:13:20Z" for row in found)
    assert get(app, "/-/changes.json", "limit=1").json["changes"] == found[:1]


@pytest.mark.parametrize("what", ["problems", "feeds"])
@pytest.mark.parametrize("limit", [1, 2, 3])
def test_pages_hold_every_row_once(app: Starlette, what: str, limit: int) -> None:
    whole, rows, after = get(app, f"/-/{what}.json").json[what], [], ""
    while after is not None:
        page = get(app, f"/-/{what}.json", f"limit={limit}&after={quote(after)}").json
        assert 1 <= len(page[what]) <= limit and page["total"] == len(whole)
        rows += page[what]
        after = page["next"]
    assert rows == whole


@pytest.mark.parametrize("path", ["/-/problems.json", "/-/feeds.json", "/-/changes.json", "/-/hubs.json"])
@pytest.mark.parametrize("limit", ["0", "1001", "-1", "", "x", "%D9%A3", "1_0", "99999999999999999999"])
def test_a_limit_that_is_none_is_refused_in_json(app: Starlette, path: str, limit: str) -> None:
    answer = get(app, path, f"limit={limit}")
    assert (answer.status, answer.json) == (400, {"error": "limit: a whole number from 1 to 1000"})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.sampled_from(["status", "problems", "feeds", "changes", "hubs", "openapi"]), st.one_of(
    st.text(alphabet=st.characters(max_codepoint=255), max_size=200),
    st.builds("{}={}".format, st.sampled_from(["limit", "after", "token"]), st.text(max_size=40).map(quote)),
))
def test_any_query_is_answered_in_json(app: Starlette, what: str, query: str) -> None:
    answer = get(app, f"/-/{what}.json", query)
    assert answer.status in (200, 400) and isinstance(answer.json, dict)


def test_the_description_names_what_there_is(app: Starlette) -> None:
    found = get(app, "/-/openapi.json").json
    own = {path: found["paths"][path] for path in found["paths"] if not path.startswith("/-/links")}
    assert found["openapi"] == "3.1.0" and set(own) == {p for p in PATHS if p.endswith(".json")} - {
        "/-/openapi.json"
    }
    text = json.dumps(found)
    names = [part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]]
    assert set(names) <= found["components"]["schemas"].keys()
    for path, described in own.items():
        schema = described["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        assert set(found["components"]["schemas"][name]["required"]) == get(app, path).json.keys()


# --- the page ------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page links to and names; raises on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_shows_all_of_it_and_no_script_or_style_of_its_own(newsroom: Newsroom) -> None:
    audience = Audience()
    audience.saw("/topics/ai.atom", "Feedbin feed-id:13 - 1234 subscribers", "192.0.2.3", 200, 10, 40, newsroom.now)
    audience.saw("/topics/ai.atom", "", "192.0.2.3", 304, 0, 5_200_000_000_000_000, newsroom.now)
    answer = get(app_of(newsroom, audience), "/-/")
    text = answer.body.decode()
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    assert text.startswith("<!DOCTYPE html>")
    page = Page(text)
    tags = {tag for tag, _ in page.found}
    assert not tags & {"script", "style", "img", "iframe"}
    assert not [name for _, attrs in page.found for name in attrs if name == "style" or name.startswith("on")]
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [str(attrs["href"]) for _, attrs in page.found if "href" in attrs]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    assert not [target for target in targets if target.startswith(("/", "http"))]  # it may live below any prefix
    assert "<dd>5200.0 TB</dd>" in text and "1,235" in text and "for 1 min 30 s" in text
    assert "2023/broken.md" in text and "topics/ai" in text
    assert "&lt;b&gt;&amp;&#39;.md" in text and "<b>" not in text.replace("<bdi>", "")


def test_counts_read_as_sentences_and_feeds_by_their_names(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    room.put("1.md", article("One"))
    room.publish()
    audience = Audience()
    audience.saw("/all.atom", "Feedbin feed-id:13 - 2 subscribers", "192.0.2.3", 200, 10, 40, room.now)
    text = get(app_of(room, audience), "/-/").body.decode()
    assert "1 answered</dd>" in text and "of 1 file</dd>" in text and "0 archives, 0 waiting" in text
    assert "<dd class=\"more\">30 B by compression; 10 B sent</dd>" in text
    assert '<a href="../all.html"><bdi>Example News</bdi></a> <small>all</small>' in text
    assert '<a href="../all.html"><bdi>all</bdi></a></th><td class="number">2</td>' in text
    audience.saw("/no", "", "192.0.2.3", 404, 10, 0, room.now)
    audience.saw("/all.atom", "", "192.0.2.3", 304, 0, 40, room.now)
    text = get(app_of(room, audience), "/-/").body.decode()
    assert "1 answered, 1 not modified or moved, 1 refused</dd>" in text and "1 answer without a body</dd>" in text
    room.close()


def test_what_keeps_feedd_from_its_work_comes_first(newsroom: Newsroom) -> None:
    troubles = ("The output cannot be written: no space left on device.",)
    app = app_of(newsroom, troubles=troubles)
    assert get(app, "/-/status.json").json["troubles"] == list(troubles)
    text = get(app, "/-/").body.decode()
    assert "feedd 1.2.3 cannot do its work" in text
    assert text.index(troubles[0]) < text.index("<nav")


def test_a_feed_that_could_not_be_written_stands_out(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    room.put("1.md", article("One"))
    room.publish()
    feed_id = room.store.find_feed("topic", "AI") or room.store.list_feeds()[-1].id
    with room.store.transaction():
        room.store.mark_failed(feed_id, 0, "no space left")
        room.store.mark_dirty([(feed_id, 0, 0)])
    app = app_of(room)
    assert get(app, "/-/status.json").json["failed"] == 1
    text = get(app, "/-/").body.decode()
    assert "Feeds that could not be written" in text and "no space left" in text
    rows = get(app, "/-/feeds.json").json["feeds"]
    assert [(row["error"], row["waiting"]) for row in rows if row["error"]] == [("no space left", True)]
    room.close()


def test_a_state_of_nothing_gives_a_page_of_nothing(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    app = app_of(room)
    text = get(app, "/-/").body.decode()
    Page(text)
    assert "none since the start" in text and "of 0 files" in text
    assert "There are no feeds yet" in text and "None: every file can be used" in text
    assert lint(get(app, "/-/problems.atom").body, "atom", now=room.now) == []
    room.close()


def test_much_trouble_makes_no_large_answer(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    rows = [Problem(f"a/b-{n:06}.md", n, 1, "title", "is missing", room.now + n // 19_998) for n in range(20_000)]
    with room.store.transaction():
        room.store.put_problems(rows)
    app = app_of(room)
    assert len(get(app, "/-/").body) < 200_000
    assert len(get(app, "/-/problems.json", "limit=1000").body) < 300_000
    feed = get(app, "/-/problems.atom").body
    assert len(feed) < 300_000 and lint(feed, "atom", now=room.now + 10) == []
    titles = [entry.title.partition(".")[0] for entry in feedparser.parse(feed).entries]
    assert len(titles) == 200 and titles[:3] == ["a/b-019998", "a/b-019999", "a/b-000000"]
    room.close()


def test_the_status_of_a_huge_site_is_read_in_pages_and_takes_no_memory_for_the_rest(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    with room.store.transaction():
        room.store.put_problems([Problem(f"a/{n:06}.md", n, 1, "title", "x" * 200, room.now) for n in range(50_000)])
        for n in range(20_000):
            room.store.put_feed(FeedRef("topic", f"t{n}", f"Topic {n}"))
        room.store.put_slugs((feed.id, f"topic-{feed.key}") for feed in room.store.list_feeds())
    app, paths = app_of(room), [path for path in PATHS if path != "/-/status.css"]
    for path in paths:
        get(app, path)  # what is made once: templates, schemas
    tracemalloc.start()
    try:
        for path in paths:
            began = time.monotonic()
            assert len(get(app, path).body) < 400_000
            assert time.monotonic() - began < 2  # 0.1 where nothing else runs
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 6_000_000  # all rows of either kind take 15 MB and more
    after, seen = "topics/topic-t15", 0
    while after is not None:
        page = get(app, "/-/feeds.json", f"limit=1000&after={quote(after)}").json
        after, seen = page["next"], seen + len(page["feeds"])
    assert (page["total"], seen) == (20_000, sum(f"t{n}" > "t15" for n in range(20_000)))
    room.close()


# --- hubs ----------------------------------------------------------------------------------------------------------

HUBS = ("https://hub.example/?a=<b>", "https://other.example/")


def failing(room: Newsroom) -> None:
    """Three changes for both hubs; the first hub would not hear two of them, on two days."""
    topics = [Topic(f"https://feeds.example/{name}.atom", name, b"1") for name in ("all", "topics/ai", "topics/c")]
    with room.store.transaction():
        for number, topic in enumerate(topics):
            room.store.outbox.put_pings((*HUBS, "https://no-longer.example/"), [topic], room.now + number * 86_400)
        for number, ping in enumerate(room.store.outbox.list_pings(HUBS[0], 2)):
            room.store.outbox.put_ping_failure(ping, room.now + 30, f"it answered 50{number}")
        for ping in room.store.outbox.list_pings("https://no-longer.example/", 9):
            room.store.outbox.put_ping_failure(ping, room.now + 30, "nobody cares")


@pytest.fixture
def pushing(tmp_path: Path) -> Iterator[Newsroom]:
    """A newsroom with two hubs."""
    room = Newsroom(tmp_path, settings_for(hubs=HUBS))
    yield room
    room.close()


def test_hubs_are_told_with_what_waits_and_why(pushing: Newsroom) -> None:
    nothing = {"waiting": 0, "failing": 0, "reason": "", "since": None}
    app = app_of(pushing)
    assert get(app, "/-/hubs.json").json == {
        "hubs": [{"hub": hub, **nothing} for hub in HUBS], "own": None, "failing": []
    }
    assert get(app, "/-/status.json").json["hubs"] == {"waiting": 0, "failing": 0, "subscriptions": None}
    failing(pushing)
    app = app_of(pushing, own_hub=OwnHub("https://feeds.example/hub", 1_234, 5))
    assert get(app, "/-/status.json").json["hubs"] == {"waiting": 6, "failing": 2, "subscriptions": 1_234}
    found = get(app, "/-/hubs.json").json
    assert found["own"] == {"hub": "https://feeds.example/hub", "subscriptions": 1_234, "failing": 5}
    assert found["hubs"] == [
        {"hub": HUBS[0], "waiting": 3, "failing": 2, "reason": "it answered 500", "since": "2023-11-14T22:13:20Z"},
        {"hub": HUBS[1], **nothing, "waiting": 3},
    ]
    assert [row["feed"] for row in found["failing"]] == ["all", "topics/ai"]
    assert found["failing"][1] == {
        "hub": HUBS[0], "feed": "topics/ai", "url": "https://feeds.example/topics/ai.atom",
        "since": "2023-11-15T22:13:20Z", "attempts": 1, "next_at": "2023-11-14T22:13:50Z", "reason": "it answered 501",
    }
    assert len(get(app, "/-/hubs.json", "limit=1").json["failing"]) == 1


def test_the_page_tells_of_hubs_where_there_are_any(newsroom: Newsroom, pushing: Newsroom) -> None:
    assert "Hubs" not in get(app_of(newsroom), "/-/").body.decode()
    failing(pushing)
    text = get(app_of(pushing), "/-/").body.decode()
    Page(text)
    assert "a hub fails" in text and "it answered 500" in text and "?a=&lt;b&gt;" in text and "no-longer" not in text
    assert "built-in" not in text
    for subscriptions, said in ((1, "1 subscription;"), (2_000, "2,000 subscriptions;"), (None, "cannot be read now")):
        own = OwnHub("https://feeds.example/hub", subscriptions, subscriptions)
        assert said in get(app_of(newsroom, own_hub=own), "/-/").body.decode()


def test_a_hub_that_fails_is_an_entry_of_trouble_and_new_at_most_once_a_day(pushing: Newsroom) -> None:
    app = app_of(pushing)
    assert feedparser.parse(get(app, "/-/problems.atom").body).entries == []
    failing(pushing)

    def entry() -> Any:
        data = get(app, "/-/problems.atom").body
        assert lint(data, "atom", now=pushing.now + 5 * 86_400) == []
        (found,) = feedparser.parse(data).entries
        assert f'id="{found.link.partition("#")[2]}"' in get(app, "/-/").body.decode()
        return found

    first = entry()
    assert unescape(first.title) == f"hub {HUBS[0]}: it answered 500"
    assert first.id == "tag:news.example,2026-01-01:hub/138192285c952eb"  # for ever
    assert first.updated.startswith("2023-11-14T00:00:00.")

    def hear() -> None:
        outbox = pushing.store.outbox
        with pushing.store.transaction():
            outbox.drop_ping(next(ping for ping in outbox.list_failing(9) if ping.hub == HUBS[0]))

    hear()  # of the oldest; what is left is of the next day
    second = entry()
    assert second.id == first.id and second.updated.startswith("2023-11-15T00:00:00.")
    hear()
    assert feedparser.parse(get(app, "/-/problems.atom").body).entries == []


# --- the problems feed ---------------------------------------------------------------------------------------------


def test_the_operator_can_subscribe_to_trouble(newsroom: Newsroom, app: Starlette) -> None:
    answer = get(app, "/-/problems.atom")
    assert answer.headers["content-type"] == "application/atom+xml; charset=utf-8"
    url = "http://127.0.0.1:8080/-/problems.atom"
    assert lint(answer.body, "atom", self_url=url, now=newsroom.now) == []
    found = feedparser.parse(answer.body)
    assert not found.bozo and found.feed.title == "Problems – Example News" and len(found.entries) == 3
    entry = next(entry for entry in found.entries if "broken" in entry.title)
    problem = next(row for row in newsroom.store.list_problems() if row.path == "2023/broken.md")
    assert entry.id == "tag:news.example,2026-01-01:problem/7578f81b4d31673a"  # for ever
    assert entry.title.startswith(f"2023/broken.md:{problem.line}: ") and problem.message in entry.title
    assert f"line {problem.line}, column {problem.column}: " in entry.summary
    assert entry.updated.startswith("2023-11-14T22:13:20.") and entry.published == "2023-11-14T22:13:20Z"
    page = get(app, "/-/").body.decode()
    assert f'id="{entry.link.partition("#")[2]}"' in page


def test_an_entry_of_trouble_stays_itself_whatever_else_comes_and_goes() -> None:
    one = Problem("a.md", 3, 4, "title", "is missing", 1_700_000_000)
    others = [Problem(f"{n}.md", 0, 0, "", "no front matter", 1_700_000_000) for n in range(50)]

    def entry_of(problems: list[Problem]) -> tuple[str, str, str]:
        found = trouble.newest(problems, [], 200)
        data = trouble.feed(found, settings_for(), base_url="http://localhost:8080", started_at=1_600_000_000)
        assert lint(data, "atom", now=1_700_000_000) == []
        shown = next(entry for entry in feedparser.parse(data).entries if entry.title.startswith("a.md:"))
        return shown.id, shown.updated, shown.title

    assert entry_of([one]) == entry_of([*others, one]) == entry_of([one, *others])


@given(st.lists(st.builds(
    Problem, st.text(TEXT, min_size=1, max_size=20), st.integers(0, 9), st.integers(0, 9),
    st.text(TEXT, max_size=20), st.text(TEXT, max_size=20), st.integers(1_600_000_000, 1_700_000_000),
), max_size=3, unique_by=lambda problem: problem.path))
@settings(deadline=None, max_examples=60)
def test_whatever_a_file_is_called_the_feed_is_valid(problems: list[Problem]) -> None:
    found = trouble.newest(problems, [], 200)
    data = trouble.feed(found, settings_for(), base_url="https://feeds.example", started_at=1_600_000_000)
    # What looks like UTF-8 that was read as Latin-1 may really be a file's name.
    assert {finding.rule for finding in lint(data, "atom", now=1_700_000_000)} <= {"BadCharacters"}


# --- who may look --------------------------------------------------------------------------------------------------


def bearer(token: str) -> tuple[bytes, bytes]:
    """The header of RFC 6750."""
    return b"authorization", b"Bearer " + token.encode()


def basic(password: str, scheme: str = "Basic") -> tuple[bytes, bytes]:
    """The header of RFC 7617; any user name will do."""
    return b"authorization", f"{scheme} ".encode() + base64.b64encode(f"anybody:{password}".encode())


@pytest.mark.parametrize("path", [*PATHS, "/-/nothing-of-the-kind"])
def test_a_stranger_learns_nothing(newsroom: Newsroom, path: str) -> None:
    closed = get(app_of(newsroom), path, client=STRANGER)
    assert (closed.status, closed.body) == (404, b"Not found.\n")
    asked = get(app_of(newsroom, token=TOKEN), path, client=STRANGER)
    assert (asked.status, asked.body) == (401, b"The token is needed here.\n")
    assert "Basic" in asked.headers["www-authenticate"] and "Bearer" in asked.headers["www-authenticate"]
    for wrong in (bearer("x"), bearer(TOKEN[:-1]), basic("x"), (b"authorization", b"Basic %%%"),
                  (b"authorization", b"Digest " + TOKEN.encode()), (b"authorization", b"")):
        assert get(app_of(newsroom, token=TOKEN), path, client=STRANGER, headers=[*LOCAL, wrong]).body == asked.body


@pytest.mark.parametrize("credential", [bearer(TOKEN), basic(TOKEN), basic(TOKEN, "bASIC")])
@pytest.mark.parametrize("path", PATHS)
def test_who_has_the_token_may_look_from_anywhere(
    newsroom: Newsroom, path: str, credential: tuple[bytes, bytes]
) -> None:
    app = app_of(newsroom, token=TOKEN, loopback_only=False)
    headers = [(b"host", b"feeds.example"), (b"x-forwarded-for", b"198.51.100.1"), credential]
    assert get(app, path, client=STRANGER, headers=headers).status == 200
    assert get(app, path).status == 401  # loopback does not suffice where others can come in


def test_a_feed_reader_may_give_the_token_in_the_address_of_the_feed_alone(newsroom: Newsroom) -> None:
    app = app_of(newsroom, token=TOKEN)
    query = f"token={quote(TOKEN)}"
    answer = get(app, "/-/problems.atom", query, client=STRANGER, headers=[(b"host", b"feeds.example")])
    assert answer.status == 200 and b"token=" not in answer.body and TOKEN.encode() not in answer.body
    assert b'href="https://feeds.example/-/problems.atom"' in answer.body
    assert get(app, "/-/problems.atom", "token=x", client=STRANGER).status == 401
    assert get(app, "/-/problems.atom", "token=x").status == 401
    assert get(app, "/-/status.json", query, client=STRANGER).status == 401


@pytest.mark.parametrize("host", [
    b"127.0.0.1", b"127.0.0.1:8080", b"localhost:8080", b"LOCALHOST", b"localhost.", b"[::1]:8080", b"127.1.2.3",
])
def test_whoever_is_here_may_look_by_a_name_of_here(app: Starlette, host: bytes) -> None:
    assert get(app, "/-/status.json", headers=[(b"host", host)]).status == 200
    assert get(app, "/-/status.json", headers=[(b"host", host)], client=("::ffff:127.0.0.1", 1)).status == 200


@pytest.mark.parametrize("headers", [
    [(b"host", b"rebound.example:8080")],  # DNS rebinding
    [(b"host", b"127.0.0.1.rebound.example")],
    [(b"host", b"feeds.example")],  # a proxy that says nothing of itself
    [(b"host", b"user@127.0.0.1")],
    [(b"host", b"")],
    [],
    [*LOCAL, *LOCAL],
    *([*LOCAL, (name, b"198.51.100.1")] for name in (b"x-forwarded-for", b"forwarded", b"via", b"x-real-ip")),
])
def test_what_may_come_from_elsewhere_may_not_look(app: Starlette, headers: list[tuple[bytes, bytes]]) -> None:
    assert get(app, "/-/status.json", headers=headers).status == 404


def test_a_client_without_an_address_or_of_an_old_proxy_may_not_look(app: Starlette) -> None:
    assert get(app, "/-/", client=None).status == 404
    assert get(app, "/-/", client=("/run/socket", 0)).status == 404
    assert get(app, "/-/", version="1.0").status == 404


def test_a_credential_that_nobody_asked_for_changes_nothing(app: Starlette) -> None:
    assert get(app, "/-/", headers=[*LOCAL, bearer("x")]).status == 200
    assert get(app, "/-/problems.atom", "token=x").status == 200


@given(st.binary(max_size=60), st.text(max_size=30), st.sampled_from(["127.0.0.1", "203.0.113.9", "", "::1"]))
def test_only_the_token_opens(value: bytes, query: str, client: str) -> None:
    granted = Access(TOKEN, loopback_only=False)
    headers = [(b"authorization", value), *LOCAL]
    assert judge(granted, client, "1.1", headers, None) is Verdict.ASK
    assert judge(granted, client, "1.1", LOCAL, query) is Verdict.ASK
    assert judge(Access("", loopback_only=False), client, "1.1", headers, query) is Verdict.HIDDEN


@given(st.text(max_size=30), st.binary(max_size=30))
def test_any_host_and_address_can_be_judged(address: str, host: bytes) -> None:
    assert is_loopback(address) in (True, False)
    found = local_host([(b"host", host)])
    assert found in ("", host.decode("latin-1"))


def test_the_token_is_in_no_text_of_ours() -> None:
    assert TOKEN not in repr(Access(TOKEN, loopback_only=True))


# --- HTTP ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*PATHS, "/-/nothing", "/-"])
@pytest.mark.parametrize("client", [HERE, STRANGER])
def test_no_answer_is_kept_framed_or_sniffed(app: Starlette, path: str, client: tuple[str, int]) -> None:
    answer = get(app, path, client=client)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert "access-control-allow-origin" not in answer.headers and "server" not in answer.headers
    assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize("path", PATHS)
def test_only_get_and_head(app: Starlette, path: str) -> None:
    assert get(app, path, method="HEAD").status == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = get(app, path, method=method)
        assert answer.status == 405 and set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_websocket_is_closed(app: Starlette) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(app({"type": "websocket", "path": "/-/", "headers": LOCAL, "query_string": b""}, receive, send))
    assert sent == ["websocket.close"]


def test_what_is_not_there_is_404_in_the_words_of_its_kind(app: Starlette) -> None:
    assert get(app, "/-/nothing.json").json == {"error": "Not Found"} and get(app, "/-/nothing.json").status == 404
    assert get(app, "/-/status.json/").status == 404
    html = [*LOCAL, (b"accept", b"text/html,*/*;q=0.8")]
    page = get(app, "/-/nothing", headers=html)
    assert (page.status, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert b"<p class=\"lead\">There is nothing here.</p>" in page.body and b'href="../index.html"' in page.body
    assert b"of which link?" in get(app, "/-/links/show", headers=html).body
    assert get(app, "/-/nothing").body == b"Not Found\n"


def test_the_way_without_its_slash_leads_there(newsroom: Newsroom, app: Starlette) -> None:
    answer = get(app, "/-")
    assert (answer.status, answer.headers["location"]) == (301, "-/")  # relative: behind any prefix
    assert get(app_of(newsroom), "/-", client=STRANGER).status == 404


def test_a_state_that_cannot_be_read_is_said_to_be_so(newsroom: Newsroom, tmp_path: Path) -> None:
    def about() -> About:
        return About("1", 1, "polling", False, 0, "", "")

    def refuse() -> Store:
        raise errors.StateError("no state yet")

    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "feedd.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    for open_state in (refuse, lambda: open_store(str(tmp_path / "torn"), read_only=True)):
        app = status_app(
            open_state, Audience(), about, settings=newsroom.settings, token="", loopback_only=True, now=lambda: 0.0
        )
        answer = get(app, "/-/status.json")
        assert answer.status == 503 and answer.headers["retry-after"] == "5" and "state" in answer.json["error"]
        assert get(app, "/-/").headers["content-type"] == "text/plain; charset=utf-8"
        assert get(app, "/-/").status == 503


def test_a_browser_of_the_machine_gets_it_from_the_server_and_a_proxy_of_it_does_not(app: Starlette) -> None:
    server = Server("127.0.0.1", 0, None, app, lambda: True)
    server.start()
    try:
        host, port = server.address.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        for headers, status in (({}, 200), ({"X-Forwarded-For": "198.51.100.1"}, 404), ({"Host": "evil.example"}, 404)):
            connection.request("GET", "/-/problems.json?limit=1", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == status and answer.headers["Cache-Control"] == "no-store"
            assert "Server" not in answer.headers and (status == 404 or json.loads(body)["total"] == 3)
        connection.request("HEAD", "/-/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"") and int(answer.headers["Content-Length"]) > 1000
        connection.close()
    finally:
        server.stop()
