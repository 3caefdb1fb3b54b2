"""Members: how they come and go, what they are, and that a channel with an owner keeps one."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backchannel import chat
from backchannel.chat import app
from backchannel.chat.tables import channels, members
from backchannel.testing import Sandbox, run
from backchannel_protocol import Refused


async def roles(client: Any, channel: str) -> dict[str, str]:
    """Who is what in a channel."""
    page = await client.call("channel.members", {"channel": channel})
    return {member["user"]: member["role"] for member in page["members"]}


async def test_joining_is_told_and_counted(box: Sandbox, people: Any, new_channel: Any, send: Any) -> None:
    """Who joins has read what was said; the channel hears who came and how many there are; joining twice is joining."""
    channel = await new_channel("alice")
    await send("alice", channel)
    bob, other = await people("bob", "bob")
    infos = [await one.call("channel.join", {"channel": channel}) for one in (bob, other)]
    assert infos[0] == infos[1]
    assert infos[0]["members"] == 2
    assert infos[0]["mine"] == {"role": "member", "joined": box.now, "read_seq": 1}
    assert [(e.user, e.members, e.by) for e in box.events(channel, chat.MemberJoined)] == [
        ("alice", 1, ""),
        ("bob", 2, ""),
    ]
    assert [event.name for event in box.events("user:bob")] == ["channel.added"]
    await send("alice", channel)
    assert (await bob.call("channel.list", {}))["channels"][0]["mine"]["unread"] == 1


async def test_many_who_come_and_go_at_once_are_counted_right(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Whatever joins, leaves, adds and removals race: the count is that of the rows, and so is the last event's."""
    channel = await new_channel("alice")
    (alice,) = await people("alice")
    users = await people(*[f"user{n}" for n in range(12)])
    joins = [user.call("channel.join", {"channel": channel}) for user in users for _ in range(2)]
    leaves = [user.call("channel.leave", {"channel": channel}) for user in users[::2]]
    adds = [alice.call("member.add", {"channel": channel, "users": [f"user{n}", "zoe"]}) for n in range(0, 12, 3)]
    await asyncio.gather(*joins, *leaves, *adds, alice.call("member.remove", {"channel": channel, "users": ["user1"]}))
    page = await alice.call("channel.members", {"channel": channel, "total": True})
    info = (await alice.call("channel.get", {"channel": channel}))["info"]
    assert info["members"] == page["total"] == len(page["members"])
    heard = [event for event in box.events(channel) if event.name in ("member.joined", "member.left")]
    assert heard[-1].data["members"] == info["members"]
    there: set[str] = set()
    for event in heard:
        (there.add if event.name == "member.joined" else there.remove)(event.data["user"])
    assert there == {member["user"] for member in page["members"]}


async def test_history_begins_where_one_joined(people: Any, operate: Any, new_channel: Any, send: Any) -> None:
    """Where the rules say so, neither messages, nor the log, nor counts tell what was said before."""
    channel = await new_channel("alice")
    alice, bob = await people("alice", "bob")
    await alice.call("permission.change", {"channel": channel, "features": {"history": "joined"}})
    await send("alice", channel, "before")
    info = await bob.call("channel.join", {"channel": channel})
    assert info["mine"]["history_from"] == 1
    await send("alice", channel, "after")
    assert [m["text"] for m in (await bob.call("message.list", {"channel": channel}))["messages"]] == ["after"]
    async with bob.subscribe(channel):
        log = await bob.history(channel, limit=100)
    assert [event.data["text"] for event in log.events if event.name == "message.created"] == ["after"]
    (listed,) = (await bob.call("channel.list", {}))["channels"]
    assert (listed["mine"]["unread"], listed["last"]["text"]) == (1, "after")


async def test_members_are_added_all_or_none(people: Any, new_channel: Any, operate: Any, refused: Any) -> None:
    """Who is one stays as they are; a banned one, too many, a wrong role or the lack of a right adds nobody."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")

    def add(client: Any, *users: str, **more: Any) -> Any:
        return client.call("member.add", {"channel": channel, "users": list(users), **more})

    await refused(add(bob, "carol"), "forbidden", action="member.add")
    answer = await add(alice, "carol", "bob", "carol")
    assert (answer["members"], [member["user"] for member in answer["added"]]) == (3, ["carol"])
    assert (await add(alice, "carol"))["added"] == []
    await refused(add(alice, "dan", role="king"), "invalid", reason="role")
    await refused(add(alice, "dan", role="outsider"), "invalid", reason="role")
    assert (await add(alice, "mia", role="moderator"))["added"][0]["role"] == "moderator"
    (mia,) = await people("mia")
    await refused(add(mia, "dan", role="moderator"), "forbidden", action="member.role")
    await operate("ban.add", {"channel": channel, "user": "dan", "reason": "x"})
    await refused(add(mia, "eric", "dan"), "conflict", reason="banned", users=["dan"])
    await alice.call("permission.change", {"channel": channel, "features": {"members": 5}})
    await refused(add(mia, "eric", "fay"), "conflict", reason="full", limit=5)
    assert set(await roles(alice, channel)) == {"alice", "bob", "carol", "mia"}
    await add(mia, "eric")
    (fay,) = await people("fay")
    await refused(fay.call("channel.join", {"channel": channel}), "conflict", reason="full")


async def test_removing_respects_rank(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """Moderators take out members, not each other nor the owner; who is out hears it and listens no more."""
    channel = await new_channel("alice", "bob", "mia", "max")
    alice, bob, mia = await people("alice", "bob", "mia")
    for user in ("mia", "max"):
        await alice.call("member.set_role", {"channel": channel, "user": user, "role": "moderator"})

    def remove(client: Any, *users: str) -> Any:
        return client.call("member.remove", {"channel": channel, "users": list(users)})

    await refused(remove(bob, "mia"), "forbidden", action="member.remove")
    for user in ("max", "alice"):
        await refused(remove(mia, "bob", user), "forbidden", reason="rank", user=user)
    assert len(await roles(alice, channel)) == 4
    async with bob.subscribe(channel) as sub:
        answer = await remove(mia, "bob", "nobody")
        assert (answer["removed"], answer["members"]) == (["bob"], 3)
        event = await anext(sub)
        assert (event.name, event.data["by"], event.data["members"]) == ("member.left", "mia", 3)
    await refused(bob.call("message.send", {"channel": channel, "text": "x"}), "forbidden", reason="not_member")
    assert (await remove(mia, "bob"))["removed"] == []
    assert (await remove(alice, "max"))["removed"] == ["max"]
    assert [event.name for event in box.events("user:bob")][-1] == "channel.removed"


async def test_an_owner_who_leaves_has_an_heir(people: Any, new_channel: Any) -> None:
    """A moderator before a member before a guest, then who is there longest; another owner makes it needless."""
    channel = await new_channel("alice", "bob", "carol", "mia")
    alice, mia, bob, carol = await people("alice", "mia", "bob", "carol")
    await alice.call("member.set_role", {"channel": channel, "user": "mia", "role": "moderator"})
    await alice.call("member.set_role", {"channel": channel, "user": "bob", "role": "guest"})
    await alice.call("channel.leave", {"channel": channel})
    assert await roles(mia, channel) == {"bob": "guest", "carol": "member", "mia": "owner"}
    await mia.call("member.set_role", {"channel": channel, "user": "bob", "role": "owner"})
    await mia.call("channel.leave", {"channel": channel})
    assert await roles(bob, channel) == {"bob": "owner", "carol": "member"}
    await bob.call("channel.leave", {"channel": channel})
    await carol.call("channel.leave", {"channel": channel})
    assert (await carol.call("channel.get", {"channel": channel}))["info"]["members"] == 0


async def test_roles_are_given_by_those_above(people: Any, new_channel: Any, operate: Any, refused: Any) -> None:
    """Only owners make owners or touch those who may change roles; an only owner cannot step down; roles must exist."""
    channel = await new_channel("alice", "bob", "mia")
    alice, bob, mia = await people("alice", "bob", "mia")

    def give(client: Any, user: str, role: str) -> Any:
        return client.call("member.set_role", {"channel": channel, "user": user, "role": role})

    await refused(give(bob, "bob", "owner"), "forbidden", action="member.role")
    await refused(give(alice, "bob", "king"), "invalid", reason="role")
    await refused(give(alice, "zoe", "guest"), "not_found", reason="not_member")
    await refused(give(alice, "alice", "member"), "conflict", reason="last_owner")
    await alice.call("permission.change", {"channel": channel, "permissions": {"moderator": {"member.role": True}}})
    await give(alice, "mia", "moderator")
    await refused(give(mia, "bob", "owner"), "forbidden", reason="rank")
    await refused(give(mia, "alice", "guest"), "forbidden", reason="rank")
    assert (await give(mia, "bob", "moderator"))["role"] == "moderator"
    await refused(give(mia, "bob", "member"), "forbidden", reason="rank")
    await give(alice, "bob", "owner")
    await give(bob, "alice", "guest")
    assert await roles(bob, channel) == {"alice": "guest", "bob": "owner", "mia": "moderator"}


async def test_a_channel_is_handed_over(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """The new owner owns it, the old one moderates; others cannot, and only a member can be given it."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    await refused(bob.call("channel.transfer", {"channel": channel, "user": "bob"}), "forbidden", reason="role")
    await refused(alice.call("channel.transfer", {"channel": channel, "user": "zoe"}), "not_found")
    assert (await alice.call("channel.transfer", {"channel": channel, "user": "bob"}))["role"] == "owner"
    assert await roles(bob, channel) == {"alice": "moderator", "bob": "owner"}
    told = [(event.user, event.role) for event in box.events(channel, chat.MemberUpdated)]
    assert told == [("alice", "moderator"), ("bob", "owner")]
    again = await refused(alice.call("channel.transfer", {"channel": channel, "user": "bob"}), "forbidden")
    assert again.details == {"reason": "role"}


async def test_a_role_that_may_not_read_hears_nothing(people: Any, new_channel: Any, refused: Any) -> None:
    """Who gets such a role is unsubscribed with the event that tells it."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    await alice.call("permission.change", {"channel": channel, "permissions": {"mute": {"message.send": True}}})
    async with bob.subscribe(channel) as sub:
        await alice.call("member.set_role", {"channel": channel, "user": "bob", "role": "mute"})
        await alice.call("message.send", {"channel": channel, "text": "secret"})
        assert (await anext(sub)).name == "member.updated"
        await refused(anext(sub), "forbidden")
    await refused(bob.call("message.list", {"channel": channel}), "forbidden", action="channel.read")


async def test_data_of_a_member(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """Members keep their own, moderators anybody's; keys merge; what changes nothing is not told."""
    channel = await new_channel("alice", "bob", "carol")
    alice, bob = await people("alice", "bob")
    first = await bob.call("member.update", {"channel": channel, "data": {"nick": "Bo", "x": 1}})
    assert first["data"] == {"nick": "Bo", "x": 1}
    await refused(bob.call("member.update", {"channel": channel, "user": "carol", "data": {}}), "forbidden")
    again = await alice.call("member.update", {"channel": channel, "user": "bob", "data": {"x": None}})
    assert again["data"] == {"nick": "Bo"}
    await bob.call("member.update", {"channel": channel, "data": {"nick": "Bo"}})
    assert [event.data for event in box.events(channel, chat.MemberUpdated)] == [{"nick": "Bo", "x": 1}, {"nick": "Bo"}]
    await refused(bob.call("member.update", {"channel": channel, "data": {"a": "x" * 6000}}), "too_large")


async def test_members_are_paged_both_ways(people: Any, new_channel: Any, refused: Any) -> None:
    """Pages join without seam in both directions, also while others come; total, role and prefix count alike."""
    names = [f"user{n:02}" for n in range(25)]
    channel = await new_channel("alice", *names)
    (alice,) = await people("alice")

    async def page(**data: Any) -> tuple[list[str], Any]:
        answer = await alice.call("channel.members", {"channel": channel, "limit": 10, **data})
        return [member["user"] for member in answer["members"]], answer

    everybody = ["alice", *names]
    first, answer = await page(total=True)
    assert (first, answer["total"], answer.get("previous")) == (everybody[:10], 26, None)
    await alice.call("member.add", {"channel": channel, "users": ["aaa"]})
    second, answer = await page(cursor=answer["next"])
    assert second == everybody[10:20]
    back, earlier = await page(cursor=answer["previous"])
    assert back == everybody[:10]
    assert (await page(cursor=earlier["previous"]))[0] == ["aaa"]
    last, answer = await page(cursor=answer["next"])
    assert (last, answer.get("next")) == (everybody[20:], None)
    assert (await page(prefix="user1", total=True))[0] == names[10:20]
    assert (await page(roles=["owner"]))[0] == ["alice"]
    assert (await page(prefix="USER"))[0] == []
    await refused(page(cursor="nonsense"), "invalid")


PEOPLE = ["ann", "ben", "cat", "dan"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.sampled_from(["join", "leave", "add", "remove", "owner", "moderator", "member", "transfer"]),
        st.sampled_from(PEOPLE),
    ),
    min_size=6,
    max_size=20,
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_whatever_happens_somebody_owns_it(steps: list[tuple[str, str, str]]) -> None:
    """After any commands by anybody: as long as there are members one owns the channel; the stored count is right; and
    who follows the events knows the members and their roles."""

    async def main() -> None:
        async with Sandbox(app, burst=100_000, calls=100_000) as box:
            clients = {name: await box.client(name) for name in PEOPLE}
            channel = (await clients["ann"].call("channel.create", {"name": "Tea", "members": ["ben"]}))["channel"]

            async def step(who: str, what: str, whom: str) -> None:
                data: dict[str, Any] = {"channel": channel}
                name = f"channel.{what}"
                if what in ("add", "remove"):
                    name, data["users"] = f"member.{what}", [whom]
                elif what in ("owner", "moderator", "member"):
                    name, data["user"], data["role"] = "member.set_role", whom, what
                elif what == "transfer":
                    data["user"] = whom
                try:
                    await clients[who].call(name, data)
                except Refused as error:
                    if error.code not in ("forbidden", "not_found", "conflict"):
                        raise

            for first, second in zip(steps[::2], steps[1::2], strict=False):
                await asyncio.gather(step(*first), step(*second))
            rows = {row.user: row.role for row in box.rows(members.select().where(members.c.channel == channel))}
            assert not rows or "owner" in rows.values()
            (row,) = box.rows(channels.select().where(channels.c.channel == channel))
            assert row.member_count == len(rows)
            followed: dict[str, str] = {}
            for event in box.events(channel):
                user = event.data["user"]
                if event.name == "member.left":
                    del followed[user]
                else:
                    followed[user] = event.data.get("role", "member")
            assert followed == rows

    run(main)
