"""Asking Sentinels where the master is."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError, RedisError

from ..settings import ConfigurationError
from .errors import Unreachable
from .target import Address, RedisTarget

__all__ = ["Sentinels"]

# Per Sentinel, so that a dead one does not use up the time of the others.
_TIMEOUT: Final = 0.7


class Sentinels:
    """The Sentinels of one target, through redis-py."""

    def __init__(self, target: RedisTarget) -> None:
        self.service = target.service
        options: dict[str, Any] = {
            "socket_timeout": _TIMEOUT,
            "socket_connect_timeout": _TIMEOUT,
            "retry": Retry(NoBackoff(), 0),
        }
        if target.sentinel_password:
            options |= {"username": target.sentinel_user or None, "password": target.sentinel_password}
        if target.tls:
            options |= {
                "ssl": True,
                "ssl_ca_certs": target.ca or None,
                "ssl_certfile": target.cert or None,
                "ssl_keyfile": target.key or None,
            }
        self._sentinel = Sentinel(  # type: ignore[no-untyped-call] # redis-py declares no types here
            [(address.host, address.port) for address in target.addresses], sentinel_kwargs=options
        )
        self._lock = asyncio.Lock()

    async def master(self) -> Address:
        """Where the master is now. Cancelling gives up.

        Raises:
            Unreachable: no Sentinel answers, or none knows a master that lives.
            ConfigurationError: a Sentinel refuses the login.
        """
        try:
            async with self._lock:
                host, port = await self._sentinel.discover_master(self.service)
        except (RedisError, OSError, TimeoutError) as exc:
            # redis-py asks every Sentinel, and leaves in its text alone why each did not answer.
            if isinstance(exc, NoPermissionError) or "AuthenticationError" in str(exc):
                raise ConfigurationError(
                    "The Sentinels refuse this process: check sentinel_user and sentinel_password in the URL."
                ) from exc
            raise Unreachable(f"no Sentinel names a living master of {self.service!r}") from exc
        return Address(str(host), int(port))

    async def close(self) -> None:
        """Let go of the connections."""
        for client in self._sentinel.sentinels:
            await client.aclose()
