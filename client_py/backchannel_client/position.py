"""Where a listener stands in a channel: what it has heard, what it missed. Pure, no I/O."""

from __future__ import annotations

from backchannel_protocol.frames import Gap, Position, Subscribed

__all__ = ["OpenGap", "Tracker"]


class OpenGap:
    """A gap that the app has neither filled nor dismissed.

    `since` is the position before it: from there a reconnect resumes.
    """

    __slots__ = ("gap", "since", "told")

    def __init__(self, since: Position, gap: Gap) -> None:
        self.since = since
        self.gap = gap
        self.told = False
        """Whether the app has come to this place in the stream."""

    @property
    def fillable(self) -> bool:
        """Whether a resume can bring the missed events; not where the positions before it are void."""
        return self.since.epoch == self.gap.epoch


class Tracker:
    """One listener's position in one channel.

    It decides which events are new. Within an epoch, an event at or below the position is dropped,
    unless it lies in an open gap: a resume brings those late, and each fills a part of the gap.
    """

    __slots__ = ("_filling", "epoch", "offset", "open")

    def __init__(self, since: Position | None = None) -> None:
        self.epoch: str | None = since.epoch if since else None
        self.offset = since.offset if since else 0
        self.open: list[OpenGap] = []
        """Open gaps, oldest first."""
        self._filling = False

    @property
    def position(self) -> Position | None:
        """The last event heard, or None before the first answer."""
        return None if self.epoch is None else Position(self.epoch, self.offset)

    @property
    def resume(self) -> Position | None:
        """Where to resume: before the oldest open gap, else at the position."""
        return self.open[0].since if self.open else self.position

    def accept(self, offset: int | None) -> bool:
        """Whether an event is new to this listener; if so, it is counted as heard."""
        if offset is None or self.epoch is None:
            return True
        if self._filling:
            # The log is replayed in order: what has not come by now is not in it any more.
            self.open = [hole for hole in self.open if hole.gap.to >= offset or not hole.fillable]
            self._filling = bool(self.open)
        if offset > self.offset:
            self.offset = offset
            return True
        for hole in self.open:
            if hole.fillable and hole.gap.from_ < offset <= hole.gap.to:
                self._fill(hole, offset)
                return True
        return False

    def subscribed(self, frame: Subscribed) -> OpenGap | None:
        """The stream starts (again): take over the verdict; returns the gap that it tells, if any."""
        if self.epoch is None or frame.verdict == "new":
            self.epoch, self.offset = frame.epoch, frame.offset
            self.open.clear()
            return None
        self._filling = frame.verdict == "recovered"
        if frame.verdict == "recovered":
            return None
        if frame.offset < self.offset and frame.epoch == self.epoch:
            # The log went back without a new epoch: positions before it are void all the same.
            return self._reset(frame.channel, frame.epoch, frame.offset)
        return self._missed(Gap(channel=frame.channel, epoch=frame.epoch, from_=0, to=frame.offset, reason="trimmed"))

    def gap(self, frame: Gap) -> OpenGap | None:
        """The stream goes on behind a gap; returns it unless it was known or concerns nothing new."""
        if self.epoch is None:
            self.epoch, self.offset = frame.epoch, frame.to
            return None
        return self._missed(frame)

    def dismiss(self, up_to: Gap | None = None) -> None:
        """The app has filled these gaps or does without: up to the given one, or all."""
        if up_to is None:
            self.open.clear()
            return
        self.open = [hole for hole in self.open if hole.gap.epoch != up_to.epoch or hole.gap.to > up_to.to]

    def _missed(self, frame: Gap) -> OpenGap | None:
        if frame.epoch != self.epoch:
            return self._reset(frame.channel, frame.epoch, frame.to)
        if frame.to <= self.offset:
            return None
        # What was being replayed is cut short here, so nothing follows from what has not come.
        self._filling = False
        from_ = max(frame.from_, self.offset)
        hole = OpenGap(
            Position(frame.epoch, from_),
            Gap(channel=frame.channel, epoch=frame.epoch, from_=from_, to=frame.to, reason=frame.reason),
        )
        self.open.append(hole)
        self.offset = frame.to
        return hole

    def _reset(self, channel: str, epoch: str, to: int) -> OpenGap:
        # The old position stays the one to resume from: a server answers it with `gap` again, so
        # that an app which was cut off before it could load a snapshot is told once more.
        since = self.resume
        assert since is not None
        hole = OpenGap(since, Gap(channel=channel, epoch=epoch, from_=0, to=to, reason="reset"))
        self.open = [hole]
        self._filling = False
        self.epoch, self.offset = epoch, to
        return hole

    def _fill(self, hole: OpenGap, offset: int) -> None:
        gap = hole.gap
        if offset == gap.to:
            self.open.remove(hole)
            return
        hole.since = Position(gap.epoch, offset)
        hole.gap = Gap(channel=gap.channel, epoch=gap.epoch, from_=offset, to=gap.to, reason=gap.reason)
