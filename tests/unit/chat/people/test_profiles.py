"""Profiles, devices, preferences, and taking a user's access away."""

from __future__ import annotations

import asyncio
from typing import Any

from backchannel.chat import PresenceChanged, ProfileChanged
from backchannel.testing import Sandbox


async def test_a_user_changes_their_profile(box: Sandbox, people: Any) -> None:
    """What is named changes, other things stay; of the data, keys change, and go with null. Every change is told."""
    [alice] = await people("alice")
    await alice.call("profile.update", {"name": " Alice ", "data": {"team": "red", "floor": 2}})
    await alice.call("profile.update", {"avatar": "https://example.org/a.png", "data": {"floor": None, "desk": "4b"}})
    profile: dict[str, Any] = {"user": "alice", "name": "Alice", "avatar": "https://example.org/a.png"}
    profile["data"] = {"team": "red", "desk": "4b"}
    found = await alice.call("profile.get", {"users": ["bob", "alice"]})
    assert found == {"profiles": [{"user": "bob", "name": "bob"}, profile]}
    for channel in ("people:alice", "user:alice"):
        told = box.events(channel, ProfileChanged)
        assert len(told) == 2
        assert told[-1].data == profile["data"]
    await alice.call("profile.update", {"name": "Alice"})
    assert len(box.events("people:alice", ProfileChanged)) == 2


async def test_profiles_are_bounded(box: Sandbox, people: Any, refused: Any) -> None:
    """Too much data, a name of nothing, and an avatar that is no address to fetch are refused."""
    [alice] = await people("alice")
    await refused(alice.call("profile.update", {"data": {"x": "y" * 6000}}), "too_large", reason="data_size")
    await refused(alice.call("profile.update", {"name": "  "}), "invalid")
    await refused(alice.call("profile.update", {"avatar": "javascript:alert(1)"}), "invalid")
    await refused(alice.call("profile.get", {"users": [f"user{n}" for n in range(201)]}), "invalid")


async def test_only_operators_change_others(box: Sandbox, people: Any, operate: Any, refused: Any) -> None:
    """`profile.put`, `user.deactivate` and `user.activate` are for API keys that act for themselves."""
    [alice] = await people("alice")
    for name in ("profile.put", "user.deactivate", "user.activate"):
        await refused(alice.call(name, {"user": "bob"}), "forbidden", reason="operators")
        await refused(operate(name, {"user": "bob"}, user="alice"), "forbidden", reason="operators")
    assert (await operate("profile.put", {"user": "bob", "name": "Bob"}))["name"] == "Bob"
    await refused(operate("profile.update", {"name": "Nobody"}), "invalid", reason="user")


async def test_changes_at_once_are_all_kept(box: Sandbox, people: Any, operate: Any) -> None:
    """A user's devices and an operator that write one profile at once lose nothing of each other."""
    phones = await people(*["alice"] * 4)
    await asyncio.gather(
        *[phone.call("profile.update", {"data": {f"key{n}": n}}) for n, phone in enumerate(phones)],
        *[operate("profile.put", {"user": "alice", "data": {f"operator{n}": n}}) for n in range(4)],
    )
    [profile] = (await phones[0].call("profile.get", {"users": ["alice"]}))["profiles"]
    assert len(profile["data"]) == 8
    assert box.events("people:alice", ProfileChanged)[-1].data == profile["data"]


async def test_who_is_deactivated_is_out(box: Sandbox, people: Any, new_channel: Any, operate: Any) -> None:
    """Connections close, tokens are void, devices are forgotten; who comes with a newer token is sent away as well."""
    await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    await bob.call("device.register", {"device": "phone", "push_kind": "fcm", "push_token": "secret"})
    await box.advance(1)
    profile = await operate("user.deactivate", {"user": "bob"})
    assert profile["deactivated"] == box.now
    assert await operate("user.deactivate", {"user": "bob"}) == profile
    assert (await operate("device.list", {"user": "bob"}))["devices"] == []
    await box.advance(6)
    assert bob.state != "connected"
    assert (await alice.call("presence.get", {"users": ["bob"]}))["people"] == []
    assert not box.events("people:bob", PresenceChanged)[-1].online
    [shown] = (await alice.call("profile.get", {"users": ["bob"]}))["profiles"]
    assert shown["deactivated"]

    late = await box.wire("bob")
    assert await late.closed() == 4501
    assert (await alice.call("presence.get", {"users": ["bob"]}))["people"] == []
    assert not box.events("people:bob", PresenceChanged)[-1].online

    await operate("user.activate", {"user": "bob"})
    await box.advance(1)  # a token of the very second counts as old
    back = await box.client("bob")
    await box.advance(6)
    assert (await back.call("presence.own", {}))["online"]


async def test_devices(box: Sandbox, people: Any, operate: Any, refused: Any) -> None:
    """A device is registered and changed under its id; its token is for operators alone, and has one owner."""
    alice, bob = await people("alice", "bob")
    token = {"push_kind": "apns", "push_token": "secret"}
    first = await alice.call("device.register", {"device": "phone", "name": "Phone", "platform": "ios", **token})
    assert "push_token" not in first
    await alice.call("device.register", {"device": "laptop"})
    devices = (await alice.call("device.list", {}))["devices"]
    assert [device["device"] for device in devices] == ["laptop", "phone"]
    assert all("push_token" not in device for device in devices)
    assert (await operate("device.list", {"user": "alice"}))["devices"][1]["push_token"] == "secret"
    await refused(bob.call("device.list", {"user": "alice"}), "forbidden", reason="operators")

    await bob.call("device.register", {"device": "phone", **token})
    assert "push_token" not in (await operate("device.list", {"user": "alice"}))["devices"][1]
    assert (await operate("device.list", {"user": "bob"}))["devices"][0]["push_token"] == "secret"

    for _ in range(2):
        assert await bob.call("device.remove", {"device": "phone"}) == {"device": "phone"}
    assert (await bob.call("device.list", {}))["devices"] == []
    await refused(bob.call("device.register", {"device": "x", "push_token": "y"}), "invalid", reason="push")


async def test_devices_are_bounded(box: Sandbox, people: Any, refused: Any) -> None:
    """The 51st device is refused; one that is there may still be changed."""
    [alice] = await people("alice")
    for n in range(50):
        await alice.call("device.register", {"device": f"device{n}"})
    await refused(alice.call("device.register", {"device": "more"}), "too_large", reason="devices", limit=50)
    await alice.call("device.register", {"device": "device0", "name": "Old"})


async def test_preferences_are_on_every_device(box: Sandbox, people: Any, refused: Any) -> None:
    """Settings of one device are told to the others as a whole; nobody else's are there to be asked for."""
    phone, laptop, other = await people("alice", "alice", "bob")
    assert await phone.call("preferences.get", {}) == {"data": {}}
    await asyncio.gather(
        phone.call("preferences.update", {"data": {"theme": "dark", "sounds": True}}),
        laptop.call("preferences.update", {"data": {"language": "de"}}),
    )
    await phone.call("preferences.update", {"data": {"sounds": None}})
    assert await laptop.call("preferences.get", {}) == {"data": {"theme": "dark", "language": "de"}}
    told = [event.data for event in box.events("user:alice") if event.name == "preferences.changed"]
    assert told[-1] == {"data": {"theme": "dark", "language": "de"}}
    assert len(told) == 3
    assert await other.call("preferences.get", {}) == {"data": {}}
    await refused(phone.call("preferences.update", {"data": {"x": "y" * 17_000}}), "too_large", reason="data_size")
