"""The relay on Redis pub/sub: the gateway's end here, the worker's in `redis_worker`.

Each worker and each gateway has a topic of its own. What a gateway sends to one worker in one loop tick leaves as one
message; receipts and replies come back likewise. Pub/sub loses what nobody hears, so the gateway's end watches over
every open request, with one timer for all:

- Redis says that nobody heard it, or the worker hands it back: another worker has it at once; nothing has happened.
- No receipt within 500 ms, and then each second: the same worker again, for it lives. A receipt and no reply within
  2 s, then 4 s, 8 s …: likewise; a worker that still runs it only acknowledges.
- The worker died: another worker at once. The connection to Redis was lost: all again, in order, when it is back.

But for the first rule, only queries, internal queries and commands with a key are sent again, with the next `attempt`,
and at most eight times; a command without a key is then `unavailable`, outcome `unknown`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from ..bus import Bus
from . import refusals
from .asking import ask
from .counters import GatewayCounters
from .member import Living, Member
from .messages import GARBLED, Beat, decode_beat, decode_to_gateway
from .open_request import OpenRequest, Passage
from .outbox import Outbox
from .redis_worker import RedisWorkerRelay
from .registry import BEAT, SILENCE, LiveWorker, Registry
from .relay import Failure, Reply, Request
from .routing import Routing, RoutingMode, least_loaded
from .sweep import Sweep

__all__ = ["RedisRelay", "RedisWorkerRelay"]

log = structlog.get_logger(__name__)

# Seconds until a request is looked after: without a receipt; then without a reply, doubled so many times.
_RECEIPT: Final = 0.5
_NEXT_RECEIPT: Final = 1.0
_REPLY: Final = 2.0
_DOUBLINGS: Final = 3
# How often one request is sent at most.
_ATTEMPTS: Final = 8
# Redis has not even said whether anybody heard it: sending more makes nothing quicker.
_STILL_WRITTEN: Final = 0.25
# A command without a key, when the connection it left on broke: how long its reply may still come.
_LAST_HOPE: Final = 1.0
# After Redis was lost, how long workers may take to hear again before "nobody heard it" counts.
_SETTLES: Final = 1.0
# A gateway's silence after which its entry in the registry counts as left over.
_SPAN: Final = 5.0


class RedisRelay:
    """`Relay`: sends a gateway's requests to the workers that live. Make it and use it on the gateway's loop.

    Args:
        bus: the way to Redis, started.
        gateway: this gateway's incarnation, unique for ever.
        routing: `lane`, or `random` to show that nothing depends on it.
        in_flight: how many of this gateway's requests may be with one worker; what is over it is `unavailable`.
        chance: the source of randomness.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        gateway: str,
        routing: RoutingMode = "lane",
        in_flight: int = 1000,
        chance: random.Random | None = None,
    ) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._gateway: Final = gateway
        self._limit: Final = in_flight
        self._registry: Final = Registry()
        self._routing: Final = Routing(self._registry, routing, chance)
        self._number = 0
        self._waiting: dict[int, OpenRequest] = {}
        """All open requests, in the order sent."""
        self._outgoing: list[OpenRequest] = []
        """What leaves at the end of this tick."""
        self._mixed = False
        """Whether something in `_outgoing` was sent before."""
        self._parked: list[OpenRequest] = []
        """What waits for workers to hear again, after Redis was lost."""
        self._interrupted = False
        """Whether Redis was lost since this end began to hear."""
        self._settled = 0.0
        """Until when it counts as just come back."""
        self._outbox: Final = Outbox(bus, gateway, self._passed, self._stuck)
        self._flush_scheduled = False
        self._tick = 0.0
        self._sweep: Final = Sweep(self._loop, self._look_after_all)
        self._asked = self._loop.time()
        """When the registry in Redis was last read."""
        self._unregister: list[Callable[[], None]] = []
        self.counters: Final = GatewayCounters()
        self._member = Member(
            bus,
            "gateways",
            gateway,
            topics={bus.key("gateway", gateway): self._receive, bus.key("beats", "workers"): self._hear_beats},
            span=_SPAN,
            told=lambda: b"",
            heard=self._hear_living,
            lost=self._lost,
            back=self._back,
        )

    async def start(self) -> None:
        """Hear the gateway's topic and learn which workers live. An absent Redis does not raise: `ready` tells.

        Raises:
            BackchannelError: what no retry cures, such as a missing right to a topic.
        """
        await self._member.start()
        self._unregister = self.counters.publish(self._in_flight, lambda: len(self._registry))

    async def close(self) -> None:
        """Answer what is open as `unavailable`, and hear nothing more."""
        for entry in list(self._waiting.values()):
            self._give_up(entry)
            self._refuse(entry, refusals.GATEWAY_STOPS)
        self._flush()
        self._sweep.cancel()
        await self._member.stop()
        for unregister in self._unregister:
            unregister()
        self._unregister.clear()

    def ready(self) -> bool:
        """Whether a worker is there and Redis is heard."""
        return self._member.hears and bool(self._registry.serving(None))

    # What the gateway asks for

    def send(self, request: Request, on_reply: Callable[[Reply], None]) -> None:
        """Send a request; never blocks, never raises. It leaves at the end of this loop tick."""
        self._schedule_flush()
        self._number += 1
        entry = OpenRequest(request, on_reply, self._number, self._tick + request.timeout)
        entry.outgoing = True
        self._waiting[request.id] = entry
        self._outgoing.append(entry)

    def cancel(self, request_id: int) -> None:
        """Nobody waits any more: `on_reply` gets `cancelled` before this returns, and the worker is told.

        A request that is answered already, or was never sent, is left alone.
        """
        entry = self._waiting.get(request_id)
        if entry is not None:
            failure = refusals.NOT_SENT if entry.certain else refusals.CANCELLED
            self._give_up(entry)
            self._finish(entry, Reply(id=request_id, failure=failure))

    async def ask(self, request: Request) -> Reply:
        """Send and wait for the answer. Cancelling the wait cancels the request."""
        return await ask(self, request)

    # Sending

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._tick = self._loop.time()
            self._loop.call_soon(self._flush)

    def _put_back(self, entry: OpenRequest, *, again: bool) -> None:
        """Let a request leave once more, in its place among the others; to its worker if it still has one."""
        entry.renew(self._loop.time(), again=again)
        if again:
            self.counters.resends += 1
        if not entry.outgoing:
            entry.outgoing = True
            self._outgoing.append(entry)
            self._mixed = True
            self._schedule_flush()

    def _flush(self) -> None:
        self._flush_scheduled = False
        outgoing, self._outgoing = self._outgoing, []
        if self._mixed:
            self._mixed = False
            outgoing.sort(key=lambda entry: entry.number)
        now = self._loop.time()
        hears = self._member.hears
        earliest = float("inf")
        for entry in outgoing:
            entry.outgoing = False
            if entry.done:
                continue
            worker = entry.worker
            if worker is None:
                worker = self._place(entry, now, hears)
                if worker is None:
                    # Refused, or waiting.
                    earliest = min(earliest, entry.due)
                    continue
                entry.worker = worker
                worker.in_flight += 1
            entry.passage = Passage.WRITTEN
            entry.attempts += 1
            due = entry.deadline
            if entry.repeatable:
                due = min(due, now + (_RECEIPT if entry.attempts == 1 else _NEXT_RECEIPT))
            entry.due = due
            if due < earliest:
                earliest = due
            self._outbox.add(worker, entry)
        self._outbox.post()
        if earliest < float("inf"):
            self._sweep.by(earliest)

    def _place(self, entry: OpenRequest, now: float, hears: bool) -> LiveWorker | None:
        """The worker for a request; None if it was refused, or waits."""
        request = entry.request
        workers = self._registry.serving(None if request.kind == "internal" else request.name)
        failure: Failure | None = None
        if entry.attempts >= _ATTEMPTS:
            failure = refusals.TOO_MANY_ATTEMPTS
        elif not hears:
            if entry.risky:
                self._park(entry, entry.deadline)
                return None
            failure = refusals.REDIS_LOST
        elif not workers:
            if now < self._settled:
                self._park(entry, self._settled)
                return None
            failure = refusals.UNSERVED if self._registry.serving(None) else refusals.NO_WORKER
        else:
            worker = self._routing.choose(entry, workers)
            if worker is not None and worker.in_flight < self._limit:
                return worker
            if worker is None:
                assert entry.lane is not None
                if len(entry.lane.held) <= self._limit:
                    return None
                entry.lane.held.pop()
                entry.lane = None
            elif entry.lane is not None:
                self._leave_lane(entry)
            else:
                free = [other for other in workers if other.in_flight < self._limit]
                if free:
                    return least_loaded(free, entry.number)
            failure = refusals.BUSY
        self._refuse(entry, failure)
        return None

    def _park(self, entry: OpenRequest, until: float) -> None:
        entry.due = min(until, entry.deadline)
        self._parked.append(entry)

    def _unpark(self) -> None:
        parked, self._parked = self._parked, []
        for entry in parked:
            if not entry.done:
                self._put_back(entry, again=False)

    def _passed(self, worker: LiveWorker, entries: Sequence[OpenRequest], receivers: int | None) -> None:
        """Redis told how many heard a message, or will never tell (None)."""
        if receivers:
            for entry in entries:
                if entry.passage is Passage.WRITTEN:
                    entry.passage = Passage.PASSED_ON
            return
        concerned = [entry for entry in entries if entry.worker is worker]
        if receivers is None:
            due = self._loop.time() + _LAST_HOPE
            for entry in concerned:
                entry.passage = Passage.LOST
                if not entry.repeatable:
                    entry.due = min(due, entry.deadline)
            if concerned:
                self._sweep.by(due)
        elif concerned:
            self._registry.takes_nothing(worker)
            self._elsewhere(concerned)

    def _stuck(self, entry: OpenRequest) -> None:
        """A request cannot be encoded: nothing of it left."""
        self._leave(entry)
        self._refuse(entry, refusals.unsendable("The request", "none"))

    def _elsewhere(self, entries: Iterable[OpenRequest]) -> None:
        """The present attempt certainly did not happen: another worker may have it at once."""
        for entry in entries:
            self.counters.no_receiver += 1
            self._leave(entry)
            self._put_back(entry, again=False)

    # Parting from a worker

    def _leave(self, entry: OpenRequest) -> None:
        """A request is with its worker no longer."""
        worker = entry.worker
        if worker is not None:
            entry.worker = None
            worker.in_flight -= 1
            self._leave_lane(entry)

    def _leave_lane(self, entry: OpenRequest) -> None:
        lane = entry.lane
        if lane is not None:
            entry.lane = None
            lane.open -= 1
            if lane.held and not lane.open:
                held, lane.held = lane.held, []
                for waited in held:
                    if not waited.done:
                        waited.lane = None
                        self._put_back(waited, again=False)

    def _bury(self, worker: LiveWorker) -> None:
        """A worker died: what it had is with another one at once, or its outcome is unknown."""
        (log.warning if worker.in_flight else log.info)(
            "a worker is gone", worker=worker.id, in_flight=worker.in_flight
        )
        for entry in [entry for entry in self._waiting.values() if entry.worker is worker]:
            if entry.done:
                continue
            if not entry.repeatable:
                self._refuse(entry, refusals.WORKER_DIED)
                continue
            # It may only have been stopped: then it will answer, too late, or is told not to begin.
            entry.elsewhere = [*(entry.elsewhere or ()), worker]
            self._leave(entry)
            self._put_back(entry, again=True)

    # Answering

    def _finish(self, entry: OpenRequest, reply: Reply) -> None:
        self._waiting.pop(entry.request.id, None)
        entry.done = True
        if entry.elsewhere is not None:
            # One of several has answered; whoever answered does not mind.
            self._tell_cancelled(entry, entry.elsewhere)
            self._give_up(entry)
        self._leave(entry)
        try:
            entry.on_reply(reply)
        except Exception:
            # One caller's fault must not cost the others of the same message their answers.
            log.exception("on_reply failed", request=reply.id)

    def _refuse(self, entry: OpenRequest, failure: Failure) -> None:
        """Answer with a failure of the relay's own, whose outcome is as bad as what has been sent."""
        if not entry.certain and failure.outcome == "none":
            failure = refusals.with_unknown_outcome(failure)
        self._finish(entry, Reply(id=entry.request.id, failure=failure))

    def _give_up(self, entry: OpenRequest) -> None:
        """Tell the worker that nobody waits for this request any more."""
        if entry.worker is not None:
            self._tell_cancelled(entry, [entry.worker])

    def _tell_cancelled(self, entry: OpenRequest, workers: Iterable[LiveWorker]) -> None:
        for worker in workers:
            self._outbox.cancel(worker, entry.request.id)
        self._schedule_flush()

    def _receive(self, payloads: list[bytes]) -> None:
        """Receipts, replies and what workers hand back."""
        waiting = self._waiting
        for payload in payloads:
            try:
                message = decode_to_gateway(payload)
            except GARBLED:
                self.counters.garbled += 1
                continue
            sender = message.worker
            if message.taken:
                now = self._loop.time()
                for request_id in message.taken:
                    entry = waiting.get(request_id)
                    if entry is not None and entry.worker is not None and entry.worker.id == sender:
                        entry.passage = Passage.TAKEN
                        entry.due = entry.deadline
                        if entry.repeatable:
                            entry.due = min(entry.due, now + _REPLY * 2 ** min(entry.attempts - 1, _DOUBLINGS))
            for reply in message.replies:
                entry = waiting.get(reply.id)
                if entry is None:
                    self.counters.late_replies += 1
                elif reply.failure is None or not entry.risky:
                    self._finish(entry, reply)
                else:
                    self._fail(entry, reply, reply.failure, sender)
            for request_id in message.handed_back:
                entry = waiting.get(request_id)
                if entry is not None and entry.worker is not None and entry.worker.id == sender:
                    self._registry.takes_nothing(entry.worker)
                    self._elsewhere([entry])

    def _fail(self, entry: OpenRequest, reply: Reply, failure: Failure, sender: str) -> None:
        """A request that was sent more than once has failed in one attempt."""
        if failure.retry:
            if entry.worker is None or entry.worker.id != sender:
                # That one could not; the present attempt still may.
                self.counters.late_replies += 1
                return
            reply.failure = refusals.with_unknown_outcome(failure)
        self._finish(entry, reply)

    # The workers

    def _hear_beats(self, payloads: list[bytes]) -> None:
        now = self._loop.time()
        for payload in payloads:
            try:
                beat = decode_beat(payload)
            except GARBLED:
                self.counters.garbled += 1
            else:
                self._hear(beat, now)

    def _hear(self, beat: Beat, when: float) -> None:
        gone = self._registry.hear(beat, self._bus.key("worker", beat.worker), when)
        if gone is not None:
            self._bury(gone)
        if self._parked and self._registry.serving(None):
            self._unpark()

    def _hear_living(self, living: Sequence[Living]) -> None:
        """Redis answered: who lives by its clock, and who has been silent for too long."""
        now = self._loop.time()
        gap, self._asked = now - self._asked, now
        if gap > 2 * BEAT:
            # Redis, the way to it, or this process stood still.
            self._registry.forgive(gap - BEAT, now)
        for one in living:
            try:
                beat = decode_beat(one.told)
            except GARBLED:
                self.counters.garbled += 1
            else:
                self._hear(beat, now - max(SILENCE - one.left, 0.0))
        for worker in self._registry.bury(now):
            self._bury(worker)

    def _lost(self) -> None:
        self._interrupted = True

    def _back(self) -> None:
        """Redis is heard again: what was under way may be lost."""
        if not self._interrupted:
            return
        self._interrupted = False
        self._settled = self._loop.time() + _SETTLES
        for entry in self._waiting.values():
            if entry.worker is not None and entry.repeatable and entry.attempts < _ATTEMPTS:
                self._put_back(entry, again=True)
        self._unpark()

    def _in_flight(self) -> float:
        return sum(entry.worker is not None for entry in list(self._waiting.values()))

    # What waits for too long

    def _look_after_all(self) -> None:
        """Look after what is due, and come back when the next one is."""
        now = self._loop.time()
        for entry in [entry for entry in self._waiting.values() if entry.due <= now]:
            if not entry.done:
                self._look_after(entry, now)
        if self._waiting:
            self._sweep.by(min(entry.due for entry in self._waiting.values()))

    def _look_after(self, entry: OpenRequest, now: float) -> None:
        if entry.deadline <= now:
            self._give_up(entry)
            self._refuse(entry, refusals.NOT_SENT_IN_TIME if entry.certain else refusals.TIME_IS_OUT)
        elif entry.worker is None:
            self._unpark()
        elif not entry.repeatable:
            self._give_up(entry)
            self._refuse(entry, refusals.REDIS_LOST)
        elif not self._member.hears:
            entry.due = min(entry.deadline, now + _RECEIPT)
        elif entry.passage is Passage.WRITTEN:
            entry.due = min(entry.deadline, now + _STILL_WRITTEN)
        elif entry.attempts >= _ATTEMPTS and entry.passage is Passage.TAKEN:
            entry.due = entry.deadline
        elif entry.attempts >= _ATTEMPTS:
            self._give_up(entry)
            self._refuse(entry, refusals.TOO_MANY_ATTEMPTS)
        else:
            self._put_back(entry, again=True)
