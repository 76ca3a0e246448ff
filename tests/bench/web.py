"""`./bench web`: feeds over HTTP beside nginx and Caddy, where they are installed; wrk asks. One core serves, one asks.

304s and gzip answers a second; then what a reader waits while 20,000 articles come in; then with 10,000 idle and 500
slow connections. Everything talks to 127.0.0.1.
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

from tests.bench import corpus, sites
from tests.bench.report import table

CONNECTIONS, SECONDS, ROUNDS = 64, 4, 3
BURST, IDLE, SLOW = 20_000, 10_000, 500
_FEED = "/all.atom"
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
    with _feedd(site) as port:
        size = len(_get(port, {"Accept-Encoding": "gzip"})[1])
    rows = []
    for kind in ("304", "gzip"):
        found: dict[str, list[Load]] = {}
        for _ in range(ROUNDS):
            for name, serve in _servers(site).items():
                with serve as port:
                    found.setdefault(name, []).append(_load(port, _asked(port, kind)))
        for name, loads in found.items():
            best = sorted(loads, key=lambda load: load.rate)[len(loads) // 2]
            rows.append((name, kind, f"{best.rate:,.0f}", f"{best.p99_ms:.2f} ms", best.errors or "none"))
    title = f"Answers a second, a feed of {size / 1000:.1f} kB in gzip, {CONNECTIONS} connections, one core"
    table(title, ("", "answers", "a second, median", "p99", "errors"), rows)
    table("Under pressure", ("", "304s a second", "p99", "errors"), [_ingesting(site), _crowded(site)])


def _ingesting(site: sites.Site) -> tuple[str, ...]:
    """Asks for a feed while 20,000 articles are copied in under new names."""
    here = sites.Site(site.home / "web", site.home / "web-articles")
    shutil.copytree(site.articles, here.articles, dirs_exist_ok=True)
    more = site.home / "web-more"
    corpus.generate(more, BURST)
    with _feedd(here, pinned=False) as port:
        headers = _asked(port, "304")
        worker = threading.Thread(target=shutil.copytree, args=(more, here.articles / "more"))
        worker.start()
        load = _load(port, headers, seconds=12, connections=8, pinned=False)
        worker.join()
    return _row(f"while {BURST:,} articles come in, 8 connections", load)


def _crowded(site: sites.Site) -> tuple[str, ...]:
    """Asks beside connections that say nothing, and others that say a byte at a time."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    with _feedd(site, pinned=False) as port, _crowd(port):
        load = _load(port, _asked(port, "304"), connections=8, pinned=False)
    return _row(f"{IDLE:,} idle and {SLOW} slow connections, 8 others", load)


def _row(name: str, load: Load) -> tuple[str, ...]:
    return name, f"{load.rate:,.0f}", f"{load.p99_ms:.1f} ms", load.errors or "none"


@contextlib.contextmanager
def _crowd(port: int) -> Iterator[None]:
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
                for byte in b"GET /all.atom HTTP/1.1\r\nHost: a\r\nX-Slow: 0123456789012345":
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
def _feedd(site: sites.Site, *, pinned: bool = True) -> Iterator[int]:
    with site.daemon() as daemon:
        if pinned:
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
                _get(port, {})
                break
            except OSError:
                if time.monotonic() > end or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _asked(port: int, kind: str) -> dict[str, str]:
    """The headers of the request, and proof that the server answers it as it should."""
    headers = {"Accept-Encoding": "gzip"}
    answer, _ = _get(port, headers)
    if kind == "304":
        names = ("If-None-Match", "ETag") if answer["ETag"] else ("If-Modified-Since", "Last-Modified")
        headers[names[0]] = answer[names[1]]
        try:
            _get(port, headers)
        except urllib.error.HTTPError as error:
            if error.code == 304:
                return headers
        raise RuntimeError("no 304")
    if answer["Content-Encoding"] != "gzip":
        raise RuntimeError("not in gzip")
    return headers


def _get(port: int, headers: dict[str, str]) -> tuple[dict[str, str], bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{_FEED}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers, answer.read()


def _load(
    port: int, headers: dict[str, str], *, seconds: int = SECONDS, connections: int = CONNECTIONS, pinned: bool = True
) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    command.append(f"http://127.0.0.1:{port}{_FEED}")
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

