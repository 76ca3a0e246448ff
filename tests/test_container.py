"""The OCI image: built from the Dockerfile as it is, and run with what deploy/compose.yaml allows, less the shells that
the base image brings. Takes podman or docker, and the base image on this machine: nothing here pulls one.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from newsroom import article
from processes import ROOT, until

BASE = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[-1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["feedd"]
ENGINE = next((name for name in ("podman", "docker") if shutil.which(name)), "")
ADDED_MB = 120  # what feedd and all that it needs may add to the base image
USER = int(COMPOSE["user"].partition(":")[0])
SITE = '\n[site]\ntitle = "Example News"\nurl = "https://news.example"\n[links]\nenabled = false\n'
_NO_INDEX = "name resolution|Network is unreachable|Failed to establish a new connection|Connection timed out"


def engine(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """One command of the engine, from its start to its end."""
    return subprocess.run([ENGINE, *arguments], capture_output=True, text=True, check=False, timeout=timeout)


def done(*arguments: str) -> str:
    """What a command of the engine prints; it must succeed."""
    ended = engine(*arguments)
    assert ended.returncode == 0, f"{arguments}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def _why_not() -> str:
    if not ENGINE:
        return "neither podman nor docker is installed"
    try:
        if engine("info").returncode:
            return f"{ENGINE} does not run here"
        return f"the image {BASE} is not on this machine" if engine("image", "inspect", BASE).returncode else ""
    except subprocess.TimeoutExpired:
        return f"{ENGINE} does not answer"


_WHY_NOT = _why_not()
pytestmark = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)


@pytest.fixture(scope="module")
def image() -> str:
    """The image's name. Its first build fetches packages; later ones come from the engine's cache."""
    tried = engine("run", "--rm", "--network=none", "--entrypoint=python", BASE, "-c", "")
    if tried.returncode:
        pytest.skip(f"{ENGINE} cannot run {BASE} here: {tried.stderr.strip()}")
    name = "localhost/feedd-test"
    own = ["--pull=never", "--format=docker"] if ENGINE == "podman" else []
    built = engine("build", *own, "--tag", name, str(ROOT), timeout=280)
    if re.search(_NO_INDEX, built.stdout + built.stderr):
        pytest.skip("the index of Python packages cannot be reached")
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    return name


class Container:
    """One that runs, by its name, and the two folders that the test mounts into it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.articles, self.config = folder / "articles", folder / "etc"

    def do(self, *command: str) -> str:
        """What a command prints in it."""
        return done("exec", self.name, *command)

    def python(self, expression: str) -> Any:
        """What an expression is worth in it, as JSON says it."""
        return json.loads(self.do("python", "-c", f"import json, os; print(json.dumps({expression}))"))

    def is_healthy(self) -> bool:
        """What the image's own check says. Podman is asked: it leaves that to timers of systemd, which may not be."""
        if ENGINE == "podman":
            return engine("healthcheck", "run", self.name).returncode == 0
        return done("inspect", "--format", "{{.State.Health.Status}}", self.name).strip() == "healthy"

    def stop(self) -> int:
        """Stops it as the example does; its exit code."""
        done("stop", "--time", COMPOSE["stop_grace_period"].removesuffix("s"), self.name)
        return int(done("inspect", "--format", "{{.State.ExitCode}}", self.name))

    def said_at(self, event: str) -> datetime:
        """When it logged this last."""
        said = engine("logs", self.name)
        return [
            datetime.fromisoformat(line.split()[0]) for line in (said.stdout + said.stderr).splitlines()
            if line.split()[2:3] == [event]
        ][-1]  # fmt: skip

    def feed(self) -> dict[str, Any]:
        """The feed of everything, asked for from outside of it; empty while nobody answers."""
        host = done("port", self.name, "8080").split()[0]
        try:
            with urllib.request.urlopen(f"http://{host}/all.json", timeout=5) as answer:
                said: dict[str, Any] = json.load(answer)
        except OSError:
            return {}
        return said

    def ids(self) -> dict[str, str]:
        """Title -> id of the entries in the feed of everything."""
        return {item["title"]: item["id"] for item in self.feed().get("items", ())}


@contextmanager
def running(image: str, folder: Path, *options: str) -> Iterator[Container]:
    """One that runs as the example says, on a port of its own, over two articles, without a shell; it asks nobody."""
    container = Container(f"feedd-test-{uuid.uuid4().hex[:12]}", folder)
    for each in (container.articles, container.config):
        each.mkdir()
    for title in ("One", "Two"):
        (container.articles / f"{title}.md").write_text(article(title))
    (container.config / "config.toml").write_text((ROOT / "deploy/container.toml").read_text() + SITE)
    nothing = folder / "nothing"
    nothing.touch(0o644)
    volumes = {name: f"{container.name}-{name}" for name in ("feeds", "state")}
    mounted = [
        f"{container.articles}:/articles:ro", f"{container.config}:/etc/feedd:ro",
        *(f"{volume}:/{name}" for name, volume in volumes.items()),
        *(f"{nothing}:/usr/bin/{shell}:ro" for shell in ("bash", "dash")),
    ]  # fmt: skip
    allowed = [
        f"--user={COMPOSE['user']}", f"--read-only={COMPOSE['read_only']}", f"--pids-limit={COMPOSE['pids_limit']}",
        f"--memory={COMPOSE['mem_limit']}", *(f"--cap-drop={each}" for each in COMPOSE["cap_drop"]),
        *(["--read-only-tmpfs=false"] if ENGINE == "podman" else []),  # it would let more be written than is asked for
        *(f"--security-opt={each}" for each in COMPOSE["security_opt"]),
        *(f"--tmpfs={each}" for each in COMPOSE["tmpfs"]),
    ]  # fmt: skip
    try:
        done(
            "run", "--detach", f"--name={container.name}", "--publish=127.0.0.1::8080", "--health-interval=1s",
            *allowed, *(f"--volume={each}" for each in mounted), *options, image,
        )  # fmt: skip
        yield container
    finally:
        engine("rm", "--force", container.name)
        engine("volume", "rm", *volumes.values())


def once(image: str, code: str) -> str:
    """What lines of Python print in a container of their own."""
    return done("run", "--rm", "--network=none", "--read-only", "--entrypoint=python", image, "-c", code)


# --- what it is -------------------------------------------------------------------------------------------------------


def test_it_is_small(image: str) -> None:
    size, base = (int(done("image", "inspect", "--format", "{{.Size}}", name)) for name in (image, BASE))
    assert size - base < ADDED_MB * 1_000_000


def test_its_folders_belong_to_its_user_and_all_else_to_root(image: str) -> None:
    own, roots = ("/articles", "/feeds", "/state"), ("/", "/usr/local/lib", "/opt/feedd/bin", "/etc/feedd/config.toml")
    said = once(image, f"import os; print([(os.stat(p).st_uid, os.stat(p).st_mode & 0o777) for p in {own + roots}])")
    owners = dict(zip(own + roots, ast.literal_eval(said), strict=True))
    assert {owners[path][0] for path in own} == {USER}
    assert owners["/state"] == (USER, 0o700)
    assert {owners[path][0] for path in roots} == {0}
    assert all(owners[path][1] & 0o022 == 0 for path in roots)


def test_it_has_the_bytecode_of_all_that_it_starts_with(image: str) -> None:
    code = "import sys, feedd.daemon.life; print([getattr(m, '__cached__', '') for m in sys.modules.values()])"
    paths = [path for path in ast.literal_eval(once(image, code)) if path]
    assert len(paths) > 300
    assert once(image, f"import os; print([path for path in {paths} if not os.path.exists(path)])").strip() == "[]"


# --- what it does -----------------------------------------------------------------------------------------------------


def test_it_serves_without_rights_over_a_read_only_root_and_stops_in_time(image: str, tmp_path: Path) -> None:
    with running(image, tmp_path) as container:
        until(container.is_healthy, "it is healthy")
        ids = container.ids()
        assert sorted(ids) == ["One", "Two"]
        status = dict(re.findall(r"^(\w+):\s+(.*)$", container.python("open('/proc/1/status').read()"), re.MULTILINE))
        assert {status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Uid"].split()) == ("1", [str(USER)] * 4)
        folders = ["/", "/opt", "/run", "/var/tmp", "/articles", "/feeds", "/state", "/tmp"]
        writable = container.python(f"[path for path in {folders} if os.access(path, os.W_OK)]")
        assert writable == ["/feeds", "/state", "/tmp"]
        assert container.stop() == 0
        assert (container.said_at("stopped") - container.said_at("stopping")).total_seconds() < 1
        done("start", container.name)
        until(container.is_healthy, "it is healthy again")
        assert container.ids() == ids


def test_it_follows_articles_and_a_configuration_that_are_mounted(image: str, tmp_path: Path) -> None:
    with running(image, tmp_path) as container:
        until(container.is_healthy, "it is healthy")
        (container.articles / "Three.md").write_text(article("Three"))
        until(lambda: "Three" in container.ids(), "a new article is served")
        new = container.config / "new"
        new.write_text((container.config / "config.toml").read_text().replace("Example News", "Another Name"))
        new.replace(container.config / "config.toml")  # as editors do: it takes the folder, not the file, to be mounted
        until(lambda: container.feed().get("title") == "Another Name", "the new configuration is applied")
        assert "feedd is running" in container.do("feedd", "status")  # it finds the configuration without --config
        doctor = container.do("feedd", "doctor")
        assert "trouble" not in doctor
        assert "/state: writable" in doctor
        assert "others may look into it" not in doctor


def test_it_stops_at_once_while_it_starts(image: str, tmp_path: Path) -> None:
    assert COMPOSE["init"] is True
    if ENGINE == "podman" and engine("run", "--rm", "--init", "--network=none", image, "--version").returncode:
        pytest.skip("podman has no init here: catatonit is not installed")
    with running(image, tmp_path, "--init") as container:
        assert container.stop() in (0, 128 + 15)  # 137 if it had to be killed
