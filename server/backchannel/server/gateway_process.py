"""GatewayProcess: keeps clients' connections, around Redis and PostgreSQL; runs no handler."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from backchannel_protocol import Refused

from ..app import App
from ..auth.principal import Principal
from ..auth.watch import RevocationWatch
from ..broker.redis import RedisBroker
from ..gateway.gateway import Gateway
from ..relay.redis import RedisRelay
from ..settings import Settings, without_password
from ..store.postgres import open_postgres_reader
from .front import Front, gateway_options
from .health import serve_health
from .late_reader import LateReader
from .listening import inherited
from .redis_bus import make_bus, needed, open_bus
from .waiting import Opening, Waiting, together

__all__ = ["GatewayProcess"]

# Connections that API keys and revocations are read by; the others read logs.
_COLD: Final = 2
# Seconds.
_FOR_EVER: Final = 10 * 366 * 86_400.0


class GatewayProcess(Front):
    """One gateway. It serves HTTP also while Redis or PostgreSQL are not there, and is unready until they are.

    Use it on one event loop: `start`, then `run` until a signal, or `stop`.

    Args:
        app: the declarations; none of its handlers is run.
        settings: `redis` and `postgres` must be set.
        fd: the descriptor of an inherited socket that listens, in place of the settings' address; others may share it.
        health_fds: descriptors of inherited sockets that lead to this process's health alone.

    Raises:
        RegistrationError: the app is not whole.
        ConfigurationError: a setting is missing or wrong.
    """

    def __init__(self, app: App, settings: Settings, *, fd: int | None = None, health_fds: Sequence[int] = ()) -> None:
        super().__init__(app, settings)
        needed(settings, "gateway")
        self.incarnation = secrets.token_hex(8)
        """What this run of this process is known by in the relay and the broker."""
        self._fd = fd
        self._health_fds = health_fds
        self._parts = contextlib.AsyncExitStack()
        self._waiting = Waiting()
        self._opening: Opening | None = None
        self._reader = LateReader()
        self._watch: RevocationWatch | None = None

    async def _start(self, progress: Callable[[str], None] | None) -> None:
        settings = self.settings
        await self._read_secrets()
        bus = make_bus(settings)
        relay = RedisRelay(bus, gateway=self.incarnation, routing=settings.routing, in_flight=settings.in_flight)
        broker = RedisBroker(bus, grace=settings.grace, gateway=self.incarnation)
        watch = RevocationWatch(self._reader.revoked_since, lifetime=settings.token_lifetime)
        gateway = _ProcessGateway(
            self._served,
            relay=relay,
            broker=broker,
            log_reader=self._reader,
            authenticator=self._authenticator(self._reader.find_key, self._check),
            options=gateway_options(settings),
            revocations=watch,
        )
        gateway.waiting = self._waiting
        self._stack.push_async_callback(self._parts.aclose)
        await serve_health(gateway.readiness, [inherited(each) for each in self._health_fds], self._stack)
        await self._serve(gateway, None if self._fd is None else inherited(self._fd))

        async def open_redis() -> None:
            await open_bus(bus, settings, self._waiting, self._parts)
            self._parts.push_async_callback(relay.close)
            self._parts.push_async_callback(broker.close)
            await together(relay.start(), broker.start())

        async def open_store() -> None:
            await self._open_reader()
            await self._waiting.until_there("postgres", watch.start)
            self._parts.push_async_callback(watch.close)
            self._watch = watch

        self._opening = Opening(together(open_redis(), open_store()), self._waiting)
        self._stack.push_async_callback(self._opening.close)
        await self._opening.settled()

    async def _open_reader(self) -> None:
        settings = self.settings
        reader = await self._waiting.patiently(
            "postgres",
            f"{without_password(settings.postgres)} is not there, or its tables are not made yet: a worker makes them",
            open_postgres_reader(settings.postgres, settings.app, pool=settings.postgres_pool - _COLD, wait=_FOR_EVER),
        )
        self._parts.push_async_callback(reader.close)
        self._reader.opened(reader)
        self._parts.push_async_callback(self._reader.close)

    def _check(self, principal: Principal) -> None:
        """See that a token was not revoked. Raises `Refused`."""
        if self._watch is None:
            raise Refused("unavailable", "This gateway waits for its database.", outcome="none", retry_after=1.0)
        self._watch.check(principal)

    async def _broken(self) -> None:
        assert self._opening is not None
        await self._opening.failed()

    async def _drain(self) -> None:
        if self._fd is not None and self._http is not None:
            # Others listen on the same socket: whoever comes now reaches one of them.
            self._http.stop_accepting()
        await super()._drain()


class _ProcessGateway(Gateway):
    """A gateway that tells also what its process waits for."""

    waiting: Waiting

    def readiness(self) -> dict[str, str]:
        """What keeps this process from serving, part by part; empty: it is ready."""
        return {**super().readiness(), **self.waiting.reasons}
