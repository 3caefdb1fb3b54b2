"""Tokens that were verified, so that a reconnect storm does not verify each again."""

from __future__ import annotations

from typing import Final

from .claims import LEEWAY
from .principal import Principal

__all__ = ["CAPACITY", "Remembered"]

CAPACITY: Final = 10_000
"""How many tokens are remembered at the most; the oldest goes."""


class Remembered:
    """Who holds which verified token. It keeps none beyond its expiry; whether it was revoked is asked elsewhere."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._holders: dict[str, Principal] = {}

    def get(self, token: str, wall: float) -> Principal | None:
        """Who holds it, if it is remembered and has not expired."""
        known = self._holders.get(token)
        if known is None:
            return None
        if known.expires is not None and wall < known.expires + LEEWAY:
            return known
        del self._holders[token]
        return None

    def put(self, token: str, holder: Principal) -> None:
        """Remember who holds it."""
        if len(self._holders) >= self._capacity:
            self._holders.pop(next(iter(self._holders)))
        self._holders[token] = holder

    def clear(self) -> None:
        """Forget all: the keys have changed."""
        self._holders.clear()
