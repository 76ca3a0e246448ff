"""Command healthcheck: whether the feedd that this configuration runs is well, for containers and service managers.

Starts fast, as it may be run every few seconds: of config.toml it reads four keys, and leaves it to others to judge the
rest, which a feedd that runs has done.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from feedd.cli import common

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 3.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_MOST_BYTES = 10_000


@click.command()
@click.option("--live", is_flag=True, help="Ask only whether its loops turn, not whether it can publish.")
@click.pass_obj
def healthcheck(config_path: str, live: bool) -> None:
    """Say whether the running feedd is well: exit code 0 or 1, and a line.

    Asks its server at the address that the configuration gives; where the server is switched off, looks whether a
    process holds the state.
    """
    try:
        is_well, said = check(config_path, "/livez" if live else "/readyz")
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else str(error)
        is_well, said = False, f"{config_path} cannot be read: {reason}"
    click.echo(said)
    if not is_well:
        sys.exit(common.EXIT_FINDINGS)


def check(config_path: str, path: str) -> tuple[bool, str]:
    """Whether it is well, and a line about it. Raises OSError and ValueError where config.toml cannot be read."""
    import tomllib

    with open(config_path, encoding="utf-8-sig") as file:
        raw = tomllib.loads(file.read())
    server = _table(raw, "server")
    host, port = str(server.get("host", "127.0.0.1")), server.get("port", 8080)
    if not server.get("enabled", True) or not isinstance(port, int) or not port:
        state = os.path.expanduser(str(_table(raw, "state").get("path", "state")))
        return _look(os.path.normpath(os.path.join(os.path.abspath(os.path.dirname(config_path)), state)))
    return _ask(_ANYWHERE.get(host, host), port, path)


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _ask(host: str, port: int, path: str) -> tuple[bool, str]:
    """One request over a connection of its own. All of it has TIMEOUT_S."""
    import socket
    import time

    end = time.monotonic() + TIMEOUT_S
    name = f"[{host}]" if ":" in host else host
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while len(answer) < _MOST_BYTES:
                connection.settimeout(max(0.001, end - time.monotonic()))
                if not (piece := connection.recv(_MOST_BYTES)):
                    break
                answer += piece
    except OSError as error:
        reason = error.strerror or str(error)
        return False, f"feedd does not answer at http://{name}:{port}{path}: {reason.lower()}"
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    said = " ".join(body.decode("utf-8", "replace").split())
    if not head.startswith(b"HTTP/1.") or status not in ([b"200"], [b"503"]):
        return False, f"what answers at http://{name}:{port}{path} is not feedd"
    return status == [b"200"], said or "not well"


def _look(folder: str) -> tuple[bool, str]:
    """Whether a process works on the state: it holds the lock that `store.sqlite` takes.

    To know, the lock is had for a microsecond if nobody has it; a feedd that starts within that is told that another
    one works there, and is started again by whoever started it.
    """
    import fcntl

    try:
        with open(os.path.join(folder, "lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, "running"
    except OSError as error:
        return False, f"feedd does not run: {os.path.join(folder, 'lock')}: {(error.strerror or str(error)).lower()}"
    return False, f"feedd does not run: no process holds the state in {folder}"
