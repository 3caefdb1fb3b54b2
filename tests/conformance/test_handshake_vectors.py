"""A real server on every handshake vector, over a bare socket: the answer to the upgrade, and to the first messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]
import pytest

from backchannel import Server, Settings
from backchannel.demo import app as demo_app

Plain = dict[str, Any]

PATIENCE = 10.0
# Only a broken test waits this long.

OPCODES: Final = {"continuation": 0, "text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}

# What a handshake sends that does not say otherwise; the key is that of RFC 6455 section 1.3.
REQUEST_LINE: Final = "GET /ws HTTP/1.1"
HEADERS: Final = {
    "Host": "server.example:8000",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def repeated(value: Any) -> str:
    """A text, or one that is repeated so many times."""
    return value["repeat"] * value["times"] if isinstance(value, dict) else str(value)


class Peer:
    """A client that knows bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self._reader = reader
        self._writer = writer
        self._token = token

    def _text(self, value: Any) -> str:
        return repeated(value).replace("$token", self._token)

    async def shake_hands(self, request: Plain) -> tuple[int, dict[str, str], bytes]:
        """Send the head; returns the status, the headers by lower-case name, and the body of a refusal."""
        headers: Plain = {**HEADERS, **request.get("headers", {})}
        lines = [self._text(request.get("line", REQUEST_LINE))]
        for name, value in headers.items():
            for one in value if isinstance(value, list) else [value]:
                lines += [f"{name}: {self._text(one)}"] if one is not None else []
        self._writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.rstrip("\r\n").split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        status = int(first.split()[1])
        body = b"" if status == 101 else await self._reader.readexactly(int(found["content-length"]))
        return status, found, body

    def send(self, frame: Plain) -> None:
        """Send one frame of RFC 6455 section 5.2, masked with zeros unless it says otherwise."""
        payload = (
            bytes.fromhex(frame["hex"])
            if "hex" in frame
            else (self._text(frame["text"]) + repeated(frame.get("fill", "")) + frame.get("end", "")).encode()
        )
        opcode: int = OPCODES.get(frame["opcode"], 3)
        mask: int = 0x80 if frame.get("masked", True) else 0
        size = len(payload)
        length = bytes([mask | size]) if size < 126 else bytes([mask | 126]) + struct.pack(">H", size)
        head = bytes([(0x80 if frame.get("fin", True) else 0) | opcode]) + length
        self._writer.write(head + (b"\0\0\0\0" if mask else b"") + payload)

    async def receive(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        first, size = await self._reader.readexactly(2)
        if size == 126:
            (size,) = struct.unpack(">H", await self._reader.readexactly(2))
        return first & 0x0F, await self._reader.readexactly(size)


@contextlib.asynccontextmanager
async def a_server(folder: Path, given: Plain) -> AsyncIterator[tuple[Server, Callable[[], Any]]]:
    """A server in the state that the vector says, and how to reach it."""
    settings: Plain = {"dev": True, "port": 0, "data": str(folder)}
    if "origins" in given:
        settings["origins"] = tuple(given["origins"])
    if "frame" in given:
        settings["frame"] = given["frame"]
    if given.get("full"):
        settings["connections_per_address"] = 1
    async with contextlib.AsyncExitStack() as stack:
        server = Server(demo_app, Settings(**settings))
        await server.start()
        stack.push_async_callback(server.stop)
        token = server.issue_token("alice", lifetime=600)[0]

        async def connect() -> Peer:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            return Peer(reader, writer, token)

        if given.get("full"):
            await (await connect()).shake_hands({})
        if given.get("draining"):
            assert server._gateway is not None
            await server._gateway.drain(0)
        yield server, connect


async def test_the_server_answers_as_told(handshake: Plain, tmp_path: Path) -> None:
    """Status, headers and problem of the answer are those of the vector, and so is what follows it."""
    async with asyncio.timeout(PATIENCE), a_server(tmp_path, handshake.get("given", {})) as (_, connect):
        peer: Peer = await connect()
        status, headers, body = await peer.shake_hands(handshake["request"])
        expected = handshake["response"]
        assert status == expected["status"], body
        for name, value in expected.get("headers", {}).items():
            assert headers.get(name) == value
        if "code" in expected:
            problem = json.loads(body)
            assert headers["content-type"] == "application/problem+json"
            assert problem["code"] == expected["code"]
            assert problem["status"] == status
            assert problem["detail"]
            assert expected.get("details") in (None, problem.get("details"))
        binary = "msgpack" in headers.get("sec-websocket-protocol", "")
        for step in handshake.get("then", ()):
            await play(peer, step, binary=binary)


async def play(peer: Peer, step: Plain, *, binary: bool) -> None:
    """One step behind the handshake."""
    if "send" in step:
        peer.send(step["send"])
        return
    opcode, payload = await peer.receive()
    if "close" in step:
        while opcode != OPCODES["close"]:
            opcode, payload = await peer.receive()
        assert struct.unpack(">H", payload[:2]) == (step["close"],)
    elif "frame" in step:
        assert opcode == OPCODES["binary" if binary else "text"], (opcode, payload)
        frame: Plain = msgpack.unpackb(payload) if binary else json.loads(payload)
        assert {field: frame.get(field) for field in step["frame"]} == step["frame"]
    else:
        told = step["receive"]
        assert opcode == OPCODES[told["opcode"]]
        assert payload == told["text"].encode()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the surroundings counts."""
    monkeypatch.chdir(tmp_path)
