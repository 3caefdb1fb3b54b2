"""Which addresses a server-side fetch may go to, so that it cannot be turned against the network that it stands in."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

__all__ = ["is_loopback", "is_public", "is_reachable"]

Address = IPv4Address | IPv6Address

# IPv6 networks whose addresses carry an IPv4 address, which a gateway would go on to: NAT64 (RFC 6052, RFC 8215), 6to4
# (RFC 3056), Teredo (RFC 4380).
_CARRIERS: Final = tuple(ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))


def _plain(text: str) -> Address | None:
    """An address without its zone, IPv4 where it was mapped into IPv6; None if it is none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_public(text: str) -> bool:
    """Whether anybody on the internet could reach this address: the only kind that a stranger may send us to."""
    address = _plain(text)
    return (
        address is not None
        and address.is_global
        and not address.is_multicast
        and not any(address in carrier for carrier in _CARRIERS)
    )


def is_reachable(text: str) -> bool:
    """Whether an operator can have meant this address: also private ones, but not link-local ones, where clouds keep
    the machine's credentials, nor those that are no single host."""
    address = _plain(text)
    if address is None or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    return isinstance(address, IPv6Address) or not address.is_reserved


def is_loopback(text: str) -> bool:
    """Whether it is this machine itself."""
    address = _plain(text)
    return address is not None and address.is_loopback
