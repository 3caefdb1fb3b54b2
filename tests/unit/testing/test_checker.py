"""The checker: what it finds, and that it finds nothing where nothing is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.testing import Checker, Listener, Report
from backchannel.testing.ranges import Ranges
from backchannel.testing.report import Kind
from backchannel_protocol.frames import Position

CHANNEL = "board:b"


def listening(checker: Checker, start: int = 0, name: str = "alice") -> Listener:
    listener = checker.listener(name, CHANNEL)
    listener.subscribed("e1", start)
    return listener


def found(report: Report) -> dict[str, int]:
    """How many events each kind of finding is about."""
    counts = {kind: report.count(kind) for kind in get_args(Kind)}
    return {kind: count for kind, count in counts.items() if count}


def log(checker: Checker, last: int, first: int = 1) -> None:
    checker.logged(CHANNEL, "e1", [(offset, f"effect {offset}") for offset in range(first, last + 1)])


# Listeners


def test_a_whole_stream_is_fine() -> None:
    """Everything heard once, in order, to the log's end: nothing is found, and everything is counted."""
    checker = Checker()
    log(checker, 5)
    for number in range(1, 6):
        checker.sent(f"effect {number}", at=number * 1.0)
        checker.acknowledged(f"effect {number}", CHANNEL, number, at=number * 1.0 + number / 10)
    listener = listening(checker)
    for number in range(1, 6):
        listener.event(number, f"effect {number}")
    report = checker.report()
    report.verify()
    assert (report.sent, report.acknowledged, report.delivered, report.unverified) == (5, 5, 5, 0)
    assert report.longest_stall == pytest.approx(0.5)
    assert str(report).startswith("sent 5, acknowledged 5, delivered 5, lost 0, doubled 0, out of order 0")


@given(length=st.integers(1, 60), drawn=st.randoms(use_true_random=False), data=st.data())
def test_each_kind_of_fault_is_counted_exactly(length: int, drawn: random.Random, data: st.DataObject) -> None:
    """Drop, repeat and delay events at will: as many are found as were tampered with, and no more."""
    offsets = list(range(1, length + 1))
    dropped = set(data.draw(st.lists(st.sampled_from(offsets), unique=True)))
    left = [offset for offset in offsets if offset not in dropped]
    stream = list(left)
    repeated = 0
    for offset in left:
        if drawn.random() < 0.2:
            stream.insert(stream.index(offset) + 1 + drawn.randrange(0, 3), offset)
            repeated += 1
    listener = listening(checker := Checker())
    log(checker, length)
    for offset in stream:
        listener.event(offset)
    report = checker.report()
    assert (report.lost, report.doubled, report.delivered) == (len(dropped), repeated, len(left))
    assert report.out_of_order == 0


@given(order=st.permutations(range(1, 12)))
def test_every_event_that_is_overtaken_is_found(order: list[int]) -> None:
    """An event is out of order if one that follows it came before; nothing of it is lost or doubled."""
    listener = listening(checker := Checker())
    log(checker, 11)
    for offset in order:
        listener.event(offset)
    overtaken = sum(any(before > offset for before in order[:index]) for index, offset in enumerate(order))
    report = checker.report()
    assert found(report) == ({"out_of_order": overtaken} if overtaken else {})
    assert report.delivered == 11


@given(st.lists(st.tuples(st.sampled_from(["event", "gap"]), st.integers(1, 5)), max_size=30))
def test_what_a_gap_tells_is_not_lost(steps: list[tuple[str, int]]) -> None:
    """Events and gaps that follow each other without a hole: nothing is found, and every gap is counted."""
    listener = listening(checker := Checker())
    at = gaps = 0
    for kind, length in steps:
        if kind == "gap":
            listener.gap("e1", at, at + length, "slow")
            gaps += 1
        else:
            for offset in range(at + 1, at + length + 1):
                listener.event(offset)
        at += length
    log(checker, at)
    report = checker.report()
    assert found(report) == {}
    assert len(report.gaps) == gaps
    report.verify(gaps=None)
    report.verify(gaps=gaps)
    if gaps:
        with pytest.raises(AssertionError, match="gap on board:b"):
            report.verify(gaps=gaps - 1)


def test_a_hole_before_a_gap_is_lost() -> None:
    """A gap that begins behind the listener's position does not cover what lies before it."""
    listener = listening(checker := Checker())
    listener.event(1)
    listener.gap("e1", 3, 5, "slow")
    assert found(checker.report()) == {"lost": 2}


def test_the_end_of_the_stream_must_be_heard() -> None:
    """Whoever still listens when everything has settled has heard all; before that, or after the end, it need not."""
    listener = listening(checker := Checker())
    log(checker, 3)
    listener.event(1)
    assert found(checker.report(settled=False)) == {}
    assert found(checker.report()) == {"lost": 2}
    listener.ended()
    assert found(checker.report()) == {}


def test_without_a_log_listeners_are_compared_with_each_other() -> None:
    """What one heard, the others must have heard."""
    checker = Checker()
    alice, bob = listening(checker, name="alice"), listening(checker, name="bob")
    alice.event(1, "x")
    alice.event(2, "y")
    bob.event(1, "x")
    report = checker.report()
    assert [(finding.listener, finding.first) for finding in report.findings] == [("bob", 2)]


def test_two_must_not_hear_different_things_at_one_place() -> None:
    """An offset means one event, for everybody and for the log."""
    checker = Checker()
    alice, bob = listening(checker, name="alice"), listening(checker, name="bob")
    alice.event(1, "x")
    bob.event(1, "y")
    assert found(checker.report())["differing"] == 1


def test_what_was_never_stored_must_not_be_heard() -> None:
    """An event behind the log's end is a phantom, and so is one that nobody subscribed to."""
    listener = listening(checker := Checker())
    log(checker, 1)
    listener.event(1)
    listener.event(2)
    stray = checker.listener("bob", CHANNEL)
    stray.event(1)
    assert found(checker.report()) == {"phantom": 2}


@pytest.mark.parametrize(
    ("verdict", "offset", "expected"),
    [("recovered", 5, {"lost": 3}), ("new", 5, {"lost": 3}), ("gap", 5, {}), ("new", 2, {})],
)
def test_a_resume_answers_for_what_was_missed(verdict: str, offset: int, expected: dict[str, int]) -> None:
    """`recovered` brings it, `gap` tells it, and `new` must not be said to somebody who has a position."""
    listener = listening(checker := Checker())
    log(checker, 5 if offset == 5 else 2)
    for number in (1, 2):
        listener.event(number)
    listener.subscribed("e1", offset, verdict)
    assert found(checker.report()) == expected


def test_a_new_epoch_needs_a_gap() -> None:
    """With a `reset` the stream begins anew; without one, everything before it is lost unsaid."""
    told = listening(checker := Checker())
    told.event(1)
    told.gap("e2", 0, 0, "reset")
    told.event(1, epoch="e2")
    checker.report().verify(gaps=1)
    untold = listening(checker := Checker())
    untold.event(1)
    untold.event(1, epoch="e2")
    assert found(checker.report()) == {"lost": 1}
    resumed = listening(checker := Checker())
    resumed.subscribed("e2", 1, "recovered")
    assert found(checker.report()) == {"lost": 1}
    deaf = listening(checker := Checker())
    deaf.event(1)
    checker.logged(CHANNEL, "e2", [(1, "x")])
    assert found(checker.report()) == {"lost": 1}


def test_what_a_gap_announced_may_still_come() -> None:
    """A resume from before a gap brings it late: the gap is filled, and no order is broken by it."""
    listener = listening(checker := Checker())
    listener.gap("e1", 0, 2, "slow")
    listener.event(3)
    listener.subscribed("e1", 3, "recovered")
    for offset in (1, 2):
        listener.event(offset)
    checker.report().verify(gaps=0)


def test_ending_and_beginning_anew_asks_for_nothing_between() -> None:
    """Who unsubscribes misses nothing; who gives a position to begin from gets everything behind it."""
    listener = listening(checker := Checker())
    log(checker, 4)
    listener.event(1)
    listener.ended()
    listener.subscribed("e1", 3)
    listener.event(4)
    resumed = checker.listener("bob", CHANNEL, since=Position("e1", 2))
    resumed.subscribed("e1", 4, "recovered")
    assert found(checker.report()) == {"lost": 2}
    resumed.event(3)
    resumed.event(4)
    assert found(checker.report()) == {}


def test_frames_of_the_wire() -> None:
    """Plain data, as it came; other channels are passed over, and ephemeral events count for nothing."""
    checker = Checker()
    listener = checker.listener("alice", CHANNEL)
    frames: list[dict[str, Any]] = [
        {"type": "connected"},
        {"type": "subscribed", "channel": CHANNEL, "epoch": "e1", "offset": 0, "verdict": "new"},
        {"type": "event", "channel": CHANNEL, "offset": 1, "data": {"text": "x"}},
        {"type": "event", "channel": "board:c", "offset": 7},
        {"type": "event", "channel": CHANNEL, "data": {"text": "z"}},
        {"type": "gap", "channel": CHANNEL, "epoch": "e1", "from": 1, "to": 3, "reason": "slow"},
        {"type": "event", "channel": CHANNEL, "offset": 5, "data": {"text": "y"}},
        {"type": "unsubscribed", "channel": CHANNEL, "code": "forbidden"},
    ]
    for frame in frames:
        listener.frame(frame, lambda event: event["data"]["text"])
    report = checker.report()
    assert (report.delivered, report.lost, len(report.gaps)) == (2, 1, 1)


# Effects


def test_what_was_acknowledged_must_be_there() -> None:
    """In the log of its channel, or in any log where the channel is not known."""
    checker = Checker()
    log(checker, 2)
    checker.acknowledged("effect 1", CHANNEL, 1)
    checker.acknowledged("effect 2")
    checker.report().verify()
    checker.acknowledged("gone", CHANNEL, 3)
    checker.acknowledged("gone too")
    assert found(checker.report()) == {"lost": 2}


def test_what_was_heard_and_is_not_in_the_log_is_lost() -> None:
    """P1: an event may have left although its transaction did not count; who was acknowledged has lost it all the
    same. Where the log is trimmed, what somebody heard has to do."""
    checker = Checker()
    listener = listening(checker)
    for number in range(1, 5):
        checker.acknowledged(f"effect {number}", CHANNEL, number)
        listener.event(number, f"effect {number}")
    checker.logged(CHANNEL, "e1", [(3, "effect 3"), (4, "another")])
    report = checker.report()
    assert found(report) == {"lost": 1, "differing": 1}
    assert [finding.effect for finding in report.findings if finding.kind == "lost"] == ["effect 4"]


def test_what_was_trimmed_cannot_be_told() -> None:
    """An acknowledgement below the log's beginning, or on a channel of which nothing is known, is counted apart."""
    checker = Checker()
    log(checker, 5, first=4)
    checker.acknowledged("effect 2", CHANNEL, 2)
    checker.acknowledged("elsewhere", "board:c", 1)
    report = checker.report()
    assert (report.unverified, found(report)) == (2, {})


def test_an_effect_happens_once() -> None:
    """P2: the same effect at two places, of a log or as a listener heard it, is doubled."""
    checker = Checker()
    checker.logged(CHANNEL, "e1", [(1, "x"), (2, "y"), (3, "x"), (4, "x")])
    assert found(checker.report()) == {"doubled": 2}


def test_what_was_refused_for_certain_must_not_have_happened() -> None:
    """`none` is a promise too; `unknown` is none."""
    checker = Checker()
    log(checker, 2)
    checker.sent("effect 1")
    checker.refused("effect 1", "unknown")
    checker.refused("effect 3")
    report = checker.report()
    assert (found(report), report.refused, report.unknown) == ({}, 1, 1)
    checker.refused("effect 2")
    assert found(checker.report()) == {"phantom": 1}
    checker.acknowledged("effect 2", CHANNEL)
    checker.refused("effect 2")
    assert found(checker.report()) == {}


def test_an_acknowledgement_tells_the_place() -> None:
    """An effect that is somewhere else, or whose place somebody else's event has, is found."""
    checker = Checker()
    log(checker, 2)
    checker.acknowledged("effect 1", CHANNEL, 2)
    assert found(checker.report()) == {"differing": 1}
    checker = Checker()
    listening(checker).event(1, "x")
    checker.acknowledged("y", CHANNEL, 1)
    assert found(checker.report()) == {"lost": 1}


def test_a_log_has_no_holes() -> None:
    """Durable offsets are dense."""
    checker = Checker()
    checker.logged(CHANNEL, "e1", [(1, "x"), (4, "y")])
    assert found(checker.report()) == {"lost": 2}


def test_a_failure_tells_everything() -> None:
    """The message has the counts and each finding in a sentence; past fifty, how many more there are."""
    listener = listening(checker := Checker())
    for number in range(1, 200, 2):
        listener.event(number + 1, f"effect {number}")
    with pytest.raises(AssertionError) as failure:
        checker.report().verify()
    text = str(failure.value)
    assert "lost 100" in text
    assert "lost on board:b (alice): 1 did not come." in text
    assert text.endswith("… and 50 more")


# Ranges


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 6))))
def test_ranges_are_a_set(steps: Iterable[tuple[bool, int, int]]) -> None:
    """Adding runs and taking out numbers does what it does to a set; runs stay apart and in order."""
    ranges, model = Ranges(), set[int]()
    for add, first, length in steps:
        if add:
            ranges.add(first, first + length - 1)
            model.update(range(first, first + length))
        else:
            assert ranges.discard(first) == (first in model)
            model.discard(first)
        runs = list(ranges)
        assert [number for a, b in runs for number in range(a, b + 1)] == sorted(model)
        assert all(before[1] + 1 < after[0] for before, after in pairwise(runs))
        assert all((number in ranges) == (number in model) for number in range(50))
