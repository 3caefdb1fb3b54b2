"""JSON Web Key Sets (RFC 7517): public keys, each fixed to one algorithm (RFC 8725 section 3.1)."""

from __future__ import annotations

from typing import Any, Final

import jwt
import msgspec
from msgspec import Struct

from ..telemetry.logs import get_logger

__all__ = ["ALGORITHMS", "BadKeySet", "PublicKey", "read_key_set"]

_log = get_logger(__name__)

# What a key of each kind may be for. The first one holds where the key does not say; `oct` is not there: a set that
# everybody may read holds no secrets.
_BY_KIND: Final[dict[tuple[str, str | None], tuple[str, ...]]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}

ALGORITHMS: Final = tuple(algorithm for algorithms in _BY_KIND.values() for algorithm in algorithms)
"""Every algorithm that a public key may have here."""

_MAX_KEYS: Final = 100
_MIN_RSA_BITS: Final = 2048
_JWS: Final = jwt.PyJWS(algorithms=list(ALGORITHMS))


class BadKeySet(Exception):
    """What was read is no key set, or holds no key that can be used."""


class _Set(Struct):
    keys: list[dict[str, Any]]


_decode: Final = msgspec.json.Decoder(_Set).decode


class PublicKey(Struct, frozen=True):
    """A key that verifies tokens."""

    kid: str | None
    algorithm: str
    """The one algorithm that it is for."""
    key: jwt.PyJWK

    def verify(self, token: str) -> bytes | None:
        """The claims that this key has signed; None if it has not.

        Raises:
            jwt.PyJWTError, ValueError, TypeError: it is no token.
        """
        try:
            signed: bytes = _JWS.decode(token, self.key, algorithms=[self.algorithm])
        except jwt.InvalidSignatureError:
            return None
        return signed


def read_key_set(data: bytes, source: str) -> dict[str | None, tuple[PublicKey, ...]]:
    """The usable keys of a set, by their `kid`. Keys of other kinds or for other uses are passed over (section 5).

    Args:
        data: the set, JSON.
        source: where it is from, for the log.

    Raises:
        BadKeySet: it is none, or no key in it can be used.
    """
    try:
        found = _decode(data).keys
    except (msgspec.DecodeError, RecursionError) as exc:
        raise BadKeySet(f"it is no JSON Web Key Set: {exc}") from None
    if len(found) > _MAX_KEYS:
        raise BadKeySet(f"it holds {len(found)} keys, and {_MAX_KEYS} are the most")
    keys: dict[str | None, tuple[PublicKey, ...]] = {}
    for data_of_key in found:
        key = _key(data_of_key, source)
        if key is not None:
            keys[key.kid] = (*keys.get(key.kid, ()), key)
    if not keys:
        raise BadKeySet("it holds no public key that can be used for signatures")
    return keys


def _key(data: dict[str, Any], source: str) -> PublicKey | None:
    kid = data.get("kid")
    algorithm = _algorithm(data)
    if algorithm is None or not (kid is None or isinstance(kid, str)):
        return None
    if "d" in data:
        _log.error("a key set holds a private key, which is passed over: replace that key", source=source, kid=kid)
        return None
    try:
        key = jwt.PyJWK(data, algorithm)
        bits = key.key.key_size if algorithm[:2] in ("RS", "PS") else None
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as exc:
        _log.warning("a key of a key set cannot be used", source=source, kid=kid, reason=str(exc))
        return None
    if bits is not None and bits < _MIN_RSA_BITS:
        _log.warning("a key of a key set is too short", source=source, kid=kid, bits=bits)
        return None
    return PublicKey(kid, algorithm, key)


def _algorithm(data: dict[str, Any]) -> str | None:
    """The algorithm that a key is for; None if it is for nothing that we do."""
    kind, curve, said = data.get("kty"), data.get("crv"), data.get("alg")
    if not isinstance(kind, str) or not (curve is None or isinstance(curve, str)):
        return None
    allowed = _BY_KIND.get((kind, curve))
    operations = data.get("key_ops")
    if (
        allowed is None
        or data.get("use", "sig") != "sig"
        or not (operations is None or (isinstance(operations, list) and "verify" in operations))
    ):
        return None
    if said is None:
        return allowed[0]
    return said if said in allowed else None
