"""Private feeds: nobody reads them, or learns of them, but who has the token or comes from where one may."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Mapping
from http.client import HTTPConnection
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from newsroom import Newsroom, article, settings_for, tree
from processes import DEADLINE_S, Daemon, Site, until

from feedd import config, lint, model, plan, preview, site, verify
from feedd.web import access, feeds, private, shelf, throttle
from feedd.web import http as rules

PUBLIC = "https://feeds.example"
TOKEN = "a-token-of-a-test-4711"
NOW = 1_700_000_000.0
FILES = [
    "private/board.atom", "private/board.rss", "private/board.json", "private/board.html",
    "archives/private/board/1.atom", "archives/private/board/2.rss",
]
SECRET = b"what the board alone may read"
MISSING = ["private/none.atom", "private/none.html", "archives/private/board/9.atom", "private/a/b.json"]
HUB = "https://hub.example/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Private files with their compressed copies, and a public feed."""
    place = tmp_path_factory.mktemp("private")
    for name in [*FILES, "all.atom", "index.html"]:
        for suffix in ("", ".gz", ".br"):
            path = place / (name + suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((SECRET if "private" in name else b"public") + suffix.encode())
            os.utime(path, ns=(10**18, 10**18))
    return place


def served(
    folder: Path, token: str = TOKEN, networks: tuple[str, ...] = (), proxies: tuple[str, ...] = (),
    *, loopback_only: bool = False, hooks: feeds.Hooks | None = None, **policy: Any,
) -> feeds.Feeds:
    readers = private.Readers(
        access.Access(token, loopback_only), tuple(map(ip_network, networks)), frozenset(proxies),
        host="feeds.example",
    )
    return feeds.Feeds(
        shelf.Shelf(str(folder)), feeds.Policy(PUBLIC, hubs=(HUB,), refuse=readers.refuse, **policy), hooks
    )


def ask(
    server: feeds.Feeds, path: str, address: str = "192.0.2.1", *, method: str = "GET", version: str = "1.1",
    now: float = NOW, **headers: Any,
) -> rules.Answer:
    path, _, query = path.partition("?")
    given = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    given.setdefault(b"host", b"192.0.2.9:8080")
    answer = server.answer(rules.Request(method, path, query, given, address, version), now)
    assert answer is not None, path
    return answer


def named(answer: rules.Answer) -> dict[str, str]:
    found = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
    assert len(found) == len(answer.headers)
    return found


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"reader:{password}".encode()).decode()


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize(("query", "headers"), [
    (f"?token={TOKEN}", {}), ("", {"authorization": f"Bearer {TOKEN}"}), ("", {"authorization": basic(TOKEN)}),
    (f"?a=b&%74oken={TOKEN}", {}), (f"?token={TOKEN}", {"authorization": f"bearer {TOKEN}"}),
])
def test_who_has_the_token_reads_and_nothing_that_is_answered_has_it(
    folder: Path, path: str, query: str, headers: dict[str, Any]
) -> None:
    answer = ask(served(folder), f"/{path}{query}", **headers)
    assert (answer.status, answer.body) == (200, SECRET)
    said = named(answer)
    assert TOKEN not in repr(answer)
    assert said["cache-control"].startswith("private, ") and "public" not in said["cache-control"]
    assert (said["x-robots-tag"], said["referrer-policy"]) == ("noindex", "no-referrer")
    assert not [name for name in said if name.startswith("access-control-")]
    assert "hub.example" not in said.get("link", "")


@pytest.mark.parametrize("path", [*FILES, *MISSING])
@pytest.mark.parametrize("headers", [
    {}, {"authorization": "Bearer " + TOKEN[:-1]}, {"authorization": basic("")}, {"authorization": "Digest x"},
    {"accept_encoding": "br, gzip"}, {"if_none_match": "*"}, {"a_im": "feed", "if_none_match": '"x"'},
    {"accept": "text/html", "sec_fetch_dest": "document"}, {"x_forwarded_for": "10.1.2.3"},
    {"authorization": f"Bearer {TOKEN}x"},
])
def test_who_has_it_not_is_told_the_same_of_what_is_there_and_what_is_not(
    folder: Path, path: str, headers: dict[str, Any]
) -> None:
    server = served(folder, networks=("10.0.0.0/8",), whereabouts=lambda _: "")
    without = served(folder, token="", networks=("10.0.0.0/8",))
    never = "/private/" + "x/" * (path.count("/") - 1) + "never.atom"  # as deep: links back to the list of feeds count
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        answer = ask(server, "/" + path, method=method, **headers)
        assert answer == ask(server, never, method=method, **headers)
        assert answer.status == 401 and SECRET not in answer.body
        said = named(answer)
        assert "Basic" in said["www-authenticate"] and "Bearer" in said["www-authenticate"]
        assert said["cache-control"] == "no-store" and not any(name.startswith("access-control") for name in said)
        assert ask(without, "/" + path, method=method, **headers).status == 404
    assert ask(feeds.Feeds(shelf.Shelf(str(folder)), feeds.Policy(PUBLIC)), "/" + path, "127.0.0.1").status == 404


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    name=st.sampled_from(FILES), case=st.lists(st.booleans()), encoded=st.sets(st.integers(0, 40)),
    inserted=st.none() | st.tuples(st.integers(0, 30), st.sampled_from(["/", "./", "\u200d", "%00", "\\", "../"])),
    query=st.text(st.characters(max_codepoint=255)), given_token=st.text(max_size=30), method=st.sampled_from(
        ["GET", "HEAD", "OPTIONS", "DELETE"]
    ), address=st.ip_addresses().map(str) | st.text(max_size=9),
)
def test_nothing_at_all_gets_at_it_without_the_token(
    folder: Path, name: str, case: list[bool], encoded: set[int], inserted: tuple[int, str] | None, query: str,
    given_token: str, method: str, address: str,
) -> None:
    letters = [c.upper() if upper else c for c, upper in zip(name, [*case, *[False] * 99], strict=False)]
    path = "".join(f"%{ord(c):02x}" if place in encoded else c for place, c in enumerate(letters))
    if inserted:
        at, what = inserted
        path = path[:at] + quote(what, safe="/.%\\") + path[at:]
    headers = {b"authorization": b"Bearer " + given_token.encode()}
    answer = served(folder, networks=("10.9.0.0/16",)).answer(
        rules.Request(method, "/" + path, query, headers, address), NOW
    )
    assert answer is None or (SECRET not in answer.body and answer.status not in (200, 206, 226, 304))


@pytest.mark.parametrize("name", [
    "private/x.atom", "PRIVATE/x.atom", "archives/private/x/1.rss", "Archives/Private/x/1.rss", "pri\u200dvate/x.atom",
    "archive\u017f/private/x/1.atom", "private/feeds/x.atom",
])
def test_what_a_file_system_may_take_for_private_is_private(name: str) -> None:
    assert site.is_private(name)


@pytest.mark.parametrize("name", ["private.atom", "topics/private.atom", "archives/topics/private/1.atom",
                                  "feeds/private.json", "privates/x.atom", "archives/1.atom", "", "all.atom"])
def test_what_only_sounds_so_is_not(name: str) -> None:
    assert not site.is_private(name)


@given(st.text(max_size=30), st.sampled_from(["topic", "provider", "category", "custom", "private"]), st.integers(0, 3))
def test_just_the_documents_of_private_feeds_are(key: str, kind: str, page: int) -> None:
    slug = site.assign_slugs(kind, [key], [])[key]
    assert site.is_private(site.base_path(kind, slug, page)) == (kind == "private")


# --- by address -------------------------------------------------------------------------------------------------------

NETWORKS = ("10.0.0.0/8", "2001:db8:7::/48")


@pytest.mark.parametrize(("address", "proxies", "version", "headers", "is_let_in"), [
    ("10.1.2.3", (), "1.1", {}, True), ("::ffff:10.1.2.3", (), "1.1", {}, True), ("2001:db8:7::1", (), "1.1", {}, True),
    ("192.0.2.1", (), "1.1", {}, False), ("2001:db8:8::1", (), "1.1", {}, False), ("", (), "1.1", {}, False),
    ("10.1.2.3", ("10.0.0.1",), "1.1", {"x_forwarded_for": "10.1.2.3"}, True),  # as a proxy of ours said
    ("10.1.2.3", (), "1.1", {"x_forwarded_for": "10.1.2.3"}, False),  # a proxy that nobody named
    ("10.1.2.3", (), "1.0", {}, False),  # perhaps one: so nginx asks, and says nothing of its client
    ("10.0.0.1", ("10.0.0.1",), "1.1", {}, False),  # a proxy of ours that does not say who asks
])
def test_an_address_lets_in_where_it_is_that_of_who_asks(
    folder: Path, address: str, proxies: tuple[str, ...], version: str, headers: dict[str, Any], is_let_in: bool
) -> None:
    server = served(folder, networks=NETWORKS, proxies=proxies)
    answer = ask(server, "/private/board.atom", address, version=version, **headers)
    assert (answer.status, answer.body == SECRET) == ((200, True) if is_let_in else (401, False))
    without = served(folder, "", NETWORKS, proxies)
    answer = ask(without, "/private/board.atom", address, version=version, **headers)
    assert answer.status == (200 if is_let_in else 404)


def test_who_may_by_address_need_not_care_for_a_token(folder: Path) -> None:
    """Such as the password that a proxy in front has asked for."""
    answer = ask(served(folder, networks=NETWORKS), "/private/board.atom", "10.1.2.3", authorization=basic("other"))
    assert answer.status == 200


def test_without_a_token_this_machine_may_while_nobody_else_is_listened_to(folder: Path) -> None:
    def status(token: str = "", loopback_only: bool = True, host: str = "localhost:8080", **more: Any) -> int:
        server = served(folder, token, loopback_only=loopback_only)
        return ask(server, "/private/board.atom", "127.0.0.1", host=host, **more).status

    assert status() == 200
    assert status(token=TOKEN) == 401
    assert {status(loopback_only=False), status(host="evil.example"), status(version="1.0"), status(via="x")} == {404}


# --- answers ----------------------------------------------------------------------------------------------------------


def test_who_may_read_gets_all_that_other_feeds_have(folder: Path) -> None:
    heard: list[str] = []
    server = served(
        folder, whereabouts={"private/old.atom": "private/board.atom", "private/gone.rss": ""}.get,
        hooks=feeds.Hooks(
            throttle=lambda _address, name, known, *_: heard.append(name) or 0.0,  # type: ignore[func-returns-value]
            delta=lambda *_: b"x",
        ),
    )
    given: dict[str, Any] = {"authorization": f"Bearer {TOKEN}"}
    packed = ask(server, "/private/board.atom", accept_encoding="br", **given)
    assert packed.body == SECRET + b".br"
    etag = named(packed)["etag"]
    same = ask(server, "/private/board.atom", accept_encoding="br", if_none_match=etag, **given)
    assert (same.status, named(same)["cache-control"], same.body) == (304, "private, max-age=600", b"")
    part = ask(server, "/private/board.atom", a_im="feed", if_none_match='"old"', **given)
    assert (part.status, named(part)["cache-control"]) == (226, "no-store, im")
    page = ask(server, "/private/board.atom", accept="text/html", sec_fetch_dest="document", **given)
    assert named(page)["cache-control"] == "private, no-cache"
    assert named(page)["content-type"].startswith("text/html") and b"access-control" not in page.head
    assert "immutable" not in named(ask(server, "/archives/private/board/1.atom", **given))["cache-control"]
    assert ask(server, "/private/gone.rss", **given).status == 410
    assert ask(server, "/private/none.rss", **given).status == 404
    assert ask(server, "/private/board.atom", method="PUT", **given).status == 405
    asked = ask(server, "/private/board.atom", method="OPTIONS", origin="https://other.example", **given)
    assert (asked.status, [name for name in named(asked) if name.startswith("access")]) == (200, [])
    assert heard and set(heard) == {"private/board.atom"}


@pytest.mark.parametrize("path", ["/private/old.atom", "/topics/old.atom", "/feed"])
def test_a_redirect_takes_no_token_along(folder: Path, path: str) -> None:
    server = served(folder, whereabouts={"private/old.atom": "private/board.atom", "topics/old.atom": "all.atom"}.get)
    answer = ask(server, f"{path}?a=1&token={TOKEN}&%74oken={TOKEN}&b=2")
    assert answer.status == 301 and TOKEN not in repr(answer)
    assert named(answer)["location"].endswith("?a=1&b=2")
    assert "?" not in named(ask(server, f"{path}?token={TOKEN}"))["location"]


def test_guessing_is_slow_and_tells_nothing_in_between(folder: Path) -> None:
    server = served(folder, networks=("10.0.0.0/8",))
    tries = [ask(server, f"/private/board.atom?token=guess-number-{number:09}") for number in range(throttle.BURST + 5)]
    assert [answer.status for answer in tries] == [401] * throttle.BURST + [429] * 5
    assert 0 < int(named(tries[-1])["retry-after"]) <= 60
    assert ask(server, f"/private/none.rss?token={TOKEN}").status == 429  # else the right one would show
    assert ask(server, f"/private/board.atom?token={TOKEN}", "192.0.2.2").status == 200
    assert ask(server, "/private/board.atom").status == 401  # no guess
    assert ask(server, "/private/board.atom?token=x", "10.1.1.1").status == 200
    assert ask(server, f"/private/board.atom?token={TOKEN}", now=NOW + 61).status == 200


def test_who_asks_without_a_token_first_as_browsers_do_is_not_slowed(folder: Path) -> None:
    server = served(folder)
    for _ in range(3 * throttle.BURST):
        assert ask(server, "/private/board.atom").status == 401
        assert ask(server, "/private/board.atom", authorization=basic(TOKEN)).status == 200


def test_only_feeds_that_are_there_are_slowed(folder: Path) -> None:
    """What is no file may be the application's, such as /-/status.json, or nothing at all."""
    heard: list[str] = []
    hooks = feeds.Hooks(throttle=lambda _address, name, *_: heard.append(name) or 9.0)  # type: ignore[func-returns-value]
    server = served(folder, hooks=hooks)
    for path in ("/-/status.json", "/-/problems.atom", "/topics/none.atom"):
        assert server.answer(rules.Request("GET", path, "", {}, "192.0.2.1"), NOW) is None
    assert ask(server, "/all.atom").status == 429
    assert heard == ["all.atom"]


@given(st.lists(st.sampled_from(["token=x", "%74oken=x", "a=1", "tokens=2", "=", "", "b"]) | st.text(max_size=6)))
def test_no_query_keeps_a_token_and_all_else_stays(parts: list[str]) -> None:
    left = private.without_token("&".join(parts))
    assert private._query_token(left) is None
    assert [part for part in left.split("&") if part in ("a=1", "tokens=2")] == [
        part for part in "&".join(parts).split("&") if part in ("a=1", "tokens=2")
    ]


# --- what is published ------------------------------------------------------------------------------------------------

BOARD = (("board", model.FeedFilter(topics=("AI",))),)
OPEN, HIDDEN = plan.Rules(custom=BOARD), plan.Rules(private=BOARD)


def filled(folder: Path, rules_of: plan.Rules, **own: Any) -> Newsroom:
    room = Newsroom(folder, settings_for(limit=2, rules=rules_of, hubs=(HUB,), own_hub=f"{PUBLIC}/hub", **own))
    for number in range(7):
        room.put(f"{number}.md", article(f"Title {number}", publishedDateTime=f"2023-01-01T{number:02}:00:00Z"))
    room.publish()
    return room


def test_no_list_no_page_and_no_hub_hears_of_it(tmp_path: Path) -> None:
    room = filled(tmp_path, HIDDEN)
    room.check()
    files = tree(room.out)
    own = {name for name in files if site.is_private(name)}
    assert {"private/board.atom", "private/board.html.br", "archives/private/board/1.atom"} <= own
    for name in sorted(files.keys() - own):
        assert b"private" not in files[name] and b"/board" not in files[name], name
    for name in own:
        assert b"hub.example" not in files[name] and b"/hub" not in files[name], name
    topics = [ping.url for ping in room.store.outbox.list_pings(HUB, 1_000)]
    assert f"{PUBLIC}/all.atom" in topics and not [topic for topic in topics if "private" in topic]
    assert list(verify.verify(room.plan, running=False, quick=False, progress=lambda *_: None)) == []
    for name in own:
        fmt = name.rpartition(".")[2]
        assert fmt not in model.FORMATS or lint.lint(files[name], fmt, self_url=f"{PUBLIC}/{name}") == []
    room.close()


@pytest.mark.parametrize("is_reload", [True, False])
def test_what_becomes_private_leaves_nothing_public_and_keeps_the_ids_of_entries(
    tmp_path: Path, is_reload: bool
) -> None:
    room = filled(tmp_path, OPEN, feeds={("custom", "board"): site.FeedSettings(title="The board")})
    ids = [entry["id"] for entry in room.entries("feeds/board")]
    hidden, public = (HIDDEN, "private", "private"), (OPEN, "feeds", "custom")
    for rules_of, there, kind in (hidden, public, hidden):
        own = settings_for(
            limit=2, rules=rules_of, hubs=(HUB,), own_hub=f"{PUBLIC}/hub",
            feeds={(kind, "board"): site.FeedSettings(title="The board")},
        )
        if is_reload:
            room.publisher.close()
            room.settings = own
            room.publisher = type(room.publisher)(
                room.store, room.plan, structlog.get_logger(), settle_ns=0, parallel=False
            )
            assert room.publisher.prepare(now=room.now, clean=False)
            room.publisher.reconcile()
            room.publisher.rebuild(now=room.now)
            room.publisher.write_listing()
        else:
            room.restart(own)
        room.check()
        folders = {name.split("/")[-2 - name.startswith("archives")] for name in tree(room.out) if "/board" in name}
        assert folders == {there}
        assert [entry["id"] for entry in room.entries(f"{there}/board")] == ids
        assert (b"The board" in tree(room.out)["feeds.opml"]) == (there == "feeds")
    room.close()


def test_diff_says_that_a_feed_goes_and_another_comes(tmp_path: Path) -> None:
    room = filled(tmp_path, OPEN)
    room.close()
    new = settings_for(limit=2, rules=HIDDEN, hubs=(HUB,), own_hub=f"{PUBLIC}/hub")
    changed = replace(room.plan, settings=new, source=replace(room.plan.source, rules=HIDDEN))
    found = preview.compare(room.plan, changed, structlog.get_logger(), now=room.now, now_ns=room.now * 10**9)
    assert found.entries == ()
    assert {(difference.feed, difference.what) for difference in found.feeds} == {
        ("feeds/board", "removed"), ("private/board", "new")
    }


# --- as configuration says it -----------------------------------------------------------------------------------------


def test_configuration_makes_a_feed_private_with_all_that_it_says_of_it(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        '[feeds.custom.board]\nprivate = true\ntopics = ["AI"]\ntitle = "The board"\n[feeds.custom.open]\n'
        '[server]\nprivate_networks = ["10.0.0.0/8"]\n'
    )
    found = config.settings(config.load(path))
    assert found.rules.private == BOARD and [name for name, _ in found.rules.custom] == ["open"]
    assert (found.of("private", "board").title, found.of("custom", "board").title) == ("The board", "")


@pytest.mark.parametrize(("server", "is_warned"), [
    ("", False), ('host = "::1"', False), ('host = "0.0.0.0"', True), ("enabled = false", True),
    (f'host = "0.0.0.0"\ntoken = "{TOKEN}"', False), ('host = "0.0.0.0"\nprivate_networks = ["10.0.0.0/8"]', False),
])
def test_a_feed_that_nobody_could_read_is_warned_of(tmp_path: Path, server: str, is_warned: bool) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[server]\n{server}\n[feeds.custom.board]\nprivate = true\n")
    said = [key for key, text in config.warnings(config.load(path)) if "nobody can read it" in text]
    assert said == (["feeds.custom.board.private"] if is_warned else [])


# --- the daemon -------------------------------------------------------------------------------------------------------


def status(feedd: Daemon, path: str, headers: Mapping[str, str] | None = None, body: str = "") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", feedd.port, timeout=DEADLINE_S)
    try:
        form = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request("POST" if body else "GET", path, body or None, {**form, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_from_the_configuration_to_its_readers_and_back(tmp_path: Path) -> None:
    server = {"port": 0, "token": TOKEN, "full_fetches_per_hour": 0}
    hub = {"enabled": True, "allow_networks": ["127.0.0.0/8"]}

    def configured(**own: Any) -> dict[str, Mapping[str, Any]]:
        return {"server": server, "hub": hub, "feeds.custom.board": {"title": "The board", "topics": ["AI"], **own}}

    place = Site(tmp_path, **configured())
    place.put("one.md", article("One"))
    right = {"Authorization": f"Bearer {TOKEN}"}
    with place.running() as feedd:
        place.shows("One", feed="feeds/board")
        assert status(feedd, "/feeds/board.atom")[0] == 200
        place.configure(**configured(private=True))
        until(lambda: status(feedd, "/feeds/board.atom")[0] == 410, "the public feed is gone")
        until(lambda: status(feedd, "/private/board.atom", right)[0] == 200, "the private feed is there")
        assert [status(feedd, f"/private/board.{end}")[0] for end in ("atom", "rss", "json", "html")] == [401] * 4
        assert status(feedd, f"/private/board.atom?token={TOKEN}")[1] == (place.out / "private/board.atom").read_bytes()
        assert status(feedd, f"/private/board.html?token={TOKEN}x")[0] == 401
        until(lambda: b"board" not in status(feedd, "/.well-known/feeds")[1] + status(feedd, "/")[1], "in no list")
        public = json.loads((place.out / "private/board.json").read_bytes())["feed_url"]
        form = {"hub.mode": "subscribe", "hub.topic": public, "hub.callback": "http://127.0.0.1:9/"}
        assert status(feedd, "/hub", body=urlencode(form))[0] == 404
        assert status(feedd, "/hub", body=urlencode(form | {"hub.topic": "https://feeds.example/all.json"}))[0] == 202
        assert b"private/board" in status(feedd, "/-/feeds.json", right)[1]
        until(place.is_written, "everything is written")
        place.check()
        place.configure(**configured())
        until(lambda: status(feedd, "/feeds/board.atom")[0] == 200, "public again")
        until(lambda: status(feedd, "/private/board.atom", right)[0] == 410, "and no longer private")
        assert status(feedd, "/private/board.atom")[0] == 401
    place.check()
    assert TOKEN not in json.dumps(feedd.lines)
    assert place.command("lint").returncode == 0


@pytest.mark.parametrize("own", [{}, {"private_networks": ["127.0.0.0/8"]}])
def test_on_this_machine_alone_it_can_be_tried_without_a_token(tmp_path: Path, own: dict[str, Any]) -> None:
    """But not through a proxy of an older HTTP, as nginx is to what is behind it unless told otherwise."""
    place = Site(tmp_path, server={"port": 0, **own}, **{"feeds.custom.board": {"private": True}})
    place.put("one.md", article("One"))
    with place.running() as feedd:
        assert status(feedd, "/private/board.atom")[0] == 200
        assert status(feedd, "/private/board.atom", {"X-Forwarded-For": "127.0.0.1"})[0] == 404
        for more in ("", "Connection: keep-alive\r\n", "Connection: close\r\n"):
            for version, expected in ((b"1.0", b"404"), (b"1.1", b"200")):
                with socket.create_connection(("127.0.0.1", feedd.port), DEADLINE_S) as client:
                    head = f"\r\nHost: 127.0.0.1:{feedd.port}\r\n{more}\r\n"
                    client.sendall(b"GET /private/board.rss HTTP/" + version + head.encode())
                    assert client.recv(12)[9:] == expected


def test_the_status_is_not_slowed_as_a_feed_is(tmp_path: Path) -> None:
    place = Site(tmp_path, server={"port": 0, "full_fetches_per_hour": 2})
    place.put("one.md", article("One"))
    with place.running() as feedd:
        for path in ("/-/status.json", "/metrics", "/-/problems.atom"):
            assert {status(feedd, path)[0] for _ in range(5)} == {200}


@pytest.mark.parametrize(("host", "status"), [
    ("feeds.example", 200), ("FEEDS.example:443", 200), ("192.0.2.9", 200), ("[2001:db8::1]:80", 200),
    ("localhost", 200), ("evil.example", 401), ("", 401), ("feeds.example.evil.example", 401), ("a b", 401),
])
def test_in_a_private_network_too_only_who_asks_by_our_own_name_is_let_in(folder: Path, host: str, status: int) -> None:
    """A page of a stranger, whose name was made to point here (DNS rebinding), asks by that name."""
    server = served(folder, networks=("192.0.2.0/24",))
    assert ask(server, "/" + FILES[0], host=host).status == status
