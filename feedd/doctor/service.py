"""The running service -> findings: does it run, does it answer, is its port free, who starts it after a boot.

Asks this machine alone. Plain values come in; called by `doctor`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from collections.abc import Sequence

from feedd.doctor.findings import Finding, good, hint, trouble

ANSWER_S = 5.0
UNIT = "feedd.service"
UNIT_FOLDERS = (
    "/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
    "/lib/systemd/system", "~/.config/systemd/user", "/etc/systemd/user", "/usr/lib/systemd/user",
)
SYSTEMD = "/run/systemd/system"  # sd_booted(3)


def check_server(host: str, port: int, *, running: bool) -> Finding:
    """A running daemon answers /readyz; for one that does not run, the port is free."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    if port == 0:
        return good("server", "server.port is 0: the log says which port it took")
    if not running:
        reason = why_taken(host, port)
        if reason:
            todo = f"set server.host and server.port, or stop what listens there: ss -ltnp 'sport = :{port}'"
            return trouble("server", f"{host}:{port} cannot be had: {reason}", todo)
        return good("server", f"{host}:{port} is free")
    try:
        status, said = _ready(here, port)
    except (OSError, http.client.HTTPException) as error:
        reason = (isinstance(error, OSError) and error.strerror) or type(error).__name__
        todo = "see its log: journalctl -u feedd; and whether another configuration is in use"
        return trouble("server", f"feedd runs, and {here}:{port} does not answer: {reason}", todo)
    if status == 200:
        return good("server", f"http://{here}:{port}/readyz says: {said}")
    todo = "wait for the first scan; if that does not help, see its log: journalctl -u feedd"
    return trouble("server", f"http://{here}:{port}/readyz says {status}: {said}", todo)


def why_taken(host: str, port: int) -> str:
    """Why nobody could listen there now; empty if one could."""
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in places:
            with contextlib.closing(socket.socket(family, kind, protocol)) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(place)
                trial.listen()
    except OSError as error:
        return str(error.strerror or error)
    return ""


def check_running(*, running: bool) -> Finding:
    """Whether there is a daemon."""
    if running:
        return good("daemon", "feedd runs on this state")
    return hint("daemon", "feedd does not run on this state", "feedd run, or feedd service install")


def check_unit(folders: Sequence[str] = UNIT_FOLDERS, systemd: str = SYSTEMD) -> Finding:
    """Who starts it after a boot."""
    if not os.path.isdir(systemd):
        return good("service", "no systemd here: something else is to start feedd")
    for folder in folders:
        path = os.path.join(os.path.expanduser(folder), UNIT)
        if os.path.exists(path):
            return good("service", path)
    return hint("service", f"no {UNIT}: nobody starts feedd after a boot", "feedd service install")


def _ready(host: str, port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    with contextlib.closing(connection):
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read(200).decode("utf-8", "replace").strip()
