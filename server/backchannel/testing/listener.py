"""Listener: what one subscription heard, and whether it kept its promise."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from backchannel_protocol.frames import Position

from .ranges import Ranges
from .report import Finding, Kind, ToldGap

__all__ = ["Listener"]


class _Epoch:
    """One incarnation of the channel's log, as this listener knows it."""

    def __init__(self, start: int) -> None:
        self.start = start
        """The offset behind which it began to listen."""
        self.heard = Ranges()
        self.skipped = Ranges()
        """What did not come, without a gap that says so."""
        self.told = Ranges()
        """What did not come and lies in gaps that were told."""


class Listener:
    """Checks one listener of one channel: offsets follow each other, none missing, none twice, or a gap is told (P3).

    Tell it what arrives, in the order of arrival. Made by `Checker.listener`; pure, so that it serves any client.
    """

    def __init__(
        self,
        name: str,
        channel: str,
        placed: Callable[[str, str, int, Hashable, str], None],
        since: Position | None = None,
    ) -> None:
        """
        Args:
            name: what findings call it.
            channel: what it listens to.
            placed: told the channel, epoch, offset and effect of what stands where, and who says so.
            since: where it resumes from; None: it begins with the first answer.
        """
        self.name = name
        self.channel = channel
        self.epoch: str | None = None
        """The incarnation of the log that it is in; None before it began, and after it ended."""
        self.offset = 0
        """The last offset that it heard, or was told to have missed."""
        self.delivered = 0
        self.gaps: list[ToldGap] = []
        self.findings: list[Finding] = []
        self.epochs: dict[str, _Epoch] = {}
        self._placed = placed
        if since is not None:
            self._begin(since.epoch, since.offset)

    # What arrives

    def subscribed(self, epoch: str, offset: int, verdict: str = "new") -> None:
        """The stream begins, or goes on after a lost connection; `offset` is where catching up ends.

        A listener that was not `ended` is taken to have asked to resume: it must not be answered `new`.
        """
        if self.epoch is None:
            self._begin(epoch, offset)
        elif verdict == "gap":
            self.gap(
                epoch, 0 if epoch != self.epoch else self.offset, offset, "reset" if epoch != self.epoch else "gap"
            )
        elif epoch != self.epoch:
            self._find("lost", f"It resumed in epoch {self.epoch}, and goes on in {epoch} as if nothing were lost.")
            self._begin(epoch, offset)
        elif verdict == "new" and offset > self.offset:
            self._skip(self.offset + 1, offset)

    def event(self, offset: int | None, effect: Hashable = None, epoch: str | None = None) -> None:
        """An event arrives; an ephemeral one, without offset, is not checked.

        Args:
            offset: its place in the log.
            effect: what it stands for, the same for all who hear it; None where that is not known.
            epoch: the incarnation of the log; the present one by default.
        """
        if offset is None:
            return
        if self.epoch is None:
            self._find("phantom", f"Event {offset} came to somebody who does not listen.", offset)
            return
        if epoch is not None and epoch != self.epoch:
            self._find(
                "lost", f"Event {offset} is of epoch {epoch}, and no gap said that {self.epoch} is void.", offset
            )
            self._begin(epoch, offset - 1)
        known = self.epochs[self.epoch]
        if offset in known.heard:
            self._find("doubled", f"Event {offset} came twice.", offset, effect=effect)
        elif offset > self.offset:
            self._skip(self.offset + 1, offset - 1)
            self._hear(known, offset)
        elif known.told.discard(offset):
            # What a gap had announced as missing comes late, on a resume from before it.
            self._hear(known, offset)
        else:
            known.skipped.discard(offset)
            self._find("out_of_order", f"Event {offset} came behind event {self.offset}.", offset, effect=effect)
            self._hear(known, offset)
        self._placed(self.channel, self.epoch, offset, effect, self.name)

    def gap(self, epoch: str, from_: int, to: int, reason: str) -> None:
        """It is told that the events after `from_` up to `to` did not come, and that the stream goes on behind them."""
        if self.epoch is None:
            return
        if epoch != self.epoch:
            self.gaps.append(self._told(epoch, 1, to, reason))
            self._begin(epoch, to)
            return
        if to <= self.offset:
            return
        self._skip(self.offset + 1, from_)
        first = max(from_, self.offset) + 1
        self.epochs[epoch].told.add(first, to)
        self.gaps.append(self._told(epoch, first, to, reason))
        self.offset = to

    def ended(self) -> None:
        """The subscription is over: nothing more has to come. It may begin anew with `subscribed`."""
        self.epoch = None

    def frame(self, frame: Mapping[str, Any], effect: Callable[[Mapping[str, Any]], Hashable] | None = None) -> None:
        """Take a frame of the wire as plain data; frames of other channels and kinds are passed over.

        `effect` tells what an `event` frame stands for.
        """
        if frame.get("channel") != self.channel:
            return
        kind = frame["type"]
        if kind == "subscribed":
            self.subscribed(frame["epoch"], frame["offset"], frame["verdict"])
        elif kind == "event":
            self.event(frame.get("offset"), effect(frame) if effect is not None else None)
        elif kind == "gap":
            self.gap(frame["epoch"], frame["from"], frame["to"], frame["reason"])
        elif kind == "unsubscribed":
            self.ended()

    # What follows

    def missing(self, epoch: str, head: int) -> list[tuple[int, int]]:
        """The runs of offsets up to the log's `head` that it should have heard and has not, gaps aside."""
        known = self.epochs.get(epoch)
        if known is None:
            return []
        runs = list(known.skipped)
        if epoch == self.epoch and head > self.offset:
            runs.append((self.offset + 1, head))
        return runs

    def _begin(self, epoch: str, offset: int) -> None:
        self.epoch, self.offset = epoch, offset
        known = self.epochs.get(epoch)
        if known is None:
            self.epochs[epoch] = _Epoch(offset)

    def _skip(self, first: int, last: int) -> None:
        if last >= first:
            assert self.epoch is not None
            self.epochs[self.epoch].skipped.add(first, last)
            self.offset = last

    def _hear(self, known: _Epoch, offset: int) -> None:
        known.heard.add(offset, offset)
        self.delivered += 1
        self.offset = max(self.offset, offset)

    def _told(self, epoch: str, first: int, last: int, reason: str) -> ToldGap:
        return ToldGap(listener=self.name, channel=self.channel, epoch=epoch, first=first, last=last, reason=reason)

    def _find(self, kind: Kind, text: str, offset: int = 0, effect: Hashable = None) -> None:
        self.findings.append(
            Finding(
                kind=kind,
                channel=self.channel,
                listener=self.name,
                text=text,
                first=offset,
                last=offset,
                effect=effect,
            )
        )
