"""Addresses that a preview may be fetched from: public ones, and none that lead into a network of one's own."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

__all__ = ["is_public", "resolve"]

_UNICAST: Final = IPv6Network("2000::/3")
"""What of IPv6 is given out to anybody (RFC 4291); whatever translates into IPv4 is outside, or among the next."""
_TUNNELS: Final = (IPv6Network("2001::/23"), IPv6Network("2002::/16"), IPv6Network("3fff::/20"))
"""Teredo and other special ranges, 6to4, documentation (RFC 6890, RFC 9637)."""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public Internet: not loopback, private, link-local, shared, multicast,
    reserved, nor one that carries such an IPv4 address."""
    try:
        found: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        return found.is_global and found in _UNICAST and not any(found in network for network in _TUNNELS)
    return found.is_global and not found.is_multicast and not found.is_reserved


async def resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host.

    Raises:
        OSError: it has none.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
