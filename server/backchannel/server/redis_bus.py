"""The bus of a process by its settings, opened also where no Redis is there yet."""

from __future__ import annotations

from contextlib import AsyncExitStack

from backchannel_protocol import Refused

from ..bus import Bus, redis_target
from ..settings import ConfigurationError, Settings, without_password
from ..store.postgres_target import PostgresTarget
from .waiting import Waiting

__all__ = ["check_services", "make_bus", "needed", "open_bus"]


def needed(settings: Settings, command: str) -> None:
    """See that Redis and PostgreSQL are named.

    Raises:
        ConfigurationError: one is not; the message tells what to write.
    """
    why = {
        "redis": "Redis, which carries requests and events between processes: add --redis redis://127.0.0.1:6379",
        "postgres": "PostgreSQL, since SQLite is for one process: add --postgres postgresql://user@127.0.0.1/database",
    }
    for name, text in why.items():
        if not getattr(settings, name):
            raise ConfigurationError(
                f"`backchannel {command}` needs {text}, or set BACKCHANNEL_{name.upper()}. One process without both is "
                f"`backchannel serve`."
            )


def check_services(settings: Settings, command: str) -> None:
    """See that Redis and PostgreSQL are named, by URLs that can be read; neither is reached for.

    Raises:
        BackchannelError: the message tells what to write.
    """
    needed(settings, command)
    redis_target(settings.redis)
    PostgresTarget(settings.postgres)


def make_bus(settings: Settings) -> Bus:
    """The bus, not yet started. Raises `ConfigurationError` if the URL cannot be used."""
    return Bus(redis_target(settings.redis), prefix=settings.redis_prefix, app=settings.app)


async def open_bus(bus: Bus, settings: Settings, waiting: Waiting, stack: AsyncExitStack) -> None:
    """Start a bus and return once Redis is there.

    Raises:
        ConfigurationError: no retry cures what is wrong.
    """
    stack.push_async_callback(bus.close)
    await bus.start()

    async def there() -> None:
        if not bus.hearing:
            raise Refused("unavailable", f"{without_password(settings.redis)} does not answer.", outcome="none")

    await waiting.until_there("redis", there)
