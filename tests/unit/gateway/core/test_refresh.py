"""A refresh counts at once, and what was revoked ends: rights on open connections (P6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backchannel.auth.principal import Principal
from backchannel.auth.revocation import Revocation
from backchannel.relay.relay import Grant
from backchannel_protocol import CloseCode, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from .conftest import Client, World


def grant(world: World, token: str, *caps: str) -> None:
    """What this token of alice allows."""
    world.authenticator.principals[token] = Principal("alice", "user:alice", caps=caps)


async def refresh(world: World, client: Client, token: str) -> None:
    """Go on with this token."""
    request_id = client.ask(f.Refresh, token=token)
    await world.quiet()
    assert isinstance(client.answer(request_id), f.Reply)


async def test_a_narrower_token_ends_what_it_does_not_allow(world: World) -> None:
    """Also the user's own channel; what it allows goes on without a word."""
    client = await world.listener("chat:a")
    await world.listen(client, "chat:b")
    grant(world, "new", "listen:chat:b")
    await refresh(world, client, "new")
    ended = {frame.channel: frame.code for frame in client.new(f.Unsubscribed)}
    assert ended == {"chat:a": "forbidden", "user:alice": "forbidden"}
    await world.emit("chat:a")
    await world.emit("chat:b")
    await world.quiet()
    assert [event.channel for event in client.new(f.Event)] == ["chat:b"]


async def test_a_start_under_way_is_judged_by_the_new_token(world: World) -> None:
    """The worker's answer about the old one comes later, and is void."""
    client = await world.connect()
    world.relay.gate = asyncio.Event()
    request_id = client.ask(f.Subscribe, channel="chat:a")
    await world.quiet()
    assert len(world.relay.asked) == 1
    grant(world, "new", "listen:user:*")
    await refresh(world, client, "new")
    world.relay.gate.set()
    await world.quiet()
    assert client.answer(request_id).code == "forbidden"


async def test_a_renewal_under_way_does_not_outlive_the_refresh(world: World) -> None:
    """A lease of the old token that is being renewed is judged by the new one as well."""
    client = await world.listener("chat:a")
    world.relay.gate = asyncio.Event()
    await world.after(40.0)
    grant(world, "new", "listen:user:*")
    await refresh(world, client, "new")
    world.relay.gate.set()
    await world.quiet()
    assert [frame.channel for frame in client.new(f.Unsubscribed)] == ["chat:a"]


async def test_a_right_that_cannot_be_confirmed_fails_closed(world: World) -> None:
    """What the old token was granted holds no longer than half a minute and a turn."""
    client = await world.listener("chat:a")
    world.relay.failure = Refused("unavailable", "No worker is there.")
    grant(world, "new", "listen:*")
    await refresh(world, client, "new")
    assert client.new(f.Unsubscribed) == []
    await world.after(60.0)
    assert [(frame.channel, frame.code) for frame in client.new(f.Unsubscribed)] == [("chat:a", "unavailable")]


async def test_rights_to_publish_are_asked_for_anew(world: World) -> None:
    """A grant that is remembered was the old token's."""
    client = await world.connect()
    first = client.ask(f.Publish, channel="live:a", name="message.created", data={})
    await world.quiet()
    assert isinstance(client.answer(first), f.Reply)
    grant(world, "new", "listen:*")
    await refresh(world, client, "new")
    second = client.ask(f.Publish, channel="live:a", name="message.created", data={})
    await world.quiet()
    assert client.answer(second).code == "forbidden"


@pytest.mark.parametrize(
    ("revoked", "closed"),
    [
        (Revocation(id="1", user="alice", issued_before=150_000, time=0), {"old", "silent"}),
        (Revocation(id="1", token_id="t", time=0), {"bob"}),
        (Revocation(id="1", user="alice", time=0), {"old", "young", "silent"}),
        (Revocation(id="1", user="carol", time=0), set()),
    ],
)
async def test_a_revocation_closes_the_connections_that_it_concerns(
    world: World, revoked: Revocation, closed: set[str]
) -> None:
    """By user and time of issue, by token, by user alone; with 4501. One that has not connected yet is no concern."""
    world.authenticator.principals.update(
        old=Principal("alice", "user:alice", issued_at=100.0),
        young=Principal("alice", "user:alice", issued_at=200.0),
        silent=Principal("alice", "user:alice"),
        bob=Principal("bob", "user:bob", issued_at=100.0, token_id="t"),
    )
    clients = {token: await world.connect(token) for token in ("old", "young", "silent", "bob")}
    world.door()
    world.gateway.end_revoked([revoked])
    assert {token for token, client in clients.items() if client.closed} == closed
    assert {client.closed[0] for client in clients.values() if client.closed} <= {CloseCode.REVOKED}


async def test_a_start_under_way_may_be_granted_by_the_new_token(world: World) -> None:
    """What the worker refused to the old one is asked for again."""
    client = await world.connect()
    world.relay.gate = asyncio.Event()
    world.relay.rule = lambda user, verb, entry: Grant("new" in world.authenticator.tokens)
    request_id = client.ask(f.Subscribe, channel="chat:a")
    await world.quiet()
    grant(world, "new", "listen:*")
    await refresh(world, client, "new")
    world.relay.gate.set()
    await world.quiet()
    assert isinstance(client.answer(request_id), f.Subscribed)


async def test_an_event_on_the_users_channel_rings(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is asked at once and not only at its next turn; the user hears why, and other events ring nothing."""
    rung: list[bool] = []
    monkeypatch.setattr(world.hub, "_disconnected", lambda: rung.append(True))
    client = await world.connect()
    world.publish("user:alice", name="message.created")
    await world.quiet()
    assert rung == []
    world.publish("user:alice", name="user.disconnected")
    await world.quiet()
    assert rung == [True]
    assert [event.name for event in client.new(f.Event)] == ["message.created", "user.disconnected"]
