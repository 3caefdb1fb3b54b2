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
from .presence import presence_of

if TYPE_CHECKING:
    from ..session.subscription import Subscription
    from .channel import HubChannel
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
            effects = session.failed(effect.id, exc)
        except Exception as exc:
            _log.error("cannot read history", channel=effect.channel, exc_info=exc)
            effects = session.failed(effect.id, Refused("internal", "The history could not be read."))
        else:
            effects = session.answered(effect.id, data)
        connection.do(effects)

    async def _history(self, connection: Connection, effect: e.ReadHistory) -> bytes:
        channel, subscription = self._listened(connection, effect.channel)
        if not channel.logged:
            raise Refused("invalid", f"{effect.channel} is ephemeral: it has no history.")
        barred = subscription.after
        if effect.since is not None:
            head, envelopes = await self._hub.read(channel, max(effect.since.offset, barred), effect.limit)
        else:
            end = channel.offset + 1
            if effect.before is not None and effect.before.offset != end:
                if effect.before.offset > end:
                    end = (await self._hub.head(channel)).offset + 1
                end = min(effect.before.offset, end)
            head, envelopes = await self._hub.read(channel, max(end - 1 - effect.limit, barred, 0), effect.limit)
            envelopes = [envelope for envelope in envelopes if envelope.offset < end]
        position = effect.since or effect.before
        if position is not None and position.epoch != head.epoch:
            raise Refused(
                "conflict",
                "That position is of another epoch and void: load a snapshot.",
                details={"epoch": head.epoch},
            )
        if not connection.is_current(subscription):
            raise _not_listening(effect.channel)
        return _page(connection, head, barred, envelopes, upwards=effect.since is not None)

    def _listened(self, connection: Connection, name: str) -> tuple[HubChannel, Subscription]:
        subscription = connection.session.subscriptions.get(name)
        channel = self._hub.channels.get(name)
        if subscription is None or channel is None:
            raise _not_listening(name)
        return channel, subscription

    async def presence(self, connection: Connection, effect: e.ReadPresence) -> None:
        """Answer who is present."""
        session = connection.session
        try:
            presence = await self._presence(connection, effect)
        except Refused as exc:
            effects = session.failed(effect.id, exc)
        except Exception as exc:
            _log.error("cannot read presence", channel=effect.channel, exc_info=exc)
            effects = session.failed(effect.id, Refused("internal", "Who is present could not be read."))
        else:
            effects = session.present(effect.id, presence)
        connection.do(effects)

    async def _presence(self, connection: Connection, effect: e.ReadPresence) -> f.Presence:
        channel, subscription = self._listened(connection, effect.channel)
        if not channel.namespace.presence:
            raise Refused("invalid", f"{effect.channel} does not tell who is present.")
        while True:
            state = await self._broker.presence(effect.channel)
            if state.settling:
                raise Refused(
                    "unavailable",
                    f"Who is present on {effect.channel} is being found out anew; try again.",
                    outcome="none",
                    retry_after=state.settling,
                )
            # PRES-2: it replaces what was told, so a change that overtook it must be in it.
            if state.revision >= channel.presence_revision:
                break
        if not connection.is_current(subscription):
            raise _not_listening(effect.channel)
        return presence_of(effect.channel, state, effect.id)


def _not_listening(channel: str) -> Refused:
    return Refused("forbidden", f"Subscribe to {channel} first; who may listen may read.")


def _page(connection: Connection, head: LogHead, barred: int, envelopes: Sequence[Envelope], *, upwards: bool) -> bytes:
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
        for envelope in _fitting(envelopes, connection.gateway.max_queued // 2, upwards=upwards)
    ]
    return codec.encode(_Page(head.epoch, head.offset, max(head.first, barred + 1), events))


def _fitting(envelopes: Sequence[Envelope], size: int, *, upwards: bool) -> Sequence[Envelope]:
    """As many as may wait to be sent (HIST-3), but one at least; the first ones, or the last ones."""
    left = size
    for count, envelope in enumerate(envelopes if upwards else reversed(envelopes)):
        left -= len(envelope.data)
        if left < 0:
            count = max(count, 1)
            return envelopes[:count] if upwards else envelopes[-count:]
    return envelopes
