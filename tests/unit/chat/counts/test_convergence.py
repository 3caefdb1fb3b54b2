"""A snapshot with the events behind it is what a fresh snapshot says, whatever several users do at once."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchannel.chat import app
from backchannel.chat.messages.tables import hidden, mentions
from backchannel.chat.tables import members, messages
from backchannel.testing import Sandbox, SandboxClient, sandboxed
from backchannel_protocol import Refused

USERS = ("ann", "bob", "cy")
"""Members throughout; `dan` comes and goes."""

Step = tuple[str, str, int, int]
"""Who does what, and two numbers that the act makes of what it needs."""

ACTS = (
    "send", "send", "silent", "system", "thread", "both", "mention", "everybody", "edit", "delete", "restore", "hide",
    "react", "unreact", "read", "read", "got", "unread", "all read", "pin", "unpin", "join", "leave",
)  # fmt: skip

steps = st.tuples(st.sampled_from(USERS), st.sampled_from(ACTS), st.integers(1, 9), st.integers(0, 5))
bursts = st.lists(st.lists(steps, min_size=1, max_size=6), min_size=2, max_size=8)


async def act(clients: dict[str, SandboxClient], channel: str, step: Step) -> None:
    """Do one thing; what is refused (no such message, not one's own) is refused."""
    user, what, seq, number = step
    data: dict[str, Any] = {"channel": channel}
    text = f"{user} {number}"
    emoji = "abc"[number % 3]
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "send": ("message.send", {"text": text}),
        "silent": ("message.send", {"text": text, "silent": True}),
        "system": ("message.send", {"text": text, "type": "system"}),
        "thread": ("message.send", {"text": text, "parent": seq}),
        "both": ("message.send", {"text": text, "parent": seq, "shown": True}),
        "mention": ("message.send", {"text": text, "mentions": {"users": [USERS[number % 3]]}}),
        "everybody": ("message.send", {"text": text, "mentions": {"channel": True, "roles": ["member"]}}),
        "edit": ("message.edit", {"seq": seq, "text": f"edited {text}"}),
        "delete": ("message.delete", {"seq": seq}),
        "restore": ("message.restore", {"seq": seq}),
        "hide": ("message.hide", {"seqs": [seq]}),
        "react": ("reaction.add", {"seq": seq, "emoji": emoji}),
        "unreact": ("reaction.remove", {"seq": seq, "emoji": emoji}),
        "read": ("receipt.mark", {"read": seq + number}),
        "got": ("receipt.mark", {"delivered": seq + number}),
        "unread": ("channel.mark_unread", {"seq": seq}),
        "pin": ("message.pin", {"seq": seq}),
        "unpin": ("message.unpin", {"seq": seq}),
        "join": ("channel.join", {}),
        "leave": ("channel.leave", {}),
    }
    if what in ("join", "leave"):
        user = "dan"
    try:
        if what == "all read":
            await clients[user].call("channel.mark_all_read", {})
        else:
            name, more = requests[what]
            await clients[user].call(name, {**data, **more})
    except Refused:
        pass


class Model:
    """What a client knows of a channel: three snapshots, and the events behind each."""

    def __init__(self, user: str, channel: str) -> None:
        self.user = user
        self.channel = channel
        self.messages: dict[int, dict[str, Any]] = {}
        self.receipts: dict[str, tuple[int, int]] = {}
        self.hidden: set[int] = set()
        self.read_seq = 0
        self._positions: dict[str, int] = {}

    async def snapshot(self, client: SandboxClient) -> None:
        """Ask, while others go on."""
        listed, receipts, unread = await asyncio.gather(
            client.request("message.list", {"channel": self.channel, "limit": 200}),
            client.request("receipt.get", {"channel": self.channel}),
            client.request("unread.get", {"channels": [self.channel]}),
        )
        self.messages = {one["seq"]: one for one in listed.data["messages"]}
        self.receipts = _receipts(receipts.data)
        self.read_seq = unread.data["channels"][0].get("read_seq", 0)
        self._positions = {
            "messages": listed.positions[self.channel],
            "receipts": receipts.positions[self.channel],
            "unread": unread.positions[f"user:{self.user}"],
        }

    def follow(self, box: Sandbox) -> None:
        """Apply the events behind the snapshots, each as its position says."""
        for event in box.events(self.channel):
            if event.offset is None:
                continue
            if event.offset > self._positions["messages"]:
                self._message(event.name, event.data)
            if event.offset > self._positions["receipts"]:
                self._receipt(event.name, event.data)
        for event in box.events(f"user:{self.user}"):
            if event.name == "unread.changed" and (event.offset or 0) > self._positions["unread"]:
                self.read_seq = event.data["read_seq"]
            elif event.name == "messages.hidden":
                self.hidden.update(event.data["seqs"])

    def _message(self, name: str, data: dict[str, Any]) -> None:
        seq = data.get("seq", 0)
        known = self.messages.get(seq)
        match name:
            case "message.created":
                self.messages[seq] = dict(data)
            case "message.updated":
                own = {one["emoji"] for one in (known or {}).get("reactions", []) if one.get("own")}
                self.messages[seq] = dict(data)
                for one in self.messages[seq].get("reactions", []):
                    if one["emoji"] in own:
                        one["own"] = True
            case "message.deleted":
                if known is not None:
                    kept = ("id", "channel", "seq", "user", "time", "type", "parent", "shown", "silent", "thread")
                    self.messages[seq] = {key: known[key] for key in kept if key in known} | {
                        "text": "", "deleted": data["deleted"], "deleted_by": data["deleted_by"],
                    }  # fmt: skip
            case "reaction.changed":
                if known is not None:
                    _react(known, data, self.user)
            case "thread.updated":
                if known is not None:
                    known.pop("thread", None)
                    if data["replies"]:
                        known["thread"] = {key: data[key] for key in data if key not in ("channel", "seq")}
            case "message.pinned" if known is not None:
                known["pinned"] = True
            case "message.unpinned" if known is not None:
                known.pop("pinned", None)

    def _receipt(self, name: str, data: dict[str, Any]) -> None:
        match name:
            case "receipt.changed":
                self.receipts[data["user"]] = (data["read"], data["delivered"])
            case "member.left":
                self.receipts.pop(data["user"], None)

    def listed(self) -> list[dict[str, Any]]:
        """What `message.list` should answer."""
        return [one for seq, one in sorted(self.messages.items()) if one.get("shown", True) and seq not in self.hidden]

    def unread(self) -> int:
        """What `unread.get` should answer, by the rule of its documentation."""
        return sum(
            seq > self.read_seq
            and one["user"] != self.user
            and one.get("shown", True)
            and not one.get("silent")
            and one.get("type", "text") != "system"
            and one.get("deleted") is None
            and seq not in self.hidden
            for seq, one in self.messages.items()
        )


def _receipts(answer: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {one["user"]: (one.get("read", 0), one.get("delivered", 0)) for one in answer["each"]}


def _react(message: dict[str, Any], data: dict[str, Any], user: str) -> None:
    reactions = message.setdefault("reactions", [])
    found = [one for one in reactions if one["emoji"] == data["emoji"]]
    one = found[0] if found else {"emoji": data["emoji"], "count": 0}
    if not found:
        reactions.append(one)
    one["count"] = data["count"]
    if data["user"] == user:
        one.pop("own", None)
        if data["reacted"]:
            one["own"] = True
    if not one["count"]:
        reactions.remove(one)
    if not reactions:
        del message["reactions"]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(bursts, st.integers(0, 7))
@sandboxed(app, burst=100_000, calls=100_000, open_requests=10_000)
async def test_snapshot_and_events_are_a_fresh_snapshot(box: Sandbox, acts: list[list[Step]], at: int) -> None:
    """Several users act at once; in the midst of it two clients take snapshots. In the end what each has by its events
    is what it would be told anew; counts are what the rows say when they are counted one by one; and receipts are the
    members' rows."""
    clients = {user: await box.client(user) for user in (*USERS, "dan")}
    made = await clients["ann"].call("channel.create", {"name": "Tea", "members": ["bob", "cy"]})
    channel = made["channel"]
    models = [Model(user, channel) for user in ("ann", "bob")]
    for number, burst in enumerate(acts):
        begun: list[Any] = [act(clients, channel, step) for step in burst]
        if number == at % len(acts):
            for place, model in enumerate(models):
                begun.insert(place, model.snapshot(clients[model.user]))
        await asyncio.gather(*begun)
    for model in models:
        model.follow(box)
        client = clients[model.user]
        fresh = (await client.call("message.list", {"channel": channel, "limit": 200}))["messages"]
        assert model.listed() == fresh
        told = _receipts(await client.call("receipt.get", {"channel": channel}))
        # Who has joined since has read, and got, what was there.
        joined = {user for user in told if user not in model.receipts}
        assert joined <= {"dan"}
        assert {user: told[user] for user in told if user not in joined} == model.receipts
        (one,) = (await client.call("unread.get", {"channels": [channel]}))["channels"]
        assert (one.get("read_seq", 0), one.get("unread", 0)) == (model.read_seq, model.unread())
        assert (one.get("unread", 0), one.get("mentions", 0)) == _by_hand(box, channel, model.user)


def _by_hand(box: Sandbox, channel: str, user: str) -> tuple[int, int]:
    (member,) = box.rows(sa.select(members).where(members.c.channel == channel, members.c.user == user))
    gone = {row.seq for row in box.rows(sa.select(hidden).where(hidden.c.channel == channel, hidden.c.user == user))}
    named: dict[int, set[str]] = {}
    for row in box.rows(sa.select(mentions).where(mentions.c.channel == channel)):
        named.setdefault(row.seq, set()).add(row.user)
    rows = [
        row
        for row in box.rows(sa.select(messages).where(messages.c.channel == channel))
        if row.seq > max(member.read_seq, member.history_from) and row.user != user and row.seq not in gone
    ]
    mine = {user, "*", f"role:{member.role}"}
    return (
        sum(bool(row.counted) for row in rows),
        sum(row.deleted is None and bool(mine & named.get(row.seq, set())) for row in rows),
    )
