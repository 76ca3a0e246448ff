"""`./bench service`: what a background service costs: to call, to start, to be idle, to be killed, to install.

On the sample articles with the configuration as it is, and on a corpus for the kill. Idle CPU is what the kernel's
scheduler counted for all of the daemon's threads, which is exact where ticks of a hundredth of a second are not.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from tests.bench import corpus, sites
from tests.bench.report import megabytes, seconds, table

_CALLS, _KILLS, _SETTLED_S, _IDLE_S = 15, 5, 45, 60  # links are checked 30 s after the start


def run(workshop: sites.Workshop, articles: int) -> None:
    """All of it."""
    samples = sites.Site(workshop.home / "samples", workshop.home / "samples-articles", links="enabled = true\n")
    shutil.copytree(corpus.ROOT / "articles", samples.articles)
    site = workshop.built(articles).site
    table("As a service", ("", "median", "least", "most"), [
        _row("`feedd --help`", [_help() for _ in range(_CALLS)]),
        _row("an interpreter that does nothing", [_call("-c", "") for _ in range(_CALLS)]),
        _row("first `feedd run` on the samples, to ready", [_first_start(samples) for _ in range(3)]),
        _row("`feedd run` on the samples, to ready", [_start(samples) for _ in range(_KILLS)]),
        *_kills(site, articles),
    ])  # fmt: skip
    with samples.daemon() as daemon:
        sites.say(f"idle for {_SETTLED_S + _IDLE_S} s")
        time.sleep(_SETTLED_S)
        before = _cpu_s(daemon.pid)
        time.sleep(_IDLE_S)
        share = (_cpu_s(daemon.pid) - before) / _IDLE_S
    print(f"\nIdle, on the samples, links checked hourly: {share:.3%} of a core over {_IDLE_S} s.")
    sizes = dict(_installed())
    most = ", ".join(f"{name} {megabytes(size)}" for name, size in sorted(sizes.items(), key=lambda each: -each[1])[:6])
    print(f"Installed: {len(sizes)} dependencies, {megabytes(sum(sizes.values()))} (most: {most}).")


def _row(what: str, taken: list[float]) -> tuple[str, str, str, str]:
    return what, seconds(statistics.median(taken)), seconds(min(taken)), seconds(max(taken))


def _help() -> float:
    return _call("-P", "-m", "feedd", "--help")


def _call(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=sites.ENVIRONMENT, check=True)
    return time.perf_counter() - start


def _first_start(site: sites.Site) -> float:
    for folder in ("state", "feeds"):
        shutil.rmtree(site.home / folder, ignore_errors=True)
    return _start(site)


def _start(site: sites.Site) -> float:
    with site.daemon() as daemon:
        return daemon.ready_s


def _kills(site: sites.Site, articles: int) -> list[tuple[str, str, str, str]]:
    """From a kill -9 to the first feed that is served, and to ready; the next start is the supervisor's, at once."""
    served, ready = [], []
    with sites.free_port() as port:
        config = site.configure(port=port)
    process = _begin(config, site)
    try:
        sites.wait_until_served(process, port)
        for _ in range(_KILLS):
            process.send_signal(signal.SIGKILL)
            start = time.perf_counter()
            process.wait()
            process = _begin(config, site)
            sites.wait_until_served(process, port, "/all.atom")
            served.append(time.perf_counter() - start)
            sites.wait_until_served(process, port)
            ready.append(time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait(30)
    return [
        _row(f"kill -9 to serving again, {articles:,} articles", served),
        _row(f"kill -9 to all compared and ready, {articles:,} articles", ready),
    ]


def _begin(config: Path, site: sites.Site) -> subprocess.Popen[bytes]:
    with (site.home / "log.txt").open("ab") as log:
        return subprocess.Popen(
            sites.command(config, "run"), cwd=site.home, env=sites.ENVIRONMENT, stdout=log, stderr=log
        )


def _cpu_s(pid: int) -> float:
    """Seconds that the process's threads were on a processor; one that has ended meanwhile is not counted."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def _installed() -> Iterator[tuple[str, int]]:
    """The distributions that feedd needs, directly or not, and their bytes on disk."""
    project = tomllib.loads((corpus.ROOT / "pyproject.toml").read_text())["project"]
    pending, seen = list(project["dependencies"]), set()
    while pending:
        name = re.split(r"[^A-Za-z0-9._-]", pending.pop(), maxsplit=1)[0].lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for other systems, or other versions of Python
            continue
        pending += [text for text in found.requires or [] if "extra ==" not in text]
        paths = [Path(str(file.locate())) for file in found.files or []]
        yield name, sum(os.stat(path).st_size for path in paths if path.is_file())

