"""Fault points: armed once, taken by one, told before they strike."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from backchannel.store.store import KeyRow
from backchannel.testing.chaos.points import POINTS, Point, Points
from backchannel.testing.chaos.store import failing, sabotaged
from backchannel_protocol import Refused


class Transaction:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.did: list[str] = []

    async def keys(self, wanted: Any) -> dict[Any, Any]:
        self.did.append("keys")
        return {("a", "k"): object()}

    async def insert(self, *_: Any) -> None:
        self.did.append("insert")

    async def append(self, envelopes: Any) -> Any:
        self.did.append("append")
        return envelopes

    async def save_keys(self, _rows: Any) -> None:
        self.did.append("save_keys")

    async def execute(self, _statement: Any) -> None:
        self.did.append("terminate")
        raise Refused("unavailable", "The connection to the database was lost.", outcome="none")

    async def commit(self) -> None:
        self.did.append("commit")

    async def rollback(self) -> None:
        self.did.append("rollback")


class Store:
    """Hands out one transaction."""

    app = "main"

    def __init__(self) -> None:
        self.transaction = Transaction()

    async def begin(self, _lanes: Any) -> Transaction:
        return self.transaction


async def batch(store: Any) -> None:
    """What a worker does with a store."""
    transaction = await store.begin(["a"])
    try:
        await transaction.keys([("a", "k")])
        await transaction.insert("table", [{}])
        await transaction.append([])
        await transaction.save_keys([])
        await transaction.commit()
    except Refused:
        await transaction.rollback()
        raise


@pytest.fixture
def points(tmp_path: Path) -> Points:
    """An empty folder of points."""
    return Points(tmp_path)


def test_an_armed_point_is_taken_once_and_can_be_given_back(points: Points) -> None:
    """Of many workers one fails."""
    assert not points.waiting()
    assert points.take() is None
    points.arm(Point("written", "crash"))
    assert points.waiting()
    assert points.take() == Point("written", "crash")
    assert points.take() is None
    assert points.waiting()
    points.give_back()
    assert points.take() == Point("written", "crash")
    points.strike()
    assert not points.waiting()
    points.arm(Point("locked", "stop"))
    points.take()
    points.strike()
    assert [(strike.point, strike.pid) for strike in points.strikes()] == [
        (Point("written", "crash"), os.getpid()),
        (Point("locked", "stop"), os.getpid()),
    ]


def test_what_a_dead_worker_had_taken_waits_for_nobody(points: Points, tmp_path: Path) -> None:
    """A worker that was killed before its point came must not end the run's faults."""
    points.arm(Point("locked", "stop"))
    points.take()
    (tmp_path / f"taken-{os.getpid()}").rename(tmp_path / f"taken-{2**22 + 1}")
    assert not points.waiting()


@pytest.mark.parametrize(
    ("step", "outcome", "did"),
    [
        ("locked", "none", ["terminate", "rollback"]),
        ("looked_up", "none", ["keys", "terminate", "rollback"]),
        ("handled", "none", ["keys", "terminate", "rollback"]),
        ("written", "unknown", ["keys", "insert", "append", "save_keys", "rollback", "rollback"]),
        ("committed", "unknown", ["keys", "insert", "append", "save_keys", "commit", "rollback"]),
    ],
)
async def test_a_lost_connection_strikes_behind_its_step(
    points: Points, step: Any, outcome: str, did: list[str]
) -> None:
    """Nothing happened before the commit; behind it, what was asked for did, and the worker hears neither."""
    store = Store()
    points.arm(Point(step, "lost"))
    with pytest.raises(Refused) as caught:
        await batch(failing(store, points))  # type: ignore[arg-type]
    assert caught.value.outcome == outcome
    assert store.transaction.did == did
    assert [strike.point for strike in points.strikes()] == [Point(step, "lost")]


@pytest.mark.parametrize("point", [point for point in POINTS if point.blow != "lost"], ids=str)
async def test_a_process_fails_behind_its_step(points: Points, point: Point, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told first, then the process signals itself; a stopped one goes on where it was."""
    signals: list[tuple[int, str, list[str]]] = []
    store = Store()
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number.name, [*store.transaction.did])))
    points.arm(point)
    await batch(failing(store, points))  # type: ignore[arg-type]
    before = {
        "locked": [],
        "looked_up": ["keys"],
        "handled": ["keys"],
        "written": ["keys", "insert", "append", "save_keys"],
        "committed": ["keys", "insert", "append", "save_keys", "commit"],
    }[point.step]
    assert signals == [(os.getpid(), "SIGKILL" if point.blow == "crash" else "SIGSTOP", before)]
    assert [strike.point for strike in points.strikes()] == [point]
    await batch(failing(store, points))  # type: ignore[arg-type]
    assert len(signals) == 1


async def test_a_transaction_that_never_comes_to_the_point_leaves_it_to_another(points: Points) -> None:
    """A batch without keys has no step behind their look-up."""
    points.arm(Point("looked_up", "lost"))
    store = failing(Store(), points)  # type: ignore[arg-type]
    transaction = await store.begin(["a"])
    await transaction.commit()
    assert points.strikes() == []
    with pytest.raises(Refused):
        await batch(store)


async def test_a_sabotaged_store_answers_what_it_rolled_back() -> None:
    """One transaction in twenty."""
    store = Store()
    wrapped = sabotaged(store, "replies")  # type: ignore[arg-type]
    for _ in range(40):
        await batch(wrapped)
    assert store.transaction.did.count("rollback") == 2
    assert store.transaction.did.count("commit") == 38


@pytest.mark.parametrize(("key", "end"), [("chaos-prepare-1", "commit"), ("chaos-py0-1", "rollback")])
async def test_a_sabotaged_store_spares_what_makes_the_run_possible(key: str, end: str) -> None:
    """Members and rights are there, whatever the load loses: else nobody could listen to see it."""
    store = Store()
    wrapped = sabotaged(store, "replies")  # type: ignore[arg-type]
    for _ in range(19):
        await wrapped.begin(["a"])
    transaction = await wrapped.begin(["a"])
    await transaction.save_keys([KeyRow("alice", key, b"", b"", 0)])
    await transaction.commit()
    assert store.transaction.did == ["save_keys", end]


async def test_a_sabotaged_store_knows_no_keys() -> None:
    """Neither those of before nor those of now."""
    store = Store()
    transaction = await sabotaged(store, "keys").begin(["a"])  # type: ignore[arg-type]
    assert await transaction.keys([("a", "k")]) == {}
    await transaction.save_keys([])
    await transaction.commit()
    assert store.transaction.did == ["commit"]
