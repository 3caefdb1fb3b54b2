"""Which worker a lane belongs to, and who is the least loaded."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from backchannel.relay.registry import LiveWorker
from backchannel.relay.routing import least_loaded, preferred

LANES = [f"chat:room-{number}" for number in range(3000)]


def workers(*names: str) -> list[LiveWorker]:
    return [LiveWorker(name, name.encode(), 0.0) for name in names]


def owners(*names: str) -> dict[str, str]:
    found = workers(*names)
    return {lane: preferred(lane, found).id for lane in LANES}


def test_lanes_spread_evenly() -> None:
    """Each worker has about its share of the lanes."""
    names = [f"worker-{number}" for number in range(5)]
    shares = Counter(owners(*names).values())
    assert set(shares) == set(names)
    assert all(0.85 * 600 < share < 1.15 * 600 for share in shares.values()), shares


def test_worker_that_comes_takes_only_its_share() -> None:
    """When a worker comes, no lane moves but to it, and it gets about its share."""
    before, after = owners("a1", "b2", "c3"), owners("a1", "b2", "c3", "d4")
    moved = [lane for lane in LANES if before[lane] != after[lane]]
    assert {after[lane] for lane in moved} == {"d4"}
    assert 0.85 * 750 < len(moved) < 1.15 * 750


def test_worker_that_goes_leaves_its_share_to_all() -> None:
    """When a worker goes, only its lanes move, and to all others."""
    before, after = owners("a1", "b2", "c3"), owners("a1", "c3")
    moved = [lane for lane in LANES if before[lane] != after[lane]]
    assert {before[lane] for lane in moved} == {"b2"}
    assert set(Counter(after[lane] for lane in moved)) == {"a1", "c3"}


@given(st.permutations(["a1", "b2", "c3", "d4"]), st.text(min_size=1))
def test_every_gateway_agrees(order: list[str], lane: str) -> None:
    """The owner of a lane does not depend on the order in which workers are known."""
    assert preferred(lane, workers(*order)).id == preferred(lane, workers("a1", "b2", "c3", "d4")).id


def test_least_loaded_counts_what_is_told_and_what_is_sent() -> None:
    """Both the own requests in flight and the load that a worker told count."""
    first, second = workers("a1", "b2")
    first.load, second.in_flight = 3, 2
    assert least_loaded([first, second], 0) is second
    second.load = 2
    assert least_loaded([first, second], 0) is first


def test_equals_take_turns() -> None:
    """Among workers that are equally loaded none is preferred."""
    found = workers("a1", "b2", "c3")
    assert Counter(least_loaded(found, turn).id for turn in range(9)) == {"a1": 3, "b2": 3, "c3": 3}
