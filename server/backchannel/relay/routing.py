"""Routing: which worker a request goes to. Nothing is correct because of it.

A command goes by its lane, so that what is serialised meets in one worker's batches; anything else to the least
loaded worker. While a lane has commands open at a worker, later ones follow them there, or wait until that worker, if
it takes no more, has answered: this is how the commands of one connection to one lane keep their order while workers
come and go.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal

from .registry import LiveWorker, Registry

if TYPE_CHECKING:
    from .open_request import OpenRequest

__all__ = ["Lane", "Routing", "RoutingMode", "least_loaded", "preferred"]

RoutingMode = Literal["lane", "random"]

# Lanes that are remembered although they have nothing open; a lane costs about 200 bytes.
_REMEMBERED: Final = 20_000


def _weight(lane: bytes, worker: str) -> bytes:
    return blake2b(lane, digest_size=8, key=worker.encode()[:64]).digest()


def preferred(lane: str, workers: Sequence[LiveWorker]) -> LiveWorker:
    """The worker that this lane belongs to, the same on every gateway (rendezvous hashing).

    A worker that comes takes only its own share of the lanes, and of one that goes the lanes spread over the others;
    no other lane moves.

    Args:
        lane: what the command is serialised by.
        workers: at least one.
    """
    if len(workers) == 1:
        return workers[0]
    name = lane.encode(errors="surrogatepass")
    return max(workers, key=lambda worker: _weight(name, worker.id))


def least_loaded(workers: Sequence[LiveWorker], turn: int) -> LiveWorker:
    """The worker with the least to do: this gateway's own requests, and what it told of all.

    Args:
        workers: at least one.
        turn: a number that grows from call to call, so that equals take turns.
    """
    count = len(workers)
    best = workers[turn % count]
    least = best.in_flight + best.load
    for step in range(1, count):
        worker = workers[(turn + step) % count]
        load = worker.in_flight + worker.load
        if load < least:
            best, least = worker, load
    return best


class Lane:
    """A lane, and where its commands go."""

    __slots__ = ("held", "open", "version", "worker")

    def __init__(self, worker: LiveWorker, version: int) -> None:
        self.worker = worker
        self.version = version
        """The registry's, when the worker was chosen."""
        self.open = 0
        """Commands that are with the worker."""
        self.held: list[OpenRequest] = []
        """Commands that wait until none is open any more."""


class Routing:
    """Chooses the worker for each request.

    Args:
        registry: the workers.
        mode: `random` chooses at random among those that serve the name, and keeps no order: it is there to show that
            nothing depends on routing.
        chance: the source of randomness.
    """

    def __init__(self, registry: Registry, mode: RoutingMode, chance: random.Random | None = None) -> None:
        self._registry = registry
        self._mode: Final = mode
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._turn = self._chance.randrange(1 << 16)
        self._lanes: dict[str, Lane] = {}

    def choose(self, entry: OpenRequest, workers: Sequence[LiveWorker]) -> LiveWorker | None:
        """The worker for a request; None if it has to wait for its lane, in `Lane.held`.

        A command's lane is noted in `entry.lane`.

        Args:
            entry: the request.
            workers: those that serve it, at least one.
        """
        request = entry.request
        if self._mode == "random":
            return self._chance.choice(workers)
        if request.kind == "command" and request.lane:
            return self._by_lane(entry, request.lane, workers)
        self._turn += 1
        return least_loaded(workers, self._turn)

    def _by_lane(self, entry: OpenRequest, name: str, workers: Sequence[LiveWorker]) -> LiveWorker | None:
        version = self._registry.version
        lane = self._lanes.get(name)
        if lane is None:
            if len(self._lanes) >= _REMEMBERED:
                self._lanes = {name: lane for name, lane in self._lanes.items() if lane.open or lane.held}
            lane = self._lanes[name] = Lane(preferred(name, workers), version)
        elif lane.held or (lane.open and lane.worker not in workers):
            lane.held.append(entry)
            entry.lane = lane
            return None
        elif not lane.open and (lane.version != version or lane.worker not in workers):
            lane.worker, lane.version = preferred(name, workers), version
        entry.lane = lane
        lane.open += 1
        return lane.worker
