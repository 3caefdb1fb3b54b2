"""Decoders that know nothing of each other agree: JSON and MessagePack in Python, and both of the TypeScript client.

What they are fed grows from the codec vectors: valid messages, with other data, other fields, and bytes changed. The
seed is fixed, so a failure is found again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backchannel_protocol import JSON, MSGPACK, Codec, Malformed

Plain = dict[str, Any]
Encoding = Literal["json", "msgpack"]

ROOT = Path(__file__).parents[2]
CLIENT_JS = ROOT / "client_js"
CODECS: Final[dict[Encoding, Codec]] = {"json": JSON, "msgpack": MSGPACK}

SETTINGS = settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class TypeScript:
    """The TypeScript client's codecs, in a process of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", "test/decode_lines.mjs"],
            cwd=CLIENT_JS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, encoding: Encoding, **what: Any) -> Plain:
        """Send one line, get one line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"codec": encoding, **what}) + "\n")
        self._process.stdin.flush()
        found: Plain = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(10) == 0


@pytest.fixture(scope="module")
def typescript() -> Iterator[TypeScript]:
    """The codecs of client_js, where Node and its packages are there."""
    if shutil.which("node") is None or not (CLIENT_JS / "node_modules" / "vite").exists():
        pytest.fail("Node or the packages of client_js are not installed: npm ci in client_js")
    process = TypeScript()
    yield process
    process.close()


# What they are fed


@cache
def seeds(side: str) -> list[Plain]:
    """The frames of the codec vectors that this side sends."""
    documents = [json.loads(file.read_text()) for file in sorted((ROOT / "protocol/vectors/codec").glob("*.json"))]
    vectors = [vector for document in documents for vector in document["vectors"]]
    return [vector["frame"] for vector in vectors if vector["from"] == side and "frame" in vector]


integers = st.integers(-(2**53) + 1, 2**53 - 1)
texts = st.text(max_size=12) | st.sampled_from(
    ["", "chat:lobby", "e1", "a.b", "__proto__", "constructor", "0", "new", "slow"]
)
# JavaScript writes a whole number beyond 2^53 as an integer, which ENC-3 refuses: it has no other way to say it.
floats = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: not x.is_integer() or abs(x) < 2**53)
scalars = st.none() | st.booleans() | integers | floats | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
FIELDS: Final = """
type id channel data offset epoch verdict from to reason count members joined left revision time positions resume since
limit key timeout name user subject message code retry outcome details token extra __proto__
"""
fields = st.sampled_from(FIELDS.split())


@st.composite
def frames(draw: st.DrawFn, side: str) -> Plain:
    """A frame, mostly: fields replaced, added or taken away."""
    frame = dict(draw(st.sampled_from(seeds(side))))
    if "data" in frame:
        frame["data"] = draw(values)
    for field in draw(st.lists(fields, max_size=2)):
        if draw(st.booleans()):
            frame[field] = draw(values)
        else:
            frame.pop(field, None)
    return frame


@st.composite
def messages(draw: st.DrawFn, encoding: Encoding) -> bytes:
    """The bytes of a frame, changed here and there."""
    message = bytearray(encoded(encoding, draw(frames("server"))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(message)))
        end = min(len(message), at + draw(st.integers(0, 4)))
        message[at:end] = draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b"{", b"}", b",", b"1e999", b"\xc1", b"\xc0"])
        )
    return bytes(message)


def encoded(encoding: Encoding, value: Any) -> bytes:
    """By the libraries that are none of ours."""
    if encoding == "msgpack":
        return bytes(msgpack.packb(value))
    return json.dumps(value, ensure_ascii=False).encode()


# How they are compared


def read(encoding: Encoding, message: bytes, side: str = "server") -> Plain | None:
    """What Python reads from a message, as plain data; None if it refuses."""
    codec = CODECS[encoding]
    try:
        frame = (codec.decode_server if side == "server" else codec.decode_client)(message)
    except Malformed:
        return None
    again = codec.encode(frame)
    found: Plain = msgpack.unpackb(again) if codec.binary else json.loads(again)
    return found


def same(one: Any, other: Any) -> bool:
    """Equality of the JSON data model."""
    return json.dumps(plain_numbers(one), sort_keys=True) == json.dumps(plain_numbers(other), sort_keys=True)


def plain_numbers(value: Any) -> Any:
    """7.0 as 7, as JavaScript has it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: plain_numbers(item) for key, item in value.items()}
    return [plain_numbers(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("side", ["client", "server"])
def test_json_and_messagepack_agree(side: str) -> None:
    """The same value is a frame in both encodings, the same one, or in none."""

    @SETTINGS
    @given(frames(side))
    def check(frame: Plain) -> None:
        texts, binary = (read(encoding, encoded(encoding, frame), side) for encoding in CODECS)
        assert (texts is None) == (binary is None), (texts, binary)
        assert same(texts, binary)

    check()


@pytest.mark.parametrize("encoding", CODECS)
def test_python_and_typescript_agree(encoding: Encoding, typescript: TypeScript) -> None:
    """What Python reads, TypeScript reads, and reads the same.

    What only TypeScript reads, since it trusts its server and checks no field, is no frame to Python by its value
    either: they differ in what they check, not in what they see.
    """

    @SETTINGS
    @given(messages(encoding))
    @example(b'{"type":"reply","id":1,"data":{"__proto__":{"x":1}}}')
    @example(b'{"type":"reply","id":1,"data":"\\ud800"}')
    @example(b'{"type":"reply","id":1,"data":1e999}')
    @example(b'{"type":"reply","id":1,"data":9007199254740993}')
    @example(b'{"type":"reply","id":1,"data":-0}')
    @example(b"")
    def check(message: bytes) -> None:
        python = read(encoding, message)
        script = typescript.ask(encoding, decode=message.hex())
        if python is not None:
            assert "frame" in script, python
        if "frame" not in script:
            assert python is None
            return
        if not script["exact"]:
            return
        seen = read("json", json.dumps(script["frame"]).encode())
        assert (seen is None) == (python is None), (python, script)
        assert same(seen, python), (python, seen)

    check()


@pytest.mark.parametrize("encoding", CODECS)
def test_what_typescript_writes_python_reads(encoding: Encoding, typescript: TypeScript) -> None:
    """A client's frame that Python would read in JSON arrives as that frame from TypeScript, in both encodings."""

    @SETTINGS
    @given(frames("client"))
    def check(frame: Plain) -> None:
        expected = read("json", encoded("json", frame), "client")
        if expected is None:
            return
        written = typescript.ask(encoding, encode=frame)
        assert "hex" in written
        assert same(read(encoding, bytes.fromhex(written["hex"]), "client"), expected)

    check()
