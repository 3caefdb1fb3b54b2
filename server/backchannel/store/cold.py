"""Single statements on cold paths, each in a transaction of its own: API keys and revocations, beside a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import sqlalchemy as sa

__all__ = ["ColdDatabase"]


class ColdDatabase(Protocol):
    """A database of any kind, for use on one loop, which is never blocked.

    Every method raises `Refused("unavailable")` if the database cannot be used now. Cancelling forgets the answer; a
    write may count all the same.
    """

    async def rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """All rows of a select."""

    async def write(self, statement: sa.Executable) -> int:
        """Change rows, durably when this returns; how many there were."""

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
