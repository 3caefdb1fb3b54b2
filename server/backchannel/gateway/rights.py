"""Rights: what a connection may hear and where it may publish, asked of a worker and leased.

A grant holds for 60 seconds and is asked for again before it ends, in one internal query for all channels of a
connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from backchannel_protocol import Refused

from ..relay.relay import Grant, May, MayReply, Reply, Request

if TYPE_CHECKING:
    from ..auth.principal import Principal
    from .gateway import Gateway

__all__ = ["LEASE", "Rights", "is_own", "publish_entry", "refusal_of"]

LEASE = 60.0
"""Seconds that a grant holds."""

_decode = msgspec.json.Decoder(MayReply).decode
_encode = msgspec.json.Encoder().encode


class Rights:
    """Asks workers what a principal may do."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def may(
        self,
        principal: Principal,
        *,
        listen: list[str] | None = None,
        publish: list[str] | None = None,
        connection: str = "",
    ) -> MayReply:
        """The grants for these channels, and for these entries of `publish_entry`.

        The token's `caps` narrow them; a user's own channel needs no question.

        Raises:
            Refused: no worker answered.
        """
        answer = MayReply({}, {})
        ask = May([], [])
        for verb, channels, grants, questions in (
            ("listen", listen or [], answer.listen, ask.listen),
            ("publish", publish or [], answer.publish, ask.publish),
        ):
            for entry in channels:
                channel = entry.partition(" ")[0]
                if not principal.may(verb, channel):
                    grants[entry] = Grant(False, message=f"The token's caps do not include {verb}:{channel}.")
                elif verb == "listen" and is_own(principal, channel):
                    grants[entry] = Grant(True)
                else:
                    questions.append(entry)
        if ask.listen or ask.publish:
            reply = await self._ask(principal, ask, connection)
            answer.listen.update(reply.listen)
            answer.publish.update(reply.publish)
        return answer

    async def _ask(self, principal: Principal, ask: May, connection: str) -> MayReply:
        gateway = self._gateway
        reply: Reply = await gateway.relay.ask(
            Request(
                id=gateway.next_request_id(),
                kind="internal",
                name="may",
                data=_encode(ask),
                principal=principal,
                connection=connection,
                timeout=gateway.limits.call,
            )
        )
        if reply.failure is not None:
            raise reply.failure.refused()
        return _decode(reply.data)


def is_own(principal: Principal, channel: str) -> bool:
    """Whether this is the user's own channel: whoever the token lets listen to it may, and no worker need be asked."""
    return channel == f"user:{principal.user}" and bool(principal.user) and principal.may("listen", channel)


def publish_entry(channel: str, name: str) -> str:
    """What a worker is asked for the right to publish an event on a channel."""
    return f"{channel} {name}"


def refusal_of(channel: str, grant: Grant) -> Refused:
    """The refusal that a grant of nothing stands for."""
    return Refused(grant.code, grant.message or f"You may not listen to {channel}.")
