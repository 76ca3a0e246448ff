"""feedd as it really runs, for tests: a site in a folder, the program as a process over it, its log line by line.

Nothing here sleeps for a fixed time: `until` and `Daemon.wait` look at a condition until it holds, or fail loudly.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import structlog
from msgspec.structs import replace
from newsroom import tree

from feedd import config, publish
from feedd.daemon import opening
from feedd.store import open_store
from feedd.store.sqlite import NAME

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
DEADLINE_S = 20.0
FEEDD = [sys.executable, "-W", "error", "-P", "-m", "feedd"]
DEFAULTS: dict[str, dict[str, Any]] = {
    "site": {"title": "Example News", "url": "https://news.example", "public_url": "https://feeds.example"},
    "articles": {"settle_ms": 5, "max_wait_ms": 100},
    "server": {"port": 0},
    "links": {"enabled": False},
    "log": {"format": "json", "level": "debug"},
}


def until(condition: Callable[[], T], what: str, *, within_s: float = DEADLINE_S) -> T:
    """The first true value of `condition`; an AssertionError that says `what` was waited for, after `within_s`."""
    end = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {within_s:g} s"
        time.sleep(0.005)
    return value


class Site:
    """A folder with config.toml, articles/, feeds/ and state/. Keyword arguments are tables of the configuration."""

    def __init__(self, folder: Path, **tables: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, folder / "config.toml"
        self.articles, self.out, self.state = folder / "articles", folder / "feeds", folder / "state"
        self.articles.mkdir(parents=True, exist_ok=True)
        self.configure(**tables)

    def configure(self, **tables: Mapping[str, Any]) -> None:
        """Writes config.toml: what tests want, and `tables` over it."""
        merged = {name: {**DEFAULTS.get(name, {}), **tables.get(name, {})} for name in {**DEFAULTS, **tables}}
        self.config.write_text("".join(
            f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            for name, table in merged.items()
        ))

    def put(self, path: str, text: str) -> None:
        """Writes a file in one go, under a temporary name first, as editors do."""
        target = self.articles / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        temporary.write_text(text)
        temporary.replace(target)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command of feedd, from its start to its end."""
        return run_feedd("--config", str(self.config), *arguments)

    def items(self, feed: str = "all") -> list[dict[str, Any]]:
        """The entries of a feed as its JSON shows them; none while there is no such feed."""
        try:
            items: list[dict[str, Any]] = json.loads((self.out / f"{feed}.json").read_bytes())["items"]
        except FileNotFoundError:
            return []
        return items

    def titles(self, feed: str = "all") -> list[str]:
        """The titles of a feed, newest first."""
        return [item["title"] for item in self.items(feed)]

    def ids(self, feed: str = "all") -> dict[str, str]:
        """Title -> id of the entries of a feed."""
        return {item["title"]: item["id"] for item in self.items(feed)}

    def shows(self, *titles: str, feed: str = "all") -> None:
        """Waits until a feed has these titles and no others."""
        until(lambda: sorted(self.titles(feed)) == sorted(titles), f"{feed} shows {titles}, not {self.titles(feed)}")

    def paths(self) -> set[str]:
        """The files that the state knows."""
        with open_store(str(self.state), read_only=True) as state:
            return {row.path for row in state.iter_files()}

    def is_written(self) -> bool:
        """Whether the state says that every document is on disk."""
        with open_store(str(self.state), read_only=True) as state:
            return state.count_dirty() == 0 and state.find_meta("listing") == "written"

    def build(self, *, now: int) -> None:
        """`feedd build` as it was at a time, in seconds: in this process."""
        plan = opening.plan_of(config.load(self.config))
        with open_store(str(self.state)) as store:
            publisher = publish.Publisher(store, plan, structlog.get_logger(), settle_ns=0, parallel=False)
            publisher.prepare(now=now)
            assert publisher.scan(now=now, now_ns=now * 10**9) == ()
            assert publisher.rebuild(now=now) == 0
            publisher.close()

    def clean_rebuild(self) -> dict[str, bytes]:
        """What the same state gives when every document is written anew, into an empty folder, in this process."""
        folder = self.folder / "oracle"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        source, copy = sqlite3.connect(self.state / NAME), sqlite3.connect(folder / NAME)
        source.backup(copy)
        copy.close()
        source.close()
        plan = replace(opening.plan_of(config.load(self.config)), state_folder=str(folder), out=str(folder / "feeds"))
        with open_store(str(folder)) as store:
            with store.transaction():
                store.mark_all_dirty()
                store.put_meta("listing", "")
            publisher = publish.Publisher(store, plan, structlog.get_logger(), settle_ns=0, parallel=False)
            assert publisher.rebuild(now=int(time.time())) == 0
            publisher.close()
        return tree(folder / "feeds")

    def check(self) -> None:
        """The invariant: what is published is, byte for byte, what a clean rebuild from the same state writes."""
        published, clean = tree(self.out), self.clean_rebuild()
        assert published.keys() == clean.keys()  # so no temporary files either
        assert [name for name in clean if published[name] != clean[name]] == []

    @contextlib.contextmanager
    def running(self, *, ready: bool = True) -> Iterator[Daemon]:
        """The daemon, ready unless not asked for; at the end stopped in order, with everything written if it was."""
        with Daemon(self) as process:
            if ready:
                process.wait_until_ready()
            yield process
            if process.poll() is None:
                if ready:
                    until(self.is_written, "everything is written")
                process.stop()


class Daemon:
    """`feedd run` as a process in a session of its own; whatever a test does, nothing of it outlives the `with`."""

    def __init__(self, site: Site, verb: str = "run") -> None:
        self.site = site
        self.lines: list[dict[str, Any]] = []
        self.noise: list[str] = []  # lines that are not JSON
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [*FEEDD, "--config", str(site.config), verb], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, cwd=site.folder, env=environment(), start_new_session=True,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                with self._news:
                    try:
                        self.lines.append(json.loads(line))
                    except ValueError:
                        self.noise.append(line.decode())
                    self._news.notify_all()

    def poll(self) -> int | None:
        """The exit code, once it has ended."""
        return self._process.poll()

    def find(self, event: str, after: int = 0, **fields: object) -> list[dict[str, Any]]:
        """The log lines of an event that have these values, from line number `after` on."""
        lines = self.lines[after:]
        return [x for x in lines if x["event"] == event and all(x.get(key) == fields[key] for key in fields)]

    def wait(self, event: str, after: int = 0, *, within_s: float = DEADLINE_S, **fields: object) -> dict[str, Any]:
        """The first such log line, as soon as it is there."""
        with self._news:
            said = self._news.wait_for(lambda: self.find(event, after, **fields), within_s)
            assert said, f"no {event!r} {fields} in: {self.lines[-5:]} {self.noise}"
            return said[0]

    def get(self, path: str, method: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
        """Status, headers and body of an answer of the built-in server; the path is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_accept_encoding=True)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    @property
    def port(self) -> int:
        """Where it listens; waits until it does."""
        return int(self.wait("serving")["page"].rsplit(":", 1)[1].strip("/"))

    def wait_until_ready(self) -> None:
        """Until /readyz says so."""
        until(lambda: self.get("/readyz")[0] == 200, "ready")

    def stop(self, number: signal.Signals = signal.SIGTERM, *, within_s: float = DEADLINE_S) -> float:
        """Asks it to stop; returns the seconds that took. Its exit code must be 0."""
        began = time.monotonic()
        os.kill(self.pid, number)
        code = self._process.wait(within_s)
        seconds = time.monotonic() - began
        self._reader.join()
        assert (code, self.noise) == (0, []), (self.lines[-5:], self.noise)
        return seconds

    def end(self) -> int:
        """Waits until it ends by itself; its exit code."""
        code = self._process.wait(DEADLINE_S)
        self._reader.join()
        return code

    def kill(self) -> None:
        """kill -9, of this process alone: whatever it started must see to itself."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    def members(self) -> list[int]:
        """The processes of its session that live, itself included."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                if int(session) == self.pid and state != "Z":
                    found.append(int(stat.parent.name))
        return found


def nameless(feedd: Daemon) -> list[str]:
    """Files that it has open and that have no name, yet or any more."""
    links = []
    for fd in Path(f"/proc/{feedd.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            links.append(os.readlink(fd))
    return [link for link in links if link.endswith(" (deleted)")]


def environment() -> dict[str, str]:
    """What feedd is started with: this checkout, and a log that is no terminal's."""
    without = ("PYTHONDONTWRITEBYTECODE", "PYTHONWARNINGS")
    return {k: v for k, v in os.environ.items() if k not in without} | {"PYTHONPATH": str(ROOT)}


def run_feedd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """feedd with these arguments, until it ends."""
    return subprocess.run(
        [*FEEDD, *arguments], env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )
