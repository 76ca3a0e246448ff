"""`./bench web`: feeds over HTTP beside nginx and Caddy, where they are installed; wrk asks. One core serves, one asks.

304s and gzip answers a second of a feed of about 28 kB; then what a reader waits while 20,000 articles come in, and
beside 10,000 idle and 500 slow connections; then the memory that 100,000 feeds take that are asked for at random.
Everything talks to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from tests.bench import corpus, measure, sites
from tests.bench.report import megabytes, table

CONNECTIONS, SECONDS, ROUNDS = 64, 4, 3
BURST, IDLE, SLOW, FEEDS = 20_000, 10_000, 500, 100_000
SIZE = 28_000
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_P99 = re.compile(r"99%\s+([\d.]+)(us|ms|s)")
_ERRORS = re.compile(r"(Socket errors|Non-2xx or 3xx).*")
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """What wrk saw: answers a second, the 99th percentile of waiting in ms, and its line of errors."""

    rate: float
    p99_ms: float
    errors: str


def run(workshop: sites.Workshop, articles: int) -> None:
    """All of it; without wrk, only a word that it is missing."""
    if not shutil.which("wrk"):
        print("web: needs wrk")
        return
    site = workshop.built(articles).site
    file = min(sites.live_feeds(site.feeds), key=lambda path: abs(path.stat().st_size - SIZE))
    feed = f"/{file.relative_to(site.feeds)}"
    rows = []
    for kind in ("304", "gzip"):
        found: dict[str, list[Load]] = {}
        for _ in range(ROUNDS):
            for name, serve in _servers(site).items():
                with serve as port:
                    found.setdefault(name, []).append(_load(port, feed, _asked(port, feed, kind)))
        for name, loads in found.items():
            best = sorted(loads, key=lambda load: load.rate)[len(loads) // 2]
            rows.append((name, kind, f"{best.rate:,.0f}", f"{best.p99_ms:.2f} ms", best.errors or "none"))
    sizes = [path.stat().st_size / 1000 for path in (file, file.with_name(file.name + ".gz"))]
    title = "Answers a second, a feed of {:.1f} kB ({:.1f} kB in gzip)".format(*sizes)
    table(f"{title}, {CONNECTIONS} connections, one core", ("", "answers", "a second, median", "p99", "errors"), rows)
    pressed = [_ingesting(site, feed), _crowded(site, feed), *_many(site, file)]
    table("Under pressure", ("", "answers a second", "p99", "memory", "errors"), pressed)


def _ingesting(site: sites.Site, feed: str) -> tuple[str, ...]:
    """Asks for a feed while 20,000 articles are copied in under new names."""
    here = sites.Site(site.home / "web", site.home / "web-articles")
    shutil.copytree(site.articles, here.articles, dirs_exist_ok=True)
    more = site.home / "web-more"
    corpus.generate(more, BURST)
    with here.daemon() as daemon:
        headers, before = _asked(daemon.port, feed, "304"), measure.memory(daemon.pid)
        worker = threading.Thread(target=shutil.copytree, args=(more, here.articles / "more"))
        worker.start()
        load = _load(daemon.port, feed, headers, seconds=12, connections=8, pinned=False)
        worker.join()
        return _row(f"304 while {BURST:,} articles come in, 8 connections", load, before, daemon)


def _crowded(site: sites.Site, feed: str) -> tuple[str, ...]:
    """Asks beside connections that say nothing, and others that say a byte at a time."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    with site.daemon() as daemon:
        headers, before = _asked(daemon.port, feed, "304"), measure.memory(daemon.pid)
        with _crowd(daemon.port, feed):
            load = _load(daemon.port, feed, headers, connections=8, pinned=False)
            return _row(f"304 beside {IDLE:,} idle and {SLOW} slow connections, 8 others", load, before, daemon)


def _many(site: sites.Site, file: Path) -> list[tuple[str, ...]]:
    """Asks at random for 100,000 feeds, which are names of few files, for the disk's sake: the server cannot know."""
    script = site.home / "random.lua"
    script.write_text(
        "math.randomseed(os.time())\n"
        f'request = function() return wrk.format("GET", "/topics/many-" .. math.random({FEEDS}) .. ".atom") end\n'
    )
    with site.daemon() as daemon:
        for suffix in ("", ".gz"):
            source = file.with_name(file.name + suffix)
            for number in range(1, FEEDS + 1):
                if number % 10_000 == 1:  # a file has 65,000 names at most
                    copy = site.feeds / "topics" / f".copy-{number}{suffix}"
                    shutil.copy2(source, copy)
                os.link(copy, site.feeds / "topics" / f"many-{number}.atom{suffix}")
        rows, before = [], measure.memory(daemon.pid)
        for name, headers in (("gzip", {"Accept-Encoding": "gzip"}), ("plain", {})):
            load = _load(daemon.port, "/", headers, seconds=30, pinned=False, script=script)
            rows.append(_row(f"{name}, of {FEEDS:,} feeds at random", load, before, daemon))
    for path in [*(site.feeds / "topics").glob("many-*"), *(site.feeds / "topics").glob(".copy-*")]:
        path.unlink()
    return rows


def _row(name: str, load: Load, before: measure.Memory, daemon: sites.Daemon) -> tuple[str, ...]:
    after = measure.memory(daemon.pid)
    grown = f"{megabytes(before.rss)} -> {megabytes(after.rss)}"
    return name, f"{load.rate:,.0f}", f"{load.p99_ms:.1f} ms", grown, load.errors or "none"


@contextlib.contextmanager
def _crowd(port: int, feed: str) -> Iterator[None]:
    """In a thread with a loop of its own; idle ones have asked once, slow ones never finish a head."""
    ready, done = threading.Event(), threading.Event()

    async def idle() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        return writer

    async def slow() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                for byte in f"GET {feed} HTTP/1.1\r\nHost: a\r\nX-Slow: 0123456789012345".encode():
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.5)
                    if done.is_set() or writer.is_closing():
                        break
                writer.close()

    async def crowd() -> None:
        kept: list[asyncio.StreamWriter] = []
        for _ in range(0, IDLE, 500):
            kept += await asyncio.gather(*(idle() for _ in range(500)))
        slowly = [asyncio.create_task(slow()) for _ in range(SLOW)]
        await asyncio.sleep(1)
        ready.set()
        while not done.is_set():
            await asyncio.sleep(0.1)
        await asyncio.gather(*slowly)
        for writer in kept:
            writer.close()

    thread = threading.Thread(target=lambda: asyncio.run(crowd()))
    thread.start()
    try:
        if not ready.wait(120):
            raise TimeoutError("the crowd did not get in")
        yield
    finally:
        done.set()
        thread.join()


def _servers(site: sites.Site) -> dict[str, contextlib.AbstractContextManager[int]]:
    found: dict[str, contextlib.AbstractContextManager[int]] = {"feedd": _feedd(site)}
    if shutil.which("nginx"):
        found["nginx"] = _nginx(site)
    if shutil.which("caddy"):
        found["Caddy"] = _caddy(site)
    return found


@contextlib.contextmanager
def _feedd(site: sites.Site) -> Iterator[int]:
    with site.daemon() as daemon:
        subprocess.run(["taskset", "-a", "-p", "-c", "0", str(daemon.pid)], check=True, stdout=subprocess.DEVNULL)
        yield daemon.port


@contextlib.contextmanager
def _nginx(site: sites.Site) -> Iterator[int]:
    port, home = _free_port(), site.home / "nginx"
    home.mkdir(exist_ok=True)
    (home / "nginx.conf").write_text(
        f"{'user root; ' if os.getuid() == 0 else ''}daemon off; worker_processes 1; pid nginx.pid;\n"
        "error_log error.log crit;\n"
        "events { worker_connections 1024; }\n"
        "http { access_log off; keepalive_requests 100000000; open_file_cache max=1000;\n"
        f"types {{ application/atom+xml atom; }} server {{ listen 127.0.0.1:{port}; root {site.feeds}; "
        "gzip_static on; }\n}\n"
    )
    with _process(["nginx", "-p", str(home), "-c", "nginx.conf"], port):
        yield port


@contextlib.contextmanager
def _caddy(site: sites.Site) -> Iterator[int]:
    port, home = _free_port(), site.home / "caddy"
    home.mkdir(exist_ok=True)
    (home / "Caddyfile").write_text(
        "{\n admin off\n auto_https off\n}\n"
        f"http://127.0.0.1:{port} {{\n root * {site.feeds}\n file_server {{\n precompressed gzip\n }}\n}}\n"
    )
    with _process(["caddy", "run", "--config", str(home / "Caddyfile"), "--adapter", "caddyfile"], port):
        yield port


@contextlib.contextmanager
def _process(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _asked(port: int, feed: str, kind: str) -> dict[str, str]:
    """The headers of the request, and proof that the server answers it as it should."""
    headers = {"Accept-Encoding": "gzip"}
    answer = _get(port, feed, headers)
    if kind == "304":
        names = ("If-None-Match", "ETag") if answer["ETag"] else ("If-Modified-Since", "Last-Modified")
        headers[names[0]] = answer[names[1]]
        try:
            _get(port, feed, headers)
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return headers
        raise RuntimeError("no 304")
    if answer["Content-Encoding"] != "gzip":
        raise RuntimeError("not in gzip")
    return headers


def _get(port: int, feed: str, headers: dict[str, str]) -> Message:
    """The headers of the answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{feed}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: Message = answer.headers
        return found


def _load(
    port: int, feed: str, headers: dict[str, str], *, seconds: int = SECONDS, connections: int = CONNECTIONS,
    pinned: bool = True, script: Path | None = None,
) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if script:
        command += ["-s", str(script)]
    command.append(f"http://127.0.0.1:{port}{feed}")
    text = subprocess.run(
        [*(["taskset", "-c", "1"] if pinned else []), *command], check=True, capture_output=True, text=True
    ).stdout
    rate, p99, errors = _RATE.search(text), _P99.search(text), _ERRORS.search(text)
    if not rate or not p99:
        raise RuntimeError(text)
    return Load(float(rate[1]), float(p99[1]) * _UNITS_MS[p99[2]], errors[0].strip() if errors else "")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])

