"""How feedd connects to hosts it was told of: names looked up without holding up a stop, every address checked.

What `notify`, the hub and link checks give to aiohttp's TCPConnector. The check is made where a socket is about to be
opened: after DNS, for literal addresses of any spelling, and again for every redirect; so no name can change its mind.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from feedd import guard

# (family, type, protocol, canonical name, socket address)
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
Lookup = Callable[..., Sequence[AddressInfo]]


def socket_factory(allowed: Sequence[guard.Network]) -> Callable[[AddressInfo], socket.socket]:
    """For TCPConnector(socket_factory=...): sockets to public addresses and `allowed` networks, and to no others.

    The factory raises AddressRefusedError, which comes out of a request as ClientConnectorError.os_error.
    """

    def open_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        guard.check_address(address[0], allowed)
        return socket.socket(family, kind, protocol)

    return open_socket


class Resolver(AbstractResolver):
    """For TCPConnector(resolver=...): the system's own lookup, each in a thread that nobody need wait for.

    A lookup may take half a minute where no name server answers, and cannot be broken off. Executors join their
    threads when the process ends, and would hold up a stop for as long.
    """

    def __init__(self, lookup: Lookup = socket.getaddrinfo, *, flags: int = socket.AI_ADDRCONFIG) -> None:
        self._lookup, self._flags = lookup, flags

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of a host. Raises OSError (gaierror) where it has none."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[AddressInfo]] = loop.create_future()

        def tell(found: Sequence[AddressInfo], error: Exception | None) -> None:
            if not answer.done():  # else nobody waits any more
                answer.set_exception(error) if error else answer.set_result(found)

        def look() -> None:
            found: Sequence[AddressInfo] = ()
            failure: Exception | None = None
            try:
                found = self._lookup(host, port, family=family, type=socket.SOCK_STREAM, flags=self._flags)
            except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA cannot hold
                failure = error if isinstance(error, OSError) else OSError(f"{host!r} is no host name")
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, found, failure)

        threading.Thread(target=look, name="lookup", daemon=True).start()
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=int(address[1]), family=found, proto=protocol, flags=flags
            )
            for found, _, protocol, _, address in await answer
        ]

    async def close(self) -> None:
        """Nothing is held."""
