"""The load of chat: what is sent is answered and seen, and what is not seen is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import chat, measured, native, servers

SECONDS = 0.3


async def test_every_message_is_answered_and_seen() -> None:
    """All members listen; the figures are there, the proof that nobody missed a message is the generator's."""
    figures = await chat.chat(servers.chat, SECONDS, listeners=10)
    assert figures["rate"] > 100
    assert 0 < figures["p50"] <= figures["p99"]
    assert figures["seen"] > 0


async def test_messages_keep_their_rate() -> None:
    """In the open loop as many are sent as the rate and the time say."""
    figures = await chat.chat(servers.chat, SECONDS, listeners=1, rate=200)
    assert figures["rate"] == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (
            '{"type":"call","id":@ID@,"name":"typing.start","data":{"channel":"chat:room@CHANNEL@","x":"@STAMP@"}}',
            "lost",
        ),
        ('{"type":"call","id":@ID@,"name":"message.send","data":{"channel":"chat:away","text":"@STAMP@"}}', "refused"),
    ],
)
async def test_a_message_that_nobody_sees_is_found(tmp_path: Path, frame: str, found: str) -> None:
    """A call that causes no event with its stamp is lost, though it was answered; a refused one is both."""
    (tmp_path / "frame").write_text(frame)
    options: dict[str, native.Option] = {
        "frame": tmp_path / "frame",
        "connections": 3,
        "channels": 3,
        "listeners": 1,
        "prefix": "chat:room",
        "seconds": 0.1,
        "warmup": 0.0,
        "stall": 0.5,
        "rate": 50,
    }
    async with servers.chat() as server:
        await chat.furnish(server)
        with pytest.raises(native.Broken, match=rf"\d+ {found}"):
            await measured.load(server, "calls", options)
