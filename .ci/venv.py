"""Makes .venv hold exactly what requirements.lock says, every file checked against its hash.

Called by .ci/env.sh when .venv is missing or old; standard library only, for it runs before anything is installed.
Through uv where there is one, else venv and pip. A lock on the project's folder makes two at once take turns (the
kernel lets go of it when its holder dies); a copy of the lock file, written last, marks .venv as complete.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path


def is_current(venv: Path, lock: bytes) -> bool:
    """Whether `venv` was completed from these lock bytes, and its Python is still there."""
    stamp = venv / "requirements.lock"
    return os.access(venv / "bin/python", os.X_OK) and stamp.is_file() and stamp.read_bytes() == lock


def works(venv: Path) -> bool:
    """Whether the Python in `venv` runs, and is new enough to be kept."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([venv / "bin/python", "-c", check], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def install(root: Path, venv: Path) -> None:
    """Bring `venv` to what the lock says. With uv an existing one is changed in place; pip leaves what it does not
    know, so it starts from nothing. Raises CalledProcessError."""
    lock, python = root / "requirements.lock", venv / "bin/python"
    uv = shutil.which("uv")
    if uv:
        if not works(venv):
            shutil.rmtree(venv, ignore_errors=True)
            quietly(uv, "venv", "--no-project", "--python", sys.executable, venv)
        quietly(uv, "pip", "sync", "--require-hashes", "--python", python, lock)
    else:
        quietly(sys.executable, "-m", "venv", "--clear", venv)
        quietly(python, "-m", "pip", "--disable-pip-version-check", "install", "--require-hashes", "-r", lock)


def quietly(*command: str | Path) -> None:
    """Runs it to its end; what it says, such as of packages that are built in an old way, is for who looks into a
    failure. Raises CalledProcessError, which has that."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def main() -> int:
    root = Path(sys.argv[1])
    venv = root / ".venv"
    folder = os.open(root, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # until the process ends
    lock = (root / "requirements.lock").read_bytes()
    if is_current(venv, lock):
        return 0
    print(f"Making {venv} from requirements.lock, which takes a minute ...", file=sys.stderr, flush=True)
    (venv / "requirements.lock").unlink(missing_ok=True)
    # A module path or an active environment of the caller's would leak into what is installed.
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        os.environ.pop(name, None)
    try:
        install(root, venv)
    except subprocess.CalledProcessError as error:
        sys.stderr.buffer.write(error.output)
        print(f"{Path(error.cmd[0]).name} failed with exit code {error.returncode}.", file=sys.stderr)
        return 1
    partial = venv / "requirements.lock.new"
    partial.write_bytes(lock)
    partial.replace(venv / "requirements.lock")
    return 0


if __name__ == "__main__":
    sys.exit(main())
