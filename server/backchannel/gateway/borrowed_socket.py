"""A transport's socket, borrowed to write to it without the transport's own cost."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

__all__ = ["BorrowedSocket", "borrow"]

_KIND: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK


class BorrowedSocket(socket.SocketType):
    """A second view of a socket that its transport owns and closes; letting go of this one closes nothing.

    Use it only while the transport has its socket: that is until `connection_lost` returns, with asyncio as with
    uvloop. Afterwards the descriptor's number may be another connection's.
    """

    __slots__ = ()

    def __del__(self) -> None:
        # In place of the base's finalizer, which would close what belongs to the transport.
        self.detach()


def borrow(transport: asyncio.BaseTransport) -> BorrowedSocket | None:
    """The socket under a transport that sends bytes as they are; None where there is none, or TLS lies between."""
    owned = transport.get_extra_info("socket")
    if owned is None or transport.get_extra_info("sslcontext") is not None:
        return None
    return BorrowedSocket(owned.family, _KIND, owned.proto, owned.fileno())
