"""The client over real WebSockets, on a server that knows the protocol's frames and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from msgspec import Raw
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from backchannel_client import Client, ConnectionClosed
from backchannel_protocol import CODECS, JSON, Codec, Limits, frames


async def answer(connection: ServerConnection) -> None:
    """Confirm what is asked, and publish each `message.send` on its channel."""
    codec = CODECS[connection.subprotocol or ""]

    async def send(frame: Any) -> None:
        await connection.send(codec.encode(frame), text=not codec.binary)

    offset = 0
    async for message in connection:
        assert isinstance(message, bytes) is codec.binary
        data = message if isinstance(message, bytes) else message.encode()
        frame = codec.decode_client(data)
        if isinstance(frame, frames.Connect):
            if frame.token != "good":
                await connection.close(4500, "No such token.")
                return
            await send(
                frames.Connected(
                    id=frame.id,
                    session="s",
                    user="alice",
                    version=1,
                    time=0,
                    ping=25,
                    grace=10,
                    limits=Limits(),
                )
            )
        elif isinstance(frame, frames.Subscribe):
            await send(frames.Subscribed(id=frame.id, channel=frame.channel, verdict="new", epoch="e", offset=offset))
        elif isinstance(frame, frames.Call):
            asked = codec.decode_any(frame.data)
            if frame.name == "connection.break":
                connection.transport.abort()
                return
            offset += 1
            await send(frames.Reply(id=frame.id, data=Raw(codec.encode({"seq": offset}))))
            await send(
                frames.Event(
                    channel=asked["channel"],
                    name="message.created",
                    data=frame.data,
                    offset=offset,
                    user="alice",
                )
            )


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[str]:
    """A server on a free port of this machine; gives its URL."""
    settings = {"subprotocols": list(CODECS)} | options
    async with serve(answer, "127.0.0.1", 0, **settings) as server:
        yield url_of(server)


def url_of(server: Server) -> str:
    return f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


async def test_asking_and_listening(codec: Codec) -> None:
    """Both encodings: text frames for JSON, binary ones for MessagePack."""
    async with (
        running() as url,
        Client(url, token="good", codec=codec) as client,
        client.subscribe("chat:lobby") as sub,
    ):
        reply = await client.call("message.send", {"channel": "chat:lobby", "text": "héllo"})
        event = await anext(sub)
    assert reply == {"seq": 1}
    assert (event.data["text"], event.offset) == ("héllo", 1)


async def test_a_broken_connection_is_opened_again(codec: Codec) -> None:
    """A keyless call says that its outcome is unknown; the next one works."""
    async with running() as url, Client(url, token="good", codec=codec) as client:
        states: list[str] = []
        client.on_state(states.append)
        with pytest.raises(Exception, match="connection was lost"):
            await client.call("connection.break", key=None)
        assert await client.call("message.send", {"channel": "a:b"}) == {"seq": 1}
        assert states == ["connecting", "connected"]


async def test_a_final_close_code_is_raised() -> None:
    """The close code and reason cross the WebSocket."""
    async with running() as url:
        with pytest.raises(ConnectionClosed, match="No such token") as caught:
            async with Client(url, token="bad"):
                pass
    assert caught.value.code == 4500


async def test_a_server_of_another_kind_is_recognised() -> None:
    """A WebSocket server that does not select our subprotocol."""
    async with running(subprotocols=None) as url:
        with pytest.raises(ConnectionClosed, match="is it a Backchannel server") as caught:
            async with Client(url, token="good"):
                pass
    assert caught.value.final


async def test_a_refused_handshake_tells_status_and_reason() -> None:
    """403 will be 403 again: the client does not go on trying."""

    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(HTTPStatus.FORBIDDEN, "This origin is not allowed.\n")

    async with running(process_request=refuse) as url:
        with pytest.raises(ConnectionClosed, match="HTTP 403: This origin is not allowed") as caught:
            async with Client(url, token="good"):
                pass
    assert caught.value.final


async def test_nobody_there() -> None:
    """The reason is told when the time to connect is over."""
    async with serve(answer, "127.0.0.1", 0) as server:
        url = url_of(server)
    with pytest.raises(ConnectionClosed, match="Is the server running"):
        async with Client(url, token="good", open_timeout=0.05):
            pass


async def test_what_is_no_address() -> None:
    """A wrong URL is an error at once."""
    with pytest.raises(ConnectionClosed, match="ws://host:port/ws"):
        async with Client("http://127.0.0.1:1/ws", token="good", open_timeout=None):
            pass


def test_json_is_the_default() -> None:
    """Text frames can be read by anybody."""
    assert Client("ws://server/ws").codec is JSON
