"""Stores that fail on purpose: at the steps of a batch (`FailingStore`), or by breaking a promise (`sabotaged`).

They wrap the real store and its transactions; whatever they do not name passes through.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, cast

import sqlalchemy as sa

from backchannel_protocol import Refused

from ...store.store import KeyRow, Store, StoredKey, Transaction
from .points import Point, Points, Step
from .workload import OPERATOR_KEY, PREPARE_KEY

__all__ = ["SABOTAGE", "Sabotage", "failing", "sabotaged"]

Sabotage = Literal["replies", "keys", "offsets"]
"""A promise that is broken on purpose: answer although the transaction was rolled back; look up no keys; deliver
whatever comes, as it comes."""

SABOTAGE: Final[dict[Sabotage, str]] = {
    "replies": "every 20th transaction of the load is rolled back, and answered as if it were committed",
    "keys": "idempotency keys are neither looked up nor kept",
    "offsets": "gateways lose, repeat and turn around events, and deliver what comes as it comes",
}

_ROLLED_BACK_EVERY = 20


class _Wrapped:
    """Passes everything through."""

    def __init__(self, inner: Any) -> None:
        self._inner: Final = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def failing(store: Store, points: Points) -> Store:
    """A store that fails at the points that a run arms."""
    return cast("Store", _FailingStore(store, points))


class _FailingStore(_Wrapped):
    def __init__(self, inner: Store, points: Points) -> None:
        super().__init__(inner)
        self._points = points
        self._taken = False

    async def begin(self, lanes: Sequence[str]) -> Transaction:
        transaction = await self._inner.begin(lanes)
        point = None if self._taken else self._points.take()
        if point is None:
            return transaction  # type: ignore[no-any-return]
        self._taken = True
        wrapped = _FailingTransaction(transaction, point, self._points, self._free)
        try:
            await wrapped.reach("locked")
        except BaseException:
            await wrapped.rollback()
            raise
        return cast("Transaction", wrapped)

    def _free(self) -> None:
        self._taken = False


class _FailingTransaction(_Wrapped):
    """One transaction that fails at its point, if it comes to it."""

    def __init__(self, inner: Transaction, point: Point, points: Points, over: Callable[[], None]) -> None:
        super().__init__(inner)
        self._point: Point | None = point
        self._points = points
        self._over: Callable[[], None] | None = over

    async def reach(self, step: Step) -> None:
        """The step is done: fail here if it is the one."""
        point = self._point
        if point is None or point.step != step:
            return
        self._strike()
        match point.blow:
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "lost" if step == "written":
                # The commit did not arrive, and nobody knows.
                await self._inner.rollback()
                raise _answer_lost()
            case "lost" if step == "committed":
                raise _answer_lost()
            case "lost":
                # The real thing: what it raises is the real store's to say.
                await self._inner.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))

    def _strike(self) -> None:
        self._point = None
        self._points.strike()

    def _end(self) -> None:
        if self._over is not None:
            if self._point is not None:
                self._points.give_back()
                self._point = None
            self._over()
            self._over = None

    async def keys(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredKey]:
        found: dict[tuple[str, str], StoredKey] = await self._inner.keys(keys)
        await self.reach("looked_up")
        return found

    async def insert(self, *arguments: Any) -> None:
        await self.reach("handled")
        await self._inner.insert(*arguments)

    async def update(self, *arguments: Any) -> None:
        await self.reach("handled")
        await self._inner.update(*arguments)

    async def delete(self, *arguments: Any) -> None:
        await self.reach("handled")
        await self._inner.delete(*arguments)

    async def set_counters(self, *arguments: Any) -> None:
        await self.reach("handled")
        await self._inner.set_counters(*arguments)

    async def append(self, *arguments: Any) -> Any:
        await self.reach("handled")
        return await self._inner.append(*arguments)

    async def save_keys(self, *arguments: Any) -> None:
        await self.reach("handled")
        await self._inner.save_keys(*arguments)

    async def commit(self) -> None:
        try:
            await self.reach("written")
            await self._inner.commit()
            await self.reach("committed")
        finally:
            self._end()

    async def rollback(self) -> None:
        try:
            await self._inner.rollback()
        finally:
            self._end()


def _answer_lost() -> Refused:
    return Refused("unavailable", "The connection to the database was lost.", outcome="unknown", retry_after=1.0)


def sabotaged(store: Store, sabotage: Sabotage) -> Store:
    """A store that breaks a promise; `offsets` is a gateway's, and changes nothing here."""
    match sabotage:
        case "replies":
            return cast("Store", _SabotagedStore(store, _RollsBack))
        case "keys":
            return cast("Store", _SabotagedStore(store, _ForgetsKeys))
        case "offsets":
            return store


class _SabotagedStore(_Wrapped):
    def __init__(self, inner: Store, kind: Callable[[Transaction, int], _Wrapped]) -> None:
        super().__init__(inner)
        self._kind = kind
        self._begun = 0

    async def begin(self, lanes: Sequence[str]) -> Transaction:
        self._begun += 1
        return cast("Transaction", self._kind(await self._inner.begin(lanes), self._begun))


class _RollsBack(_Wrapped):
    def __init__(self, inner: Transaction, number: int) -> None:
        super().__init__(inner)
        self._drops = number % _ROLLED_BACK_EVERY == 0

    async def save_keys(self, rows: Sequence[KeyRow]) -> None:
        # Without its members and rights there would be no run that could show what is lost.
        self._drops = self._drops and not any(row.key.startswith((PREPARE_KEY, OPERATOR_KEY)) for row in rows)
        await self._inner.save_keys(rows)

    async def commit(self) -> None:
        await (self._inner.rollback() if self._drops else self._inner.commit())


class _ForgetsKeys(_Wrapped):
    def __init__(self, inner: Transaction, _number: int) -> None:
        super().__init__(inner)

    async def keys(self, _keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StoredKey]:
        return {}

    async def save_keys(self, _rows: Sequence[KeyRow]) -> None:
        return
