"""The peers of link checking: LinkChecker (Python) and linkinator (Node), given a page that lists the same URLs.

Each is installed once into .bench/, from its own registry, and run as it comes: its defaults, but for a timeout of
20 s as feedd's, and no recursion. lychee is run if it is on the PATH; it is in no registry that we can install from.
A peer that does not come to an end is ended, and what it said until then counts.
"""

from __future__ import annotations

import contextlib
import csv
import html
import ipaddress
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tests.bench import corpus, measure

LINKCHECKER, LINKINATOR = "10.6.0", "7.6.1"  # linkinator 8 needs a newer Node than many have
LIMIT_S, LIMIT_BYTES = 300.0, 4_000_000_000
_TOOLS = corpus.ROOT / ".bench"
_PAGE = "index.html"

Said = Literal["alive", "dead", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """What a peer said of each URL that it said anything of, and what it cost. `ended`: why it had to be, if it had."""

    said: Mapping[str, Said]
    wall_s: float
    cpu_s: float
    rss: int
    ended: str = ""


@dataclass(frozen=True)
class Peer:
    """One that is installed: its name with version, and how it is run on a folder with a page of links."""

    name: str
    command: Callable[[Path], list[str]]
    read: Callable[[str], dict[str, Said]]


def install() -> list[str]:
    """Installs what is missing, which needs the network; says what cannot be had."""
    missing = []
    if not _linkchecker().is_file():
        try:
            _make(_linkchecker().parents[1], _install_linkchecker)
        except (OSError, subprocess.CalledProcessError) as error:
            missing.append(f"LinkChecker: {error}")
    if not shutil.which("npm"):
        missing.append("linkinator: no npm")
    elif not _linkinator().is_file():
        try:
            _make(_linkinator().parents[2], _install_linkinator)
        except (OSError, subprocess.CalledProcessError) as error:
            missing.append(f"linkinator: {error}")
    if not shutil.which("lychee"):
        missing.append("lychee: not on the PATH, and in none of apt, pip and npm")
    return missing


def peers() -> list[Peer]:
    """Those that are there."""
    found = []
    if _linkchecker().is_file():
        found.append(Peer(f"LinkChecker {LINKCHECKER}", _run_linkchecker, _read_linkchecker))
    if _linkinator().is_file():
        found.append(Peer(f"linkinator {LINKINATOR}", _run_linkinator, _read_linkinator))
    if shutil.which("lychee"):
        found.append(Peer("lychee", _run_lychee, _read_lychee))
    return found


def check(peer: Peer, urls: Iterable[str], folder: Path, *, limit_s: float = LIMIT_S) -> Outcome:
    """A run over all URLs, within so many seconds, and so much memory."""
    folder.mkdir(parents=True)
    urls = list(urls)
    anchors = "\n".join(f'<a href="{html.escape(url)}">link</a>' for url in urls)
    (folder / _PAGE).write_text(
        f'<!DOCTYPE html><html lang="en"><head><title>Links</title></head><body>\n{anchors}\n</body></html>\n', "utf-8"
    )
    out = folder / "out.txt"
    with out.open("wb") as written:
        start = time.perf_counter()
        process = subprocess.Popen(
            peer.command(folder), cwd=folder, stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.DEVNULL,
            start_new_session=True, env=os.environ | {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        )  # fmt: skip
        rss, ended = _watch(process, start + limit_s)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        if ended:
            _end(process)
        process.wait()
        wall_s = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = {_spelling(url): word for url, word in peer.read(out.read_text("utf-8", errors="replace")).items()}
    return Outcome({url: said[key] for url in urls if (key := _spelling(url)) in said}, wall_s, cpu_s, rss, ended)


def _spelling(url: str) -> str:
    """The same for all spellings of a host: some peers write addresses anew as they are read."""
    parts = urlsplit(url)
    host = unicodedata.normalize("NFKC", parts.hostname or "").rstrip(".")
    with contextlib.suppress(OSError):
        host = socket.inet_ntoa(socket.inet_aton(host))  # also octal, short and as one number
    with contextlib.suppress(ValueError):
        host = ipaddress.ip_address(host).exploded
    port = url.partition("://")[2].partition("/")[0].rpartition(":")[2]
    return f"{parts.scheme}://{host}:{port}{parts.path or '/'}?{parts.query}"


def _watch(process: subprocess.Popen[bytes], end: float) -> tuple[int, str]:
    """Until it has ended, or is to be: the most memory it held, and why it is to be. Leaves it to be waited for."""
    rss = 0
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        rss = max(rss, measure.memory(process.pid).rss)
        if time.perf_counter() > end:
            return rss, "time"
        if rss > LIMIT_BYTES:
            return rss, "memory"
        time.sleep(0.1)
    return rss, ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks its whole session to end; Ctrl-C first, for it may have something to say."""
    for number in (signal.SIGINT, signal.SIGKILL):
        os.killpg(process.pid, number)
        end = time.perf_counter() + 5
        while time.perf_counter() < end:
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
            time.sleep(0.05)


# LinkChecker


def _linkchecker() -> Path:
    return _TOOLS / f"linkchecker-{LINKCHECKER}" / "bin" / "linkchecker"


def _install_linkchecker(home: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    pip: list[str | Path] = [home / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    subprocess.run([*pip, f"linkchecker=={LINKCHECKER}"], check=True)


def _run_linkchecker(folder: Path) -> list[str]:
    command = [
        str(_linkchecker().with_name("python")), "-m", "linkcheck", "--no-status", "--check-extern", "-r", "1",
        "--timeout", "20", "--verbose", "-o", "csv/utf-8", _PAGE,
    ]  # fmt: skip
    if os.geteuid() == 0:  # it gives up being root, and cannot read its files then
        return ["unshare", "--map-user=1000", "--map-group=1000", *command]
    return command


def _read_linkchecker(text: str) -> dict[str, Said]:
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith("#")]
    said: dict[str, Said] = {}
    for row in csv.DictReader(lines, delimiter=";"):
        if row.get("parentname") and row.get("valid") in ("True", "False"):
            good = row["valid"] == "True"
            # What it only parsed: robots.txt forbids it, or it is no http URL.
            said[row["urlname"]] = "dead" if not good else "skipped" if row["result"] == "syntax OK" else "alive"
    return said


# linkinator


def _linkinator() -> Path:
    return _TOOLS / f"linkinator-{LINKINATOR}" / "node_modules" / ".bin" / "linkinator"


def _install_linkinator(home: Path) -> None:
    home.mkdir()
    npm: list[str | Path] = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", home]
    subprocess.run([*npm, f"linkinator@{LINKINATOR}"], check=True)


def _run_linkinator(folder: Path) -> list[str]:
    return [str(_linkinator()), ".", "--format", "json", "--timeout", "20000"]


def _read_linkinator(text: str) -> dict[str, Said]:
    states: dict[str, Said] = {"OK": "alive", "BROKEN": "dead", "SKIPPED": "skipped"}
    try:
        links = json.loads(text[text.index("{") :])["links"]
    except (ValueError, KeyError):
        return {}  # ended before it said anything
    return {link["url"]: states[link["state"]] for link in links if "parent" in link}


# lychee


def _run_lychee(folder: Path) -> list[str]:
    return ["lychee", "--format", "json", "--verbose", "--no-progress", "--timeout", "20", _PAGE]


def _read_lychee(text: str) -> dict[str, Said]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    maps: Sequence[tuple[str, Said]] = (
        ("success_map", "alive"), ("fail_map", "dead"), ("error_map", "dead"), ("timeout_map", "dead"),
        ("excluded_map", "skipped"),
    )  # fmt: skip
    return {
        link["url"]: said for name, said in maps for group in found.get(name, {}).values() for link in group
    }  # fmt: skip


def _make(home: Path, build: Callable[[Path], None]) -> None:
    """Installs into a place beside, so that what is there is whole. Environments of Python must be built in place."""
    _TOOLS.mkdir(exist_ok=True)
    if build is _install_linkchecker:
        shutil.rmtree(home, ignore_errors=True)
        build(home)
        return
    with tempfile.TemporaryDirectory(dir=_TOOLS) as partial:
        build(Path(partial) / "site")
        (Path(partial) / "site").rename(home)
