"""The worker's end of the relay on Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import count
from typing import Final

import structlog

from ..bus import Bus
from .counters import WorkerCounters
from .member import Living, Member
from .messages import GARBLED, Beat, ToGateway, decode_to_worker, encode, in_messages, travels
from .refusals import unsendable
from .registry import BEAT, SILENCE
from .relay import Reply, Request, RequestKind

__all__ = ["RedisWorkerRelay"]

log = structlog.get_logger(__name__)

# A gateway is gone when it heard so many messages in a row not, over so many seconds; or when it is in no registry and
# has been silent for so long.
_UNHEARD: Final = 3
_UNHEARD_SPAN: Final = 1.0
_SILENT: Final = 5.0

# What a request may still have, in seconds: more is garbage.
_LONGEST: Final = 86_400.0


class _Gateway:
    """A gateway that this worker knows, and what is to be told to it at the end of this tick."""

    __slots__ = (
        "gone",
        "handed_back",
        "heard",
        "incarnation",
        "open",
        "replies",
        "taken",
        "topic",
        "unheard",
        "unheard_since",
    )

    def __init__(self, incarnation: str, topic: bytes) -> None:
        self.incarnation: Final = incarnation
        self.topic: Final = topic
        self.open: dict[int, int] = {}
        """The worker's id of each of its open requests, by its own id."""
        self.taken: list[int] = []
        self.replies: list[Reply] = []
        self.handed_back: list[int] = []
        self.heard = 0.0
        """When it last sent something."""
        self.unheard = 0
        """How many messages in a row it did not hear."""
        self.unheard_since = 0.0
        self.gone = False


class RedisWorkerRelay:
    """`WorkerRelay`: takes requests of all gateways from the worker's own topic, and answers on theirs.

    It acknowledges what it takes and hands back what it does not. Requests get ids of this worker's own, so that
    those of several gateways cannot be confused; a request that comes again while it is open is only acknowledged.

    Make it on the worker's loop.

    Args:
        bus: the way to Redis, started.
        worker: this worker's incarnation, unique for ever.
        names: the commands and queries that it serves.
    """

    def __init__(self, bus: Bus, *, worker: str, names: Collection[str]) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._worker: Final = worker
        self._names: Final = sorted(names)
        self._beats: Final = bus.key("beats", "workers")
        self._ids = count(1)
        self._gateways: dict[str, _Gateway] = {}
        self._open: dict[int, tuple[_Gateway, int, RequestKind]] = {}
        self._to_tell: dict[str, _Gateway] = {}
        self._flush_scheduled = False
        self._asked = self._loop.time()
        """When the registry was last read."""
        self._take: Callable[[Sequence[Request]], None] | None = None
        self._cancel: Callable[[int], None] | None = None
        self._unregister: list[Callable[[], None]] = []
        self.counters: Final = WorkerCounters()
        self._member = Member(
            bus,
            "workers",
            worker,
            topics={bus.key("worker", worker): self._receive},
            span=SILENCE,
            told=self._beat,
            heard=self._hear,
            lost=lambda: None,
            back=self._say,
        )

    async def start(self) -> None:
        """Hear the worker's topic and beat; `attach` then takes requests. An absent Redis does not raise.

        Raises:
            BackchannelError: what no retry cures, such as a missing right to a topic.
        """
        await self._member.start()
        self._unregister = self.counters.publish(lambda: len(self._open))

    async def close(self) -> None:
        """Send what is to be said, and be gone: what is open is never answered. `detach` and finish first."""
        self.detach()
        self._flush()
        await self._member.stop()
        self._bus.publish(self._beats, encode(Beat(self._worker, takes=False, names=[], gone=True)))
        for unregister in self._unregister:
            unregister()
        self._unregister.clear()

    def ready(self) -> bool:
        """Whether requests can reach this worker."""
        return self._take is not None and self._member.hears

    def attach(self, receive: Callable[[Sequence[Request]], None], cancel: Callable[[int], None]) -> None:
        """Take requests from now on; both callbacks run on the worker's loop.

        Raises:
            RuntimeError: it is attached already.
        """
        if self._take is not None:
            raise RuntimeError("A worker is attached already: detach it first, one end serves one worker.")
        self._take, self._cancel = receive, cancel
        self._say()
        self._member.soon()

    def detach(self) -> None:
        """Take no further requests: gateways send theirs elsewhere at once, and what still arrives is handed back.

        What was taken is answered as before; what the worker refuses as `unavailable`, outcome `none`, to be asked
        again, is handed back, too.
        """
        if self._take is not None:
            self._take = None
            self._say()
            self._member.soon()

    def reply(self, replies: Sequence[Reply]) -> None:
        """Send replies back; never blocks. They leave at the end of this loop tick, with what else it brought."""
        leaving = self._take is None
        for reply in replies:
            found = self._open.pop(reply.id, None)
            if found is None:
                continue
            gateway, remote, _ = found
            del gateway.open[remote]
            if gateway.gone:
                self.counters.unheard += 1
                continue
            failure = reply.failure
            if (
                leaving
                and failure is not None
                and failure.code == "unavailable"
                and failure.outcome == "none"
                and failure.retry_after is not None
            ):
                gateway.handed_back.append(remote)
            else:
                gateway.replies.append(Reply(id=remote, data=reply.data, positions=reply.positions, failure=failure))
            self._tell(gateway)

    # From gateways

    def _receive(self, payloads: list[bytes]) -> None:
        batch: list[Request] = []
        cancelled: list[int] = []
        now = self._loop.time()
        for payload in payloads:
            try:
                message = decode_to_worker(payload)
            except GARBLED:
                self.counters.garbled += 1
                continue
            gateway = self._gateways.get(message.gateway)
            if gateway is None:
                gateway = _Gateway(message.gateway, self._bus.key("gateway", message.gateway))
                self._gateways[message.gateway] = gateway
            gateway.heard = now
            gateway.gone = False
            for request in message.requests:
                self._take_in(gateway, request, batch)
            for remote in message.cancelled:
                local = gateway.open.get(remote)
                if local is not None:
                    cancelled.append(local)
        try:
            if batch and self._take is not None:
                self._take(batch)
            for local in cancelled:
                self._stop(local)
        except Exception:
            log.exception("requests could not be taken", requests=len(batch))

    def _take_in(self, gateway: _Gateway, request: Request, batch: list[Request]) -> None:
        remote = request.id
        if remote in gateway.open:
            self.counters.duplicates += 1
            gateway.taken.append(remote)
        elif self._take is None:
            self.counters.handed_back += 1
            gateway.handed_back.append(remote)
        elif not 0 <= request.timeout <= _LONGEST:
            self.counters.garbled += 1
            return
        else:
            request.id = local = next(self._ids)
            gateway.open[remote] = local
            self._open[local] = (gateway, remote, request.kind)
            gateway.taken.append(remote)
            batch.append(request)
        self._tell(gateway)

    def _stop(self, local: int) -> None:
        if self._cancel is not None and local in self._open:
            self._cancel(local)

    # To gateways

    def _tell(self, gateway: _Gateway) -> None:
        self._to_tell[gateway.incarnation] = gateway
        if not self._flush_scheduled:
            self._flush_scheduled = True
            # Behind what the worker does in this tick: a query that is answered at once needs no receipt.
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        to_tell, self._to_tell = self._to_tell, {}
        for gateway in to_tell.values():
            taken, gateway.taken = gateway.taken, []
            replies, gateway.replies = gateway.replies, []
            handed_back, gateway.handed_back = gateway.handed_back, []
            message = ToGateway(
                self._worker, [remote for remote in taken if remote in gateway.open], handed_back=handed_back
            )
            for some in in_messages(replies, _size) if replies else [replies]:
                message.replies = list(some)
                if message.taken or message.replies or message.handed_back:
                    self._publish(gateway, message)
                message.taken, message.handed_back = [], []

    def _publish(self, gateway: _Gateway, message: ToGateway) -> None:
        try:
            payload = encode(message)
        except Exception:
            for position, reply in enumerate(message.replies):
                if not travels(reply):
                    log.error("a reply cannot travel", failure=reply.failure)
                    outcome = reply.failure.outcome if reply.failure is not None else "unknown"
                    message.replies[position] = Reply(id=reply.id, failure=unsendable("The answer", outcome))
            payload = encode(message)
        self._bus.publish(gateway.topic, payload, partial(self._told, gateway))

    def _told(self, gateway: _Gateway, receivers: int | None) -> None:
        if receivers:
            gateway.unheard = 0
        elif receivers == 0:
            now = self._loop.time()
            if gateway.unheard == 0:
                gateway.unheard_since = now
            gateway.unheard += 1
            if gateway.unheard >= _UNHEARD and now - gateway.unheard_since >= _UNHEARD_SPAN:
                self._part(gateway)

    def _part(self, gateway: _Gateway) -> None:
        """Answer a gateway no longer. Its commands go on; its queries are of no use to anybody."""
        if not gateway.gone:
            gateway.gone = True
            log.info("a gateway is gone", gateway=gateway.incarnation, open=len(gateway.open))
            for local in list(gateway.open.values()):
                if self._open[local][2] != "command":
                    self._stop(local)
        if not gateway.open:
            self._gateways.pop(gateway.incarnation, None)

    # The registry

    def _beat(self) -> bytes:
        return encode(Beat(self._worker, takes=self.ready(), names=self._names, load=len(self._open)))

    def _say(self) -> None:
        self._bus.publish(self._beats, self._beat())

    def _hear(self, living: list[Living]) -> None:
        self._say()
        there = {one.incarnation for one in living}
        now = self._loop.time()
        blind, self._asked = now - self._asked > 2 * BEAT, now
        for gateway in list(self._gateways.values()):
            if blind:  # this worker or Redis stood still: the silence was theirs
                gateway.heard = now
            if now - gateway.heard > _SILENT and gateway.incarnation.encode() not in there:
                self._part(gateway)


def _size(reply: Reply) -> int:
    return len(reply.data)
