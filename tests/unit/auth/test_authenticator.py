"""Who is behind a token, an API key, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backchannel.auth.authenticator import API_KEY_PREFIX, SecretAuthenticator
from backchannel.auth.claims import TokenRules
from backchannel.auth.key_sets import KeySets
from backchannel.auth.principal import Principal
from backchannel_protocol import Refused
from backchannel_protocol.limits import USER_RE

GOOD_KEY = f"{API_KEY_PREFIX}1_good"


async def good_key(shown: str) -> str | None:
    """The one key that is known."""
    return "1" if shown == GOOD_KEY else None


@pytest.fixture
def make(secret: bytes, now: float) -> Callable[..., SecretAuthenticator]:
    """Makes an authenticator to which one API key is known."""

    def make(*, guests: bool = False, later: float = 0.0) -> SecretAuthenticator:
        return SecretAuthenticator(secret, good_key, guests=guests, wall=lambda: now + later)

    return make


Make = Callable[..., SecretAuthenticator]


async def test_a_token_tells_its_user(make: Make, forge: Callable[..., str]) -> None:
    """The user's keys have the user's scope."""
    principal = await make().token(forge())
    assert (principal.user, principal.id, principal.issued) == ("alice", "user:alice", None)


async def test_a_bad_token_never_becomes_a_guest(make: Make, forge: Callable[..., str]) -> None:
    """Where guests are allowed, whoever shows something broken is still told so."""
    with pytest.raises(Refused, match="unauthenticated"):
        await make(guests=True).token(forge(key=b"x" * 32))


async def test_what_a_secret_signed_is_known_at_once(make: Make, forge: Callable[..., str]) -> None:
    """Nothing is waited for, also the first time; and a broken one is refused at once."""
    known = make().at_once(forge())
    assert known is not None
    assert known == await make().token(forge())
    with pytest.raises(Refused, match="unauthenticated"):
        make().at_once(forge(key=b"x" * 32))


async def test_a_remembered_token_is_checked_each_time(secret: bytes, now: float, forge: Callable[..., str]) -> None:
    """A token that was revoked meanwhile is refused, though its signature was verified before."""
    revoked: list[Principal] = []

    def check(principal: Principal) -> None:
        if principal in revoked:
            raise Refused("unauthenticated", "The token was revoked.")

    authenticator = SecretAuthenticator(secret, good_key, guests=False, wall=lambda: now, check=check)
    holder = authenticator.at_once(forge())
    assert holder is not None
    revoked.append(holder)
    with pytest.raises(Refused, match="revoked"):
        authenticator.at_once(forge())
    with pytest.raises(Refused, match="revoked"):
        await authenticator.token(forge())


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_nobody_is_let_in(make: Make, token: str | None) -> None:
    """Guests are off until an operator switches them on."""
    with pytest.raises(Refused) as raised:
        await make().token(token)
    assert raised.value.code == "unauthenticated"
    assert "guests" in raised.value.message


async def test_a_guest_has_an_identity_of_its_own(make: Make) -> None:
    """Two guests are two users, so neither reads the other's keys."""
    authenticator = make(guests=True)
    one, two = await authenticator.token(None), await authenticator.token(None)
    assert one.user != two.user
    assert one.id == f"user:{one.user}"
    assert USER_RE.match(one.user)


async def test_a_guest_comes_back_as_the_same_one(make: Make) -> None:
    """The token that it was given says who it was, also to another process, and only there `issued` is told."""
    first = await make(guests=True).token(None)
    again = await make(guests=True, later=86_400.0).token(first.issued)
    assert (again.user, again.id) == (first.user, first.id)
    assert first.issued is not None
    assert again.issued is None


async def test_a_guests_token_dies_with_the_permission_to_be_one_only_at_its_end(make: Make) -> None:
    """It is good for 30 days."""
    guest = await make(guests=True).token(None)
    with pytest.raises(Refused, match="expired"):
        await make(guests=True, later=30 * 86_400.0 + 5).token(guest.issued)


async def test_an_api_key_is_no_token(make: Make) -> None:
    """On a WebSocket even a good one is refused, with a message that says where it belongs."""
    with pytest.raises(Refused) as raised:
        await make(guests=True).token(GOOD_KEY)
    assert raised.value.code == "unauthenticated"
    assert "API keys" in raised.value.message


@pytest.mark.parametrize(("user", "id_"), [("alice", "key:1:alice"), ("", "key:1:")])
async def test_an_api_key_acts_for_a_user_or_itself(make: Make, user: str, id_: str) -> None:
    """Its idempotency keys have a scope of their own, apart from the user's."""
    assert await make().api_key(GOOD_KEY, user) == Principal(user=user, id=id_)


async def test_an_unknown_api_key_is_refused(make: Make) -> None:
    """Unknown and revoked look the same."""
    with pytest.raises(Refused, match="unauthenticated"):
        await make().api_key(f"{API_KEY_PREFIX}2_bad", "alice")


@pytest.mark.parametrize("user", ["a b", "a\n", "x" * 129, "user:alice"])
async def test_an_api_key_acts_for_no_nonsense(make: Make, user: str) -> None:
    """A name outside the grammar would reach channels, keys and logs."""
    with pytest.raises(Refused, match="invalid"):
        await make().api_key(GOOD_KEY, user)


async def no_key(_shown: str) -> None:
    """There are no API keys."""


async def test_each_kind_of_token_goes_to_its_own_keys(
    secret: bytes, now: float, forge: Callable[..., str], issuer: Any, place: Any
) -> None:
    """The secret's and an issuer's tokens, side by side; neither verifier takes the other's."""
    key_sets = KeySets([(issuer.name, "there", place)], TokenRules())
    authenticator = SecretAuthenticator(secret, no_key, guests=False, key_sets=key_sets, wall=lambda: now)
    assert (await authenticator.token(forge({"sub": "bob", "exp": now + 60}))).user == "bob"
    assert (await authenticator.token(issuer.token("k1"))).user == "alice"
    with pytest.raises(Refused, match="unauthenticated"):
        await authenticator.token(forge(header={"alg": "ES256", "kid": "k1"}))


async def test_without_a_secret_only_issuers_sign(
    now: float, forge: Callable[..., str], issuer: Any, place: Any
) -> None:
    """An empty secret is not a secret."""
    key_sets = KeySets([(issuer.name, "there", place)], TokenRules())
    authenticator = SecretAuthenticator(b"", no_key, guests=False, key_sets=key_sets, wall=lambda: now)
    assert (await authenticator.token(issuer.token("k1"))).user == "alice"
    for token in (forge(key=b""), forge(header={"alg": "none"}, signature=b"")):
        with pytest.raises(Refused, match="unauthenticated"):
            await authenticator.token(token)


async def test_revocation_is_asked_each_time(secret: bytes, now: float, forge: Callable[..., str]) -> None:
    """Also for a token that is remembered as verified."""
    revoked: set[str] = set()

    def check(principal: Principal) -> None:
        if principal.user in revoked:
            raise Refused("unauthenticated", "revoked")

    authenticator = SecretAuthenticator(secret, no_key, guests=False, check=check, wall=lambda: now)
    assert (await authenticator.token(forge())).user == "alice"
    revoked.add("alice")
    with pytest.raises(Refused, match="revoked"):
        await authenticator.token(forge())


async def test_a_guests_token_keeps_the_installations_rules(secret: bytes, now: float) -> None:
    """It names the issuer and audience that are asked for, and lives no longer than is allowed."""
    rules = TokenRules("shop", ("web",), lifetime=3600)
    authenticator = SecretAuthenticator(secret, no_key, guests=True, rules=rules, wall=lambda: now)
    guest = await authenticator.token(None)
    assert guest.expires == now + 3600
    assert guest.issued_at == now
    assert (await authenticator.token(guest.issued)).user == guest.user
