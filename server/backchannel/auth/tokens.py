"""User tokens: JSON Web Tokens signed with HMAC-SHA-256 (RFC 7519, RFC 7515).

The algorithm is fixed by the kind of key and never read from the token; no claim is used before the signature is
verified. Claims: `sub` (the user), `exp`, `channels`, `caps`, `jti`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import jwt
from backchannel_protocol import Refused
from backchannel_protocol.limits import CHANNEL_RE, USER_RE

from .principal import Principal

__all__ = ["TokenVerifier", "issue_token"]

_ALGORITHM: Final = "HS256"
# Clocks of issuer and server may differ by this much, in seconds.
_LEEWAY: Final = 5.0
_MAX_CHANNELS: Final = 512
_MAX_CAPS: Final = 256
# Verified tokens that are remembered, so that a reconnect storm does not verify each again.
_CACHE: Final = 10_000


def issue_token(
    secret: bytes,
    user: str,
    *,
    lifetime: float,
    channels: Sequence[str] = (),
    caps: Sequence[str] | None = None,
    now: float | None = None,
) -> str:
    """A token for a user, good for `lifetime` seconds.

    Raises:
        ValueError: the user's or a channel's name is outside its grammar.
    """
    if not USER_RE.match(user):
        raise ValueError(f"User {user!r}: use letters, digits and _ . @ -, at most 128.")
    for channel in channels:
        if not CHANNEL_RE.match(channel):
            raise ValueError(f"Channel {channel!r}: use `namespace:name`.")
    claims: dict[str, Any] = {"sub": user, "exp": int((time.time() if now is None else now) + lifetime)}
    if channels:
        claims["channels"] = list(channels)
    if caps is not None:
        claims["caps"] = list(caps)
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


class TokenVerifier:
    """Verifies tokens of one issuer who shares a secret with us."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._verified: dict[str, Principal] = {}

    def verify(self, token: str, wall: float) -> Principal:
        """Who holds this token.

        Raises:
            Refused: `unauthenticated`, saying what is wrong with it.
        """
        if (known := self._verified.get(token)) is not None:
            if known.expires is not None and wall < known.expires + _LEEWAY:
                return known
            del self._verified[token]
        principal = self._verify(token)
        if len(self._verified) >= _CACHE:
            self._verified.pop(next(iter(self._verified)))
        self._verified[token] = principal
        return principal

    def _verify(self, token: str) -> Principal:
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                leeway=_LEEWAY,
                options={"require": ["sub", "exp"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise Refused("unauthenticated", "The token has expired; fetch a fresh one.") from None
        except jwt.MissingRequiredClaimError as exc:
            raise Refused("unauthenticated", f"The token lacks the claim {exc.claim!r}.") from None
        except jwt.InvalidAlgorithmError:
            raise Refused("unauthenticated", f"The token is not signed with {_ALGORITHM}.") from None
        except jwt.InvalidSignatureError:
            raise Refused("unauthenticated", "The token's signature is not ours.") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Refused("unauthenticated", "The token is not a valid JSON Web Token.") from None
        return _principal(claims)


def _principal(claims: dict[str, Any]) -> Principal:
    user = claims["sub"]
    if not isinstance(user, str) or not USER_RE.match(user):
        raise Refused("unauthenticated", "The token's `sub` is not a user name: letters, digits and _ . @ -.")
    token_id = claims.get("jti")
    return Principal(
        user=user,
        id=f"user:{user}",
        channels=_strings(claims, "channels", _MAX_CHANNELS) or (),
        caps=_strings(claims, "caps", _MAX_CAPS),
        expires=float(claims["exp"]),
        token_id=token_id if isinstance(token_id, str) else None,
    )


def _strings(claims: dict[str, Any], name: str, most: int) -> tuple[str, ...] | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > most or not all(isinstance(item, str) for item in value):
        raise Refused("unauthenticated", f"The token's `{name}` must be a list of at most {most} strings.")
    return tuple(value)
