"""The machine -> findings: versions, limits of the kernel and of containers, clock, time zone, certificates.

Reads /proc and /sys and asks libc; changes nothing, and knows nothing of the configuration but the plain values it is
given. What a number means is decided by the functions that take numbers; called by `doctor`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import re
import resource
import sqlite3
import ssl
import time
import tomllib
from importlib import metadata
from pathlib import Path

from feedd import __version__
from feedd.doctor.findings import Finding, good, hint, size, trouble

PROC = "/proc"
CGROUPS = "/sys/fs/cgroup"
ENOUGH_CONNECTIONS = 1_000  # at once, for who has not said how many there are to be
SPARE_FILES = 512  # databases, inotify, hubs and what links are checked with: as the server counts
IDLE_BYTES = 150_000_000  # at 100,000 articles
BUSY_BYTES = 350_000_000  # a cold build, all processes together
_TIME_ERROR = 5  # adjtimex(2): nobody keeps the clock right
_BUILT_AT = 1_767_225_600  # 2026-01-01: no clock that is right shows less


# --- versions --------------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Name -> version of feedd, of what it runs on, and of each dependency; empty for one that is not there."""
    found = {
        "feedd": __version__, "Python": platform.python_version(), "SQLite": sqlite3.sqlite_version,
        "OpenSSL": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "), "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip(), "machine": platform.machine(),
    }
    for name in dependencies():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


@functools.cache
def dependencies() -> list[str]:
    """The packages that feedd needs, as its installation says, or its checkout."""
    try:
        lines = metadata.requires("feedd") or []
    except metadata.PackageNotFoundError:
        try:
            project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
        except OSError:
            return []
        lines = project["project"]["dependencies"]
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines if "extra ==" not in line)
    return sorted(found[0].lower() for found in names if found)


def check_versions(found: dict[str, str]) -> Finding:
    """One line of the most asked; whatever is missing is trouble."""
    missing = [name for name, version in found.items() if not version and name != "libc"]
    if missing:
        todo = "install feedd again: pipx reinstall feedd, or uv tool upgrade --reinstall feedd"
        return trouble("versions", f"{', '.join(missing)}: not installed", todo)
    said = ", ".join(f"{name} {found[name]}" for name in ("feedd", "Python", "SQLite", "kernel"))
    return good("versions", f"{said}; {len(dependencies())} dependencies, all there")


# --- inotify ---------------------------------------------------------------------------------------------------------


def inotify_limits(proc: str = PROC) -> tuple[int, int, int] | None:
    """max_user_watches, max_user_instances, max_queued_events; None where there is no inotify."""
    try:
        watches, instances, queued = (
            int(_read(f"{proc}/sys/fs/inotify/max_{name}"))
            for name in ("user_watches", "user_instances", "queued_events")
        )
    except (OSError, ValueError):
        return None
    return watches, instances, queued


def inotify_in_use(user: int, proc: str = PROC) -> tuple[int, int]:
    """Watches and instances of a user's processes, as far as we may see them (inotify(7), proc_pid_fdinfo(5))."""
    watches = instances = 0
    for entry in os.scandir(proc):
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid != user:
                continue
            for number in os.listdir(f"{entry.path}/fd"):
                if os.readlink(f"{entry.path}/fd/{number}") == "anon_inode:inotify":
                    instances += 1
                    watches += _read(f"{entry.path}/fdinfo/{number}").count("inotify wd:")
        except OSError:  # it ended, or is not ours to look at
            continue
    return watches, instances


def check_inotify(
    folders: int, limits: tuple[int, int, int] | None, in_use: tuple[int, int], *, running: bool
) -> list[Finding]:
    """`folders`: those to be watched, one watch each. `running`: feedd runs, and its watches are among those in use."""
    if limits is None:
        return [hint("inotify", "the kernel tells nothing of it, so folders are polled", "")]
    (watches, instances, queued), (used, used_instances) = limits, in_use
    others = used if not running else max(0, used - folders)
    wanted = 1 << max(19, (2 * (folders + others)).bit_length())
    raise_to = f"sysctl fs.inotify.max_user_watches={wanted}, and the same line in /etc/sysctl.d/feedd.conf"
    said = f"{folders} folders to watch, {others} watches used by other programs of this user, {watches} allowed"
    found: list[Finding] = []
    if folders + others > watches:
        found.append(trouble("inotify", f"{said}: changes would be found by polling only", raise_to))
    elif 2 * folders + others > watches:
        found.append(hint("inotify", f"{said}: not enough for twice the folders", raise_to))
    else:
        found.append(good("inotify", said))
    if not running and used_instances >= instances:
        todo = f"sysctl fs.inotify.max_user_instances={4 * instances}, and the same line in /etc/sysctl.d/feedd.conf"
        found.append(trouble("inotify", f"all {instances} instances of this user are in use", todo))
    if queued < 16_384:
        todo = "sysctl fs.inotify.max_queued_events=16384, and the same line in /etc/sysctl.d/feedd.conf"
        found.append(hint("inotify", f"a burst of more than {queued} changes makes it scan everything", todo))
    return found


# --- open files, memory ----------------------------------------------------------------------------------------------


def open_files() -> tuple[int, int]:
    """How many files this process may open: the limit that counts, and how far it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 30
    return (most if soft == resource.RLIM_INFINITY else soft), (most if hard == resource.RLIM_INFINITY else hard)


def check_open_files(limits: tuple[int, int], connections: int, *, is_chosen: bool) -> Finding:
    """`connections`: how many readers the server takes at once, 0 without one; `is_chosen`: by config.toml.

    It raises its limit as far as it may, and turns readers away where that does not do.
    """
    soft, hard = limits
    need, room = connections + SPARE_FILES, hard - SPARE_FILES
    said = f"{hard} allowed" + (f" ({soft}, which feedd raises)" if soft < hard else "")
    if room >= connections:
        return good("open files", f"{said}, {need} needed for {connections} connections")
    if room < 0:
        said += f", {SPARE_FILES} needed without any connection"
        return trouble("open files", said, f"LimitNOFILE={need} in the unit, or ulimit -n {need}")
    said += f": room for {room} connections at once, of {connections} in server.max_connections"
    if room >= ENOUGH_CONNECTIONS and not is_chosen:
        return good("open files", said)
    todo = f"LimitNOFILE={need} in the unit, or ulimit -n {need}; or server.max_connections = {max(1, room)}"
    return hint("open files", said, todo)


def memory_limit(proc: str = PROC, cgroups: str = CGROUPS) -> int | None:
    """The least limit of the control groups that this process is in (versions 1 and 2); None without one."""
    limits: list[int] = []
    try:
        lines = _read(f"{proc}/self/cgroup").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base, name = (
            (cgroups, "memory.max") if not controllers else (f"{cgroups}/memory", "memory.limit_in_bytes")
        )
        if controllers and "memory" not in controllers.split(","):
            continue
        parts = [part for part in path.split("/") if part]
        for end in range(len(parts) + 1):
            try:
                limit = int(_read("/".join([base, *parts[:end], name])))
            except (OSError, ValueError):  # none of its own, or "max"
                continue
            limits.append(limit)
    least = min(limits, default=1 << 62)
    return least if least < 1 << 60 else None  # version 1 has a number of its own for no limit


def memory_available(proc: str = PROC) -> int | None:
    """Bytes that could be had without swapping."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(f"{proc}/meminfo"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def check_memory(limit: int | None, available: int | None, cache_bytes: int) -> Finding:
    """Against what 100,000 articles take, and the server's cache."""
    idle, busy = IDLE_BYTES + cache_bytes, BUSY_BYTES + cache_bytes
    room = min(limit or 1 << 62, available or 1 << 62)
    parts = [f"{size(limit)} allowed by the control group" if limit else "no limit of a control group"]
    parts += [f"{size(available)} free"] if available else []
    said = f"{', '.join(parts)}; 100,000 articles take {size(idle)} idle, {size(busy)} while all is built"
    todo = f"MemoryMax={busy // 1_000_000}M or more, or a smaller server.cache_bytes"
    if room < IDLE_BYTES // 2:
        return trouble("memory", said, todo)
    return hint("memory", said, todo) if room < busy else good("memory", said)


# --- clock, zone, certificates ---------------------------------------------------------------------------------------


def is_synchronised() -> bool | None:
    """Whether somebody keeps the clock right, as the kernel was told (adjtimex(2)); None where it does not say."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # all zero: nothing is set
    except (AttributeError, OSError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def check_clock(now: float, newest_at: int, synchronised: bool | None, stepped_s: float) -> list[Finding]:
    """`newest_at`: the newest time that the state holds, 0 without one. `stepped_s`: how far the clock moved against
    the monotonic one while the doctor looked.
    """
    todo = "set the clock, and let NTP keep it: timedatectl set-ntp true"
    found: list[Finding] = []
    if now < _BUILT_AT:
        found.append(trouble("clock", f"it shows {_utc(now)}, which is before this feedd was made", todo))
    if newest_at > now + 120:
        said = f"the state holds {_utc(newest_at)}, which is {int(newest_at - now)} s ahead: the clock was set back"
        found.append(trouble("clock", said, f"{todo}; feeds' dates go on from there by themselves"))
    if abs(stepped_s) > 0.5:
        found.append(hint("clock", f"it was moved by {stepped_s:.1f} s while this looked", todo))
    if synchronised is False:
        found.append(hint("clock", "the kernel knows of nobody who keeps it right", todo))
    if not found:
        kept = "kept right by NTP" if synchronised else "whether NTP keeps it right cannot be seen here"
        found.append(good("clock", f"{_utc(now)}, {kept}"))
    return found


def check_zone(now: float) -> Finding:
    """Nothing can be wrong with it; it is often asked."""
    local = time.localtime(now)
    offset = f"{time.strftime('%z', local)[:3]}:{time.strftime('%z', local)[3:]}"
    return good("time zone", f"{local.tm_zone} (UTC{offset}) here, not used: dates in articles without a zone are UTC")


def check_certificates() -> Finding:
    """https needs somebody to trust."""
    paths = ssl.get_default_verify_paths()
    try:
        count = len(os.listdir(paths.capath)) if paths.capath else 0
    except OSError:
        count = 0
    count = count or len(ssl.create_default_context().get_ca_certs())
    if count:
        return good("certificates", "https links and hubs can be verified")
    todo = "install the package ca-certificates, or set SSL_CERT_FILE"
    return trouble("certificates", "no certificate authorities: every https link and hub would fail", todo)


def _utc(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
