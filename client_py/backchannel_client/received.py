"""Events as a listener receives them."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from backchannel_protocol import Codec, Malformed, frames
from backchannel_protocol.frames import Position

from .typed import decode

__all__ = ["Received"]

T = TypeVar("T")

_UNREAD: Final = object()


class Received:
    """One event that was heard on a channel."""

    __slots__ = ("_codec", "_data", "_raw", "channel", "epoch", "key", "name", "offset", "subject", "time", "user")

    def __init__(self, frame: frames.Event, codec: Codec, epoch: str | None) -> None:
        self.channel = frame.channel
        self.name = frame.name
        self.offset = frame.offset
        """Its place in the channel's log; None for an ephemeral event."""
        self.epoch = epoch
        """The incarnation of the log that `offset` counts in."""
        self.user = frame.user
        """Who caused it, where the server says so."""
        self.key = frame.key
        """The key of the command that caused it, if it was a command of this very user."""
        self.subject = frame.subject
        self.time = frame.time
        """Unix milliseconds, by the server's clock. Nothing is ordered by it."""
        self._raw = frame.data
        self._codec = codec
        self._data: Any = _UNREAD

    def __repr__(self) -> str:
        return f"<{self.name} on {self.channel} at {self.offset}>"

    @property
    def data(self) -> Any:
        """What happened, as plain dicts, lists, strings and numbers."""
        if self._data is _UNREAD:
            self._data = self._codec.decode_any(self._raw)
        return self._data

    @property
    def position(self) -> Position | None:
        """Where to go on behind this event; None for an ephemeral one."""
        if self.epoch is None or self.offset is None:
            return None
        return Position(self.epoch, self.offset)

    def decode(self, form: type[T]) -> T:
        """What happened, as the struct that declares it.

        Raises:
            Malformed: it is another event, or its data is not what the struct declares.
        """
        declared = getattr(form, "wire_name", "")
        if declared and declared != self.name:
            raise Malformed(f"This event is {self.name}, and {form.__name__} declares {declared}.")
        return decode(self._codec, form, self._raw)  # type: ignore[no-any-return]
