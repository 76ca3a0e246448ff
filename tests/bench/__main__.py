"""./bench [NAME ...] [options]: runs the benchmarks and prints their tables. What they write is removed at the end."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import build, burst, corpus, edit, growth, links, links_month, replay, service, sites, soak, start, web

_BENCHMARKS: dict[str, Callable[[sites.Workshop, argparse.Namespace], None]] = {
    "build": lambda workshop, options: build.run(workshop, options.articles),
    "start": lambda workshop, options: start.start(workshop, options.articles),
    "memory": lambda workshop, options: start.memory(workshop, options.articles),
    "edit": lambda workshop, options: edit.run(workshop, sorted({min(1000, options.articles), options.articles})),
    "rename": lambda workshop, options: burst.run(workshop, min(20_000, options.articles)),
    "replay": lambda workshop, options: replay.run(workshop, articles=min(300, options.articles), commits=1000),
    "web": lambda workshop, options: web.run(workshop, min(1000, options.articles)),
    "links": lambda workshop, options: links.run(workshop),
    "service": lambda workshop, options: service.run(workshop, options.articles),
    "soak": lambda workshop, options: soak.run(workshop, options.minutes),
    "month": lambda workshop, options: links_month.run(options.articles),
    "growth": lambda workshop, options: growth.run(
        workshop, sorted({options.articles // 10, options.articles, *([1_000_000] if options.million else [])})
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="./bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_BENCHMARKS)} (default: all but soak)")
    parser.add_argument("--articles", type=int, default=100_000, help="size of the corpus (default: %(default)s)")
    parser.add_argument("--no-hugo", action="store_true", help="without the peer")
    parser.add_argument("--million", action="store_true", help="growth: a million articles too; needs 25 GB of disk")
    parser.add_argument("--corpora", type=Path, metavar="DIR", help="where articles are written: in memory, say")
    parser.add_argument("--minutes", type=float, default=60, help="soak: how long (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave what was written, for a look at it")
    options = parser.parse_args()

    if unknown := set(options.names) - _BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if sys.platform != "linux":
        parser.error("needs Linux: it reads /proc and listens to inotify")
    folder = corpus.ROOT / ".bench"
    folder.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that daemons are stopped, and files removed
    home = Path(tempfile.mkdtemp(prefix="work-", dir=folder))
    corpora = Path(tempfile.mkdtemp(prefix="feedd-bench-", dir=options.corpora)) if options.corpora else home
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    try:
        workshop = sites.Workshop(home, corpora, peer=not options.no_hugo)
        for name in options.names or [name for name in _BENCHMARKS if name != "soak"]:
            _BENCHMARKS[name](workshop, options)
    except subprocess.CalledProcessError as error:
        sys.stderr.write((error.output or b"").decode(errors="replace"))
        print(f"{' '.join(map(str, error.cmd))} failed with exit code {error.returncode}", file=sys.stderr)
        return 1
    finally:
        if not options.keep:
            for each in {home, corpora}:
                shutil.rmtree(each)
    return 0


if __name__ == "__main__":
    sys.exit(main())
