"""Wire: one connection, frame by frame, for tests of the protocol."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from backchannel_client import ConnectionClosed
from backchannel_protocol import CloseCode, Codec

from .link import Link
from .pipe import ClientEnd

__all__ = ["Frame", "Wire"]

Frame = dict[str, Any]
"""A frame as plain data: `type` and its fields."""

# Virtual seconds that it waits for a frame, unless told otherwise.
_PATIENCE = 60.0


class Wire:
    """Speaks the protocol by hand. What arrives is kept until somebody asks for it.

    Pings are answered by themselves unless `pongs` is off. Ids begin at 101, so that they are not confused with counts.
    """

    def __init__(self, link: Link, transport: ClientEnd, codec: Codec, *, pongs: bool) -> None:
        self.link = link
        self.pongs = pongs
        """Whether pings are answered."""
        self.end: ConnectionClosed | None = None
        """How the connection ended, once it has."""
        self._transport = transport
        self._codec = codec
        self._ids = itertools.count(101)
        self._kept: deque[Frame] = deque()
        self._news = asyncio.Event()
        self._reader = asyncio.get_running_loop().create_task(self._read())

    # Send

    async def send(self, type: str, **fields: Any) -> int:  # noqa: A002  # the frame's own word
        """Send a frame, with a fresh `id` unless one is given (None: none at all); returns the id, or 0.

        Raises:
            ConnectionClosed: the connection has ended.
        """
        frame_id = fields.pop("id", -1)
        if frame_id == -1:
            frame_id = next(self._ids)
        if frame_id is not None:
            fields["id"] = frame_id
        await self.raw(self._codec.encode({"type": type, **fields}))
        return int(frame_id or 0)

    async def raw(self, message: bytes) -> None:
        """Send whatever this is, as one message. Raises `ConnectionClosed`."""
        await self._transport.send(message)

    async def ask(self, type: str, **fields: Any) -> Frame:  # noqa: A002
        """Send a request and return its answer, whether it is a refusal or not."""
        return await self.answer(await self.send(type, **fields))

    async def call(self, name: str, data: Any, **fields: Any) -> Any:
        """Call, and return the reply's data.

        Raises:
            AssertionError: it was refused.
        """
        answer = await self.ask("call", name=name, data=data, **fields)
        assert answer["type"] == "reply", answer
        return answer["data"]

    # Receive

    @property
    def kept(self) -> list[Frame]:
        """What has arrived and was not asked for, in order."""
        return list(self._kept)

    async def next(self, seconds: float = _PATIENCE) -> Frame:
        """The next frame.

        Raises:
            TimeoutError: none came in time.
            ConnectionClosed: none will come.
        """
        return await self.until(lambda frame: True, seconds)

    async def answer(self, request_id: int, seconds: float = _PATIENCE) -> Frame:
        """The answer to a request. Raises as `next`."""
        return await self.until(lambda frame: frame.get("id") == request_id, seconds)

    async def event(self, name: str, channel: str | None = None, seconds: float = _PATIENCE) -> Frame:
        """The next event of this name. Raises as `next`."""
        return await self.until(
            lambda f: f["type"] == "event" and f["name"] == name and channel in (None, f["channel"]), seconds
        )

    async def until(self, wanted: Callable[[Frame], bool], seconds: float = _PATIENCE) -> Frame:
        """The next frame like this; others are kept. Raises as `next`."""
        async with asyncio.timeout(seconds):
            while True:
                for index, frame in enumerate(self._kept):
                    if wanted(frame):
                        del self._kept[index]
                        return frame
                if self.end is not None:
                    raise self.end
                self._news.clear()
                await self._news.wait()

    async def closed(self, seconds: float = _PATIENCE) -> int:
        """The code with which the server closes; 1006 if the connection breaks off.

        Raises:
            TimeoutError: it did neither in time.
        """
        async with asyncio.timeout(seconds):
            await asyncio.wait([self._reader])
        assert self.end is not None
        return self.end.code

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Say goodbye and end."""
        await self._transport.close(code, reason)
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        try:
            while True:
                frame = self._codec.decode_any(await self._transport.receive())
                if frame["type"] == "ping" and self.pongs:
                    await self.send("pong", id=None)
                else:
                    self._kept.append(frame)
                    self._news.set()
        except ConnectionClosed as exc:
            self.end = exc
            self._news.set()
