"""python -m tests.farm --log FILE: runs the farm until it is told to stop, by a signal or by the end of its input."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import signal
import time
from pathlib import Path

import uvloop

from tests.farm import server
from tests.farm.connection import Settings
from tests.farm.log import Log


async def _run(settings: Settings, log: Log, port: int) -> None:
    task = asyncio.ensure_future(server.serve(settings, log, port))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.farm", description=__doc__)
    parser.add_argument("--log", type=Path, required=True, help="a line for each request goes there")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--hosts", type=int, default=100, help="healthy hosts, up to 5,000 (default: %(default)s)")
    parser.add_argument("--copies", type=int, default=2, help="of each host with a behaviour (default: %(default)s)")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="what an answer takes (default: %(default)s)")
    parser.add_argument("--paragraphs", type=int, default=6, help="of healthy pages (default: %(default)s)")
    parser.add_argument("--epoch", type=float, help="when day 0 began, in seconds since 1970 UTC (default: now)")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = Settings(
        options.copies, options.hosts, options.delay_ms / 1000, options.paragraphs, options.epoch or time.time()
    )
    with options.log.open("w", encoding="utf-8", newline="\n") as out:
        uvloop.run(_run(settings, Log(out), options.port))


if __name__ == "__main__":
    main()
