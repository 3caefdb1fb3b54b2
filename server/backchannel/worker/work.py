"""Work: one request that the worker took, checked against its declaration."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from backchannel_protocol import Malformed, Refused
from backchannel_protocol.codec import decode_data

from ..app import RequestDeclaration
from ..relay.relay import Failure, Reply, Request
from .digest import digest_of
from .runtime import Runtime

__all__ = ["Intake", "Work"]


class Work:
    """A request with its declaration and its decoded data."""

    __slots__ = (
        "answered",
        "apart",
        "cancelled",
        "deadline",
        "declaration",
        "digest",
        "lane",
        "request",
        "scope",
        "task",
        "value",
        "waiter",
    )

    def __init__(self, request: Request, declaration: RequestDeclaration, value: Any, deadline: float) -> None:
        self.request: Final = request
        self.declaration: Final = declaration
        self.value: Final = value
        self.deadline: Final = deadline
        """When nobody waits any more, by `Runtime.monotonic`."""
        self.answered = False
        """Whether its one reply was given."""
        self.cancelled = False
        """Whether nobody waits any more, so that it need not begin."""
        self.apart = False
        """Whether it held up a batch, so that it runs beside the batches."""
        self.task: asyncio.Task[None] | None = None
        """Where it runs, if in a task of its own, until its commit begins: who cancels the call stops it there."""
        self.waiter: asyncio.Future[Reply] | None = None
        """Who waits within this worker; None for what came over the relay."""
        self.scope: Final = (request.principal.id, request.key or "")
        """What the key is unique within, and the key."""
        self.lane = ""
        self.digest = b""
        if declaration.kind == "command":
            principal = request.principal
            # From the decoded data, not from `request.lane`: what is locked must not depend on how a body was spelled.
            if declaration.lane:
                self.lane = "\x1f".join([str(getattr(value, field)) for field in declaration.lane])
            elif declaration.lane_of:
                self.lane = f"user:{getattr(value, declaration.lane_of)}"
            else:
                self.lane = f"user:{principal.user}" if principal.user else principal.id
            if request.key is not None:
                self.digest = digest_of(declaration.name, value)


class Intake:
    """Decodes requests by their declarations; one decoder per name and encoding, made once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[tuple[str, str, str], tuple[RequestDeclaration, Any]] = {}

    def take(self, request: Request, now: float) -> Work | Failure:
        """Check a request.

        Args:
            request: as it came.
            now: by `Runtime.monotonic`.
        """
        which = (request.kind, request.name, request.encoding)
        known = self._known.get(which)
        if known is None:
            internal = request.kind == "internal"
            found = (self._runtime.internal if internal else self._runtime.requests).get(request.name)
            if found is None:
                return Failure.of(Refused("not_found", f"There is no command or query {request.name}."))
            known = self._known[which] = found, _decoder(found, request.encoding)
        declaration, decoder = known
        try:
            value = decode_data(decoder, request.data)
        except Malformed as exc:
            return Failure.of(exc)
        return Work(request, declaration, value, now + request.timeout)


def _decoder(declaration: RequestDeclaration, encoding: str) -> Any:
    module = msgspec.json if encoding == "json" else msgspec.msgpack
    return module.Decoder(declaration.cls)
