"""Opening a connection: the socket, TLS, and the greeting that tells what answers."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, TypeVar

from msgspec import Struct

from ..settings import ConfigurationError
from .connection import Connection, Word
from .errors import Unreachable, connect_failure, greeting_failure
from .target import RedisTarget

__all__ = ["OPEN_TIMEOUT", "Opener"]

OPEN_TIMEOUT: Final = 3.0
"""Seconds from the first packet to the end of the greeting."""

_LEAST: Final = (7, 0)

C = TypeVar("C", bound=Connection)


class Opener(Struct, frozen=True):
    """How connections to one target are opened."""

    target: RedisTarget
    tls: ssl.SSLContext | None
    client_name: str
    """What `CLIENT LIST` shows; a connection's part is appended."""

    async def open(self, connection: C) -> C:
        """Connect, log in, choose the database, and see that a master of a good version serves there.

        Cancelling closes the socket.

        Raises:
            Unreachable: there is nobody, no answer in 3 s, or not a master that serves.
            ConfigurationError: what no retry cures: login, TLS, rights, version.
        """
        try:
            async with asyncio.timeout(OPEN_TIMEOUT):
                await self._connect(connection)
                await self._greet(connection)
        except (OSError, TimeoutError) as exc:
            connection.abort("could not be opened")
            if isinstance(exc, TimeoutError) and self.tls is not None:
                # A server that takes TLS's greeting for the beginning of a command waits for the rest of it.
                raise Unreachable("no answer in time; does the port speak TLS, as rediss:// says?") from exc
            raise connect_failure(exc) from exc
        except BaseException:
            connection.abort("could not be opened")
            raise
        return connection

    async def _connect(self, connection: Connection) -> None:
        address = connection.address
        loop = asyncio.get_running_loop()
        if address.path:
            await loop.create_unix_connection(lambda: connection, address.path)
        else:
            await loop.create_connection(
                lambda: connection,
                address.host,
                address.port,
                ssl=self.tls,
                server_hostname=address.host if self.tls is not None else None,
            )

    async def _greet(self, connection: Connection) -> None:
        target = self.target
        hello: list[Word] = ["HELLO", 2]
        if target.password:
            hello += ["AUTH", target.user or "default", target.password]
        hello += ["SETNAME", f"{self.client_name}:{connection.part}"]
        asked = [connection.ask(tuple(hello))]
        if target.db:
            asked.append(connection.ask(("SELECT", target.db)))
        # HELLO is answered by a server that still loads its data; PING tells.
        asked.append(connection.ask(("PING",)))
        for index, answer in enumerate(asked):
            reply = await answer
            failure = greeting_failure(reply)
            if failure is not None:
                if isinstance(connection.lost_because, ssl.SSLError):
                    failure = connect_failure(connection.lost_because)
                raise failure
            if index == 0:
                _check(reply, cluster=target.kind == "cluster")


def _check(hello: Any, *, cluster: bool) -> None:
    """Whether what the server tells of itself will do."""
    told = dict(zip(hello[::2], hello[1::2], strict=True)) if isinstance(hello, list) else {}
    if not {b"version", b"mode", b"role"} <= told.keys():
        raise ConfigurationError("What answers at Redis's address is no Redis: it does not say what it is.")
    version = told[b"version"].decode("ascii", "replace")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _LEAST:
        raise ConfigurationError(f"Redis {version} is too old: Redis 7.0 or Valkey 7.2 is the least.")
    mode = told[b"mode"].decode("ascii", "replace")
    if cluster != (mode == "cluster"):
        raise ConfigurationError(
            "This Redis is no cluster: name it with redis://."
            if cluster
            else f"This Redis is in {mode} mode: name it with redis+{mode}://."
        )
    if told[b"role"] != b"master":
        raise Unreachable("it is a replica, which cannot be written; the URL must lead to the master")
