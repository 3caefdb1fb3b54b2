"""The context of a query: reads of one snapshot, and nothing that changes anything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec
import sqlalchemy as sa

from backchannel_protocol import Event, Request

from ..broker.broker import Envelope, LogHead
from ..context import LoggedEvent, LogPart
from ..store.store import Reader
from .context import RequestContext
from .runtime import Runtime
from .work import Work

__all__ = ["QueryContext", "SnapshotDatabase"]


class SnapshotDatabase:
    """Reads of one snapshot, which is taken by the first of them."""

    __slots__ = ("_reader", "_runtime")

    def __init__(self, runtime: Runtime) -> None:
        self._runtime: Final = runtime
        self._reader: Reader | None = None

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        return await (self._reader or await self.reader()).rows(statement)

    async def row(self, statement: sa.Select[Any]) -> sa.Row[Any] | None:
        """The first row, or None."""
        rows = await self.rows(statement)
        return rows[0] if rows else None

    async def value(self, statement: sa.Select[Any]) -> Any:
        """The first column of the first row, or None."""
        rows = await self.rows(statement)
        return rows[0][0] if rows else None

    async def get(self, table: sa.Table, **key: Any) -> sa.Row[Any] | None:
        """One row by its whole primary key."""
        return await (self._reader or await self.reader()).get(table, key)

    async def execute(self, statement: sa.Executable) -> sa.Result[Any]:
        """Refused: a query changes nothing."""
        raise RuntimeError("A query changes nothing: declare a command with own_transaction=True for free SQL.")

    async def reader(self) -> Reader:
        """The snapshot."""
        if self._reader is None:
            self._reader = await self._runtime.store.snapshot()
        return self._reader

    async def close(self) -> None:
        """Let go of the snapshot, if there is one."""
        if self._reader is not None:
            reader, self._reader = self._reader, None
            await reader.close()


class QueryContext(RequestContext):
    """One query being handled."""

    __slots__ = ("positions", "used")

    def __init__(self, runtime: Runtime, work: Work) -> None:
        super().__init__(runtime, work)
        self.used: SnapshotDatabase | None = None
        """The database, if the handler has asked for it; to be closed."""
        self.positions: dict[str, int] = {}
        """What is told in the reply's `positions`."""

    @property
    def db(self) -> SnapshotDatabase:
        """Reads of one snapshot."""
        if self.used is None:
            self.used = SnapshotDatabase(self.runtime)
        return self.used

    async def position(self, channel: str) -> int:
        """The channel's newest offset in the snapshot; told in the reply's `positions`."""
        position = (await (await self.db.reader()).positions([channel])).get(channel, 0)
        self.positions[channel] = position
        return position

    async def events(self, after: Mapping[str, int], limit: int = 100) -> dict[str, LogPart]:
        """What the logs of durable channels hold behind an offset, in this snapshot."""
        if limit < 1 or any(offset < 0 for offset in after.values()):
            raise ValueError("events: an offset is 0 or more, and the limit at least 1.")
        logs = await (await self.db.reader()).logs(after, limit)
        return {channel: _part(after[channel], *log) for channel, log in logs.items()}

    async def call(self, request: Request[Any] | str, data: Any = None) -> Any:
        """Run another query's handler here, in this snapshot."""
        declaration, value = self._nested(request, data)
        if declaration.kind != "query" or declaration.handler is None:
            raise RuntimeError(f"A query changes nothing, so it cannot call the command {declaration.name}.")
        return await declaration.handler(self, value)

    def insert(self, table: sa.Table, **values: Any) -> str:
        """Refused: a query changes nothing."""
        self._refuse("insert")

    def update(self, table: sa.Table, key: Mapping[str, Any], **values: Any) -> None:
        """Refused: a query changes nothing."""
        self._refuse("update")

    def delete(self, table: sa.Table, key: Mapping[str, Any]) -> None:
        """Refused: a query changes nothing."""
        self._refuse("delete")

    async def next(self, counter: str) -> int:
        """Refused: a query changes nothing."""
        self._refuse("next")

    async def advance(self, counter: str, to: int) -> int:
        """Refused: a query changes nothing."""
        self._refuse("advance")

    def publish(
        self,
        channel: str,
        event: Event,
        *,
        subject: str | None = None,
        ends: Sequence[str] | None = None,
        user: str | None = None,
    ) -> None:
        """Refused: a query changes nothing."""
        self._refuse("publish")

    def disconnect(self, user: str) -> None:
        """Refused: a query changes nothing."""
        self._refuse("disconnect")

    def revoke(
        self,
        user: str | None = None,
        *,
        token_id: str | None = None,
        issued_before: int | None = None,
        expires: int | None = None,
    ) -> None:
        """Refused: a query changes nothing."""
        self._refuse("revoke")

    def after_commit(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Refused: a query commits nothing."""
        self._refuse("after_commit")

    def _refuse(self, verb: str) -> NoReturn:
        name = self.work.declaration.name
        raise RuntimeError(f"{name} is a query and changes nothing, so it cannot {verb}: declare it as a command.")


def _part(after: int, head: LogHead, envelopes: Sequence[Envelope]) -> LogPart:
    if after + 1 < head.first or after > head.offset:
        return LogPart(head.epoch, head.offset, True, [])
    events = [
        LoggedEvent(one.name, msgspec.Raw(one.data), one.offset, one.user, one.subject, one.time) for one in envelopes
    ]
    return LogPart(head.epoch, head.offset, False, events)
