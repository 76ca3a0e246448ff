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
_IDENTITY = b"feedd-state:"  # which state who answers works on, see service.running


@click.command()
@click.option("--live", is_flag=True, help="Ask only whether its loops turn, not whether it can publish.")
@click.pass_obj
def healthcheck(config_path: str, live: bool) -> None:
    """Say in a line whether the running feedd is well.

    Exits with 1 if it is not, or if another feedd answers, that works on another state.

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
    state = _table(raw, "state").get("path", "state")
    if not isinstance(state, str):
        raise ValueError("state.path is no folder's path")
    home = os.path.abspath(os.path.dirname(config_path))
    folder = os.path.normpath(os.path.join(home, os.path.expanduser(state)))
    host, port = str(server.get("host", "127.0.0.1")), server.get("port", 8080)
    if not server.get("enabled", True) or not isinstance(port, int) or not port:
        return _look(folder)
    return _ask(_ANYWHERE.get(host, host), port, path, folder)


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def _ask(host: str, port: int, path: str, folder: str) -> tuple[bool, str]:
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
    if _is_another(head, folder):
        return False, f"another feedd answers at http://{name}:{port}{path}: it does not work on the state in {folder}"
    return status == [b"200"], said or "not well"


def _look(folder: str) -> tuple[bool, str]:
    """Whether a process works on the state."""
    from feedd.service.running import is_held

    try:
        is_well = is_held(folder)
    except OSError as error:
        return False, f"feedd does not run: {error.filename}: {(error.strerror or str(error)).lower()}"
    return is_well, "running" if is_well else f"feedd does not run: no process holds the state in {folder}"


def _is_another(head: bytes, folder: str) -> bool:
    """Whether who answers works on another state. Who may not look into that folder takes its word."""
    from feedd.service.running import identity

    named = [line[len(_IDENTITY):].strip() for line in head.lower().split(b"\r\n") if line.startswith(_IDENTITY)]
    try:
        return bool(named) and named[0].decode("ascii", "replace") != identity(folder)
    except PermissionError:
        return False
    except OSError:
        return True  # there is no state that a feedd could work on
