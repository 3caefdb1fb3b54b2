"""The codecs on every codec vector: bytes to frame, frame to bytes, and the answer to what is no frame."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest

from backchannel_protocol import JSON, MSGPACK, Codec, Malformed

Plain = dict[str, Any]
Equal = Callable[[Any, Any], bool]

CODECS = {"json": JSON, "msgpack": MSGPACK}


def message_of(vector: Plain) -> bytes:
    """The message in the encoding that is tested."""
    if vector["encoding"] == "msgpack":
        return bytes.fromhex(vector["msgpack"])
    return str(vector["json"]).encode() if "json" in vector else bytes.fromhex(vector["json_hex"])


def plain(codec: Codec, frame: Any) -> Any:
    """A frame as plain data, by a library that is not the codec's own."""
    encoded = codec.encode(frame)
    return msgpack.unpackb(encoded) if codec.binary else json.loads(encoded)


def test_bytes_and_frames(codec_vector: Plain, equal: Equal) -> None:
    """What is a frame is read as it is told, and written so that another library reads the same; what is none is
    refused as `invalid`, with the request's id where that can be read."""
    codec = CODECS[codec_vector["encoding"]]
    message = message_of(codec_vector)
    decode = codec.decode_client if codec_vector["from"] == "client" else codec.decode_server
    if "frame" in codec_vector:
        found = plain(codec, decode(message))
        assert equal(found, codec_vector["frame"]), found
        again = plain(codec, decode(codec.encode(codec_vector["frame"])))
        assert equal(again, codec_vector["frame"]), again
        return
    with pytest.raises(Malformed) as refused:
        decode(message)
    assert refused.value.code == "invalid"
    assert refused.value.message
    assert refused.value.request_id == codec_vector["invalid"].get("id")


def test_every_type_of_frame_has_a_vector(all_documents: dict[str, Plain]) -> None:
    """No frame was added without one."""
    told = {
        vector["frame"]["type"]
        for document in all_documents.values()
        if document["kind"] == "codec"
        for vector in document["vectors"]
        if "frame" in vector
    }
    client = "connect subscribe unsubscribe call cancel publish history presence refresh pong"
    server = "connected subscribed reply error event presence gap unsubscribed ping move"
    assert told == {*client.split(), *server.split()}
