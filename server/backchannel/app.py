"""App: the registry of commands, queries, events and namespaces.

An app is a value. Nothing happens at import time but registration, and registration fails at once on anything wrong,
with a message that tells the cure. `include` merges a whole app or nothing. The gateway uses the declarations, the
worker runs the functions.

One file, though long: each way to register checks against what the others have registered.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Struct

from backchannel_protocol import Command, Event, Query, Request
from backchannel_protocol.limits import NAME_RE
from backchannel_protocol.requests import reply_type

from .context import Context
from .registration import (
    RegistrationError,
    check_code,
    check_handler,
    check_job,
    check_lane,
    check_name,
    check_spelling,
    check_travels,
    derives,
    name_of,
)

if TYPE_CHECKING:
    import sqlalchemy as sa
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response

    HttpEndpoint = Callable[[HttpRequest], Awaitable[Response]]

__all__ = [
    "App",
    "EventDeclaration",
    "Every",
    "Migrations",
    "Namespace",
    "NamespaceDeclaration",
    "RequestDeclaration",
    "Route",
    "UserDisconnected",
    "hooked",
]

R = TypeVar("R")
RequestClass = TypeVar("RequestClass", bound=type[Request[Any]])
EventClass = TypeVar("EventClass", bound=type[Event])
NamespaceClass = TypeVar("NamespaceClass", bound="type[Namespace]")
Handler = Callable[[Context, Any], Awaitable[R]]
Job = Callable[["Any"], Awaitable[None]]
Kind = Literal["durable", "live", "ephemeral"]
SlowPolicy = Literal["disconnect", "gap", "latest"]
Once = Literal["installation", "process"]

_NAMESPACE = re.compile(r"[a-z0-9_-]{1,64}\Z")


class Namespace:
    """The rules of all channels `name:…`. Subclass it and declare it with `@app.namespace(name)`.

    The attributes are declarations that the gateway uses; the methods are functions that only workers run. An instance
    is made once per worker.
    """

    kind: ClassVar[Kind] = "durable"
    history: ClassVar[int] = 10_000
    """Events per channel that the log keeps for recovery; it is not the app's own history."""
    max_age: ClassVar[float] = 30 * 86_400.0
    """Seconds that the log keeps an event."""
    recovery: ClassVar[int | None] = None
    """Missed events that a resume brings; None: the limit of the installation."""
    presence: ClassVar[bool] = False
    """Whether it is told who listens."""
    slow: ClassVar[SlowPolicy] = "disconnect"
    """What happens to a listener that does not keep up."""
    clients_may_publish: ClassVar[bool] = False
    """Whether clients' `publish` is considered at all (live and ephemeral kinds); `may_publish` then decides."""

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Whether `ctx.user` may listen: no, yes, or *yes from offset n* (events up to n are not theirs).

        By default: whoever's token names the channel.
        """
        return channel in ctx.channels

    async def may_publish(self, ctx: Context, channel: str, name: str) -> bool:
        """Whether `ctx.user` may publish on this channel, where `clients_may_publish` is on."""
        return False

    async def seen(self, ctx: Context) -> bool:
        """Whether `ctx.user`, who may listen to channels of this namespace, is present there for others, too.

        Asked with `may_listen`, once for all of its channels, where there is `presence`; and again within a minute, as
        long as they listen. By default: they are.
        """
        return True

    async def joined(self, ctx: Context, channel: str) -> None:
        """A user, `ctx.user`, began to listen to the channel, with the first of their connections.

        A hook, as `gone` is: a command of that user's own (its lane is the user), which may read, write and publish. A
        namespace that has hooks is known of to the broker as one with `presence` is. Each change is told, after it
        happened and with one effect, and those of one user on one channel in their order; one that was over before it
        was told is left out. Where the memory of who listens is lost (a process with everything in it ends, Redis
        forgets), who comes back is told to have joined once more, and nothing is told of who does not: compare with
        `ctx.presence` now and then what must be right.

        What it raises is logged, and the change is not told again.
        """

    async def gone(self, ctx: Context, channel: str) -> None:
        """A user, `ctx.user`, listens to the channel no more: the last of their connections has been gone for longer
        than the grace. A hook, as `joined` is."""


class UserNamespace(Namespace):
    """The built-in namespace `user`: `user:alice` is heard by alice alone, on each of her connections.

    An app that declares `user` itself replaces it.
    """

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Only the user whose channel it is."""
        return channel == f"user:{ctx.user}"


def hooked(cls: type[Namespace]) -> bool:
    """Whether a namespace has hooks of its own for who comes and goes."""
    return cls.joined is not Namespace.joined or cls.gone is not Namespace.gone


class UserDisconnected(Event):
    """The built-in event `user.disconnected`, on a user's own channel: connections that the user had are being closed.

    It reaches the user, and gateways look into the store when it comes.
    """

    wire_name: ClassVar[str] = "user.disconnected"

    revoked: bool
    """Whether the tokens that the user had are void; else they may be used again."""


class NamespaceDeclaration(Struct, frozen=True):
    """A namespace as registered."""

    name: str
    cls: type[Namespace]


class EventDeclaration(Struct, frozen=True):
    """An event as registered."""

    name: str
    cls: type[Event]
    ephemeral: bool
    """Never logged, also on a durable or live channel."""


class RequestDeclaration(Struct, frozen=True):
    """A command or query as registered, with its handler once there is one."""

    name: str
    kind: Literal["command", "query"]
    cls: type[Request[Any]]
    reply: Any
    lane: tuple[str, ...] = ()
    """Fields whose values name the lane; empty: the user."""
    lane_of: str = ""
    """The field that names the user whose lane it is; empty: the asking user, where `lane` is empty."""
    errors: tuple[str, ...] = ()
    """The app's own codes that the handler may refuse with."""
    own_transaction: bool = False
    """It writes free SQL or waits for the outside world, so it never shares a batch."""
    timeout: float | None = None
    """Seconds the handler may take; None: the installation's."""
    internal: bool = False
    """Only the app itself asks it, by `Publisher.call` or `Context.call`: to clients there is no such name."""
    handler: Handler[Any] | None = None

    @property
    def summary(self) -> str:
        """The handler's or class's first docstring line."""
        for source in (self.handler, self.cls):
            if source is not None and (doc := inspect.getdoc(source)) and source.__doc__:
                return doc.splitlines()[0]
        return ""


class Every(Struct, frozen=True):
    """A job that runs again and again."""

    seconds: float
    once: Once
    function: Job


class Route(Struct, frozen=True):
    """An HTTP route of the app's own."""

    path: str
    endpoint: Any
    methods: tuple[str, ...]
    dev_only: bool
    accepts: tuple[str, ...] = ()
    exposes: tuple[str, ...] = ()


class Static(Struct, frozen=True):
    """A folder of files that is served."""

    path: str
    directory: Path


class Migrations(Struct, frozen=True):
    """Tables of the app's own, and the Alembic revisions that make them."""

    app: str
    metadata: Any
    """A `sqlalchemy.MetaData`."""
    directory: Path | None
    """A folder with Alembic revision files; None: tables that are missing are created at start, and never changed."""


class App:
    """A set of declarations and handlers.

    Example:
        app = App("shop")

        @app.event("order.placed")
        class Placed(Event):
            id: str

        @app.command("order.place", lane="shop", errors=["sold_out"])
        class Place(Command[Placed]):
            shop: str

        @app.handle(Place)
        async def place(ctx: Context, order: Place) -> Placed: ...
    """

    def __init__(self, name: str) -> None:
        if not NAME_RE.match(name):
            raise RegistrationError(f"App name {name!r}: use lower-case letters, digits and _, like 'shop'.")
        self.name = name
        self.requests: dict[str, RequestDeclaration] = {}
        self.events: dict[str, EventDeclaration] = {}
        self.namespaces: dict[str, NamespaceDeclaration] = {}
        self.errors: dict[str, str] = {}
        self.jobs: list[Every] = []
        self.starters: list[Job] = []
        self.routes: list[Route] = []
        self.statics: list[Static] = []
        self.migrations: list[Migrations] = []
        self._publisher: Any = None

    # Declarations

    def command(
        self,
        name: str,
        *,
        lane: str | Sequence[str] = (),
        lane_of: str = "",
        errors: Iterable[str] = (),
        own_transaction: bool = False,
        timeout: float | None = None,
        internal: bool = False,
    ) -> Callable[[RequestClass], RequestClass]:
        """Declare a command: a `Command[Answer]` struct.

        Args:
            name: `noun.verb`.
            lane: the field, or fields, that it is serialised by (mostly a channel); none: its user.
            lane_of: instead of `lane`, the field that names another user: it is serialised with that user's own
                commands, whoever asks.
            errors: the app's own codes that its handler refuses with.
            own_transaction: its handler writes free SQL or waits for the outside world. It runs beside the batches, and
                only its lane waits for it. Its transaction begins when it first reads, so wait first, then read and
                write: one that waits for more than a second in total after it has read is rolled back, since it keeps
                SQLite's one writer from everybody.
            timeout: seconds its handler may take.
            internal: only the app itself asks it, from a job or another handler; to clients there is no such name.
        """
        fields = (lane,) if isinstance(lane, str) else tuple(lane)
        if lane_of and fields:
            raise RegistrationError(f"{name}: give `lane` or `lane_of`, not both.")

        def declare(cls: RequestClass) -> RequestClass:
            self._declare_request(
                cls,
                Command,
                "command",
                name,
                lane=fields,
                lane_of=lane_of,
                errors=tuple(errors),
                own_transaction=own_transaction,
                timeout=timeout,
                internal=internal,
            )
            return cls

        return declare

    def query(
        self, name: str, *, errors: Iterable[str] = (), timeout: float | None = None, internal: bool = False
    ) -> Callable[[RequestClass], RequestClass]:
        """Declare a query: a `Query[Answer]` struct. Its handler changes nothing; the rest is as for `command`."""

        def declare(cls: RequestClass) -> RequestClass:
            self._declare_request(cls, Query, "query", name, errors=tuple(errors), timeout=timeout, internal=internal)
            return cls

        return declare

    def _declare_request(
        self,
        cls: type[Request[Any]],
        base: type[Request[Any]],
        kind: Literal["command", "query"],
        name: str,
        *,
        lane: tuple[str, ...] = (),
        lane_of: str = "",
        errors: tuple[str, ...] = (),
        own_transaction: bool = False,
        timeout: float | None = None,
        internal: bool = False,
    ) -> None:
        check_name(name, "noun.verb")
        if not derives(cls, base):
            raise RegistrationError(
                f"{name}: {name_of(cls)} must derive from {base.__name__}[Answer], as in "
                f"`class Place({base.__name__}[Placed])`."
            )
        if name in self.requests:
            raise RegistrationError(f"{name} is declared already; choose another name or remove one.")
        try:
            reply = reply_type(cls)
        except TypeError as exc:
            raise RegistrationError(f"{name}: {exc}") from None
        fields = {field.name: field for field in msgspec.structs.fields(cls)}
        for field in (lane_of,) if lane_of else lane:
            if field not in fields:
                raise RegistrationError(
                    f"{name}: lane {field!r} is not a field of {cls.__name__} (it has: {', '.join(fields)})."
                )
            check_lane(name, field, fields[field].type)
        for code in errors:
            check_code(name, code)
        check_travels(name, cls)
        check_travels(name, reply)
        self.requests[name] = RequestDeclaration(
            name,
            kind,
            cls,
            reply,
            lane=lane,
            lane_of=lane_of,
            errors=errors,
            own_transaction=own_transaction,
            timeout=timeout,
            internal=internal,
        )
        cls.wire_name = name

    def event(self, name: str, *, ephemeral: bool = False) -> Callable[[EventClass], EventClass]:
        """Declare an event: an `Event` struct. An undeclared event cannot be published."""

        def declare(cls: EventClass) -> EventClass:
            check_name(name, "noun.participle")
            if not derives(cls, Event):
                raise RegistrationError(f"{name}: {name_of(cls)} must derive from Event.")
            if name in self.events or name in _BUILT_IN_EVENTS:
                raise RegistrationError(f"{name} is declared already; choose another name or remove one.")
            check_travels(name, cls)
            self.events[name] = EventDeclaration(name, cls, ephemeral)
            cls.wire_name = name
            return cls

        return declare

    def namespace(self, name: str) -> Callable[[NamespaceClass], NamespaceClass]:
        """Declare a namespace: a `Namespace` class with the rules of all channels `name:…`."""

        def declare(cls: NamespaceClass) -> NamespaceClass:
            if not _NAMESPACE.match(name):
                raise RegistrationError(f"Namespace {name!r}: use lower-case letters, digits, - and _.")
            if name in self.namespaces:
                raise RegistrationError(f"Namespace {name!r} is declared already.")
            _check_namespace(name, cls)
            if cls.slow == "latest" and cls.kind != "live":
                raise RegistrationError(f"Namespace {name!r}: the slow policy `latest` is for live channels.")
            if cls.clients_may_publish and cls.kind == "durable":
                raise RegistrationError(
                    f"Namespace {name!r}: on durable channels only commands publish; make it live or ephemeral."
                )
            for method in ("may_listen", "may_publish", "seen", "joined", "gone"):
                if not inspect.iscoroutinefunction(getattr(cls, method)):
                    raise RegistrationError(f"Namespace {name!r}: {method} must be `async def`.")
            self.namespaces[name] = NamespaceDeclaration(name, cls)
            return cls

        return declare

    # Functions

    def handle(self, request: type[Request[R]]) -> Callable[[Handler[R]], Handler[R]]:
        """Register the function that answers a command or query.

        It is `async def place(ctx: Context, order: Place) -> Placed`; its annotations are checked.
        """

        def register(function: Handler[R]) -> Handler[R]:
            name = request.wire_name
            declaration = self.requests.get(name)
            if declaration is None or declaration.cls is not request:
                raise RegistrationError(
                    f"{name_of(request)} is not declared in app {self.name!r}: put @app.command(…) or "
                    f"@app.query(…) on it first."
                )
            if declaration.handler is not None:
                raise RegistrationError(f"{name} has a handler already: {name_of(declaration.handler)}.")
            check_handler(name, function, declaration.cls, declaration.reply)
            self.requests[name] = msgspec.structs.replace(declaration, handler=function)
            return function

        return register

    def on_start(self, function: Job) -> Job:
        """Run `async def f(publisher)` once in every worker process, before requests are taken."""
        check_job("on_start", function)
        self.starters.append(function)
        return function

    def every(self, seconds: float, *, once: Once = "installation") -> Callable[[Job], Job]:
        """Run `async def f(publisher)` every so many seconds: once in the `installation`, or in each `process`."""
        if seconds <= 0:
            raise RegistrationError("every: seconds must be positive.")

        def register(function: Job) -> Job:
            check_job("every", function)
            self.jobs.append(Every(seconds, once, function))
            return function

        return register

    def route(
        self,
        path: str,
        *,
        methods: Sequence[str] = ("GET",),
        dev_only: bool = False,
        accepts: Sequence[str] = (),
        exposes: Sequence[str] = (),
    ) -> Callable[[HttpEndpoint], HttpEndpoint]:
        """Serve an HTTP route of the app's own with `async def f(request: Request) -> Response` (Starlette's).

        `request.state.server` is the running server (`RunningServer`): it knows who asks, and asks commands and
        queries. A `Refused` that the route raises is answered as a problem.

        Args:
            path: where it is, with Starlette's parameters.
            methods: what it answers.
            dev_only: it exists under `serve --dev` alone.
            accepts: headers of requests, beside those of the HTTP door, that pages of the allowed origins may send.
            exposes: headers of its answers that those pages may read.
        """
        if not path.startswith("/") or path.startswith(("/v1/", "/ws")):
            raise RegistrationError(f"Route {path!r}: begin with /, and keep clear of /v1/ and /ws.")

        def register(endpoint: HttpEndpoint) -> HttpEndpoint:
            self.routes.append(Route(path, endpoint, tuple(methods), dev_only, tuple(accepts), tuple(exposes)))
            return endpoint

        return register

    def static(self, path: str, directory: Path) -> None:
        """Serve the files of a folder below a path; a folder's `index.html` answers for the folder.

        Raises:
            RegistrationError: there is no such folder.
        """
        if not directory.is_dir():
            raise RegistrationError(f"static({path!r}): there is no folder {directory}; make or build it first.")
        self.statics.append(Static(path, directory))

    def tables(self, metadata: sa.MetaData, migrations: Path | None = None) -> None:
        """Tables of the app's own.

        With `migrations`, a folder of Alembic revisions, they are brought up to date at start, forward only. Without,
        tables that are missing are created and existing ones are left alone: good for a beginning.
        """
        self.migrations.append(Migrations(self.name, metadata, migrations))

    def include(self, other: App) -> None:
        """Merge another app's declarations and functions: all of them, or none if any name clashes.

        Raises:
            RegistrationError: a name is in both.
        """
        for what, mine, theirs in (
            ("request", self.requests, other.requests),
            ("event", self.events, other.events),
            ("namespace", self.namespaces, other.namespaces),
        ):
            if clash := sorted(set(mine) & set(theirs)):
                raise RegistrationError(f"include({other.name!r}): {what} {clash[0]!r} is in both apps.")
        self.requests.update(other.requests)
        self.events.update(other.events)
        self.namespaces.update(other.namespaces)
        self.jobs.extend(other.jobs)
        self.starters.extend(other.starters)
        self.routes.extend(other.routes)
        self.statics.extend(other.statics)
        self.migrations.extend(other.migrations)

    def check(self) -> None:
        """Raise `RegistrationError` for a request that nobody handles. Called at start."""
        if missing := sorted(name for name, r in self.requests.items() if r.handler is None):
            raise RegistrationError(
                f"No handler for {', '.join(missing)}: put @app.handle({self.requests[missing[0]].cls.__name__}) "
                f"on an async function."
            )

    def offered(self) -> dict[str, RequestDeclaration]:
        """The requests by name that clients may ask: all but the internal ones."""
        return {name: request for name, request in self.requests.items() if not request.internal}

    def all_namespaces(self) -> dict[str, NamespaceDeclaration]:
        """Every namespace by name, the built-in ones too."""
        return {**_BUILT_IN, **self.namespaces}

    def all_events(self) -> dict[str, EventDeclaration]:
        """Every event by name, the built-in ones too."""
        return {**_BUILT_IN_EVENTS, **self.events}

    def namespace_of(self, channel: str) -> NamespaceDeclaration | None:
        """The declaration for a channel's namespace, the app's own or a built-in one."""
        name = channel.partition(":")[0]
        return self.namespaces.get(name) or _BUILT_IN.get(name)


_BUILT_IN = {"user": NamespaceDeclaration("user", UserNamespace)}
_BUILT_IN_EVENTS = {
    UserDisconnected.wire_name: EventDeclaration(UserDisconnected.wire_name, UserDisconnected, ephemeral=False)
}


def _check_namespace(name: str, cls: type[Namespace]) -> None:
    """Fail for an attribute whose value is not one that `Namespace` allows."""
    rules: Sequence[tuple[str, Any, str]] = (
        ("kind", Kind, "'durable', 'live' or 'ephemeral'"),
        ("slow", SlowPolicy, "'disconnect', 'gap' or 'latest'"),
        ("history", Annotated[int, msgspec.Meta(ge=1)], "a whole number of events, at least 1"),
        ("max_age", Annotated[float, msgspec.Meta(gt=0)], "a number of seconds above 0"),
        ("recovery", Annotated[int, msgspec.Meta(ge=0)] | None, "a whole number of events, or None"),
        ("presence", bool, "True or False"),
        ("clients_may_publish", bool, "True or False"),
    )
    for attribute, type_, allowed in rules:
        value = getattr(cls, attribute)
        try:
            msgspec.convert(value, type_)
        except msgspec.ValidationError:
            raise RegistrationError(f"Namespace {name!r}: {attribute} is {value!r}; make it {allowed}.") from None
    check_spelling(name, cls, Namespace)
