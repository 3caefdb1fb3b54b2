"""What a handler is given: who asks, the database, and the verbs. Interfaces; the worker implements them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

import msgspec
from msgspec import Struct

from backchannel_protocol import Event, Request
from backchannel_protocol.frames import Member

if TYPE_CHECKING:
    import sqlalchemy as sa
    from structlog.typing import FilteringBoundLogger

    from .settings import Settings

__all__ = ["Context", "Database", "LogPart", "LoggedEvent", "Publisher"]

R = TypeVar("R")
EventT = TypeVar("EventT", bound=Event)


class LoggedEvent(Struct, frozen=True):
    """An event as a durable channel's log holds it."""

    name: str
    data: msgspec.Raw
    """JSON; `decode` makes the struct of it."""
    offset: int
    user: str | None
    """Its author."""
    subject: str | None
    time: int
    """Unix milliseconds."""

    def decode(self, form: type[EventT]) -> EventT:
        """The struct that declares the event. Raises `msgspec.ValidationError` if the data is not of its form."""
        return msgspec.json.decode(self.data, type=form)


class LogPart(Struct, frozen=True):
    """What a durable channel's log holds behind an offset."""

    epoch: str
    """Offsets of another epoch say nothing about this log."""
    newest: int
    """The offset of the newest event there is; 0 if there never was one."""
    gap: bool
    """Events behind the offset are not in the log any more, or no such offset was ever given: read a snapshot."""
    events: list[LoggedEvent]
    """In order, without holes, from the next offset on; there are more if the last one is older than `newest`."""


class Database(Protocol):
    """Reads of the store. A command reads in its own transaction and sees what the commands before it declared;
    a query reads one snapshot."""

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a SQLAlchemy Core select. Restrict it to `ctx.app` where the table has an `app` column."""

    async def row(self, statement: sa.Select[Any]) -> sa.Row[Any] | None:
        """The first row, or None."""

    async def value(self, statement: sa.Select[Any]) -> Any:
        """The first column of the first row, or None."""

    async def get(self, table: sa.Table, **key: Any) -> sa.Row[Any] | None:
        """One row by its whole primary key (`app` is filled in): the fastest read there is."""

    async def execute(self, statement: sa.Executable) -> sa.Result[Any]:
        """Free SQL writes; only in a handler that was declared with `own_transaction=True`."""


class Publisher(Protocol):
    """What jobs are given: it publishes and asks from outside a handler."""

    @property
    def settings(self) -> Settings:
        """What the operator set."""

    async def publish(self, channel: str, event: Event, *, subject: str | None = None) -> None:
        """Publish an event on a live or ephemeral channel; durable events come from commands alone.

        Returns once the broker accepted it. Raises `Refused("unavailable")` if it cannot.
        """

    @overload
    async def call(self, request: Request[R], *, user: str, key: str | None = None) -> R: ...
    @overload
    async def call(self, request: str, data: Any, *, user: str, key: str | None = None) -> Any: ...
    async def call(self, request: Request[Any] | str, data: Any = None, *, user: str, key: str | None = None) -> Any:
        """Ask a command or query on behalf of a user, as a handler of its own. Raises `Refused`."""


class Context(Protocol):
    """One request being handled.

    A handler reads, decides and *declares*: what it inserts, updates, deletes and publishes is collected and counts
    only if the handler returns. It may run more than once; only its committed transaction counts.
    """

    @property
    def app(self) -> str:
        """The tenant."""

    @property
    def user(self) -> str:
        """The authenticated user."""

    @property
    def api_key(self) -> str | None:
        """The id of the API key that asks, on behalf of `user` or, where that is empty, as itself; None for a user."""

    @property
    def channels(self) -> Sequence[str]:
        """The channels that the user's token names."""

    @property
    def key(self) -> str | None:
        """The command's idempotency key."""

    @property
    def connection(self) -> str | None:
        """The connection that asked; None behind the HTTP door."""

    @property
    def now(self) -> int:
        """The worker's clock when the request began, Unix milliseconds; the same for the whole handler."""

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that names the request."""

    @property
    def db(self) -> Database:
        """Reads."""

    def new_id(self) -> str:
        """A fresh id: 26 letters and digits that sort by time."""

    def insert(self, table: sa.Table, **values: Any) -> str:
        """Declare a row. `app` is filled in, and `id` (by `new_id`) where the table has one; returns the id, or ``""``.

        A row that the database refuses (its key is taken) fails the command with `conflict`.
        """

    def update(self, table: sa.Table, key: Mapping[str, Any], **values: Any) -> None:
        """Declare new values for the rows with these columns."""

    def delete(self, table: sa.Table, key: Mapping[str, Any]) -> None:
        """Declare that the rows with these columns go."""

    async def next(self, counter: str) -> int:
        """The next value (from 1) of a named counter: dense, since a command that fails gives its value back."""

    async def advance(self, counter: str, to: int) -> int:
        """Let a named counter stand at a value at least, and tell where it stands: for who brings what was counted
        elsewhere. `next` goes on behind it.

        Raises:
            ValueError: the value is below 0.
        """

    def publish(
        self,
        channel: str,
        event: Event,
        *,
        subject: str | None = None,
        ends: Sequence[str] | None = None,
        user: str | None = None,
    ) -> None:
        """Declare an event. It leaves after the commit; on a durable channel it is in the log with it.

        `ends` names the users whose subscriptions to the channel end with this event (`["*"]`: all).
        `user` is told as the event's author; the asking user by default.
        Raises `ValueError` for an undeclared event or namespace.
        """

    def disconnect(self, user: str) -> None:
        """Declare that the connections that a user has are closed, on every gateway, within 5 seconds of the commit.

        They close with a code that tells clients not to come back by themselves (4501). The user's tokens stay good;
        `revoke` takes those away too. Raises `ValueError` for what is no user name.
        """

    def revoke(
        self,
        user: str | None = None,
        *,
        token_id: str | None = None,
        issued_before: int | None = None,
        expires: int | None = None,
    ) -> None:
        """Declare that tokens are void, and that the connections that they opened are closed within 5 seconds of the
        commit, with close code 4501.

        Args:
            user: whose tokens; or
            token_id: the one token with this `jti`.
            issued_before: with `user`: only tokens issued before this (Unix milliseconds); by default all until now.
            expires: when the tokens have expired (Unix milliseconds), if that is known: the revocation is kept until
                then, else for the installation's longest `token_lifetime`.

        Raises:
            ValueError: not exactly one of user and token is named, or a value is outside its grammar.
        """

    async def position(self, channel: str) -> int:
        """The channel's newest offset that this handler's reads include; told in the reply's `positions`."""

    async def events(self, after: Mapping[str, int], limit: int = 100) -> Mapping[str, LogPart]:
        """What the logs of durable channels hold behind an offset, of the same moment as this query's other reads.

        One statement for all channels. Who may hear them is not asked here. Only for queries: a command's own events
        are in no log before its commit.

        Args:
            after: by channel, the offset of the last event that is known; 0: from the beginning.
            limit: how many events are read of each channel at most.

        Raises:
            ValueError: an offset is negative, or the limit below 1.
            RuntimeError: a command asks.
        """

    @overload
    async def call(self, request: Request[R]) -> R: ...
    @overload
    async def call(self, request: str, data: Any) -> Any: ...
    async def call(self, request: Request[Any] | str, data: Any = None) -> Any:
        """Run another handler here, in this transaction, as this user. Raises what it raises."""

    @property
    def publisher(self) -> Publisher:
        """Asks and publishes beside this handler, in transactions of their own, as jobs do.

        For what runs after the commit, and for a command with `own_transaction` that waits for it before it reads
        anything, and asks for nothing in its own lane: one that shares a batch, holds a transaction, or has the lane
        would wait for what waits for it.
        """

    def after_commit(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run this once the commit is done. It may be lost in a crash; what must not be lost is an event or a row."""

    async def presence(self, channel: str) -> Sequence[Member]:
        """Who listens to a channel now."""
