"""The truth: what the database has in the end, told to the checker and compared with rights and counts."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from ..checker import Checker
from ..listener import Listener
from ..report import Finding
from .load import Counted
from .workload import Execute, LoggedEvent, Workload

__all__ = ["Log", "forbidden", "miscounted", "read_logs", "tell"]


class Log:
    """One channel's log: its epoch and what it still has."""

    __slots__ = ("channel", "epoch", "events", "head")

    def __init__(self, channel: str, epoch: str, head: int, events: Sequence[LoggedEvent]) -> None:
        self.channel = channel
        self.epoch = epoch
        self.head = head
        """The newest offset that was given."""
        self.events = events


def read_logs(execute: Execute, channels: Sequence[str]) -> dict[str, Log]:
    """The logs of these channels; `execute` runs a SELECT."""
    logs = {}
    for channel, epoch, head in execute('SELECT channel, epoch, "offset" FROM heads ORDER BY channel'):
        if channel in channels:
            logs[channel] = Log(channel, epoch, head, [])
    rows = execute('SELECT channel, "offset", name, data, "user" FROM events ORDER BY channel, "offset"')
    found: dict[str, list[LoggedEvent]] = {channel: [] for channel in logs}
    for channel, offset, name, data, user in rows:
        if channel in found:
            found[channel].append(LoggedEvent(offset, name, _decoded(data), user))
    for channel, log in logs.items():
        log.events = found[channel]
    return logs


def _decoded(data: Any) -> Any:
    return json.loads(data) if isinstance(data, (str, bytes)) else data


def tell(checker: Checker, workload: Workload, logs: Mapping[str, Log]) -> list[Finding]:
    """Tell the checker what the logs have; returns where a log and its own head differ."""
    findings = []
    for log in logs.values():
        events = [(event.offset, workload.effect(event.name, event.data)) for event in log.events]
        checker.logged(log.channel, log.epoch, events)
        if log.events and log.events[-1].offset != log.head:
            text = f"The log ends at {log.events[-1].offset}, and its head says {log.head}."
            findings.append(Finding(kind="lost", channel=log.channel, text=text))
    return findings


def forbidden(
    workload: Workload, logs: Mapping[str, Log], listeners: Mapping[str, Sequence[Listener]]
) -> list[Finding]:
    """P6: what users heard and did between the event that took their right and the one that gave it back.

    Args:
        workload: knows which events those are.
        logs: by channel.
        listeners: by user.
    """
    findings = []
    for log in logs.values():
        for user, spans in _without_right(workload, log).items():
            for after, before in spans:
                for event in log.events[bisect_right(log.events, after, key=_offset) :]:
                    if event.offset >= before:
                        break
                    if event.user == user and workload.effect(event.name, event.data) is not None:
                        text = f"{user} had no right since {after}, and did {event.name} at {event.offset}."
                        findings.append(_forbidden(log.channel, text, user, event.offset))
                for listener in listeners.get(user, ()):
                    findings += _heard(listener, log, after, before, user)
    return findings


def _offset(event: LoggedEvent) -> int:
    return event.offset


def _heard(listener: Listener, log: Log, after: int, before: int, user: str) -> list[Finding]:
    if listener.channel != log.channel:
        return []
    known = listener.epochs.get(log.epoch)
    runs = [] if known is None else [run for run in known.heard if run[0] < before and run[1] > after]
    return [
        _forbidden(log.channel, f"{user} had no right since {after}, and heard {first} to {last}.", user, first, last)
        for first, last in ((max(first, after + 1), min(last, before - 1)) for first, last in runs)
    ]


def _without_right(workload: Workload, log: Log) -> dict[str, list[tuple[int, int]]]:
    """By user: the offsets after which, and before which again, there was no right."""
    taken: dict[str, int] = {}
    spans: dict[str, list[tuple[int, int]]] = {}
    for event in log.events:
        change = workload.rights(event.name, event.data)
        if change is None:
            continue
        if change.kind == "revoked":
            taken.setdefault(change.user, event.offset)
        elif change.user in taken:
            spans.setdefault(change.user, []).append((taken.pop(change.user), event.offset))
    for user, after in taken.items():
        spans.setdefault(user, []).append((after, log.head + 1))
    return spans


def miscounted(workload: Workload, logs: Mapping[str, Log], counted: Sequence[Counted]) -> list[Finding]:
    """Queries whose count does not belong to the position that their answer named."""
    findings = []
    for channel, log in logs.items():
        offsets = [event.offset for event in log.events if workload.effect(event.name, event.data) is not None]
        for said in counted:
            if said.channel == channel and (right := bisect_right(offsets, said.offset)) != said.count:
                text = f"A query counted {said.count} up to {said.offset}, where the log has {right}."
                findings.append(
                    Finding(kind="differing", channel=channel, text=text, first=said.offset, last=said.offset)
                )
    return findings


def _forbidden(channel: str, text: str, user: str, first: int, last: int | None = None) -> Finding:
    return Finding(kind="forbidden", channel=channel, text=text, listener=user, first=first, last=last or first)
