"""The question about compression: its own listeners tell what is there, and find what is wrong."""

from __future__ import annotations

import functools
import random
import zlib

import pytest
from benchmarks import native, servers
from benchmarks.compression import chat_text, deliver

SECONDS = 0.2


async def test_the_same_events_take_fewer_bytes() -> None:
    """Whether compressed or not all events come to all listeners, whole; compressed in less than two thirds."""
    plain = await deliver(servers.backchannel, listeners=3, size=2000, rate=50, seconds=SECONDS, offer=False)
    start = functools.partial(servers.backchannel, {"compression": "200"})
    compressed = await deliver(start, listeners=3, size=2000, rate=50, seconds=SECONDS, offer=True)
    assert compressed["bytes"] < plain["bytes"] * 2 / 3
    assert plain["bytes"] > 2000
    for figures in (plain, compressed):
        assert figures["event"] == pytest.approx(3 * figures["cost"])


async def test_a_server_that_does_not_compress_is_no_result() -> None:
    """Figures of compression are never those of a server that has it off."""
    with pytest.raises(native.Failed, match="no compression was agreed"):
        await deliver(servers.backchannel, listeners=1, size=300, rate=10, seconds=SECONDS, offer=True)


def test_texts_compress_as_chat_does() -> None:
    """Neither one word again and again nor noise: a text of three thousand characters to between a third and a half."""
    text = chat_text(3000, random.Random(1))
    assert len(text) == 3000
    assert 1000 < len(zlib.compress(text.encode(), 6)) < 1500
