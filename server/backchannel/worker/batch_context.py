"""The context of a command: reads of the batch's transaction, and declarations that count if the handler returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

import sqlalchemy as sa

from backchannel_protocol import Event, Request

from ..app import UserDisconnected
from ..auth.revocation import disconnection_row, revocation_row
from ..store.tables import revocations
from .context import RequestContext
from .declared import Declared
from .tables import facts_of, tables_of
from .work import Work
from .writes import Write, WriteKind

if TYPE_CHECKING:
    from .batch import Batch

__all__ = ["BatchContext", "BatchDatabase"]

_NOTHING: Final[Mapping[str, Any]] = {}


class BatchDatabase:
    """Reads of a batch's transaction. Each first writes what was declared on the tables that it reads."""

    __slots__ = ("_batch", "_declared", "_work")

    def __init__(self, batch: Batch, declared: Declared, work: Work) -> None:
        self._batch: Final = batch
        self._declared: Final = declared
        self._work: Final = work

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""
        batch = self._batch
        if batch.writes or self._declared.writes:
            await batch.flush_for(self._declared, tables_of(statement))
        try:
            return await (await batch.ask()).rows(statement)
        except BaseException as exc:
            batch.broke(exc)
            raise

    async def row(self, statement: sa.Select[Any]) -> sa.Row[Any] | None:
        """The first row, or None."""
        rows = await self.rows(statement)
        return rows[0] if rows else None

    async def value(self, statement: sa.Select[Any]) -> Any:
        """The first column of the first row, or None."""
        rows = await self.rows(statement)
        return rows[0][0] if rows else None

    async def get(self, table: sa.Table, **key: Any) -> sa.Row[Any] | None:
        """One row by its whole primary key; writes nothing first unless a declared write could touch that row."""
        batch = self._batch
        if batch.writes or self._declared.writes:
            await batch.flush_for_row(self._declared, table, key)
        ahead = batch.ahead.take(self._work, table, key)
        if ahead is not None:
            return ahead[0]
        try:
            return await (await batch.ask()).get(table, key)
        except BaseException as exc:
            batch.broke(exc)
            raise

    async def execute(self, statement: sa.Executable) -> sa.Result[Any]:
        """Free SQL; only in a handler that was declared with `own_transaction=True`."""
        if not self._work.declaration.own_transaction:
            raise RuntimeError(
                f"{self._work.declaration.name} shares its transaction: declare it with own_transaction=True for "
                f"free SQL, or use ctx.insert, ctx.update and ctx.delete."
            )
        await self._batch.flush_for(self._declared, None)
        self._declared.executed = True
        try:
            return await (await self._batch.ask()).execute(statement)
        except BaseException as exc:
            self._batch.broke(exc)
            raise


class BatchContext(RequestContext):
    """One command being handled."""

    __slots__ = ("batch", "db", "declared")

    def __init__(self, batch: Batch, work: Work) -> None:
        super().__init__(batch.runtime, work)
        self.batch: Final = batch
        self.declared: Final = Declared()
        self.db: BatchDatabase = BatchDatabase(batch, self.declared, work)

    def insert(self, table: sa.Table, **values: Any) -> str:
        """Declare a row; `app` is filled in by the store, and `id` here where the table has one made of text."""
        self._check_open()
        facts = facts_of(table)
        if facts.fills_id and "id" not in values:
            values["id"] = self.new_id()
        facts.check(table, values, "insert")
        _check_values(table, values)
        self.declared.writes.append(Write(WriteKind.INSERT, table, _NOTHING, values))
        found = values.get("id", "")
        return found if isinstance(found, str) else ""

    def update(self, table: sa.Table, key: Mapping[str, Any], **values: Any) -> None:
        """Declare new values for the rows with these columns."""
        self._check_open()
        facts = facts_of(table)
        _check_key(table, key, "update")
        facts.check(table, key, "update")
        facts.check(table, values, "update")
        if not values:
            raise ValueError(f"update: name at least one column of {table.name} and its new value.")
        _check_values(table, values)
        self.declared.writes.append(Write(WriteKind.UPDATE, table, dict(key), values))

    def delete(self, table: sa.Table, key: Mapping[str, Any]) -> None:
        """Declare that the rows with these columns go."""
        self._check_open()
        _check_key(table, key, "delete")
        facts_of(table).check(table, key, "delete")
        self.declared.writes.append(Write(WriteKind.DELETE, table, dict(key), _NOTHING))

    async def next(self, counter: str) -> int:
        """The next value (from 1) of a named counter."""
        self._check_open()
        value = await self.batch.next(counter)
        counters = self.declared.counters
        counters[counter] = counters.get(counter, 0) + 1
        return value

    async def advance(self, counter: str, to: int) -> int:
        """Let a named counter stand at a value at least; where it stands."""
        self._check_open()
        if to < 0:
            raise ValueError(f"advance: counters count from 1; {to} is below 0.")
        value, by = await self.batch.advance(counter, to)
        counters = self.declared.counters
        counters[counter] = counters.get(counter, 0) + by
        return value

    def publish(
        self,
        channel: str,
        event: Event,
        *,
        subject: str | None = None,
        ends: Sequence[str] | None = None,
        user: str | None = None,
    ) -> None:
        """Declare an event. It leaves after the commit; on a durable channel it is in the log with it."""
        self._check_open()
        self.declared.publications.append(
            self.runtime.namespaces.publication(
                channel,
                event,
                now=self.now,
                user=self.user or None if user is None else user,
                # Only its own user's connections may learn the key.
                key=self.key if user is None or user == self.user else None,
                subject=subject,
                ends=ends,
            )
        )

    def disconnect(self, user: str) -> None:
        """Declare that the connections that a user has are closed."""
        self._check_open()
        self.insert(revocations, **disconnection_row(user, self.now))
        self.publish(f"user:{user}", UserDisconnected(revoked=False))

    def revoke(
        self,
        user: str | None = None,
        *,
        token_id: str | None = None,
        issued_before: int | None = None,
        expires: int | None = None,
    ) -> None:
        """Declare that tokens are void, and that the connections that they opened are closed."""
        self._check_open()
        row = revocation_row(user=user, token_id=token_id, issued_before=issued_before, expires=expires, now=self.now)
        self.insert(revocations, **row)
        if user is not None:
            self.publish(f"user:{user}", UserDisconnected(revoked=True))

    async def position(self, channel: str) -> int:
        """The channel's newest offset that this handler's reads include, its own events among them.

        The reply's `positions` tells it as it is after the commit.
        """
        self._check_open()
        return await self.batch.position(self.declared, channel)

    async def events(self, after: Mapping[str, int], limit: int = 100) -> NoReturn:
        """Refused: a command's own events are in no log yet."""
        raise RuntimeError(
            f"{self.work.declaration.name} is a command, whose own events are in no log before its commit: read logs "
            f"in a query."
        )

    async def call(self, request: Request[Any] | str, data: Any = None) -> Any:
        """Run another handler here, in this transaction, as this user.

        If it raises, what it declared is taken back, and the caller may go on.
        """
        self._check_open()
        declaration, value = self._nested(request, data)
        if declaration.handler is None:
            raise RuntimeError(f"{declaration.name} has no handler.")
        if declaration.own_transaction and not self.work.declaration.own_transaction:
            raise RuntimeError(
                f"{declaration.name} needs a transaction of its own: declare {self.work.declaration.name} with "
                f"own_transaction=True to call it."
            )
        mark = self.declared.mark()
        try:
            return await declaration.handler(self, value)
        except BaseException:
            self.batch.take_back(self.declared, mark)
            raise

    def after_commit(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run this once the commit is done."""
        self._check_open()
        self.declared.callbacks.append(callback)


def _check_key(table: sa.Table, key: Mapping[str, Any], verb: str) -> None:
    if not key:
        raise ValueError(f"{verb}: name at least one column that says which rows of {table.name} are meant.")
    for name, value in key.items():
        if value is None:
            raise ValueError(f"{verb}: {table.name}.{name} is None, which equals no row; find the rows first.")


def _check_values(table: sa.Table, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, sa.ClauseElement):
            raise TypeError(
                f"{table.name}.{name}: give a value, not SQL; read the row first, or use a counter (ctx.next), or "
                f"own_transaction=True and ctx.db.execute."
            )
