"""Authenticator: who is behind a token, an API key, or nothing at all."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

import msgspec

from backchannel_protocol import Refused
from backchannel_protocol.limits import USER_RE

from .principal import Principal
from .tokens import TokenVerifier, issue_token

__all__ = ["API_KEY_PREFIX", "SecretAuthenticator"]

API_KEY_PREFIX: Final = "bk_"
"""What every API key begins with, so that logs and scanners can know one."""

# How long a guest stays the same guest, in seconds.
_GUEST_LIFETIME: Final = 30 * 86_400.0


class SecretAuthenticator:
    """Verifies tokens with the installation's HMAC secret and API keys with the store. For one thread."""

    def __init__(
        self,
        secret: bytes,
        find_key: Callable[[str], str | None],
        *,
        guests: bool,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`find_key` returns the id of an API key that holds, or None. `wall` tells Unix seconds."""
        self._secret = secret
        self._verifier = TokenVerifier(secret)
        self._find_key = find_key
        self._guests = guests
        self._wall = wall

    async def token(self, token: str | None) -> Principal:
        """Who holds this token; without one: a fresh guest, where guests are allowed.

        Raises:
            Refused: `unauthenticated`.
        """
        if not token:
            if not self._guests:
                raise Refused("unauthenticated", "A token is needed; guests are not allowed here.")
            return self._guest()
        if token.startswith(API_KEY_PREFIX):
            raise Refused("unauthenticated", "API keys are for servers and the HTTP door; connect with a user's token.")
        return self._verifier.verify(token, self._wall())

    def _guest(self) -> Principal:
        """A guest of its own, signed, so that it comes back as the same one and its keys keep their scope."""
        now = self._wall()
        issued = issue_token(self._secret, f"guest-{secrets.token_hex(8)}", lifetime=_GUEST_LIFETIME, now=now)
        return msgspec.structs.replace(self._verifier.verify(issued, now), issued=issued)

    async def api_key(self, secret: str, user: str) -> Principal:
        """Who holds this API key, acting for a user, or as the key itself (empty).

        Raises:
            Refused: `unauthenticated`; `invalid` where the user's name is none.
        """
        key_id = self._find_key(secret)
        if key_id is None:
            raise Refused("unauthenticated", "The API key is unknown or revoked.")
        if user and not USER_RE.match(user):
            raise Refused("invalid", "Backchannel-User must be a user name: letters, digits and _ . @ -, at most 128.")
        return Principal(user=user, id=f"key:{key_id}:{user}")
