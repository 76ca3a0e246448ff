"""The farm's sockets: one process, one loop. Called by `__main__`."""

from __future__ import annotations

import asyncio
import errno
import json
import socket

from tests.farm import places, secure
from tests.farm.connection import Connection, Farm, Settings
from tests.farm.log import Log

_BACKLOG = 10_000


async def serve(settings: Settings, log: Log, port: int) -> None:
    """Until cancelled. Says the ports on standard output, as a line of JSON, when it listens."""
    plain, tls, closed, stray = (_listen("0.0.0.0", wanted) for wanted in (port, 0, 0, 0))
    ports = places.Ports(*(sock.getsockname()[1] for sock in (plain, tls, closed, stray)))
    farm = Farm(settings, log, ports)
    log.farm(settings.copies, settings.hosts, ports.port)
    loop = asyncio.get_running_loop()
    contexts = secure.contexts()

    def connect() -> Connection:
        return Connection(farm)

    for sock in (plain, stray):
        await loop.create_server(connect, sock=sock, backlog=_BACKLOG)
    await loop.create_server(lambda: secure.Greeting(farm, contexts), sock=tls, backlog=_BACKLOG)
    try:
        v6 = _listen("::", ports.port, socket.AF_INET6)
    except OSError as error:
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
    else:
        await loop.create_server(connect, sock=v6, backlog=_BACKLOG)
    print(json.dumps(ports._asdict()), flush=True)
    try:
        while True:
            await asyncio.sleep(0.2)
            log.flush()
    finally:
        log.flush()


def _listen(address: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, port))
    return sock
