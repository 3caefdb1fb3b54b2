"""Authenticator: who is behind a token, an API key, or nothing at all."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from backchannel_protocol import Refused
from backchannel_protocol.limits import USER_RE

from .claims import TokenRules, refused
from .header import read_header
from .jwks import ALGORITHMS
from .key_sets import KeySets
from .principal import Principal
from .tokens import TokenVerifier, issue_token

__all__ = ["API_KEY_PREFIX", "SecretAuthenticator"]

API_KEY_PREFIX: Final = "bk_"
"""What every API key begins with, so that logs and scanners can know one."""

# How long a guest stays the same guest, in seconds.
_GUEST_LIFETIME: Final = 30 * 86_400.0


class SecretAuthenticator:
    """Verifies tokens with the installation's secrets and its issuers' key sets, and API keys with the store.

    For one thread.
    """

    def __init__(
        self,
        secret: bytes,
        find_key: Callable[[str], Awaitable[str | None]],
        *,
        guests: bool,
        previous: bytes = b"",
        key_sets: KeySets | None = None,
        rules: TokenRules | None = None,
        check: Callable[[Principal], None] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            secret: signs tokens and guests; empty where tokens come from issuers' key sets alone.
            find_key: tells the id of an API key that holds, or None; it never blocks the loop.
            guests: whether one may come without a token.
            previous: the secret before a rotation, or empty.
            key_sets: whose tokens are good beside those that the secret signed.
            rules: what is asked of tokens.
            check: raises `Refused` for a token that was revoked; asked each time, also for remembered tokens.
            wall: tells Unix seconds.
        """
        self._secret = secret
        self._rules = rules or TokenRules()
        self._verifier = TokenVerifier(secret, previous, self._rules) if secret else None
        self._key_sets = key_sets
        self._find_key = find_key
        self._guests = guests
        self._check = check
        self._wall = wall

    async def token(self, token: str | None) -> Principal:
        """Who holds this token; without one: a fresh guest, where guests are allowed.

        Cancelling it gives up the wait for an issuer's keys.

        Raises:
            Refused: `unauthenticated`; `unavailable`, if it cannot be told now.
        """
        principal = self.at_once(token)
        if principal is None:
            assert token is not None  # all but what an issuer's keys must verify is known at once
            assert self._key_sets is not None
            principal = self._checked(await self._key_sets.verify(token, self._wall()))
        return principal

    def at_once(self, token: str | None) -> Principal | None:
        """As `token`, without a wait; None: an issuer's keys may have to be fetched.

        Raises:
            Refused: as `token`.
        """
        if not token:
            if not self._guests:
                raise refused("A token is needed; guests are not allowed here.")
            return self._guest()
        if token.startswith(API_KEY_PREFIX):
            raise refused("API keys are for servers and the HTTP door; connect with a user's token.")
        wall = self._wall()
        if self._key_sets is not None:
            known = self._key_sets.remembered(token, wall)
            if known is not None:
                return self._checked(known)
            # Only which verifier is asked follows the header: each accepts nothing but the algorithms of its own keys.
            if self._verifier is None or read_header(token).alg in ALGORITHMS:
                return None
        if self._verifier is None:
            raise refused("No tokens are accepted here.")
        return self._checked(self._verifier.verify(token, wall))

    def _checked(self, principal: Principal) -> Principal:
        if self._check is not None:
            self._check(principal)
        return principal

    def _guest(self) -> Principal:
        """A guest of its own, signed, so that it comes back as the same one and its keys keep their scope."""
        assert self._verifier is not None  # `signing_secret` asks for one where guests are allowed
        now = self._wall()
        issued = issue_token(
            self._secret,
            f"guest-{secrets.token_hex(8)}",
            lifetime=min(_GUEST_LIFETIME, self._rules.lifetime),
            rules=self._rules,
            now=now,
        )
        return msgspec.structs.replace(self._verifier.verify(issued, now), issued=issued)

    async def api_key(self, secret: str, user: str) -> Principal:
        """Who holds this API key, acting for a user, or as the key itself (empty).

        Raises:
            Refused: `unauthenticated`; `invalid` where the user's name is none; `unavailable`, if it cannot be told.
        """
        key_id = await self._find_key(secret)
        if key_id is None:
            raise refused("The API key is unknown or revoked.")
        if user and not USER_RE.match(user):
            raise Refused("invalid", "Backchannel-User must be a user name: letters, digits and _ . @ -, at most 128.")
        return Principal(user=user, id=f"key:{key_id}:{user}")
