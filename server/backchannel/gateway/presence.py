"""Telling who is present: changes as they come, and the whole list where one was missed (PRES-3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from backchannel_protocol import Refused

from ..broker.broker import Broker, PresenceChange
from ..telemetry.logs import get_logger
from .channel import HubChannel
from .delivery import Delivery, members_delivery, presence_delivery

__all__ = ["PresenceTelling"]

_log = get_logger(__name__)

# How soon a list that could not be read is read again, in seconds.
_RETRY = 1.0


class PresenceTelling:
    """What the hub does about presence.

    Args:
        broker: where the lists are.
        channels: the hub's, by name; what is not there any more is not told.
        deliver: delivers to the listeners of a channel.
        spawn: runs a coroutine for as long as the hub lives.
    """

    def __init__(
        self,
        broker: Broker,
        channels: Mapping[str, HubChannel],
        *,
        deliver: Callable[[HubChannel, Delivery], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._broker = broker
        self._channels = channels
        self._deliver = deliver
        self._spawn = spawn

    def changed(self, change: PresenceChange) -> None:
        """Take a change from the broker."""
        channel = self._channels.get(change.channel)
        if channel is None or not channel.namespace.presence:
            return
        known, channel.presence_revision = channel.presence_revision, change.revision
        if channel.telling:
            return
        if (known and change.revision != known + 1) or not (change.joined or change.left):
            self.tell_soon(channel)
        else:
            self._deliver(channel, presence_delivery(change))

    def tell_soon(self, channel: HubChannel) -> None:
        """Read the whole list and tell it, unless that is under way."""
        if not channel.telling and self._channels.get(channel.name) is channel:
            channel.telling = True
            self._spawn(self._tell(channel))

    async def _tell(self, channel: HubChannel) -> None:
        """Changes that come meanwhile are in the list, or it is read again."""
        try:
            while True:
                channel.presence_revision = 0
                state = await self._broker.presence(channel.name)
                if state.revision >= channel.presence_revision:
                    break
            channel.presence_revision = state.revision
            if not state.settling:
                # Else some seem to have left who have not; a change says when the list is whole.
                self._deliver(channel, members_delivery(channel.name, state))
        except Refused as exc:
            _log.warning("cannot read who is present", channel=channel.name, reason=str(exc))
            asyncio.get_running_loop().call_later(_RETRY, self.tell_soon, channel)
        finally:
            channel.telling = False
