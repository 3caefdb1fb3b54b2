"""The registry: which workers live, what they serve, and how loaded they are, as one gateway knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .messages import Beat

if TYPE_CHECKING:
    from .open_request import OpenRequest

__all__ = ["BEAT", "SILENCE", "LiveWorker", "Registry"]

BEAT: Final = 0.5
"""Seconds between two signs of life."""

SILENCE: Final = 2.0
"""Seconds without one, after which a worker counts as dead."""


class LiveWorker:
    """A worker that is thought to live."""

    __slots__ = ("alive", "cancelled", "heard", "id", "in_flight", "load", "names", "outgoing", "takes", "topic")

    def __init__(self, worker: str, topic: bytes, now: float) -> None:
        self.id: Final = worker
        self.topic: Final = topic
        self.heard = now
        """When it last gave a sign of life."""
        self.alive = True
        self.takes = False
        """Whether it may be sent requests: it says so, and nothing that was sent to it since came back."""
        self.names: frozenset[str] = frozenset()
        self.load = 0
        """How many requests it has open, from all gateways, as it last told."""
        self.in_flight = 0
        """How many requests of this gateway are on the way to it, with it, or on the way back."""
        self.outgoing: list[OpenRequest] = []
        """What leaves for it at the end of this tick."""
        self.cancelled: list[int] = []


class Registry:
    """The workers. Time is the caller's: seconds of any clock that only grows."""

    def __init__(self) -> None:
        self._workers: dict[str, LiveWorker] = {}
        self._serving: dict[str | None, tuple[LiveWorker, ...]] = {}
        self.version = 0
        """Grows whenever another set of workers may be sent requests, or one of them serves other names."""

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, worker: str) -> LiveWorker | None:
        """The worker of this name, if it is thought to live."""
        return self._workers.get(worker)

    def serving(self, name: str | None) -> tuple[LiveWorker, ...]:
        """The workers that may be sent this name; with None those that may be sent anything, which internal queries
        are answered by."""
        known = self._serving.get(name)
        if known is None:
            known = self._serving[name] = tuple(
                worker for worker in self._workers.values() if worker.takes and (name is None or name in worker.names)
            )
        return known

    def hear(self, beat: Beat, topic: bytes, when: float) -> LiveWorker | None:
        """Take note of a sign of life; returns the worker if it was its last word, and it is gone.

        Args:
            beat: what it told.
            topic: its own topic.
            when: the instant of this sign.
        """
        worker = self._workers.get(beat.worker)
        if beat.gone:
            if worker is not None:
                self._remove(worker)
            return worker
        if worker is None:
            worker = self._workers[beat.worker] = LiveWorker(beat.worker, topic, when)
        worker.heard = max(worker.heard, when)
        worker.load = beat.load
        if (
            worker.takes != beat.takes
            or len(worker.names) != len(beat.names)
            or not worker.names.issuperset(beat.names)
        ):
            worker.takes = beat.takes
            worker.names = frozenset(beat.names)
            self._changed()
        return None

    def takes_nothing(self, worker: LiveWorker) -> None:
        """Send it nothing until its next sign of life says otherwise."""
        if worker.takes:
            worker.takes = False
            self._changed()

    def forgive(self, seconds: float, now: float) -> None:
        """For so long, until now, nothing could be heard: silence in that time is nobody's."""
        for worker in self._workers.values():
            worker.heard = min(worker.heard + seconds, now)

    def bury(self, now: float) -> list[LiveWorker]:
        """Take out, and return, those that have been silent for too long."""
        dead = [worker for worker in self._workers.values() if now - worker.heard > SILENCE]
        for worker in dead:
            self._remove(worker)
        return dead

    def _remove(self, worker: LiveWorker) -> None:
        del self._workers[worker.id]
        worker.alive = worker.takes = False
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._serving.clear()
