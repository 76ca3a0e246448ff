"""No way leads to an address that is not public, however it is spelled; and what is allowed is let through."""

from __future__ import annotations

import asyncio
import http.server
import ipaddress
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedd import connect, errors, guard

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
CLOSED = {
    "this network": "0.0.0.0 0.0.0.1 0.255.255.255",
    "private": "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255",
    "carrier": "100.64.0.0 100.100.100.200 100.127.255.255",
    "loopback": "127.0.0.0 127.0.0.1 127.255.255.255 ::1",
    "link-local": "169.254.0.0 169.254.169.254 169.254.255.255 fe80:: fe80::1 fe80::1%1 febf:ffff::1",
    "cloud": "168.63.129.16",
    "protocol assignments": "192.0.0.0 192.0.0.8 192.0.0.170 192.0.0.192 192.0.0.255 "
    "2001:: 2001:1::1 2001:2::1 2001:4:112::1 2001:10::1 2001:20::1 2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    "Teredo": "2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "documentation": "192.0.2.0 192.0.2.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 "
    "2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff 3fff:: 3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
    "6to4": "192.88.99.0 192.88.99.1 192.88.99.255 2002:: 2002:7f00:1:: 2002:a00:1::1 2002:ffff:ffff::1",
    "benchmarking": "198.18.0.0 198.19.255.255 2001:2::",
    "multicast": "224.0.0.0 224.0.0.1 239.255.255.255 ff00:: ff02::1 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "reserved": "240.0.0.0 255.255.255.254 255.255.255.255",
    "unspecified": "::",
    "IPv4-mapped": "::ffff:0.0.0.0 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:8.8.8.8 ::ffff:ffff:ffff",
    "NAT64": "64:ff9b:: 64:ff9b::7f00:1 64:ff9b::8.8.8.8 64:ff9b:1:: 64:ff9b:1::1 64:ff9b:1:ffff:ffff::1",
    "unique local": "fc00:: fd00:ec2::254 fd20:ce::254 fdff:ffff::1",
    "site-local": "fec0:: feff::1",
    "not global unicast": "::2 ::127.0.0.1 100::1 100:0:0:1::1 1fff:ffff::1 4000:: "
    "5f00::1 8000::1 ::fffe:7f00:1 64:ff9b:2::1",
}
OPEN = (
    "1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 "
    "168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 "
    "192.0.3.0 192.31.196.1 192.52.193.1 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 192.175.48.1 "
    "198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 "
    "2000:: 2001:200:: 2001:4860:4860::8888 2001:db7:ffff::1 2001:db9:: 2001:ffff::1 2003:: 2606:4700::1111 "
    "2a00::1 3ffe:ffff::1 3fff:1000:: 3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
)
NO_ADDRESS = [
    "", " ", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "0177.0.0.1", "127.0.0.1 ", "1.2.3.4/32", "[::1]",
]
NUMBERS = [  # that systems take for 127.0.0.1 or its like, though no standard of URLs does
    "127.1", "127.0.1", "2130706433", "017700000001", "0x7f000001", "0x7f.1", "0177.0.0.1", "0x7f.0x0.0x0.0x1",
    "127.0x1", "0", "2852039166", "0xa9fea9fe",
]  # fmt: skip


@pytest.mark.parametrize(("kind", "address"), [(kind, a) for kind, all_of in CLOSED.items() for a in all_of.split()])
def test_an_address_that_is_not_public_is_refused_and_the_refusal_says_what_it_is(kind: str, address: str) -> None:
    with pytest.raises(guard.AddressRefusedError) as refused:
        guard.check_address(address, ())
    assert refused.value.address == address
    assert kind in refused.value.reason
    assert isinstance(refused.value, errors.FeeddError)
    assert str(refused.value) == "the host is at an address that feedd does not connect to"
    itself = ipaddress.ip_network(address.partition("%")[0])
    guard.check_address(address, [ipaddress.ip_network("2001:db8::9"), itself])


@pytest.mark.parametrize("address", OPEN.split())
def test_a_public_address_is_let_through(address: str) -> None:
    guard.check_address(address, ())


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_no_address_is_refused_whatever_is_allowed(text: str) -> None:
    with pytest.raises(guard.AddressRefusedError) as refused:
        guard.check_address(text, [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])
    assert refused.value.reason == "no IP address"


def test_allowing_ipv4_allows_no_ipv6_that_holds_it() -> None:
    for address in ("::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"):
        with pytest.raises(guard.AddressRefusedError):
            guard.check_address(address, LOOPBACK)


@given(st.ip_addresses())
def test_whatever_python_calls_private_is_refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The guard is never laxer than the library, only stricter."""
    try:
        guard.check_address(str(address), ())
    except guard.AddressRefusedError:
        return
    assert address.is_global and not address.is_multicast and not address.is_reserved


@given(st.ip_addresses(v=4))
def test_no_wrapping_of_ipv4_in_ipv6_is_let_through(inner: ipaddress.IPv4Address) -> None:
    number = int(inner)
    wrapped = [
        number, 0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x64FF9B0001 << 80 | number,
        0x2002 << 112 | number << 80, 0x20010000 << 96 | number ^ 0xFFFFFFFF,
    ]
    for value in wrapped:
        with pytest.raises(guard.AddressRefusedError):
            guard.check_address(str(ipaddress.IPv6Address(value)), ())


# --- through aiohttp, as it is used -----------------------------------------------------------------------------------


class _Handler(http.server.BaseHTTPRequestHandler):
    """Counts who got through; `/to/PORT` redirects to another spelling of this machine."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        server.reached.append(self.path)
        self.send_response(302 if self.path == "/redirect" else 200)
        if self.path == "/redirect":
            self.send_header("Location", f"http://[::ffff:127.0.0.1]:{server.server_address[1]}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reached: list[str] = []


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def fetch(url: str, allowed: Sequence[guard.Network], lookup: connect.Lookup = socket.getaddrinfo) -> int:
    """The status of a URL's answer, as feedd asks."""

    async def get() -> int:
        connector = aiohttp.TCPConnector(
            socket_factory=connect.socket_factory(allowed), resolver=connect.Resolver(lookup)
        )
        async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
            return answer.status

    return asyncio.run(asyncio.wait_for(get(), 10))


def answering(*addresses: str) -> connect.Lookup:
    """A name server that says that every name is at these addresses."""

    def look(host: str, port: int, **_: Any) -> list[connect.AddressInfo]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0)) if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
        ]

    return look


@pytest.mark.parametrize("host", [
    "127.0.0.1", "127.0.0.2", *NUMBERS, "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[::127.0.0.1]",
    "[2002:7f00:1::]", "169.254.169.254", "[fe80::1]", "10.1.2.3", "192.168.1.1", "100.100.100.200",
    "[fd00:ec2::254]", "①②⑦.⓪.⓪.①", "127。0。0。1",
])  # fmt: skip
def test_no_spelling_of_a_host_reaches_a_closed_address(host: str, server: _Server) -> None:
    with pytest.raises(aiohttp.ClientError) as refused:
        fetch(f"http://{host}:{server.server_address[1]}/", ())
    assert server.reached == []
    if isinstance(refused.value, aiohttp.ClientConnectorError) and not isinstance(
        refused.value, aiohttp.ClientConnectorDNSError  # a spelling that this system does not take for an address
    ):
        assert isinstance(refused.value.os_error, guard.AddressRefusedError)


@pytest.mark.parametrize("host", NUMBERS)
def test_what_the_system_makes_of_a_number_is_refused(host: str) -> None:
    """aiohttp refuses some of these itself, in some versions: here without it."""
    factory = connect.socket_factory(())
    for found in asyncio.run(connect.Resolver().resolve(host, 80)):
        with pytest.raises(guard.AddressRefusedError):
            factory((found["family"], socket.SOCK_STREAM, found["proto"], "", (found["host"], found["port"])))


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1"])
def test_what_is_allowed_is_reached_however_it_is_spelled(host: str, server: _Server) -> None:
    assert fetch(f"http://{host}:{server.server_address[1]}/", LOOPBACK) == 200
    assert server.reached == ["/"]


def test_a_redirect_is_checked_as_the_first_address_was(server: _Server) -> None:
    with pytest.raises(aiohttp.ClientConnectorError):
        fetch(f"http://127.0.0.1:{server.server_address[1]}/redirect", LOOPBACK)
    assert server.reached == ["/redirect"]


@pytest.mark.parametrize("addresses", ["127.0.0.1", "::1 127.0.0.1", "10.0.0.1 127.0.0.1 ::"])
def test_a_name_that_is_at_closed_addresses_only_is_refused_as_such(addresses: str, server: _Server) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as refused:
        fetch(f"http://rebound.example:{server.server_address[1]}/", (), answering(*addresses.split()))
    assert isinstance(refused.value.os_error, guard.AddressRefusedError)
    assert server.reached == []


def test_of_several_addresses_those_that_are_let_through_are_tried(server: _Server) -> None:
    lookup = answering("10.0.0.1", "::1", "127.0.0.1")
    assert fetch(f"http://mixed.example:{server.server_address[1]}/", LOOPBACK, lookup) == 200


@pytest.mark.parametrize("error", [socket.gaierror(-2, "no such name"), UnicodeError("label too long")])
def test_a_name_that_cannot_be_looked_up_is_a_connection_error(error: Exception) -> None:
    def look(*_: object, **__: object) -> list[connect.AddressInfo]:
        raise error

    with pytest.raises(aiohttp.ClientConnectorDNSError):
        fetch("http://nowhere.example/", (), look)


def test_who_stops_waiting_for_a_slow_name_server_need_not_wait() -> None:
    asked, answered = threading.Event(), threading.Event()

    def look(host: str, port: int, **_: Any) -> list[connect.AddressInfo]:
        asked.set()
        answered.wait(10)
        return list(answering("127.0.0.1")(host, port))

    async def give_up(loop_ends_first: bool) -> None:
        resolver = connect.Resolver(look)
        task = asyncio.create_task(resolver.resolve("slow.example", 80))
        while not asked.is_set():
            await asyncio.sleep(0)
        task.cancel()
        if not loop_ends_first:
            answered.set()
            await asyncio.to_thread(lookups_over)
            await asyncio.sleep(0)
        await resolver.close()

    def lookups_over() -> None:
        for thread in threading.enumerate():
            if thread.name == "lookup":
                thread.join(10)

    for loop_ends_first in (False, True):
        asked.clear()
        answered.clear()
        asyncio.run(give_up(loop_ends_first))
        answered.set()
        lookups_over()
