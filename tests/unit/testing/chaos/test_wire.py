"""The watch on a client's connections sees what the client itself hides."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backchannel.testing.chaos import wire
from backchannel.testing.chaos.wire import WireWatch
from backchannel_client import ConnectionClosed, Transport
from backchannel_protocol import JSON, Codec

CHANNEL = "board:one"


class Pipe:
    """A transport that is told what comes."""

    def __init__(self) -> None:
        self.coming: list[bytes] = []

    async def send(self, message: bytes) -> None:
        pass

    async def receive(self) -> bytes:
        if not self.coming:
            raise ConnectionClosed(1006)
        return self.coming.pop(0)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        pass

    def abort(self) -> None:
        pass


class Line:
    """One watched connection, driven frame by frame."""

    def __init__(self, watch: WireWatch, pipe: Pipe, transport: Transport) -> None:
        self.watch = watch
        self._pipe = pipe
        self._transport = transport

    async def says(self, type_: str, **fields: Any) -> None:
        """The client sends."""
        await self._transport.send(json.dumps({"type": type_, **fields}).encode())

    async def hears(self, type_: str, **fields: Any) -> None:
        """The client receives."""
        self._pipe.coming.append(json.dumps({"type": type_, **fields}).encode())
        await self._transport.receive()

    async def events(self, *offsets: int) -> None:
        """Events come."""
        for offset in offsets:
            await self.hears("event", channel=CHANNEL, name="note.written", data={}, offset=offset)

    async def breaks(self) -> None:
        """It is over."""
        with pytest.raises(ConnectionClosed):
            await self._transport.receive()

    def kinds(self) -> list[str]:
        """What was found."""
        return [finding.kind for finding in self.watch.findings()]


@pytest.fixture
async def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    """A connection that resumed the channel from 5."""
    pipe = Pipe()

    async def opened(_url: str, _codec: Codec) -> Transport:
        return pipe

    monkeypatch.setattr(wire, "open_websocket", opened)
    watch = WireWatch("alice")
    found = Line(watch, pipe, await watch.connector("ws://x", JSON))
    await found.says("connect", id=1, resume={CHANNEL: {"epoch": "e", "offset": 5}})
    await found.hears("connected", id=1)
    return found


async def recovered(line: Line) -> None:
    """The verdict of the resume."""
    await line.hears("subscribed", channel=CHANNEL, verdict="recovered", epoch="e", offset=7)


async def test_a_sound_connection_has_no_findings(line: Line) -> None:
    """Resumed, caught up, asked and answered, and closed."""
    await recovered(line)
    await line.events(6, 7, 8)
    await line.says("call", id=2, name="a.b", data={})
    await line.hears("reply", id=2, data={})
    await line.says("subscribe", id=3, channel="board:two")
    await line.hears("subscribed", id=3, channel="board:two", verdict="new", epoch="e", offset=0)
    assert line.watch.findings() == line.watch.unanswered() == []
    await line.breaks()
    assert line.watch.findings() == []
    assert not line.watch.open


async def test_an_event_that_comes_twice_is_seen_although_the_client_drops_it(line: Line) -> None:
    """P3, on the wire."""
    await recovered(line)
    await line.events(6, 7, 7, 8)
    assert line.kinds() == ["doubled"]


async def test_events_in_the_wrong_order_and_missing_ones_are_seen(line: Line) -> None:
    """P3, on the wire: also behind a resume, whose first event must follow its position."""
    await recovered(line)
    await line.events(7, 6, 9)
    assert sorted(line.kinds()) == ["lost", "out_of_order"]
    await line.breaks()
    assert sorted(line.kinds()) == ["lost", "out_of_order"]


async def test_a_gap_that_is_told_is_no_loss(line: Line) -> None:
    """P5: marked."""
    await line.hears("subscribed", channel=CHANNEL, verdict="gap", epoch="e", offset=9)
    await line.events(10)
    await line.hears("gap", channel=CHANNEL, epoch="e", **{"from": 10, "to": 12}, reason="slow")
    await line.events(13)
    assert line.kinds() == []


async def test_what_is_never_answered_is_told_when_asked_for(line: Line) -> None:
    """P4 and P5: a call without an answer, and a resumed channel without a verdict."""
    await line.says("call", id=2, name="a.b", data={})
    assert [finding.text for finding in line.watch.unanswered()] == [
        "Its call 2 was never answered.",
        f"It resumed {CHANNEL} and got no verdict.",
    ]
    await line.hears("error", id=2, code="unavailable")
    await line.hears("unsubscribed", channel=CHANNEL, code="forbidden", message="No.")
    assert line.watch.unanswered() == []


async def test_a_second_answer_is_seen(line: Line) -> None:
    """P5: exactly one; what was cancelled may have one or none."""
    await line.says("call", id=2, name="a.b", data={})
    await line.hears("reply", id=2, data={})
    await line.says("call", id=3, name="a.b", data={})
    await line.says("cancel", id=3)
    await line.hears("reply", id=3, data={})
    assert line.kinds() == []
    await line.hears("error", id=2, code="unavailable")
    assert line.kinds() == ["silent"]


async def test_what_comes_behind_an_unsubscribe_is_of_no_interest(line: Line) -> None:
    """UNSUB-2."""
    await recovered(line)
    await line.says("unsubscribe", id=4, channel=CHANNEL)
    await line.events(6, 7, 7)
    await line.hears("reply", id=4, data={})
    assert line.kinds() == []
