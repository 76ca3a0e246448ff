"""A machine with a systemd of its own, for tests: namespaces over a copy-on-write view of this one's files.

What it does stays in it, but for `shared`, which is a folder of the test and /run/trial in there: the network is its
own, /dev holds what every process needs, and its cgroup is taken away at the end. It takes root, unshare, overlayfs
and cgroup2, which containers seldom give: `why_not` says what is missing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from processes import until

SYSTEMD = "/lib/systemd/systemd"
_UNSHARE = (
    "unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--net", "--cgroup", "--propagation",
    "private",
)  # fmt: skip
_TRY = """
mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
"""
_BOOT = r"""
cd "$1"
mkdir overlay && mount -t tmpfs tmpfs overlay && cd overlay
mkdir up work root && mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node && mount --bind /dev/$node dev/$node; done
ln -s /proc/self/fd dev/fd && ln -s pts/ptmx dev/ptmx
mkdir dev/pts dev/mqueue && mount -t devpts devpts dev/pts
mkdir dev/shm && mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/trial old && mount --bind "$1/shared" run/trial
chmod 755 root # a Python may lie there
rm -rf etc/systemd/system/*.wants lib/systemd/system/*.wants
ln -sf /dev/null etc/systemd/system/systemd-remount-fs.service
pivot_root . old && umount -l old
hostname feedd-test
exec env -i container=feedd-test PATH=/usr/sbin:/usr/bin:/sbin:/bin "$2" --system --unit=basic.target
"""


class Machine:
    """A running one; `do` is a command in it."""

    def __init__(self, pid: int, shared: Path) -> None:
        self.pid, self.shared = pid, shared

    def do(self, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of root's, to its end."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.pid), "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup", "--root",
             "--wd", *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"} | environment, capture_output=True,
            text=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done


def why_not() -> str:
    """What this machine lacks to hold another one; empty if nothing."""
    if sys.platform != "linux" or os.geteuid():
        return "takes root on Linux"
    missing = [tool for tool in ("unshare", "nsenter", "setpriv", "systemctl", "pivot_root") if not shutil.which(tool)]
    if missing or not os.path.exists(SYSTEMD):
        return f"takes {', '.join(missing) or SYSTEMD}"
    if _cgroups() is None:
        return "takes a cgroup2 hierarchy that can be written to"
    tried = subprocess.run(
        [*_UNSHARE, "sh", "-ec", _TRY], capture_output=True, text=True, check=False, timeout=20
    )
    return f"takes namespaces and overlayfs: {tried.stderr.strip()}" if tried.returncode else ""


def _cgroups() -> Path | None:
    """Where this process's own cgroup2 is."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next((path for number, _, path in lines if number == "0"), None)
    for point in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if own and os.path.exists(f"{point}/cgroup.controllers"):
            folder = Path(point + own)
            return folder if os.access(folder, os.W_OK) else None
    return None


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Machine]:
    """A machine whose systemd is up; gone at the end, with all that runs in it."""
    shared = folder / "shared"
    shared.mkdir()
    above = _cgroups()
    assert above
    cgroup = above / f"feedd-test-{os.getpid()}"
    cgroup.mkdir()
    process = subprocess.Popen(
        ["sh", "-ec", 'echo $$ >"$1/cgroup.procs"; shift; exec setpriv --pdeathsig=KILL "$@"', "sh", str(cgroup),
         *_UNSHARE, "sh", "-ec", _BOOT, "sh", str(folder), SYSTEMD],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        pid = int(until(lambda: process.poll() is None and children.read_text().split(), "a process in there")[0])
        machine = Machine(pid, shared)

        def is_up() -> bool:
            assert process.poll() is None, process.communicate()[0]
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/exe").endswith("systemd"):
                    return machine.do("systemctl", "is-active", "basic.target", check=False).returncode == 0
            return False

        until(is_up, "systemd is up")
        yield machine
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and the machine with its parent
        process.communicate()
        end = time.monotonic() + 5
        while cgroup.exists() and time.monotonic() < end:
            for below in sorted(cgroup.rglob("*"), reverse=True):
                if below.is_dir():
                    with contextlib.suppress(OSError):
                        below.rmdir()
            with contextlib.suppress(OSError):
                cgroup.rmdir()
