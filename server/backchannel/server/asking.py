"""Asking from an app's own HTTP routes: their requests take the way of all others, through the relay to a worker."""

from __future__ import annotations

from typing import Any

import msgspec

from backchannel_protocol import Refused, Request
from backchannel_protocol.codec import encode_data

from ..app import App
from ..auth.principal import Principal
from ..gateway.gateway import Gateway

__all__ = ["Asker", "as_app", "ask"]


class Asker:
    """Who sent an HTTP request; an implementation of `backchannel.Asker`."""

    def __init__(self, gateway: Gateway, served: App, principal: Principal) -> None:
        self._gateway = gateway
        self._served = served
        self._principal = principal

    @property
    def user(self) -> str:
        """The user; empty for an API key that acts for itself."""
        return self._principal.user

    @property
    def api_key(self) -> str | None:
        """The API key's id; None for the holder of a token."""
        return self._principal.api_key

    async def call(self, request: Request[Any] | str, data: Any = None, *, key: str | None = None) -> Any:
        """Ask a command or query as this user. Raises `Refused`."""
        return await ask(self._gateway, self._served, self._principal, request, data, key)


def as_app(app: App, user: str) -> Principal:
    """The app itself, asking on behalf of a user."""
    return Principal(user=user, id=f"app:{app.name}:{user}")


async def ask(
    gateway: Gateway, served: App, principal: Principal, request: Request[Any] | str, data: Any, key: str | None
) -> Any:
    """Ask a command or query through a gateway, internal ones too, and decode the answer.

    Raises:
        Refused: as the handler refused; or it got no further than this gateway.
    """
    name = request if isinstance(request, str) else type(request).wire_name
    declaration = served.requests.get(name)
    if declaration is None:
        raise Refused("not_found", f"There is no command or query {name}.")
    body = encode_data(data if isinstance(request, str) else request)
    reply = await gateway.ask_for_app(principal, name, body, key)
    if reply.failure is not None:
        raise reply.failure.refused()
    return msgspec.json.decode(reply.data, type=declaration.reply)
