"""User tokens that a shared secret signs: JSON Web Tokens with HMAC-SHA-256 (RFC 7519, RFC 7515; RFC 8725).

The algorithm is fixed by the kind of key and never taken from the token; no claim is used before the signature is
verified. Claims: `sub` (the user), `exp`, `nbf`, `iat`, `iss`, `aud`, `channels`, `caps`, `jti`; others are ignored.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Sequence
from typing import Any, Final

import jwt

from backchannel_protocol import Refused
from backchannel_protocol.limits import CHANNEL_RE, USER_RE

from .claims import AUDIENCE, MAX_CAPS, MAX_CHANNELS, TokenRules, principal_of, refused
from .header import MAX_TOKEN, read_header
from .principal import VERBS, Principal
from .remembered import Remembered

__all__ = ["ALGORITHM", "AUDIENCE", "MAX_TOKEN", "TokenVerifier", "issue_token"]

ALGORITHM: Final = "HS256"
"""The one algorithm of tokens that a secret signs."""


def issue_token(
    secret: bytes,
    user: str,
    *,
    lifetime: float,
    channels: Sequence[str] = (),
    caps: Sequence[str] | None = None,
    token_id: str | None = None,
    rules: TokenRules | None = None,
    now: float | None = None,
) -> str:
    """A token for a user.

    Args:
        secret: the installation's signing secret.
        user: whom it is for.
        lifetime: seconds that it is good for.
        channels: channels that its holder is subscribed to from the start and may listen to.
        caps: what it is limited to, see `Principal.caps`; None: nothing is taken away.
        token_id: by which this one token can be revoked (`jti`).
        rules: what the installation asks of tokens: `iss` and `aud` are filled in from it.
        now: Unix seconds; the present by default.

    Raises:
        ValueError: an argument is outside its grammar; the message tells which and how it is written.
    """
    rules = rules or TokenRules()
    if not USER_RE.match(user):
        raise ValueError(f"User {user!r}: use letters, digits and _ . @ -, at most 128.")
    if not 0 < lifetime <= rules.lifetime:
        raise ValueError(f"Lifetime {lifetime!r}: use more than 0, at most {rules.lifetime:.10g} (token_lifetime).")
    if len(channels) > MAX_CHANNELS or len(caps or ()) > MAX_CAPS:
        raise ValueError(f"A token names at most {MAX_CHANNELS} channels and {MAX_CAPS} caps.")
    for channel in channels:
        if not CHANNEL_RE.match(channel):
            raise ValueError(f"Channel {channel!r}: use `namespace:name`.")
    for cap in caps or ():
        if cap.partition(":")[0] not in VERBS:
            raise ValueError(f"Cap {cap!r}: use {', '.join(f'{verb}:…' for verb in VERBS)}, where … may end in *.")
    if token_id is not None and not 0 < len(token_id) <= 256:
        raise ValueError("A token's id has 1 to 256 characters.")
    issued = time.time() if now is None else now
    # To the millisecond, so that a token made just after a revocation is told from those before it.
    claims: dict[str, Any] = {"sub": user, "iat": int(issued * 1000) / 1000, "exp": int(issued + lifetime)}
    optional = {
        "iss": rules.issuer or None,
        "aud": rules.audience[0] if rules.audience else None,
        "channels": list(channels) or None,
        "caps": None if caps is None else list(caps),
        "jti": token_id,
    }
    claims.update((name, value) for name, value in optional.items() if value is not None)
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


class TokenVerifier:
    """Verifies tokens that an installation's secret signed, or the one before it. For one thread."""

    def __init__(self, secret: bytes, previous: bytes = b"", rules: TokenRules | None = None) -> None:
        """`previous` is the secret before a rotation, or empty: tokens that it signed stay good."""
        self._secrets = [secret, previous] if previous else [secret]
        self._rules = rules or TokenRules()
        self._verified = Remembered()

    def verify(self, token: str, wall: float) -> Principal:
        """Who holds this token.

        Args:
            token: as it was shown.
            wall: the time now, Unix seconds.

        Raises:
            Refused: `unauthenticated`, saying what is wrong with it.
        """
        known = self._verified.get(token, wall)
        if known is not None:
            return known
        if read_header(token).alg != ALGORITHM:
            raise refused(f"The token is not signed with {ALGORITHM}.")
        principal = principal_of(self._signed(token), wall, self._rules)
        self._verified.put(token, principal)
        return principal

    def _signed(self, token: str) -> bytes:
        """The claims that one of the secrets has signed (RFC 7515 section 5.2, with the algorithm fixed).

        Not by PyJWT, which looks at each token whether the secret is a key file, and takes 50 µs: every fifth of a
        first visit. `signing_secret` has looked once.
        """
        signed, _, signature = token.encode("utf-8", "surrogatepass").rpartition(b".")
        _, dot, claims = signed.partition(b".")
        if not dot:
            raise _no_token()
        for secret in self._secrets:
            ours = base64.urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")
            if hmac.compare_digest(ours, signature):
                break
        else:
            raise refused("The token's signature is not ours; was it made with another secret?")
        try:
            return base64.b64decode(claims + b"=" * (-len(claims) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise _no_token() from None


def _no_token() -> Refused:
    return refused("The token is not a valid JSON Web Token.")
