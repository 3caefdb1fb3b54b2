"""Front: what stands between one client and the gateways, as a load balancer does; it can cut and hold the line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["Backend", "Front", "probe"]

_CHUNK = 64 * 1024
# What the kernel keeps for a reader that does not read, in bytes: with more, the gateway would never notice.
_KERNEL_BUFFER = 8 * 1024
_CONNECT_TIMEOUT = 2.0


class Backend(Protocol):
    """A gateway as a balancer knows it."""

    @property
    def port(self) -> int:
        """Where it listens on loopback."""

    @property
    def ready(self) -> bool:
        """Whether it said so when it was last asked."""


class Front:
    """One client's address. Use it on one loop: `start`, then `close`.

    New connections go round the gateways that are ready, or round all if none is. Nothing is sticky.
    """

    def __init__(self, backends: Callable[[], Sequence[Backend]], first: int = 0) -> None:
        """
        Args:
            backends: the gateways, as of now.
            first: which of them gets the first connection.
        """
        self.port = 0
        """Where it listens, once started."""
        self._backends = backends
        self._next = first
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.Task[None]] = set()
        self._reads = asyncio.Event()
        self._reads.set()

    @property
    def url(self) -> str:
        """What the client connects to."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def held(self) -> bool:
        """Whether the client reads nothing now."""
        return not self._reads.is_set()

    async def start(self) -> None:
        """Listen on a free port of loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut every line and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def cut(self) -> None:
        """Break off every connection, without a goodbye on either side."""
        for line in self._lines:
            line.cancel()

    def hold(self) -> None:
        """Bring the client nothing from now on: a reader that does not keep up."""
        self._reads.clear()

    def release(self) -> None:
        """Bring it what waited, and go on."""
        self._reads.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.ensure_future(self._line(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected = await self._connect()
        if connected is None:
            writer.transport.abort()
            return
        from_gateway, to_gateway = connected
        ways = [
            asyncio.ensure_future(self._carry(reader, to_gateway, None)),
            asyncio.ensure_future(self._carry(from_gateway, writer, self._reads)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            # What one side said last, such as why it closes, still gets through.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await asyncio.wait(ways)
        finally:
            for way in ways:
                way.cancel()
            writer.transport.abort()
            to_gateway.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        backends = self._backends()
        self._next += 1
        turned = [backends[(self._next + number) % len(backends)] for number in range(len(backends))]
        for backend in sorted(turned, key=lambda each: not each.ready):
            made = socket.socket()
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER)
            made.setblocking(False)
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", backend.port))
                    return await asyncio.open_connection(sock=made, limit=_CHUNK)
            except (OSError, TimeoutError):
                made.close()
            except BaseException:
                made.close()
                raise
        return None

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_: asyncio.Event | None
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                if open_ is not None:
                    await open_.wait()
                chunk = await reader.read(_CHUNK)
                if not chunk:
                    break
                if open_ is not None:
                    await open_.wait()
                writer.write(chunk)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()


async def probe(port: int, path: str = "/readyz", timeout: float = 1.0) -> bool:
    """Whether an HTTP server on loopback answers 200 in time."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
                status = await reader.readline()
                return b" 200 " in status
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, ValueError):
        return False
