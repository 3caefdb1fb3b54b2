"""Holes that others had, tried on us: one test per published vulnerability of a kind that we could have.

Not here, since nothing of ours speaks to Redis yet: CVE-2023-28858 and CVE-2023-28859 (redis-py: a cancelled command's
reply goes to the next caller), CVE-2025-49844, CVE-2026-23479, CVE-2026-21863, CVE-2026-27623 and CVE-2024-31228 (Redis
and Valkey themselves: minimum versions, never exposed, no patterns from clients).
"""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import hmac
import json
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]
import pytest
import websockets

if TYPE_CHECKING:
    from .conftest import Signer, Start, Target

ROOT = Path(__file__).parents[2]
SOURCES = [path for folder in ("server", "protocol", "client_py") for path in (ROOT / folder).rglob("*.py")]
PATIENCE = 10.0

MakeSigner = Callable[[str, str], "Signer"]


def part(value: dict[str, Any]) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    """A masked WebSocket frame, the mask being zero."""
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = b"\xfe" + struct.pack(">H", size)
    else:
        length = b"\xff" + struct.pack(">Q", size)
    return bytes([first]) + length + b"\0\0\0\0" + payload


def close_code(answer: bytes) -> int:
    """The code of the close frame at the end of what came."""
    marker = answer.rfind(b"\x88")
    return int.from_bytes(answer[marker + 2 : marker + 4], "big")


# Tokens


async def test_cve_2026_32301_no_address_is_made_of_claims(start: Start, signer: MakeSigner) -> None:
    """CVE-2026-32301 (Centrifugo): `iss` and `aud` of a token that nobody had verified became the URL of its keys.

    Here it would mean that any stranger sends the server's requests wherever they like, and is let in with keys of
    their own. A listener that such a token names in every way must hear nothing.
    """
    asked = asyncio.Event()

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    trap = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{trap.sockets[0].getsockname()[1]}"
    good, evil = signer("https://id.example.org", "1"), signer(url, "1")
    async with trap, start(jwks=(good.setting,)) as target:
        header = {"jku": f"{url}/jku", "x5u": f"{url}/x5u", "jwk": evil.jwk}
        for kid in ("1", "2", f"{url}/kid"):
            assert await target.refusal(evil.token("root", aud=[url, "backchannel"], header={**header, "kid": kid}))
        assert await target.refusal(good.token("alice")) == ""
    assert not asked.is_set()


async def test_cve_2026_49998_two_issuers_with_one_key_id(start: Start, signer: MakeSigner) -> None:
    """CVE-2026-49998 (Centrifugo): keys were cached by `kid` alone, so one issuer's key verified another's tokens.

    Here it would mean that whoever runs one trusted issuer passes for another. Each must speak for itself, whichever
    was asked first, also when both are asked for at once.
    """
    one, two = signer("https://one.example.org", "same"), signer("https://two.example.org", "same")
    async with start(jwks=(one.setting, two.setting)) as target:
        tokens = [one.token("a"), two.token("b"), one.token("c", iss=two.issuer), two.token("d", iss=one.issuer)]
        codes = await asyncio.gather(*(target.refusal(token) for token in tokens * 3))
        assert codes == ["", "", "unauthenticated", "unauthenticated"] * 3


@pytest.mark.parametrize("crit", [["urn:example:unknown"], ["b64"], ["exp"], []])
async def test_cve_2026_32597_unknown_extensions_are_not_ignored(target: Target, crit: list[str]) -> None:
    """CVE-2026-32597 (PyJWT): a `crit` header was not looked at.

    Here it would mean that a token is accepted although its issuer said that whoever does not understand a condition
    must refuse it.
    """
    head, claims, _ = target.token("alice").split(".")
    head = part({"alg": "HS256", "crit": crit, "b64": True})
    secret = (target.server.settings.data_folder / "secret").read_bytes()
    mac = hmac.new(secret, f"{head}.{claims}".encode(), hashlib.sha256).digest()
    token = f"{head}.{claims}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert await target.refusal(token) == "unauthenticated"


async def test_cve_2026_48523_the_keys_algorithm_counts(start: Start, signer: MakeSigner) -> None:
    """CVE-2026-48523 (PyJWT): with a JWK, the header's algorithm was used if any key's list had it.

    Here it would mean that a public key, which everybody has, serves as the secret of an HMAC.
    """
    issuer = signer("https://id.example.org", "1")
    async with start(jwks=(issuer.setting,)) as target:
        claims = issuer.token("root").split(".")[1]
        for alg in ("HS256", "none", "ES384", "RS256"):
            head = part({"alg": alg, "kid": "1"})
            for secret in (issuer.file.read_bytes(), json.dumps(issuer.jwk).encode(), b""):
                mac = hmac.new(secret, f"{head}.{claims}".encode(), hashlib.sha256).digest()
                signature = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
                assert await target.refusal(f"{head}.{claims}.{signature}") == "unauthenticated"
            assert await target.refusal(f"{head}.{claims}.") == "unauthenticated"


# Handshake and framing


async def test_ghsa_f53g_frr2_jhpf_a_foreign_page_does_not_connect(target: Target) -> None:
    """GHSA-f53g-frr2-jhpf (Gitpod): any page could open a WebSocket with the visitor's cookie.

    Here it would mean that a page elsewhere acts as whoever looks at it. Foreign origins are refused, with whatever
    cookie, and a cookie by itself is nobody.
    """
    cookie = f"token={target.token('alice')}; session=1"
    for origin in (
        "https://evil.example",
        "null",
        f"http://127.0.0.1:{target.port}.evil.example",
        "http://127.0.0.1:1",
    ):
        answer = await target.raw(target.upgrade(Origin=origin, Cookie=cookie))
        assert answer.startswith(b"HTTP/1.1 403"), origin
    status, _ = await target.http("POST", "/v1/channel.list", Cookie=cookie)
    assert status == 401


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\x00" * 64,
        b"4" * 100_000,
        b'{"type":"connect","id":1,"token":{"__proto__":1}}',
        b'{"type":"connect","id":1,"token":null,"resume":{"a":null}}',
        b'{"type":null}',
        b'451-["x",{"_placeholder":true,"num":0}]',
        b"[" * 50_000,
        b'{"id":1e400,"type":"connect"}',
        "\ud7ff\u2028".encode(),
    ],
)
async def test_cve_2022_21676_no_first_message_stops_the_process(target: Target, first: bytes) -> None:
    """CVE-2022-21676, CVE-2023-32695, CVE-2024-38355 (engine.io, socket.io): one malformed packet, sent before any
    authentication, ended the process.

    Here it would mean that anybody ends everybody's connection.
    """
    for opcode in (1, 2):
        await target.raw(target.upgrade(), frame(opcode, first), frame(8, b"\x03\xe8"))
    await target.works()


async def test_cve_2026_48804_an_unfinished_message_is_bounded(target: Target) -> None:
    """CVE-2026-48804 (python-socketio): the parts of a message that never became complete were all kept.

    Here it would mean that a few connections fill the memory. The frame limit holds for the sum of the parts, long
    before the last one.
    """
    parts = [frame(1, b"x" * 1000, fin=False), *[frame(0, b"x" * 1000, fin=False)] * 100]
    assert close_code(await target.raw(target.upgrade(), *parts)) == 1009
    await target.works()


async def test_socket_io_parser_2026_03_many_parts_are_no_burden(target: Target) -> None:
    """socket.io-parser, March 2026: the number of parts that one message announces was not limited.

    Here it would mean that empty fragments, which no limit on bytes counts, cost memory or time. A hundred thousand
    are worked off at once and leave nothing behind.
    """
    connect = json.dumps({"type": "connect", "id": 1, "token": target.token("alice")}).encode()
    began = time.monotonic()
    parts = frame(1, connect, fin=False) + frame(0, b"", fin=False) * 100_000 + frame(0, b"")
    answer = await target.raw(target.upgrade(), parts, frame(8, b"\x03\xe8"))
    assert b'"type":"connected"' in answer or close_code(answer) in (1002, 1008, 1009)
    assert time.monotonic() - began < PATIENCE
    await target.works()


async def test_cve_2018_1000518_a_compressed_message_is_not_inflated(target: Target) -> None:
    """CVE-2018-1000518 (websockets): a compressed message was inflated beyond the size limit.

    Here it would mean that a few kilobytes become gigabytes of memory. By default compression is not agreed to,
    whatever is offered, and a frame that claims to be compressed ends the connection; where an operator wants it,
    tests/unit/gateway/test_deflate.py has the bomb.
    """
    deflate = zlib.compressobj(wbits=-15)
    bomb = deflate.compress(b"\0" * 50_000_000) + deflate.flush(zlib.Z_SYNC_FLUSH)
    offer = target.upgrade(Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits")
    answer = await target.raw(offer, frame(1, bomb[:-4], rsv1=True))
    assert b"permessage-deflate" not in answer
    assert close_code(answer) == 1002
    await target.works()


# Decoders


def nested(depth: int) -> bytes:
    """A MessagePack call whose data nests so deep."""
    head = msgpack.packb({"type": "call", "id": 7, "name": "channel.list"})
    return bytes(b"\x84" + head[1:] + msgpack.packb("data") + b"\x91" * depth + b"\xc0")


@pytest.mark.parametrize(
    "bytes_",
    [
        nested(60_000),
        b"\x83" + b"\xa4type\xa4call\xa2id\x07\xa4data\xc9\xff\xff\xff\xff\x01",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff\x01",
        b"\x83" + b"\xa4type\xa4call\xa2id\x07\xa4data\xdb\xff\xff\xff\xff",
        b"\x83" + b"\xa4type\xa4call\xa2id\x07\xa4data\xc6\x7f\xff\xff\xff",
    ],
    ids=["nesting", "ext32", "map32", "array32", "str32", "bin32"],
)
async def test_cve_2026_26209_claimed_lengths_and_depths_cost_nothing(target: Target, bytes_: bytes) -> None:
    """CVE-2026-26209 (cbor2) and CVE-2026-21452 (msgpack-java): deep nesting overflowed the stack, and a length of
    four gigabytes that a header claims was allocated.

    Here it would mean that one small message ends the process. It is `invalid`, and the connection goes on.
    """
    async with target.session("", "backchannel.v1.msgpack") as (socket, _):
        await socket.send(bytes_)
        answer = msgpack.unpackb(await socket.recv())
        assert (answer["type"], answer["code"]) == ("error", "invalid")
        await socket.send(msgpack.packb({"type": "connect", "id": 1, "token": target.token("alice")}))
        assert msgpack.unpackb(await socket.recv())["type"] == "connected"


def test_cve_2025_61765_nothing_unpickles() -> None:
    """CVE-2025-61765 (python-socketio): what came over the message bus was unpickled.

    Here it would mean that whoever reaches the bus runs code in every process. No module of ours imports anything that
    can turn bytes into code.
    """
    forbidden = {"pickle", "cPickle", "dill", "marshal", "shelve", "cloudpickle", "yaml", "jsonpickle"}
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
                names = ["pickle"]
            else:
                continue
            found += [str(path) for name in names if name.partition(".")[0] in forbidden]
    assert len(SOURCES) > 100
    assert found == []


# HTTP


@pytest.mark.parametrize("host", ["evil.example/public?", "a/../healthz#", "[::1", "x@y", "healthz:80/healthz", "é"])
async def test_cve_2026_48710_the_host_header_opens_nothing(target: Target, host: str) -> None:
    """CVE-2026-48710 (Starlette): `request.url` was put together with a `Host` that held a path, so that who judged by
    it judged another path than was served.

    Here it would mean a request without a token that passes for one that needs none. No rule of ours looks there.
    """
    for path in ("/v1/channel.list", "/v1/auth.revoke"):
        status, body = await target.http("POST", path, Host=host)
        assert status in (400, 401), (status, body)
    uses = [
        str(path)
        for path in (ROOT / "server").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("url", "base_url")
        if isinstance(node.value, ast.Name) and node.value.id in ("request", "_request", "websocket")
    ]
    assert uses == []


async def test_cve_2025_62727_many_ranges_are_no_burden(target: Target) -> None:
    """CVE-2025-62727 (Starlette): a `Range` header of many parts took quadratic time.

    Here it would mean that one request for a demo page holds the event loop, and everybody's messages, for minutes.
    """
    ranges = "bytes=" + ",".join(f"{n}-" for n in range(7000))
    began = time.monotonic()
    status, _ = await target.http("GET", "/", Range=ranges)
    assert status in (200, 206, 400, 416, 431)
    assert time.monotonic() - began < 2.0
    await target.works()


async def test_cve_2024_47874_forms_are_not_read(target: Target) -> None:
    """CVE-2024-47874 (Starlette): a form field of any length was kept in memory.

    Here it would mean that an upload fills it. A body that is no JSON is refused by its type, one that is too long by
    its length, and neither is read.
    """
    form = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 1000 + b"\r\n--x--\r\n"
    token = target.token("alice")
    headers = {"Authorization": f"Bearer {token}", "Content_Type": "multipart/form-data; boundary=x"}
    assert (await target.http("POST", "/v1/channel.list", form, **headers))[0] == 415
    announced = await target.raw(
        f"POST /v1/channel.list HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n".encode()
    )
    assert announced.startswith(b"HTTP/1.1 413")
    await target.works()


# Content


async def test_cve_2026_45076_no_message_breaks_the_history(target: Target) -> None:
    """CVE-2026-45076 (Synapse): one event of a strange form made every page of history that held it fail.

    Here it would mean that whoever posts one message takes everybody's past away. What is accepted can be read, by
    history, by the app's own pages, and on resume.
    """
    texts = [
        "\u202e\u2066x",
        "\ufeff",
        "\U0001f469\u200d" * 50,
        "\\u0000",
        "a\u0000b",
        '"]}',
        "\ufffe\uffff",
        "%s{0}$1",
    ]
    async with target.session(target.token("alice")) as (socket, _):
        answers: dict[int, dict[str, Any]] = {}

        async def ask(request_id: int, **request: Any) -> dict[str, Any]:
            await socket.send(json.dumps({"id": request_id, **request}))
            async with asyncio.timeout(PATIENCE):
                while request_id not in answers:
                    found = json.loads(await socket.recv())
                    answers[found.get("id", 0)] = found
            return answers[request_id]

        await ask(2, type="call", name="channel.join", data={"channel": "chat:lobby"})
        await ask(3, type="subscribe", channel="chat:lobby")
        taken = []
        for number, text in enumerate(texts, 10):
            data = {"channel": "chat:lobby", "text": text}
            answer = await ask(number, type="call", name="message.send", data=data)
            assert answer["type"] == "reply" or answer["code"] == "invalid", answer
            taken += [text] if answer["type"] == "reply" else []
        assert len(taken) >= 4
        page = await ask(30, type="history", channel="chat:lobby", limit=100)
        texts_told = [e["data"]["text"] for e in page["data"]["events"] if e["name"] == "message.created"]
        assert texts_told == taken
        listed = await ask(31, type="call", name="message.list", data={"channel": "chat:lobby"})
        assert [message["text"] for message in listed["data"]["messages"]] == taken
        offset, epoch = page["data"]["head"], page["data"]["epoch"]
    position = {"chat:lobby": {"epoch": epoch, "offset": offset - len(taken)}}
    connect = {"type": "connect", "id": 1, "token": target.token("alice"), "resume": position}
    async with websockets.connect(f"ws://127.0.0.1:{target.port}/ws") as again:
        await again.send(json.dumps(connect))
        resumed: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while len(resumed) < len(taken):
                told = json.loads(await again.recv())
                if told["type"] == "event" and told["name"] == "message.created":
                    resumed.append(told["data"]["text"])
        assert resumed == taken


async def test_cve_2022_41952_an_endless_document_is_given_up(start: Start) -> None:
    """CVE-2022-41952 (Synapse): the preview of a URL that never ends was read for ever.

    Here the only document that the server fetches is an issuer's key set: without a bound on time and size, an issuer
    that is broken would hold connections and memory.
    """
    gone = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[")
        try:
            while True:
                writer.write(b" " * 65536)
                await writer.drain()
        except ConnectionError:
            gone.set()

    endless = await asyncio.start_server(stream, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{endless.sockets[0].getsockname()[1]}/jwks.json"
    async with start(jwks=(f"https://id.example.org={url}",)) as target:
        async with asyncio.timeout(PATIENCE):
            await gone.wait()
            token = f"{part({'alg': 'ES256', 'kid': '1'})}.{part({'sub': 'alice'})}.AAAA"
            assert await target.refusal(token) == "unavailable"
        await target.works()
    endless.close()
