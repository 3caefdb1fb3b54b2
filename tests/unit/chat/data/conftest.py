"""A space in which one user, `ursula`, has left something wherever a user can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel.chat.tables import metadata
from backchannel.testing import Sandbox

SECRET = "marmalade"
"""What ursula says, and nobody else."""


@pytest.fixture
def lived(box: Sandbox, operate: Any, new_channel: Callable[..., Awaitable[str]]) -> Callable[[], Awaitable[str]]:
    """Lets ursula live in a channel that bob owns, and gives the channel."""

    async def live() -> str:
        bob, ursula, mod = [await box.client(name) for name in ("bob", "ursula", "mod")]
        channel = await new_channel("bob", "ursula", "mod")
        here = {"channel": channel}
        await bob.call("member.set_role", {**here, "user": "mod", "role": "moderator"})
        await bob.call("member.set_role", {**here, "user": "ursula", "role": "moderator"})
        await ursula.call("profile.update", {"name": "Ursula Marmalade", "data": {"likes": SECRET}})
        await ursula.call("preferences.update", {"data": {"theme": SECRET}})
        await ursula.call("device.register", {"device": "phone", "name": SECRET})
        await ursula.call("status.set", {"text": SECRET})
        await ursula.call("user.block", {"user": "mallory"})
        mallory = await box.client("mallory")
        await mallory.call("user.block", {"user": "ursula"})
        own = (await ursula.call("channel.create", {"name": "Hers", "members": ["bob"]}))["channel"]
        await ursula.call("channel.direct", {"members": ["bob"]})
        await ursula.call("link.create", {"channel": own})
        await ursula.call("member.invite", {"channel": own, "users": ["carol"]})
        await ursula.call("message.send", {"channel": own, "text": f"my own {SECRET}"})
        first = await bob.call("message.send", {**here, "text": "hello"})
        sent = await ursula.call("message.send", {**here, "text": f"I like {SECRET}"})
        await ursula.call("message.edit", {**here, "seq": sent["seq"], "text": f"I love {SECRET}"})
        await ursula.call("message.send", {**here, "text": f"{SECRET} below", "parent": first["seq"]})
        mention = {"text": "ask @ursula, or not @ursula2", "mentions": {"users": ["ursula"]}}
        named = await bob.call("message.send", {**here, **mention})
        await bob.call("message.edit", {**here, "seq": named["seq"], "text": "ask @ursula."})
        await bob.call("message.forward", {"channel": own, "source": channel, "seq": sent["seq"]})
        mods = await bob.call("message.send", {**here, "text": "rude"})
        await ursula.call("message.edit", {**here, "seq": mods["seq"], "text": "polite"})
        await ursula.call("message.pin", {**here, "seq": mods["seq"]})
        gone = await bob.call("message.send", {**here, "text": "worse"})
        await ursula.call("message.delete", {**here, "seq": gone["seq"]})
        for client in (ursula, bob):
            await client.call("reaction.add", {**here, "seq": first["seq"], "emoji": "🎈"})
        await ursula.call("reaction.add", {**here, "seq": sent["seq"], "emoji": "🥄"})
        poll = await ursula.call("poll.create", {**here, "question": f"{SECRET}?", "options": ["yes", "no"]})
        await ursula.call("poll.vote", {**here, "seq": poll["seq"], "options": [poll["options"][0]["id"]]})
        bad = await ursula.call("message.send", {**here, "text": f"bad {SECRET}"})
        await bob.call("message.delete", {**here, "seq": bad["seq"]})
        other = await new_channel("mod")
        await mod.call("member.invite", {"channel": other, "users": ["ursula"]})
        await ursula.call("draft.save", {**here, "text": f"about {SECRET}"})
        later = box.now + 10**9
        await ursula.call("message.schedule", {**here, "message": {**here, "text": SECRET}, "due": later})
        named_later = {**here, "text": "hi", "mentions": {"users": ["ursula"]}}
        await bob.call("message.schedule", {**here, "message": named_later, "due": later})
        await ursula.call("reminder.add", {"text": SECRET, "due": later})
        await ursula.call("saved.add", {**here, "seq": first["seq"], "note": SECRET})
        await ursula.call("message.hide", {**here, "seqs": [named["seq"]]})
        await ursula.call("thread.mark", {**here, "seq": first["seq"], "read": sent["seq"] + 1})
        await ursula.call("report.make", {**here, "seq": mods["seq"], "reason": "abuse", "text": SECRET})
        await mod.call("report.make", {**here, "seq": sent["seq"], "reason": "abuse", "text": "no"})
        await mod.call("report.make", {**here, "user": "ursula", "reason": "abuse", "text": "no"})
        await operate("silence.add", {**here, "user": "ursula", "seconds": 3600})
        await operate("ban.add", {"channel": "*", "user": "mallory"})
        await ursula.call("upload.create", {"name": f"{SECRET}.txt", "size": 10})
        for client in (bob, ursula, mod, mallory):
            await client.close()
        return channel

    return live


@pytest.fixture
def traces(box: Sandbox) -> Callable[..., list[str]]:
    """Where words stand in the tables of chat: `traces("ursula")`."""

    def find(*words: str) -> list[str]:
        found = []
        for table in metadata.sorted_tables:
            for column in table.columns:
                if isinstance(column.type, sa.Text) and column.key != "app":
                    for row in box.rows(sa.select(column).distinct()):
                        found += [f"{table.name}.{column.key}: {row[0]}" for word in words if word in (row[0] or "")]
        return found

    return find
