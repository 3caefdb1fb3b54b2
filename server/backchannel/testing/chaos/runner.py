"""The runner of a chaos run: an installation, a load, faults; then everybody settles, and the truth is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ..report import Finding
from .app import workload as boards
from .clients import LoadClient, PythonClient
from .installation import Installation
from .load import Load
from .node import Node, find_package
from .obstructions import Obstructions
from .options import ChaosOptions
from .part import PartFailed
from .points import POINTS, Point, Strike
from .report import ChaosReport, counts_of, told
from .rights import Rights
from .schedule import schedule
from .settling import Settling
from .troubles import Troubles
from .truth import forbidden, miscounted, read_logs, tell
from .workload import PREPARE_KEY, Workload

__all__ = ["Progress", "run_chaos"]

# How long, at most: points that are still to strike prolong a run; the last questions wait; a process starts; the
# commands before the run wait.
_PROLONGED: Final = 180.0
_LAST_ANSWERS: Final = 90.0
_READY: Final = 60.0
_PREPARE: Final = 30.0
_LOOK: Final = 0.05
# How long a point waits for a transaction that comes to it.
_TAKEN: Final = 10.0
# How long a worker that stopped within a batch stays so: most often shorter than the database waits for it.
_STOPS: Final = (0.3, 1.0, 2.0, 7.0)


class Progress(Struct, frozen=True):
    """How a run stands, several times a second."""

    seconds: float
    """Since load and faults began; 0 before."""
    total: float
    doing: str
    """`starting`, `running`, `settling`, or `comparing`."""
    acknowledged: int
    delivered: int
    refused: int
    last: str
    """The fault that happened last."""


async def run_chaos(
    options: ChaosOptions,
    workload: Workload = boards,
    *,
    progress: Callable[[Progress], None] | None = None,
    told: Callable[[str], None] | None = None,
) -> ChaosReport:
    """Run it, from starting the processes to ending them. Cancelling ends everything too.

    Args:
        options: what happens, and for how long.
        workload: the app, and what is asked of it.
        progress: called now and then with how it stands.
        told: called with each fault, in a few words.

    Raises:
        NotInstalled: Redis or PostgreSQL are not on this machine.
        ServiceFailed: one of them did not start.
        PartFailed: a gateway or worker did not start; its log stays, and the message tells where.
    """
    folder = Path(tempfile.mkdtemp(prefix="backchannel-chaos-"))
    keep = True
    try:
        run = _Run(options, workload, folder, progress, told)
        report = await run.run()
        keep = options.keep or not report.kept or bool(report.deaths)
        return report if keep else msgspec.structs.replace(report, logs="")
    except asyncio.CancelledError:
        keep = options.keep
        raise
    finally:
        if not keep:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


class _Run:
    def __init__(
        self,
        options: ChaosOptions,
        workload: Workload,
        folder: Path,
        progress: Callable[[Progress], None] | None,
        told: Callable[[str], None] | None,
    ) -> None:
        self._options = options
        self._workload = workload
        self._folder = folder
        self._progress = progress
        self._told = told
        self._chance = random.Random(f"run {options.seed}")  # noqa: S311  # it shall be the same again
        self._installation = Installation(workload.app, options, folder)
        self._load = Load(workload, seed=options.seed, rate=options.rate)
        self._obstructions = Obstructions()
        self._clients: list[LoadClient] = []
        self._pythons: list[PythonClient] = []
        self._findings: list[Finding] = []
        self._node: Node | None = None
        self._began = 0.0
        self._doing = "starting"
        self._last = ""
        self._strikes: list[Strike] = []
        self._all_struck = asyncio.Event()
        self._alone = asyncio.Lock()
        """Held by what nothing else may happen beside: a point that is armed, and a rolling restart."""

    async def run(self) -> ChaosReport:
        showing = asyncio.create_task(self._show())
        try:
            async with contextlib.AsyncExitStack() as stack:
                installation = await stack.enter_async_context(self._installation)
                stack.push_async_callback(self._close_clients)
                await self._open_clients()
                operator = await self._python_client("operator", self._workload.operator)
                rights = Rights(self._workload, self._load, operator, self._obstructions, self._make_guest)
                await self._prepare(operator)
                await self._begin(rights)
                troubles = Troubles(
                    gateways=installation.gateways,
                    workers=installation.workers,
                    redis=installation.redis,
                    postgres=installation.postgres,
                    clients=self._clients,
                    load=self._load,
                    rights=rights,
                    obstructions=self._obstructions,
                    alone=self._alone,
                    told=self._tell,
                )
                self._began = time.monotonic()
                self._doing = "running"
                self._note(f"load and faults begin: {self._options}")
                lasted = await self._trouble(troubles)
                self._doing = "settling"
                everybody = [*self._clients, operator, *rights.guests.values()]
                settled = await self._settle(everybody)
                self._doing = "comparing"
                return await self._compare(troubles, rights, everybody, lasted, settled)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)

    # Telling

    def _tell(self, text: str) -> None:
        self._last = text
        self._note(text)
        if self._told is not None:
            self._told(f"{time.monotonic() - self._began:7.1f} s  {text}")

    def _note(self, text: str) -> None:
        """Into the run's own log, beside those of the processes."""
        at = time.monotonic() - self._began
        with (self._installation.logs / "run.log").open("a") as log:
            log.write(f"{time.time():.3f} {at:8.2f} s  {text}\n")

    async def _show(self) -> None:
        while self._progress is not None:
            load = self._load
            self._progress(
                Progress(
                    seconds=time.monotonic() - self._began if self._began else 0.0,
                    total=self._options.seconds,
                    doing=self._doing,
                    acknowledged=load.acknowledged,
                    delivered=load.delivered,
                    refused=load.refusals.total(),
                    last=self._last,
                )
            )
            await asyncio.sleep(0.25)

    # Clients

    async def _python_client(self, name: str, user: str, *, binary: bool = False) -> PythonClient:
        installation = self._installation
        client = PythonClient(
            name,
            user,
            await installation.front(),
            lambda: installation.token(user),
            binary=binary,
            seed=self._options.seed,
        )
        self._pythons.append(client)
        await client.open()
        return client

    async def _make_guest(self, user: str) -> LoadClient:
        # One token for its life: when it is void, no other is fetched in secret.
        token = self._installation.token(user)
        name = f"{user}-{sum(client.user == user for client in self._pythons) + 1}"
        client = PythonClient(name, user, await self._installation.front(), lambda: token, seed=self._options.seed)
        self._pythons.append(client)
        await client.open()
        return client

    async def _open_clients(self) -> None:
        options = self._options
        for number in range(options.python_clients):
            client = await self._python_client(f"py{number}", f"user-{number}", binary=number % 2 == 1)
            self._clients.append(client)
        package = find_package(options.package) if options.typescript_clients else None
        if package is None:
            return
        self._node = Node(package, self._installation.logs / "node.log")
        await self._node.start()
        for number in range(options.typescript_clients):
            # The same users, so that some have connections on more than one gateway.
            user = f"user-{number % max(1, options.python_clients)}"
            token, front = self._installation.token(user), await self._installation.front()
            node_client = self._node.client(f"ts{number}", user, front, token, binary=number % 2 == 1)
            await node_client.open()
            self._clients.append(node_client)

    async def _close_clients(self) -> None:
        await asyncio.gather(*(client.close() for client in self._pythons), return_exceptions=True)
        if self._node is not None:
            await self._node.close()

    # The run

    async def _prepare(self, operator: LoadClient) -> None:
        by_user = {client.user: client for client in reversed(self._clients)} | {operator.user: operator}
        users = sorted({client.user for client in self._clients} | set(self._guests()))
        for number, (user, asked) in enumerate(self._workload.prepare(users)):
            await by_user[user].ask(asked, f"{PREPARE_KEY}{number}", _PREPARE)

    def _guests(self) -> list[str]:
        return [f"guest-{number}" for number in range(self._options.guests)]

    async def _begin(self, rights: Rights) -> None:
        for number, client in enumerate(self._clients):
            bulk = [self._workload.bulk] if self._workload.bulk is not None and number % 2 == 0 else []
            for channel in (*self._workload.channels, *self._workload.live, *bulk):
                await self._load.listen(client, channel)
        self._load.begin(self._clients, self._options.guests)
        if self._workload.revoke("x", self._workload.channels[0]) is not None:
            for user in self._guests():
                await rights.admit(user)

    async def _trouble(self, troubles: Troubles) -> float:
        """Load and faults for as long as they should last; returns how long that was."""
        options = self._options
        faults = schedule(options.seed, options.kinds, options.seconds)
        running = asyncio.create_task(troubles.run(faults))
        striking = asyncio.create_task(self._strike()) if options.steps else None
        try:
            await asyncio.sleep(options.seconds)
            if striking is not None:
                async with asyncio.timeout(_PROLONGED):
                    await self._all_struck.wait()
        except TimeoutError:
            pass  # What never struck is told in the end.
        finally:
            for task in (running, striking):
                if task is not None:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
        await troubles.heal()
        await self._disarm()
        lasted = time.monotonic() - self._began
        for part in self._installation.parts:
            part.thaw()
        return lasted

    async def _disarm(self) -> None:
        """See that no worker fails from now on: what was armed is taken back; who is about to fail does so first."""
        points = self._installation.points
        end = time.monotonic() + _TAKEN
        while points.waiting() and time.monotonic() < end:
            points.disarm()
            await asyncio.sleep(_LOOK)

    def _unseen(self) -> list[Point]:
        seen = {strike.point for strike in self._strikes}
        return [point for point in POINTS if point not in seen]

    async def _strike(self) -> None:
        """Let workers fail behind each step of a batch: first in each way once, then by chance."""
        points = self._installation.points
        while True:
            await asyncio.sleep(self._chance.uniform(0.2, 1.0))
            async with self._alone:
                points.arm(self._chance.choice(self._unseen() or POINTS))
                end = time.monotonic() + _TAKEN
                while points.waiting():
                    if time.monotonic() > end:
                        points.disarm()
                    await asyncio.sleep(_LOOK)
                for strike in points.strikes()[len(self._strikes) :]:
                    self._strikes.append(strike)
                    self._tell(f"a worker fails: {strike.point}")
                    if strike.point.blow == "stop":
                        await self._thaw(strike.pid, self._chance.choice(_STOPS))
            if not self._unseen():
                self._all_struck.set()

    async def _thaw(self, pid: int, seconds: float) -> None:
        part = next((part for part in self._installation.workers if part.pid == pid), None)
        if part is None:
            return
        part.stopped = True
        with self._obstructions.obstructed():
            try:
                await asyncio.sleep(seconds)
            finally:
                part.thaw()

    # The end

    async def _settle(self, everybody: Sequence[LoadClient]) -> float:
        """Everybody is answered and has heard everything; returns how long that took, negative if it never was."""
        began = time.monotonic()
        for client in everybody:
            client.front.release()
        await self._all_ready()
        await self._load.end(_LAST_ANSWERS)
        settling = Settling(self._workload, self._load, self._installation.execute, self._clients)
        try:
            async with asyncio.timeout(self._options.settling):
                await settling.done()
        except TimeoutError:
            self._findings += settling.missing()
            return -1.0
        return time.monotonic() - began

    async def _all_ready(self) -> None:
        for part in self._installation.parts:
            try:
                await part.until_ready(_READY)
            except PartFailed as exc:
                self._findings.append(Finding(kind="late", channel="", text=str(exc)))

    async def _compare(
        self,
        troubles: Troubles,
        rights: Rights,
        everybody: Sequence[LoadClient],
        lasted: float,
        settled: float,
    ) -> ChaosReport:
        workload, load, options = self._workload, self._load, self._options
        channels = [*workload.channels, *([workload.bulk] if workload.bulk is not None else [])]
        logs = await asyncio.to_thread(read_logs, self._execute, channels)
        findings = [*self._findings, *load.findings, *troubles.findings, *rights.findings]
        findings += tell(load.durable, workload, logs)
        durable, live = load.durable.report(settled=True), load.live.report(settled=True)
        findings += [*durable.findings, *live.findings]
        findings += forbidden(workload, logs, load.listeners_by_user())
        findings += miscounted(workload, logs, load.counted)
        events = {channel: log.events for channel, log in logs.items()}
        for text in await asyncio.to_thread(lambda: list(workload.disagreements(self._execute, events))):
            findings.append(Finding(kind="differing", channel="", text=text))
        for client in [*self._pythons, *(each for each in everybody if each not in self._pythons)]:
            findings += client.findings()
        for client in everybody:
            findings += client.unanswered()
            findings += [
                Finding(kind="silent", channel=channel, listener=client.name, text=f"Listening ended: {reason}")
                for channel, reason in client.ends.items()
            ]
        findings += self._node.failures if self._node is not None else []
        if unseen := (self._unseen() if options.steps else []):
            text = f"These points never struck: {', '.join(map(str, unseen))}."
            findings.append(Finding(kind="silent", channel="", text=text))
        seen = [str(strike.point) for strike in self._strikes]
        parts = self._installation.parts
        return ChaosReport(
            seed=options.seed,
            routing=options.routing,
            seconds=round(lasted, 1),
            settled=round(settled, 1),
            sabotage=options.sabotage,
            faults=dict(sorted(troubles.happened.items())),
            points={str(point): seen.count(str(point)) for point in POINTS if str(point) in seen},
            sent=durable.sent,
            acknowledged=durable.acknowledged,
            unknown=durable.unknown,
            unverified=durable.unverified,
            delivered=durable.delivered,
            delivered_live=live.delivered,
            counts=counts_of(findings),
            refused=dict(sorted(load.refusals.items())),
            gaps=len(durable.gaps),
            gaps_live=len(live.gaps),
            longest_stall=round(durable.longest_stall, 2),
            slowest_revocation=round(rights.slowest, 2),
            slowest_exit=round(troubles.slowest_exit, 2),
            longest_silence=round(troubles.longest_silence, 2),
            connections=sum(client.connections for client in self._pythons),
            restarts=sum(part.starts - 1 for part in parts),
            deaths=tuple(f"{death.name}: status {death.code}" for part in parts for death in part.deaths),
            typescript=self._node is not None,
            findings=(*map(str, findings), *map(told, durable.gaps)),
            logs=str(self._installation.logs),
        )

    def _execute(self, sql: str) -> Sequence[tuple[object, ...]]:
        return self._installation.postgres.execute(sql, self._installation.database)
