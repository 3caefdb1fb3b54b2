"""API keys."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from backchannel.store.api_keys import ApiKeys
from backchannel.store.sqlite import sqlite_api_keys


@pytest.fixture
def keys(tmp_path: Path) -> Generator[ApiKeys]:
    """The API keys of a new database."""
    opened = sqlite_api_keys(tmp_path / "store.db")
    yield opened
    opened.close()


def test_a_key_is_found_by_what_its_holder_shows(keys: ApiKeys) -> None:
    """What `create` returned finds the key; anything else finds nothing and never raises."""
    made, shown = keys.create("jobs")
    other, _ = keys.create("other")
    assert keys.find(shown) == made
    assert made.revoked is None
    prefix, key_id, secret = shown.split("_", 2)
    assert key_id == made.id
    wrong = ["", "_", "__", "bk", f"bk_{key_id}", f"bk_{key_id}_", f"xx_{key_id}_{secret}", shown + "x", shown[:-1]]
    wrong += [f"bk_{other.id}_{secret}", shown.upper(), f" {shown}", shown + "\n", "bk_ü_ü", "\x00", "bk_a_\ud800"]
    assert [keys.find(text) for text in wrong] == [None] * len(wrong)
    assert prefix == "bk"


def test_the_secret_is_not_kept(keys: ApiKeys, tmp_path: Path) -> None:
    """No file of the database holds the secret, only its hash."""
    _, shown = keys.create("jobs")
    keys.close()
    secret = shown.split("_", 2)[2].encode()
    files = list(tmp_path.iterdir())
    assert files
    assert not any(secret in file.read_bytes() for file in files)


def test_a_revoked_key_is_found_no_more(keys: ApiKeys) -> None:
    """`revoke` ends a key at once and says whether it did; the key stays in the list."""
    made, shown = keys.create("jobs")
    assert keys.revoke(made.id)
    assert keys.find(shown) is None
    assert not keys.revoke(made.id)
    assert not keys.revoke("nobody")
    (listed,) = keys.list()
    assert (listed.id, listed.name) == (made.id, "jobs")
    assert listed.revoked is not None


def test_keys_belong_to_their_app(keys: ApiKeys, tmp_path: Path) -> None:
    """Another app in the same database neither finds, lists nor revokes a key."""
    made, shown = keys.create("jobs")
    others = sqlite_api_keys(tmp_path / "store.db", "other")
    assert others.find(shown) is None
    assert others.list() == []
    assert not others.revoke(made.id)
    others.close()
    assert keys.find(shown) == made
