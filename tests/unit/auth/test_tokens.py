"""Tokens: what is signed by us, for us and still good is let in, and nothing else is."""

from __future__ import annotations

import base64
import hmac
import math
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.auth.claims import TokenRules
from backchannel.auth.principal import Principal
from backchannel.auth.remembered import Remembered
from backchannel.auth.tokens import MAX_TOKEN, TokenVerifier, issue_token
from backchannel_protocol import Refused

Forge = Callable[..., str]

# What an attacker has in hand where tokens of another service are signed with RSA; its bytes count, not its number.
PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKwRk0Bk4\n-----END PUBLIC KEY-----\n"


@pytest.fixture
def verifier(secret: bytes) -> TokenVerifier:
    """A verifier with our secret."""
    return TokenVerifier(secret)


def refusal(verifier: TokenVerifier, token: str, now: float) -> str:
    """The message with which a token is refused."""
    with pytest.raises(Refused) as raised:
        verifier.verify(token, now)
    assert raised.value.code == "unauthenticated"
    return raised.value.message


def test_an_issued_token_is_verified(secret: bytes, verifier: TokenVerifier, now: float) -> None:
    """What `issue_token` puts in comes out."""
    token = issue_token(secret, "alice", lifetime=60, channels=["chat:lobby"], caps=["call:*"], now=now)
    assert verifier.verify(token, now) == Principal(
        user="alice", id="user:alice", channels=("chat:lobby",), caps=("call:*",), expires=now + 60, issued_at=now
    )


def test_a_foreign_issuers_token_is_verified(secret: bytes, verifier: TokenVerifier, now: float) -> None:
    """Any JWT library makes tokens; claims that we do not know are ignored, `jti` is kept."""
    claims = {"sub": "bob", "exp": int(now) + 9, "iat": int(now), "iss": "shop", "jti": "t-1", "role": {"a": [1]}}
    principal = verifier.verify(jwt.encode(claims, secret, algorithm="HS256"), now)
    assert (principal.user, principal.token_id, principal.caps) == ("bob", "t-1", None)


# Algorithms and signatures


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA", "HS256 "])
def test_the_algorithm_is_ours_and_not_the_tokens(forge: Forge, verifier: TokenVerifier, now: float, alg: str) -> None:
    """RFC 8725 section 3.1: a header that names another algorithm is refused, even if our HMAC fits."""
    assert "HS256" in refusal(verifier, forge(header={"alg": alg, "typ": "JWT"}), now)


@pytest.mark.parametrize("alg", [None, 5, [], {}, ["HS256"]])
def test_an_algorithm_of_another_type_is_refused(forge: Forge, verifier: TokenVerifier, now: float, alg: Any) -> None:
    """The header is a stranger's JSON."""
    refusal(verifier, forge(header={"alg": alg}), now)


def test_an_unsigned_token_is_refused(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """`alg: none` with an empty signature, as in every attack tool."""
    refusal(verifier, forge(header={"alg": "none"}, signature=b""), now)
    refusal(verifier, forge(signature=b""), now)


def test_a_wrong_signature_is_refused(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """Another secret, a cut or lengthened signature, or other claims under a good one."""
    good = forge()
    head, _, signature = good.split(".")
    claims = forge({"sub": "root", "exp": now + 60}).split(".")[1]
    for token in (forge(key=b"x" * 32), forge(signature=b"x" * 31), f"{head}.{claims}.{signature}"):
        assert "signature" in refusal(verifier, token, now)
    for token in (
        good[:-1],
        good[:-4],
        good + "A",
        good + "AAAA",
        good + "=",
        f"{head}.{claims}.é",
        f"{head}.{claims}",
    ):
        refusal(verifier, token, now)


def test_signed_claims_that_are_no_base64_are_refused(secret: bytes, verifier: TokenVerifier, now: float) -> None:
    """RFC 7515 section 5.2, step 4: also from whoever has the secret."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=")
    for claims in (b"eyJ!", b"e.yJ9", b"e", b"\xff"):
        signed = head + b"." + claims
        signature = base64.urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")
        token = (signed + b"." + signature).decode(errors="replace")
        refusal(verifier, token, now)


def test_a_public_key_is_no_hmac_secret(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """RS/HS confusion (RFC 8725 section 2.1): what is signed with somebody's public key as HMAC secret is not ours."""
    refusal(verifier, forge(key=PUBLIC_KEY), now)
    refusal(verifier, forge(key=PUBLIC_KEY, header={"alg": "RS256"}), now)


@pytest.mark.parametrize(
    "extra",
    [
        {"kid": "../../etc/passwd"},
        {"kid": "' OR 1=1 --"},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert", "x5c": ["MII"]},
        {"jwk": {"kty": "oct", "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"}},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_key_references_in_the_header_are_ignored(
    forge: Forge, verifier: TokenVerifier, now: float, extra: dict[str, Any]
) -> None:
    """They change nothing: our signature is still good, and another is still refused."""
    header = {"alg": "HS256", **extra}
    assert verifier.verify(forge(header=header), now).user == "alice"
    refusal(verifier, forge(header=header, key=b"x" * 32), now)


@pytest.mark.parametrize("crit", [["exp"], ["http://example.com/x"], [], "exp", ["b64"], [5]])
def test_an_unknown_critical_header_is_refused(forge: Forge, verifier: TokenVerifier, now: float, crit: Any) -> None:
    """RFC 7515 section 4.1.11: who does not understand a critical extension must refuse."""
    refusal(verifier, forge(header={"alg": "HS256", "crit": crit, "http://example.com/x": 1, "b64": False}), now)


# Claims


def test_an_expired_token_is_refused_after_a_little_patience(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """Clocks may differ by 5 s, not by more."""
    token = forge({"sub": "alice", "exp": now})
    assert verifier.verify(token, now + 4.9).user == "alice"
    assert "expired" in refusal(verifier, token, now + 5)
    assert "expired" in refusal(TokenVerifier(b"0123456789abcdef" * 2), token, now + 5)


def test_a_token_of_the_future_is_refused(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """`nbf` is heeded, with the same patience."""
    token = forge({"sub": "alice", "exp": now + 60, "nbf": now + 10})
    assert "not valid yet" in refusal(verifier, token, now)
    assert verifier.verify(token, now + 5).user == "alice"


@pytest.mark.parametrize("aud", ["other", ["a", "b"], [], ""])
def test_a_token_for_another_audience_is_refused(forge: Forge, verifier: TokenVerifier, now: float, aud: Any) -> None:
    """RFC 7519 section 4.1.3: where there is an audience, we must be in it."""
    assert "somebody else" in refusal(verifier, forge({"sub": "alice", "exp": now + 60, "aud": aud}), now)


@pytest.mark.parametrize("aud", ["backchannel", ["shop", "backchannel"]])
def test_a_token_for_us_is_verified(forge: Forge, verifier: TokenVerifier, now: float, aud: Any) -> None:
    """The audience `backchannel` is ours."""
    assert verifier.verify(forge({"sub": "alice", "exp": now + 60, "aud": aud}), now).user == "alice"


@pytest.mark.parametrize("name", ["sub", "exp"])
@pytest.mark.parametrize("how", ["missing", "null"])
def test_user_and_expiry_are_needed(forge: Forge, verifier: TokenVerifier, now: float, name: str, how: str) -> None:
    """No token is for nobody or for ever; the message names the claim."""
    claims: dict[str, Any] = {"sub": "alice", "exp": now + 60}
    if how == "missing":
        del claims[name]
    else:
        claims[name] = None
    assert name in refusal(verifier, forge(claims), now)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sub", 5),
        ("sub", ""),
        ("sub", "a b"),
        ("sub", "alice\n"),
        ("sub", "älice"),
        ("sub", "a" * 129),
        ("sub", ["alice"]),
        ("exp", "1900000000"),
        ("exp", True),
        ("exp", math.inf),
        ("exp", math.nan),
        ("exp", []),
        ("exp", 10**400),
        ("nbf", "now"),
        ("aud", 5),
        ("jti", 5),
        ("channels", "chat:lobby"),
        ("channels", ["lobby"]),
        ("channels", [5]),
        ("channels", {"chat:lobby": True}),
        ("channels", ["chat:lobby"] * 513),
        ("caps", "call:*"),
        ("caps", [None]),
        ("caps", ["call:*"] * 257),
    ],
)
def test_claims_of_a_wrong_type_are_refused(
    forge: Forge, verifier: TokenVerifier, now: float, name: str, value: Any
) -> None:
    """A signature does not make nonsense true, and nothing but `Refused` is raised."""
    refusal(verifier, forge({"sub": "alice", "exp": now + 60, name: value}), now)


@pytest.mark.parametrize(
    "claims", [b"", b"[]", b"null", b'"alice"', b"{", b"\xff", b"[" * 100_000, b'{"sub":"alice","exp":1e999}']
)
def test_claims_that_are_no_object_are_refused(
    forge: Forge, verifier: TokenVerifier, now: float, claims: bytes
) -> None:
    """Signed bytes may be any bytes."""
    refusal(verifier, forge(claims), now)


@pytest.mark.parametrize("header", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 20_000, b'{"alg":' + b"9" * 5000 + b"}"])
def test_a_header_that_is_no_object_is_refused(
    forge: Forge, verifier: TokenVerifier, now: float, header: bytes
) -> None:
    """The header is read before the signature, so it is a stranger's."""
    refusal(verifier, forge(header=header or b" "), now)


@pytest.mark.parametrize("token", ["x", ".", "..", "...", "a.b", "a.b.c.d", "é.è.ê", "\ud800", "a b.c d.e f", "\0"])
def test_what_is_no_token_is_refused(verifier: TokenVerifier, now: float, token: str) -> None:
    """Any text may arrive in place of a token."""
    refusal(verifier, token, now)


def test_a_huge_token_is_refused_unread(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """Even a good one: there is a length that nobody needs."""
    token = forge({"sub": "alice", "exp": now + 60, "x": "y" * MAX_TOKEN})
    assert "longer" in refusal(verifier, token, now)


@given(token=st.text(max_size=300) | st.lists(st.text("abAB01-_=", max_size=40), max_size=5).map(".".join))
def test_no_text_does_anything_but_be_refused(token: str) -> None:
    """No input raises another error."""
    refusal(TokenVerifier(b"s" * 32), token, 0.0)


# The cache


def test_a_verified_token_is_remembered(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """A reconnect storm costs one look-up per token: the same principal comes back."""
    token = forge()
    assert verifier.verify(token, now) is verifier.verify(token, now + 30)


def test_a_remembered_token_is_forgotten_when_it_expires(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """The memory keeps nobody in, and keeps no expired token."""
    token = forge()
    verifier.verify(token, now)
    assert "expired" in refusal(verifier, token, now + 65)
    assert verifier.verify(token, now) is not None


def test_a_refused_token_is_not_remembered(forge: Forge, verifier: TokenVerifier, now: float) -> None:
    """A token of the future is good once its time has come."""
    token = forge({"sub": "alice", "exp": now + 60, "nbf": now + 20})
    refusal(verifier, token, now)
    assert verifier.verify(token, now + 20).user == "alice"


def test_the_memory_is_bounded(
    forge: Forge, verifier: TokenVerifier, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds many tokens cannot fill it: the oldest goes."""
    monkeypatch.setattr(verifier, "_verified", Remembered(2))
    first, *others = (forge({"sub": f"user{n}", "exp": now + 60}) for n in range(3))
    before = verifier.verify(first, now)
    kept = [verifier.verify(token, now) for token in others]
    assert [verifier.verify(token, now) for token in others] == kept
    assert verifier.verify(others[1], now) is kept[1]
    assert verifier.verify(first, now) is not before


# Issuing


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"user": "a b"}, "User"),
        ({"user": ""}, "User"),
        ({"lifetime": 0}, "Lifetime"),
        ({"lifetime": math.nan}, "Lifetime"),
        ({"channels": ["lobby"]}, "namespace:name"),
        ({"channels": ["chat:lobby"] * 513}, "at most"),
        ({"caps": ["order.place"]}, "call:"),
        ({"caps": ["*"] * 257}, "at most"),
    ],
)
def test_no_token_is_issued_that_would_not_be_verified(secret: bytes, arguments: dict[str, Any], said: str) -> None:
    """Whoever issues one learns at once what is wrong."""
    arguments = {"user": "alice", "lifetime": 60, **arguments}
    with pytest.raises(ValueError, match=said):
        issue_token(secret, arguments.pop("user"), **arguments)


def test_no_caps_take_nothing_away_and_empty_caps_everything(
    secret: bytes, verifier: TokenVerifier, now: float
) -> None:
    """An empty list is a list."""
    free = verifier.verify(issue_token(secret, "alice", lifetime=60, now=now), now)
    bound = verifier.verify(issue_token(secret, "alice", lifetime=60, caps=[], now=now), now)
    assert (free.caps, bound.caps) == (None, ())
    assert free.may("call", "x.y")
    assert not bound.may("call", "x.y")


# Rotation, issuer, audience, lifetime


def test_the_secret_before_this_one_is_good_too(forge: Forge, secret: bytes, now: float) -> None:
    """For as long as it is named; a third is nobody's."""
    old = b"o" * 32
    rotating = TokenVerifier(secret, old)
    assert rotating.verify(forge(), now).user == rotating.verify(forge(key=old), now).user == "alice"
    assert "secret" in refusal(rotating, forge(key=b"x" * 32), now)
    assert "secret" in refusal(TokenVerifier(secret), forge(key=old), now)


def test_an_issued_token_keeps_the_rules(secret: bytes, now: float) -> None:
    """`iss` and `aud` are filled in, and the id by which it can be revoked."""
    rules = TokenRules("shop", ("web", "app"), lifetime=60)
    token = issue_token(secret, "alice", lifetime=60, token_id="t1", rules=rules, now=now + 0.1239)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["iss"], claims["aud"], claims["jti"], claims["iat"]) == ("shop", "web", "t1", now + 0.123)
    assert TokenVerifier(secret, rules=rules).verify(token, now).token_id == "t1"
    with pytest.raises(ValueError, match="token_lifetime"):
        issue_token(secret, "alice", lifetime=61, rules=rules)
    with pytest.raises(ValueError, match="id"):
        issue_token(secret, "alice", lifetime=60, token_id="")


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], None, "x"])
def test_an_extension_is_refused(forge: Forge, verifier: TokenVerifier, now: float, crit: Any) -> None:
    """RFC 7515 section 4.1.11: whoever does not know what must be known says so."""
    assert "crit" in refusal(verifier, forge(header={"alg": "HS256", "b64": True, "crit": crit}), now)
