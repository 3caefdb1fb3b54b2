"""Sockets that are made, and inherited."""

from __future__ import annotations

import os
import socket

import pytest

from backchannel.server.listening import inherited, listen, url_of
from backchannel.settings import ConfigurationError


def test_an_address_in_use_is_told_with_the_flag_that_chooses_another() -> None:
    """The message names what to change."""
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}.*--health-port"):
            listen("127.0.0.1", port, option="--health-port")


def test_an_inherited_socket_is_the_same_one() -> None:
    """It listens where the other one does, and never blocks."""
    with listen("127.0.0.1", 0) as listening, inherited(os.dup(listening.fileno())) as same:
        assert same.getsockname() == listening.getsockname()
        assert not same.getblocking()


def test_what_does_not_listen_is_refused() -> None:
    """A connection, or no socket at all: the message tells which descriptor it is."""
    with socket.socket() as idle:
        copy = os.dup(idle.fileno())
        with pytest.raises(ConfigurationError, match=f"{copy} is no socket that listens"):
            inherited(copy)
    readable, writable = os.pipe()
    try:
        with pytest.raises(ConfigurationError, match=f"{readable} is no socket"):
            inherited(readable)
    finally:
        os.close(readable)
        os.close(writable)


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://127.0.0.1:1"), ("::1", "http://[::1]:1"), ("a", "http://a:1")],
)
def test_the_url_is_one_that_can_be_reached(host: str, url: str) -> None:
    """What is listened on is not always what is connected to."""
    assert url_of(host, 1) == url
