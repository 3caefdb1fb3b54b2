"""The broker on Redis: events by pub/sub, live logs and presence by scripts.

Redis carries and never owns: what is durable is in the store, live logs begin a new epoch when Redis forgets, and who
is present is entered anew by whoever is connected. A Redis user of an installation needs, beside what the bus needs,
`+info +time +hset +hget +hmget +hdel +hlen +hgetall +hrandfield +llen +lindex +lrange +lpop +ltrim +rpush +del +unlink
+exists +pexpire +pexpireat +zadd +zrem +zrange +zscore +sadd +srem +smembers +srandmember`.

What it costs, measured with events of 200 bytes, in µs per event for a channel's appends that come 64 at a time, 10 at
a time and alone: 3, 4 and 18 of Redis (3.3 of each run for reading its own history's id, which makes the epoch right
also on a connection that outlives a promotion) and 2.5, 6 and 9 of Python; hearing them 0.6 to 2 of Python per gateway.
Durable events cost 0.5 to 2.5 of Python to publish and 0.4 to 1.5 of Redis.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import msgspec

from backchannel_protocol import BackchannelError, Refused

from ..bus import Bus, Script, Word
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .broker import Envelope, LogBounds, LogHead, PresenceChange, PresenceState
from .notes import Tell
from .redis_presence import RedisPresence

__all__ = ["RedisBroker"]

_log = get_logger(__name__)

T = TypeVar("T")

# How often the keys that quiet channels live on by are kept from expiring, in seconds; they expire after an hour.
KEEP_EVERY: Final = 900.0

# Events in one run of the script, and in one message.
_TOGETHER: Final = 100

# Channels whose keys are remembered: some 500 bytes each.
_NAMES: Final = 4096

# How soon a Redis that is heard and does not answer yet is asked again, in seconds.
_ASK_AGAIN: Final = 0.05

# A log's element: when it ages out (8 bytes), the publication (16), the event. See log.lua.
_ID_SIZE: Final = 16
_PREFIX: Final = 8 + _ID_SIZE


def _script(file: str) -> Script:
    return Script.of(f"broker/{file}", Script.load("broker", "log.lua").text + Script.load("broker", file).text)


# What an event begins with: an array of so many fields. MessagePack says so in one byte up to 15.
_ARRAY: Final = bytes([0x90 | len(Envelope.__struct_fields__)])
# What a change of presence begins with, likewise.
_CHANGE: Final = 0x90 | len(PresenceChange.__struct_fields__)
# What events that travel together begin with, before their number in two bytes: a longer array.
_EVENTS: Final = b"\xdc"

_encode = msgspec.msgpack.Encoder().encode
_event: Final = msgspec.msgpack.Decoder(Envelope).decode
_events: Final = msgspec.msgpack.Decoder(list[Envelope]).decode
_change: Final = msgspec.msgpack.Decoder(PresenceChange).decode


class _Appends:
    """What was appended to one channel in this tick, and who waits for it."""

    __slots__ = ("bounds", "waiting", "words")

    def __init__(self, bounds: LogBounds) -> None:
        self.bounds = bounds
        self.words: list[Word] = []
        self.waiting: list[asyncio.Future[LogHead]] = []

    def answered(self, reply: Any) -> None:
        """Redis answered, or it is known that it will not."""
        if isinstance(reply, Exception):
            for waiting in self.waiting:
                if not waiting.done():
                    waiting.set_exception(reply)
                    # Who asked may be gone; that is no news then.
                    waiting.exception()
            return
        epoch, first, *offsets = reply
        epoch = epoch.decode()
        for waiting, offset in zip(self.waiting, offsets, strict=True):
            if not waiting.done():
                waiting.set_result(LogHead(epoch, offset, first))


class RedisBroker:
    """A `Broker` for one process among many. Make it, start it and close it on the bus's loop.

    Args:
        bus: the way to Redis; started and closed by whoever made it.
        grace: seconds that a user without a connection still counts as present.
        gateway: this gateway's name, unique for this run of it; None in a worker, which publishes, appends and reads.
    """

    def __init__(self, bus: Bus, *, grace: float = 10.0, gateway: str | None = None) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._publish_word = "SPUBLISH" if bus.target.kind == "cluster" else "PUBLISH"
        self._append_script = _script("append.lua")
        self._read_script = _script("read.lua")
        self._presence = RedisPresence(bus, grace=grace, gateway=gateway or "", publish_word=self._publish_word)
        self._gateway = gateway
        self._live: set[str] = set()
        """Channels that are listened to and have a log here."""
        self._listening: set[str] = set()
        # One object for all topics: the bus hands over together what comes for the same receiver.
        self._receiver = self._arrived
        self._receive: Callable[[Sequence[Envelope]], None] = lambda envelopes: None
        self._changed: Callable[[PresenceChange], None] = lambda change: None
        self._on_lost: Callable[[], None] = lambda: None
        self._unwatch: Callable[[], None] | None = None
        self._deaf_since: float | None = None
        self._appends: dict[str, _Appends] = {}
        # Made for each event otherwise, which took as long as encoding it.
        self._topic = lru_cache(_NAMES)(partial(bus.key, "events"))
        self._log_keys = lru_cache(_NAMES)(self._make_log_keys)
        self._random = random.Random()  # noqa: S311 - no secret: an epoch is only never to be the same again
        self._comparing: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    def attach(
        self,
        receive: Callable[[Sequence[Envelope]], None],
        changed: Callable[[PresenceChange], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Set what is called with what arrives, and when it arrives again after a loss."""
        self._receive, self._changed, self._on_lost = receive, changed, on_lost

    def note(self, wanted: Callable[[str], bool], tell: Tell) -> None:
        """Have it noted who comes and who is gone, on channels that are wanted; before `start`."""
        self._presence.note(wanted, tell)

    async def start(self) -> None:
        """Begin; Redis need not be there."""
        self._unwatch = self._bus.watch(self._lost, self._back)
        self._keeper = self._loop.create_task(self._keep(), name="broker keeper")
        await self._presence.start()

    async def close(self) -> None:
        """Give up this gateway's presence, so that others clear it at once, and hear nothing any more."""
        if self._unwatch is not None:
            self._unwatch()
        for task in (self._keeper, self._comparing):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        for channel in self._listening:
            self._bus.unsubscribe(self._topic(channel))
        self._listening.clear()
        self._live.clear()
        await self._presence.close()

    # Hearing

    def hears(self) -> bool:
        """Whether Redis has confirmed everything that is listened to, and the connection is alive."""
        return self._bus.hearing

    def _lost(self) -> None:
        self._deaf_since = time.monotonic()
        if self._gateway is not None:
            metrics.deafnesses += 1
            _log.error("deaf: what other processes publish does not arrive", channels=len(self._listening))

    def _back(self) -> None:
        if self._deaf_since is not None and self._gateway is not None:
            seconds = round(time.monotonic() - self._deaf_since, 3)
            _log.warning("hears again: every channel is compared with its log", deaf_for=seconds)
        self._deaf_since = None
        if self._comparing is not None:
            self._comparing.cancel()
        self._comparing = self._loop.create_task(self._compare(), name="broker comparison")

    async def _compare(self) -> None:
        """Have everything compared as soon as Redis also answers: what hears and what asks are two connections."""
        while self._bus.hearing:
            try:
                await self._presence.back()
            except Refused:
                await asyncio.sleep(_ASK_AGAIN)
                continue
            except BackchannelError as exc:
                _log.error("presence cannot be kept", reason=str(exc))
            self._on_lost()
            return

    async def listen(self, channel: str) -> None:
        """Return once Redis has confirmed that this channel is heard. Cancelling gives up.

        Raises:
            Refused: `unavailable`, after 5 s; nothing is left of the attempt.
        """
        await self._bus.subscribe(self._topic(channel), self._receiver)
        self._listening.add(channel)

    def unlisten(self, channel: str) -> None:
        """Stop receiving a channel's events."""
        self._listening.discard(channel)
        self._live.discard(channel)
        self._bus.unsubscribe(self._topic(channel))

    def _arrived(self, payloads: list[bytes]) -> None:
        """Hand over what came, in its order."""
        envelopes: list[Envelope] = []
        for payload in payloads:
            try:
                if payload[0] != _CHANGE:
                    envelopes += _events(payload)
                    continue
                change = _change(payload)
            except (msgspec.DecodeError, IndexError) as exc:
                _log.error("what arrived is no event", reason=str(exc), size=len(payload))
                continue
            if envelopes:
                self._receive(envelopes)
                envelopes = []
            self._presence.heard(change)
            self._changed(change)
        if envelopes:
            self._receive(envelopes)

    # Events

    def publish(self, envelopes: Sequence[Envelope]) -> None:
        """Send events; from any thread, in the order of the calls of that thread.

        What is sent while Redis cannot be reached is lost: durable events are in their logs, ephemeral ones may be.
        """
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self.publish, list(envelopes))
            return
        channels: dict[str, list[bytes]] = {}
        for envelope in envelopes:
            channels.setdefault(envelope.channel, []).append(_encode(envelope))
        for channel, events in channels.items():
            for begin in range(0, len(events), _TOGETHER):
                some = events[begin : begin + _TOGETHER]
                self._bus.publish(self._topic(channel), _EVENTS + len(some).to_bytes(2, "big") + b"".join(some))

    def append(self, envelope: Envelope, bounds: LogBounds, publication: str | None = None) -> Awaitable[LogHead]:
        """Append an event to its live log and publish it, in one step; from any thread's loop.

        What is appended to a channel in one loop tick is one run of the script. Cancelling gives up waiting; the event
        may be appended all the same.

        Raises:
            Refused: when awaited: `unavailable`; with the outcome `unknown` repeat it with the same publication.
        """
        if threading.get_ident() != self._thread:
            return self._there(self._append_here(envelope, bounds, publication))
        return self._append(envelope, bounds, publication)

    async def _append_here(self, envelope: Envelope, bounds: LogBounds, publication: str | None) -> LogHead:
        return await self._append(envelope, bounds, publication)

    def _append(self, envelope: Envelope, bounds: LogBounds, publication: str | None) -> asyncio.Future[LogHead]:
        channel = envelope.channel
        appends = self._appends.get(channel)
        if appends is None:
            if not self._appends:
                self._loop.call_soon(self._flush)
            appends = self._appends[channel] = _Appends(bounds)
        elif len(appends.waiting) >= _TOGETHER:
            # Redis does nothing else meanwhile: a longer run would keep the others waiting.
            self._send(channel, appends)
            appends = self._appends[channel] = _Appends(bounds)
        # The script puts epoch and offset between the two.
        appends.words += (
            b"" if publication is None else _publication_id(publication),
            _ARRAY + _encode((channel, envelope.name, envelope.data))[1:],
            _encode((envelope.user, envelope.key, envelope.subject, envelope.time, envelope.ends))[1:],
        )
        answer: asyncio.Future[LogHead] = self._loop.create_future()
        appends.waiting.append(answer)
        return answer

    def _flush(self) -> None:
        appends, self._appends = self._appends, {}
        for channel, some in appends.items():
            self._send(channel, some)

    def _send(self, channel: str, appends: _Appends) -> None:
        bounds = appends.bounds
        self._bus.begin(
            self._append_script,
            (*self._log_keys(channel), self._topic(channel)),
            (self._publish_word, bounds.size, max(1, int(bounds.age * 1000)), self._fresh(), *appends.words),
            appends.answered,
        )

    def _fresh(self) -> str:
        """An epoch that there was never before."""
        return f"{self._random.getrandbits(64):016x}"

    async def head(self, channel: str) -> LogHead:
        """Where a live channel's log stands. A channel without a log gets one, so that its epoch is settled.

        Raises:
            Refused: `unavailable`.
        """
        head, _ = await self.read(channel, 0, 0)
        if channel in self._listening:
            self._live.add(channel)
        return head

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """The events after an offset, in order.

        Raises:
            Refused: `unavailable`.
        """
        args: list[Word] = [self._fresh(), after, limit]
        epoch, offset, first, *elements = await self._bus.run(self._read_script, self._log_keys(channel), args)
        return LogHead(epoch.decode(), offset, first), [_event(memoryview(element)[_PREFIX:]) for element in elements]

    def _make_log_keys(self, channel: str) -> tuple[bytes, bytes, bytes]:
        key = self._bus.key
        return key("head", channel), key("log", channel), key("ids", channel)

    async def _keep(self) -> None:
        """Ask for the heads of quiet channels now and then: asking keeps them from expiring."""
        while True:
            await asyncio.sleep(KEEP_EVERY)
            heads = [self.head(channel) for channel in self._live]
            # What fails is done in time for the next: the keys live four times as long.
            await asyncio.gather(self._presence.keep(), *heads, return_exceptions=True)

    # Presence

    async def enter(self, channel: str, user: str, connection: str) -> None:
        """A connection of this user listens to the channel.

        Returns when shared state has it, or when that could not be told now; it is told as soon as it can be.
        """
        await self._presence.enter(channel, user, connection)

    async def leave(self, channel: str, user: str, connection: str) -> None:
        """That connection listens no more; the user is gone after the grace, unless it is back. Returns as `enter`."""
        await self._presence.leave(channel, user, connection)

    async def presence(self, channel: str) -> PresenceState:
        """Who is there now; from any thread's loop.

        Raises:
            Refused: `unavailable`.
        """
        if threading.get_ident() != self._thread:
            return await self._there(self.presence(channel))
        return await self._presence.state(channel)

    def _there(self, coroutine: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Run on the bus's loop, from another thread's; it begins with the call."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))


def _publication_id(publication: str) -> bytes:
    """16 bytes that stand for a publication's name: of bounded size, and told apart as well as random ids."""
    return hashlib.blake2b(publication.encode(), digest_size=_ID_SIZE).digest()
