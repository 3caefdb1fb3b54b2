"""The load: clients that write, ask, publish and listen, and tell the checkers how it went."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Final

from msgspec import Struct

from backchannel_client import ConnectionClosed
from backchannel_protocol import Refused

from ..checker import Checker
from ..listener import Listener
from ..report import Finding
from .clients import Answered, LoadClient
from .workload import Asked, Workload

__all__ = ["Counted", "Load"]

# Questions of one client that may be open at once: what stalls must not hold up the rest, nor pile up for ever.
_OPEN: Final = 12
# Seconds that a client waits for an answer, and how often it asks again where the outcome is unknown.
_PATIENCE: Final = 60.0
_ATTEMPTS: Final = 4
# What share of the questions is what; the rest writes.
_PUBLISHES: Final = 0.15
_COUNTS: Final = 0.05
_REPEATS: Final = 0.05
# Bytes of a large event, and how many a second come while readers are slow.
_BULK: Final = 40_000
_BULK_RATE: Final = 25.0


class Counted(Struct, frozen=True):
    """What a query said: so many effects, up to this offset."""

    channel: str
    count: int
    offset: int


class Load:
    """Use it on the run's loop: `listen` for each client, `begin`, then `end`."""

    def __init__(self, workload: Workload, *, seed: int, rate: float) -> None:
        """`rate` is how many questions a second all clients ask together."""
        self.workload = workload
        self.durable: Final = Checker()
        self.live: Final = Checker()
        """Told apart, since a live channel may tell gaps, and promises less."""
        self.refusals: Counter[str] = Counter()
        self.counted: list[Counted] = []
        self.findings: list[Finding] = []
        self.listeners: dict[str, list[Listener]] = {}
        """By the client's name; also those that ended."""
        self.users: dict[str, str] = {}
        """Whose each client is."""
        self.asked = 0
        self.acknowledged = 0
        self._seed = seed
        self._rate = rate
        self._share = rate
        self._writers: list[LoadClient] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()
        self._numbers: Counter[str] = Counter()

    @property
    def delivered(self) -> int:
        """Events that all listeners heard so far."""
        return sum(listener.delivered for checker in (self.durable, self.live) for listener in checker.listeners)

    def heard_by(self, client: LoadClient) -> int:
        """Events that one client heard so far."""
        return sum(listener.delivered for listener in self.listeners.get(client.name, ()))

    # Listening

    async def listen(self, client: LoadClient, channel: str) -> Listener:
        """Let a client listen to a channel from now on. Raises `Refused`."""
        live = channel in self.workload.live
        listener = (self.live if live else self.durable).listener(client.name, channel)
        await client.listen(listener, self.workload.effect, live=live)
        self.listeners.setdefault(client.name, []).append(listener)
        self.users[client.name] = client.user
        return listener

    def listeners_by_user(self) -> dict[str, list[Listener]]:
        """All that ever listened, by whose client they were."""
        found: dict[str, list[Listener]] = {}
        for name, listeners in self.listeners.items():
            found.setdefault(self.users[name], []).extend(listeners)
        return found

    # Asking

    def begin(self, writers: Sequence[LoadClient], others: int = 0) -> None:
        """Let these clients ask, until `end`; so many `others` will be added."""
        self._writers = list(writers)
        self._share = self._rate / (len(writers) + others)
        for client in writers:
            self.add(client)

    def add(self, client: LoadClient) -> None:
        """One more client asks from now on, until it is closed or the load ends."""
        self._spawn(self._keep_asking(client, self._share))

    async def end(self, seconds: float) -> None:
        """Ask no more; return once all is answered, or after so many seconds."""
        self._ending.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def flood(self, client: LoadClient, seconds: float) -> None:
        """Write large events to the bulk channel for so many seconds."""
        channel = self.workload.bulk
        assert channel is not None
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end and not self._ending.is_set():
            self._spawn(self._write(client, channel, self._name(client), _BULK, repeat=False))
            await self._pause(1 / _BULK_RATE)

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            self.findings.append(Finding(kind="silent", channel="", text=f"A client failed: {exc!r}"))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            pass

    def _name(self, client: LoadClient) -> str:
        self._numbers[client.name] += 1
        return f"{client.name}-{self._numbers[client.name]}"

    async def _keep_asking(self, client: LoadClient, rate: float) -> None:
        chance = random.Random(f"load {self._seed} {client.name}")  # noqa: S311  # it shall be the same again
        workload = self.workload
        room = asyncio.Semaphore(_OPEN)
        gone = False

        async def one(work: Any) -> None:
            nonlocal gone
            try:
                await work
            except ConnectionClosed:
                gone = True  # for good: somebody took its token away
            finally:
                room.release()

        while not gone:
            await self._pause(chance.expovariate(rate))
            if self._ending.is_set():
                return
            await room.acquire()
            draw = chance.random()
            if workload.live and draw < _PUBLISHES:
                work = self._publish(client, chance.choice(workload.live), self._name(client))
            elif draw > 1 - _COUNTS:
                work = self._count(client, chance.choice(workload.channels))
            else:
                repeat = chance.random() < _REPEATS
                work = self._write(client, chance.choice(workload.channels), self._name(client), 0, repeat=repeat)
            self._spawn(one(work))

    async def _write(self, client: LoadClient, channel: str, effect: str, size: int, *, repeat: bool) -> None:
        asked = self.workload.ask(client.user, channel, effect, size)
        key = f"chaos-{effect}"
        self.asked += 1
        loop = asyncio.get_running_loop()
        self.durable.sent(effect, at=loop.time())
        uncertain = False
        for _ in range(_ATTEMPTS):
            try:
                answered = await client.ask(asked, key, _PATIENCE)
            except (Refused, ConnectionClosed) as exc:
                uncertain = uncertain or exc.outcome == "unknown"
                # A refusal of this attempt says nothing of one whose outcome is unknown.
                self.durable.refused(effect, "unknown" if uncertain else "none")
                if isinstance(exc, ConnectionClosed):
                    raise
                self.refusals[exc.code] += 1
                if exc.outcome == "none" or self._ending.is_set():
                    return
            except asyncio.CancelledError:
                self.durable.refused(effect, "unknown")
                raise
            else:
                offset = answered.positions.get(channel) if self.workload.exact else None
                self.durable.acknowledged(effect, channel, offset, at=loop.time())
                self.acknowledged += 1
                if repeat:
                    await self._repeat(client, asked, key, effect, answered)
                return

    async def _repeat(self, client: LoadClient, asked: Asked, key: str, effect: Hashable, first: Answered) -> None:
        """P2: asked again with its key, what was acknowledged is answered as before."""
        others = [each for each in self._writers if each.user == client.user and each.connected]
        again = others[-1] if others else client
        try:
            second = await again.ask(asked, key, _PATIENCE)
        except Refused as exc:
            self.refusals[exc.code] += 1
            if exc.code == "conflict":
                text = f"{effect!r} was acknowledged, and its key is refused: {exc}"
                self.findings.append(Finding(kind="differing", channel="", text=text, listener=again.name))
            return
        if second.data != first.data:
            text = f"{effect!r} was answered {first.data}, and with the same key then {second.data}."
            self.findings.append(Finding(kind="differing", channel="", text=text, listener=again.name, effect=effect))

    async def _publish(self, client: LoadClient, channel: str, effect: str) -> None:
        asked = self.workload.publish(channel, effect)
        if asked is None:
            return
        try:
            await client.publish(channel, asked, f"chaos-{effect}", _PATIENCE)
        except Refused as exc:
            self.refusals[exc.code] += 1

    async def _count(self, client: LoadClient, channel: str) -> None:
        asked = self.workload.count(channel)
        if asked is None:
            return
        try:
            answered = await client.ask(asked, None, _PATIENCE)
        except Refused as exc:
            self.refusals[exc.code] += 1
            return
        if channel in answered.positions:
            self.counted.append(Counted(channel, int(answered.data["count"]), answered.positions[channel]))
