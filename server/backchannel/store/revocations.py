"""Revocations in the database: added beside a running server, and read by every gateway."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import sqlalchemy as sa

from ..auth.revocation import Revocation, revocation_row
from .cold import ColdDatabase
from .store import Store
from .tables import revocations

__all__ = ["Revocations", "forget_revocations"]

# Rows that are let go in one transaction.
_PAGE = 500


class Revocations:
    """The revocations of one app, also beside a server that has the database open. For one loop.

    Every method raises `Refused("unavailable")` if the database cannot be used now.
    """

    def __init__(self, database: ColdDatabase, app: str) -> None:
        """Use `sqlite_revocations` or `postgres_revocations`."""
        self._database = database
        self._app = app

    async def add(
        self,
        *,
        user: str | None = None,
        token_id: str | None = None,
        issued_before: int | None = None,
        expires: int | None = None,
    ) -> None:
        """Revoke a user's tokens, or one token; see `revocation_row`. Gateways act on it within 5 seconds.

        Raises:
            ValueError: not exactly one of both is named, or a value is outside its grammar.
        """
        row = revocation_row(
            user=user,
            token_id=token_id,
            issued_before=issued_before,
            expires=expires,
            now=time.time_ns() // 1_000_000,
        )
        await self._database.write(revocations.insert().values(app=self._app, id=secrets.token_hex(13), **row))

    async def since(self, moment: int) -> list[Revocation]:
        """What was decided at or after this instant (Unix milliseconds), oldest first; cancelling forgets it."""
        columns = [revocations.c[name] for name in Revocation.__struct_fields__]
        select = sa.select(*columns).where(revocations.c.app == self._app, revocations.c.time >= moment)
        rows = await self._database.rows(select.order_by(revocations.c.time))
        return [Revocation(**row._mapping) for row in rows]

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


async def forget_revocations(store: Store, app: str, lifetime: float, now: int) -> None:
    """Let go of revocations whose tokens have all expired, where none is good for longer than so many seconds.

    Raises:
        Refused: `unavailable`.
    """
    ended = sa.func.coalesce(revocations.c.expires, revocations.c.time + int(lifetime * 1000))
    select = sa.select(revocations.c.id).where(revocations.c.app == app, ended < now).limit(_PAGE)
    rows: Sequence[sa.Row[tuple[str]]] = ()
    while True:
        reader = await store.snapshot()
        try:
            rows = await reader.rows(select)
        finally:
            await reader.close()
        if not rows:
            return
        transaction = await store.begin(())
        try:
            await transaction.delete(revocations, [{"id": row.id} for row in rows])
            await transaction.commit()
        finally:
            await transaction.rollback()
