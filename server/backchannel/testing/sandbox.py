"""Sandbox: a whole installation in one event loop, on virtual time.

Everything is the real thing: sessions, gateway and hub, the relay and broker of one process, the worker with its
transactions, a SQLite file in a folder of its own. What is missing is sockets, threads and waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import sqlalchemy as sa
from msgspec import Raw

from backchannel_client import Received
from backchannel_protocol import JSON, Codec, Event
from backchannel_protocol import frames as f

from ..app import App
from ..auth.authenticator import SecretAuthenticator
from ..auth.claims import TokenRules
from ..auth.commands import serving
from ..auth.revocation import Revocation
from ..auth.tokens import issue_token
from ..auth.watch import RevocationWatch
from ..broker.broker import Envelope
from ..broker.memory import MemoryBroker
from ..gateway.gateway import Gateway
from ..server import gateway_options
from ..settings import Settings
from ..store import tables
from ..store.sqlite import SqliteStore, open_sqlite
from ..store.sqlite_connection import connect_reader
from ..store.sqlite_reads import SqliteReads
from ..worker.housekeeping import keep_house
from ..worker.ids import new_id
from ..worker.runtime import WorkerLimits
from ..worker.worker import Worker
from .blank import write_blank
from .bus import SandboxBroker
from .client import URL, SandboxClient
from .executor import InlineExecutor
from .gateway import Made, SandboxGateway
from .life import Life, LifeBroker, LifeRelay, LifeStore
from .link import Link
from .logs import LogEntry, Recording
from .loop import VirtualLoop
from .relay import SandboxRelay
from .wire import Wire
from .worker import SandboxWorker

__all__ = ["Sandbox"]

EventT = TypeVar("EventT", bound=Event)

_SECRET = "a secret of sandboxes, known to everybody"  # noqa: S105  # no server outside of tests has it


class Sandbox:
    """An app with everything around it. Use it as `async with Sandbox(app) as box`, on a `VirtualLoop`.

    Args:
        app: what is tested.
        seed: where all chance comes from: fault rates, jitter, ids and the keys of clients. The same seed and the same
            test bring the same run.
        settings: settings of the server by their names, as `ping=5.0`.
    """

    broker: SandboxBroker
    """What carries events to the gateways, and its faults."""
    relay: SandboxRelay
    """What carries requests to the worker and replies back, and its faults."""
    gateway: SandboxGateway
    """The gateway; stop, restart or drain it."""
    worker: SandboxWorker
    """The worker; stop, kill or start it."""
    store: SqliteStore
    """The store; `rows` and `events` look into it."""

    def __init__(self, app: App, *, seed: int | str = 0, **settings: Any) -> None:
        app.check()
        self.app = app
        self._served = serving(app)
        self.seed = seed
        self.settings = Settings(**{"secret": _SECRET, **settings})
        self.random = random.Random(f"{seed}:sandbox")  # noqa: S311  # to be repeated is what it is for
        """For the test's own draws and the rates of faults."""
        self._stack = contextlib.AsyncExitStack()
        self._loop: VirtualLoop
        self._reads: SqliteReads
        self._executor: Executor = InlineExecutor()
        self._recording: Recording
        self._links: list[Link] = []

    # Life

    async def __aenter__(self) -> Self:
        """Start everything.

        Raises:
            RuntimeError: the loop's time is not virtual.
            BackchannelError: the app cannot start; the message tells the cure.
        """
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise RuntimeError(
                "A sandbox needs virtual time: use @sandboxed(app), backchannel.testing.run(…), or the fixture "
                "`sandbox` of backchannel.testing.pytest."
            )
        self._loop = loop
        async with contextlib.AsyncExitStack() as stack:
            await self._start(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._loop.be_patient()
        await self._stack.aclose()
        await self._loop.settle()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        loop, settings = self._loop, self.settings
        self._recording = stack.enter_context(Recording(loop))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="backchannel-")))
        path = folder / "sandbox.db"
        write_blank(path, self.app.migrations)
        self.store = open_sqlite(path, settings.app, migrations=self.app.migrations, clock=loop.milliseconds)
        stack.push_async_callback(self.store.close)
        self._reads = SqliteReads(connect_reader(self.store.path), settings.app)
        stack.callback(self._reads.close)
        bus = MemoryBroker(grace=settings.grace, wall=loop.wall)
        stack.push_async_callback(bus.close)
        self.broker = SandboxBroker(bus, self._chance("broker"))
        self.relay = SandboxRelay(self._chance("relay"))
        ids = self._chance("ids")
        self.worker = SandboxWorker(lambda life: self._make_worker(life, bus, ids))
        stack.push_async_callback(self.worker.stop)
        await self.worker.start()
        self.gateway = SandboxGateway(self._make_gateway)
        stack.push_async_callback(self.gateway.stop)
        await self.gateway.start()

    def _make_worker(self, life: Life, bus: MemoryBroker, ids: random.Random) -> Worker:
        loop, settings = self._loop, self.settings
        store = LifeStore(life, self.store)
        keeping = keep_house(
            self.app, store, loop.milliseconds, tenant=settings.app, token_lifetime=settings.token_lifetime
        )
        loop.create_task(keeping, name="housekeeping")
        return Worker(
            self._served,
            store,
            LifeBroker(life, self.broker, bus),
            LifeRelay(life, self.relay),
            tenant=settings.app,
            clock=loop.milliseconds,
            limits=WorkerLimits(handler=settings.handler_timeout),
            settings=settings,
            monotonic=loop.time,
            new_id=lambda now: new_id(now, ids.randbytes),
        )

    async def _make_gateway(self) -> Made:
        settings, wall = self.settings, self._loop.wall
        parts = contextlib.AsyncExitStack()
        relay = self.relay.end()
        parts.callback(self.relay.drop_end, relay)
        broker = self.broker.end()
        parts.push_async_callback(broker.close)
        reader = self.store.log_reader(self._executor)
        parts.push_async_callback(reader.close)
        revocations = RevocationWatch(self._revoked_since, lifetime=settings.token_lifetime, wall=wall)
        await revocations.start()
        parts.push_async_callback(revocations.close)
        gateway = Gateway(
            self._served,
            relay=relay,
            broker=broker,
            log_reader=reader,
            authenticator=SecretAuthenticator(
                settings.secret.encode(),
                _no_key,
                guests=settings.guests,
                rules=TokenRules.of(settings),
                check=revocations.check,
                wall=wall,
            ),
            options=gateway_options(settings),
            revocations=revocations,
            wall=wall,
            chance=self._chance("gateway"),
        )
        return Made(gateway, parts)

    async def _revoked_since(self, moment: int) -> list[Revocation]:
        revoked = tables.revocations
        columns = [revoked.c[name] for name in Revocation.__struct_fields__]
        select = sa.select(*columns).where(revoked.c.app == self.settings.app, revoked.c.time >= moment)
        return [Revocation(**row._mapping) for row in self.rows(select.order_by(revoked.c.time))]

    def _chance(self, what: str) -> random.Random:
        """Chance for one purpose, so that what one draws does not move what another gets."""
        return random.Random(f"{self.seed}:{what}")  # noqa: S311

    # Time

    @property
    def now(self) -> int:
        """The wall clock of everything in here, Unix milliseconds. It begins with the year 2030."""
        return self._loop.milliseconds()

    async def settle(self) -> None:
        """Return once everything that is ready has run, and all that it caused; no time passes."""
        await self._loop.settle()

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, with everything that happens in them."""
        await self._loop.advance(seconds)

    # Clients

    def token(
        self,
        user: str,
        *,
        lifetime: float = 3600.0,
        channels: Sequence[str] = (),
        caps: Sequence[str] | None = None,
        token_id: str | None = None,
    ) -> str:
        """A token for a user, good for `lifetime` seconds from now; the rest is as in `backchannel token --help`.

        Raises:
            ValueError: an argument is outside its grammar.
        """
        return issue_token(
            self.settings.secret.encode(),
            user,
            lifetime=lifetime,
            channels=channels,
            caps=caps,
            token_id=token_id,
            rules=TokenRules.of(self.settings),
            now=self._loop.wall(),
        )

    def link(self) -> Link:
        """A new way to the gateway, for a client made elsewhere: `Client(url, connector=box.link().connect)`."""
        link = Link(lambda: self.gateway.current, f"sandbox-{len(self._links) + 1}")
        self._links.append(link)
        return link

    async def client(
        self,
        user: str,
        *,
        codec: Codec = JSON,
        lifetime: float = 3600.0,
        channels: Sequence[str] = (),
        caps: Sequence[str] | None = None,
        **options: Any,
    ) -> SandboxClient:
        """A connected client of this user; it is closed with the sandbox, at the latest.

        It fetches a new token whenever it needs one. Further `options` are those of `backchannel.Client`.

        Raises:
            ConnectionClosed: it could not connect.
        """

        def token() -> str:
            return self.token(user, lifetime=lifetime, channels=channels, caps=caps)

        self._loop.be_patient()
        link = self.link()
        chance = self._chance(f"client {len(self._links)}")
        client = SandboxClient(link, chance=chance, codec=codec, **{"token": token, **options})
        self._stack.push_async_callback(client.close)
        await client.connect()
        return client

    async def wire(
        self,
        user: str | None = None,
        *,
        codec: Codec = JSON,
        pongs: bool = True,
        header: str | None = None,
        **connect: Any,
    ) -> Wire:
        """A raw connection; with a `user` the session is open, else `connect` is yours to send.

        Args:
            user: whose token the `connect` frame carries.
            codec: the subprotocol.
            pongs: whether pings are answered.
            header: a token that the handshake carries in its `Authorization` header.
            connect: further fields of the `connect` frame.

        Raises:
            ConnectionClosed: the gateway did not take the connection.
            AssertionError: the session was refused.
        """
        self._loop.be_patient()
        link = self.link()
        wire = Wire(link, await link.connect(URL, codec, header), codec, pongs=pongs)
        self._stack.push_async_callback(wire.close)
        if user is not None:
            answer = await wire.ask("connect", **{"token": self.token(user), **connect})
            assert answer["type"] == "connected", answer
        return wire

    # Looking inside

    def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select on what is committed."""
        return self._reads.rows(statement)

    @overload
    def events(self, channel: str) -> list[Received]: ...
    @overload
    def events(self, channel: str, form: type[EventT]) -> list[EventT]: ...
    def events(self, channel: str, form: type[EventT] | None = None) -> list[Received] | list[EventT]:
        """What was published on a channel, in order: a durable channel's log, or what went over the bus.

        With the struct that declares an event: the events of that name, decoded.
        """
        namespace = self.app.namespace_of(channel)
        if namespace is not None and namespace.cls.kind == "durable":
            # Ephemeral events of a durable channel are in no log.
            log = self._log(channel)
            envelopes = log + [e for e in self.broker.published if e.channel == channel and not e.offset]
        else:
            envelopes = [e for e in self.broker.published if e.channel == channel]
        received = [_received(envelope) for envelope in envelopes]
        if form is None:
            return received
        return [event.decode(form) for event in received if event.name == form.wire_name]

    def _log(self, channel: str) -> list[Envelope]:
        log, heads = tables.events, tables.heads
        of_channel = (heads.c.app == self.settings.app, heads.c.channel == channel)
        rows = self.rows(
            sa.select(log, heads.c.epoch)
            .join(heads, sa.and_(heads.c.app == log.c.app, heads.c.channel == log.c.channel))
            .where(*of_channel)
            .order_by(log.c.offset)
        )
        return [
            Envelope(
                channel=channel,
                name=row.name,
                data=row.data.encode(),
                epoch=row.epoch,
                offset=row.offset,
                user=row.user,
                key=row.key,
                subject=row.subject,
                time=row.time,
            )
            for row in rows
        ]

    @property
    def logs(self) -> list[LogEntry]:
        """What was logged by the server so far, as dicts with `event`, `level`, `time` and what else was told."""
        return self._recording.entries


def _received(envelope: Envelope) -> Received:
    return Received(
        f.Event(
            channel=envelope.channel,
            name=envelope.name,
            data=Raw(envelope.data),
            offset=envelope.offset or None,
            user=envelope.user,
            key=envelope.key,
            subject=envelope.subject,
            time=envelope.time,
        ),
        JSON,
        envelope.epoch or None,
    )


async def _no_key(_shown: str) -> None:
    """A sandbox has no API keys."""
