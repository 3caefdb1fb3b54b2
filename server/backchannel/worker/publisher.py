"""The publisher: publishing and asking from outside a handler, on the worker's loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import msgspec

from backchannel_protocol import Event, Refused, Request
from backchannel_protocol.codec import encode_data

from ..auth.principal import Principal
from ..relay.relay import Reply
from ..relay.relay import Request as RelayRequest
from ..settings import Settings
from .ids import new_id
from .runtime import Runtime

__all__ = ["WorkerPublisher"]


class WorkerPublisher:
    """What jobs are given; an implementation of `Publisher`.

    Args:
        runtime: what the worker's requests share.
        ask: hands a request to the worker itself and waits for the reply.
    """

    def __init__(self, runtime: Runtime, ask: Callable[[RelayRequest], Awaitable[Reply]]) -> None:
        self._runtime = runtime
        self._ask = ask
        # Ids of the worker's own requests; a gateway's are positive.
        self._ids = count(-1, -1)

    @property
    def settings(self) -> Settings:
        """What the operator set."""
        return self._runtime.settings

    async def publish(self, channel: str, event: Event, *, subject: str | None = None) -> None:
        """Publish an event on a live or ephemeral channel.

        Returns once the broker accepted it.

        Raises:
            ValueError: the channel is durable, or the event or namespace is not declared.
            Refused: `unavailable`, the broker did not accept it.
        """
        runtime = self._runtime
        envelope, kind = runtime.namespaces.publication(channel, event, now=runtime.clock(), user=None, subject=subject)
        if kind == "durable":
            raise ValueError(
                f"publish: {channel} is durable, and its events come from commands alone: declare a command that "
                f"publishes, and use publisher.call."
            )
        try:
            if kind == "live":
                await runtime.broker.append(envelope, runtime.namespaces.bounds(channel), new_id())
            else:
                runtime.broker.publish([envelope])
        except Refused:
            raise
        except Exception as exc:
            raise Refused("unavailable", "The broker did not accept the event.") from exc
        runtime.stats.events += 1

    async def call(self, request: Request[Any] | str, data: Any = None, *, user: str, key: str | None = None) -> Any:
        """Ask a command or query on behalf of a user, as a handler of its own.

        A command goes through a batch like any other; with a key it has one effect, however often it is called.
        Cancelling stops the waiting; a command that was begun still takes effect.

        Raises:
            Refused: as the handler refused, or `unavailable`.
        """
        runtime = self._runtime
        name = request if isinstance(request, str) else type(request).wire_name
        declaration = runtime.requests.get(name)
        if declaration is None:
            raise Refused("not_found", f"There is no command or query {name}.")
        reply = await self._ask(
            RelayRequest(
                id=next(self._ids),
                kind=declaration.kind,
                name=name,
                data=encode_data(data if isinstance(request, str) else request),
                principal=Principal(user=user, id=f"app:{runtime.app.name}:{user}"),
                key=key if declaration.kind == "command" else None,
                timeout=declaration.timeout or runtime.limits.handler,
            )
        )
        if reply.failure is not None:
            raise reply.failure.refused()
        return msgspec.json.decode(reply.data, type=declaration.reply)
