"""Tokens that issuers sign with keys of their own: the key decides, and nothing that a token says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from backchannel.auth.claims import TokenRules
from backchannel.auth.key_set import FRESH, INTERVAL
from backchannel.auth.key_sets import KeySets
from backchannel.settings import ConfigurationError, Settings
from backchannel_protocol import Refused

OTHER = "https://other.example.org"


@pytest.fixture
def sets(issuer: Any, place: Any, clock: Any) -> KeySets:
    """The one issuer's."""
    return KeySets([(issuer.name, "there", place)], TokenRules(), now=clock)


async def refusal(sets: KeySets, token: str, now: float, code: str = "unauthenticated") -> str:
    """The message with which a token is refused."""
    with pytest.raises(Refused) as raised:
        await sets.verify(token, now)
    assert raised.value.code == code, raised.value.message
    return raised.value.message


async def test_a_token_is_verified(sets: KeySets, issuer: Any, now: float) -> None:
    """All claims count as in a token of the secret."""
    token = issuer.token("k1", channels=["chat:lobby"], caps=["call:*"], jti="t1", iat=now)
    principal = await sets.verify(token, now)
    assert (principal.user, principal.id, principal.token_id) == ("alice", "user:alice", "t1")
    assert (principal.channels, principal.caps, principal.issued_at) == (("chat:lobby",), ("call:*",), now)


async def test_a_verified_token_is_remembered_as_long_as_the_keys_stay(
    sets: KeySets, issuer: Any, place: Any, clock: Any, now: float
) -> None:
    """A key that leaves its set takes the tokens with it that were let in with it."""
    token = issuer.token("k1")
    assert await sets.verify(token, now) is await sets.verify(token, now)
    issuer.add("k2")
    del issuer.private["k1"]
    place.body = issuer.document()
    clock.now += FRESH + 1
    assert (await sets.verify(token, now)).user == "alice"
    await asyncio.sleep(0)
    for key_set in sets._sets:
        if key_set._reading is not None:
            await asyncio.wait([key_set._reading])
    clock.now += INTERVAL
    await refusal(sets, token, now)


async def test_claims_are_judged_after_the_signature(sets: KeySets, issuer: Any, now: float) -> None:
    """Expired, for others, of another issuer, and without any audience."""
    assert "expired" in await refusal(sets, issuer.token("k1", exp=now - 60), now)
    assert "aud" in await refusal(sets, issuer.token("k1", aud="shop"), now)
    assert "aud" in await refusal(sets, issuer.token("k1", aud=None), now)
    assert "iss" in await refusal(sets, issuer.token("k1", iss=OTHER), now)


@pytest.mark.parametrize("alg", ["none", "HS256", "RS256", "ES384", "ES256 ", "es256", ""])
async def test_the_header_does_not_choose_the_algorithm(sets: KeySets, issuer: Any, now: float, alg: str) -> None:
    """RFC 8725 section 3.1. HS256 with the public key as the secret is the classic."""
    head = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "k1"}).encode()).rstrip(b"=")
    body = issuer.token("k1").split(".")[1].encode()
    signed = head + b"." + body
    for secret in (issuer.document(), json.dumps(issuer.jwk("k1")).encode()):
        mac = base64.urlsafe_b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).rstrip(b"=")
        await refusal(sets, (signed + b"." + mac).decode(), now)
    await refusal(sets, (signed + b".").decode(), now)


@pytest.mark.parametrize("header", [{"jku": "https://evil.example.org/k"}, {"x5u": "https://evil.example.org/c"}])
async def test_an_address_in_the_header_is_never_looked_at(
    sets: KeySets, make_issuer: Any, place: Any, now: float, header: dict[str, Any]
) -> None:
    """Nor a key: only what the operator's source says counts."""
    evil = make_issuer().add("k1")
    for more in (header, {"jwk": evil.jwk("k1")}, {"x5c": ["AAAA"]}):
        await refusal(sets, evil.token("k1", header=more), now)
    assert place.asked == 1


@pytest.mark.parametrize(
    "kid", ["../../../etc/passwd", "' OR 1=1 --", "http://169.254.169.254/", "k1\x00", "é", "x" * 257]
)
async def test_a_key_id_is_looked_up_and_nothing_else(
    sets: KeySets, issuer: Any, place: Any, now: float, kid: str
) -> None:
    """No path, no address, no SQL: a table has it or has it not."""
    await refusal(sets, issuer.token("k1", header={"kid": kid}), now)
    assert place.asked <= 1


async def test_two_issuers_may_use_one_key_id(make_issuer: Any, make_place: Any, clock: Any, now: float) -> None:
    """Each verifies its own tokens, and neither can speak for the other."""
    one, two = make_issuer().add("1"), make_issuer(OTHER).add("1")
    places = [make_place(one.document()), make_place(two.document())]
    sets = KeySets([(one.name, "1", places[0]), (two.name, "2", places[1])], TokenRules(), now=clock)
    assert (await sets.verify(one.token("1", sub="a"), now)).user == "a"
    assert (await sets.verify(two.token("1", sub="b"), now)).user == "b"
    assert "iss" in await refusal(sets, two.token("1", iss=one.name), now)
    assert "iss" in await refusal(sets, one.token("1", iss=two.name), now)


async def test_one_issuer_that_is_down_does_not_stop_another(
    make_issuer: Any, make_place: Any, clock: Any, now: float
) -> None:
    """Only a token that nobody else has signed has to wait for it."""
    one, two = make_issuer().add("1"), make_issuer(OTHER).add("2")
    down, up = make_place(one.document()), make_place(two.document())
    down.failure = OSError("down")
    sets = KeySets([(one.name, "1", down), (two.name, "2", up)], TokenRules(), now=clock)
    assert (await sets.verify(two.token("2"), now)).user == "alice"
    await refusal(sets, one.token("1"), now, "unavailable")


async def test_unknown_extensions_are_refused(sets: KeySets, issuer: Any, now: float) -> None:
    """RFC 7515 section 4.1.11: also one that a library would know."""
    for crit in (["exp"], ["b64"], [], "b64"):
        head, body, mac = issuer.token("k1").split(".")
        header = {"alg": "ES256", "kid": "k1", "b64": True, "crit": crit}
        head = base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"=").decode()
        assert "crit" in await refusal(sets, f"{head}.{body}.{mac}", now)


async def test_no_settings_no_key_sets() -> None:
    """Whoever needs none pays for none."""
    assert await KeySets.open(Settings()) is None


@pytest.mark.parametrize(
    "where",
    [
        "http://id.example.org/jwks.json",
        "ftp://id.example.org/jwks.json",
        "https://user:secret@id.example.org/jwks.json",
        "https:///jwks.json",
        "/no/such/file.json",
    ],
)
async def test_a_source_that_cannot_serve_is_told_at_start(where: str) -> None:
    """With its name."""
    with pytest.raises(ConfigurationError, match=r"(jwks|file)\.json"):
        await KeySets.open(Settings(jwks=(f"https://id.example.org={where}",), dev=True))


async def test_plain_http_to_this_machine_is_for_development(now: float) -> None:
    """`--dev` lets it through; production does not."""
    settings = Settings(jwks=("https://id.example.org=http://127.0.0.1:9/jwks.json",))
    with pytest.raises(ConfigurationError, match="https"):
        await KeySets.open(settings)
    sets = await KeySets.open(Settings(jwks=settings.jwks, dev=True))
    assert sets is not None
    await sets.close()
