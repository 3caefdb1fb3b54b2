"""Whose connection it is, where a reverse proxy stands in front."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

__all__ = ["TrustedProxies"]


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` is believed.

    Every proxy appends the address that it saw, so the client is the last one that no trusted proxy vouches for: what
    stands before it the client may have made up.
    """

    __slots__ = ("_networks",)

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """
        Args:
            networks: addresses or networks, as in `10.0.0.0/8`.

        Raises:
            ValueError: one of them is neither.
        """
        self._networks = tuple(ip_network(network.strip()) for network in networks)

    def client(self, peer: str, forwarded: str | None) -> str:
        """The client's address, given the socket's peer and the `X-Forwarded-For` header.

        A peer without an address (a Unix socket) is the operator's own proxy, and is trusted if any is.
        """
        if not self._networks or not forwarded or (peer and not self._trusts(peer)):
            return peer
        for hop in reversed(forwarded.split(",")):
            address = _address_of(hop)
            if address is None:
                return peer
            peer = str(address)
            if not self._trusts(peer):
                break
        return peer

    def _trusts(self, peer: str) -> bool:
        address = _address_of(peer)
        return address is not None and any(address in network for network in self._networks)


def _address_of(hop: str) -> IPv4Address | IPv6Address | None:
    """An address in any of the spellings in use: `a.b.c.d`, with a port, and IPv6 bare or in brackets."""
    hop = hop.strip()
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        address = ip_address(hop)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if isinstance(mapped, IPv4Address) else address
