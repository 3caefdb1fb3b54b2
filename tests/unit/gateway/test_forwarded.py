"""Whose connection it is, behind reverse proxies."""

from __future__ import annotations

import pytest

from backchannel.gateway.forwarded import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "::1", " 192.0.2.1 "])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # not a proxy of ours: its word counts for nothing
        ("10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "1.1.1.1, 198.51.100.1", "198.51.100.1"),  # what stands before it may be made up
        ("10.1.2.3", "198.51.100.1, 10.9.9.9,192.0.2.1", "198.51.100.1"),
        ("10.1.2.3", "10.9.9.9", "10.9.9.9"),
        ("10.1.2.3", "198.51.100.1:4711", "198.51.100.1"),
        ("::1", "[2001:db8::1]:443", "2001:db8::1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("::ffff:10.1.2.3", "198.51.100.1", "198.51.100.1"),
        ("10.1.2.3", "unknown", "10.1.2.3"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("", "198.51.100.1", "198.51.100.1"),
    ],
)
def test_client(peer: str, forwarded: str | None, client: str) -> None:
    """The client is the last address that no trusted proxy vouches for."""
    assert PROXIES.client(peer, forwarded) == client


def test_no_proxies() -> None:
    """Nobody's word is taken by default."""
    assert TrustedProxies().client("127.0.0.1", "198.51.100.1") == "127.0.0.1"


def test_what_is_no_network() -> None:
    """A mistake in the settings is told at once."""
    with pytest.raises(ValueError, match="nonsense"):
        TrustedProxies(["nonsense"])
