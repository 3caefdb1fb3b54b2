"""The outbox of a gateway's end: what one loop tick brings for each worker leaves as one message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ..bus import Bus
from .messages import ToWorker, encode, in_messages, travels
from .open_request import OpenRequest
from .registry import LiveWorker

__all__ = ["Outbox"]


class Outbox:
    """Gathers requests and cancellations.

    Args:
        bus: the way to Redis.
        gateway: this gateway's incarnation.
        passed: is told later how many heard a message with these requests; None: nobody knows.
        stuck: gets a request that has no form on the bus, and answers it.
    """

    def __init__(
        self,
        bus: Bus,
        gateway: str,
        passed: Callable[[LiveWorker, Sequence[OpenRequest], int | None], None],
        stuck: Callable[[OpenRequest], None],
    ) -> None:
        self._bus = bus
        self._gateway: Final = gateway
        self._passed = passed
        self._stuck = stuck
        # Not by name: one that was taken for dead and lives again is another entry of the registry.
        self._to_post: dict[LiveWorker, None] = {}

    def add(self, worker: LiveWorker, entry: OpenRequest) -> None:
        """A request leaves with the next message for this worker."""
        worker.outgoing.append(entry)
        self._to_post[worker] = None

    def cancel(self, worker: LiveWorker, request_id: int) -> None:
        """The worker is told that nobody waits for this request any more."""
        worker.cancelled.append(request_id)
        self._to_post[worker] = None

    def post(self) -> None:
        """Publish what has gathered, in order; what is too much for one message in several."""
        to_post, self._to_post = self._to_post, {}
        for worker in to_post:
            outgoing, worker.outgoing = worker.outgoing, []
            cancelled, worker.cancelled = worker.cancelled, []
            for entries in in_messages(outgoing, _size) if outgoing else [outgoing]:
                payload = self._encode(entries, cancelled)
                cancelled = []
                self._bus.publish(worker.topic, payload, partial(self._passed, worker, entries))

    def _encode(self, entries: Sequence[OpenRequest], cancelled: list[int]) -> bytes:
        requests = [entry.request for entry in entries if not entry.done]
        try:
            return encode(ToWorker(self._gateway, requests, cancelled))
        except Exception:
            for entry in entries:
                if not travels(entry.request):
                    self._stuck(entry)
            requests = [entry.request for entry in entries if not entry.done]
            return encode(ToWorker(self._gateway, requests, cancelled))


def _size(entry: OpenRequest) -> int:
    return len(entry.request.data)
