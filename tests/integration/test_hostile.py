"""Bad input of every kind gets its documented answer, and neither the server nor another user feels it.

Framing and handshake violations are told in raw bytes, frames and tokens over a plain client.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from typing import Any

import jwt
import msgpack  # type: ignore[import-untyped]
import pytest
import websockets

PATIENCE = 10.0

NESTED = "[" * 40 + "]" * 40
BOMB = "[" * 60_000
HUGE = 2**53


def call(data: str, request_id: int = 7) -> str:
    """A call frame around raw JSON data."""
    return f'{{"type":"call","id":{request_id},"name":"message.send","data":{data}}}'


# What is sent, what the answer's code is, and whether the answer knows the id.
FRAMES: dict[str, tuple[str | bytes, str, bool]] = {
    "empty": ("", "invalid", False),
    "not-json": ("hello", "invalid", False),
    "truncated": ('{"type":"call","id":7,"name":', "invalid", True),
    "array": ("[1,2,3]", "invalid", False),
    "string": ('"call"', "invalid", False),
    "null": ("null", "invalid", False),
    "no-type": ('{"id":7}', "invalid", True),
    "unknown-type": ('{"type":"launch","id":7}', "invalid", True),
    "type-of-the-server": ('{"type":"event","id":7,"channel":"a:b"}', "invalid", True),
    "type-is-a-number": ('{"type":5,"id":7}', "invalid", True),
    "no-name": ('{"type":"call","id":7,"data":{}}', "invalid", True),
    "no-data": ('{"type":"call","id":7,"name":"message.send"}', "invalid", True),
    "id-is-zero": (call("{}", 0), "invalid", False),
    "id-is-negative": (call("{}", -1), "invalid", False),
    "id-is-too-large": (call("{}", HUGE), "invalid", False),
    "id-is-text": ('{"type":"call","id":"7","name":"message.send","data":{}}', "invalid", False),
    "deep": (call(NESTED), "invalid", True),
    "very-deep": (call(BOMB), "invalid", True),
    "deep-in-an-unknown-field": ('{"type":"pong","x":' + NESTED + "}", "invalid", False),
    "nan": (call('{"channel":"chat:lobby","text":NaN}'), "invalid", True),
    "infinity": (call('{"channel":"chat:lobby","n":1e999}'), "invalid", True),
    "huge-integer": (call(f'{{"channel":"chat:lobby","text":"x","n":{HUGE}}}'), "invalid", True),
    "thousand-digits": (call('{"channel":"chat:lobby","text":' + "9" * 1000 + "}"), "invalid", True),
    "lone-surrogate": (call('{"channel":"chat:lobby","text":"\\ud800"}'), "invalid", True),
    "wrong-field-type": (call('{"channel":"chat:lobby","text":5}'), "invalid", True),
    "field-missing": (call('{"channel":"chat:lobby"}'), "invalid", True),
    "text-too-long": (call('{"channel":"chat:lobby","text":"' + "x" * 5000 + '"}'), "invalid", True),
    "text-is-blank": (call('{"channel":"chat:lobby","text":"  "}'), "invalid", True),
    "chat-channel-with-a-newline": (call('{"channel":"chat:lobby\\n","text":"x"}'), "invalid", True),
    "new-channel-with-a-newline": (
        '{"type":"call","id":7,"name":"channel.create","data":{"name":"x","id":"tea\\n"}}',
        "invalid",
        True,
    ),
    "member-with-a-newline": (
        '{"type":"call","id":7,"name":"channel.create","data":{"name":"x","members":["bob\\n"]}}',
        "invalid",
        True,
    ),
    "data-is-an-array": (call("[1]"), "invalid", True),
    "channel-is-not-one": ('{"type":"subscribe","id":7,"channel":"no colon"}', "invalid", True),
    "channel-with-a-newline": ('{"type":"subscribe","id":7,"channel":"chat:lobby\\n"}', "invalid", True),
    "channel-too-long": ('{"type":"subscribe","id":7,"channel":"chat:' + "x" * 129 + '"}', "invalid", True),
    "unknown-namespace": ('{"type":"subscribe","id":7,"channel":"mars:rover"}', "not_found", True),
    "unknown-name": ('{"type":"call","id":7,"name":"rocket.launch","data":{}}', "not_found", True),
    "short-key": ('{"type":"call","id":7,"name":"message.send","data":{},"key":"short"}', "invalid", True),
    "history-limit-zero": (
        '{"type":"history","id":7,"channel":"chat:lobby","limit":0}',
        "invalid",
        True,
    ),
    "second-connect": ('{"type":"connect","id":7}', "invalid", True),
    "publish-on-a-durable-channel": (
        '{"type":"publish","id":7,"channel":"chat:lobby","name":"message.created","data":{}}',
        "forbidden",
        True,
    ),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_a_bad_frame_is_answered_and_harms_nobody(running_server: Any, name: str) -> None:
    """The answer has the documented code and the request's id where it can be read; the session goes on."""
    sent, code, has_id = FRAMES[name]
    alice, bob = await running_server.wire("alice"), await running_server.wire("bob")
    await alice.raw(sent)
    answer = await alice.until(lambda f: f["type"] == "error")
    assert answer["code"] == code, answer
    assert answer.get("id") == (7 if has_id else None), answer
    assert answer["outcome"] == "none"
    assert answer["message"]
    assert "Traceback" not in json.dumps(answer)
    assert len(json.dumps(answer)) < 1000
    for wire in (alice, bob):
        await wire.call("message.send", {"channel": "chat:lobby", "text": "still here"})


MSGPACK: dict[str, tuple[bytes, bool]] = {
    "nothing": (b"", False),
    "truncated-map": (msgpack.packb({"type": "call", "id": 7})[:-1], False),
    "array-bomb": (b"\xdd\xff\xff\xff\xff", False),
    "map-bomb": (b"\xdf\xff\xff\xff\xff", False),
    "string-bomb": (b"\xdb\xff\xff\xff\xff", False),
    "deep": (b"\x91" * 50_000, False),
    "reserved-byte": (b"\xc1", False),
    "invalid-utf-8": (b"\x82\xa4type\xa2\xff\xfe\xa2id\x07", False),
    "binary": (msgpack.packb({"type": "call", "id": 7, "name": "a.b", "data": b"x"}), True),
    "extension": (msgpack.packb({"type": "call", "id": 7, "name": "a.b", "data": msgpack.ExtType(5, b"x")}), True),
    "nan": (msgpack.packb({"type": "call", "id": 7, "name": "a.b", "data": float("nan")}), True),
    "infinity": (msgpack.packb({"type": "call", "id": 7, "name": "a.b", "data": float("inf")}), True),
    "huge-integer": (msgpack.packb({"type": "call", "id": 7, "name": "a.b", "data": HUGE}), True),
    "number-as-key": (msgpack.packb({"type": "call", "id": 7, "name": "a.b", "data": {1: 2}}), True),
    "trailing-bytes": (msgpack.packb({"type": "pong"}) + b"\x00", False),
}


@pytest.mark.parametrize("name", MSGPACK)
async def test_bad_messagepack_is_answered(running_server: Any, name: str) -> None:
    """The same for MessagePack, whose bytes can lie about their length."""
    sent, has_id = MSGPACK[name]
    socket = await running_server.socket(subprotocols=["backchannel.v1.msgpack"])

    async def answer(wanted: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while (frame := msgpack.unpackb(await socket.recv()))["type"] != wanted:
                pass
        return dict(frame)

    await socket.send(msgpack.packb({"type": "connect", "id": 1, "token": running_server.token("alice")}))
    assert (await answer("connected"))["user"] == "alice"
    await socket.send(sent)
    refused = await answer("error")
    assert refused["code"] == "invalid"
    assert (refused.get("id") == 7) or not has_id
    await socket.send(
        msgpack.packb({"type": "call", "id": 9, "name": "message.list", "data": {"channel": "chat:lobby"}})
    )
    assert (await answer("reply"))["id"] == 9


def token(secret: str, **claims: Any) -> str:
    """A token with these claims over good ones; None takes one away."""
    good = {"sub": "alice", "exp": int(time.time()) + 600}
    merged = {name: value for name, value in {**good, **claims}.items() if value is not None}
    return jwt.encode(merged, secret, algorithm="HS256")


def _unsigned(secret: str) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part({'sub': 'alice', 'exp': int(time.time()) + 600})}."


TOKENS: dict[str, Callable[[str], str | None]] = {
    "none": lambda secret: None,
    "empty": lambda secret: "",
    "garbage": lambda secret: "not.a.token",
    "alg-none": _unsigned,
    "other-secret": lambda secret: token("x" * 40),
    "expired": lambda secret: token(secret, exp=int(time.time()) - 60),
    "no-exp": lambda secret: token(secret, exp=None),
    "no-sub": lambda secret: token(secret, sub=None),
    "bad-user": lambda secret: token(secret, sub="a b"),
    "bad-channels": lambda secret: token(secret, channels="chat:lobby"),
    "other-algorithm": lambda secret: jwt.encode(
        {"sub": "alice", "exp": int(time.time()) + 600}, secret, algorithm="HS512"
    ),
    "unknown-crit": lambda secret: jwt.encode(
        {"sub": "alice", "exp": int(time.time()) + 600},
        secret,
        algorithm="HS256",
        headers={"crit": ["x"], "x": 1},
    ),
    "api-key": lambda secret: "bk_0000000000000000",
}


@pytest.mark.parametrize("name", TOKENS)
async def test_a_bad_token_is_refused_for_good(running_server: Any, tmp_path: Any, name: str) -> None:
    """`unauthenticated` with a reason, then close code 4500: the client is not to try the same again."""
    secret = (tmp_path / "secret").read_text()
    wire = await running_server.wire()
    answer = await wire.ask("connect", token=TOKENS[name](secret))
    assert (answer["type"], answer["code"]) == ("error", "unauthenticated")
    assert answer["message"]
    assert secret not in answer["message"]
    assert await wire.closed() == 4500


async def test_an_oversized_token_is_refused(running_server: Any) -> None:
    """A token over its limit is `too_large`, and final."""
    wire = await running_server.wire()
    answer = await wire.ask("connect", token="x" * 9000)
    assert answer["code"] == "too_large"
    assert await wire.closed() == 4500


async def test_nothing_is_served_before_connect(running_server: Any) -> None:
    """Whatever comes before `connect` is `unauthenticated`, and the session can still be opened."""
    wire = await running_server.wire()
    for type_, fields in (
        ("subscribe", {"channel": "chat:lobby"}),
        ("call", {"name": "channel.list", "data": {}}),
        ("refresh", {"token": "x"}),
    ):
        answer = await wire.ask(type_, **fields)
        assert answer["code"] == "unauthenticated"
    assert (await wire.ask("connect", token=running_server.token("alice")))["type"] == "connected"


MASK = b"\x01\x02\x03\x04"


def masked(opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0) -> bytes:
    """A client's frame (RFC 6455 section 5.2)."""
    size = len(payload)
    head = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,))
    if size < 126:
        head += bytes((0x80 | size,))
    elif size < 65536:
        head += b"\xfe" + size.to_bytes(2, "big")
    else:
        head += b"\xff" + size.to_bytes(8, "big")
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


FRAMING = {
    "unmasked": (b"\x81\x02hi", 1002),
    "reserved-bit": (masked(1, b"hi", rsv=4), 1002),
    "reserved-opcode": (masked(3, b"hi"), 1002),
    "reserved-control": (masked(11, b"hi"), 1002),
    "fragmented-ping": (masked(9, b"hi", fin=False), 1002),
    "long-ping": (masked(9, b"x" * 126), 1002),
    "continuation-of-nothing": (masked(0, b"hi"), 1002),
    "text-inside-a-fragmented-text": (masked(1, b"hi", fin=False) + masked(1, b"ho"), 1002),
    "invalid-utf-8": (masked(1, b"\xff\xfe"), 1007),
    "invalid-utf-8-in-data": (masked(1, b'{"type":"call","id":7,"name":"a.b","data":"\xff"}'), 1007),
    "binary-on-json": (masked(2, b"\x80"), 1003),
    "too-big": (masked(1, b"x" * 70_000), 1009),
    "too-big-in-fragments": (masked(1, b"x" * 40_000, fin=False) + masked(0, b"x" * 40_000), 1009),
    "claims-a-terabyte": (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + MASK, 1009),
    "close-code-1005": (masked(8, (1005).to_bytes(2, "big")), 1002),
    "close-with-one-byte": (masked(8, b"\x03"), 1002),
}


async def _upgraded(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.removeprefix("ws://").removesuffix("/ws").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    return reader, writer


@pytest.mark.parametrize("name", FRAMING)
async def test_bad_framing_ends_that_connection_alone(running_server: Any, name: str) -> None:
    """RFC 6455 sections 5 and 7: the connection is closed with the code that says why; others go on."""
    sent, code = FRAMING[name]
    alice = await running_server.wire("alice")
    reader, writer = await _upgraded(running_server.ws_url)
    writer.write(sent)
    async with asyncio.timeout(PATIENCE):
        try:
            first, size = await reader.readexactly(2)
            assert first == 0x88, "expected a close frame"
            payload = await reader.readexactly(size)
            assert int.from_bytes(payload[:2], "big") == code
        finally:
            writer.close()
    await alice.call("message.send", {"channel": "chat:lobby", "text": "undisturbed"})


HANDSHAKES = {
    "foreign-origin": ({"Origin": "https://evil.example"}, 403),
    "unknown-subprotocol": ({"Sec-WebSocket-Protocol": "chat"}, 400),
    "old-version": ({"Sec-WebSocket-Version": "8"}, 426),
    "bad-key": ({"Sec-WebSocket-Key": "short"}, 400),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_bad_handshake_is_refused_over_http(start_server: Any, door: str, name: str) -> None:
    """Before the upgrade a refusal is an HTTP status. (What an ASGI server answers itself, it words itself.)"""
    headers, status = HANDSHAKES[name]
    async with start_server() as server:
        host = server.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        merged = {
            "Host": host,
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version": "13",
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in merged.items())
        writer.write(f"GET /ws HTTP/1.1\r\n{lines}\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            answer = (await reader.readline()).decode()
        writer.close()
        refused = int(answer.split()[1])
        assert refused == status or (door == "asgi" and 400 <= refused < 500), answer


async def test_a_page_of_the_host_itself_may_connect(running_server: Any) -> None:
    """The origin check lets the server's own pages in."""
    socket = await running_server.socket(origin=running_server.url)
    assert socket.subprotocol == "backchannel.v1.json"


async def test_a_flood_is_slowed_and_told_so(start_server: Any) -> None:
    """Past the burst every request is `rate_limited` with `retry_after`; another user is served all the while."""
    async with start_server(calls=5.0, burst=20) as server:
        alice, bob = await server.wire("alice"), await server.wire("bob")
        ids = [await alice.send("call", name="channel.list", data={}) for _ in range(60)]
        answers = [await alice.answer(request_id) for request_id in ids]
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert refused
        assert {answer["code"] for answer in refused} == {"rate_limited"}
        assert all(answer["retry"] and answer["retry_after"] > 0 for answer in refused)
        await bob.call("channel.list", {})


async def test_who_does_not_connect_is_cut_off(start_server: Any) -> None:
    """No `connect` in time: close code 4003."""
    async with start_server(connect_timeout=0.2) as server:
        wire = await server.wire()
        assert await wire.closed() == 4003


async def test_an_address_cannot_hold_everything(start_server: Any) -> None:
    """Over the limit per address the handshake is refused; under it again, it works again."""
    async with start_server(connections_per_address=2) as server:
        first, _ = await server.socket(), await server.socket()
        with pytest.raises(websockets.InvalidStatus):
            await server.socket()
        await first.close()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await server.socket()
                    return
                except websockets.InvalidStatus:
                    continue
