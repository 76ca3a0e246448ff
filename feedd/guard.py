"""An address, as connected to -> nothing, or a refusal: which places on the net feedd may be sent to by what it reads.

Pure. A list of its own rather than `ipaddress.is_global`, whose answers changed between versions of Python and which
calls several ways into private networks global. Called by `connect` for every new connection, whatever the URL said.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import NoReturn

from feedd import errors

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IPv4 is public but for these: the special-purpose registry of IANA (RFC 6890), less what is in it and yet routed.
_CLOSED_V4 = (
    ("0.0.0.0/8", "this network (RFC 791)"),
    ("10.0.0.0/8", "private (RFC 1918)"),
    ("100.64.0.0/10", "shared by customers of a carrier (RFC 6598)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("168.63.129.16/32", "services of a cloud for its own machines, at an address that looks public"),
    ("169.254.0.0/16", "link-local (RFC 3927); clouds hand out credentials there"),
    ("172.16.0.0/12", "private (RFC 1918)"),
    ("192.0.0.0/24", "protocol assignments (RFC 6890)"),
    ("192.0.2.0/24", "documentation (RFC 5737)"),
    ("192.88.99.0/24", "relays of 6to4 (RFC 7526)"),
    ("192.168.0.0/16", "private (RFC 1918)"),
    ("198.18.0.0/15", "benchmarking (RFC 2544)"),
    ("198.51.100.0/24", "documentation (RFC 5737)"),
    ("203.0.113.0/24", "documentation (RFC 5737)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("240.0.0.0/4", "reserved, or broadcast (RFC 1112, RFC 919)"),
)
# IPv6 is closed but for 2000::/3, the only part given out for global unicast (RFC 4291), less these.
_CLOSED_V6 = (
    ("2001::/23", "protocol assignments, Teredo and benchmarking among them (RFC 2928, RFC 4380, RFC 5180)"),
    ("2001:db8::/32", "documentation (RFC 3849)"),
    ("2002::/16", "6to4: holds an IPv4 address of any kind (RFC 3056)"),
    ("3fff::/20", "documentation (RFC 9637)"),
)
# Only so that a refusal can say more than "not global unicast".
_NAMED_V6 = (
    ("::/128", "unspecified (RFC 4291)"),
    ("::1/128", "loopback (RFC 4291)"),
    ("::ffff:0:0/96", "IPv4-mapped (RFC 4291)"),
    ("64:ff9b::/96", "NAT64: holds an IPv4 address of any kind (RFC 6052)"),
    ("64:ff9b:1::/48", "NAT64 of a local network (RFC 8215)"),
    ("fc00::/7", "unique local (RFC 4193)"),
    ("fe80::/10", "link-local (RFC 4291)"),
    ("fec0::/10", "site-local (RFC 3879)"),
    ("ff00::/8", "multicast (RFC 4291)"),
    ("::/0", "not global unicast (RFC 4291)"),
)


def _networks(table: Sequence[tuple[str, str]]) -> tuple[tuple[Network, str], ...]:
    return tuple((ipaddress.ip_network(network), why) for network, why in table)


_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_V4, _V6, _OTHER_V6 = _networks(_CLOSED_V4), _networks(_CLOSED_V6), _networks(_NAMED_V6)


class AddressRefusedError(errors.FeeddError, OSError):
    """feedd does not connect to `address`, for it is `reason`.

    An OSError too, for that is what those who connect expect, and they go on to a host's next address. Its text names
    no address: where all of a host's addresses are refused, the errors are taken for one only if they read the same.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__("the host is at an address that feedd does not connect to")
        self.address, self.reason = address, reason


def check_address(ip: str, allowed: Sequence[Network]) -> None:
    """Returns if `ip`, the text of an IPv4 or IPv6 address, is public or in one of the networks that are `allowed`.

    Raises AddressRefusedError, also for what is no address at all. An IPv4-mapped address is in no IPv4 network: who
    wants it allowed names it as it is.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        _refuse(ip, "no IP address")
    if any(address in network for network in allowed):
        return
    is_v4 = address.version == 4
    for network, why in _V4 if is_v4 else _V6:
        if address in network:
            _refuse(ip, why)
    if not is_v4 and address not in _OPEN_V6:
        _refuse(ip, next(why for network, why in _OTHER_V6 if address in network))


def _refuse(ip: str, reason: str) -> NoReturn:
    raise AddressRefusedError(ip, reason)
