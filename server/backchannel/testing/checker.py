"""Checker: records what clients were told and what listeners heard, and says which promises were broken.

Pure: it knows no client, no clock and no server, so that it serves a test on virtual time as well as a run with real
processes. `watch` and `ask` feed it from `backchannel.Client`; `Listener.frame` from the wire.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from typing import Literal

from msgspec import Struct

from backchannel_protocol.frames import Position

from .listener import Listener
from .report import Finding, Kind, Report, ToldGap

__all__ = ["Checker"]


class _Log(Struct):
    epoch: str
    first: int
    last: int
    effects: set[Hashable]


class _Effect:
    """What is known of one effect."""

    __slots__ = ("acknowledged_at", "channel", "offset", "outcome", "sent_at")

    def __init__(self) -> None:
        self.channel: str | None = None
        self.offset: int | None = None
        self.outcome: Literal["acknowledged", "none", "unknown"] = "unknown"
        self.sent_at: float | None = None
        self.acknowledged_at: float | None = None


class Checker:
    """Checks the promises P1 to P3 on whatever it is told.

    An *effect* is what a command does once, under a name that its events carry too: a number in the message, the id of
    an order. All that is hashable will do. Names are compared per channel.
    """

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self._effects: dict[Hashable, _Effect] = {}
        self._logs: dict[str, _Log] = {}
        self._places: dict[tuple[str, str, int], tuple[Hashable, str]] = {}
        self._of_effect: defaultdict[tuple[str, Hashable], set[tuple[str, int]]] = defaultdict(set)
        self._channels_of: defaultdict[Hashable, set[str]] = defaultdict(set)
        self._findings: list[Finding] = []

    # What is told

    def sent(self, effect: Hashable, *, at: float | None = None) -> None:
        """A client asked for this, at a moment of any clock. Asking again for the same effect, with the same key,
        counts from the first time."""
        known = self._effects.setdefault(effect, _Effect())
        known.sent_at = at if known.sent_at is None else known.sent_at

    def acknowledged(
        self, effect: Hashable, channel: str | None = None, offset: int | None = None, *, at: float | None = None
    ) -> None:
        """A client was told that this has happened: as the event at this offset of this channel, where it knows."""
        known = self._effects.setdefault(effect, _Effect())
        known.outcome = "acknowledged"
        known.channel, known.offset, known.acknowledged_at = channel, offset, at

    def refused(self, effect: Hashable, outcome: Literal["none", "unknown"] = "none") -> None:
        """A client was told that this has not happened, for certain (`none`), or that it may have (`unknown`)."""
        known = self._effects.setdefault(effect, _Effect())
        if known.outcome != "acknowledged":
            known.outcome = outcome

    def listener(self, name: str, channel: str, *, since: Position | None = None) -> Listener:
        """A new listener, to be told what arrives. `since` is where it resumes from, if it does."""
        listener = Listener(name, channel, self._placed, since)
        self.listeners.append(listener)
        return listener

    def logged(self, channel: str, epoch: str, events: Iterable[tuple[int, Hashable]]) -> None:
        """A channel's log as it is in the end: offsets and effects, from the oldest that it still has."""
        offsets: list[int] = []
        effects: set[Hashable] = set()
        for offset, effect in events:
            if offsets and offset != offsets[-1] + 1:
                self._find("lost", channel, f"The log has {offset} behind {offsets[-1]}.", offsets[-1] + 1, offset - 1)
            offsets.append(offset)
            effects.add(effect)
            self._placed(channel, epoch, offset, effect, "the log")
        first, last = (offsets[0], offsets[-1]) if offsets else (1, 0)
        self._logs[channel] = _Log(epoch, first, last, effects)

    # What follows

    def report(self, *, settled: bool = True) -> Report:
        """What happened so far.

        Args:
            settled: nothing is on its way any more, so that what a listener has not heard by now is lost.
        """
        findings = [*self._findings]
        unverified = 0
        for (channel, effect), places in self._of_effect.items():
            findings += _check_once(channel, effect, places)
        for effect, known in self._effects.items():
            if known.outcome == "none":
                findings += self._check_refused(effect)
            elif known.outcome == "acknowledged":
                lost = self._check_acknowledged(effect, known)
                unverified += lost is None
                findings += lost or []
        for listener in self.listeners:
            findings += self._check_listener(listener, settled)
        effects = self._effects.values()
        stalls = [
            known.acknowledged_at - known.sent_at
            for known in effects
            if known.acknowledged_at is not None and known.sent_at is not None
        ]
        return Report(
            sent=len(effects),
            acknowledged=sum(known.outcome == "acknowledged" for known in effects),
            refused=sum(known.outcome == "none" for known in effects),
            unknown=sum(known.outcome == "unknown" for known in effects),
            delivered=sum(listener.delivered for listener in self.listeners),
            gaps=tuple(gap for listener in self.listeners for gap in _open_gaps(listener)),
            unverified=unverified,
            longest_stall=max(stalls, default=0.0),
            findings=tuple(findings),
        )

    def _placed(self, channel: str, epoch: str, offset: int, effect: Hashable, who: str) -> None:
        if effect is None:
            return
        place = (channel, epoch, offset)
        before = self._places.setdefault(place, (effect, who))
        if before[0] != effect:
            text = f"At {offset} {before[1]} has {before[0]!r} and {who} has {effect!r}."
            self._find("differing", channel, text, offset, offset, effect)
        self._of_effect[channel, effect].add((epoch, offset))
        self._channels_of[effect].add(channel)

    def _check_refused(self, effect: Hashable) -> list[Finding]:
        return [
            _finding("phantom", channel, f"{effect!r} was refused for certain, and has happened.", effect=effect)
            for channel in sorted(self._channels_of.get(effect, ()))
        ]

    def _check_acknowledged(self, effect: Hashable, known: _Effect) -> list[Finding] | None:
        """What speaks against it; None if nothing recorded can say."""
        channel = known.channel
        channels = [channel] if channel is not None else sorted(self._channels_of.get(effect, ()))
        offsets = {offset for name in channels for _, offset in self._of_effect.get((name, effect), ())}
        log = self._logs.get(channel) if channel is not None else None
        at = [*offsets, *([] if known.offset is None else [known.offset])]
        # What somebody heard of it counts only where the log does not reach back that far.
        if log is not None and effect not in log.effects and not any(offset < log.first for offset in at):
            text = f"{effect!r} was acknowledged and is not in the log."
            return [_finding("lost", channel or "", text, known.offset or 0, known.offset or 0, effect)]
        if offsets:
            if known.offset is None or known.offset in offsets:
                return []
            text = f"{effect!r} was acknowledged at {known.offset} and is at {min(offsets)}."
            return [_finding("differing", channel or "", text, known.offset, known.offset, effect)]
        if log is None and channel is None and self._logs:
            return [_finding("lost", "", f"{effect!r} was acknowledged and is in no log.", effect=effect)]
        if channel is not None and known.offset is not None:
            taken = [e for (name, _, at), (e, _) in self._places.items() if (name, at) == (channel, known.offset)]
            if taken:
                text = f"{effect!r} was acknowledged at {known.offset}, where {taken[0]!r} is."
                return [_finding("lost", channel, text, known.offset, known.offset, effect)]
        return None

    def _check_listener(self, listener: Listener, settled: bool) -> list[Finding]:
        findings = [*listener.findings]
        log = self._logs.get(listener.channel)
        if settled and log is not None and listener.epoch not in (None, log.epoch):
            text = f"It is in epoch {listener.epoch}, and was never told that {log.epoch} began."
            findings.append(_finding("lost", listener.channel, text, listener=listener.name))
        for epoch, known in listener.epochs.items():
            head = self._head(listener.channel, epoch) if settled else 0
            for first, last in listener.missing(epoch, head):
                text = f"{first} to {last} did not come." if last > first else f"{first} did not come."
                findings.append(_finding("lost", listener.channel, text, first, last, listener=listener.name))
            beyond = [last for _, last in known.heard if log is not None and epoch == log.epoch and last > log.last]
            if log is not None and beyond:
                text = f"It heard events up to {beyond[-1]}, and the log ends at {log.last}."
                first = log.last + 1
                findings.append(_finding("phantom", listener.channel, text, first, beyond[-1], listener=listener.name))
        return findings

    def _head(self, channel: str, epoch: str) -> int:
        """The newest offset that anybody knows of."""
        log = self._logs.get(channel)
        if log is not None and log.epoch == epoch:
            return log.last
        heard = [
            last
            for listener in self.listeners
            if listener.channel == channel and epoch in listener.epochs
            for _, last in listener.epochs[epoch].heard
        ]
        return max(heard, default=0)

    def _find(
        self, kind: Kind, channel: str, text: str, first: int = 0, last: int = 0, effect: Hashable = None
    ) -> None:
        self._findings.append(_finding(kind, channel, text, first, last, effect))


def _check_once(channel: str, effect: Hashable, places: set[tuple[str, int]]) -> list[Finding]:
    """P2: one effect stands at one place."""
    ordered = sorted(places)
    return [
        _finding(
            "doubled", channel, f"{effect!r} happened at {ordered[0][1]} and again at {offset}.", offset, offset, effect
        )
        for _, offset in ordered[1:]
    ]


def _open_gaps(listener: Listener) -> Iterable[ToldGap]:
    """The gaps that it was told and that nothing has filled since."""
    for gap in listener.gaps:
        known = listener.epochs.get(gap.epoch)
        if (
            gap.reason == "reset"
            or known is None
            or any(first <= gap.last and last >= gap.first for first, last in known.told)
        ):
            yield gap


def _finding(
    kind: Kind,
    channel: str,
    text: str,
    first: int = 0,
    last: int = 0,
    effect: Hashable = None,
    *,
    listener: str = "",
) -> Finding:
    return Finding(kind=kind, channel=channel, text=text, first=first, last=last, effect=effect, listener=listener)
