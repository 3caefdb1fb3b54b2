"""Compression against real servers: clients that agree to it beside those that do not, and who abuses it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest
import websockets
from websockets.frames import Frame, Opcode

from backchannel.chat import MessageCreated, SendMessage
from backchannel.telemetry.metrics import metrics
from backchannel_client import JSON, MSGPACK, Client, open_websocket
from backchannel_protocol import Codec

if TYPE_CHECKING:
    from tests.integration.conftest import Running

PATIENCE = 30.0
LOBBY = "chat:lobby"
THRESHOLD = 200
LONG = "Those who do not remember the past are condemned to repeat it. " * 15
AGREED = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"
OFFER = "permessage-deflate; client_max_window_bits"

StartServer = Callable[..., contextlib.AbstractAsyncContextManager["Running"]]


@pytest.fixture
def door() -> str:
    """Behind ASGI it is the server's own business."""
    return "takeover"


def client(running: Running, user: str, codec: Codec = JSON, *, compression: bool) -> Client:
    """A Python client that offers compression, or does not."""
    connector = partial(open_websocket, compression=compression)
    return Client(running.ws_url, token=running.token(user), codec=codec, connector=connector)


def compressed(message: bytes) -> bytes:
    """A client's frame with a compressed message."""
    compressor = zlib.compressobj(9, wbits=-15)
    payload = (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return marked(Frame(Opcode.TEXT, payload))


def marked(frame: Frame) -> bytes:
    """A client's frame with RSV1."""
    data = frame.serialize(mask=True)
    return bytes((data[0] | 0x40,)) + data[1:]


def close_code(answer: bytes) -> int:
    """The code of the close frame at the end of what came."""
    marker = answer.rfind(b"\x88")
    return int.from_bytes(answer[marker + 2 : marker + 4], "big")


async def raw(running: Running, *parts: bytes, offer: str | None = OFFER) -> bytes:
    """What comes back on a plain socket for a handshake and these bytes, until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    extensions = "" if offer is None else f"Sec-WebSocket-Extensions: {offer}\r\n"
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{extensions}"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    try:
        for part in parts:
            writer.write(part)
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()


async def texts(one: Client, until: str, listening: asyncio.Event) -> list[str]:
    """The messages of the lobby that a client hears, up to the one with this text."""
    found: list[str] = []
    async with one, one.subscribe(LOBBY) as lobby:
        listening.set()
        while until not in found:
            event = await anext(lobby)
            if event.name == "message.created":
                found.append(event.decode(MessageCreated).text)
    return found


async def test_all_hear_the_same_in_one_order(start_server: StartServer) -> None:
    """JSON and MessagePack, compressing and plain: the same messages in the order in which they were sent."""
    said = [f"{n} {LONG * (n % 4)}".strip() for n in range(30)]
    async with start_server(compression=THRESHOLD, calls=100_000.0, burst=100_000) as running:
        kinds = [(user, codec, on) for user in ("alice", "bob") for codec in (JSON, MSGPACK) for on in (True, False)]
        ready = [asyncio.Event() for _ in kinds]
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            hearing = [
                tasks.create_task(texts(client(running, user, codec, compression=on), said[-1], listening))
                for (user, codec, on), listening in zip(kinds, ready, strict=True)
            ]
            for listening in ready:
                await listening.wait()
            async with client(running, "alice", compression=True) as sender:
                for text in said:
                    await sender.call(SendMessage(channel=LOBBY, text=text))
        for task in hearing:
            assert task.result() == said


async def test_a_resume_and_history_over_compression(start_server: StartServer) -> None:
    """What was missed, and pages of history larger than a window, come whole."""
    said = [f"{n} {LONG}".strip() for n in range(20)]
    async with start_server(compression=THRESHOLD, calls=100_000.0, burst=100_000) as running:
        wire = await running.wire("alice")
        for text in said:
            await wire.call("message.send", {"channel": LOBBY, "text": text})
        await wire.ask("subscribe", channel=LOBBY)
        first = (await wire.ask("history", channel=LOBBY, limit=1000))["data"]
        events = [event for event in first["events"] if event["name"] == "message.created"]
        assert [event["data"]["text"] for event in events] == said

        position = {"epoch": first["epoch"], "offset": events[0]["offset"]}
        again = await running.wire("alice")
        assert (await again.ask("subscribe", channel=LOBBY, since=position))["verdict"] == "recovered"
        for text in said[1:]:
            assert (await again.event("message.created"))["data"]["text"] == text


async def test_what_goes_over_the_wire(start_server: StartServer) -> None:
    """The handshake names what was agreed; long messages have RSV1 and are less, short ones have neither."""
    async with start_server(compression=THRESHOLD) as running:
        socket = await running.socket(compression="deflate")
        assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
        async with websockets.connect(running.ws_url, compression=None) as plain:
            assert plain.protocol.extensions == []

        connect = json.dumps({"type": "connect", "id": 1, "token": running.token("alice")}).encode()
        listen = json.dumps({"type": "subscribe", "id": 2, "channel": LOBBY}).encode()
        call = {"type": "call", "id": 3, "name": "message.send", "data": {"channel": LOBBY, "text": LONG.strip()}}
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"\r\nSec-WebSocket-Extensions: " + AGREED + b"\r\n" in head
            # Compressed or not as it likes: the mark is each message's own.
            writer.write(Frame(Opcode.TEXT, connect).serialize(mask=True) + compressed(listen))
            seen: dict[str, tuple[bool, int, int]] = {}
            while "event" not in seen or "reply" not in seen:
                first, size = await reader.readexactly(2)
                if size == 126:
                    size = int.from_bytes(await reader.readexactly(2), "big")
                payload = await reader.readexactly(size)
                message = payload
                if first & 0x40:
                    message = zlib.decompressobj(-12).decompress(payload + b"\0\0\xff\xff")
                told = json.loads(message)
                seen[told["type"]] = (bool(first & 0x40), len(payload), len(message))
                if told.get("id") == 2:
                    writer.write(compressed(json.dumps(call).encode()))
        writer.close()
        for is_compressed, sent, size in seen.values():
            assert is_compressed is (size >= THRESHOLD and sent < size)
        assert seen["event"][0]
        assert seen["event"][1] < seen["event"][2] / 3
        assert not seen["subscribed"][0]


@pytest.mark.parametrize("offer", [None, "permessage-deflate; x=1", "permessage-deflate; server_max_window_bits=9"])
async def test_nothing_is_agreed_that_cannot_be(start_server: StartServer, offer: str | None) -> None:
    """Without an offer, or with one that is not acceptable, the connection is plain, and RSV1 a violation."""
    async with start_server(compression=THRESHOLD) as running:
        answer = await raw(running, compressed(b"{}"), offer=offer)
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"Extensions" not in answer
        assert close_code(answer) == 1002


async def test_off_by_default(start_server: StartServer) -> None:
    """As long as the operator does not ask for it, no offer is taken."""
    async with start_server() as running:
        answer = await raw(running, compressed(b"{}"))
        assert b"Extensions" not in answer
        assert close_code(answer) == 1002


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (compressed(b"\0" * 5_000_000), 1009),
        (marked(Frame(Opcode.TEXT, b"\xff" * 100)), 1007),
        (compressed(b'{"type": "connect"' + b"\xff}"), 1007),
        (marked(Frame(Opcode.TEXT, b"\0", fin=False)) + b"\xc0\x80\0\0\0\0", 1002),
    ],
    ids=["bomb", "broken", "not UTF-8", "RSV1 twice"],
)
async def test_abuse_ends_the_connection_and_nothing_else(start_server: StartServer, message: bytes, code: int) -> None:
    """Each with its code; those who listen beside it do not notice."""
    async with start_server(compression=THRESHOLD) as running:
        wire = await running.wire("alice")
        malformed = metrics.frames_malformed
        answer = await raw(running, message)
        assert AGREED in answer
        assert close_code(answer) == code
        assert metrics.frames_malformed == malformed + 1
        await wire.call("message.list", {"channel": LOBBY})


async def test_a_request_behind_another_agrees_too(start_server: StartServer) -> None:
    """A handshake that goes through the HTTP parser ends at the same door."""
    async with start_server(compression=THRESHOLD) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
        async with asyncio.timeout(PATIENCE):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.write(
                b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
            )
            head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert b"\r\nSec-WebSocket-Extensions: " + AGREED + b"\r\n" in head
