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
            subprocess.run([uv, "venv", "-q", "--no-project", "--python", sys.executable, venv], check=True)
        subprocess.run([uv, "pip", "sync", "-q", "--require-hashes", "--python", python, lock], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        quietly = ("--disable-pip-version-check", "-q")
        subprocess.run([python, "-m", "pip", *quietly, "install", "--require-hashes", "-r", lock], check=True)


def main() -> int:
    root = Path(sys.argv[1])
    venv = root / ".venv"
    folder = os.open(root, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)  # until the process ends
    lock = (root / "requirements.lock").read_bytes()
    if is_current(venv, lock):
        return 0
    print(f"Making {venv} from requirements.lock ...", file=sys.stderr, flush=True)
    (venv / "requirements.lock").unlink(missing_ok=True)
    # A module path or an active environment of the caller's would leak into what is installed.
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        os.environ.pop(name, None)
    try:
        install(root, venv)
    except subprocess.CalledProcessError as error:
        print(f"{Path(error.cmd[0]).name} failed with exit code {error.returncode}.", file=sys.stderr)
        return 1
    partial = venv / "requirements.lock.new"
    partial.write_bytes(lock)
    partial.replace(venv / "requirements.lock")
    return 0


if __name__ == "__main__":
    sys.exit(main())
