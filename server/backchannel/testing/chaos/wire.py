"""What goes over one client's connections, frame by frame: the promises that its library would hide the breach of.

A client drops what comes twice and asks again for what is not answered. So each connection is judged by itself: every
request gets one answer (P5), every resumed channel a verdict (P4), and events come in order (P3).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import msgspec

from backchannel_client import Connector, Transport, open_websocket
from backchannel_protocol import CloseCode, Codec
from backchannel_protocol.frames import Position

from ..checker import Checker
from ..listener import Listener
from ..report import Finding

__all__ = ["WireWatch"]

# What a client asks and one answer belongs to.
_REQUESTS: Final = frozenset(
    {"connect", "subscribe", "unsubscribe", "call", "publish", "history", "presence", "refresh"}
)
_ANSWERS: Final = frozenset({"connected", "subscribed", "reply", "error", "presence"})


class WireWatch:
    """Watches the connections of one client: give its `connector` to `backchannel.Client`."""

    def __init__(self, name: str) -> None:
        """`name` is what findings call the client."""
        self.name = name
        self.connections = 0
        """How many there were."""
        self.open: set[_Line] = set()
        self._findings: list[Finding] = []

    @property
    def connector(self) -> Connector:
        """Opens WebSockets that are watched."""
        return self._connect

    async def _connect(self, url: str, codec: Codec) -> Transport:
        transport = await open_websocket(url, codec)
        self.connections += 1
        line = _Line(f"{self.name}, connection {self.connections}", transport, codec.binary, self._ended)
        self.open.add(line)
        return line

    def _ended(self, line: _Line) -> None:
        if line in self.open:
            self.open.remove(line)
            self._findings += line.findings()

    def findings(self) -> list[Finding]:
        """Every breach so far."""
        return [*self._findings, *itertools.chain.from_iterable(line.findings() for line in self.open)]

    def unanswered(self) -> list[Finding]:
        """What open connections still owe: for when everything had time enough to be answered (P4, P5)."""
        return list(itertools.chain.from_iterable(line.unanswered() for line in self.open))


class _Line:
    """`Transport` that looks at what passes."""

    def __init__(self, name: str, inner: Transport, binary: bool, ended: Callable[[_Line], None]) -> None:
        self.name = name
        self._inner = inner
        self._decode = msgspec.msgpack.decode if binary else msgspec.json.decode
        self._ended = ended
        self._checker = Checker()
        self._listeners: dict[str, Listener] = {}
        self._asked: dict[int, str] = {}
        self._since: dict[int, Position | None] = {}
        self._answered: set[int] = set()
        self._resumed: set[str] = set()
        self._own: list[Finding] = []

    # Transport

    async def send(self, message: bytes) -> None:
        self._sent(self._decode(message))
        await self._inner.send(message)

    async def receive(self) -> bytes:
        try:
            message = await self._inner.receive()
        except Exception:
            self._over()
            raise
        self._received(self._decode(message))
        return message

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        self._over()
        await self._inner.close(code, reason)

    def abort(self) -> None:
        self._over()
        self._inner.abort()

    def _over(self) -> None:
        for listener in self._listeners.values():
            listener.ended()
        self._ended(self)

    # What passes

    def _sent(self, frame: dict[str, Any]) -> None:
        kind, id_ = frame["type"], frame.get("id")
        if kind == "cancel":
            # It may be answered or not.
            self._asked.pop(id_ or 0, None)
            return
        if kind not in _REQUESTS or id_ is None:
            return
        self._asked[id_] = kind
        self._answered.discard(id_)
        if kind == "connect":
            for channel, position in (frame.get("resume") or {}).items():
                self._resumed.add(channel)
                self._begin(channel, Position(position["epoch"], position["offset"]))
        elif kind == "subscribe":
            since = frame.get("since")
            self._since[id_] = Position(since["epoch"], since["offset"]) if since else None
        elif kind == "unsubscribe":
            # UNSUB-2: what still comes is of no interest.
            self._listeners.pop(frame["channel"], None)

    def _received(self, frame: dict[str, Any]) -> None:
        kind, id_, channel = frame["type"], frame.get("id"), frame.get("channel")
        if kind in _ANSWERS and id_ is not None:
            self._answer(id_, kind)
        if channel is None:
            return
        if kind in ("subscribed", "unsubscribed") and id_ is None:
            self._resumed.discard(channel)
        if kind == "subscribed":
            since = self._since.pop(id_ or 0, None)
            listener = self._listeners.get(channel)
            if listener is None or listener.epoch is None:
                self._begin(channel, since)
            elif id_ is not None:
                return  # SUB-4: it listens already, and this resets nothing.
        if channel in self._listeners:
            self._listeners[channel].frame(frame)

    def _answer(self, id_: int, kind: str) -> None:
        if self._asked.pop(id_, None) is not None:
            self._answered.add(id_)
        elif id_ in self._answered:
            self._own.append(self._finding(f"Request {id_} got a second answer: {kind}."))

    def _begin(self, channel: str, since: Position | None) -> None:
        known = self._listeners.get(channel)
        if known is not None:
            known.ended()
        self._listeners[channel] = self._checker.listener(self.name, channel, since=since)

    # What follows

    def findings(self) -> list[Finding]:
        return [*self._own, *self._checker.report(settled=False).findings]

    def unanswered(self) -> list[Finding]:
        owed = [f"Its {kind} {id_} was never answered." for id_, kind in self._asked.items()]
        owed += [f"It resumed {channel} and got no verdict." for channel in sorted(self._resumed)]
        return [self._finding(text) for text in owed]

    def _finding(self, text: str) -> Finding:
        return Finding(kind="silent", channel="", listener=self.name, text=text)
