"""Reading: pages of history and lists of who is present, for those who listen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Raw, Struct

from backchannel_protocol import JSON, Refused
from backchannel_protocol import frames as f

from ..broker.broker import Broker, Envelope, LogHead
from ..session import effects as e
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics

if TYPE_CHECKING:
    from .connection import Connection
    from .hub import Hub

__all__ = ["Reading"]

_log = get_logger(__name__)


class _Event(Struct, omit_defaults=True):
    """`frames.HistoryEvent` whose data is passed on as it is."""

    name: str
    data: Raw
    offset: int
    user: str | None = None
    subject: str | None = None
    time: int = 0


class _Page(Struct):
    """`frames.HistoryReply`, likewise."""

    epoch: str
    head: int
    first: int
    events: list[_Event]


class Reading:
    """Answers `history` and `presence`."""

    def __init__(self, hub: Hub, broker: Broker) -> None:
        self._hub = hub
        self._broker = broker

    async def history(self, connection: Connection, effect: e.ReadHistory) -> None:
        """Answer a page of a log."""
        session = connection.session
        try:
            data = await self._history(connection, effect)
        except Refused as exc:
            metrics.errors[exc.code] += 1
            connection.do(session.failed(effect.id, exc))
        except Exception as exc:
            _log.error("cannot read history", channel=effect.channel, exc_info=exc)
            connection.do(session.failed(effect.id, Refused("internal", "The history could not be read.")))
        else:
            connection.do(session.answered(effect.id, data))

    async def _history(self, connection: Connection, effect: e.ReadHistory) -> bytes:
        channel = self._hub.open(effect.channel)
        if not channel.logged:
            raise Refused("invalid", f"{effect.channel} is ephemeral: it has no history.")
        await self._hub.ready(channel)
        subscription = connection.session.subscriptions.get(effect.channel)
        barred = subscription.after if subscription is not None else 0
        position = effect.since or effect.before
        if position is not None and position.epoch != channel.epoch:
            raise Refused(
                "conflict",
                "That position is of another epoch and void: load a snapshot.",
                details={"epoch": channel.epoch},
            )
        if effect.since is not None:
            head, envelopes = await self._hub.read(channel, max(effect.since.offset, barred), effect.limit)
        else:
            end = effect.before.offset if effect.before is not None else channel.offset + 1
            head, envelopes = await self._hub.read(channel, max(end - 1 - effect.limit, barred, 0), effect.limit)
            envelopes = [envelope for envelope in envelopes if envelope.offset < end]
        return _page(connection, head, barred, envelopes)

    async def presence(self, connection: Connection, effect: e.ReadPresence) -> None:
        """Answer who is present."""
        session = connection.session
        channel = self._hub.channels.get(effect.channel)
        if channel is None or not channel.namespace.presence:
            connection.do(
                session.failed(effect.id, Refused("invalid", f"{effect.channel} does not tell who is present."))
            )
            return
        state = await self._broker.presence(effect.channel)
        connection.do(
            session.present(
                effect.id,
                f.Presence(
                    id=effect.id,
                    channel=effect.channel,
                    revision=state.revision,
                    members=state.members,
                    count=len(state.members),
                ),
            )
        )


def _page(connection: Connection, head: LogHead, barred: int, envelopes: Sequence[Envelope]) -> bytes:
    codec = connection.session.codec
    events = [
        _Event(
            name=envelope.name,
            data=Raw(codec.encode(JSON.decode_any(envelope.data)) if codec.binary else envelope.data),
            offset=envelope.offset,
            user=envelope.user,
            subject=envelope.subject,
            time=envelope.time,
        )
        for envelope in envelopes
    ]
    return codec.encode(_Page(head.epoch, head.offset, max(head.first, barred + 1), events))
