"""Faults for tests, each a real one: namespaces of one's own, small disks, and what a process holds before and after.

Namespaces are the calling thread's alone: whatever it starts within lives in them, and the machine notices nothing.
Where this user may not have them, the test is skipped and says why (`./test --faults` tries a user namespace first).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import sqlite3
import struct
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from processes import DEADLINE_S, Daemon, Site, until

from feedd.store.sqlite import NAME

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000  # <linux/sched.h>
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 32, 4096, 16384, 1 << 18, 2  # <linux/mount.h>
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
MOST_GROWN_MB = 24.0  # in memory, for good, by one fault: caches that were not warm yet

_libc = ctypes.CDLL(None, use_errno=True)


# --- namespaces and disks ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def namespaces(*, net: bool = False) -> Iterator[None]:
    """Mounts of one's own, and a network with nothing but a loopback if asked for; skips where that is not allowed."""
    kinds = {"mnt": CLONE_NEWNS} | ({"net": CLONE_NEWNET} if net else {})
    before = {kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds}
    here = os.getcwd()
    try:
        if _libc.unshare(sum(kinds.values())):
            pytest.skip(f"no namespaces for this user: {os.strerror(ctypes.get_errno())}")
        try:
            _mount("/", flags=MS_REC | MS_PRIVATE)
            if net:
                with socket.socket() as any_socket:
                    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
            yield
        finally:  # which is refused while a thread that was joined a moment ago is not quite gone
            for kind, fd in before.items():
                until(lambda fd=fd, kind=kind: _libc.setns(fd, kinds[kind]) == 0, "out of it")  # type: ignore[misc]
            os.chdir(here)  # entering mounts leads to their root
    finally:
        for fd in before.values():
            os.close(fd)


@contextlib.contextmanager
def disk(target: Path, options: str) -> Iterator[None]:
    """A small file system of memory at `target`, which nobody else sees; skips where that is not allowed."""
    target.mkdir(parents=True, exist_ok=True)
    with namespaces():
        _mount(target, "tmpfs", options=options)
        yield


def turn_read_only(target: Path, options: str) -> None:
    """The disk takes nothing any more. It is busy for a second after an edit: files are ready for the next one."""
    places = os.fsencode("none"), os.fsencode(target), b"tmpfs"
    until(
        lambda: _libc.mount(*places, MS_REMOUNT | MS_RDONLY, options.encode()) == 0, "the disk is no longer busy",
        within_s=3,
    )  # fmt: skip


def turn_writable(target: Path, options: str) -> None:
    """The disk is as before."""
    _mount(target, "tmpfs", flags=MS_REMOUNT, options=options)


def bind(source: Path, target: Path) -> None:
    """What is at `source` is at `target`, too."""
    _mount(target, source=source, flags=MS_BIND)


def unmount(target: Path) -> None:
    """As `umount -l`: gone for who looks, whoever has files of it open."""
    assert _libc.umount2(os.fsencode(target), MNT_DETACH) == 0, os.strerror(ctypes.get_errno())


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """The disk is full to its last byte, until left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    yield
    filler.unlink()


def _mount(
    target: Path | str, kind: str = "", *, source: Path | str = "none", flags: int = 0, options: str = ""
) -> None:
    places = os.fsencode(source), os.fsencode(target), kind.encode() or None
    assert _libc.mount(*places, flags, options.encode()) == 0, os.strerror(ctypes.get_errno())


def stop(feedd: Daemon) -> None:
    """SIGSTOP, and returns when it has stopped."""
    os.kill(feedd.pid, signal.SIGSTOP)
    stats = Path(f"/proc/{feedd.pid}/task")
    until(lambda: all(" T " in (each / "stat").read_text() for each in stats.iterdir()), "stopped")


# --- what a process holds ---------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """What a process has of the machine."""

    memory_mb: float
    files: int
    threads: int
    processes: int


def held(feedd: Daemon) -> Held:
    """Memory that is resident, open files (sockets and all), threads; processes of its session, itself included, but
    for the one that Python's multiprocessing keeps, once it was needed, to clean up after the others.
    """
    pid = feedd.pid
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    memory_mb = int(fields["VmRSS"].split()[0]) / 1024
    others = [other for other in feedd.members() if b"resource_tracker" not in _command(other)]
    return Held(memory_mb, len(os.listdir(f"/proc/{pid}/fd")), int(fields["Threads"]), len(others))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def given_back(feedd: Daemon, before: Held, *, grown_mb: float = MOST_GROWN_MB, within_s: float = 10.0) -> None:
    """Waits until it holds about what it held before."""

    def is_back() -> bool:
        now = held(feedd)
        return (
            now.memory_mb <= before.memory_mb + grown_mb and now.files <= before.files + 4
            and now.threads <= before.threads + 4 and now.processes <= before.processes
        )  # fmt: skip

    with contextlib.suppress(AssertionError):
        until(is_back, "given back", within_s=within_s)
    assert is_back(), f"{before} before, {held(feedd)} now"


def at_rest(feedd: Daemon, *, for_s: float = 0.3, within_s: float = DEADLINE_S) -> None:
    """Waits until the process has used no time of the processor for a while: nothing is left to do."""

    def used() -> list[str]:
        return Path(f"/proc/{feedd.pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    last, since = used(), time.monotonic()

    def is_still() -> bool:
        nonlocal last, since
        if (now := used()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > for_s

    until(is_still, "at rest", within_s=within_s)


# --- what it said -----------------------------------------------------------------------------------------------------


def troubles(feedd: Daemon, after: int = 0) -> Counter[str]:
    """Warnings and worse from line number `after` on: event -> how often."""
    return Counter(line["event"] for line in feedd.lines[after:] if line["level"] not in ("debug", "info"))


def known_titles(site: Site) -> set[str]:
    """The titles of all entries, as the state has them, whatever became of the feeds."""
    with contextlib.closing(sqlite3.connect(f"file:{site.state / NAME}?mode=ro", uri=True, timeout=10)) as state:
        return {title for (title,) in state.execute("SELECT title FROM article WHERE position IS NOT NULL")}
