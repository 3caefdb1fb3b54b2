from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from backchannel_client.position import Tracker
from backchannel_protocol.frames import Gap, GapReason, Position, Subscribed, Verdict


def subscribed(offset: int, verdict: Verdict = "new", epoch: str = "e1") -> Subscribed:
    return Subscribed(channel="a:b", verdict=verdict, epoch=epoch, offset=offset)


def gap(from_: int, to: int, reason: GapReason = "slow", epoch: str = "e1") -> Gap:
    return Gap(channel="a:b", epoch=epoch, from_=from_, to=to, reason=reason)


def test_events_at_or_below_the_position_are_dropped() -> None:
    """P3: none twice, within an epoch."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    assert [tracker.accept(offset) for offset in (10, 11, 11, 9, 12)] == [False, True, False, False, True]
    assert tracker.position == Position("e1", 12)


def test_ephemeral_events_always_pass() -> None:
    """An event without an offset has no position to compare."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    assert tracker.accept(None)
    assert tracker.position == Position("e1", 10)


def test_a_gap_moves_the_position_and_keeps_the_resume_before_it() -> None:
    """Until it is dismissed, a reconnect resumes from a gap's `from`."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    hole = tracker.gap(gap(10, 20))
    assert hole is not None
    assert tracker.accept(21)
    assert tracker.position == Position("e1", 21)
    assert tracker.resume == Position("e1", 10)
    tracker.dismiss(hole.gap)
    assert tracker.resume == Position("e1", 21)


def test_a_gap_that_is_known_or_past_is_not_told_twice() -> None:
    """A verdict `gap` and a frame `gap` may say the same."""
    tracker = Tracker(Position("e1", 10))
    assert tracker.subscribed(subscribed(20, "gap")) is not None
    assert tracker.gap(gap(10, 20, "trimmed")) is None
    assert len(tracker.open) == 1


def test_a_resume_fills_an_open_gap_and_repeats_nothing() -> None:
    """Events in an open gap are new although they are below the position; those behind it are not."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    tracker.gap(gap(10, 13))
    for offset in (14, 15):
        tracker.accept(offset)
    tracker.subscribed(subscribed(16, "recovered"))
    heard = [offset for offset in range(11, 18) if tracker.accept(offset)]
    assert heard == [11, 12, 13, 16, 17]
    assert not tracker.open


def test_a_resume_that_passed_a_gap_closes_it_even_if_the_log_lacked_events() -> None:
    """What did not come when the log was replayed will never come."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    tracker.gap(gap(10, 13))
    tracker.subscribed(subscribed(15, "recovered"))
    for offset in (11, 14):
        tracker.accept(offset)
    assert not tracker.open


def test_a_gap_that_cuts_a_replay_short_closes_nothing() -> None:
    """Behind a gap the live events go on, and they say nothing of what was being replayed."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    tracker.gap(gap(10, 13))
    tracker.subscribed(subscribed(20, "recovered"))
    tracker.accept(11)
    tracker.gap(gap(11, 20, "slow"))
    tracker.accept(21)
    assert [(hole.gap.from_, hole.gap.to) for hole in tracker.open] == [(11, 13), (13, 20)]


def test_a_gap_half_filled_resumes_from_where_the_filling_stopped() -> None:
    """A connection lost while a gap is being filled must not repeat the part that came."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    tracker.gap(gap(10, 20))
    tracker.subscribed(subscribed(20, "recovered"))
    tracker.accept(11)
    tracker.accept(12)
    assert tracker.resume == Position("e1", 12)


def test_a_new_epoch_is_a_reset_that_resumes_from_the_old_position() -> None:
    """The server then answers `gap` again, so that an app cut off before its snapshot is told again."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    hole = tracker.gap(gap(0, 3, "reset", "e2"))
    assert hole is not None
    assert (hole.gap.from_, hole.gap.to, hole.gap.reason, hole.gap.epoch) == (0, 3, "reset", "e2")
    assert tracker.accept(4)
    assert tracker.resume == Position("e1", 10)
    tracker.dismiss()
    assert tracker.resume == Position("e2", 4)


def test_a_verdict_gap_in_a_new_epoch_is_a_reset() -> None:
    """`reset`: earlier positions are void."""
    tracker = Tracker(Position("e1", 10))
    hole = tracker.subscribed(subscribed(4, "gap", "e2"))
    assert hole is not None
    assert hole.gap.reason == "reset"
    assert [tracker.accept(offset) for offset in (4, 5)] == [False, True]


def test_dismissing_one_gap_leaves_the_later_ones() -> None:
    """A snapshot covers the gaps up to the one it was loaded for."""
    tracker = Tracker()
    tracker.subscribed(subscribed(10))
    first = tracker.gap(gap(10, 20))
    tracker.accept(21)
    tracker.gap(gap(21, 30))
    assert first is not None
    tracker.dismiss(first.gap)
    assert [hole.gap.to for hole in tracker.open] == [30]


@given(st.data())
def test_property_none_twice_and_none_missing_without_a_gap(data: st.DataObject) -> None:
    """P3 over any history of losses, gaps and resumes that an honest server can produce."""
    tracker = Tracker()
    tracker.subscribed(subscribed(0))
    heard: list[int] = []
    untold: set[int] = set()
    head = 0
    for _ in range(data.draw(st.integers(1, 12))):
        step = data.draw(st.sampled_from(["event", "gap", "reconnect", "dismiss"]))
        if step == "event":
            head += 1
            if tracker.accept(head):
                heard.append(head)
        elif step == "gap":
            before, head = head, head + data.draw(st.integers(1, 4))
            assert tracker.gap(gap(before, head)) is not None
        elif step == "dismiss":
            for hole in tracker.open:
                untold |= set(range(hole.gap.from_ + 1, hole.gap.to + 1))
            tracker.dismiss()
        else:
            head += data.draw(st.integers(0, 3))
            for interrupted in (data.draw(st.booleans()), False):
                since = tracker.resume
                assert since is not None
                tracker.subscribed(subscribed(head, "recovered"))
                replayed = range(since.offset + 1, head + 1)
                # The connection may break again while the log is being replayed.
                stop = data.draw(st.integers(0, len(replayed))) if interrupted else len(replayed)
                heard.extend(offset for offset in replayed[:stop] if tracker.accept(offset))
    for hole in tracker.open:
        untold |= set(range(hole.gap.from_ + 1, hole.gap.to + 1))
    assert len(heard) == len(set(heard))
    assert set(heard) | untold >= set(range(1, tracker.offset + 1))
    assert not set(heard) & untold
