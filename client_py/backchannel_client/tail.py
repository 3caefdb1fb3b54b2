"""A live tail of channels, for people and for programs: the inside of `backchannel listen`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from backchannel_protocol.frames import Gap, Position

from .client import Client
from .lifecycle import ClientState
from .received import Received

__all__ = ["listen"]

# SGR codes, ECMA-48 section 8.3.117.
_DIM: Final = "2"
_RED: Final = "31"
_YELLOW: Final = "33"
_CYAN: Final = "36"
_BOLD: Final = "1"

# What a terminal could take for an order: C0 and C1 controls, and the marks that turn text around.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


async def listen(
    client: Client, channels: Sequence[str], *, as_json: bool, out: TextIO, since: Position | None = None
) -> None:
    """Write what happens on `channels` to `out`, one line each, until cancelled; `since`: from behind that position.

    A line has the time, the channel, the event's name, its user and its data; gaps and changes of
    the connection have lines too. With `as_json` each line is a JSON object whose `type` is
    `event`, `gap`, `subscribed` or `state`. Colours are used when `out` is a terminal and NO_COLOR
    is unset or empty (no-color.org). The client must be connected or connecting.

    Raises:
        Refused: the user may not listen to one of the channels.
        ConnectionClosed: the connection was closed for good.
    """
    tail = _JsonTail(out) if as_json else _Tail(out)
    remove = client.on_state(tail.state)
    tasks = [asyncio.create_task(_follow(client, channel, tail, since)) for channel in dict.fromkeys(channels)]
    try:
        await asyncio.gather(*tasks)
    finally:
        remove()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(client: Client, channel: str, tail: _Tail | _JsonTail, since: Position | None) -> None:
    def missed(gap: Gap) -> None:
        tail.gap(gap)
        # A tail shows the loss and has nothing to fill.
        sub.dismiss_gap(gap)

    sub = client.subscribe(channel, since=since, on_gap=missed)
    async with sub:
        position = sub.position
        tail.subscribed(channel, position.offset if position else 0)
        async for event in sub:
            tail.event(event)


class _Tail:
    """Lines for people."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._coloured = out.isatty() and not os.environ.get("NO_COLOR")

    def event(self, event: Received) -> None:
        self._line(
            self._paint(_DIM, _clock_time(event.time)),
            self._paint(_CYAN, event.channel),
            self._paint(_BOLD, event.name),
            self._paint(_YELLOW, event.user or "-"),
            _safe(msgspec.json.encode(event.data).decode()),
            self._paint(_DIM, f"#{event.offset}") if event.offset is not None else "",
        )

    def gap(self, gap: Gap) -> None:
        text = f"events {gap.from_ + 1} to {gap.to} are missing ({gap.reason})"
        self._line(self._paint(_DIM, _clock_time()), self._paint(_CYAN, gap.channel), self._paint(_RED, text))

    def subscribed(self, channel: str, offset: int) -> None:
        text = f"listening from offset {offset}"
        self._line(self._paint(_DIM, _clock_time()), self._paint(_CYAN, channel), self._paint(_DIM, text))

    def state(self, state: ClientState) -> None:
        self._line(self._paint(_DIM, _clock_time()), self._paint(_DIM, f"({state})"))

    def _line(self, *parts: str) -> None:
        self._out.write(" ".join(part for part in parts if part) + "\n")
        self._out.flush()

    def _paint(self, code: str, text: str) -> str:
        text = _safe(text)
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text


class _JsonTail:
    """Lines for programs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def event(self, event: Received) -> None:
        line = {
            "type": "event",
            "channel": event.channel,
            "name": event.name,
            "data": event.data,
            "offset": event.offset,
            "epoch": event.epoch,
            "user": event.user,
            "key": event.key,
            "subject": event.subject,
            "time": event.time,
        }
        self._line({field: value for field, value in line.items() if value is not None})

    def gap(self, gap: Gap) -> None:
        self._line(msgspec.to_builtins(gap))

    def subscribed(self, channel: str, offset: int) -> None:
        self._line({"type": "subscribed", "channel": channel, "offset": offset})

    def state(self, state: ClientState) -> None:
        self._line({"type": "state", "state": state})

    def _line(self, line: dict[str, Any]) -> None:
        self._out.write(msgspec.json.encode(line).decode() + "\n")
        self._out.flush()


def _clock_time(milliseconds: int | None = None) -> str:
    """The local time of day; now by default."""
    moment = datetime.now(UTC) if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.astimezone().strftime("%H:%M:%S")


def _safe(text: str) -> str:
    return _CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
