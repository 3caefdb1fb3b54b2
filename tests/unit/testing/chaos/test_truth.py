"""What the database has in the end, held against what was heard, counted and allowed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from backchannel.testing import Checker, Listener
from backchannel.testing.chaos.app import workload
from backchannel.testing.chaos.load import Counted
from backchannel.testing.chaos.truth import Log, forbidden, miscounted, read_logs, tell

CHANNEL = "board:one"

Entry = tuple[str, dict[str, Any], str]


def note(effect: str, user: str = "alice") -> Entry:
    """A note of somebody's."""
    return "note.written", {"effect": effect}, user


def right(change: str, user: str) -> Entry:
    """A right that comes or goes."""
    return f"right.{change}", {"user": user}, "operator"


def logs_of(*entries: Entry, head: int | None = None) -> dict[str, Log]:
    """The logs, as read from a database that has these events on one channel."""

    def execute(sql: str) -> Sequence[tuple[Any, ...]]:
        if "heads" in sql:
            return [(CHANNEL, "e", len(entries) if head is None else head), ("user:alice", "e", 3)]
        rows = [(CHANNEL, at, name, json.dumps(data), user) for at, (name, data, user) in enumerate(entries, 1)]
        return [*rows, ("user:alice", 1, "x.y", "{}", None)]

    return read_logs(execute, [CHANNEL])


def listener(checker: Checker, *offsets: int) -> Listener:
    """Somebody who heard these."""
    made = checker.listener("guest", CHANNEL)
    made.subscribed("e", offsets[0] - 1)
    for offset in offsets:
        made.event(offset)
    return made


def test_the_logs_are_told_to_the_checker() -> None:
    """What was acknowledged and is in no log is lost; a head that promises more than the log has is told."""
    checker = Checker()
    checker.acknowledged("a", CHANNEL, 1)
    checker.acknowledged("b", CHANNEL, 2)
    assert tell(checker, workload, logs_of(note("a"))) == []
    assert [finding.effect for finding in checker.report().findings] == ["b"]
    assert [finding.kind for finding in tell(Checker(), workload, logs_of(note("a"), head=2))] == ["lost"]


def test_who_hears_after_the_right_ended_is_told() -> None:
    """P6: the event that takes it away is heard, and nothing behind it, until the one that gives it back."""
    logs = logs_of(note("a"), right("revoked", "guest"), note("b"), note("c"), right("granted", "guest"), note("d"))
    checker = Checker()
    sound = listener(checker, 1, 2)
    again = listener(checker, 5, 6)
    assert forbidden(workload, logs, {"guest": [sound, again], "alice": [listener(checker, 1, 2, 3, 4, 5, 6)]}) == []
    leak = listener(checker, 1, 2, 3)
    found = forbidden(workload, logs, {"guest": [leak]})
    assert [(finding.kind, finding.first, finding.last) for finding in found] == [("forbidden", 3, 3)]


def test_a_right_that_is_not_given_back_stays_away() -> None:
    """P6: to the end of the log."""
    logs = logs_of(right("revoked", "guest"), note("a"), note("b"))
    found = forbidden(workload, logs, {"guest": [listener(Checker(), 1, 2, 3)]})
    assert [(finding.first, finding.last) for finding in found] == [(2, 3)]


def test_who_writes_after_the_right_ended_is_told() -> None:
    """P6: nobody does what they may not."""
    logs = logs_of(note("a", "guest"), right("revoked", "guest"), note("b", "guest"), right("granted", "guest"))
    found = forbidden(workload, logs, {})
    assert [(finding.kind, finding.first) for finding in found] == [("forbidden", 3)]


def test_a_count_that_does_not_belong_to_its_position_is_told() -> None:
    """A query reads one snapshot."""
    logs = logs_of(note("a"), right("granted", "guest"), note("b"))
    sound = [Counted(CHANNEL, 1, 1), Counted(CHANNEL, 1, 2), Counted(CHANNEL, 2, 3), Counted(CHANNEL, 0, 0)]
    assert miscounted(workload, logs, sound) == []
    assert len(miscounted(workload, logs, [Counted(CHANNEL, 2, 2)])) == 1


def test_rows_and_events_belong_together() -> None:
    """They were written in one transaction, or not at all."""
    logs = {CHANNEL: logs_of(note("a"), note("b"))[CHANNEL].events}

    def rows(*effects: str) -> list[str]:
        return list(workload.disagreements(lambda _sql: [(CHANNEL, effect) for effect in effects], logs))

    assert rows("a", "b") == []
    assert len(rows("a")) == len(rows("a", "b", "b")) == 1
