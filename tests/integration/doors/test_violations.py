"""What breaks the rules gets the documented answer, and costs nobody else anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

MASK = b"\x00\x00\x00\x00"
LIMIT = 65_536


def masked(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


EVERYWHERE: list[tuple[str, bytes, int]] = [
    ("unmasked", b"\x81\x01a", 1002),
    ("RSV1", b"\xc1\x80" + MASK, 1002),
    ("RSV3", b"\x91\x80" + MASK, 1002),
    ("reserved opcode 3", b"\x83\x80" + MASK, 1002),
    ("reserved opcode b", b"\x8b\x80" + MASK, 1002),
    ("fragmented ping", b"\x09\x80" + MASK, 1002),
    ("ping of 126 bytes", b"\x89\xfe\x00\x7e" + MASK + b"x" * 126, 1002),
    ("continuation of nothing", b"\x80\x80" + MASK, 1002),
    ("message within a message", masked(b"a", fin=False) + masked(b"b"), 1002),
    ("not UTF-8", b"\x81\x82" + MASK + b"\xc3\x28", 1007),
    ("not UTF-8 across fragments", b"\x01\x81" + MASK + b"\xc3" + b"\x80\x81" + MASK + b"\x28", 1007),
    ("binary on the text subprotocol", masked(b"{}", 2), 1003),
    ("one byte too large", masked(b"x" * (LIMIT + 1)), 1009),
    ("too large in fragments", masked(b"x" * LIMIT, fin=False) + masked(b"x", 0), 1009),
    ("only the header of 4 GiB", b"\x81\xff\x00\x00\x00\x01\x00\x00\x00\x00" + MASK, 1009),
    ("close code 999", masked(b"\x03\xe7", 8), 1002),
    ("close code 1005", masked(b"\x03\xed", 8), 1002),
    ("close code 1006", masked(b"\x03\xee", 8), 1002),
    ("close of one byte", masked(b"\x03", 8), 1002),
    ("close reason not UTF-8", masked(b"\x03\xe8\xff", 8), 1007),
]  # fmt: skip

OWN_DOOR: list[tuple[str, bytes, int]] = [
    ("16-bit length for 5 bytes", b"\x81\xfe\x00\x05" + MASK + b"hello", 1002),
    ("64-bit length for 5 bytes", b"\x81\xff\0\0\0\0\0\0\0\x05" + MASK + b"hello", 1002),
    ("64-bit length with the top bit", b"\x81\xff\x80\0\0\0\0\0\0\0" + MASK, 1002),
    ("endless empty fragments", masked(b"", fin=False) + masked(b"", 0, fin=False) * 1100, 1009),
    ("much after the violation", b"\xff\xff" + b"x" * 1_000_000, 1002),
]  # fmt: skip


def check_violation(server: Any, data: bytes, code: int) -> None:
    """The message before it is answered, it gets its close code, and the end is in order."""
    with server.client() as client:
        client.open()
        connection = server.gateway.latest
        client.echo(b"before")
        client.send(data)
        assert client.message().close_code == code
        if server.kind != "asgi":  # uvicorn resets what it has not read
            client.send(masked(code.to_bytes(2, "big"), 8))
            assert client.ended()
    connection.wait_for("lost")
    server.serves_others()


@pytest.mark.parametrize(("data", "code"), [v[1:] for v in EVERYWHERE], ids=[v[0] for v in EVERYWHERE])
def test_violations(any_door: Any, data: bytes, code: int) -> None:
    """The framing's violations have the same close codes at every door."""
    check_violation(any_door, data, code)


@pytest.mark.parametrize(
    ("data", "code"), [v[1:] for v in EVERYWHERE + OWN_DOOR], ids=[v[0] for v in EVERYWHERE + OWN_DOOR]
)
def test_violations_at_our_own_door(own_door: Any, data: bytes, code: int) -> None:
    """On asyncio and on uvloop, sniffed or by uvicorn's way; here also what other servers let pass."""
    check_violation(own_door, data, code)


def test_text_on_the_binary_subprotocol(any_door: Any) -> None:
    """MessagePack is binary."""
    with any_door.client() as client:
        headers = client.open(b"Sec-WebSocket-Protocol: backchannel.v1.msgpack\r\n")
        assert headers["sec-websocket-protocol"] == "backchannel.v1.msgpack"
        client.echo(b"\x81\xff", 2)
        client.send_frame(b"{}", 1)
        assert client.message().close_code == 1003
    any_door.serves_others()


def test_answers_before_the_violation_are_sent(own_door: Any) -> None:
    """What came before the violation in the same read is answered before the close."""
    with own_door.client() as client:
        client.open()
        client.send(masked(b"one") + masked(b"two") + b"\x83\x80" + MASK)
        assert [client.message().payload for _ in range(2)] == [b"one", b"two"]
        assert client.message().close_code == 1002


KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
REQUEST = b"GET /ws HTTP/1.1\r\n"
GOOD = b"Host: localhost\r\n" + UPGRADE + KEY + b"Sec-WebSocket-Version: 13\r\n"

HANDSHAKES: list[tuple[str, bytes, int, str]] = [
    ("foreign origin", REQUEST + GOOD + b"Origin: https://evil.example\r\n\r\n", 403, "forbidden"),
    ("origin null", REQUEST + GOOD + b"Origin: null\r\n\r\n", 403, "forbidden"),
    ("unknown subprotocol", REQUEST + GOOD + b"Sec-WebSocket-Protocol: chat, soap\r\n\r\n", 400, "invalid"),
    ("no upgrade", b"GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n", 426, "invalid"),
]  # fmt: skip

OWN_HANDSHAKES: list[tuple[str, bytes, int, str]] = [
    ("version 8", REQUEST + GOOD.replace(b"13", b"8") + b"\r\n", 426, "invalid"),
    ("no version", REQUEST + GOOD.replace(b"Sec-WebSocket-Version: 13\r\n", b"") + b"\r\n", 426, "invalid"),
    ("no key", REQUEST + GOOD.replace(KEY, b"") + b"\r\n", 400, "invalid"),
    ("short key", REQUEST + GOOD.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ=") + b"\r\n", 400, "invalid"),
    ("two keys", REQUEST + GOOD + KEY + b"\r\n", 400, "invalid"),
    ("two origins", REQUEST + GOOD + b"Origin: http://a\r\nOrigin: http://b\r\n\r\n", 400, "invalid"),
    ("two hosts", REQUEST + GOOD + b"Host: evil.example\r\n\r\n", 400, "invalid"),
    ("no host", REQUEST + GOOD.replace(b"Host: localhost\r\n", b"") + b"\r\n", 400, "invalid"),
    ("POST", b"POST /ws HTTP/1.1\r\n" + GOOD + b"\r\n", 405, "invalid"),
    ("other path", b"GET /socket HTTP/1.1\r\n" + GOOD + b"\r\n", 404, "not_found"),
    ("body", REQUEST + GOOD + b"Content-Length: 5\r\n\r\nhello", 400, "invalid"),
]  # fmt: skip

SNIFFED_HANDSHAKES: list[tuple[str, bytes, int, str]] = [
    ("NUL in a header", REQUEST + GOOD + b"X-A: a\x00b\r\n\r\n", 400, "invalid"),
    ("bare LF", REQUEST + GOOD + b"X-A: a\nX-B: b\r\n\r\n", 400, "invalid"),
    ("folded header", REQUEST + GOOD + b"X-A: a\r\n b\r\n\r\n", 400, "invalid"),
    ("name not ASCII", REQUEST + GOOD + b"X-\xc3\xa9: a\r\n\r\n", 400, "invalid"),
    ("space before the colon", REQUEST + GOOD + b"X-A : a\r\n\r\n", 400, "invalid"),
    ("HTTP/1.0", b"GET /ws HTTP/1.0\r\n" + GOOD + b"\r\n", 505, "invalid"),
    ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "invalid"),
    ("large head", REQUEST + GOOD + b"X-A: " + b"a" * 9000 + b"\r\n\r\n", 431, "too_large"),
    ("large head without end", REQUEST + GOOD + b"X-A: " + b"a" * 200_000, 431, "too_large"),
    ("many headers", REQUEST + GOOD + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431, "too_large"),
]  # fmt: skip


def check_handshake(server: Any, request: bytes, status: int, code: str) -> None:
    """It is answered by a problem that tells the cure, and the connection ends in order."""
    with server.client() as client:
        client.send(request)
        got, headers, body = client.response()
        problem = json.loads(body)
        assert (got, headers["content-type"]) == (status, "application/problem+json")
        assert (problem["status"], problem["code"], problem["outcome"]) == (status, code, "none")
        assert problem["detail"].endswith(".")
        if headers.get("connection") == "close":
            assert client.ended()
    server.serves_others()


def params(table: list[tuple[str, bytes, int, str]]) -> pytest.MarkDecorator:
    """A table as parameters."""
    return pytest.mark.parametrize(("request_", "status", "code"), [h[1:] for h in table], ids=[h[0] for h in table])


@params(HANDSHAKES)
def test_handshakes(any_door: Any, request_: bytes, status: int, code: str) -> None:
    """A handshake that may not be is refused with the same status at every door."""
    check_handshake(any_door, request_, status, code)


@params(HANDSHAKES + OWN_HANDSHAKES)
def test_handshakes_at_our_own_door(own_door: Any, request_: bytes, status: int, code: str) -> None:
    """Every rule of the opening handshake, sniffed or by uvicorn's way."""
    check_handshake(own_door, request_, status, code)


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def sniffed(request: pytest.FixtureRequest, run_server: Any) -> Any:
    """A server that looks at the first read itself."""
    with run_server("sniffed", request.param, head_timeout=0.2) as server:
        yield server


@params(SNIFFED_HANDSHAKES)
def test_malformed_heads(sniffed: Any, request_: bytes, status: int, code: str) -> None:
    """A head that two parsers could read differently is refused, also where another parser would take it."""
    check_handshake(sniffed, request_, status, code)


@pytest.mark.parametrize("start", [b"GET /ws HT", REQUEST + b"Host: local", b"POST /v1/x HTTP/1.1\r\nHos"])
def test_heads_that_never_end(sniffed: Any, start: bytes) -> None:
    """A head that does not come in time is refused (a slow one holds nothing for long)."""
    check_handshake(sniffed, start, 408, "invalid")


def test_silent_connections(sniffed: Any) -> None:
    """A connection on which nothing is asked is closed without a word."""
    with sniffed.client() as client:
        assert client.ended()
    sniffed.serves_others()


def test_known_subprotocols_are_told(any_door: Any) -> None:
    """The refusal of an unknown offer lists what would do."""
    with any_door.client() as client:
        client.send(REQUEST + GOOD + b"Sec-WebSocket-Protocol: chat\r\n\r\n")
        _, _, body = client.response()
        assert json.loads(body)["details"] == {"subprotocols": ["backchannel.v1.json", "backchannel.v1.msgpack"]}
