"""Invitations and join links."""

from __future__ import annotations

import asyncio
from typing import Any

from backchannel import chat
from backchannel.chat.channels.links import MAX_LINKS
from backchannel.testing import Sandbox


async def test_an_invitation_is_accepted(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """Who is invited is told, sees it in their list, and becomes a member by accepting; who invited hears of it."""
    channel = await new_channel("alice", "bob", public=False)
    bob, carol = await people("bob", "carol")
    asked = await bob.call("member.invite", {"channel": channel, "users": ["carol", "alice", "carol"]})
    assert asked["invited"] == ["carol"]
    assert (await bob.call("member.invite", {"channel": channel, "users": ["carol"]}))["invited"] == []
    page = await carol.call("invitation.list", {"total": True})
    (invitation,) = page["invitations"]
    assert (invitation["channel"], invitation["name"], invitation["by"], page["total"]) == (channel, "Tea", "bob", 1)
    assert (await bob.call("invitation.list", {"channel": channel}))["invitations"] == [invitation]
    await refused(carol.call("channel.join", {"channel": channel}), "not_found")
    info = await carol.call("invitation.accept", {"channel": channel})
    assert (info["mine"]["role"], info["members"]) == ("member", 3)
    assert await carol.call("invitation.accept", {"channel": channel}) == info
    assert (await carol.call("invitation.list", {}))["invitations"] == []
    assert [event.name for event in box.events("user:carol")] == [
        "invitation.created",
        "channel.added",
        "invitation.ended",
    ]
    assert [(e.user, e.accepted) for e in box.events("user:bob", chat.InvitationAnswered)] == [("carol", True)]


async def test_an_invitation_by_a_blocked_user_is_not_told(box: Sandbox, people: Any, new_channel: Any) -> None:
    """Who has blocked the one that invites neither hears nor sees of it; who invites cannot tell the difference."""
    channel = await new_channel("alice", "bob", public=False)
    bob, carol, dan = await people("bob", "carol", "dan")
    await carol.call("user.block", {"user": "bob"})
    asked = await bob.call("member.invite", {"channel": channel, "users": ["carol", "dan"]})
    assert asked["invited"] == ["carol", "dan"]
    assert len((await bob.call("invitation.list", {"channel": channel}))["invitations"]) == 2
    assert "invitation.created" not in [event.name for event in box.events("user:carol")]
    assert (await carol.call("invitation.list", {"total": True}))["total"] == 0
    assert len((await dan.call("invitation.list", {}))["invitations"]) == 1
    await carol.call("user.unblock", {"user": "bob"})
    assert len((await carol.call("invitation.list", {}))["invitations"]) == 1


async def test_an_invitation_is_declined_or_withdrawn(
    box: Sandbox, people: Any, new_channel: Any, refused: Any
) -> None:
    """Both end it; then there is nothing to accept, and the channel is as unknown as before."""
    channel = await new_channel("alice", "bob", "ben", public=False)
    alice, bob, ben, carol = await people("alice", "bob", "ben", "carol")
    await bob.call("member.invite", {"channel": channel, "users": ["carol", "dan"]})
    await carol.call("invitation.decline", {"channel": channel})
    await refused(carol.call("invitation.accept", {"channel": channel}), "not_found")
    await refused(carol.call("invitation.decline", {"channel": channel}), "not_found")
    assert [(e.user, e.accepted) for e in box.events("user:bob", chat.InvitationAnswered)] == [("carol", False)]
    await refused(
        ben.call("invitation.withdraw", {"channel": channel, "user": "dan"}), "forbidden", action="member.add"
    )
    await alice.call("invitation.withdraw", {"channel": channel, "user": "dan"})
    await alice.call("invitation.withdraw", {"channel": channel, "user": "dan"})
    assert [event.name for event in box.events("user:dan")] == ["invitation.created", "invitation.ended"]
    assert (await alice.call("invitation.list", {"channel": channel}))["invitations"] == []


async def test_who_may_not_invite_is_refused(people: Any, operate: Any, new_channel: Any, refused: Any) -> None:
    """The permission is asked; a banned user is left out; becoming a member another way ends the invitation."""
    channel = await new_channel("alice", "bob")
    alice, bob, carol = await people("alice", "bob", "carol")
    await alice.call("permission.change", {"channel": channel, "permissions": {"member": {"member.invite": False}}})
    await refused(
        bob.call("member.invite", {"channel": channel, "users": ["carol"]}), "forbidden", action="member.invite"
    )
    await operate("ban.add", {"channel": channel, "user": "dan"})
    answer = await alice.call("member.invite", {"channel": channel, "users": ["dan", "carol"]})
    assert answer["invited"] == ["carol"]
    await carol.call("channel.join", {"channel": channel})
    assert (await carol.call("invitation.list", {}))["invitations"] == []


async def test_accepting_and_withdrawing_at_once(people: Any, new_channel: Any) -> None:
    """One of them comes first: the user is a member, or was told that there is nothing; never both, never neither."""
    channel = await new_channel("alice", public=False)
    alice, bob = await people("alice", "bob")
    await alice.call("member.invite", {"channel": channel, "users": ["bob"]})
    answers: Any = await asyncio.gather(
        bob.call("invitation.accept", {"channel": channel}),
        alice.call("invitation.withdraw", {"channel": channel, "user": "bob"}),
        return_exceptions=True,
    )
    members = (await alice.call("channel.members", {"channel": channel}))["members"]
    assert ("bob" in {member["user"] for member in members}) is isinstance(answers[0], dict)
    assert (await bob.call("invitation.list", {}))["invitations"] == []


async def test_invitations_are_paged(people: Any, new_channel: Any) -> None:
    """The newest first, in pages that join in both directions."""
    (bob,) = await people("bob")
    for n in range(5):
        channel = await new_channel("alice", id=f"c{n}", public=False)
        (alice,) = await people("alice")
        await alice.call("member.invite", {"channel": channel, "users": ["bob"]})
    first = await bob.call("invitation.list", {"limit": 2})
    second = await bob.call("invitation.list", {"limit": 2, "cursor": first["next"]})
    back = await bob.call("invitation.list", {"limit": 2, "cursor": second["previous"]})
    assert [one["channel"] for one in first["invitations"] + second["invitations"]] == [
        "chat:c4",
        "chat:c3",
        "chat:c2",
        "chat:c1",
    ]
    assert back["invitations"] == first["invitations"]


async def test_a_link_lets_in_whoever_has_it(people: Any, new_channel: Any, refused: Any) -> None:
    """`link.look` tells where it leads, `channel.join` with it makes a member; joining again uses nothing up."""
    channel = await new_channel("alice", "bob", public=False, topic="Green")
    alice, bob, eve = await people("alice", "bob", "eve")
    await refused(bob.call("link.create", {"channel": channel}), "forbidden", action="member.link")
    link = await alice.call("link.create", {"channel": channel})
    assert (link["uses"], link["used"], link["expires"], link["role"], link["by"]) == (0, 0, 0, "member", "alice")
    seen = await eve.call("link.look", {"code": link["code"]})
    assert seen == {
        "channel": channel,
        "name": "Tea",
        "type": "group",
        "members": 2,
        "joined": False,
        "topic": "Green",
    }
    for _ in range(2):
        info = await eve.call("channel.join", {"channel": seen["channel"], "link": link["code"]})
        assert info["members"] == 3
    assert (await eve.call("link.look", {"code": link["code"]}))["joined"]
    (listed,) = (await alice.call("link.list", {"channel": channel}))["links"]
    assert listed == {**link, "used": 1}
    await refused(bob.call("link.list", {"channel": channel}), "forbidden", action="member.link")


async def test_a_link_ends(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """By its time, its uses or a revocation; then it is as good as none, and nobody learns of the channel by it."""
    channel = await new_channel("alice", public=False)
    other = await new_channel("alice", public=False)
    alice, bob, eve = await people("alice", "bob", "eve")

    async def ended(code: str) -> None:
        await refused(eve.call("link.look", {"code": code}), "not_found")
        error = await refused(eve.call("channel.join", {"channel": channel, "link": code}), "not_found")
        nowhere = await refused(eve.call("channel.join", {"channel": "chat:nowhere", "link": code}), "not_found")
        assert error.message.replace(channel, "chat:nowhere") == nowhere.message

    await refused(alice.call("link.create", {"channel": channel, "expires": box.now}), "invalid")
    timed = await alice.call("link.create", {"channel": channel, "expires": box.now + 60_000})
    once = await alice.call("link.create", {"channel": channel, "uses": 1})
    revoked = await alice.call("link.create", {"channel": channel})
    foreign = await alice.call("link.create", {"channel": other})
    await refused(eve.call("channel.join", {"channel": channel, "link": foreign["code"]}), "not_found")
    await bob.call("channel.join", {"channel": channel, "link": once["code"]})
    await ended(once["code"])
    for _ in range(2):
        await alice.call("link.revoke", {"channel": channel, "code": revoked["code"]})
    await ended(revoked["code"])
    await box.advance(61)
    await ended(timed["code"])


async def test_a_link_for_one_lets_one_in(people: Any, new_channel: Any) -> None:
    """Several who use it at once: exactly one becomes a member."""
    channel = await new_channel("alice", public=False)
    (alice,) = await people("alice")
    code = (await alice.call("link.create", {"channel": channel, "uses": 1}))["code"]
    rivals = await people(*[f"user{n}" for n in range(8)])
    answers = await asyncio.gather(
        *(one.call("channel.join", {"channel": channel, "link": code}) for one in rivals), return_exceptions=True
    )
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert (await alice.call("channel.members", {"channel": channel, "total": True}))["total"] == 2


async def test_links_are_bounded_and_give_no_rank(box: Sandbox, people: Any, new_channel: Any, refused: Any) -> None:
    """No link makes owners; one with a rank needs the right to give it; those that ended make room for others."""
    channel = await new_channel("alice", "mia")
    alice, mia = await people("alice", "mia")
    await alice.call("member.set_role", {"channel": channel, "user": "mia", "role": "moderator"})
    await refused(alice.call("link.create", {"channel": channel, "role": "owner"}), "invalid", reason="role")
    await refused(mia.call("link.create", {"channel": channel, "role": "moderator"}), "forbidden", action="member.role")
    for _ in range(MAX_LINKS):
        await mia.call("link.create", {"channel": channel, "expires": box.now + 1000})
    await refused(mia.call("link.create", {"channel": channel}), "conflict", reason="links")
    await box.advance(2)
    await mia.call("link.create", {"channel": channel})
    assert len((await mia.call("link.list", {"channel": channel}))["links"]) == 1


async def test_what_moderators_said_holds_for_who_comes_back(
    people: Any, operate: Any, new_channel: Any, send: Any, refused: Any
) -> None:
    """Neither leaving and joining, nor a link, nor an invitation sheds a silence or lifts a ban."""
    channel = await new_channel("alice", "bob")
    alice, bob = await people("alice", "bob")
    code = (await alice.call("link.create", {"channel": channel}))["code"]
    await operate("silence.add", {"channel": channel, "user": "bob"})
    await bob.call("channel.leave", {"channel": channel})
    await bob.call("channel.join", {"channel": channel, "link": code})
    await refused(send("bob", channel), "forbidden", reason="silenced")
    await alice.call("member.invite", {"channel": channel, "users": ["eve"]})
    await operate("ban.add", {"channel": channel, "user": "eve"})
    (eve,) = await people("eve")
    await refused(eve.call("channel.join", {"channel": channel, "link": code}), "forbidden", reason="banned")
    await refused(eve.call("invitation.accept", {"channel": channel}), "forbidden", reason="banned")
