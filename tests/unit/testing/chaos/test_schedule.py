"""The schedule of faults: seeded, complete, and within the time that there is."""

from __future__ import annotations

from itertools import islice

import pytest

from backchannel.testing.chaos.schedule import GROUPS, PROCESS_FAULTS, FaultKind, chosen, schedule


def test_the_same_seed_brings_the_same_faults_and_another_seed_others() -> None:
    """A run that found something can be run again."""
    first, again, other = (list(islice(schedule(seed, PROCESS_FAULTS, 60.0), 40)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", range(20))
def test_a_minute_is_enough_for_every_fault(seed: int) -> None:
    """Every kind comes once before any comes twice; a rolling restart stands alone, behind the others."""
    count = len(PROCESS_FAULTS)
    first = list(islice(schedule(seed, PROCESS_FAULTS, 60.0), 2 * count))
    assert {fault.kind for fault in first[:count]} == set(PROCESS_FAULTS)
    assert {fault.kind for fault in first[count:]} == set(PROCESS_FAULTS)
    assert sum(fault.after for fault in first[:count]) < 45.0
    assert [fault.kind for fault in first if fault.alone] == ["roll", "roll"] == [first[count - 1].kind, first[-1].kind]
    assert all(0 <= fault.which < 1 and fault.lasts >= 0 for fault in first)


def test_only_the_faults_that_were_chosen_happen() -> None:
    """Down to none at all."""
    kinds: set[FaultKind] = {"cut_clients", "kill_worker"}
    assert {fault.kind for fault in islice(schedule(1, kinds, 60.0), 30)} == kinds
    assert list(schedule(1, (), 60.0)) == []


def test_faults_are_chosen_by_group_and_by_name() -> None:
    """`all` is everything, `steps` stands beside the schedule, and a wrong name is told with the right ones."""
    assert chosen(["all"]) == (set(PROCESS_FAULTS), True)
    assert chosen(["steps"]) == (set(), True)
    assert chosen(["redis", "cut_clients"]) == ({"empty_redis", "pause_redis", "cut_clients"}, False)
    assert set().union(*GROUPS.values()) == set(PROCESS_FAULTS)
    with pytest.raises(ValueError, match=r"no fault 'redi'.*processes, redis, .*kill_gateway"):
        chosen(["redi"])
