"""Troubles: carrying out the schedule's faults on real processes, and undoing them in time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from ..report import Finding
from ..services import PostgresServer, RedisServer
from .clients import LoadClient
from .load import Load
from .obstructions import Obstructions
from .part import Part, PartFailed
from .rights import Rights
from .schedule import Fault

__all__ = ["EXIT_BOUND", "SILENCE_BOUND", "Troubles"]

EXIT_BOUND: Final = 40.0
"""Seconds from SIGTERM to the end of a process."""
SILENCE_BOUND: Final = 3.0
"""Seconds that a client may hear nothing while everything is restarted in turn."""

# Seconds that the parts get, behind an obstruction, to find each other again before bounds count.
_RECOVERY: Final = 6.0
_SAMPLE: Final = 0.05


class Troubles:
    """Use it on the run's loop: `run` faults until cancelled, then `heal`."""

    def __init__(
        self,
        *,
        gateways: Sequence[Part],
        workers: Sequence[Part],
        redis: RedisServer,
        postgres: PostgresServer,
        clients: Sequence[LoadClient],
        load: Load,
        rights: Rights,
        obstructions: Obstructions,
        alone: asyncio.Lock,
        told: Callable[[str], None],
    ) -> None:
        """
        Args:
            alone: held by what nothing else may happen beside.
            told: called with what happens, in a few words.
        """
        self.happened: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.slowest_exit = 0.0
        self.longest_silence = 0.0
        self._gateways = gateways
        self._workers = workers
        self._redis = redis
        self._postgres = postgres
        self._clients = clients
        self._load = load
        self._rights = rights
        self._obstructions = obstructions
        self._alone = alone
        self._told = told
        self._under_way: set[asyncio.Task[None]] = set()
        # One at a time does something to each of these.
        self._redis_turn = asyncio.Lock()
        self._postgres_turn = asyncio.Lock()

    async def run(self, faults: Iterator[Fault]) -> None:
        """One fault after another, overlapping but for those that stand alone. Cancelling ends it between two."""
        for fault in faults:
            await asyncio.sleep(fault.after)
            if fault.alone:
                await self._quiet()
                await asyncio.shield(self._begin(fault))
            else:
                self._begin(fault)

    async def heal(self) -> None:
        """Return once every fault is over."""
        await self._quiet()

    def _begin(self, fault: Fault) -> asyncio.Task[None]:
        task = asyncio.create_task(self._carry_out(fault), name=fault.kind)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def _quiet(self) -> None:
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def _carry_out(self, fault: Fault) -> None:
        try:
            if await self._do(fault):
                self.happened[fault.kind] += 1
        except Exception as exc:
            text = f"The fault {fault.kind} could not be carried out: {type(exc).__name__}: {exc}"
            self.findings.append(Finding(kind="silent", channel="", text=text))

    async def _do(self, fault: Fault) -> bool:
        match fault.kind:
            case "kill_gateway" | "kill_worker":
                return await self._kill(self._one_of(fault), fault.lasts)
            case "stop_gateway" | "stop_worker":
                return await self._stop(self._one_of(fault), fault.lasts)
            case "empty_redis":
                return await self._empty_redis(fault.lasts)
            case "pause_redis":
                return await self._pause_redis(fault.lasts)
            case "restart_postgres" | "crash_postgres":
                return await self._restart_postgres(crash=fault.kind == "crash_postgres")
            case "cut_clients":
                return self._cut(fault.which)
            case "slow_readers":
                return await self._hold(fault.which, fault.lasts)
            case "revoke_right":
                self._told("revoke a right")
                return await self._rights.revoke(fault.which, fault.lasts)
            case "revoke_token":
                self._told("revoke a user's tokens")
                return await self._rights.banish(fault.which)
            case "roll":
                async with self._alone:
                    return await self._roll()

    # Gateways and workers

    def _one_of(self, fault: Fault) -> Part | None:
        parts = self._gateways if fault.kind.endswith("gateway") else self._workers
        running = [part for part in parts if part.pid is not None and not part.stopped]
        return running[int(fault.which * len(running))] if running else None

    async def _kill(self, part: Part | None, away: float) -> bool:
        if part is None:
            return False
        self._told(f"kill {part.name}")
        with self._obstructions.obstructed(_RECOVERY):
            part.kill(away)
            with contextlib.suppress(PartFailed):
                await asyncio.sleep(away)
                await part.until_ready(_RECOVERY)
        return True

    async def _stop(self, part: Part | None, seconds: float) -> bool:
        if part is None:
            return False
        self._told(f"stop {part.name} for {seconds:.1f} s")
        with self._obstructions.obstructed(_RECOVERY):
            part.freeze()
            try:
                await asyncio.sleep(seconds)
            finally:
                part.thaw()
        return True

    async def _roll(self) -> bool:
        for part in [*self._workers, *self._gateways]:
            await part.until_ready(EXIT_BOUND)
        await self._all_hear()
        self._told("restart everything in turn, under load")
        watching = asyncio.create_task(self._watch_silence())
        try:
            for part in [*self._workers, *self._gateways]:
                took, code = await part.roll(EXIT_BOUND)
                self.slowest_exit = max(self.slowest_exit, took)
                if took > EXIT_BOUND or code:
                    text = f"{part.name} ended {took:.1f} s after SIGTERM, with status {code}; its log: {part.log}"
                    self.findings.append(Finding(kind="late", channel="", text=text))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if self.longest_silence > SILENCE_BOUND:
            text = f"A client heard nothing for {self.longest_silence:.1f} s while everything was restarted in turn."
            self.findings.append(Finding(kind="late", channel="", text=text))
        return True

    async def _all_hear(self) -> None:
        """Return once every client hears again, however it was cut off before. Raises `TimeoutError`."""
        before = {client.name: self._load.heard_by(client) for client in self._clients}
        async with asyncio.timeout(EXIT_BOUND):
            for client in self._clients:
                while self._load.heard_by(client) == before[client.name]:  # noqa: ASYNC110  # a count, and no event
                    await asyncio.sleep(_SAMPLE)

    async def _watch_silence(self) -> None:
        """How long a client hears nothing, although others write without a pause."""
        heard = {client.name: (-1, time.monotonic()) for client in self._clients}
        while True:
            now = time.monotonic()
            for client in self._clients:
                count = self._load.heard_by(client)
                before, since = heard[client.name]
                if count != before:
                    heard[client.name] = (count, now)
                elif now - since > self.longest_silence:
                    self.longest_silence = now - since
            await asyncio.sleep(_SAMPLE)

    # Redis and PostgreSQL

    async def _empty_redis(self, away: float) -> bool:
        async with self._redis_turn:
            self._told(f"kill Redis, and start it empty after {away:.1f} s")
            with self._obstructions.obstructed(_RECOVERY):
                await asyncio.to_thread(self._redis.kill)
                try:
                    await asyncio.sleep(away)
                finally:
                    await asyncio.to_thread(self._redis.start)
        return True

    async def _pause_redis(self, seconds: float) -> bool:
        async with self._redis_turn:
            self._told(f"stop Redis for {seconds:.1f} s")
            self._redis.pause()
            try:
                await asyncio.sleep(seconds)
            finally:
                self._redis.resume()
        return True

    async def _restart_postgres(self, *, crash: bool) -> bool:
        async with self._postgres_turn:
            self._told("restart PostgreSQL as after a power failure" if crash else "restart PostgreSQL")
            with self._obstructions.obstructed(_RECOVERY):
                await asyncio.to_thread(self._postgres.restart, "immediate" if crash else "fast")
        return True

    # Clients

    def _some(self, which: float) -> list[LoadClient]:
        """About half of the clients."""
        start = int(which * len(self._clients))
        turned = [*self._clients[start:], *self._clients[:start]]
        return turned[: max(1, len(turned) // 2)]

    def _cut(self, which: float) -> bool:
        some = self._some(which)
        self._told(f"cut the sockets of {len(some)} clients")
        for client in some:
            client.front.cut()
        return True

    async def _hold(self, which: float, seconds: float) -> bool:
        some = self._some(which)
        self._told(f"{len(some)} clients read nothing for {seconds:.1f} s")
        flood = self._load.workload.bulk is not None
        for client in some:
            client.front.hold()
        try:
            writers = [client for client in self._clients if client not in some]
            await (self._load.flood(writers[0], seconds) if flood and writers else asyncio.sleep(seconds))
        finally:
            for client in some:
                client.front.release()
        return True
