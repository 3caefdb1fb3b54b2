"""What a verified token may say: whose it is, for whom, from when to when."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backchannel.auth.claims import LEEWAY, TokenRules, principal_of
from backchannel_protocol import Refused

DAY = 86_400.0
ISSUER = "https://id.example.org"


def judge(now: float, rules: TokenRules, issuer: str | None = None, **claims: Any) -> str | None:
    """What is wrong with these claims; None if nothing is."""
    said = {"sub": "alice", "exp": now + 60, **claims}
    try:
        principal_of(json.dumps(said).encode(), now, rules, issuer)
    except Refused as exc:
        return exc.message if exc.code == "unauthenticated" else exc.code
    return None


@pytest.mark.parametrize(("wanted", "said", "good"), [("", "x", True), ("shop", "shop", True), ("shop", "x", False)])
def test_the_secrets_issuer_is_checked_where_one_is_set(now: float, wanted: str, said: str, good: bool) -> None:
    """`issuer` unset asks for nothing."""
    assert (judge(now, TokenRules(issuer=wanted), iss=said) is None) is good


def test_a_missing_issuer_is_no_issuer(now: float) -> None:
    """Where one is asked for, the claim must be there."""
    assert "iss" in (judge(now, TokenRules(issuer="shop")) or "")


@pytest.mark.parametrize("iss", ["https://evil.example.org", None, "", "https://id.example.org/"])
def test_an_issuers_keys_sign_for_that_issuer_alone(now: float, iss: str | None) -> None:
    """Compared exactly, and whatever the setting says about tokens of the secret."""
    message = judge(now, TokenRules(issuer="shop"), ISSUER, iss=iss, aud="backchannel")
    assert message is not None
    assert ISSUER in message


@pytest.mark.parametrize(
    ("wanted", "said", "issuer", "good"),
    [
        ((), None, None, True),
        ((), "backchannel", None, True),
        ((), "shop", None, False),
        ((), None, ISSUER, False),
        ((), "backchannel", ISSUER, True),
        ((), ["x", "backchannel"], ISSUER, True),
        ((), [], ISSUER, False),
        ((), [], None, False),
        (("web", "app"), None, None, False),
        (("web", "app"), "app", None, True),
        (("web", "app"), ["other", "web"], ISSUER, True),
        (("web", "app"), "backchannel", ISSUER, False),
    ],
)
def test_a_token_is_for_us(now: float, wanted: tuple[str, ...], said: Any, issuer: str | None, good: bool) -> None:
    """An issuer with keys of its own issues tokens for many services, so `aud` must be there."""
    claims = {} if said is None else {"aud": said}
    message = judge(now, TokenRules(audience=wanted), issuer, iss=ISSUER, **claims)
    assert (message is None) is good, message


def test_a_token_of_the_future_is_not_good_yet(now: float) -> None:
    """By `iat` as by `nbf`, but for clocks that differ a little."""
    assert judge(now, TokenRules(), iat=now + LEEWAY) is None
    assert "clocks" in (judge(now, TokenRules(), iat=now + LEEWAY + 1) or "")


def test_no_token_outlives_the_longest_lifetime(now: float) -> None:
    """Revocations are kept that long, so that none ends before the tokens that it concerns."""
    rules = TokenRules(lifetime=DAY)
    assert judge(now, rules, iat=now, exp=now + DAY) is None
    assert judge(now, rules, exp=now + DAY) is None
    for issued in (now, now - 2 * DAY, None):
        assert "token_lifetime" in (judge(now, rules, exp=now + DAY + 60, iat=issued) or "")


@pytest.mark.parametrize("claims", [{"iat": "now"}, {"iss": 5}, {"jti": ""}, {"jti": "x" * 257}, {"iat": True}])
def test_nonsense_is_refused(now: float, claims: dict[str, Any]) -> None:
    """Types are what the standard says."""
    assert "cannot be used" in (judge(now, TokenRules(), **claims) or "")
