"""What a revocation takes away, and how long it has to be known."""

from __future__ import annotations

from typing import Any

import pytest

from backchannel.auth.principal import Principal
from backchannel.auth.revocation import Revocation, disconnection_row, revocation_row

NOW = 1_700_000_000_000


def holder(user: str = "alice", issued_at: float | None = 1_600_000_000.0, token_id: str | None = None) -> Principal:
    """Who showed a token."""
    return Principal(user=user, id=f"user:{user}", issued_at=issued_at, token_id=token_id)


def revoked(**what: Any) -> Revocation:
    """A revocation of now."""
    named: dict[str, Any] = {"user": None, "token_id": None, "issued_before": None, "expires": None, **what}
    return Revocation(id="1", **revocation_row(now=NOW, **named))


@pytest.mark.parametrize(
    ("issued_at", "void"),
    [(None, True), (0.0, True), (NOW / 1000 - 1, True), (NOW / 1000, True), (NOW / 1000 + 0.002, False)],
)
def test_a_user_loses_all_tokens_until_now(issued_at: float | None, void: bool) -> None:
    """Those of this millisecond and those that do not say when, too; later ones are good."""
    assert revoked(user="alice").voids(holder(issued_at=issued_at)) is void
    assert not revoked(user="alice").voids(holder("bob", issued_at))


def test_only_older_tokens_are_void() -> None:
    """`issued_before` draws the line."""
    one = revoked(user="alice", issued_before=NOW - 5000)
    assert one.voids(holder(issued_at=NOW / 1000 - 6))
    assert not one.voids(holder(issued_at=NOW / 1000 - 4))


def test_a_token_is_void_by_its_id_whosever_it_is() -> None:
    """And no other of the user's."""
    one = revoked(token_id="t1")
    assert one.voids(holder(token_id="t1"))
    assert one.voids(holder("bob", None, "t1"))
    assert not one.voids(holder(token_id="t2"))
    assert not one.voids(holder())


def test_a_disconnection_ends_connections_and_no_token() -> None:
    """It is forgotten soon: it concerns what is open now."""
    one = Revocation(id="1", **disconnection_row("alice", NOW))
    assert one.ends(holder())
    assert not one.voids(holder())
    assert not one.ends(holder("bob"))
    assert not one.over(NOW + 60_000, 1e9)
    assert one.over(NOW + 121_000, 1e9)


def test_a_revocation_is_kept_until_its_tokens_have_expired() -> None:
    """As long as any token may be good, or until a time that is known."""
    assert not revoked(user="alice").over(NOW + 60_000, 60)
    assert revoked(user="alice").over(NOW + 60_001, 60)
    assert revoked(token_id="t1", expires=NOW + 1).over(NOW + 2, 1e9)


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"user": "alice", "token_id": "t1"},
        {"user": "a b"},
        {"user": ""},
        {"user": "alice\n"},
        {"token_id": ""},
        {"token_id": "x" * 257},
        {"token_id": "t1", "issued_before": 1},
        {"user": "alice", "issued_before": NOW + 1},
        {"user": "alice", "expires": NOW},
    ],
)
def test_nonsense_is_refused(what: dict[str, Any]) -> None:
    """With a message for whoever wrote it."""
    with pytest.raises(ValueError, match=r"\w"):
        revoked(**what)
