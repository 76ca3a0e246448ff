"""Which loopback address is which host. 127.1.0.0/16 is the farm's net; whoever connects elsewhere was led astray.

127.1.0.1 on: hosts that behave in a way of their own. 127.1.64.1 to 127.1.83.250: healthy hosts, up to 5,000.
127.1.200.x: hosts with TLS. 127.1.255.254: the farm's own, for tests.
"""

from __future__ import annotations

import contextlib
import socket

NETWORK = "127.1.0.0/16"
CONTROL = "127.1.255.254"
METADATA = "169.254.169.254"  # where clouds hand out credentials
PRIVATE = "10.0.0.1"
MOST_HEALTHY = 5_000
_BLOCK = 250
_HEALTHY_FROM, _HEALTHY_TO = 64, 84


def odd(number: int) -> str:
    """The address of the host with this number, from 0, among those with a behaviour of their own."""
    assert number < _BLOCK * _HEALTHY_FROM
    return f"127.1.{number // _BLOCK}.{1 + number % _BLOCK}"


def healthy(number: int) -> str:
    """The address of the healthy host with this number, from 0."""
    assert number < MOST_HEALTHY
    return f"127.1.{_HEALTHY_FROM + number // _BLOCK}.{1 + number % _BLOCK}"


def secure(number: int) -> str:
    """The address of the host with TLS with this number; their certificates name it."""
    return f"127.1.200.{number}"


def is_healthy(address: str) -> bool:
    """Whether this is a healthy host's address."""
    return address.startswith("127.1.") and _HEALTHY_FROM <= int(address.split(".")[2]) < _HEALTHY_TO


def is_inside(address: str) -> bool:
    """Whether it is the farm's to answer there. All else is forbidden."""
    return address.startswith("127.1.")


def has(address: str) -> bool:
    """Whether this machine, or the network namespace we are in, has this address itself.

    Only then may a URL of the farm name it: a checker that goes where it should not must not get anywhere real.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family) as probe:
        probe.bind((address, 0))
        return True
    return False


def sealed(command: list[str]) -> list[str]:
    """The command in a network namespace of its own: loopback, and the forbidden addresses as its own, and no routes.

    Needs Linux, unshare and ip, and the right to make user namespaces.
    """
    setup = f'ip link set lo up && ip addr add {METADATA}/32 dev lo && ip addr add {PRIVATE}/32 dev lo && exec "$@"'
    return ["unshare", "--map-root-user", "--net", "sh", "-c", setup, "sealed", *command]
