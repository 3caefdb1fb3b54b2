"""Delivery: one event, or one change of presence, in the form in which listeners get it.

It is encoded once per encoding, and framed and, where listeners agreed to it, compressed once; the same bytes go to
every listener.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from backchannel_protocol import JSON, MSGPACK
from backchannel_protocol import frames as f

from ..broker.broker import Envelope, PresenceChange
from .deflate import deflated
from .framing import BINARY, frame

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Delivery", "event_delivery", "gap_delivery", "joined", "presence_delivery"]

_to_json: Final = JSON.encode
_to_msgpack: Final = MSGPACK.encode
_any: Final = JSON.decode_any


class Delivery:
    """What goes to the listeners of a channel as one WebSocket message."""

    __slots__ = (
        "_deflated",
        "_json",
        "_msgpack",
        "_own_json",
        "_own_msgpack",
        "_raw",
        "_told",
        "after",
        "ends",
        "epoch",
        "key",
        "number",
        "offset",
        "size",
        "subject",
        "user",
    )

    def __init__(
        self,
        told: f.Event | f.Presence | f.Gap,
        *,
        epoch: str = "",
        offset: int = 0,
        after: int = 0,
        raw: bytes | None = None,
        user: str | None = None,
        key: str | None = None,
        subject: str | None = None,
        ends: list[str] | None = None,
    ) -> None:
        self._told = told
        self._raw = raw
        self._json: bytes | None = None
        self._msgpack: bytes | None = None
        self._own_json: bytes | None = None
        self._own_msgpack: bytes | None = None
        # JSON, MessagePack, and the sender's own of either; None while nobody needs them compressed.
        self._deflated: list[bytes | None] | None = None
        self.epoch = epoch
        self.offset = offset
        """Where the position is behind it; 0 if it moves no position."""
        self.after = after
        """Where the position is before it."""
        self.user = user
        self.key = key
        self.subject = subject
        self.ends = ends
        self.size = 0 if raw is None else len(raw)
        """Bytes of `data`, for bounding what is kept."""
        self.number = 0
        """The channel's running number of this delivery: who joined later than it does not get it."""

    @property
    def resets(self) -> bool:
        """Whether it makes earlier positions void."""
        return type(self._told) is f.Gap and self._told.reason == "reset"

    @property
    def is_event(self) -> bool:
        """Whether it is an event, and neither a gap nor presence."""
        return type(self._told) is f.Event

    def json(self) -> bytes:
        """The framed text message."""
        data = self._json
        if data is None:
            data = self._json = frame(_to_json(self._told))
        return data

    def msgpack(self) -> bytes:
        """The framed binary message. `data` is transcoded from its canonical JSON, once."""
        data = self._msgpack
        if data is None:
            data = self._msgpack = frame(self._encode_msgpack(self._told), BINARY)
        return data

    def _encode_msgpack(self, told: f.Event | f.Presence | f.Gap) -> bytes:
        if self._raw is None or not isinstance(told, f.Event):
            return _to_msgpack(told)
        canonical, told.data = told.data, Raw(_to_msgpack(_any(self._raw)))
        try:
            return _to_msgpack(told)
        finally:
            told.data = canonical

    def deflated(self, binary: bool, least: int) -> bytes:
        """The framed message for those who agreed to compression: compressed, once, if it has `least` bytes."""
        return self._compressed(int(binary), self.msgpack() if binary else self.json(), least)

    def _compressed(self, which: int, framed: bytes, least: int) -> bytes:
        kept = self._deflated
        if kept is None:
            kept = self._deflated = [None] * 4
        data = kept[which]
        if data is None:
            data = kept[which] = deflated(framed, least)
        return data

    def bytes_for(self, connection: Connection) -> bytes:
        """The framed message for one connection: the sender's own are told the key."""
        binary = connection.session.codec.binary
        least = connection.compress_from
        if self.key is None or connection.user != self.user or not isinstance(self._told, f.Event):
            if least:
                return self.deflated(binary, least)
            return self.msgpack() if binary else self.json()
        own = self._own_msgpack if binary else self._own_json
        if own is None:
            event = self._told
            event.key = self.key
            try:
                if binary:
                    own = self._own_msgpack = frame(self._encode_msgpack(event), BINARY)
                else:
                    own = self._own_json = frame(_to_json(event))
            finally:
                event.key = None
        return self._compressed(2 + int(binary), own, least) if least else own


def event_delivery(envelope: Envelope) -> Delivery:
    """The delivery of an event."""
    told = f.Event(
        channel=envelope.channel,
        name=envelope.name,
        data=Raw(envelope.data),
        offset=envelope.offset or None,
        user=envelope.user,
        subject=envelope.subject,
        time=envelope.time,
    )
    return Delivery(
        told,
        epoch=envelope.epoch,
        offset=envelope.offset,
        after=envelope.offset - 1,
        raw=envelope.data,
        user=envelope.user,
        key=envelope.key,
        subject=envelope.subject,
        ends=envelope.ends,
    )


def presence_delivery(change: PresenceChange) -> Delivery:
    """The delivery of a change of presence."""
    return Delivery(
        f.Presence(
            channel=change.channel,
            revision=change.revision,
            joined=change.joined or None,
            left=change.left or None,
            count=change.count,
        )
    )


def gap_delivery(channel: str, epoch: str, from_: int, to: int, reason: f.GapReason) -> Delivery:
    """The delivery of a gap to every listener of a channel."""
    told = f.Gap(channel=channel, epoch=epoch, from_=from_, to=to, reason=reason)
    return Delivery(told, epoch=epoch, offset=to, after=from_)


def joined(deliveries: Sequence[Delivery], connection: Connection) -> bytes:
    """What one connection gets of these, as one write."""
    return b"".join([delivery.bytes_for(connection) for delivery in deliveries])
