"""Claims: what a token says once its signature is verified, and the rules that it must keep (RFC 7519 section 4.1)."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from backchannel_protocol import Refused
from backchannel_protocol.limits import Channel, User

from ..settings import Settings
from .principal import Principal

__all__ = ["AUDIENCE", "LEEWAY", "MAX_CAPS", "MAX_CHANNELS", "TokenRules", "principal_of", "refused"]

AUDIENCE: Final = "backchannel"
"""What `aud` must name where no setting says otherwise: a token for another service is not one for us."""

LEEWAY: Final = 5.0
"""Seconds by which the clocks of issuer and server may differ."""

MAX_CHANNELS: Final = 512
MAX_CAPS: Final = 256

_DAY: Final = 86_400.0


class TokenRules(Struct, frozen=True):
    """What an operator asks of tokens, whoever signed them."""

    issuer: str = ""
    """What `iss` must be where the secret signed; empty: anything."""
    audience: tuple[str, ...] = ()
    """What `aud` must name, one of these; empty: `AUDIENCE`, and where the secret signed it may be missing."""
    lifetime: float = 90 * _DAY
    """Seconds from issue to expiry at the most."""

    @classmethod
    def of(cls, settings: Settings) -> TokenRules:
        """The rules that these settings ask for."""
        return cls(settings.issuer, settings.audience, settings.token_lifetime)


class _Claims(Struct):
    """What we read of a token; others are ignored."""

    sub: User
    exp: float
    nbf: float | None = None
    iat: float | None = None
    iss: str | None = None
    aud: str | list[str] | None = None
    channels: Annotated[list[Channel], Meta(max_length=MAX_CHANNELS)] | None = None
    caps: Annotated[list[str], Meta(max_length=MAX_CAPS)] | None = None
    jti: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


_decode: Final = msgspec.json.Decoder(_Claims).decode


def principal_of(signed: bytes, wall: float, rules: TokenRules, issuer: str | None = None) -> Principal:
    """Who a token is about.

    Args:
        signed: the claims, whose signature was verified.
        wall: the time now, Unix seconds.
        rules: what is asked of it.
        issuer: whose key set signed it: `iss` must be that, and `aud` must be there; None: the secret signed it.

    Raises:
        Refused: `unauthenticated`, saying what is wrong with it.
    """
    try:
        claims = _decode(signed)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise refused(f"The token's claims cannot be used: {exc}.") from None
    if wall >= claims.exp + LEEWAY:
        raise refused("The token has expired; fetch a fresh one.")
    if max(claims.nbf or 0.0, claims.iat or 0.0) > wall + LEEWAY:
        raise refused("The token is not valid yet; compare the clocks of its issuer and of this server.")
    # Without `iat` what is left of it is judged: it was longer still.
    if claims.exp - (wall - LEEWAY if claims.iat is None else claims.iat) > rules.lifetime + 2 * LEEWAY:
        raise refused(
            f"The token is good for longer than {rules.lifetime:.10g} seconds (token_lifetime); issue shorter ones."
        )
    _check_issuer(claims.iss, issuer or rules.issuer)
    _check_audience(claims.aud, rules.audience, needed=issuer is not None or bool(rules.audience))
    return Principal(
        user=claims.sub,
        id=f"user:{claims.sub}",
        channels=tuple(claims.channels or ()),
        caps=None if claims.caps is None else tuple(claims.caps),
        expires=claims.exp,
        token_id=claims.jti,
        issued_at=claims.iat,
    )


def _check_issuer(said: str | None, wanted: str) -> None:
    if wanted and said != wanted:
        raise refused(f"The token is from another issuer: `iss` must be {wanted!r}.")


def _check_audience(said: str | list[str] | None, wanted: tuple[str, ...], *, needed: bool) -> None:
    if said is None and not needed:
        return
    named = [said] if isinstance(said, str) else said or []
    accepted = wanted or (AUDIENCE,)
    if not any(name in accepted for name in named):
        names = " or ".join(repr(name) for name in accepted)
        raise refused(f"The token is for somebody else: name {names} in `aud`{'' if needed else ', or leave it out'}.")


def refused(message: str) -> Refused:
    """The refusal of a token."""
    return Refused("unauthenticated", message)
