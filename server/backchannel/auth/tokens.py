"""User tokens: JSON Web Tokens signed with HMAC-SHA-256 (RFC 7519, RFC 7515; hardened as RFC 8725 asks).

The algorithm is fixed by the kind of key and never read from the token; `kid`, `jku` and the like are never looked at;
no claim is used before the signature is verified. Claims: `sub` (the user), `exp`, `nbf`, `aud`, `channels`, `caps`,
`jti`; others are ignored.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

import jwt
import msgspec
from msgspec import Meta, Struct

from backchannel_protocol import Refused
from backchannel_protocol.limits import CHANNEL_RE, USER_RE, Channel, User

from .principal import VERBS, Principal

__all__ = ["AUDIENCE", "MAX_TOKEN", "TokenVerifier", "issue_token"]

MAX_TOKEN: Final = 64 * 1024
"""Bytes: the most that the setting `token_size` may allow."""

AUDIENCE: Final = "backchannel"
"""What `aud` must name where a token has one: a token for another service is not one for us (RFC 7519, 4.1.3)."""

_ALGORITHM: Final = "HS256"
# Clocks of issuer and server may differ by this much, in seconds.
_LEEWAY: Final = 5.0
_MAX_CHANNELS: Final = 512
_MAX_CAPS: Final = 256
# Verified tokens that are remembered, so that a reconnect storm does not verify each again.
_CACHE: Final = 10_000
_JWS: Final = jwt.PyJWS(algorithms=[_ALGORITHM])


class _Claims(Struct):
    """What we read of a token."""

    sub: User
    exp: float
    nbf: float | None = None
    aud: str | list[str] | None = None
    channels: Annotated[list[Channel], Meta(max_length=_MAX_CHANNELS)] | None = None
    caps: Annotated[list[str], Meta(max_length=_MAX_CAPS)] | None = None
    jti: str | None = None


_claims: Final = msgspec.json.Decoder(_Claims)


def issue_token(
    secret: bytes,
    user: str,
    *,
    lifetime: float,
    channels: Sequence[str] = (),
    caps: Sequence[str] | None = None,
    now: float | None = None,
) -> str:
    """A token for a user.

    Args:
        secret: the installation's signing secret.
        user: whom it is for.
        lifetime: seconds that it is good for.
        channels: channels that its holder is subscribed to from the start and may listen to.
        caps: what it is limited to, see `Principal.caps`; None: nothing is taken away.
        now: Unix seconds; the present by default.

    Raises:
        ValueError: an argument is outside its grammar; the message tells which and how it is written.
    """
    if not USER_RE.match(user):
        raise ValueError(f"User {user!r}: use letters, digits and _ . @ -, at most 128.")
    if not lifetime > 0:
        raise ValueError(f"Lifetime {lifetime!r}: use more than 0 seconds.")
    if len(channels) > _MAX_CHANNELS or len(caps or ()) > _MAX_CAPS:
        raise ValueError(f"A token names at most {_MAX_CHANNELS} channels and {_MAX_CAPS} caps.")
    for channel in channels:
        if not CHANNEL_RE.match(channel):
            raise ValueError(f"Channel {channel!r}: use `namespace:name`.")
    for cap in caps or ():
        if cap.partition(":")[0] not in VERBS:
            raise ValueError(f"Cap {cap!r}: use {', '.join(f'{verb}:…' for verb in VERBS)}, where … may end in *.")
    claims: dict[str, Any] = {"sub": user, "exp": int((time.time() if now is None else now) + lifetime)}
    if channels:
        claims["channels"] = list(channels)
    if caps is not None:
        claims["caps"] = list(caps)
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


class TokenVerifier:
    """Verifies tokens of one issuer who shares a secret with us. For one thread."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._verified: dict[str, Principal] = {}

    def verify(self, token: str, wall: float) -> Principal:
        """Who holds this token.

        Args:
            token: as it was shown.
            wall: the time now, Unix seconds.

        Raises:
            Refused: `unauthenticated`, saying what is wrong with it.
        """
        if (known := self._verified.get(token)) is not None:
            if known.expires is not None and wall < known.expires + _LEEWAY:
                return known
            del self._verified[token]
        principal = self._verify(token, wall)
        if len(self._verified) >= _CACHE:
            self._verified.pop(next(iter(self._verified)))
        self._verified[token] = principal
        return principal

    def _verify(self, token: str, wall: float) -> Principal:
        if len(token) > MAX_TOKEN:
            raise _refused(f"The token is longer than {MAX_TOKEN} bytes.")
        try:
            signed = _JWS.decode(token, self._secret, algorithms=[_ALGORITHM])
        except jwt.InvalidAlgorithmError:
            raise _refused(f"The token is not signed with {_ALGORITHM}.") from None
        except jwt.InvalidSignatureError:
            raise _refused("The token's signature is not ours; was it made with another secret?") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise _refused("The token is not a valid JSON Web Token.") from None
        try:
            claims = _claims.decode(signed)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise _refused(f"The token's claims cannot be used: {exc}.") from None
        if wall >= claims.exp + _LEEWAY:
            raise _refused("The token has expired; fetch a fresh one.")
        if claims.nbf is not None and wall < claims.nbf - _LEEWAY:
            raise _refused("The token is not valid yet; compare the clocks of its issuer and of this server.")
        if claims.aud is not None and AUDIENCE not in ([claims.aud] if isinstance(claims.aud, str) else claims.aud):
            raise _refused(f"The token is for somebody else: leave `aud` out, or name {AUDIENCE!r} in it.")
        return Principal(
            user=claims.sub,
            id=f"user:{claims.sub}",
            channels=tuple(claims.channels or ()),
            caps=None if claims.caps is None else tuple(claims.caps),
            expires=claims.exp,
            token_id=claims.jti,
        )


def _refused(message: str) -> Refused:
    return Refused("unauthenticated", message)
