"""Telling who is present: changes as they come, and the whole list where one was missed (PRES-3).

Where thousands come and go, each change for each of them would cost the square of how many there are. So a crowded
channel is told how many they are, at most once a second (PRES-4): its cost grows with who listens, and no faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from backchannel_protocol import Refused
from backchannel_protocol import frames as f

from ..broker.broker import Broker, PresenceChange, PresenceState
from ..telemetry.logs import get_logger
from .channel import HubChannel
from .delivery import Delivery, presence_delivery

__all__ = ["CROWD", "PresenceTelling", "presence_of"]

_log = get_logger(__name__)

# How soon a list that could not be read is read again, in seconds.
_RETRY = 1.0

CROWD: Final = 1000
"""More present than these are a crowd: it is told how many they are, not who (PRES-4). So many take about 60 KiB."""

# How soon a crowd is told again how many it is, in seconds.
_BEAT: Final = 1.0


def presence_of(channel: str, state: PresenceState, request_id: int | None = None) -> f.Presence:
    """Who is present, or of a crowd how many."""
    count = len(state.members)
    return f.Presence(
        id=request_id,
        channel=channel,
        revision=state.revision,
        members=None if count > CROWD else state.members,
        count=count,
    )


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
        self._crowds: dict[str, PresenceChange | None] = {}
        """The crowded channels, with the change that is told at the next beat."""

    def changed(self, change: PresenceChange) -> None:
        """Take a change from the broker."""
        channel = self._channels.get(change.channel)
        if channel is None or not channel.namespace.presence:
            return
        known, channel.presence_revision = channel.presence_revision, change.revision
        if channel.telling:
            return
        if change.count > CROWD:
            self._count(channel, change)
        elif change.count - len(change.joined) + len(change.left) > CROWD:
            # Nobody was told who they are: the list is, now that it is a crowd no more.
            self._crowds.pop(channel.name, None)
            self.tell_soon(channel)
        elif (known and change.revision != known + 1) or not (change.joined or change.left):
            self.tell_soon(channel)
        else:
            self._deliver(channel, presence_delivery(change))

    def _count(self, channel: HubChannel, change: PresenceChange) -> None:
        """Tell a crowd how many it is, now or at its next beat."""
        name = channel.name
        if name in self._crowds:
            self._crowds[name] = change
            return
        self._crowds[name] = None
        told = f.Presence(channel=name, revision=change.revision, count=change.count)
        self._deliver(channel, Delivery(told))
        asyncio.get_running_loop().call_later(_BEAT, self._beat, name)

    def _beat(self, name: str) -> None:
        change, channel = self._crowds.pop(name, None), self._channels.get(name)
        if change is not None and channel is not None and not channel.telling:
            self._count(channel, change)

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
                self._deliver(channel, Delivery(presence_of(channel.name, state)))
        except Refused as exc:
            _log.warning("cannot read who is present", channel=channel.name, reason=str(exc))
            asyncio.get_running_loop().call_later(_RETRY, self.tell_soon, channel)
        finally:
            channel.telling = False
