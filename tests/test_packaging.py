"""The set-up of a checkout, and the OCI image as far as a machine without a container engine can tell: what its
Dockerfile copies and starts, what the compose example allows, and feedd itself under the same conditions: a number for
a user, no rights, a root that is read-only but for its volumes and /tmp.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import systemd_machine
import yaml
from newsroom import article
from processes import ROOT, environment

from feedd import config

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LINES = [
    line.split(maxsplit=1) for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")
]
FINAL = LINES[max(number for number, line in enumerate(LINES) if line[0] == "FROM") :]


def last(instruction: str) -> str:
    return [value for name, value in FINAL if name == instruction][-1]


def allowed(path: str) -> bool:
    """Whether .dockerignore lets a path into the build: the last rule that names it or a folder above it decides."""
    is_in = True
    for rule in (ROOT / ".dockerignore").read_text().splitlines():
        if rule and not rule.startswith("#"):
            name = rule.removeprefix("!")
            if name == "*" or path == name or path.startswith(name + "/"):
                is_in = rule.startswith("!")
    return is_in


# --- a checkout -------------------------------------------------------------------------------------------------------

UV = """#!/bin/sh
echo "DEPRECATION: built in an old way"
if [ "$1" = venv ]; then for folder; do :; done; mkdir -p "$folder"; fi
[ "$1" = venv ] || exit "$FAILS"
"""


@pytest.mark.parametrize("fails", [0, 3])
def test_setting_up_is_quiet_unless_it_fails_and_then_all_is_said(tmp_path: Path, fails: int) -> None:
    (tmp_path / "requirements.lock").write_text("package==1\n")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs/uv").write_text(UV)
    (tmp_path / "programs/uv").chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci/venv.py"), str(tmp_path)], capture_output=True, text=True, check=False,
        timeout=60, env={"PATH": f"{tmp_path}/programs:/usr/bin:/bin", "FAILS": str(fails)},
    )
    begun = f"Making {tmp_path}/.venv from requirements.lock, which takes a minute ..."
    failed = ["DEPRECATION: built in an old way", "uv failed with exit code 3."]
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (
        (1, "", [begun, *failed]) if fails else (0, "", [begun])
    )
    assert (tmp_path / ".venv/requirements.lock").exists() is not bool(fails)


# --- the image --------------------------------------------------------------------------------------------------------


def test_what_is_copied_is_there_and_sent_to_the_build() -> None:
    sources = [word for name, value in LINES if name == "COPY" and "--from" not in value for word in value.split()[:-1]]
    assert {"feedd", "pyproject.toml", "deploy/container.toml"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists()
        assert allowed(source)
    for secret in ("config.toml", ".git/config", "state/feedd.db", "articles/a.md"):
        assert not allowed(secret)


def test_the_image_needs_no_shell_and_no_root() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER"))
    assert "RUN" not in [name for name, _ in FINAL]
    start, arguments = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
    assert [*start, *arguments] == ["feedd", "--config", "/etc/feedd/config.toml", "run"]
    assert check == [*start, "healthcheck"]


def test_both_stages_have_the_same_python() -> None:
    images = [value.split()[0] for name, value in LINES if name == "FROM"]
    assert len(images) == 2
    assert len(set(images)) == 1


def test_the_images_lock_is_what_the_project_needs_of_the_whole_lock() -> None:
    def pins(path: Path) -> set[str]:
        return set(re.findall(r"^([\w.-]+==[\w.]+)", path.read_text(), re.MULTILINE))

    image, whole = pins(ROOT / "deploy/requirements.lock"), pins(ROOT / "requirements.lock")
    assert image <= whole
    names = {pin.partition("==")[0] for pin in image}
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in needed} <= names


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint") or str(Path(sys.executable).with_name("hadolint"))
    if not os.path.exists(hadolint):
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


# --- the compose example ----------------------------------------------------------------------------------------------


def test_the_example_lets_the_container_do_as_little_as_it_can() -> None:
    service = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["feedd"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == last("USER")
    assert [each.partition(":")[0] for each in service["tmpfs"]] == ["/tmp"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    volumes = dict(volume.split(":", 1) for volume in service["volumes"])
    settings = config.load(ROOT / "deploy/container.toml")
    assert volumes == {
        "../articles": f"{settings.articles.path}:ro", "feeds": str(settings.feeds.path),
        "state": str(settings.state.path),
    }
    assert json.loads(last("VOLUME")) == [str(settings.feeds.path), str(settings.state.path)]
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8080)
    assert last("EXPOSE") == "8080"


# --- the conditions of a container ------------------------------------------------------------------------------------

_WHY_NOT = systemd_machine.why_not()
_CONTAIN = r"""
cd "$1"
mkdir root up work && mount -t tmpfs tmpfs work && mkdir work/up work/work
mount -t overlay overlay -o lowerdir=/,upperdir=work/up,workdir=work/work root
cd root
chmod 755 root # a Python may lie there
mkdir -p articles feeds state old && mount --bind "$1/articles" articles
mount -o remount,bind,ro articles
for volume in feeds state; do mount --bind "$1/$volume" $volume; done
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom; do touch dev/$node && mount --bind /dev/$node dev/$node; done
mkdir dev/shm && mount -t tmpfs tmpfs dev/shm && mount -t tmpfs tmpfs tmp
pivot_root . old && umount -l old
mount -o remount,ro /
cd /dev/shm
shift
exec setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""


@pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)
@pytest.mark.skipif(str(ROOT).startswith("/tmp/"), reason="a checkout below /tmp would be hidden by the container's")
def test_it_publishes_as_a_number_without_rights_over_a_read_only_root(tmp_path: Path) -> None:
    for name in ("articles", "feeds", "state"):
        (tmp_path / name).mkdir()
    for name in ("feeds", "state"):
        os.chown(tmp_path / name, 10001, 10001)
    for number in range(300):  # enough for worker processes
        (tmp_path / "articles" / f"{number}.md").write_text(article(f"Number {number}"))
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--net", "--propagation", "private",
         "sh", "-ec", _CONTAIN, "sh", str(tmp_path), sys.executable, "-P", "-m", "feedd",
         "--config", str(ROOT / "deploy/container.toml"), "build"],
        env=environment() | {"PYTHONDONTWRITEBYTECODE": "1", "HOME": "/"}, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    feed = tmp_path / "feeds/all.json"
    assert len(json.loads(feed.read_bytes())["items"]) == 50
    assert feed.stat().st_uid == 10001


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no checkout of git")
def test_nothing_is_at_the_top_but_what_belongs_there() -> None:
    """Else what a trial leaves in the project is committed with the next change."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {path.partition("/")[0] for path in listed.split("\0") if path} == {
        ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "README.md", "articles",
        "bench", "config.toml", "deploy", "docs", "feedd", "feeds", "pyproject.toml", "requirements.lock", "run",
        "test", "tests",
    }  # fmt: skip
