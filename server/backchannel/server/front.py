"""The front of a process: what clients reach. Gateway, HTTP server, the secret that tokens are signed with, drain."""

from __future__ import annotations

import contextlib
import socket
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest

from backchannel_protocol import Refused, Request

from ..app import App
from ..auth.authenticator import SecretAuthenticator
from ..auth.claims import TokenRules
from ..auth.commands import serving
from ..auth.key_sets import KeySets
from ..auth.principal import Principal
from ..auth.secret import previous_secret, signing_secret
from ..auth.tokens import issue_token
from ..gateway.gateway import Gateway, GatewayOptions
from ..gateway.http import principal_of
from ..gateway.routes import application
from ..gateway.upgrade import http_protocol
from ..gateway.websocket import Door, websocket_protocol
from ..settings import ConfigurationError, Settings
from ..telemetry.logs import get_logger
from .asking import Asker, as_app, ask
from .http import HttpServer
from .listening import listen, url_of
from .process import Process

__all__ = ["Front", "gateway_options"]

_log = get_logger(__name__)


class Front(Process):
    """A process that clients connect to: a `RunningServer` to an app's own routes.

    What its gateway stands on is its subclasses' to open.
    """

    asgi: Starlette
    """Once started: all routes and the same sessions as a plain ASGI application, for any server on this loop."""

    def __init__(self, app: App, settings: Settings | None = None) -> None:
        """
        Raises:
            RegistrationError: the app is not whole.
        """
        super().__init__(settings or Settings())
        app.check()
        self.app = app
        self._served = serving(app)
        self.port = self.settings.port
        self._secret = b""
        self._previous = b""
        self._key_sets: KeySets | None = None
        self._gateway: Gateway | None = None
        self._http: HttpServer | None = None

    @property
    def url(self) -> str:
        """Where the pages are."""
        return url_of(self.settings.host, self.port)

    @property
    def dev(self) -> bool:
        """Whether this is `--dev`."""
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

    async def asker(self, request: HttpRequest) -> Asker:
        """Who sent this request to a route of the app's own. Raises `Refused`."""
        gateway = self._asked()
        return Asker(gateway, self._served, await principal_of(request, gateway, gateway.limits))

    async def call(self, request: Request[Any] | str, data: Any = None, *, user: str, key: str | None = None) -> Any:
        """Ask a command or query as the app itself, on behalf of a user. Raises `Refused`."""
        return await ask(self._asked(), self._served, as_app(self._served, user), request, data, key)

    def _asked(self) -> Gateway:
        if self._gateway is None:
            raise Refused("unavailable", "This server does not serve yet.", outcome="none", retry_after=1.0)
        return self._gateway

    @abstractmethod
    async def _start(self, progress: Callable[[str], None] | None) -> None: ...

    async def _read_secrets(self) -> None:
        """Find what tokens are verified with. Raises `ConfigurationError`."""
        self._secret = signing_secret(self.settings)
        self._previous = previous_secret(self.settings)
        self._key_sets = await KeySets.open(self.settings)
        if self._key_sets is not None:
            self._stack.push_async_callback(self._key_sets.close)

    def _authenticator(
        self, find_key: Callable[[str], Awaitable[str | None]], check: Callable[[Principal], None]
    ) -> SecretAuthenticator:
        return SecretAuthenticator(
            self._secret,
            find_key,
            guests=self.settings.guests,
            previous=self._previous,
            key_sets=self._key_sets,
            rules=TokenRules.of(self.settings),
            check=check,
        )

    async def _serve(self, gateway: Gateway, listening: socket.socket | None = None) -> None:
        """Start a gateway and whatever leads to it."""
        settings = self.settings
        gateway.start()
        self._stack.push_async_callback(gateway.close)
        self._gateway = gateway
        if listening is None:
            listening = listen(settings.host, settings.port)
        self._stack.callback(listening.close)
        self.port = listening.getsockname()[1]
        door = Door(gateway, trusted_proxies=settings.trusted_proxies, compression=settings.compression)
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
        self._http = http = HttpServer(
            self.asgi,
            http=http_protocol(door),
            ws=websocket_protocol(door),
            ws_max_size=gateway.frame_limit,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
        )
        self._stack.push_async_callback(http.stop)
        await http.start([listening])

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        """What requests find in `request.state`."""
        yield {"server": self}

    async def _drain(self) -> None:
        """Take no new connections, and move those that are there to other gateways."""
        assert self._gateway is not None
        _log.info("draining", connections=len(self._gateway.connections))
        await self._gateway.drain()


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
