"""A secret, a moment, tokens made by hand, and issuers with keys of their own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

NOW = 1_700_000_000.0


def _part(value: Any) -> bytes:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


@pytest.fixture
def now() -> float:
    """The present, Unix seconds."""
    return NOW


@pytest.fixture
def secret() -> bytes:
    """The installation's signing secret."""
    return b"0123456789abcdef" * 2


@pytest.fixture
def forge(secret: bytes) -> Callable[..., str]:
    """Makes a token of any header and claims (or raw bytes in their place), signed with HMAC-SHA-256 by hand."""

    def make(claims: Any = None, header: Any = None, key: bytes | None = None, signature: bytes | None = None) -> str:
        claims = {"sub": "alice", "exp": NOW + 60} if claims is None else claims
        signed = _part(header or {"alg": "HS256", "typ": "JWT"}) + b"." + _part(claims)
        if signature is None:
            signature = hmac.new(secret if key is None else key, signed, hashlib.sha256).digest()
        return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()

    return make


class Issuer:
    """Somebody with keys of their own."""

    def __init__(self, name: str = "https://id.example.org") -> None:
        self.name = name
        self.private: dict[str, tuple[str, Any]] = {}

    def add(self, kid: str, algorithm: str = "ES256") -> Issuer:
        """Make a key."""
        curves: dict[str, Any] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
        made: Any
        if algorithm in curves:
            made = ec.generate_private_key(curves[algorithm])
        elif algorithm == "EdDSA":
            made = ed25519.Ed25519PrivateKey.generate()
        else:
            made = rsa.generate_private_key(65537, 2048)
        self.private[kid] = (algorithm, made)
        return self

    def jwk(self, kid: str, /, **more: Any) -> dict[str, Any]:
        """A public key; None takes a member out."""
        algorithm, private = self.private[kid]
        codec: Any = jwt.get_algorithm_by_name(algorithm)
        jwk = {**codec.to_jwk(private.public_key(), as_dict=True), "kid": kid, "alg": algorithm, **more}
        return {name: value for name, value in jwk.items() if value is not None}

    def document(self) -> bytes:
        """The key set."""
        return json.dumps({"keys": [self.jwk(kid) for kid in self.private]}).encode()

    def token(self, kid: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token that this key has signed; None takes a claim or a header out."""
        algorithm, private = self.private[kid]
        said = {"sub": "alice", "iss": self.name, "aud": "backchannel", "exp": NOW + 60, **claims}
        headers = {"kid": kid, **(header or {})}
        return jwt.encode(
            {name: value for name, value in said.items() if value is not None},
            private,
            algorithm=algorithm,
            headers={name: value for name, value in headers.items() if value is not None},
        )


@pytest.fixture
def issuer() -> Issuer:
    """An issuer with the key `k1`."""
    return Issuer().add("k1")


@pytest.fixture
def make_issuer() -> type[Issuer]:
    """Makes more of them."""
    return Issuer


class Place:
    """Where a key set is: what it says now, and how often it was asked."""

    def __init__(self, body: bytes = b"", max_age: float | None = None) -> None:
        self.body = body
        self.max_age = max_age
        self.asked = 0
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()
        """Set when somebody has asked."""

    async def __call__(self) -> Place:
        """Read it."""
        self.asked += 1
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self


@pytest.fixture
def place(issuer: Issuer) -> Place:
    """Where the issuer's keys are."""
    return Place(issuer.document())


@pytest.fixture
def make_place() -> type[Place]:
    """Makes more of them."""
    return Place


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()
