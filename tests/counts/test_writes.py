"""How often something is written, encoded and verified.

What the design demands, and these tests hold it to; none of it depends on how fast the machine is:

| what happens                                                   | count                                              |
|----------------------------------------------------------------|----------------------------------------------------|
| k events of a channel come in one tick                         | 1 write per listener, with all k messages in it    |
| a batch of the worker publishes k events                       | the same                                           |
| one event to any number of listeners                           | encoded once per encoding that somebody reads      |
| somebody resumes from events that are in memory                | not encoded again                                  |
| n pipelined queries come in one read                           | 1 write with n replies                             |
| n pipelined commands come in one read                          | at most 2 writes: one for each batch               |
| a token comes again                                            | its signature is verified once in its life         |
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from backchannel.auth.tokens import TokenVerifier
from backchannel.gateway import delivery
from backchannel.gateway.framing import frame
from backchannel.testing import Sandbox
from backchannel_protocol import JSON
from backchannel_protocol import frames as f

NewPeer = Callable[..., Any]

LISTENERS = 40
EVENTS = 16
CALLS = 32


def publish(value: int) -> dict[str, Any]:
    """The frame of a publish that wants no answer."""
    return {"type": "publish", "channel": "live:a", "name": "value.told", "data": {"value": value}}


async def test_what_comes_in_one_tick_leaves_in_one_write_per_listener(box: Sandbox, new_peer: NewPeer) -> None:
    """Sixteen events that a client publishes in one read cost every listener one write, in order, whole."""
    listeners = [await new_peer(box, binary=n % 2 == 1).open(f"user{n}", "live:a") for n in range(LISTENERS)]
    sender = await new_peer(box).open("sender")
    sender.read(publish(0))  # the right to publish is asked for once
    await box.settle()
    for listener in listeners:
        listener.socket.writes.clear()

    sender.read(*map(publish, range(EVENTS)))
    await box.settle()

    for listener in listeners:
        assert [len(messages) for messages in listener.messages()] == [EVENTS]
    values = [json.loads(message)["data"]["value"] for message in listeners[0].messages()[0]]
    assert values == list(range(EVENTS))
    assert sender.socket.writes == []


async def test_what_a_batch_publishes_leaves_in_one_write_per_listener(box: Sandbox, new_peer: NewPeer) -> None:
    """Sixteen durable events of one command cost every listener one write."""
    listeners = [await new_peer(box).open(f"user{n}", "log:a") for n in range(LISTENERS)]
    sender = await new_peer(box).open("sender")

    sender.read({"type": "call", "id": 9, "name": "value.tell", "data": {"channel": "log:a", "count": EVENTS}})
    await box.settle()

    assert [[len(messages) for messages in peer.messages()] for peer in listeners] == [[EVENTS]] * LISTENERS


async def test_an_event_is_encoded_once_per_encoding(
    box: Sandbox, new_peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many listen, and in whichever encodings: once for JSON, once for MessagePack, never for nobody."""
    counted = {"frames": 0}

    def counting(*args: Any) -> bytes:
        counted["frames"] += 1
        return frame(*args)

    monkeypatch.setattr(delivery, "frame", counting)
    sender = await new_peer(box).open("sender")
    peers = []
    for encodings, binaries in ((1, [False] * 10), (2, [True] * 10), (2, [False, True] * 10)):
        peers += [await new_peer(box, binary=b).open(f"user{encodings}{n}", "live:a") for n, b in enumerate(binaries)]
        sender.read(publish(0))
        await box.settle()
        counted["frames"] = 0
        sender.read(*map(publish, range(EVENTS)))
        await box.settle()
        assert counted["frames"] == EVENTS * encodings
    assert len(peers) == LISTENERS


async def test_who_resumes_gets_what_is_encoded_already(
    box: Sandbox, new_peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events that are still in memory are not encoded again for those who catch up, however many they are."""
    listener = await new_peer(box).open("listener")
    listener.read({"type": "subscribe", "id": 9, "channel": "live:a"})
    await box.settle()
    epoch = json.loads(listener.messages()[0][0])["epoch"]
    sender = await new_peer(box).open("sender")
    sender.read(*map(publish, range(EVENTS)))
    await box.settle()
    encoded: list[f.Event] = []

    def counting(told: Any) -> bytes:
        encoded.append(told)
        return JSON.encode(told)

    monkeypatch.setattr(delivery, "_to_json", counting)
    for number in range(10):
        late = await new_peer(box).open(f"user{number}")
        late.read({"type": "subscribe", "id": 9, "channel": "live:a", "since": {"epoch": epoch, "offset": 0}})
        await box.settle()
        assert sum(map(len, late.messages())) == 1 + EVENTS

    assert encoded == []


def calls(name: str, data: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """The frames of some calls, each with a key."""
    return [
        {"type": "call", "id": 100 + n, "name": name, "data": data(n), "key": f"key-number-{n}"} for n in range(CALLS)
    ]


def replies(writes: list[list[bytes]]) -> list[int]:
    """How many replies came with each write."""
    for messages in writes:
        assert {json.loads(message)["type"] for message in messages} == {"reply"}
    return [len(messages) for messages in writes]


async def test_the_answers_of_one_read_leave_in_one_write(box: Sandbox, new_peer: NewPeer) -> None:
    """Thirty-two queries that come in one read are answered in one write."""
    peer = await new_peer(box).open("alice")

    peer.read(*calls("value.ask", lambda n: {"value": n}))
    await box.settle()

    assert replies(peer.messages()) == [CALLS]


async def test_the_answers_of_a_batch_leave_in_one_write(box: Sandbox, new_peer: NewPeer) -> None:
    """Commands that come in one read make at most two batches, and each batch one write."""
    peer = await new_peer(box).open("alice")

    peer.read(*calls("value.tell", lambda n: {"channel": f"log:{n}"}))
    await box.settle()

    counted = replies(peer.messages())
    assert sum(counted) == CALLS
    assert len(counted) <= 2


async def test_a_token_that_comes_again_is_not_verified_again(
    box: Sandbox, new_peer: NewPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reconnects with its token costs no signature."""
    verified: list[str] = []
    signed = TokenVerifier._signed

    def counted(self: TokenVerifier, token: str) -> bytes:
        verified.append(token)
        return signed(self, token)

    monkeypatch.setattr(TokenVerifier, "_signed", counted)
    token = box.token("alice")
    for _ in range(20):
        peer = new_peer(box)
        peer.read({"type": "connect", "id": 1, "token": token})
        await box.settle()
        assert any(b'"connected"' in message for message in peer.socket.writes), peer.socket.writes
        peer.protocol.connection_lost(None)

    assert verified == [token]
