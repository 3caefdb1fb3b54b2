"""Lanes: their numbers, and whose turn they are within a process."""

from __future__ import annotations

import asyncio

import pytest

from backchannel import Refused
from backchannel.store.lanes import LaneTurns, lane_numbers, lock_number

LOBBY = 5574444623013700114
MIGRATIONS = 7380343613801508231


def test_a_lanes_number_is_the_same_for_ever() -> None:
    """Processes of different versions serve side by side in a rolling restart: they must lock the same number."""
    assert lane_numbers("main", ["chat:lobby"]) == [lock_number("lane", "main", "chat:lobby")]
    assert lock_number("lane", "main", "chat:lobby") == LOBBY
    assert lock_number("migrations") == MIGRATIONS


def test_lanes_are_locked_in_one_order_and_once() -> None:
    """However they are named, all processes take them in the same order; a tenant's are its own; any text has one."""
    assert lane_numbers("main", ["a", "b", "c", "a"]) == lane_numbers("main", ["c", "b", "a"])
    assert not set(lane_numbers("main", ["a", "b"])) & set(lane_numbers("other", ["a", "b"]))
    assert -(2**63) <= lane_numbers("main", ["\ud800"])[0] < 2**63


async def test_turns_are_given_in_order() -> None:
    """First come, first served, also for who wants several; one who gives up is passed over and holds nothing."""
    turns, order = LaneTurns(5), list[str]()
    await turns.take([1])

    async def want(name: str, lanes: list[int]) -> None:
        await turns.take(lanes)
        order.append(name)
        await asyncio.sleep(0)
        turns.give_back(lanes)

    tasks = [asyncio.create_task(want(name, lanes)) for name, lanes in (("a", [1, 2]), ("b", [0, 1]), ("c", [1]))]
    free = asyncio.create_task(want("free", [2, 3]))
    await free
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    turns.give_back([1])
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == ["free", "a", "c"]
    assert (turns._turns, turns._wanted) == ({}, {})


async def test_a_turn_that_does_not_come_is_refused() -> None:
    """Whoever waits for too long is told so, and keeps nothing that it had taken."""
    turns = LaneTurns(0.01)
    await turns.take([2])
    with pytest.raises(Refused, match="unavailable"):
        await turns.take([1, 2, 3])
    await turns.take([1, 3])
    turns.give_back([1, 3])
    turns.give_back([2])
    assert turns._turns == {}
