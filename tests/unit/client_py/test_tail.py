"""The live tail: one line per thing that happens."""

from __future__ import annotations

import asyncio
import io
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from backchannel_client import Refused
from backchannel_client.tail import listen
from backchannel_protocol import frames

if TYPE_CHECKING:
    from tests.unit.client_py.conftest import Session


class Terminal(io.StringIO):
    """Says that it is a terminal, and when it has so many lines."""

    def __init__(self, tty: bool = False) -> None:
        super().__init__()
        self._tty = tty
        self._written = asyncio.Event()

    def isatty(self) -> bool:
        return self._tty

    def write(self, text: str, /) -> int:
        self._written.set()
        return super().write(text)

    async def lines(self, count: int) -> list[str]:
        async with asyncio.timeout(5):
            while len(lines := self.getvalue().splitlines()) < count:
                self._written.clear()
                await self._written.wait()
        return lines


async def tail(session: Session, out: Terminal, *, as_json: bool) -> asyncio.Task[None]:
    """Start a tail of `a:b` and let an event, a gap and a reconnect happen."""
    task = asyncio.create_task(listen(session.client, ["a:b", "a:b"], as_json=as_json, out=out))
    await session.peer.accept("a:b", 4)
    session.peer.event("a:b", 5, data={"text": "hi\x1b[2J\u009b\u202e"}, time=1_700_000_000_000)
    session.peer.gap("a:b", 5, 9)
    session.peer.event("a:b", None, user=None, data={})
    await out.lines(4)
    await session.reconnect()
    return task


async def test_lines_for_people(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, channel, name, user, compact data; gaps and states too; nothing a terminal would obey."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Terminal()
    task = await tail(session, out, as_json=False)
    lines = await out.lines(6)
    task.cancel()
    time = re.compile(r"\d\d:\d\d:\d\d ")
    assert all(time.match(line) for line in lines)
    assert [time.sub("", line) for line in lines] == [
        "a:b listening from offset 4",
        'a:b thing.happened bob {"text":"hi\\u001b[2J\\u009b\\u202e"} #5',
        "a:b events 6 to 9 are missing (slow)",
        "a:b thing.happened - {}",
        "(connecting)",
        "(connected)",
    ]


@pytest.mark.parametrize(("tty", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)])
async def test_colours_are_for_terminals_that_want_them(
    session: Session, monkeypatch: pytest.MonkeyPatch, tty: bool, no_color: str, coloured: bool
) -> None:
    """NO_COLOR (no-color.org) and pipes turn them off."""
    monkeypatch.setenv("NO_COLOR", no_color)
    out = Terminal(tty)
    task = await tail(session, out, as_json=False)
    await out.lines(6)
    task.cancel()
    assert ("\x1b[" in out.getvalue()) is coloured


async def test_lines_for_programs(session: Session) -> None:
    """Each line is a JSON object with a `type`; what an event lacks is left out."""
    out = Terminal()
    task = await tail(session, out, as_json=True)
    lines: list[dict[str, Any]] = [json.loads(line) for line in await out.lines(6)]
    task.cancel()
    assert [line["type"] for line in lines] == ["subscribed", "event", "gap", "event", "state", "state"]
    assert lines[1] == {
        "type": "event",
        "channel": "a:b",
        "name": "thing.happened",
        "data": {"text": "hi\x1b[2J\u009b\u202e"},
        "offset": 5,
        "epoch": "e1",
        "user": "bob",
        "time": 1_700_000_000_000,
    }
    assert lines[2] == {"type": "gap", "channel": "a:b", "epoch": "e1", "from": 5, "to": 9, "reason": "slow"}
    assert "offset" not in lines[3]


async def test_a_shown_gap_is_dismissed(session: Session) -> None:
    """A tail has nothing to fill, so a reconnect goes on at the position."""
    out = Terminal()
    task = asyncio.create_task(listen(session.client, ["a:b"], as_json=True, out=out))
    await session.peer.accept("a:b", 0)
    session.peer.gap("a:b", 0, 9)
    await out.lines(2)
    connect = await session.reconnect()
    task.cancel()
    assert connect.resume is not None
    assert connect.resume["a:b"].offset == 9


async def test_a_refused_channel_ends_the_tail(session: Session) -> None:
    """The reason is raised, and the other channels are left."""
    out = Terminal()
    task = asyncio.create_task(listen(session.client, ["a:good", "a:bad"], as_json=False, out=out))
    await session.peer.accept("a:good", 0)
    session.peer.error(await session.peer.expect(frames.Subscribe), "forbidden")
    with pytest.raises(Refused):
        await task
    assert (await session.peer.expect(frames.Unsubscribe)).channel == "a:good"
