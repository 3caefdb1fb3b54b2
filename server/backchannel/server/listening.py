"""Sockets that a process listens on: made here, or inherited from a supervisor."""

from __future__ import annotations

import os
import socket
from typing import Final

from ..settings import ConfigurationError

__all__ = ["BACKLOG", "inherited", "listen", "url_of"]

BACKLOG: Final = 4096
"""Connections that may wait to be accepted: a reconnect storm arrives faster than one loop tick accepts."""


def listen(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: the address cannot be had; the message names the `option` that chooses another.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, for asyncio sends small writes at once (TCP_NODELAY) only on sockets that say they are TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as exc:
        listening.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {exc.strerror or exc}. Choose another with {option}."
        ) from exc
    listening.setblocking(False)
    return listening


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that whoever started this process left open as this file descriptor.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        found = socket.socket(fileno=descriptor)
    except OSError as exc:
        raise ConfigurationError(f"File descriptor {descriptor} is no socket: {exc.strerror or exc}.") from exc
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.close()
        raise ConfigurationError(f"File descriptor {descriptor} is no socket that listens.")
    found.setblocking(False)
    return found


def url_of(host: str, port: int) -> str:
    """Where one finds what listens on this address, from this machine."""
    if host in ("0.0.0.0", "::"):  # noqa: S104  # what is listened on is not what is connected to
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
