"""Questions that load a server in a way of their own: what they tell is sane, and they find what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import growth, mixed, native, servers

SECONDS = 0.4


async def test_members_of_rooms_do_everything_and_all_is_proven() -> None:
    """Sends, typing and queries at a fixed rate: every send comes to all of its room, every call is answered."""
    found = await mixed.mixed(servers.chat, SECONDS, rooms=2, members=3, rate=100)
    assert 0 < found["send p50"] <= found["send p99"]
    assert 0 < found["seen p50"] <= found["seen p99"]
    assert all(found[f"{name} p99"] > 0 for name in mixed.ACTIONS if name != "send")
    assert 0 < found["cores"] < 2


async def test_members_who_are_refused_are_told(tmp_path: Path) -> None:
    """Who sends to rooms that are not there has no result."""
    frames = tmp_path / "frames"
    frames.write_text("".join(f"{weight} {frame}\n" for weight, frame in mixed.ACTIONS.values()))
    async with servers.backchannel() as server:
        options: dict[str, native.Option] = {
            "frame": frames,
            "channels": 1,
            "listeners": 2,
            "seconds": 0.2,
            "stall": 0.3,
        }
        options |= {"tokens": servers.tokens(), "rate": 50, "cpu": 0, "spin": False}
        with pytest.raises(native.Broken, match=r"\d+ lost.*\d+ refused.*There is no command"):
            await native.run("mixed", server.ports, options)


async def test_a_query_beside_channels_that_are_listened_to() -> None:
    """The idle connections are there while the query is measured."""
    found = await growth.calls_beside(servers.backchannel, SECONDS, {"subscriptions": 5}, 20)
    assert found["cost"] > 0
    assert found["p99"] > 0


async def test_a_subscription_is_told_by_the_bytes_that_it_keeps() -> None:
    """From a hundred bytes to some thousands: neither nothing nor a connection."""
    found = await growth.each_subscription(servers.backchannel, 100, 100)
    assert 100 < found["memory"] < 8000
