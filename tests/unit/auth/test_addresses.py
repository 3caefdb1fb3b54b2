"""Where a fetch may go."""

from __future__ import annotations

import pytest

from backchannel.auth.addresses import is_loopback, is_public, is_reachable


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    """Anybody's."""
    assert is_public(address)
    assert is_reachable(address)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "127.0.0.1",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
    ],
)
def test_private_addresses_are_for_whoever_an_operator_names(address: str) -> None:
    """A stranger may not send us there."""
    assert not is_public(address)
    assert is_reachable(address)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "240.0.0.1",
        "",
        "example.org",
    ],
)
def test_nobody_can_mean_these(address: str) -> None:
    """Cloud metadata, multicast, nothing at all, and what is no address."""
    assert not is_public(address)
    assert not is_reachable(address)


@pytest.mark.parametrize("address", ["64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1"])
def test_addresses_that_carry_another_are_not_public(address: str) -> None:
    """NAT64, 6to4 and Teredo lead on to an address that was not looked at."""
    assert not is_public(address)


@pytest.mark.parametrize(
    ("address", "is_it"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False)]
)
def test_loopback(address: str, is_it: bool) -> None:
    """This machine."""
    assert is_loopback(address) is is_it
