"""API keys of servers, bots and jobs: made, listed, revoked, and found by what their holder shows."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from hmac import compare_digest

import sqlalchemy as sa
from msgspec import Struct

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
    """The API keys of one app. Synchronous, from any thread, also beside a server that has the database open.

    Every method raises `Refused("unavailable")` if the database cannot be used now.
    """

    def __init__(self, engine: sa.Engine, app: str, border: Callable[[], AbstractContextManager[None]]) -> None:
        """Use `sqlite_api_keys`. `border` turns the driver's errors into refusals."""
        self._engine = engine
        self._app = app
        self._border = border

    def create(self, name: str) -> tuple[ApiKey, str]:
        """Make a key.

        Returns:
            The key, and what its holder must show (`bk_<id>_<secret>`), which cannot be had again.
        """
        key = ApiKey(secrets.token_hex(6), name, _now(), None)
        shown = f"{_PREFIX}_{key.id}_{secrets.token_urlsafe(32)}"
        with self._border(), self._engine.begin() as connection:
            connection.execute(
                api_keys.insert().values(app=self._app, id=key.id, name=name, hash=_hash(shown), created=key.created)
            )
        return key, shown

    def list(self) -> list[ApiKey]:
        """All keys, also those that were revoked, oldest first."""
        columns = (api_keys.c.id, api_keys.c.name, api_keys.c.created, api_keys.c.revoked)
        select = sa.select(*columns).where(api_keys.c.app == self._app)
        with self._border(), self._engine.connect() as connection:
            rows = connection.execute(select.order_by(api_keys.c.created, api_keys.c.id)).all()
        return [ApiKey(*row) for row in rows]

    def revoke(self, key_id: str) -> bool:
        """End a key. Returns whether there was such a key that held."""
        with self._border(), self._engine.begin() as connection:
            result = connection.execute(
                api_keys.update()
                .where(api_keys.c.app == self._app, api_keys.c.id == key_id, api_keys.c.revoked.is_(None))
                .values(revoked=_now())
            )
        return result.rowcount > 0

    def find(self, shown: str) -> ApiKey | None:
        """The key that holds and belongs to what was shown, or None."""
        prefix, _, rest = shown.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != _PREFIX or not secret or not shown.isascii():
            return None
        select = sa.select(api_keys).where(
            api_keys.c.app == self._app, api_keys.c.id == key_id, api_keys.c.revoked.is_(None)
        )
        with self._border(), self._engine.connect() as connection:
            row = connection.execute(select).first()
        if row is None or not compare_digest(row.hash, _hash(shown)):
            return None
        return ApiKey(row.id, row.name, row.created, row.revoked)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()


def _hash(shown: str) -> bytes:
    return hashlib.sha256(shown.encode()).digest()


def _now() -> int:
    return time.time_ns() // 1_000_000
