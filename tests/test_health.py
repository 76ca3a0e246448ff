"""/livez and /readyz, during faults and after; and `feedd healthcheck`, which asks them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import faults
import pytest
from newsroom import article
from processes import DEADLINE_S, ROOT, Daemon, Site, until

from feedd.cli import health
from feedd.config.keys import Config
from feedd.service import running
from feedd.web.front import Front, Probes
from feedd.web.http import Answer, Request
from feedd.web.server import Server

FULL = "The output cannot be written: no space left on device."


# --- what is answered -------------------------------------------------------------------------------------------------


def answer(
    path: str, *, method: str = "GET", accept: bytes = b"", ready: bool = True, troubles: Sequence[str] = (),
    silent: Sequence[str] = (),
) -> Answer:
    """What the front says, before any application."""
    front = Front(None, None, lambda: ready, probes=Probes(lambda: troubles, lambda: silent))
    found = front.answer(Request(method, path, "", {b"accept": accept} if accept else {}, "203.0.113.9"))
    assert found is not None
    headers = dict(found.headers)
    assert (headers[b"cache-control"], method == "HEAD" or int(headers[b"content-length"]) == len(found.body)) == (
        b"no-store", True
    )
    return found


def test_each_thing_that_keeps_it_from_its_work_has_a_line() -> None:
    assert (answer("/readyz").status, answer("/readyz").body) == (200, b"ready\n")
    not_ready = answer("/readyz", ready=False, troubles=[FULL])
    assert (not_ready.status, not_ready.body.decode().splitlines()) == (
        503, ["The first scan is not published yet.", FULL]
    )
    assert dict(not_ready.headers)[b"retry-after"] == b"1"
    assert answer("/readyz", silent=["publish"]).status == 200  # that is for /livez to say


def test_it_is_alive_while_its_loops_turn_whatever_else_is_wrong() -> None:
    assert answer("/livez", ready=False, troubles=[FULL]).body == b"alive\n"
    still = answer("/livez", silent=["publish", "watch"])
    assert (still.status, still.body) == (503, b"Publish stands still.\nWatch stands still.\n")


def test_programs_may_have_it_as_json() -> None:
    found = answer("/readyz", accept=b"application/json", troubles=[FULL])
    assert (found.status, json.loads(found.body)) == (503, {"ready": False, "troubles": [FULL]})
    assert json.loads(answer("/livez", accept=b"application/json").body) == {"alive": True, "troubles": []}
    assert answer("/livez", accept=b"*/*").body == b"alive\n"


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_head_has_the_headers_of_get_and_no_body(path: str) -> None:
    for troubles in ((), (FULL,)):
        head, get = (answer(path, method=method, troubles=troubles, silent=troubles) for method in ("HEAD", "GET"))
        assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


# --- a daemon in trouble ----------------------------------------------------------------------------------------------


def says(feedd: Daemon, status: int, what: str = "", path: str = "/readyz") -> str:
    """Waits until it is answered so; returns the text."""
    def asked() -> str:
        found, _, body = feedd.get(path)
        assert (found == 200) == (body in (b"ready\n", b"alive\n"))
        assert not any(private in body.decode() for private in (str(feedd.site.folder), ".atom", "feedd.db"))
        return body.decode() if found == status and what in body.decode() else ""

    return until(asked, f"{path} says {status} {what}")


def test_output_that_is_full_or_read_only_is_said_and_so_is_its_end(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    options = "size=1m"
    with faults.disk(site.out, options), site.running() as feedd:
        with faults.filled(site.out):
            assert says(feedd, 503) == FULL + "\n"  # before there is anything to be written
            site.put("two.md", article("Two"))
            feedd.wait("feed not written, the last good one stays")
            assert (says(feedd, 503), says(feedd, 200, path="/livez")) == (FULL + "\n", "alive\n")
        says(feedd, 200)
        site.shows("One", "Two")
        faults.turn_read_only(site.out, options)
        says(feedd, 503, "The output cannot be written: read-only file system.")
        faults.turn_writable(site.out, options)
        says(feedd, 200)


def test_a_state_that_somebody_locks_is_said_and_so_is_its_end(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    with site.running() as feedd:
        with contextlib.closing(sqlite3.connect(site.state / "feedd.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            site.put("two.md", article("Two"))
            says(feedd, 503, "The state cannot be written: database is locked.")
            assert feedd.get("/livez")[0] == 200
        says(feedd, 200)
        site.shows("One", "Two")
        said = feedd.get("/metrics")[2].decode()
        assert 'feedd_publish_faults_total{part="state"} 0.0' not in said


def test_a_feed_that_something_is_in_the_way_of_does_not_make_it_unready(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put("one.md", article("One"))
    site.out.mkdir()
    (site.out / "topics").write_text("in the way")
    with site.running(ready=False) as feedd:
        feedd.wait("feed not written, the last good one stays", feed="topics/ai")
        says(feedd, 200)
        until(lambda: b"feedd_documents_failed 1.0" in feedd.get("/metrics")[2], "the failed feed is counted")


# --- healthcheck ------------------------------------------------------------------------------------------------------


@pytest.fixture
def port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def check(folder: Path, text: str, path: str = "/readyz") -> tuple[bool, str]:
    """What the command finds by this configuration."""
    (folder / "config.toml").write_text(text)
    return health.check(str(folder / "config.toml"), path)


@pytest.fixture
def served(port: int) -> Iterator[list[Sequence[str]]]:
    """A server at `port`; what is put into the list are its troubles."""
    troubles: list[Sequence[str]] = []
    probes = Probes(lambda: troubles[-1] if troubles else (), lambda: ("publish",))
    server = Server("127.0.0.1", port, None, None, lambda: True, probes=probes)
    server.start()
    yield troubles
    server.stop()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_it_asks_on_this_machine_wherever_the_server_listens(
    tmp_path: Path, port: int, served: list[Sequence[str]], host: str
) -> None:
    text = f'[server]\nhost = "{host}"\nport = {port}\n'
    assert check(tmp_path, text) == (True, "ready")
    assert check(tmp_path, text, "/livez") == (False, "Publish stands still.")
    served.append((FULL, "And more."))
    assert check(tmp_path, text) == (False, FULL + " And more.")


def test_another_feedd_at_the_address_is_not_taken_for_the_one_that_is_meant(tmp_path: Path, port: int) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/lock").touch()
    (tmp_path / "link").symlink_to("state")
    theirs = tmp_path / "theirs/state"
    theirs.mkdir(parents=True)
    (theirs / "lock").touch()
    assert running.identity(str(theirs)) != running.identity(str(tmp_path / "state"))
    server = Server("127.0.0.1", port, None, None, lambda: True, probes=Probes(identity=running.identity(str(theirs))))
    server.start()
    try:
        text = f"[server]\nport = {port}\n"
        for path in ("/readyz", "/livez"):
            assert check(tmp_path, text, path) == (False, (
                f"another feedd answers at http://127.0.0.1:{port}{path}: it does not work on the state in"
                f" {tmp_path}/state"
            ))
        assert "another feedd" in check(tmp_path, text + "[state]\npath = 'none'")[1]  # nor is there any
        assert check(tmp_path, text + "[state]\npath = 'theirs/state'") == (True, "ready")
        assert check(tmp_path / "theirs", text) == (True, "ready")
    finally:
        server.stop()


def test_who_may_not_look_into_the_state_takes_its_word(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may look anywhere")
    (tmp_path / "state").mkdir(mode=0)
    with answering(lambda other: other.sendall(b"HTTP/1.1 200 OK\r\nfeedd-state: x\r\n\r\nready")) as port:
        assert check(tmp_path, f"[server]\nport = {port}\n") == (True, "ready")


def test_it_says_in_a_line_what_is_wrong(tmp_path: Path, port: int) -> None:
    found = check(tmp_path, f"[server]\nport = {port}\n")
    assert found == (False, f"feedd does not answer at http://127.0.0.1:{port}/readyz: connection refused")


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 404 Not Found\r\n\r\nno", b"HTTP/1.1\r\n\r\n"])
def test_what_is_not_feedd_is_no_feedd_that_is_well(tmp_path: Path, said: bytes) -> None:
    with answering(lambda connection: connection.sendall(said)) as port:
        is_well, what = check(tmp_path, f"[server]\nport = {port}\n")
    assert (is_well, "is not feedd" in what or "does not answer" in what) == (False, True)


def test_who_never_ends_an_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT_S", 0.3)
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(b"H")

    began = time.monotonic()
    with answering(drip) as port:
        is_well, what = check(tmp_path, f"[server]\nport = {port}\n")
        over.set()
    assert (is_well, what.endswith("timed out"), time.monotonic() - began < 5) == (False, True, True)


@contextlib.contextmanager
def answering(say: Callable[[socket.socket], None]) -> Iterator[int]:
    """Takes one connection, reads what is asked, and says something; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4_096)
                say(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(DEADLINE_S)


def test_its_defaults_are_those_of_the_configuration(tmp_path: Path) -> None:
    known = Config()
    seen: list[Any] = []
    text = (ROOT / "feedd" / "cli" / "health.py").read_text()
    for default in (known.server.host, known.server.port, known.server.enabled, str(known.state.path)):
        seen.append(default)
        assert f", {json.dumps(default) if isinstance(default, str) else default})" in text
    assert seen == ["127.0.0.1", 8080, True, "state"]


@pytest.mark.parametrize("text", [
    '[server]\nport = "x"', "[server]\nport = 0", "[server]\nenabled = false", "state = []\n[server]\nport = 0",
    "[server]\nenabled = false\n[state]\npath = 'elsewhere'",
])
def test_a_configuration_that_names_no_address_leads_to_the_state(tmp_path: Path, text: str) -> None:
    is_well, said = check(tmp_path, text)
    assert (is_well, said.startswith(f"feedd does not run: {tmp_path}")) == (False, True)


def test_with_the_server_switched_off_whoever_holds_the_state_is_looked_for(tmp_path: Path) -> None:
    site = Site(tmp_path, server={"enabled": False})
    site.put("one.md", article("One"))
    before = site.command("healthcheck")
    assert (before.returncode, before.stdout.startswith("feedd does not run:")) == (1, True)
    with site.running(ready=False) as feedd:
        feedd.wait("up to date")
        assert site.command("healthcheck").stdout == "running\n"
        assert site.command("healthcheck", "--live").returncode == 0
    after = site.command("healthcheck")
    assert (after.returncode, after.stdout) == (1, f"feedd does not run: no process holds the state in {site.state}\n")


def test_the_command_tells_of_a_daemon_with_its_exit_code(tmp_path: Path, port: int) -> None:
    site = Site(tmp_path, server={"port": port, "host": "0.0.0.0"})
    refused = site.command("healthcheck")
    assert (refused.returncode, refused.stdout.count("\n"), refused.stderr) == (1, 1, "")
    with site.running():
        found = site.command("healthcheck")
        assert (found.returncode, found.stdout, found.stderr) == (0, "ready\n", "")
        assert site.command("healthcheck", "--live").stdout == "alive\n"
    site.config.write_text("server = [")
    wrong = site.command("healthcheck")
    assert (wrong.returncode, "config.toml cannot be read: " in wrong.stdout) == (1, True)
    site.config.unlink()
    assert "no such file or directory" in site.command("healthcheck").stdout


def test_the_command_tells_another_daemon_from_its_own(tmp_path: Path, port: int) -> None:
    theirs = Site(tmp_path / "theirs", server={"port": port})
    ours = Site(tmp_path / "ours", server={"port": port})
    assert ours.command("build").returncode == 0
    with theirs.running():
        assert theirs.command("healthcheck").stdout == "ready\n"
        said = ours.command("healthcheck")
        assert (said.returncode, said.stdout.startswith("another feedd answers at")) == (1, True)


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['feedd', '--config', '/nowhere/config.toml', 'healthcheck']\n"
        "import feedd.cli\n"
        "try: feedd.cli.main()\n"
        "except SystemExit as ended: assert ended.code == 1\n"
        "heavy = {'pydantic', 'http.client', 'asyncio', 'sqlite3', 'structlog'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (0, b"")
