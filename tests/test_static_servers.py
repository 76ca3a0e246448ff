"""docs/nginx.conf and docs/Caddyfile, run for real: what either makes of the folder is what feedd's own server does.

Skipped for a server that is not installed here.
"""

from __future__ import annotations

import contextlib
import grp
import gzip
import http.client
import os
import pwd
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import brotli
import pytest
from newsroom import Newsroom, article, settings_for
from processes import DEADLINE_S, ROOT, until

from feedd import model, plan
from feedd.web import feeds, guesses, shelf
from feedd.web import http as rules

PUBLIC = "https://feeds.example"
SAME = (
    "content-type", "content-length", "content-encoding", "last-modified", "cache-control", "accept-ranges",
    "x-content-type-options", "access-control-allow-origin", "content-security-policy", "referrer-policy",
)
FEEDS = ("/all.atom", "/all.rss", "/all.json", "/topics/ai.atom", "/providers/source.example.rss")
ARCHIVES = ("/archives/all/1.atom", "/archives/all/1.rss")
PAGES = ("/", "/index.html", "/about.html")
OTHERS = ("/feeds.opml", "/own.css", "/own.js", "/own.svg", "/own.txt", "/own.png")
CODINGS = ("identity", "gzip", "br")
NOWHERE = (
    "/nothing.atom", "/topics", "/topics/", "/archives/", "/.hidden.atom", "/topics/.ai.atom.tmp", "/all.atom.gz",
    "/all.atom.br", "/..", "/../secret.txt", "/topics/../../secret.txt", "/%2e%2e/secret.txt",
    "/topics/..%2f..%2fsecret.txt", "/%2ehidden.atom", "/all.atom/", "/all.atom/x", "/index.html/",
    "/all.atom%00", "/all.atom%0d%0aLink:x",
)  # fmt: skip


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Served(NamedTuple):
    """A server over a folder. `codings`: those that it can send."""

    name: str
    port: int
    folder: Path
    codings: tuple[str, ...]

    def ask(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": "feeds.example", **(headers or {})}.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            found: dict[str, str] = {}
            for name, value in answer.getheaders():
                key = name.lower()
                assert key == "link" or key not in found, f"{name} twice"
                found[key] = f"{found[key]}, {value}" if key in found else value
            return Answer(answer.status, found, answer.read())

    def own(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """What feedd's own server answers."""
        server = feeds.Feeds(shelf.Shelf(str(self.folder)), feeds.Policy(PUBLIC))
        given = {name.lower().encode(): value.encode() for name, value in (headers or {}).items()}
        answer = server.answer(rules.Request(method, path, "", given, "127.0.0.1"), 1_700_000_000.0)
        assert answer is not None
        return Answer(answer.status, {k.decode(): v.decode() for k, v in answer.headers}, answer.body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Feeds with two archives, and one of each other kind of file, with their compressed copies."""
    place = tmp_path_factory.mktemp("static")
    room = Newsroom(place, settings_for(limit=3, rules=plan.Rules(private=(("board", model.FeedFilter()),))))
    for number in range(12):
        room.put(f"{number}.md", article(f"Title {number}", publishedDateTime=f"2023-01-01T{number:02}:00:00Z"))
    room.publish()
    room.close()
    for name in ("about.html", "own.css", "own.js", "own.svg", "own.txt", "own.png"):
        data = f"What is in {name}. ".encode() * 20
        copies = {"": data, ".gz": gzip.compress(data, mtime=0), ".br": brotli.compress(data)}
        for suffix, copy in copies.items():
            target = room.out / (name + suffix)
            target.write_bytes(copy)
            os.utime(target, ns=(10**18, 10**18))
    for hidden in (room.out / ".hidden.atom", room.out / "topics" / ".ai.atom.tmp", room.out.parent / "secret.txt"):
        hidden.write_text("hidden")
    return room.out


def nginx(port: int, folder: Path, prefix: Path) -> tuple[list[str], tuple[str, ...]] | None:
    """The command that runs nginx by docs/nginx.conf, and the codings it can send; None where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        return None
    built = subprocess.run([program, "-V"], capture_output=True, text=True, timeout=10, check=True).stderr
    modules = re.search(r"--modules-path=(\S+)", built)
    module = Path(modules[1] if modules else "/none") / "ngx_http_brotli_static_module.so"
    example = (ROOT / "docs" / "nginx.conf").read_text()
    example = example.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("    listen [::]:80;\n", "")
    example = example.replace("/srv/feedd/feeds", str(folder))
    if module.exists():
        example = example.replace("#brotli_static on;", "brotli_static on;")
    (prefix / "feedd.conf").write_text(example)
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (prefix / "nginx.conf").write_text("\n".join([
        f"load_module {module};" if module.exists() else "", f"user {user} {group};" if os.geteuid() == 0 else "",
        "daemon off; worker_processes 1;", f"pid {prefix}/nginx.pid; error_log {prefix}/errors.log;", "events { }",
        "http {", "access_log off;", *(f"{kind}_temp_path {prefix}/temporary;" for kind in kinds),
        f"include {prefix}/feedd.conf;", "}",
    ]))  # fmt: skip
    command = [program, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-e", str(prefix / "errors.log")]
    return command, CODINGS if module.exists() else CODINGS[:2]


def caddy(port: int, folder: Path, prefix: Path) -> tuple[list[str], tuple[str, ...]] | None:
    """The same of Caddy and docs/Caddyfile."""
    program = shutil.which("caddy")
    if program is None:
        return None
    example = (ROOT / "docs" / "Caddyfile").read_text()
    example = example.replace("\nfeeds.example {\n", f"\nhttp://feeds.example:{port} {{\n\tbind 127.0.0.1\n")
    example = example.replace("/srv/feedd/feeds", str(folder))
    (prefix / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + example)
    return [program, "run", "--config", str(prefix / "Caddyfile"), "--adapter", "caddyfile"], CODINGS


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def served(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    name = request.param.__name__
    prefix = tmp_path_factory.mktemp(name)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    found = request.param(port, folder, prefix)
    if found is None:
        pytest.skip(f"{name} is not installed here")
    command, codings = found
    own = {"HOME": str(prefix), "XDG_DATA_HOME": str(prefix), "XDG_CONFIG_HOME": str(prefix)}
    with (prefix / "said.log").open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=os.environ | own, cwd=prefix,
        )  # fmt: skip
        try:
            until(lambda: process.poll() is not None or is_open(port), f"{name} listens")
            assert process.poll() is None, (prefix / "said.log").read_text()
            yield Served(name, port, folder, codings)
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            finally:
                process.kill()


def is_chunked(answer: Answer) -> bool:
    """As Caddy sends compressed copies."""
    return answer.headers.get("transfer-encoding") == "chunked"


def accepting(coding: str) -> dict[str, str]:
    return {} if coding == "identity" else {"Accept-Encoding": coding}


@pytest.mark.parametrize("path", [*FEEDS, *ARCHIVES, *PAGES, *OTHERS])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_file_comes_with_the_headers_of_the_built_in_server(served: Served, path: str, coding: str) -> None:
    if coding not in served.codings:
        pytest.skip(f"{served.name} has no {coding} here")
    found, own = served.ask(path, accepting(coding)), served.own(path, accepting(coding))
    assert (found.status, found.body) == (own.status, own.body) == (200, own.body)
    same = [name for name in SAME if name != "content-length" or not is_chunked(found)]
    assert {name: found.headers.get(name) for name in same} == {name: own.headers.get(name) for name in same}
    assert not is_chunked(found) or (served.name == "caddy" and coding != "identity")
    assert found.headers.get("content-encoding", "identity") == coding
    assert re.fullmatch(r'"[^"]+"', found.headers["etag"])
    for name in ("vary", "access-control-expose-headers", "link"):  # what is said is what feedd says, perhaps less
        said, all_of_it = found.headers.get(name, ""), own.headers.get(name, "")
        assert set(filter(None, said.split(", "))) <= set(all_of_it.split(", "))
    assert "Accept-Encoding" in found.headers["vary"]
    assert ("link" in found.headers) == (path in (*FEEDS, *ARCHIVES, "/feeds.opml"))


def test_what_lasts_says_so_and_what_does_not_does_not(served: Served) -> None:
    ages = {path: served.ask(path).headers["cache-control"] for path in ("/all.atom", "/", *ARCHIVES)}
    assert ages == {
        "/all.atom": "public, max-age=600", "/": "no-cache",
        **dict.fromkeys(ARCHIVES, "public, max-age=31536000, immutable"),
    }  # fmt: skip


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("path", ["/all.atom", "/archives/all/1.rss", "/", "/own.css"])
def test_nothing_new_is_a_304_with_the_same_headers_and_no_body(served: Served, path: str, coding: str) -> None:
    first = served.ask(path, accepting(coding))
    for condition in ({"If-None-Match": first.headers["etag"]}, {"If-Modified-Since": first.headers["last-modified"]}):
        again = served.ask(path, {**accepting(coding), **condition})
        assert (again.status, again.body) == (304, b"")
        for name in ("etag", "cache-control", "vary", "link", "access-control-allow-origin"):
            assert again.headers.get(name) == first.headers.get(name)
    old = {"If-None-Match": '"other"', "If-Modified-Since": first.headers["last-modified"]}
    assert served.ask(path, {**accepting(coding), **old}).status == 200


def test_each_coding_has_an_etag_of_its_own(served: Served) -> None:
    etags = [served.ask("/all.atom", accepting(coding)).headers["etag"] for coding in served.codings]
    assert len(set(etags)) == len(served.codings)


def test_a_coding_that_is_refused_is_not_sent(served: Served) -> None:
    found = served.ask("/all.atom", {"Accept-Encoding": "br;q=0, gzip;q=0, identity"})
    assert "content-encoding" not in found.headers
    best = served.ask("/all.atom", {"Accept-Encoding": "gzip, br"}).headers["content-encoding"]
    assert best == served.codings[-1]


@pytest.mark.parametrize("path", NOWHERE)
def test_nothing_else_is_there(served: Served, path: str) -> None:
    found = served.ask(path)
    assert found.status in (400, 404)
    assert b"hidden" not in found.body
    assert not {"cache-control", "link", "x"} & found.headers.keys()


@pytest.mark.parametrize("coding", CODINGS)
def test_private_feeds_are_not_for_it(served: Served, coding: str) -> None:
    private = [path for path in served.folder.rglob("private/**/*") if path.is_file()]
    names = ["/" + str(path.relative_to(served.folder)) for path in private]
    assert {name[:9] for name in names} == {"/private/", "/archives"}
    for name in names:
        for path in (name, name.replace("private", "%70rivate"), name.replace("/", "//"), "/topics/.." + name):
            found = served.ask(path, accepting(coding))
            assert found.status in (400, 404) and b"Title" not in found.body
        if not name.endswith((".gz", ".br")):
            assert served.own(name, accepting(coding)).status == 404
    assert b"private" not in served.ask("/feeds.opml").body + served.ask("/").body


@pytest.mark.parametrize("path", ["/all.atom", "/"])
def test_head_is_get_without_its_body(served: Served, path: str) -> None:
    for coding in served.codings:
        head, get = served.ask(path, accepting(coding), "HEAD"), served.ask(path, accepting(coding))
        assert (head.status, head.body) == (200, b"")
        for headers in (head.headers, get.headers):
            headers["date"] = ""
            headers.pop("transfer-encoding", "")
        assert head.headers == get.headers


def test_ranges_are_ignored(served: Served) -> None:
    found = served.ask("/all.atom", {"Range": "bytes=0-9"})
    assert (found.status, found.body) == (200, (served.folder / "all.atom").read_bytes())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND"])
@pytest.mark.parametrize("path", ["/all.atom", "/", "/feeds.opml", "/.well-known/feeds"])
def test_it_can_only_be_read(served: Served, path: str, method: str) -> None:
    found, own = served.ask(path, {"Content-Length": "0"}, method), served.own(path, method=method)
    assert found.status == own.status == 405
    assert found.headers.get("allow") == own.headers.get("allow") == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/all.atom", "/topics/ai.json", "/feeds.opml", "/index.html"])
def test_scripts_of_other_sites_may_ask_whether_a_feed_changed(served: Served, path: str) -> None:
    asked = {"Origin": "https://reader.example", "Access-Control-Request-Method": "GET"}
    found, own = served.ask(path, asked, "OPTIONS"), served.own(path, asked, "OPTIONS")
    assert (found.status, found.body, own.status) == (204, b"", 200)
    for name in ("allow", "origin", "allow-methods", "allow-headers", "max-age"):
        key = name if name == "allow" else f"access-control-{name.replace('origin', 'allow-origin')}"
        assert found.headers.get(key) == own.headers.get(key)
    assert ("access-control-allow-headers" in found.headers) == (path != "/index.html")


def test_what_names_the_server_is_left_out_where_it_can_be(served: Served) -> None:
    paths = ("/all.atom", "/", "/feed", "/.well-known/feeds", "/nothing")
    said = {served.ask(path, method=method).headers.get("server") for path in paths for method in ("GET", "OPTIONS")}
    assert said == ({"nginx"} if served.name == "nginx" else {None})


def test_a_304_says_what_the_server_can_say(served: Served) -> None:
    first = served.ask("/all.atom")
    again = served.ask("/all.atom", {"If-None-Match": first.headers["etag"]})
    dated = None if served.name == "caddy" else first.headers["last-modified"]
    assert (again.status, again.headers.get("last-modified")) == (304, dated)


@pytest.mark.parametrize("coding", CODINGS)
def test_the_well_known_list_is_the_opml_file(served: Served, coding: str) -> None:
    found, own = (served.ask(path, accepting(coding)) for path in ("/.well-known/feeds", "/feeds.opml"))
    for answer in (found, own):
        answer.headers["date"] = ""
    assert found == own and found.status == 200
    assert found.headers["content-type"] == "text/x-opml; charset=utf-8"
    assert served.ask("/.well-known/feeds", {"If-None-Match": served.ask("/feeds.opml").headers["etag"]}).status == 304
    for other in ("/.well-known/", "/.well-known/feeds/", "/.well-known/feeds.opml", "/.well-known/host-meta"):
        assert served.ask(other).status == 404


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("guess", [guess for each in guesses._FORMATS.values() for guess in each])
def test_guesses_are_led_where_the_built_in_server_leads_them(served: Served, guess: str, slash: str) -> None:
    for method in ("GET", "HEAD"):
        found, own = (ask(f"/{guess}{slash}", None, method) for ask in (served.ask, served.own))
        assert found.status == own.status == 301
        for name in ("location", "cache-control"):
            assert found.headers[name] == own.headers[name]
    assert served.ask(f"/{guess}x{slash}").status == served.ask(f"/topics/{guess}{slash}").status == 404


def test_what_is_written_anew_is_served_at_once(served: Served) -> None:
    path = served.folder / "changing.atom"
    path.write_bytes(b"<feed>1</feed>")
    first = served.ask("/changing.atom")
    new = path.with_name(".changing.tmp")
    new.write_bytes(b"<feed>two</feed>")
    new.replace(path)
    second = served.ask("/changing.atom", {"If-None-Match": first.headers["etag"]})
    assert (second.status, second.body) == (200, b"<feed>two</feed>")
