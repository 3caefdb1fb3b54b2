"""The sandbox's relay: one real relay in memory per gateway, all leading to one worker, and faults between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count as counting

import msgspec

from ..relay.memory import MemoryRelay
from ..relay.relay import Reply, Request
from .faults import Fault

__all__ = ["SandboxRelay"]


class SandboxRelay:
    """`box.relay`: what carries requests to the worker and replies back, and what can befall them on that way.

    Each fault befalls the next `count` messages (None: all until `calm`), or of them the share `rate`, of one name or
    of all that are an app's own; it returns the `Fault`, which knows what it struck. For the worker it is the
    `WorkerRelay`.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._relays: list[MemoryRelay] = []
        # Requests of several gateways have the same ids, so the worker is told others.
        self._ids = counting(1)
        self._open: dict[int, tuple[MemoryRelay, Request]] = {}
        self._told: dict[tuple[int, int], int] = {}
        self._on_the_way: set[int] = set()
        self._receive: Callable[[Sequence[Request]], None] | None = None
        self._cancel: Callable[[int], None] | None = None
        self._requests: list[Fault[Request]] = []
        self._replies: list[Fault[Request]] = []
        self._late: list[Fault[Request]] = []

    # Faults

    def drop_request(self, count: int | None = 1, *, rate: float = 1.0, name: str | None = None) -> Fault[Request]:
        """Lose requests on their way to the worker: nothing happens, and who asked is told in the end."""
        return self._set(self._requests, count, rate, name)

    def drop_reply(self, count: int | None = 1, *, rate: float = 1.0, name: str | None = None) -> Fault[Request]:
        """Lose replies on their way back: what was asked for has happened, and nobody is told."""
        return self._set(self._replies, count, rate, name)

    def delay(
        self, seconds: float, count: int | None = 1, *, rate: float = 1.0, name: str | None = None
    ) -> Fault[Request]:
        """Bring requests so much later to the worker; others overtake them."""
        return self._set(self._late, count, rate, name, seconds)

    def calm(self) -> None:
        """End all faults; what is late comes when it is due."""
        for faults in (self._requests, self._replies, self._late):
            for fault in faults:
                fault.end()
            faults.clear()

    def _set(
        self, faults: list[Fault[Request]], count: int | None, rate: float, name: str | None, seconds: float = 0.0
    ) -> Fault[Request]:
        def matches(request: Request) -> bool:
            return request.kind != "internal" if name is None else request.name == name

        fault = Fault(matches, count=count, rate=rate, chance=self._chance, seconds=seconds)
        faults.append(fault)
        return fault

    # The gateways' side

    def end(self) -> MemoryRelay:
        """A relay for one more gateway."""
        relay = MemoryRelay(self._loop, self._loop)
        self._relays.append(relay)
        if self._receive is not None:
            self._lead(relay)
        return relay

    def drop_end(self, relay: MemoryRelay) -> None:
        """A gateway is gone: what the worker answers it goes nowhere."""
        self._relays.remove(relay)
        relay.detach()
        for request_id, (owner, _) in list(self._open.items()):
            if owner is relay:
                self._close(request_id)

    def _lead(self, relay: MemoryRelay) -> None:
        relay.attach(partial(self._take, relay), partial(self._give_up, relay))

    # The worker's side

    def attach(self, receive: Callable[[Sequence[Request]], None], cancel: Callable[[int], None]) -> None:
        """Take requests from now on."""
        self._receive, self._cancel = receive, cancel
        for relay in self._relays:
            self._lead(relay)

    def detach(self) -> None:
        """Take no further requests."""
        self._receive = self._cancel = None
        for relay in self._relays:
            relay.detach()

    def reply(self, replies: Sequence[Reply]) -> None:
        """Send replies back."""
        for reply in replies:
            found = self._close(reply.id)
            if found is None:
                continue
            relay, request = found
            if not any(fault.strikes(request) for fault in self._replies):
                relay.reply([msgspec.structs.replace(reply, id=request.id)])

    # The way

    def _take(self, relay: MemoryRelay, requests: Sequence[Request]) -> None:
        now: list[Request] = []
        for request in requests:
            if any(fault.strikes(request) for fault in self._requests):
                continue
            late = next((fault for fault in self._late if fault.strikes(request)), None)
            renamed = msgspec.structs.replace(request, id=next(self._ids))
            self._open[renamed.id] = (relay, request)
            self._told[id(relay), request.id] = renamed.id
            if late is None:
                now.append(renamed)
            else:
                self._on_the_way.add(renamed.id)
                self._loop.call_later(late.seconds, self._hand_over, [renamed])
        self._hand_over(now)

    def _hand_over(self, requests: list[Request]) -> None:
        # Who was given up on the way is not asked for any more, and who comes when no worker is there is lost.
        wanted = [request for request in requests if request.id in self._open]
        self._on_the_way.difference_update(request.id for request in requests)
        if wanted and self._receive is not None:
            self._receive(wanted)

    def _give_up(self, relay: MemoryRelay, request_id: int) -> None:
        told = self._told.get((id(relay), request_id))
        if told is None:
            return
        if told in self._on_the_way:
            self._close(told)
        elif self._cancel is not None:
            self._cancel(told)

    def _close(self, told: int) -> tuple[MemoryRelay, Request] | None:
        found = self._open.pop(told, None)
        if found is not None:
            self._told.pop((id(found[0]), found[1].id), None)
        return found
