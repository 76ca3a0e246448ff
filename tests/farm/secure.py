"""Connections to the farm's hosts with TLS, whose certificates are bad but for one. A failed attempt is logged, too.

TLS is done by hand over the plain connection, for asyncio says nothing of handshakes that fail. Made by `server`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

from tests.farm import addresses
from tests.farm.connection import Connection, Farm, new_number
from tests.farm.replies import message

_CERTIFICATES = {1: "good", 2: "selfsigned", 3: "expired", 4: "misnamed"}
_RESETS = addresses.secure(6)
_FOLDER = Path(__file__).parent / "certs"


def contexts() -> dict[str, ssl.SSLContext]:
    """By address; the certificate of a host is what is wrong with it."""
    found = {}
    for number, name in _CERTIFICATES.items():
        found[addresses.secure(number)] = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_FOLDER / f"{name}.pem")
    return found


class Greeting(asyncio.Protocol):
    """One client: a handshake, and then a connection like any other behind it."""

    def __init__(self, farm: Farm, found: dict[str, ssl.SSLContext]) -> None:
        self._farm, self._contexts = farm, found
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._connection: Connection | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport, self._opened = transport, time.monotonic()
        self._host = transport.get_extra_info("sockname")[0]
        context = self._contexts.get(self._host)
        if context:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def data_received(self, data: bytes) -> None:
        if self._host == _RESETS:
            self._transport.abort()
        elif self._tls:
            self._incoming.write(data)
            self._go_on(self._tls)
        else:  # no TLS spoken here
            self._transport.write(message(400, b"Speak plainly"))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection:
            self._connection.connection_lost(exc)
            return
        farm, now, number = self._farm, time.monotonic(), new_number()
        farm.log.asked(self._opened, now, farm.day, self._host, number, 0, 0.0, "-", "*")
        farm.log.connected(self._opened, now, farm.day, self._host, number)

    def _go_on(self, tls: ssl.SSLObject) -> None:
        try:
            if not self._connection:
                tls.do_handshake()
                self._connection = Connection(self._farm)
                self._connection.connection_made(_Secured(self._transport, tls, self._outgoing))
            while data := tls.read(65_536):
                self._connection.data_received(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._transport.write(self._outgoing.read())
            self._transport.close()
            return
        self._transport.write(self._outgoing.read())


class _Secured(asyncio.Transport):
    """A transport that encrypts."""

    def __init__(self, transport: asyncio.Transport, tls: ssl.SSLObject, outgoing: ssl.MemoryBIO) -> None:
        super().__init__()
        self._transport, self._tls, self._outgoing = transport, tls, outgoing
        self.close, self.abort = transport.close, transport.abort  # type: ignore[method-assign]
        self.is_closing = transport.is_closing  # type: ignore[method-assign]

    def write(self, data: Any) -> None:
        self._tls.write(data)
        self._transport.write(self._outgoing.read())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()
