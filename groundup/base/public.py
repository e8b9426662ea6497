"""Which addresses belong to the public internet: the only ones that something fetched from there may lead to."""

from __future__ import annotations

import ipaddress
from typing import Final

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, and so is whatever it stands for.

    Loopback, private and link-local networks (where clouds keep the keys of their machines) are not, nor are IPv6
    addresses that lead to them by translation (RFC 4291 2.5.5.2, RFC 6052, RFC 3056, RFC 4380).

    >>> said = ("93.184.216.34", "127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1")
    >>> [is_public(ipaddress.ip_address(one)) for one in said]
    [True, False, False, False]
    """
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    inner: list[ipaddress.IPv4Address | None] = [address.ipv4_mapped, address.sixtofour]
    inner += list(address.teredo or ())
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return all(is_public(one) for one in inner if one is not None)
