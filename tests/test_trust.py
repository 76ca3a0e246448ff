"""What crosses a trust line: anything at all may come in, nothing secret goes out. See docs/security.md.

What modules' own tests hold is not repeated here; the table in docs/security.md names the test for each input, and a
test here holds it to that.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import gzip
import http.client
import ipaddress
import json
import os
import re
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from random import Random
from urllib.parse import quote

import brotli
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom import Newsroom, article
from processes import DEADLINE_S, ROOT, Daemon, Site, until
from test_hub import Subscriber
from test_push import ask

from feedd import cli, config, errors, notify, site
from feedd.hub.outgoing import Outgoing
from feedd.store import open_store
from feedd.store.links import open_links
from feedd.store.outbox import Ping
from feedd.store.sqlite import errors_in_words
from feedd.web import http as web_http
from feedd.web.access import Access, Verdict, judge
from feedd.web.feeds import Feeds, Hooks, Policy
from feedd.web.shelf import Shelf
from tests import linksite

SECURITY = ROOT / "docs" / "security.md"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
AT_HOME = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


# --- the page about it -----------------------------------------------------------------------------------------------


def named_tests(path: Path) -> set[str]:
    """The names of the tests in a file."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_input_of_the_threat_model_names_a_test_that_there_is() -> None:
    rows = [line.split("|") for line in SECURITY.read_text().splitlines() if line.startswith("| ")]
    inputs = [row for row in rows if len(row) == 7 and row[1].strip() != "input"]
    assert len(inputs) >= 25
    for row in inputs:
        named = re.findall(r"`(test_\w+)\.(test_\w+)`", row[5])
        assert named, row[1]
        for module, test in named:
            assert test in named_tests(ROOT / "tests" / f"{module}.py"), f"{row[1].strip()}: {module}.{test}"
        for module in re.findall(r"`([a-z_]+(?:/[a-z_]+)*)`", row[3]):
            assert (ROOT / "feedd" / f"{module}.py").exists() or (ROOT / "feedd" / module).is_dir(), module


# --- configuration, environment, command line ------------------------------------------------------------------------

TOML = ["[server]", "[feeds.custom.x]", '[links.host."a"]', "token", "port", "limit", " = ", "1", "1979-01-01", "[",
        "]", '"', "'''", "\n", "#", "{", "}", "inf", "nan", "0x", "headers", "é", "\\u0000", ".", ","]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=AT_HOME)
@given(data=st.binary(max_size=80) | st.lists(st.sampled_from(TOML) | st.text(max_size=4), max_size=30).map(
    lambda parts: "".join(parts).encode("utf-8", "replace")
))
def test_any_bytes_are_a_configuration_or_problems_in_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    try:
        config.load(path)
    except errors.ConfigError as error:
        assert error.problems and all(what for _, what in error.problems)
        assert "\x1b" not in str(error)


@given(value=st.text(max_size=40).filter(lambda text: "\0" not in text).map(
    lambda text: text.encode("utf-8", "replace").decode()
))
def test_a_header_from_the_environment_is_one_line_or_an_error_that_does_not_show_it(value: str) -> None:
    before = os.environ.get("FEEDD_TEST")
    os.environ["FEEDD_TEST"] = value
    try:
        name, found = config.variables.header("links.host.x.headers", "X-Key: $FEEDD_TEST")
    except errors.ConfigError as error:
        assert len(value) < 8 or value not in str(error)
    else:
        assert (name, found) == ("X-Key", value.strip()) and re.fullmatch(r"[\t -~]+", found)
    finally:
        os.environ.pop("FEEDD_TEST") if before is None else os.environ.update(FEEDD_TEST=before)


WORDS = ["run", "build", "lint", "status", "check-config", "check-links", "links", "init", "list", "show", "mark",
         "export", "recheck", "--json", "--dry-run", "--diff", "--all", "--url", "--article", "--feeds", "--config",
         "--format", "--version", "--help", "-h", "--", "-", "", ".", "..", "none.toml", "broken.toml", "file.atom",
         "dead", "fresh", "http://a.example/", "http://[", "\udcff", "*", "-1", "99999999999999999999"]  # fmt: skip
CODES = {0, 1, 2, 3, 4, 130}


@settings(max_examples=150, deadline=None, suppress_health_check=AT_HOME)
@given(arguments=st.lists(st.sampled_from(WORDS), max_size=5))
def test_any_arguments_end_with_a_code_of_the_list_and_no_trace(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "broken.toml").write_text("[server\n")
    (tmp_path / "file.atom").write_text("no feed")
    (tmp_path / "config.toml").unlink(missing_ok=True)  # as `init .` may have left it: `run` would run
    out, err = StringIO(), StringIO()
    with contextlib.chdir(tmp_path), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["feedd", *arguments])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
                code: object = 0
            except SystemExit as ended:
                code = ended.code
    assert code in CODES, (arguments, code, err.getvalue())
    assert "Traceback" not in err.getvalue()


# --- names of files, topics and providers; the state -----------------------------------------------------------------

ODD = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1, max_size=40) | st.sampled_from(
    ["..", ".", "/", "../../x", "a/../..", "con", "index", "feeds", "a\\b", "%2e%2e", "x" * 400, "-", "\u202e", "C++"]
)


@given(kind=st.sampled_from(["topic", "provider", "category"]), names=st.sets(ODD, max_size=8))
def test_no_name_of_a_feed_leads_out_of_the_folder_and_no_two_share_a_file(kind: str, names: set[str]) -> None:
    slugs = site.assign_slugs(kind, names, ())
    assert len(set(slugs.values())) == len(names) == len({slug.lower() for slug in slugs.values()})
    for slug in slugs.values():
        path = site.base_path(kind, slug)
        assert os.path.normpath(path) == path and path.count("/") == 1 and not path.startswith(("/", "."))
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", slug) and len(path) < 255, slug


@settings(max_examples=5, deadline=None, suppress_health_check=AT_HOME)
@given(names=st.sets(ODD.filter(lambda name: len(name.encode()) < 200), min_size=1, max_size=4))
def test_whatever_files_and_topics_are_called_what_is_written_stays_below_the_folder(
    tmp_path_factory: pytest.TempPathFactory, names: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    room = Newsroom(folder)
    for number, name in enumerate(sorted(names)):
        path = re.sub(r"[/\0]", "_", name).lstrip(".") or "x"
        room.put(f"{number}/{path}.md", article(f"T{number}", topics=[name], provider={"name": name, "domain": name}))
    room.publish()
    room.check()
    room.close()
    assert {entry.name for entry in folder.iterdir()} == {"articles", "feeds", "state", "oracle"}


@settings(max_examples=60, deadline=None, suppress_health_check=AT_HOME)
@given(st.sampled_from(["feedd.db", "links.sqlite"]), st.integers(0, 1 << 32), st.sampled_from([1, 999]))
def test_a_state_with_any_bytes_changed_is_read_or_told_to_be_torn(
    tmp_path_factory: pytest.TempPathFactory, written: Path, which: str, seed: int, many: int
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    random = Random(seed)
    data = bytearray((written / which).read_bytes())
    for _ in range(many):
        data[random.randrange(len(data))] = random.randrange(256)
    (folder / which).write_bytes(data)
    with contextlib.suppress(errors.StateError), errors_in_words():
        if which == "feedd.db":
            with open_store(str(folder)) as store:
                store.list_problems()
                store.list_feeds()
                store.list_changes(20)
                list(store.iter_files())
                store.find_bodies(range(20))
                store.metadata_of("topic", "topic 1")
                assert store.count() and store.count_dirty() >= 0
        else:
            with contextlib.closing(open_links(str(folder), read_only=True)) as links:
                links.list_runs(5)
                assert links.count_by_hand() >= 0


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state with something in each table that is read above."""
    room = Newsroom(tmp_path_factory.mktemp("state"))
    for number in range(8):
        room.put(f"{number}.md", article(f"T{number}", topics=[f"topic {number}"]))
    room.put("_data/topics/t.yaml", "title: topic 1\ndescription: About it\n")
    room.put("bad.md", "---\ntitle: [\n---\n")
    room.publish()
    room.close()
    open_links(str(room.state)).close()
    for name in ("feedd.db", "links.sqlite"):
        database = sqlite3.connect(room.state / name)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
    return room.state


# --- requests --------------------------------------------------------------------------------------------------------

HEADERS = [b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"a-im",
           b"accept", b"accept-encoding", b"user-agent", b"host", b"sec-fetch-dest", b"origin", b"te",
           b"x-forwarded-for", b"authorization", b"content-type", b"cookie"]  # fmt: skip
VALUES = st.binary(max_size=40) | st.lists(st.sampled_from([
    b"bytes=0-1", b"bytes=-5,2-", b"*", b'"x"', b"W/", b",", b";q=", b"0.5", b"1e9", b"feed", b"gzip", b"br",
    b"identity", b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sun, 31 Feb 9999 25:00:00 GMT",
    b"document", b"text/html", b"\xff", b" ",
]), max_size=6).map(b"".join)
PATHS = st.sampled_from(["/all.atom", "/all.atom.gz", "/", "//all.atom", "/.well-known/feeds", "/x/../all.atom"])
FEED = b"<feed>" + b"x" * 3000 + b"</feed>"


@settings(max_examples=200, deadline=None, suppress_health_check=AT_HOME)
@given(
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST", "BREW", ""]), path=PATHS | st.text(max_size=30),
    query=st.text(max_size=20), headers=st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=5),
    address=st.text(max_size=20), now=st.floats(0, 4e9),
)
def test_any_request_has_an_answer_and_a_200_is_the_whole_file(
    tmp_path: Path, method: str, path: str, query: str, headers: dict[bytes, bytes], address: str, now: float
) -> None:
    if not (tmp_path / "all.atom").exists():
        (tmp_path / "all.atom").write_bytes(FEED)
        (tmp_path.parent / "secret.atom").write_bytes(b"outside")
    served = Feeds(Shelf(str(tmp_path)), Policy("https://feeds.example"), Hooks())
    answer = served.answer(web_http.Request(method, path, query, headers, address), now)
    if answer is None:
        return
    assert answer.status in (200, 204, 226, 301, 302, 303, 304, 307, 308, 400, 404, 405, 406, 410, 412, 414, 429)
    sent = dict(answer.headers)
    assert all(b"\r" not in value and b"\n" not in value for pair in answer.headers for value in pair)
    assert b"\n\r\n" not in answer.head and b"outside" not in answer.body
    if answer.status == 200 and method == "GET" and path == "/all.atom":
        unpack = {b"gzip": gzip.decompress, b"br": brotli.decompress}.get(sent.get(b"content-encoding", b""), bytes)
        assert unpack(answer.body) == FEED and b"content-range" not in sent
    if answer.status == 304 or method == "HEAD":
        assert answer.body == b""


@given(
    peer=st.sampled_from(["192.0.2.1", "127.0.0.1", "::1", "", "nobody"]),
    value=st.binary(max_size=60) | st.lists(
        st.sampled_from([b"127.0.0.1", b"::1", b"198.51.100.7", b",", b" ", b"unknown", b"[::1]:80", b"\xff"]),
        max_size=8,
    ).map(b"".join),
)
def test_only_a_proxy_of_ours_says_who_asks_and_only_an_address(peer: str, value: bytes) -> None:
    headers = {b"x-forwarded-for": value}
    assert web_http.address_of(peer, headers, frozenset()) == peer
    found = web_http.address_of(peer, headers, frozenset({"127.0.0.1", "::1"}))
    if peer not in ("127.0.0.1", "::1"):
        assert found == peer
    else:
        ipaddress.ip_address(found)


TOKEN = "a-token-of-some-length"


@given(
    given_token=st.text(max_size=300) | st.just(TOKEN) | st.just(TOKEN + "\0") | st.just("\udcff"),
    scheme=st.sampled_from(["Bearer {}", "bearer   {} ", "Basic {}", "{}", "Digest {}"]), twice=st.booleans(),
)
def test_the_token_alone_opens_whatever_its_length_and_letters(given_token: str, scheme: str, twice: bool) -> None:
    data = given_token.encode("utf-8", "surrogatepass")
    value = base64.b64encode(b"user:" + data) if "Basic" in scheme else data
    head, _, tail = scheme.encode().partition(b"{}")
    headers = [(b"authorization", head + value + tail)] * (1 + twice)
    access = Access(TOKEN, loopback_only=False)
    is_right = given_token.strip() == TOKEN and not scheme.startswith(("{}", "Digest"))
    is_right &= "Basic" not in scheme or given_token == TOKEN
    expected = Verdict.OPEN if is_right else Verdict.ASK
    assert judge(access, "192.0.2.1", "1.1", headers, None) is expected
    assert judge(access, "192.0.2.1", "1.1", [], given_token) is (Verdict.OPEN if given_token == TOKEN else Verdict.ASK)
    assert judge(access, "192.0.2.1", "1.1", headers, "wrong") is Verdict.ASK


# --- answers of those whom feedd asks --------------------------------------------------------------------------------


class Junk:
    """A server that answers each connection with the next of its bytes, and closes."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.said = b""
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(DEADLINE_S)
                self.heard = [*self.heard[-20:], connection.recv(65536)]
                connection.sendall(self.said)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture(scope="module")
def junk() -> Iterator[Junk]:
    made = Junk()
    yield made
    made.close()


ANSWERS = st.lists(st.sampled_from([
    b"HTTP/1.1 ", b"HTTP/1.0 ", b"200 OK\r\n", b"204 X\r\n", b"410 Gone\r\n", b"503 X\r\n", b"999 X\r\n", b"100 C\r\n",
    b"\r\n", b"\n", b"Content-Length: ", b"5\r\n", b"-1\r\n", b"99999999999999\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Retry-After: ", b"1e9\r\n", b"Sun, 06 Nov 1994 08:49:37 GMT\r\n", b"Location: http://10.0.0.1/\r\n", b"hello",
    b"0\r\n\r\n", b"fffffffff\r\n", b"\xff\xfe", b"\0", b"Set-Cookie: a=b\r\n", b"Content-Encoding: gzip\r\n",
]) | st.binary(max_size=12), max_size=14).map(b"".join)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=AT_HOME)
@given(said=ANSWERS)
def test_no_answer_of_a_callback_makes_the_hub_raise_or_read_on(junk: Junk, said: bytes) -> None:
    async def asked() -> None:
        async with Outgoing("feedd/test", LOOPBACK, DEADLINE_S, None) as outgoing:
            url = f"http://127.0.0.1:{junk.port}/cb"
            for outcome in (await outgoing.get(url, 44, 0.0), await outgoing.post(url, b"x", {}, 0.0)):
                assert bool(outcome.error) is not outcome.is_success
                assert len(outcome.body) <= 44 and len(outcome.error) <= 220 and outcome.wish_s >= 0

    junk.said = said
    asyncio.run(asked())


@settings(max_examples=150, deadline=None, suppress_health_check=AT_HOME)
@given(said=ANSWERS)
def test_no_answer_of_a_hub_makes_telling_raise(tmp_path: Path, junk: Junk, said: bytes) -> None:
    import aiohttp

    async def told() -> notify.Answer:
        hubs = notify.Hubs((f"http://127.0.0.1:{junk.port}/hub",), "feedd/test", LOOPBACK)
        log = structlog.get_logger()
        notifier = notify.Notifier(str(tmp_path), hubs, log, random=Random(1), failed=lambda error: None)
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            return await notifier._post(Ping(1, hubs.urls[0], "https://f.example/", "all", 1, 0, 0, 0, ""), session)

    junk.said = said
    answer = asyncio.run(told())
    assert "\n" not in answer.error and len(answer.error) <= 220
    assert answer.wish_s is None or answer.wish_s >= 0


# --- nothing secret goes out -----------------------------------------------------------------------------------------

SECRETS = {
    "server.token": "tok3n-of-the-server-9f2c", "header": "h3ader-value-7d1e55", "hub.secret": "hub-s3cret-41aa07bc",
    "secured": "s3cured-blob-c0ffee00", "secured in a broken file": "s3cured-broken-beef0123",
    "password": "p4ssword-of-url-77aa", "proxy": "pr0xy-password-5e5e", "wrong token": "wr0ng-token-tried-1234",
    "webhook": "w3bhook-path-0badcafe", "callback": "c4llback-capability-66",
}


def shown_by(site: Site, feedd: Daemon) -> Iterator[tuple[str, bytes]]:
    """Everything that somebody could read: what is served, what is written, what commands say."""
    token = {"Authorization": f"Bearer {SECRETS['server.token']}"}
    for path in ("/-/", "/-/status.json", "/-/problems.json", "/-/feeds.json", "/-/hubs.json", "/-/changes.json",
                 "/-/problems.atom", "/-/links", "/-/links.json", "/-/openapi.json", "/metrics", "/-/metrics", "/hub",
                 "/feeds.opml", "/all.json", "/readyz", "/nothing"):  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", feedd.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=token)
            answer = connection.getresponse()
            yield path, str(answer.headers).encode() + answer.read()
    for path in sorted(site.out.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            unpack = {".gz": gzip.decompress, ".br": brotli.decompress}.get(path.suffix, bytes)
            yield path.name, unpack(data)
    for arguments in (["status", "--json"], ["status"], ["links", "export"], ["links", "list"]):
        code = 1 if "status" in arguments else 0  # there are problems
        yield " ".join(arguments), "".join(linksite.run(site, *arguments, code=code)).encode()


def test_no_secret_is_in_a_log_a_feed_or_an_answer(
    tmp_path: Path, junk: Junk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real daemon, everything logged, and something going wrong with each of the secrets in hand."""
    junk.said = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n"
    monkeypatch.setenv("PLANTED_KEY", SECRETS["header"])
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:{SECRETS['proxy']}@127.0.0.1:{junk.port}/")
    dying = socket.create_server(("127.0.0.1", 0))  # a hub that never answers
    hub_port = dying.getsockname()[1]
    site = Site(
        tmp_path, server={"token": SECRETS["server.token"], "port": 0},
        hub={"enabled": True, "allow_networks": ["127.0.0.0/8"], "urls": [f"http://127.0.0.1:{hub_port}/"]},
        links={"enabled": True, "proxy": True, "soon_s": 1, "gap_ms": 0, "allow_networks": ["127.0.0.0/8"]},
        alerts={"webhook": f"http://127.0.0.1:{junk.port}/{SECRETS['webhook']}", "every_s": 1, "articles_minutes": 0},
    )
    with site.config.open("a") as file:
        file.write('[links.host."dead.example"]\nheaders = ["X-Key: $PLANTED_KEY"]\n')
    secured = {"data": SECRETS["secured"], "more": [SECRETS["secured"]]}
    links = ["http://dead.example/a", f"http://user:{SECRETS['password']}@127.0.0.1:9/x"]
    related = [{"title": f"L{n}", "webUrl": url} for n, url in enumerate(links)]
    site.put("a.md", article("One", secured=secured, related=related))
    site.put("broken.md", f"---\ntitle: One\nsecured: {{x: {SECRETS['secured in a broken file']}\n---\n")
    site.put("odd.md", f"---\ntitle: 1\npublished: maybe\nsecured: [{SECRETS['secured in a broken file']}]\n---\n")
    reader = Subscriber()
    with contextlib.closing(dying), site.running() as feedd:
        topic, callback = "https://feeds.example/all.atom", f"{reader.url}/{SECRETS['callback']}"
        assert ask(feedd, mode="subscribe", topic=topic, callback=callback, secret=SECRETS["hub.secret"]) == 202
        feedd.wait("subscribed")
        for wrong in (
            {"mode": "subscribe", "topic": "http://x.example/", "callback": callback, "secret": SECRETS["hub.secret"]},
            {"mode": "subscribe", "topic": topic, "callback": f"http://u:{SECRETS['password']}@h.example/"},
            {"mode": "subscribe", "topic": topic, "callback": callback, "secret": SECRETS["hub.secret"] * 20},
        ):
            assert 400 <= ask(feedd, **wrong) < 500
        for name in ("wrong token", "server.token"):
            status = feedd.get(f"/-/problems.atom?token={quote(SECRETS[name])}")[0]
            assert status == (200 if name == "server.token" else 401)
            feedd.get(f"/nothing?token={SECRETS[name]}")
            feedd.get(f"/all.atom?token={SECRETS[name]}")
        reader.close()  # deliveries fail from now on
        site.put("a.md", article("Two", secured=secured, related=related))
        site.shows("Two")
        feedd.wait("links checked")
        until(site.is_written, "everything is written")
        shown = list(shown_by(site, feedd))
        assert len(shown) > 30
        assert SECRETS["header"].encode() in b"".join(junk.heard)  # so there was something to leak
    shown.append(("log", "\n".join([*map(json.dumps, feedd.lines), *feedd.noise]).encode()))
    leaks = [
        f"{name} in {place}" for place, data in shown for name, secret in SECRETS.items()
        if secret.encode() in data
    ]
    assert leaks == []
    log = dict(shown)["log"]
    assert b"article rejected" in log and b"links checked" in log and b"subscribed" in log


@pytest.mark.parametrize(("text", "secret"), [
    ('[server]\ntoken = "{} with a space"\n', "server.token"), ('[server]\ntokn = "{}"\n', "server.token"),
    ('[site]\nurl = "https://user:{}@news.example"\n', "password"), ('[server.token]\nx = "{}"\n', "server.token"),
    ('[hub]\nurls = ["https://u:{}@hub.example/"]\n', "password"), ('[server]\ntoken = ["{}"]\n', "server.token"),
    ('[links]\narchive = "https://u:{}@a.example"\n', "password"), ('[server]\ntoken = "{}" "\n', "server.token"),
])  # fmt: skip
def test_no_problem_of_a_configuration_shows_a_secret(tmp_path: Path, text: str, secret: str) -> None:
    site = Site(tmp_path)
    site.config.write_text(text.replace("{}", SECRETS[secret]))
    for verb in ("check-config", "run"):
        assert SECRETS[secret] not in "".join(linksite.run(site, verb, code=2))
