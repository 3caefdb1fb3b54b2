"""Presence and status: merged over devices, with grace, seen by those who may, right also where something is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backchannel.chat import PresenceChanged
from backchannel.testing import Sandbox
from backchannel_protocol import Refused


async def presence_of(client: Any, *users: str) -> dict[str, Any]:
    people = (await client.call("presence.get", {"users": list(users)}))["people"]
    return {person["user"]: person for person in people}


async def test_a_user_is_there_while_a_device_is(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Devices are merged: the first that comes and the grace after the last one tell, and nothing in between."""
    await new_channel("alice", "bob")
    alice, *phones = await people("alice", "bob", "bob")
    await box.settle()
    assert (await presence_of(alice, "bob"))["bob"] == {"user": "bob", "online": True, "last_seen": box.now}
    said = len(box.events("people:bob"))

    await phones[0].close()
    await box.advance(60)
    assert (await presence_of(alice, "bob"))["bob"]["online"]
    await phones[1].close()
    await box.advance(box.settings.grace - 1)
    assert (await presence_of(alice, "bob"))["bob"]["online"]
    assert len(box.events("people:bob")) == said
    await box.advance(2)
    bob = (await presence_of(alice, "bob"))["bob"]
    assert not bob.get("online")
    assert box.now - 2000 <= bob["last_seen"] <= box.now
    assert len(box.events("people:bob")) == said + 1


async def test_a_short_break_is_not_told(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Who is back within the grace was never gone, and nobody is told anything."""
    await new_channel("alice", "bob")
    [bob] = await people("bob")
    await box.settle()
    said = len(box.events("people:bob"))
    await bob.close()
    await box.advance(box.settings.grace / 2)
    await people("bob")
    await box.advance(box.settings.grace * 2)
    assert len(box.events("people:bob")) == said


async def test_watchers_hear_changes(box: Sandbox, people: Any, new_channel: Any) -> None:
    """`people:<id>` tells who shares a channel all of the presence, each time anew."""
    await new_channel("alice", "bob")
    [alice] = await people("alice")
    await box.settle()
    watching = alice.subscribe("people:bob")
    await watching.ready()
    [bob] = await people("bob")
    await box.settle()
    await bob.call("status.set", {"text": "at lunch", "emoji": "🍲"})
    await bob.close()
    await box.advance(box.settings.grace + 1)
    heard = [event.data for event in await received(watching, 3)]
    assert [(event.get("online", False), event.get("text", "")) for event in heard] == [
        (True, ""),
        (True, "at lunch"),
        (False, "at lunch"),
    ]


async def received(subscription: Any, count: int) -> list[Any]:
    """The next events of a subscription."""
    found = []
    async for event in subscription:
        found.append(event)
        if len(found) == count:
            return found
    raise AssertionError("the subscription ended")


async def test_a_stranger_may_not_watch(box: Sandbox, people: Any, operate: Any) -> None:
    """Who shares no channel sees nothing, unless an operator made the user open to all."""
    alice, _ = await people("alice", "bob")
    await box.settle()
    with pytest.raises(Refused) as caught:
        await alice.subscribe("people:bob").ready()
    assert caught.value.code in ("forbidden", "not_found")
    assert await presence_of(alice, "bob", "alice") == {
        "alice": {"user": "alice", "online": True, "last_seen": box.now}
    }

    await operate("profile.put", {"user": "bob", "open": True})
    await alice.subscribe("people:bob").ready()
    assert list(await presence_of(alice, "bob")) == ["bob"]


async def test_an_operator_sees_everybody(box: Sandbox, people: Any, operate: Any) -> None:
    """The server-side API asks for up to 200 users at once, in one statement."""
    await people("alice", "bob")
    await box.settle()
    users = [f"user{n}" for n in range(198)] + ["bob", "alice"]
    found = await operate("presence.get", {"users": users})
    assert [person["user"] for person in found["people"]] == ["bob", "alice"]


async def test_who_is_invisible_seems_away(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Others see an invisible user as one who left when they became so, also when they come and go; they do not."""
    await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    await box.advance(60)
    own = await bob.call("presence.set", {"invisible": True})
    assert own["online"]
    assert own["invisible"]
    hidden_at = box.now
    said = len(box.events("people:bob"))
    await box.advance(60)
    await bob.close()
    await box.advance(60)
    [bob] = await people("bob")
    await box.settle()
    assert (await presence_of(alice, "bob"))["bob"] == {"user": "bob", "last_seen": hidden_at}
    assert len(box.events("people:bob")) == said
    assert (await bob.call("presence.own", {}))["online"]

    await bob.call("presence.set", {"invisible": False})
    assert (await presence_of(alice, "bob"))["bob"] == {"user": "bob", "online": True, "last_seen": box.now}
    assert box.events("people:bob", PresenceChanged)[-1].online


async def test_a_status_ends(box: Sandbox, people: Any, new_channel: Any) -> None:
    """A status and do-not-disturb are over when they were to be, wherever they are read."""
    await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    end = box.now + 60_000
    await bob.call("status.set", {"text": " in a meeting ", "until": end})
    await bob.call("presence.set", {"quiet": end})
    shown = (await presence_of(alice, "bob"))["bob"]
    assert (shown["text"], shown["until"], shown["quiet"]) == ("in a meeting", end, end)
    await box.advance(61)
    assert (await presence_of(alice, "bob"))["bob"].keys() == {"user", "online", "last_seen"}
    assert "quiet" not in await bob.call("presence.own", {})


async def test_what_is_over_cannot_be_set(box: Sandbox, people: Any, refused: Any) -> None:
    """An end in the past is refused, with what time it is."""
    [bob] = await people("bob")
    await refused(bob.call("status.set", {"text": "x", "until": box.now}), "invalid", reason="past")
    await refused(bob.call("presence.set", {"quiet": box.now - 1}), "invalid", reason="past")


async def test_own_devices_hear_what_one_sets(box: Sandbox, people: Any) -> None:
    """What one says on one device is on `user:<id>` for the others; the same again is not told."""
    phone, _ = await people("bob", "bob")
    for _ in range(2):
        await phone.call("status.set", {"text": "hello"})
        await phone.call("presence.set", {"invisible": True})
    told = [event.data for event in box.events("user:bob") if event.name == "own_presence.changed"]
    assert told == [{"user": "bob", "text": "hello"}, {"user": "bob", "text": "hello", "invisible": True}]


async def test_what_the_broker_lost_is_set_right(box: Sandbox, people: Any, new_channel: Any) -> None:
    """A worker that is not there when somebody leaves, or a process that ended: nobody stays online for ever."""
    await new_channel("alice", "bob")
    alice, _ = await people("alice", "bob")
    await box.settle()
    box.broker._inner._rooms.pop("user:bob", None)  # as a process that ends forgets
    await box.advance(601)
    await box.advance(61)
    assert not (await presence_of(alice, "bob"))["bob"].get("online")
    assert (await presence_of(alice, "alice"))["alice"]["online"]


async def test_no_change_is_lost_while_no_worker_is_there(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Who leaves while no worker runs is gone as soon as one does."""
    await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    await box.settle()
    await box.worker.stop()
    await bob.close()
    await box.advance(box.settings.grace + 5)
    await box.worker.start()
    await box.advance(3)
    assert not (await presence_of(alice, "bob"))["bob"].get("online")


async def test_coming_and_going_at_once(box: Sandbox, new_channel: Any) -> None:
    """Many devices that come and go at once, and a status that is set meanwhile: the row says what is so."""
    await new_channel("alice", "bob")
    alice = await box.client("alice")
    for turn in range(5):
        phones = await asyncio.gather(*[box.client("bob") for _ in range(4)])
        await asyncio.gather(
            *[phone.close() for phone in phones[1:]],
            phones[0].call("status.set", {"text": f"turn {turn}"}),
            phones[0].call("presence.set", {"invisible": bool(turn % 2)}),
        )
        await phones[0].close()
        await box.advance(box.settings.grace + 1 if turn % 2 else 1)
    await box.advance(box.settings.grace + 1)
    bob = (await presence_of(alice, "bob"))["bob"]
    assert not bob.get("online")
    assert bob["text"] == "turn 4"


async def test_who_is_invisible_is_not_in_the_channels(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Who listens to a channel is told to the others, but not of one who is invisible; a change is so in a minute."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    await bob.call("presence.set", {"invisible": True})
    for client in (alice, bob):
        await client.subscribe(channel).ready()

    async def there() -> list[str]:
        return sorted(member.user for member in (await alice.presence(channel)).members)

    assert await there() == ["alice"]
    await bob.call("presence.set", {"invisible": False})
    await box.advance(61)
    assert await there() == ["alice", "bob"]
    await bob.call("presence.set", {"invisible": True})
    await box.advance(61 + box.settings.grace)
    assert await there() == ["alice"]
    await bob.call("message.send", {"channel": channel, "text": "I still hear and speak"})
