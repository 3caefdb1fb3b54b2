"""Server: every part in one process.

The gateway lives on the main event loop, the worker on its own in a thread, and memory carries between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import uvicorn
from starlette.applications import Starlette

from .app import App
from .auth.authenticator import SecretAuthenticator
from .auth.claims import TokenRules
from .auth.commands import serving
from .auth.key_sets import KeySets
from .auth.secret import previous_secret, signing_secret
from .auth.tokens import issue_token
from .auth.watch import RevocationWatch
from .broker.memory import MemoryBroker
from .gateway.gateway import Gateway, GatewayOptions
from .gateway.routes import application
from .gateway.upgrade import http_protocol
from .gateway.websocket import Door, websocket_protocol
from .relay.memory import MemoryRelay
from .settings import ConfigurationError, Settings
from .store.sqlite import SqliteStore, open_sqlite, sqlite_api_keys, sqlite_revocations
from .telemetry.logs import configure, get_logger
from .worker.housekeeping import keep_house
from .worker.runtime import WorkerLimits
from .worker.thread import WorkerThread
from .worker.worker import Worker

__all__ = ["Server", "gateway_options", "serve"]

_log = get_logger(__name__)

# Backlog of the listening socket: a reconnect storm arrives faster than one loop tick accepts.
_BACKLOG = 4096


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handling: the server drains first, then stops it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `Server.run`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell who waits."""
        await super().startup(sockets=sockets)
        self.serving.set()


class Server:
    """Gateway, worker, relay, broker and store of one process.

    Use it on one event loop: `start`, then `run` until a signal, or `stop`.
    """

    def __init__(self, app: App, settings: Settings | None = None) -> None:
        app.check()
        self.app = app
        self._served = serving(app)
        self.settings = settings or Settings()
        self.port = self.settings.port
        self._secret = b""
        self._stack = contextlib.AsyncExitStack()
        self._stopping: asyncio.Event | None = None
        self._gateway: Gateway | None = None
        self._http: _HttpServer | None = None
        self._store: SqliteStore | None = None
        self._worker_thread: WorkerThread | None = None
        self.asgi: Starlette
        """Once started: all routes and the same sessions as a plain ASGI application, for any server on this loop."""

    @property
    def url(self) -> str:
        """Where the pages are."""
        host = self.settings.host
        if host in ("0.0.0.0", "::"):  # noqa: S104  # what is listened on is not what is connected to
            host = "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def dev(self) -> bool:
        """Whether this is `serve --dev`."""
        return self.settings.dev

    def issue_token(self, user: str, *, lifetime: float, channels: Sequence[str] = ()) -> tuple[str, int]:
        """A token for a user, and when it expires (Unix milliseconds).

        Raises:
            ValueError: what is no user name, or a lifetime that is not allowed.
            ConfigurationError: this server has no secret, since its tokens come from issuers' key sets alone.
        """
        if not self._secret:
            raise ConfigurationError("This server signs no tokens: set BACKCHANNEL_SECRET or --secret-file.")
        now = time.time()
        rules = TokenRules.of(self.settings)
        token = issue_token(self._secret, user, lifetime=lifetime, channels=channels, rules=rules, now=now)
        return token, int(now + lifetime) * 1000

    async def start(self, progress: Callable[[str], None] | None = None) -> None:
        """Bring the database up to date and begin to serve.

        Args:
            progress: called with one line per migration that is applied.

        Raises:
            BackchannelError: a setting, the database or the app is wrong; the message tells the cure. Nothing is
                left open.
        """
        try:
            await self._start(progress)
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self, progress: Callable[[str], None] | None) -> None:
        settings = self.settings
        self._secret = signing_secret(settings)
        previous = previous_secret(settings)
        key_sets = await KeySets.open(settings)
        if key_sets is not None:
            self._stack.push_async_callback(key_sets.close)
        settings.data_folder.mkdir(parents=True, exist_ok=True)
        broker = MemoryBroker(grace=settings.grace)
        self._stack.push_async_callback(broker.close)
        relay = MemoryRelay(asyncio.get_running_loop())
        worker = WorkerThread(lambda: self._worker(broker, relay, progress))
        await worker.start()
        self._stack.push_async_callback(worker.stop)
        self._worker_thread = worker
        keys = sqlite_api_keys(settings.database, settings.app)
        self._stack.callback(keys.close)

        def find_key(shown: str) -> str | None:
            key = keys.find(shown)
            return key.id if key is not None else None

        assert self._store is not None
        reader = self._store.log_reader()
        self._stack.push_async_callback(reader.close)
        revocations = sqlite_revocations(settings.database, settings.app)
        self._stack.callback(revocations.close)
        watch = RevocationWatch(revocations.since, lifetime=settings.token_lifetime)
        await watch.start()
        self._stack.push_async_callback(watch.close)
        gateway = Gateway(
            self._served,
            relay=relay,
            broker=broker,
            log_reader=reader,
            authenticator=SecretAuthenticator(
                self._secret,
                find_key,
                guests=settings.guests,
                previous=previous,
                key_sets=key_sets,
                rules=TokenRules.of(settings),
                check=watch.check,
            ),
            options=gateway_options(settings),
            revocations=watch,
        )
        gateway.start()
        self._stack.push_async_callback(gateway.close)
        self._gateway = gateway
        await self._start_http(gateway)
        # What was made so far stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    @contextlib.asynccontextmanager
    async def _worker(
        self, broker: MemoryBroker, relay: MemoryRelay, progress: Callable[[str], None] | None
    ) -> AsyncIterator[Worker]:
        """The worker with the store that it alone writes to; runs in the worker's thread."""
        settings = self.settings
        store = open_sqlite(settings.database, settings.app, migrations=self.app.migrations, progress=progress)
        self._store = store
        keeping = asyncio.create_task(
            keep_house(self.app, store, tenant=settings.app, token_lifetime=settings.token_lifetime)
        )
        try:
            yield Worker(
                self._served,
                store,
                broker,
                relay,
                tenant=settings.app,
                limits=WorkerLimits(handler=settings.handler_timeout),
            )
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await store.close()

    async def _start_http(self, gateway: Gateway) -> None:
        settings = self.settings
        listening = _listen(settings.host, settings.port)
        self._stack.callback(listening.close)
        self.port = listening.getsockname()[1]
        door = Door(gateway, trusted_proxies=settings.trusted_proxies)
        self.asgi = application(
            gateway,
            self.app,
            requests=self._served,
            limits=gateway.limits,
            cors_origins=settings.origins,
            dev=settings.dev,
            docs=settings.docs,
            lifespan=self._lifespan,
        )
        config = uvicorn.Config(
            self.asgi,
            http=http_protocol(door),
            ws=websocket_protocol(door),
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
            ws_max_size=gateway.frame_limit,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            timeout_graceful_shutdown=5,
        )
        http = _HttpServer(config)
        task = asyncio.create_task(http.serve(sockets=[listening]))
        serving = asyncio.create_task(http.serving.wait())
        await asyncio.wait([task, serving], return_when=asyncio.FIRST_COMPLETED)
        serving.cancel()
        if task.done():
            task.result()
            raise ConfigurationError("The HTTP server did not start; the log has the reason.")
        self._http = http

        async def stop_http() -> None:
            http.should_exit = True
            await task

        self._stack.push_async_callback(stop_http)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        """What requests find in `request.state`."""
        yield {"server": self}

    async def run(self, started: Callable[[], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, move the clients away, and stop. A second signal stops at once.

        `started` is called once signals are listened to.

        Raises:
            RuntimeError: the worker broke, so that the server could only refuse; whoever watches the process starts it
                anew.
        """
        self._stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        if started is not None:
            started()
        try:
            if not await self._told_to_stop(self._stopping):
                _log.critical("the worker has ended by itself; the server ends too")
                return
            self._stopping = asyncio.Event()
            assert self._gateway is not None
            _log.info("draining", connections=len(self._gateway.connections))
            drain = asyncio.create_task(self._gateway.drain())
            again = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([drain, again], return_when=asyncio.FIRST_COMPLETED)
            drain.cancel()
            again.cancel()
            await asyncio.gather(drain, again, return_exceptions=True)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
            await self.stop()
        _log.info("stopped")

    async def _told_to_stop(self, stopping: asyncio.Event) -> bool:
        """Wait for a signal; False if the worker ended before."""
        assert self._worker_thread is not None
        told = asyncio.create_task(stopping.wait())
        ended = asyncio.create_task(self._worker_thread.ended())
        try:
            await asyncio.wait([told, ended], return_when=asyncio.FIRST_COMPLETED)
            return told.done()
        finally:
            told.cancel()
            ended.cancel()

    def _signalled(self) -> None:
        if self._stopping is not None:
            self._stopping.set()

    async def stop(self) -> None:
        """Stop at once: what was acknowledged is stored, and clients resume elsewhere."""
        await self._stack.aclose()


def gateway_options(settings: Settings) -> GatewayOptions:
    """What the settings say about a gateway."""
    return GatewayOptions(
        limits=settings.limits(),
        ping=settings.ping,
        grace=settings.grace,
        connections_per_user=settings.connections_per_user,
        connections_per_address=settings.connections_per_address,
        drain=settings.drain,
        origins=settings.origins,
    )


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigurationError` if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, for asyncio sends small writes at once (TCP_NODELAY) only on sockets that say they are TCP.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as exc:
        listening.close()
        raise ConfigurationError(
            f"Cannot listen on {host}:{port}: {exc.strerror or exc}. Choose another with --port."
        ) from exc
    listening.setblocking(False)
    return listening


def serve(app: App, settings: Settings, *, started: Callable[[Server], None] | None = None) -> None:
    """Run a server in this process until it is told to stop; `started` is called once it serves and heeds signals.

    Raises:
        BackchannelError: it could not start; the message tells the cure.
    """
    configure(settings.log_level, json={"json": True, "console": False}.get(settings.log_format))

    async def main() -> None:
        server = Server(app, settings)
        await server.start(progress=lambda line: _log.info(line))
        await server.run(None if started is None else lambda: started(server))

    try:
        import uvloop
    except ImportError:  # Windows
        asyncio.run(main())
    else:
        uvloop.run(main())
