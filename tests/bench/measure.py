"""What a process and all its descendants cost: seconds of wall and CPU, and memory, read from /proc.

RSS counts a page once for each process that maps it, PSS shares it out among them: the truth for a pool of workers.
Called by every benchmark.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_S = 0.05


@dataclass(frozen=True)
class Memory:
    """Bytes, summed over a tree of processes."""

    rss: int = 0
    pss: int = 0


@dataclass(frozen=True)
class Run:
    """One finished command. `started_at` is on the wall clock, as the times of files are; `peak` as sampled."""

    started_at: float
    wall_s: float
    cpu_s: float
    peak: Memory


def descendants(pid: int) -> Iterator[int]:
    """The process and all below it that are there now."""
    yield pid
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                yield from descendants(int(child))
    except OSError:
        return  # it ended meanwhile


def memory(pid: int) -> Memory:
    """What the tree below `pid` holds now."""
    return Memory(sum(map(_rss, descendants(pid))), sum(map(_pss, descendants(pid))))


def run(command: Sequence[str | Path], *, cwd: Path, env: dict[str, str]) -> Run:
    """Run to the end, sampling memory every 50 ms. Raises CalledProcessError, with the output, where it fails."""
    started_at, start = time.time(), time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout
    peaks, done = [0, 0], threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, peaks, done))
    sampler.start()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)  # its CPU time, and that of children it has waited for
    wall_s = time.perf_counter() - start
    done.set()
    sampler.join()
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command), output)
    return Run(started_at, wall_s, usage.ru_utime + usage.ru_stime, Memory(*peaks))


def _sample(pid: int, peaks: list[int], done: threading.Event) -> None:
    for n in itertools.count():
        pids = list(descendants(pid))
        peaks[0] = max(peaks[0], sum(map(_rss, pids)))
        if n % 5 == 0:  # walking page tables takes the process's time, and for one process PSS is RSS
            peaks[1] = max(peaks[1], sum(map(_pss, pids)) if len(pids) > 1 else peaks[0])
        if done.wait(_SAMPLE_S):
            return


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
