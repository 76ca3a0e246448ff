"""What the status shows of links: as pages, as JSON, in the feed of problems; over a real links.sqlite."""

from __future__ import annotations

import http.client
import json
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import feedparser
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from newsroom import Newsroom, article, settings_for
from starlette.applications import Starlette
from test_web_status import HERE, LOCAL, STRANGER, TOKEN, Answer, Page, app_of, bearer, get

from feedd.freshness import judge
from feedd.freshness.states import VERDICTS, Evidence, LinkState, Verdict
from feedd.linkcheck.sync import sync
from feedd.lint import lint
from feedd.store.linkrows import Host
from feedd.store.links import NAME, Links, open_links
from feedd.store.linksurvey import Change, LinkSurvey
from feedd.web import trouble
from feedd.web.server import Server

DAY = 86_400
DEAD, MOVED, HEALED, FAILING, FRESH, NEW = (
    f"https://{name}.example/a?b=1&c=2" for name in ("dead", "moved", "healed", "failing", "fresh", "new")
)
ALL = (DEAD, MOVED, HEALED, FAILING, FRESH, NEW)
TARGET = "https://moved.example/new"
HOSTILE = "<script>alert(1)</script>\u202e\x07\"'&"
PAGES = ["/-/links", "/-/links?verdict=any", "/-/links?verdict=dead", f"/-/links/show?url={quote(DEAD, safe='')}"]
JSON = {
    "/-/links.json": "", "/-/links/show.json": f"url={quote(DEAD, safe='')}", "/-/links/summary.json": "",
    "/-/links/news.json": "", "/-/links/hosts.json": "", "/-/links/runs.json": "", "/-/links/next.json": "",
}


def put(links: Links, url: str, verdict: Verdict, now: int, **own: Any) -> None:
    """A check of a link came to a verdict, as a run notes it."""
    link = links.find_link(url)
    assert link
    finding = "good" if verdict in ("fresh", "moved") else "missing"
    seen = Evidence(now, finding, own.pop("reason", f"it is {verdict}"), own.get("status", 200))  # type: ignore[arg-type]
    state = replace(
        link.state, verdict=verdict, since_at=now, checked_at=now, next_check_at=now + 3 * DAY, interval_days=1,
        history=(seen, *link.state.history)[:8], **own,
    )
    with links.transaction():
        links.put_checked([(link.id, state)], now)


def fill(room: Newsroom) -> Links:
    """A day of checks: something died, moved, healed, fails; two hosts are left alone; two runs."""
    for number in (1, 2):
        related = [{"title": f"Story {n}", "webUrl": url} for n, url in enumerate(ALL[: 4 + 2 * (number % 2)])]
        room.put(f"2023/<i>{number}.md", article(f"Title & {number}", related=related))
    room.publish()
    links, now = open_links(str(room.state)), room.now
    sync(links, room.store.marks, ("related",), now - 3 * DAY)
    with links.transaction():
        first = links.start_run("schedule", now - 2 * DAY)
        counts = {"checked": 5, "requests": 9, "bytes": 12_345, "fresh": 4, "failing": 1}
        links.finish_run(first, counts, now - 2 * DAY + 75)
    for url in ALL[:5]:
        put(links, url, "fresh", now - 2 * DAY, verified_at=now - 2 * DAY)
    put(links, HEALED, "dead", now - DAY, strikes=3)
    put(links, DEAD, "failing", now - DAY, strikes=2, first_failed_at=now - DAY, strike_at=now - DAY, status=404)
    put(links, DEAD, "dead", now - 900, strikes=3, status=404, reason=HOSTILE, archive_url="javascript:alert(2)")
    put(links, MOVED, "moved", now - 800, final_url=TARGET, moved_at=now - DAY)
    put(links, HEALED, "fresh", now - 700, strikes=0, verified_at=now - 700)
    put(links, FAILING, "failing", now - 600, strikes=1, final_url="javascript:alert(3)")
    with links.transaction():
        links.put_hosts([
            Host("dead.example", now - 900, pause_until=now + 3600, failures=2, robots_status=200, robots_at=now),
            Host("new.example", now - 800, breaker_until=now + 7200, failures=5, robots_status=503, robots_at=now),
            Host("moved.example", now - 800, pause_until=now - 1),
        ])
        last = links.start_run("<b>hand", now - 630)
        counts = {"checked": 5, "requests": 7, "bytes": 999, "left": 1, "put_off": 2, "dead": 1, "stopped": 1}
        links.finish_run(last, counts, now - 600)
        links.put_due([id_of(links, NEW)], now - 5)
    return links


def id_of(links: Links, url: str) -> int:
    link = links.find_link(url)
    assert link
    return link.id


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newsroom]:
    """Two articles with links, and what checks found of them."""
    made = Newsroom(tmp_path_factory.mktemp("links"))
    fill(made).close()
    yield made
    made.close()


@pytest.fixture(scope="module")
def app(room: Newsroom) -> Starlette:
    """For whoever is here."""
    return app_of(room)


def look(app: Starlette, address: str, **given: Any) -> Answer:
    """A path with its query."""
    path, _, query = address.partition("?")
    return get(app, path, query, **given)


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_the_summary_counts_links_by_verdict(app: Starlette) -> None:
    found = look(app, "/-/links/summary.json").json
    assert list(found["verdicts"]) == list(VERDICTS)
    assert {verdict: count for verdict, count in found["verdicts"].items() if count} == {
        "dead": 1, "moved": 1, "failing": 1, "fresh": 2, "unchecked": 1,
    }
    assert (found["known"], found["due"], found["next_check"]) == (6, 1, "2023-11-14T22:13:15Z")
    assert found["last_run"] == look(app, "/-/links/runs.json").json["runs"][0]


def test_runs_are_told_with_all_that_they_did(app: Starlette) -> None:
    last, first = look(app, "/-/links/runs.json").json["runs"]
    assert (last["by"], last["seconds"], last["stopped"], last["left"], last["put_off"]) == ("<b>hand", 30, True, 1, 2)
    assert first["verdicts"] == {"fresh": 4, "failing": 1} and (first["requests"], first["bytes"]) == (9, 12_345)
    assert look(app, "/-/links/runs.json?limit=1").json["runs"] == [last]


def test_a_run_that_is_on_or_was_killed_has_no_end(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    links = fill(room)
    with links.transaction():
        links.start_run("schedule", room.now)
        links.start_run("schedule", room.now + 9)
    runs = look(app_of(room), "/-/links/runs.json").json["runs"]
    assert [(run["finished"], run["seconds"], run["verdicts"]) for run in runs[:2]] == [(None, None, {})] * 2
    text = look(app_of(room), "/-/links").body.decode()
    assert text.count("not ended yet") == 1 and text.count("broken off") == 1
    links.close()
    room.close()


def test_hosts_are_told_with_what_is_the_matter(app: Starlette) -> None:
    hosts = {row["host"]: row for row in look(app, "/-/links/hosts.json").json["hosts"]}
    assert hosts.keys() == {"dead.example", "failing.example", "new.example"}
    assert hosts["dead.example"] == {
        "host": "dead.example", "dead": 1, "failing": 0, "blocked": 0, "failures": 2,
        "pause_until": "2023-11-14T23:13:20Z", "breaker_until": None, "robots": "read",
        "last_asked": "2023-11-14T21:58:20Z",
    }
    assert hosts["new.example"]["breaker_until"] == "2023-11-15T00:13:20Z"
    assert hosts["new.example"]["robots"] == "cannot be read" and hosts["failing.example"]["robots"] == "not asked for"


def test_news_are_what_died_moved_or_healed_newest_first(app: Starlette) -> None:
    news = look(app, "/-/links/news.json").json["news"]
    assert [(row["what"], row["url"], row["was"], row["target"]) for row in news] == [
        ("healed", HEALED, "dead", ""), ("moved", MOVED, "fresh", TARGET), ("died", DEAD, "failing", ""),
        ("died", HEALED, "fresh", ""),
    ]
    assert news[0]["at"] == "2023-11-14T22:01:40Z"


def test_links_are_listed_by_verdict_and_next_check(app: Starlette) -> None:
    assert [row["url"] for row in look(app, "/-/links.json?verdict=fresh").json["links"]] == [HEALED, FRESH]
    (dead,) = look(app, "/-/links.json?verdict=dead").json["links"]
    assert (dead["url"], dead["uses"], dead["status"], dead["reason"]) == (DEAD, 2, 404, HOSTILE)
    assert look(app, "/-/links.json?verdict=stale").json == {"total": 0, "links": [], "next": None}
    found = look(app, "/-/links/next.json?limit=2").json
    assert found["due"] == 1 and found["links"][0]["url"] == NEW and len(found["links"]) == 2
    assert found["links"][0]["checked"] is None


@pytest.mark.parametrize("limit", range(1, 8))
def test_pages_hold_every_link_once(app: Starlette, limit: int) -> None:
    rows, after = [], ""
    while after is not None:
        page = look(app, f"/-/links.json?verdict=any&limit={limit}&after={after}").json
        assert 1 <= len(page["links"]) <= limit and page["total"] == len(ALL)
        rows += page["links"]
        after = page["next"]
    assert [row["url"] for row in rows] == list(ALL)


def test_one_link_is_shown_with_its_evidence_and_articles_however_it_is_spelt(app: Starlette) -> None:
    found = look(app, f"/-/links/show.json?url={quote('HTTPS://DEAD.example:443/./a?b=1&c=2#x', safe='')}").json
    assert found["link"]["url"] == DEAD and found["link"]["verdict"] == "dead"
    assert [seen["reason"] for seen in found["history"]] == [HOSTILE, "it is failing", "it is fresh"]
    assert found["articles"] == [
        {"path": f"2023/<i>{n}.md", "title": f"Title & {n}", "in_feed": True} for n in (1, 2)
    ]
    assert found["in_feed"] and found["last_strike"] == "2023-11-13T22:13:20Z" and found["next"] is None
    assert found["host"]["pause_until"] == "2023-11-14T23:13:20Z" and found["host"]["robots"] == "read"
    first = look(app, f"/-/links/show.json?limit=1&url={quote(DEAD, safe='')}").json
    rest = look(app, f"/-/links/show.json?limit=1&after={first['next']}&url={quote(DEAD, safe='')}").json
    assert first["articles"] + rest["articles"] == found["articles"] and rest["next"] is None


@pytest.mark.parametrize("url", ["https://nobody.example/", "javascript:alert(1)", "x", "https://[", "a" * 9000])
def test_a_link_that_no_article_has_is_404(app: Starlette, url: str) -> None:
    for path in ("/-/links/show", "/-/links/show.json"):
        answer = look(app, f"{path}?url={quote(url, safe='')}")
        assert answer.status == 404 and b"no article that was published has this link" in answer.body


@pytest.mark.parametrize(("query", "why"), [
    ("limit=0", "limit: a"), ("limit=1001", "limit: a"), ("limit=", "limit: a"), ("limit=%D9%A3", "limit: a"),
    ("after=x", "after: the"), ("after=-1", "after: the"), ("after=9999999999999999999", "after: the"),
    ("verdict=Dead", "verdict: one of"), ("verdict=", "verdict: one of"),
])
def test_a_query_that_means_nothing_is_refused(app: Starlette, query: str, why: str) -> None:
    answer = look(app, f"/-/links.json?{query}")
    assert answer.status == 400 and answer.json["error"].startswith(why)
    page = look(app, f"/-/links?verdict=dead&{query}" if "verdict" not in query else f"/-/links?{query}")
    assert page.status == 400 and page.headers["content-type"].startswith("text/plain")


def test_a_link_must_be_named(app: Starlette) -> None:
    for path in ("/-/links/show", "/-/links/show.json"):
        assert look(app, path).status == 400 and look(app, path + "?url=").status == 400


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.sampled_from([*JSON, "/-/links", "/-/links/show"]), st.one_of(
    st.text(alphabet=st.characters(max_codepoint=255), max_size=200),
    st.lists(st.builds(
        "{}={}".format, st.sampled_from(["limit", "after", "verdict", "url"]),
        st.one_of(st.text(max_size=30), st.integers().map(str), st.sampled_from([*VERDICTS, *ALL])).map(quote),
    ), max_size=3).map("&".join),
))
def test_any_query_is_answered(app: Starlette, path: str, query: str) -> None:
    answer = get(app, path, query)
    assert answer.status in (200, 400, 404)
    assert not path.endswith(".json") or isinstance(answer.json, dict)


def test_the_description_names_what_there_is(app: Starlette) -> None:
    found = look(app, "/-/openapi.json").json
    assert {path for path in found["paths"] if path.startswith("/-/links")} == JSON.keys()
    for path, query in JSON.items():
        schema = found["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        described = found["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        assert set(described["required"]) == get(app, path, query).json.keys()
        assert "404" in found["paths"][path]["get"]["responses"]


# --- pages -----------------------------------------------------------------------------------------------------------


def hold_to_rules(text: str, path: str) -> Page:
    """What each page of ours is: well nested, with nothing to run, every landmark and id once, and heads on tables."""
    page = Page(text)
    tags = [tag for tag, _ in page.found]
    assert not set(tags) & {"script", "style", "img", "iframe", "form", "i", "b"}
    assert not [name for _, attrs in page.found for name in attrs if name == "style" or name.startswith("on")]
    ids = [attrs["id"] for _, attrs in page.found if "id" in attrs]
    assert len(ids) == len(set(ids)) and tags.count("h1") == tags.count("main") == 1
    by_id = {attrs["aria-labelledby"] for _, attrs in page.found if "aria-labelledby" in attrs}
    assert by_id <= set(ids)
    labels = [attrs["aria-label"] for _, attrs in page.found if "aria-label" in attrs]
    headings = [part.partition("<")[0] for part in text.split('-title">')[1:] if part[0] != "\n"]
    assert len({*labels, *headings}) == len(labels) + len(headings)
    assert tags.count("table") == tags.count("thead") == [attrs.get("role") for _, attrs in page.found].count("region")
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.found if tag == "th")
    targets = [str(attrs["href"]) for tag, attrs in page.found if tag == "a"]
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    for target in targets:
        scheme = urlsplit(target).scheme
        assert scheme in ("", "https") and not target.startswith("/")  # it may live below any prefix
    outside = [attrs for _, attrs in page.found if str(attrs.get("href", "")).startswith("https")]
    assert all("noreferrer" in str(attrs["rel"]) for attrs in outside)
    assert HOSTILE not in text and "<script" not in text
    return page


@pytest.mark.parametrize("path", PAGES)
def test_pages_can_be_used_by_all_and_have_nothing_of_strangers(app: Starlette, path: str) -> None:
    answer = look(app, path)
    assert answer.status == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    hold_to_rules(answer.body.decode(), path)


def test_the_page_shows_all_of_it(app: Starlette) -> None:
    text = look(app, "/-/links").body.decode()
    for said in (
        "6 links are known, 1 of them dead; 1 due now", "12.3 kB", "1 min 15 s", "dead.example", "&lt;b&gt;hand",
        "it asked for that", "it failed too often", TARGET,
    ):
        assert said in text
    assert f'href="links/show?url={quote(DEAD, safe="")}"' in text and 'href="links?verdict=dead"' in text


def test_every_link_on_the_pages_leads_somewhere(app: Starlette) -> None:
    for path in [*PAGES, "/-/"]:
        base = "/-/links/" if "show" in path else "/-/"
        for tag, attrs in Page(look(app, path).body.decode()).found:
            target = str(attrs.get("href", ""))
            if tag == "a" and not urlsplit(target).scheme and not target.startswith("#"):
                full = base + target.partition("#")[0]
                while "/../" in full:
                    before, _, after = full.partition("/../")
                    full = before.rpartition("/")[0] + "/" + after
                if full.startswith("/-/"):
                    assert look(app, full.replace("/./", "/").rstrip(".") or "/").status == 200, (path, target)


def test_a_list_goes_on_where_it_ended(app: Starlette) -> None:
    text, seen = look(app, "/-/links?verdict=any&limit=4").body.decode(), 0
    for _ in range(2):
        seen += text.count("links/show?url=")
        onward = [str(a["href"]) for _, a in Page(text).found if a.get("rel") == "next"]
        if onward:
            text = look(app, "/-/" + onward[0]).body.decode()
    assert seen == len(ALL) and onward == [] and "From the beginning" in text
    assert "There are none." in look(app, "/-/links?verdict=excluded").body.decode()


def test_what_a_stranger_wrote_is_shown_and_not_obeyed(app: Starlette) -> None:
    text = look(app, PAGES[3]).body.decode()
    assert "&lt;script&gt;alert(1)" in text and "javascript:alert(2)" in text and 'href="javascript' not in text
    text = look(app, f"/-/links/show?url={quote(FAILING, safe='')}").body.decode()
    assert "javascript:alert(3)" in text and 'href="javascript' not in text
    assert "2023/&lt;i&gt;1.md" in text and "Title &amp; 1" in text
    moved = look(app, f"/-/links/show?url={quote(MOVED, safe='')}").body.decode()
    assert f'href="{TARGET}"' in moved


def test_the_status_has_a_line_of_links(app: Starlette) -> None:
    text = look(app, "/-/").body.decode()
    assert "6 known, " in text and '<a href="links?verdict=dead">1 dead</a>' in text
    assert "last run 10 min 30 s ago" in text and '<a href="links">' in text


# --- where there is nothing to see --------------------------------------------------------------------------------


def answers(app: Starlette) -> dict[str, Answer]:
    return {address: look(app, address) for address in [
        *PAGES, *(f"{path}?{query}" for path, query in JSON.items()), "/-/", "/-/problems.atom"
    ]}


def test_where_there_are_no_links_yet_a_sentence_says_so(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    for address, answer in answers(app_of(room)).items():
        if ".json" in address:
            assert (answer.status, answer.json["error"][:22]) == (404, "There are no links yet")
        else:
            assert answer.status == 200
        if "links" in address and ".json" not in address:
            assert b"There are no links yet" in answer.body
            hold_to_rules(answer.body.decode(), address)
    assert "There are no links yet" in get(app_of(room), "/-/").body.decode()
    assert not (room.state / NAME).exists()
    room.close()


def test_where_links_are_not_checked_a_sentence_says_so(tmp_path: Path) -> None:
    room = Newsroom(tmp_path, settings_for(links=None))
    fill(room).close()
    for address, answer in answers(app_of(room)).items():
        assert answer.status == (404 if ".json" in address else 200)
        assert b"Links are not checked" in answer.body or address == "/-/problems.atom"
    assert feedparser.parse(get(app_of(room), "/-/problems.atom").body).entries == []
    room.close()


@pytest.mark.parametrize("content", [
    b"", b"no database" * 999, b"SQLite format 3\0" + b"\xff" * 5000, "half", "history", "counts", "text",
])
def test_links_that_cannot_be_read_are_said_to_be_so(tmp_path: Path, content: bytes | str) -> None:
    room = Newsroom(tmp_path)
    links = fill(room)
    if content == "history":
        links._db.execute("UPDATE link SET history = x'c1'")
    elif content == "counts":
        links._db.execute("UPDATE run SET counts = '['")
    elif content == "text":
        links._db.execute("UPDATE link SET url = cast(x'ff' || url AS TEXT), verdict = cast(x'ff' AS TEXT)")
    links._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    links.close()
    path = room.state / NAME
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "half":
        path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 40_000)
    told = answers(app_of(room))
    assert {answer.status for answer in told.values()} <= {200, 404, 503}
    assert told["/-/"].status == told["/-/problems.atom"].status == 200
    assert any(answer.status == 503 for address, answer in told.items() if ".json" in address)
    for address, answer in told.items():
        if answer.status == 503:
            assert b"links" in answer.body and b"Traceback" not in answer.body
            assert ".json" in address or b"<h1>Links</h1>" in answer.body
    room.close()


def test_articles_of_a_state_that_is_no_more_are_not_named(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    links = fill(room)
    with links.transaction():
        links.put_meta({"sync_of": "another"})
    links.close()
    assert look(app_of(room), f"/-/links/show.json?url={quote(DEAD, safe='')}").json["articles"] == []
    text = look(app_of(room), PAGES[3]).body.decode()
    assert "2 articles have it; which ones" in text and "Title" not in text
    room.close()


def test_a_link_that_no_article_has_any_more_can_be_looked_at(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    links = fill(room)
    with links.transaction():
        links.put_uses([(article_id, [], False) for article_id in links.list_users(0, 9)], judge.replan, room.now)
    links.close()
    assert "No article has it any more" in look(app_of(room), PAGES[3]).body.decode()
    assert look(app_of(room), "/-/links/summary.json").json["known"] == 0
    room.close()


# --- the feed of problems --------------------------------------------------------------------------------------------


def test_links_that_died_moved_or_healed_are_entries_of_trouble(room: Newsroom, app: Starlette) -> None:
    data = get(app, "/-/problems.atom").body
    assert lint(data, "atom", now=room.now + 1) == []
    entries = feedparser.parse(data).entries
    assert [unescape(entry.title) for entry in entries] == [
        f"link healed: {HEALED}", f"link moved: {MOVED}", f"link died: {DEAD}", f"link died: {HEALED}",
    ]
    assert entries[2].id == "tag:news.example,2026-01-01:link/398bf93f9bb871e0"  # for ever
    assert f"and leads to {TARGET}" in unescape(entries[1].summary)
    for entry in entries:
        address = entry.link.removeprefix("http://127.0.0.1:8080")
        assert look(app, address).status == 200 and parse_qs(urlsplit(address).query)["url"][0] in ALL


def test_an_entry_of_a_link_stays_itself_whatever_comes_later(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    links = fill(room)

    def entries() -> dict[str, tuple[str, str]]:
        found = feedparser.parse(get(app_of(room), "/-/problems.atom").body).entries
        return {entry.id: (entry.title, entry.updated) for entry in found}

    before = entries()
    put(links, DEAD, "fresh", room.now + 5)
    put(links, DEAD, "dead", room.now + 9)
    put(links, FRESH, "stale", room.now + 9)
    after = entries()
    assert len(after) == len(before) + 2 and before.items() <= after.items()
    links.close()
    room.close()


@given(st.lists(st.builds(
    Change, st.integers(1_600_000_000, 1_600_000_003), st.sampled_from(VERDICTS),
    st.sampled_from(["dead", "moved", "fresh"]), st.sampled_from([*ALL, "https://x.example/" + "y" * 8000, HOSTILE]),
    st.sampled_from(["", TARGET]),
), max_size=12))
@settings(deadline=None, max_examples=60)
def test_whatever_became_of_links_the_feed_is_valid(changes: Sequence[Change]) -> None:
    found = trouble.newest([], [], 200, changes)
    data = trouble.feed(found, settings_for(), base_url="https://feeds.example", started_at=1_600_000_000)
    assert {finding.rule for finding in lint(data, "atom", now=1_700_000_000)} <= {"BadCharacters"}


# --- many ------------------------------------------------------------------------------------------------------------


def test_many_links_make_no_large_answer_and_take_no_memory(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    links, number = open_links(str(room.state)), 30_000
    with links.transaction():
        rows = [(n, [f"https://h{n % 500}.example/{n}", DEAD], True) for n in range(1, number)]
        links.put_uses(rows, judge.replan, room.now)
        ids = [link.id for link in links.iter_links()]
        state = LinkState("dead", room.now, checked_at=room.now, next_check_at=room.now + DAY, strikes=3)
        links.put_checked([(link_id, state) for link_id in ids[::2]], room.now)
        links.put_checked([(id_of(links, DEAD), state)], room.now)
    app, addresses = app_of(room), [*PAGES, *(f"{path}?{query}" for path, query in JSON.items()), "/-/problems.atom"]
    for address in addresses:
        look(app, address)  # what is made once: templates, schemas
    tracemalloc.start()
    try:
        for address in addresses:
            began = time.monotonic()
            assert len(look(app, address).body) < 200_000
            assert time.monotonic() - began < 2  # 0.1 where nothing else runs
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 6_000_000
    assert len(feedparser.parse(get(app, "/-/problems.atom").body).entries) == 100
    assert len(look(app, "/-/links.json?limit=1000").json["links"]) == 1000
    links.close()
    room.close()


def test_the_survey_of_links_is_in_pages(tmp_path: Path) -> None:
    links = open_links(str(tmp_path))
    survey = LinkSurvey.of(links)
    assert (survey.list_changes(9), survey.list_users(1, 0, 9), survey.find_robots([])) == ([], [], {})
    with links.transaction():
        links.put_uses([(n, [DEAD], True) for n in range(1, 6)], judge.replan, 1)
    assert survey.list_users(id_of(links, DEAD), 2, 2) == [3, 4]
    links.close()


# --- who may look, and how ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [*PAGES, *JSON])
def test_a_stranger_learns_nothing(room: Newsroom, address: str) -> None:
    assert look(app_of(room), address, client=STRANGER).body == b"Not found.\n"
    closed = app_of(room, token=TOKEN, loopback_only=False)
    assert look(closed, address, client=STRANGER).status == 401 and look(closed, address).status == 401
    assert look(closed, f"{address.partition('?')[0]}?token={quote(TOKEN)}").status == 401
    query = JSON.get(address, "")
    assert look(closed, f"{address}?{query}" if query else address, headers=[*LOCAL, bearer(TOKEN)]).status == 200


@pytest.mark.parametrize("address", [*PAGES, *JSON])
def test_answers_are_private_and_only_read(app: Starlette, address: str) -> None:
    answer = look(app, address, client=HERE)
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for method in ("POST", "DELETE"):
        assert look(app, address, method=method).status == 405


def test_a_browser_of_the_machine_gets_it_from_the_server_while_checks_are_written(tmp_path: Path) -> None:
    room = Newsroom(tmp_path)
    links = fill(room)
    server = Server("127.0.0.1", 0, None, app_of(room), lambda: True)
    server.start()
    try:
        host, port = server.address.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)

        def ask(path: str) -> bytes:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200 and answer.headers["Cache-Control"] == "no-store"
            return answer.read()

        for number in range(20):
            with links.transaction():
                links.put_due([id_of(links, NEW)], room.now + number)
                assert json.loads(ask("/-/links/summary.json"))["known"] == len(ALL)
                assert b"<h1>Links</h1>" in ask("/-/links")
        connection.close()
    finally:
        server.stop()
        links.close()
        room.close()
