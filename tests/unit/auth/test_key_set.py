"""The keys of one issuer: kept, kept fresh, and asked for no more often than strangers may cause."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backchannel.auth.key_set import FRESH, INTERVAL, STALE, KeySet
from backchannel_protocol import Refused


@pytest.fixture
def changes() -> list[int]:
    """One entry per change of the keys."""
    return []


@pytest.fixture
def keys(place: Any, clock: Any, changes: list[int]) -> KeySet:
    """The issuer's key set."""
    return KeySet("https://id.example.org", "there", place, changed=lambda: changes.append(1), now=clock)


async def kids(keys: KeySet, kid: str | None, algorithm: str = "ES256") -> list[str | None]:
    """The ids of the keys that are found."""
    return [key.kid for key in await keys.find(kid, algorithm)]


async def settle(keys: KeySet) -> None:
    """Wait for a read that is under way."""
    if keys._reading is not None:
        await asyncio.wait([keys._reading])


async def test_one_read_serves_everybody_who_waits(keys: KeySet, place: Any) -> None:
    """Single flight: a reconnect storm asks the issuer once."""
    place.gate = asyncio.Event()
    waiting = [asyncio.create_task(kids(keys, "k1")) for _ in range(100)]
    await place.reached.wait()
    place.gate.set()
    assert await asyncio.gather(*waiting) == [["k1"]] * 100
    assert place.asked == 1


async def test_who_gives_up_does_not_stop_the_read_for_others(keys: KeySet, place: Any) -> None:
    """Cancelling one waiter is its own business."""
    place.gate = asyncio.Event()
    first, second = (asyncio.create_task(kids(keys, "k1")) for _ in range(2))
    await place.reached.wait()
    first.cancel()
    place.gate.set()
    assert await second == ["k1"]
    assert first.cancelled() or (await asyncio.gather(first, return_exceptions=True))


async def test_a_known_key_costs_no_read(keys: KeySet, place: Any, clock: Any) -> None:
    """As long as the set is fresh."""
    await keys.load()
    clock.now += FRESH
    assert await kids(keys, "k1") == ["k1"]
    assert place.asked == 1


async def test_stale_keys_serve_while_they_are_read_again(
    keys: KeySet, place: Any, issuer: Any, clock: Any, changes: list[int]
) -> None:
    """Nobody waits; what the issuer took out is gone afterwards, and whoever remembers tokens is told."""
    await keys.load()
    issuer.add("k2")
    del issuer.private["k1"]
    place.body = issuer.document()
    clock.now += FRESH + 1
    assert [key.kid for key in keys.known("k1", "ES256")] == ["k1"]
    await settle(keys)
    assert keys.known("k1", "ES256") == ()
    assert await kids(keys, "k2") == ["k2"]
    assert changes == [1, 1]
    assert place.asked == 2


async def test_an_unchanged_set_is_no_change(keys: KeySet, clock: Any, changes: list[int]) -> None:
    """Remembered tokens stay."""
    await keys.load()
    clock.now += FRESH + 1
    keys.tend()
    await settle(keys)
    assert changes == [1]


@pytest.mark.parametrize(("said", "fresh"), [(None, FRESH), (0, 60), (1e9, 3600), (900, 900)])
async def test_the_issuer_says_how_long_it_is_fresh_within_bounds(
    keys: KeySet, place: Any, clock: Any, said: float | None, fresh: float
) -> None:
    """`max-age`, from a minute to an hour."""
    place.max_age = said
    await keys.load()
    clock.now += fresh
    keys.tend()
    await settle(keys)
    assert place.asked == 1
    clock.now += 1
    keys.tend()
    await settle(keys)
    assert place.asked == 2


async def test_an_unknown_key_is_asked_for_once_per_interval(keys: KeySet, place: Any, clock: Any) -> None:
    """Whatever ids strangers make up: known to be missing is refused, not known yet is put off."""
    await keys.load()
    clock.now += INTERVAL
    assert await kids(keys, "x1") == []
    assert place.asked == 2
    for _ in range(5):
        assert await kids(keys, "x1") == []
        with pytest.raises(Refused) as raised:
            await keys.find("x2", "ES256")
        assert (raised.value.code, raised.value.retry_after) == ("unavailable", INTERVAL)
    assert place.asked == 2
    clock.now += INTERVAL
    assert await kids(keys, "x2") == []
    assert place.asked == 3


async def test_a_new_key_is_found_when_it_is_first_shown(keys: KeySet, place: Any, issuer: Any, clock: Any) -> None:
    """A rotation needs no restart and no waiting."""
    await keys.load()
    issuer.add("k2")
    place.body = issuer.document()
    clock.now += INTERVAL
    assert await kids(keys, "k2") == ["k2"]


@pytest.mark.parametrize("failure", [OSError("down"), None])
async def test_what_cannot_be_read_is_put_off_and_not_asked_for_again_at_once(
    keys: KeySet, place: Any, issuer: Any, clock: Any, failure: Exception | None
) -> None:
    """An issuer that is down, or answers nonsense: `unavailable`, since the token may be good."""
    good, place.body, place.failure = place.body, b"<html>", failure
    for _ in range(3):
        with pytest.raises(Refused) as raised:
            await keys.find("k1", "ES256")
        assert (raised.value.code, raised.value.outcome) == ("unavailable", "none")
    assert place.asked == 1
    place.body, place.failure = good, None
    clock.now += INTERVAL
    assert await kids(keys, "k1") == ["k1"]


async def test_known_keys_serve_a_day_while_the_issuer_is_down(
    keys: KeySet, place: Any, clock: Any, changes: list[int]
) -> None:
    """And no longer: a key that was taken out meanwhile must not serve for ever."""
    await keys.load()
    place.failure = OSError("down")
    clock.now += STALE
    assert await kids(keys, "k1") == ["k1"]
    await settle(keys)
    clock.now += 1
    with pytest.raises(Refused, match="unavailable"):
        await keys.find("k1", "ES256")
    assert changes == [1, 1]


async def test_a_key_is_found_for_its_own_algorithm_only(keys: KeySet) -> None:
    """The header's `alg` chooses nothing."""
    await keys.load()
    assert await kids(keys, "k1", "RS256") == []
    assert await kids(keys, "k1", "ES384") == []


async def test_without_an_id_only_the_one_key_can_be_meant(keys: KeySet, place: Any, issuer: Any, clock: Any) -> None:
    """RFC 7515 section 4.1.4: `kid` is optional."""
    await keys.load()
    assert await kids(keys, None) == ["k1"]
    place.body = issuer.add("k2").document()
    clock.now += FRESH + 1
    keys.tend()
    await settle(keys)
    clock.now += INTERVAL
    assert await kids(keys, None) == []
