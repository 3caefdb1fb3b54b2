"""Who is behind a connection or a request, after authentication."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

__all__ = ["VERBS", "Principal"]

VERBS: Final = ("call", "listen", "publish")
"""What a cap can be about: `call:NAME`, `listen:CHANNEL`, `publish:CHANNEL`."""

_KEY_SCOPE: Final = "key:"


class Principal(Struct, frozen=True, omit_defaults=True):
    """An authenticated identity and what its token or key allows."""

    user: str
    """The user's name; empty for an API key that acts for nobody."""
    id: str
    """The scope of idempotency keys: `user:alice`, also for guests, whose token brings the same name back; or
    `key:<key id>:alice`, for an API key that acts for a user."""
    channels: tuple[str, ...] = ()
    """Channels that the token's `channels` claim names: the server subscribes them, and a namespace
    without a rule of its own lets their holder listen."""
    caps: tuple[str, ...] | None = None
    """What the token is limited to: patterns `call:NAME`, `listen:CHANNEL`, `publish:CHANNEL`, where a
    trailing `*` matches the rest. None: everything that the user may do."""
    expires: float | None = None
    """When the token expires, Unix seconds."""
    token_id: str | None = None
    """The token's `jti`, by which it can be revoked."""
    issued: str | None = None
    """For a fresh guest: the token with which it comes back as the same one."""
    issued_at: float | None = None
    """When the token was issued (`iat`), Unix seconds."""

    @property
    def api_key(self) -> str | None:
        """The id of the API key that asks; None for the holder of a token."""
        return self.id.split(":")[1] if self.id.startswith(_KEY_SCOPE) else None

    def may(self, verb: str, what: str) -> bool:
        """Whether the token's `caps` leave this open: a narrowing, never a grant.

        Args:
            verb: one of `VERBS`.
            what: a request's name, or a channel.
        """
        if self.caps is None:
            return True
        wanted = f"{verb}:{what}"
        return any(wanted == cap or (cap.endswith("*") and wanted.startswith(cap[:-1])) for cap in self.caps)
