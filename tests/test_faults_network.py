"""A machine without a network: no route anywhere, and no answer from DNS. Then there is one again.

In a network namespace of its own: names are those of RFC 2606, and what answers is in this process, on 127.0.0.0/8.
"""

from __future__ import annotations

import http.server
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults import bind, given_back, held, namespaces, troubles
from newsroom import article, tree
from processes import Site, until

RESOLVER, HOST = "127.0.0.53", "127.1.0.80"
HOSTS = [f"www{number}.source.example" for number in range(4)]
HUB_WAITS = "hub not told, it is tried again"
NOBODY = "no host could be reached, so no link is blamed"


@contextmanager
def names(answer: bool) -> Iterator[None]:
    """A server of names: it leads all of them to HOST, or hears and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((RESOLVER, 53))

        def serve() -> None:
            while True:
                query, client = server.recvfrom(1024)
                if len(query) < 12:
                    return
                if not answer:
                    continue
                end = query.index(b"\0", 12) + 5
                (kind,) = struct.unpack_from("!H", query, end - 4)
                count = int(kind == 1)  # A; of other kinds there is nothing
                head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, count, 0, 0) + query[12:end]
                record = struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(HOST)
                server.sendto(head + record * count, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"end", (RESOLVER, 53))
            thread.join()


class Page(http.server.BaseHTTPRequestHandler):
    """Any host, and a hub."""

    told: list[bytes]

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/page" else 404, b"<title>A page</title>" + b"words " * 200)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.told.append(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(202, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def hosts() -> Iterator[list[bytes]]:
    """What is at HOST; yields what the hub there was told."""
    told: list[bytes] = []
    server = http.server.ThreadingHTTPServer((HOST, 80), type("Told", (Page,), {"told": told}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def without_network(folder: Path) -> Iterator[None]:
    """No route, and a resolver that is not there."""
    with namespaces(net=True):
        for name, text in {
            "resolv.conf": f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n",
            "nsswitch.conf": "hosts: files dns\n",
        }.items():
            if not (target := Path("/etc", name).resolve()).exists():
                pytest.skip(f"no {target} to mount another over")
            (folder / name).write_text(text)
            bind(folder / name, target)
        yield


def site_of(folder: Path) -> Site:
    networks = ["127.1.0.0/16"]
    site = Site(
        folder, hub={"urls": ["http://hub.example/"], "allow_networks": networks},
        links={"enabled": True, "soon_s": 1, "gap_ms": 5, "allow_networks": networks},
    )
    for number, host in enumerate(HOSTS):
        site.put(f"{number}.md", article(f"Story {number}", related=[{"title": "R", "webUrl": f"http://{host}/page"}]))
    return site


def verdicts(site: Site) -> list[str]:
    lines = site.command("links", "export", "--format", "csv").stdout.splitlines()
    column = lines[0].split(",").index("verdict")
    return [line.split(",")[column] for line in lines[1:]]


@pytest.mark.long
@pytest.mark.parametrize("is_silent", [False, True])
def test_without_dns_no_link_is_blamed_and_feeds_go_on(tmp_path: Path, is_silent: bool) -> None:
    with without_network(tmp_path), ExitStack() as dead:
        if is_silent:
            dead.enter_context(names(answer=False))
        site = site_of(tmp_path / "site")
        with site.running() as feedd:
            feedd.wait(NOBODY, within_s=90, level="warning")
            said = feedd.wait(HUB_WAITS, level="warning")
            assert 30 <= said["again_in_s"] <= 38
            before = held(feedd)
            assert set(verdicts(site)) == {"unchecked"}
            published = tree(site.out)
            site.put("new.md", article("New"))
            until(lambda: "New" in site.titles(), "work goes on")
            (site.articles / "new.md").unlink()
            until(lambda: "New" not in site.titles(), "work goes on")
            until(site.is_written, "everything is written")
            assert tree(site.out).keys() == published.keys()
            assert troubles(feedd) == {NOBODY: 1, HUB_WAITS: 1}, "each once, however many links and feeds there are"
            dead.close()
            with names(answer=True), hosts():
                done = site.command("check-links", "--all")
                assert done.returncode == 0, done.stderr
                assert set(verdicts(site)) == {"fresh"}, site.command("links", "export").stdout
            until(site.is_written, "everything is written")
            given_back(feedd, before)
        site.check()


@pytest.mark.long
def test_hubs_are_told_by_themselves_when_dns_is_back(tmp_path: Path) -> None:
    with without_network(tmp_path):
        site = site_of(tmp_path / "site")
        with site.running() as feedd:
            feedd.wait(NOBODY, within_s=90)
            feedd.wait(HUB_WAITS)
            with names(answer=True), hosts() as told:
                until(lambda: len(set(told)) == 3 * 4, "the hub is told of every format of every feed", within_s=120)
                feedd.wait("hub told")
                assert troubles(feedd) == {NOBODY: 1, HUB_WAITS: 1}
        site.check()
