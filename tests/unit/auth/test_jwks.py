"""Key sets as others publish them: which keys are taken, and for what."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from backchannel.auth.jwks import ALGORITHMS, BadKeySet, read_key_set


def read(*keys: dict[str, Any]) -> dict[str | None, Any]:
    """The keys that are taken of a set."""
    return read_key_set(json.dumps({"keys": list(keys)}).encode(), "here")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_is_for_the_algorithm_that_it_names(make_issuer: Any, algorithm: str) -> None:
    """Each of them verifies what it has signed, and nothing that another key has."""
    issuer = make_issuer().add("a", algorithm)
    (key,) = read(issuer.jwk("a"))["a"]
    assert key.algorithm == algorithm
    assert key.verify(issuer.token("a")) is not None
    other = make_issuer().add("a", algorithm)
    assert key.verify(other.token("a")) is None


@pytest.mark.parametrize(("made", "taken"), [("RS256", "RS256"), ("PS512", "RS256"), ("ES384", "ES384")])
def test_a_key_that_names_none_is_for_one_algorithm_all_the_same(make_issuer: Any, made: str, taken: str) -> None:
    """RFC 8725 section 3.1: RS256 for an RSA key, what the curve says for others."""
    issuer = make_issuer().add("a", made)
    (key,) = read(issuer.jwk("a", alg=None))["a"]
    assert key.algorithm == taken


@pytest.mark.parametrize(
    "member",
    [
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "ES384"},
        {"alg": 5},
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": "XYZ"},
        {"kty": None},
        {"crv": "secp256k1"},
        {"crv": ["P-256"]},
        {"x": "AAAA"},
        {"x": 7},
        {"kid": 5},
        {"d": "c2VjcmV0"},
    ],
)
def test_a_key_that_cannot_serve_is_passed_over(issuer: Any, member: dict[str, Any]) -> None:
    """RFC 7517 section 5: the others in the set are taken. A private key is not: others may have it too."""
    issuer.add("good")
    found = read(issuer.jwk("k1", **member), issuer.jwk("good"))
    assert [key.kid for keys in found.values() for key in keys] == ["good"]


def test_a_short_rsa_key_is_passed_over(issuer: Any) -> None:
    """RFC 7518 section 3.3: 2048 bits at least."""
    public: Any = rsa.generate_private_key(65537, 1024).public_key()
    codec: Any = jwt.get_algorithm_by_name("RS256")
    short = {**codec.to_jwk(public, as_dict=True), "kid": "short"}
    assert set(read(short, issuer.jwk("k1"))) == {"k1"}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys":[]}', b'{"keys":{}}', b'{"keys":[5]}', b"\xff", b"["])
def test_what_holds_no_key_is_an_error(body: bytes) -> None:
    """So that a page of some proxy does not take the place of keys that are known."""
    with pytest.raises(BadKeySet):
        read_key_set(body, "here")


def test_a_set_of_very_many_keys_is_an_error(issuer: Any) -> None:
    """A hundred are more than anybody has."""
    with pytest.raises(BadKeySet, match="101"):
        read(*[issuer.jwk("k1")] * 101)


def test_keys_of_one_id_are_told_apart_by_their_algorithm(make_issuer: Any) -> None:
    """Nothing forbids a set to use a `kid` twice, for keys of different kinds."""
    issuer = make_issuer().add("a", "ES256").add("b", "EdDSA")
    found = read(issuer.jwk("a", kid="x"), issuer.jwk("b", kid="x"))
    assert [key.algorithm for key in found["x"]] == ["ES256", "EdDSA"]
