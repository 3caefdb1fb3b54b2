"""Hooks before a send: rewrite, refuse, their order, their time, what becomes of a message if they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel import Context, Refused, RegistrationError, chat
from backchannel.chat import extensions
from backchannel.chat.tables import messages
from backchannel.testing import Sandbox

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture(autouse=True)
def _no_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks are the process's; each test begins with none."""
    monkeypatch.setattr(extensions, "_hooks", [])


async def test_a_hook_rewrites(new_channel: Ask, send: Ask, people: Ask) -> None:
    """What it returns is sent, and edited to; None leaves the message as it is. It is told who does what, where."""
    seen: list[tuple[str, str, str, str, str]] = []

    @chat.before_send
    async def hook(ctx: Context, message: chat.Outgoing) -> chat.Outgoing | None:
        seen.append((message.purpose, message.user, message.role, message.channel_type, message.text))
        return message.rewrite(text=message.text.replace("tea", "coffee")) if "tea" in message.text else None

    channel = await new_channel("alice", "bob")
    (bob,) = await people("bob")
    assert (await send("bob", channel, "tea?"))["text"] == "coffee?"
    assert (await send("bob", channel, "milk?"))["text"] == "milk?"
    edited = await bob.call("message.edit", {"channel": channel, "seq": 2, "text": "more tea"})
    assert edited["text"] == "more coffee"
    assert seen == [
        ("send", "bob", "member", "group", "tea?"),
        ("send", "bob", "member", "group", "milk?"),
        ("edit", "bob", "member", "group", "more tea"),
    ]


async def test_a_hook_refuses(box: Sandbox, new_channel: Ask, send: Ask, refused: Ask) -> None:
    """In its own words; nothing is stored, and no later hook is asked."""

    @chat.before_send(order=1)
    async def never(ctx: Context, message: chat.Outgoing) -> None:
        raise AssertionError

    @chat.before_send
    async def no(ctx: Context, message: chat.Outgoing) -> None:
        raise Refused("forbidden", "Not on Sundays.", details={"reason": "sunday"})

    channel = await new_channel("alice")
    error = await refused(send("alice", channel), "forbidden", reason="sunday")
    assert error.message == "Not on Sundays."
    assert not box.rows(sa.select(messages))


async def test_hooks_run_in_their_order_and_lists_look_at_what_they_made(
    new_channel: Ask, send: Ask, operate: Ask, refused: Ask
) -> None:
    """By `order`, then as registered, each on the text of the one before; then the word lists."""

    def adding(word: str, order: int) -> None:
        @chat.before_send(order=order, timeout=0.1)
        async def hook(ctx: Context, message: chat.Outgoing) -> chat.Outgoing:
            return message.rewrite(text=f"{message.text} {word}")

    for word, order in (("three", 2), ("one", 0), ("two", 0)):
        adding(word, order)
    channel = await new_channel("alice")
    assert (await send("alice", channel, "zero"))["text"] == "zero one two three"
    await operate(
        "filter.set", {"scope": channel, "name": "n", "kind": "word", "action": "block", "entries": ["three"]}
    )
    await refused(send("alice", channel, "zero"), "forbidden", reason="filtered")


async def wait(ctx: Context, message: chat.Outgoing) -> None:
    """Takes for ever."""
    await asyncio.Event().wait()


async def fail(ctx: Context, message: chat.Outgoing) -> None:
    """Has a defect."""
    raise ZeroDivisionError


async def too_long(ctx: Context, message: chat.Outgoing) -> chat.Outgoing:
    """Makes more of a message than may be sent."""
    return message.rewrite(text="x" * 4001)


async def empty(ctx: Context, message: chat.Outgoing) -> chat.Outgoing:
    """Leaves nothing."""
    return message.rewrite(text=" ")


async def test_a_hook_that_fails(box: Sandbox, new_channel: Ask, send: Ask, refused: Ask) -> None:
    """By default the message is refused so that it can be sent again; with `send` it goes as it is. Both are logged."""
    channel = await new_channel("alice")
    for hook in (wait, fail, too_long, empty):
        extensions._hooks.clear()
        chat.before_send(timeout=0.2)(hook)
        error = await refused(send("alice", channel), "unavailable", reason="hook")
        assert (error.retry, error.outcome) == (True, "none")
        extensions._hooks.clear()
        chat.before_send(timeout=0.2, on_error="send")(hook)
        assert (await send("alice", channel))["text"] == "hello"
        failures = [entry for entry in box.logs if entry["event"] == "a hook before a send failed"]
        assert {entry["on_error"] for entry in failures if entry["hook"] == hook.__qualname__} == {"refuse", "send"}


async def test_a_hook_may_wait_for_the_outside_world(box: Sandbox, new_channel: Ask, send: Ask) -> None:
    """Its channel waits for it, and the order there stays."""

    @chat.before_send
    async def slow(ctx: Context, message: chat.Outgoing) -> None:
        if message.text == "slow":
            await asyncio.sleep(0.3)

    one, other = await new_channel("alice"), await new_channel("bob")
    done: list[str] = []

    async def sending(user: str, channel: str, text: str) -> int:
        seq: int = (await send(user, channel, text))["seq"]
        done.append(text)
        return seq

    seqs = await asyncio.gather(
        sending("alice", one, "slow"), sending("alice", one, "behind it"), sending("bob", other, "beside it")
    )
    assert list(seqs) == [1, 2, 1]
    assert done.index("slow") < done.index("behind it")


async def test_a_hook_shadows(box: Sandbox, new_channel: Ask, send: Ask, people: Ask) -> None:
    """A message can be let seem to be sent."""

    @chat.before_send
    async def shadow(ctx: Context, message: chat.Outgoing) -> chat.Outgoing:
        return message.rewrite(shadow=True)

    channel = await new_channel("alice", "bob")
    (bob,) = await people("bob")
    await send("alice", channel)
    assert (await bob.call("message.list", {"channel": channel}))["messages"] == []


def test_what_is_no_hook_is_told_at_once() -> None:
    """When it is registered, with the cure."""

    def plain(ctx: Context, message: chat.Outgoing) -> None: ...

    async def one(ctx: Context) -> None: ...

    for register, says in (
        (lambda: chat.before_send(plain), "async def"),  # type: ignore[type-var]
        (lambda: chat.before_send(one), "the context and the message"),  # type: ignore[type-var]
        (lambda: chat.before_send(timeout=0.9)(wait), "0.8 s"),
        (lambda: chat.before_send(timeout=0)(wait), "above 0"),
        (lambda: chat.before_send(on_error="hope")(wait), "'refuse' or 'send'"),  # type: ignore[call-overload]
    ):
        with pytest.raises(RegistrationError, match=says):
            register()
    chat.before_send(timeout=0.5)(wait)
    with pytest.raises(RegistrationError, match="all together"):
        chat.before_send(wait)
    with pytest.raises(TypeError, match="cannot change 'user'"):
        outgoing().rewrite(user="eve")


def outgoing() -> chat.Outgoing:
    """A message on its way."""
    return chat.Outgoing(
        channel="chat:a", channel_type="group", user="alice", role="member", purpose="send", type="text", text="hi"
    )
