"""API keys of servers, bots and jobs: made, listed, revoked, and found by what their holder shows."""

from __future__ import annotations

import hashlib
import secrets
import time
from hmac import compare_digest

import sqlalchemy as sa
from msgspec import Struct

from .cold import ColdDatabase
from .tables import api_keys

__all__ = ["ApiKey", "ApiKeys"]

_PREFIX = "bk"


class ApiKey(Struct, frozen=True):
    """An API key, without its secret, which nobody keeps."""

    id: str
    name: str
    """What its maker called it."""
    created: int
    """Unix milliseconds."""
    revoked: int | None
    """Unix milliseconds, or None while it holds."""


class ApiKeys:
    """The API keys of one app, also beside a server that has the database open. For one loop.

    Every method raises `Refused("unavailable")` if the database cannot be used now.
    """

    def __init__(self, database: ColdDatabase, app: str) -> None:
        """Use `sqlite_api_keys` or `postgres_api_keys`."""
        self._database = database
        self._app = app

    async def create(self, name: str) -> tuple[ApiKey, str]:
        """Make a key.

        Returns:
            The key, and what its holder must show (`bk_<id>_<secret>`), which cannot be had again.
        """
        key = ApiKey(secrets.token_hex(6), name, _now(), None)
        shown = f"{_PREFIX}_{key.id}_{secrets.token_urlsafe(32)}"
        await self._database.write(
            api_keys.insert().values(app=self._app, id=key.id, name=name, hash=_hash(shown), created=key.created)
        )
        return key, shown

    async def list(self) -> list[ApiKey]:
        """All keys, also those that were revoked, oldest first."""
        columns = (api_keys.c.id, api_keys.c.name, api_keys.c.created, api_keys.c.revoked)
        select = sa.select(*columns).where(api_keys.c.app == self._app)
        rows = await self._database.rows(select.order_by(api_keys.c.created, api_keys.c.id))
        return [ApiKey(row.id, row.name, row.created, row.revoked) for row in rows]

    async def revoke(self, key_id: str) -> bool:
        """End a key. Returns whether there was such a key that held."""
        changed = await self._database.write(
            api_keys.update()
            .where(api_keys.c.app == self._app, api_keys.c.id == key_id, api_keys.c.revoked.is_(None))
            .values(revoked=_now())
        )
        return changed > 0

    async def find(self, shown: str) -> ApiKey | None:
        """The key that holds and belongs to what was shown, or None."""
        prefix, _, rest = shown.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != _PREFIX or not secret or not shown.isascii() or not key_id.isalnum():
            return None
        select = sa.select(api_keys).where(
            api_keys.c.app == self._app, api_keys.c.id == key_id, api_keys.c.revoked.is_(None)
        )
        rows = await self._database.rows(select)
        if not rows or not compare_digest(rows[0].hash, _hash(shown)):
            return None
        row = rows[0]
        return ApiKey(row.id, row.name, row.created, row.revoked)

    async def holder(self, shown: str) -> str | None:
        """The id of the key that was shown, if it holds: what an authenticator asks."""
        key = await self.find(shown)
        return None if key is None else key.id

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _hash(shown: str) -> bytes:
    return hashlib.sha256(shown.encode()).digest()


def _now() -> int:
    return time.time_ns() // 1_000_000
