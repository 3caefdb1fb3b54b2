"""What does compression save in bytes, and cost in CPU?"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final, cast

import msgspec
from websockets.frames import Frame, Opcode

from benchmarks import native, servers
from benchmarks.measured import Used
from benchmarks.question import BUSY, Cell, Column, Figures, Question
from benchmarks.servers import Server, ServerOf

__all__ = ["QUESTION", "deliver"]

FROM: Final = 200
"""Bytes from which messages are compressed where that is on."""

SHAPES: Final = {1000: 25, 1: 250}
"""Events per second, by how many listen: what leaves the server time for each by itself."""

SIZES: Final = (300, 3000)
"""Characters of an event's text."""

_CHANNEL: Final = "bench:0"
_LOAD_CORE: Final = 1
_PATIENCE: Final = 10.0
_EVENT: Final = b'{"type":"event"'
_WORDS: Final = (  # the most common ones, and some of an office
    "a about after all also and any as at back because but by can come could day do even find first for from get give "
    "go good have he her him his how if in into it its just know like look make many me more my new no not now of on "
    "one only or other our out over people say see she so some take tell than that the their them then there these "
    "they thing think this time to two up us use very want way we well what when which who will with work would year "
    "you your please thanks meeting tomorrow build broken release Friday server deployed lunch review question"
)


def chat_text(size: int, chance: random.Random) -> str:
    """So many characters of common words, with a sentence's end here and there: what compresses about as chat does."""
    common = _WORDS.split()
    words: list[str] = []
    length = 0
    while length <= size:
        words.append(chance.choice(common) + chance.choice(("", "", "", "", "", "", "", ".", ",", "?")))
        length += len(words[-1]) + 1
    return " ".join(words)[:size]


def _frames(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Begin, begin of the payload, and end of each whole frame."""
    position, size = 0, len(data)
    while size - position >= 2:
        length = data[position + 1]
        start = position + (2 if length < 126 else 4 if length == 126 else 10)
        if size < start:
            return
        if length >= 126:
            length = int.from_bytes(data[position + 2 : start], "big")
        if size < start + length:
            return
        yield position, start, start + length
        position = start + length


def _text(message: dict[str, Any]) -> bytes:
    return Frame(Opcode.TEXT, msgspec.json.encode(message)).serialize(mask=True)


class _Peer(asyncio.Protocol):
    """One connection. It counts the events that come, and how many bytes they are; it inflates none."""

    def __init__(self, token: str, offer: bool, channel: str | None) -> None:
        self._token = token
        self._offer = offer
        self._channel = channel
        self._rest = b""
        self._greeted = False
        self.ready = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self.came: Callable[[], None] = _nothing
        self.events = 0
        self.bytes = 0
        self.checksum = 0
        """Of all events as they came: the same for all who agreed to the same."""
        self.kept: list[bytes] | None = None
        """Every frame, for who is looked at closely."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if self._offer else ""
        head = (
            f"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{offer}"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        self.transport.write(head.encode() + _text({"type": "connect", "id": 1, "token": self._token}))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._greeted:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            self._greeted = True
            if self._offer and b"permessage-deflate" not in data[:end]:
                self._fail("no compression was agreed")
            data = data[end + 4 :]
        at = 0
        for begin, start, at in _frames(data):
            if self.ready.done():
                # Nothing else that comes now is so long that it is compressed.
                if data[begin] & 0x40 or data.startswith(_EVENT, start):
                    self.events += 1
                    self.bytes += at - begin
                    self.checksum = zlib.crc32(data[begin:at], self.checksum)
                    if self.kept is not None:
                        self.kept.append(data[begin:at])
                    self.came()
            else:
                self._greet(_message(data[begin:at]))
        self._rest = data[at:]

    def _greet(self, message: dict[str, Any]) -> None:
        if message["type"] == "error":
            self._fail(str(message))
        elif message["type"] == "connected" and self._channel is not None:
            self.transport.write(_text({"type": "subscribe", "id": 2, "channel": self._channel}))
        elif message["type"] == "connected" or (message["type"] == "subscribed" and message.get("id") == 2):
            self.ready.set_result(None)

    def _fail(self, why: str) -> None:
        if not self.ready.done():
            self.ready.set_exception(native.Failed(why))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("a connection was lost")


def _nothing() -> None:
    """Nobody counts yet."""


def _message(frame: bytes) -> dict[str, Any]:
    """What a frame says, inflated if it is compressed."""
    ((_, start, end),) = _frames(frame)
    payload = frame[start:end]
    if frame[0] & 0x40:
        payload = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
    found: dict[str, Any] = msgspec.json.decode(payload)
    return found


@contextlib.asynccontextmanager
async def _peers(server: Server, listeners: int, offer: bool) -> AsyncIterator[tuple[list[_Peer], _Peer]]:
    """Listeners, and who publishes; the load is on a core of its own meanwhile."""
    loop = asyncio.get_running_loop()
    before = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {_LOAD_CORE})
    tokens = servers.tokens().read_text().split()
    peers: list[_Peer] = []
    try:
        for number in range(listeners + 1):
            listens = number < listeners
            make = functools.partial(_Peer, tokens[number], offer and listens, _CHANNEL if listens else None)
            _, peer = await loop.create_connection(make, "127.0.0.1", server.ports[0])
            peers.append(peer)
        async with asyncio.timeout(_PATIENCE):
            for peer in peers:
                await peer.ready
        yield peers[:-1], peers[-1]
    finally:
        for peer in peers:
            peer.transport.abort()
        os.sched_setaffinity(0, before)


async def deliver(start: ServerOf, *, listeners: int, size: int, rate: float, seconds: float, offer: bool) -> Figures:
    """Publish texts of so many characters at a rate, to listeners that offer compression or do not.

    Raises:
        native.Failed: something did not come, came twice or changed, or no compression was agreed.
    """
    chance = random.Random(size)  # the same texts each time
    texts = [chat_text(size, chance) for _ in range(max(1, round(rate * seconds)))]
    async with start() as server, _peers(server, listeners, offer) as (peers, publisher):
        left = len(texts) * listeners
        everything = asyncio.get_running_loop().create_future()

        def came() -> None:
            nonlocal left
            left -= 1
            if not left and not everything.done():
                everything.set_result(None)

        peers[0].kept = []
        for peer in peers:
            peer.came = came
        used = Used(server)
        used.mark(native.Mark("begin", time.monotonic_ns()))
        began, worked = time.monotonic(), time.process_time()
        for number, text in enumerate(texts):
            await asyncio.sleep(began + number / rate - time.monotonic())
            data = {"at": number, "fill": text}
            publisher.transport.write(
                _text({"type": "publish", "channel": _CHANNEL, "name": "load.sent", "data": data})
            )
        try:
            await asyncio.wait_for(everything, _PATIENCE)
        except TimeoutError:
            raise native.Failed(f"{left} deliveries of {len(texts) * listeners} did not come") from None
        used.mark(native.Mark("end", time.monotonic_ns()))
        busy = (time.process_time() - worked) / (time.monotonic() - began)
        heard = [_message(frame)["data"]["fill"] for frame in peers[0].kept]
        if heard != texts or len({(peer.events, peer.checksum) for peer in peers}) != 1:
            raise native.Failed("what came is not what was published")
        deliveries = sum(peer.events for peer in peers)
        return {
            "bytes": sum(peer.bytes for peer in peers) / deliveries,
            "cost": sum(used.each(deliveries).values()),
            "event": sum(used.each(len(texts)).values()),
            BUSY: busy,
        }


def _cell(listeners: int, size: int, compress: bool) -> Cell:
    async def run(seconds: float) -> Figures:
        start = functools.partial(servers.backchannel, {"compression": str(FROM)}) if compress else servers.backchannel
        rate = SHAPES[listeners]
        return await deliver(start, listeners=listeners, size=size, rate=rate, seconds=seconds, offer=compress)

    workload = f"{size:,} characters of chat to {listeners:,} listener{'s' if listeners > 1 else ''}"
    return Cell(workload, "compression on" if compress else "compression off", run)


def _cells(quick: bool) -> Sequence[Cell]:
    sizes = SIZES[1:] if quick else SIZES
    return [_cell(listeners, size, on) for listeners in SHAPES for size in sizes for on in (False, True)]


QUESTION: Final = Question(
    name="compression",
    title="Compression",
    text=f"The setting `compression` at {FROM} bytes, and off, as it is by default: bytes of an event's frame as a "
    "listener gets it, and the server's CPU for each delivery and each event. Events come at a fixed rate, "
    f"{' and '.join(f'{rate} a second to {listeners:,}' for listeners, rate in SHAPES.items())}, so that none is "
    "joined with another. An event is compressed once however many listen; where one listens, that cost is plain to "
    "see. Listeners are a program in Python here, which inflates what one of them gets and compares the others with "
    "it: what inflating costs clients is not in these figures. Over loopback bytes cost next to nothing; what they "
    "cost on a real line, compression saves.",
    columns=(
        Column("bytes", "a delivery", "less"),
        Column("cost", "µs CPU a delivery", "less"),
        Column("event", "µs CPU an event", "less"),
    ),
    cells=_cells,
)
