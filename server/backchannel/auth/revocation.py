"""Revocation: access that was taken away, as the store keeps it and as it is decided by."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from backchannel_protocol.limits import USER_RE

from .principal import Principal

__all__ = ["Revocation", "disconnection_row", "revocation_row"]

_MAX_TOKEN_ID: Final = 256
# Milliseconds for which a gateway may find a disconnection that it has not yet acted on.
_DISCONNECTION: Final = 120_000


class Revocation(Struct, frozen=True, kw_only=True):
    """One thing that was taken away. Instants are Unix milliseconds."""

    id: str
    user: str | None = None
    """Whose tokens, or whose connections."""
    token_id: str | None = None
    """The one token (`jti`)."""
    issued_before: int | None = None
    """The user's tokens that were issued before this; one that does not say when counts as old. None, without
    `token_id`: no token at all, only the connections that the user has."""
    expires: int | None = None
    """When the tokens concerned have expired, if that is known."""
    time: int
    """When it was decided."""

    def voids(self, principal: Principal) -> bool:
        """Whether the token that this principal showed is not good any more."""
        if self.token_id is not None:
            return principal.token_id == self.token_id
        if self.issued_before is None or principal.user != self.user:
            return False
        return principal.issued_at is None or principal.issued_at * 1000 < self.issued_before

    def ends(self, principal: Principal) -> bool:
        """Whether a connection that is open now must go."""
        only_connections = self.token_id is None and self.issued_before is None
        return (only_connections and principal.user == self.user) or self.voids(principal)

    def over(self, now: int, lifetime: float) -> bool:
        """Whether every token concerned has expired, where none is good for longer than so many seconds."""
        return now > (self.time + int(lifetime * 1000) if self.expires is None else self.expires)


def revocation_row(
    *, user: str | None, token_id: str | None, issued_before: int | None, expires: int | None, now: int
) -> dict[str, Any]:
    """The columns of a revocation, all but `app` and `id`.

    Args:
        user: whose tokens; or
        token_id: which one.
        issued_before: with `user`: only tokens older than this; None: all until now.
        expires: when the tokens concerned have expired; None: the installation's longest lifetime from now.
        now: Unix milliseconds, as the others.

    Raises:
        ValueError: not exactly one of user and token is named, or a value is outside its grammar.
    """
    if (user is None) == (token_id is None):
        raise ValueError("Name a user or a token id, one of both.")
    if user is not None:
        _check_user(user)
    if token_id is not None and not 0 < len(token_id) <= _MAX_TOKEN_ID:
        raise ValueError(f"A token's id has 1 to {_MAX_TOKEN_ID} characters.")
    if issued_before is not None and (user is None or issued_before > now):
        raise ValueError("`issued_before` goes with a user, and cannot be in the future.")
    if expires is not None and expires <= now:
        raise ValueError("`expires` is in the past: what has expired needs no revocation.")
    if user is not None and issued_before is None:
        issued_before = now + 1  # those of this very millisecond too
    return {"user": user, "token_id": token_id, "issued_before": issued_before, "expires": expires, "time": now}


def disconnection_row(user: str, now: int) -> dict[str, Any]:
    """The same for the connections that a user has now, whose tokens stay good.

    Raises:
        ValueError: the user's name is outside its grammar.
    """
    _check_user(user)
    return {"user": user, "token_id": None, "issued_before": None, "expires": now + _DISCONNECTION, "time": now}


def _check_user(user: str) -> None:
    if not USER_RE.match(user):
        raise ValueError(f"User {user!r}: use letters, digits and _ . @ -, at most 128.")
