"""feedd on a corpus of a given size, and Hugo on the same one: made when first asked for, then shared by benchmarks.

Everything lies below one temporary folder. Called by the benchmarks.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import corpus, hugo, measure

ENVIRONMENT = os.environ | {"PYTHONPATH": str(corpus.ROOT)}
_READY_S = 600


@dataclass(frozen=True)
class Site:
    """One config.toml with the folders it names."""

    home: Path
    articles: Path
    links: str = "enabled = false\n"  # what stands in the table of link checks, and below it

    @property
    def feeds(self) -> Path:
        return self.home / "feeds"

    def configure(self, *, settle_ms: int = 20, port: int = 0) -> Path:
        """Write config.toml: defaults, but for the time to settle, the port and link checks."""
        path = self.home / "config.toml"
        self.home.mkdir(parents=True, exist_ok=True)
        path.write_text(
            '[site]\ntitle = "Example News"\nurl = "https://news.example"\npublic_url = "https://feeds.example"\n'
            f'[articles]\npath = "{self.articles}"\nsettle_ms = {settle_ms}\n'
            f'[feeds]\npath = "feeds"\n[state]\npath = "state"\n[server]\nport = {port}\n'
            f"full_fetches_per_hour = 0\n[links]\n{self.links}",
            encoding="utf-8",
        )
        return path

    def build(self) -> measure.Run:
        """`feedd build` to its end."""
        return measure.run(command(self.configure(), "build"), cwd=self.home, env=ENVIRONMENT)

    @contextmanager
    def daemon(self, *, settle_ms: int = 20) -> Iterator[Daemon]:
        """`feedd run`, entered when /readyz answers 200, stopped at the end. Its log is log.txt."""
        with free_port() as port:
            pass
        config = self.configure(settle_ms=settle_ms, port=port)
        log_path = self.home / "log.txt"
        with log_path.open("wb") as log:
            start = time.perf_counter()
            process = subprocess.Popen(command(config, "run"), cwd=self.home, env=ENVIRONMENT, stdout=log, stderr=log)
        try:
            wait_until_served(process, port)
            yield Daemon(process.pid, port, time.perf_counter() - start)
        except Exception:
            sys.stderr.write("".join(log_path.read_text(encoding="utf-8").splitlines(keepends=True)[-50:]))
            raise
        finally:
            process.terminate()
            process.wait(30)


@dataclass(frozen=True)
class Daemon:
    """A running feedd, and what it took from its start to /readyz."""

    pid: int
    port: int
    ready_s: float


@dataclass(frozen=True)
class Built:
    """A site, and what its cold build cost; `live_s` is when the last live Atom or RSS feed was in place."""

    site: Site
    run: measure.Run
    live_s: float


@dataclass
class Workshop:
    """Makes each thing once; articles below `corpora`. `peer`: whether Hugo is to be run too."""

    home: Path
    corpora: Path
    peer: bool
    _corpora: dict[int, Path] = field(default_factory=dict)
    _built: dict[int, Built] = field(default_factory=dict)
    _peers: dict[int, Path] = field(default_factory=dict)

    def corpus(self, articles: int) -> Path:
        if articles not in self._corpora:
            say(f"writing a corpus of {articles:,} articles")
            self._corpora[articles] = self.corpora / f"corpus-{articles}"
            corpus.generate(self._corpora[articles], articles)
        return self._corpora[articles]

    def built(self, articles: int) -> Built:
        if articles not in self._built:
            site = Site(self.home / f"feedd-{articles}", self.corpus(articles))
            say(f"building {articles:,} articles with feedd")
            run = site.build()
            live_s = max(os.stat(path).st_ctime for path in live_feeds(site.feeds)) - run.started_at
            self._built[articles] = Built(site, run, live_s)
        return self._built[articles]

    def peer_site(self, articles: int) -> Path:
        """A Hugo site; its articles are in `content`, where they can be edited."""
        if articles not in self._peers:
            self._peers[articles] = site = self.home / f"hugo-{articles}"
            hugo.prepare(site, site / "content")
            hugo.copy_corpus(self.corpus(articles), site / "content")
        return self._peers[articles]


@contextmanager
def free_port() -> Iterator[int]:
    """One that nobody has while this lasts, and most likely not right after it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def live_feeds(out: Path) -> list[Path]:
    """The Atom and RSS files below `out` that are no archives."""
    found = (path for suffix in ("atom", "rss") for path in out.rglob(f"*.{suffix}"))
    return [path for path in found if "archives" not in path.relative_to(out).parts]


def say(what: str) -> None:
    """Progress, apart from the figures."""
    print(f"... {what}", file=sys.stderr, flush=True)


def command(config: Path, verb: str) -> list[str | Path]:
    """How feedd is called."""
    return [sys.executable, "-P", "-m", "feedd", "--config", config, verb]


def wait_until_served(process: subprocess.Popen[bytes], port: int, path: str = "/readyz") -> None:
    """Until it answers with 200. Raises RuntimeError where the process ends before, TimeoutError after ten minutes."""
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"feedd ended with {process.returncode} before it served {path}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass  # it does not listen yet
        finally:
            connection.close()
        time.sleep(0.002)
    raise TimeoutError(f"no {path} within {_READY_S} s")
