"""A secret, a moment, and tokens made by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest

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
