"""Erasing a user: nothing of them is left in chat's tables, and everybody else keeps what is theirs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from backchannel import chat
from backchannel.chat.channels.tables import invitations
from backchannel.chat.data.tables import erasures
from backchannel.chat.messages.tables import reaction_counts, reactions
from backchannel.chat.personal.tables import poll_votes
from backchannel.chat.tables import channels, members, messages
from backchannel.testing import Sandbox
from backchannel.testing.life import KillPoint

Lived = Callable[[], Awaitable[str]]
Traces = Callable[..., list[str]]


def _named(found: list[str]) -> list[str]:
    """Without what is about another user, whose name only begins so."""
    return [one for one in found if "ursula" in one.replace("ursula2", "")]


async def _erased(box: Sandbox, operate: Any, erasure: dict[str, Any]) -> dict[str, Any]:
    for _ in range(20):
        await box.advance(10)
        now: dict[str, Any] = await operate("erasure.get", {"id": erasure["id"]})
        if "finished" in now:
            return now
    raise AssertionError("It does not finish.")


async def test_the_space_has_traces_of_all_kinds(box: Sandbox, lived: Lived, traces: Traces) -> None:
    """What the following tests look for is there before: in every column that the ledger names for users."""
    from backchannel.chat.data.ledger import LEDGER

    await lived()
    places = {one.split(":")[0] for one in _named(traces("ursula"))}
    # What nobody does here: waiting for an act that holds everywhere, speaking without being a member, files' bytes.
    wanted = {f"{entry.table.name}.{column}" for entry in LEDGER for column in (*entry.users, *entry.nested)}
    rare = {"chat_settling", "chat_paces", "chat_files", "chat_typing", "chat_erasures", "chat_retention", "chat_holds"}
    rare |= {"chat_restraints.by", "chat_bans", "chat_filters", "chat_cases.claimed_by", "chat_cases.resolved_by"}
    rare |= {"chat_cases.content", "chat_acts.after"}
    lacking = {one for one in wanted - places if one not in rare and one.split(".")[0] not in rare}
    assert not lacking


async def test_anonymised(box: Sandbox, lived: Lived, traces: Traces, operate: Any) -> None:
    """The name goes from every table; what was said stays, as a ghost's whom nobody knows."""
    channel = await lived()
    told = box.rows(sa.select(messages.c.text).where(messages.c.channel == channel))
    erasure = await operate("user.erase", {"user": "ursula"})
    done = await _erased(box, operate, erasure)
    assert _named(traces("ursula", "Ursula")) == []
    assert done["rows"] > 30
    left = {one.split(":")[0] for one in traces("marmalade")}
    assert left == {"chat_messages.text", "chat_cases.content", "chat_acts.before"}
    now = box.rows(sa.select(messages.c.text).where(messages.c.channel == channel))
    assert [row.text.replace(done["ghost"], "ursula") for row in now] == [row.text for row in told]
    events = box.events(channel, chat.MessagesAnonymised)
    assert {event.user for event in events} == {done["ghost"]}
    of_ghost = (messages.c.channel == channel, messages.c.user == done["ghost"], messages.c.deleted.is_(None))
    theirs = box.rows(sa.select(messages.c.seq).where(*of_ghost))
    assert sorted(seq for event in events for seq in event.seqs) == [row.seq for row in theirs]
    votes = box.rows(sa.select(poll_votes.c.user))
    assert [row.user for row in votes] == [done["ghost"]]


async def test_deleted(box: Sandbox, lived: Lived, traces: Traces, operate: Any) -> None:
    """With `delete` what was said goes as well, from forwards, reports, reactions and the search, too."""
    channel = await lived()
    erasure = await operate("user.erase", {"user": "ursula", "messages": "delete"})
    await _erased(box, operate, erasure)
    found = [one for one in traces("ursula", "Ursula", "marmalade") if "ursula2" not in one]
    assert found == []
    counts = box.rows(sa.select(reaction_counts.c.seq, reaction_counts.c.emoji, reaction_counts.c.number))
    rows = box.rows(sa.select(reactions.c.user, reactions.c.emoji))
    assert [(row.seq, row.emoji, row.number) for row in counts] == [(1, "🎈", 1)]
    assert [(row.user, row.emoji) for row in rows] == [("bob", "🎈")]
    bob = await box.client("bob")
    assert (await bob.call("message.search", {"q": "marmalade"}))["hits"] == []
    assert len((await bob.call("message.search", {"q": "polite", "channels": [channel]}))["hits"]) == 1


async def test_what_the_others_keep(box: Sandbox, lived: Lived, operate: Any) -> None:
    """Channels have an owner and the right number of members; unread counts are what a fresh look says."""
    channel = await lived()
    erasure = await operate("user.erase", {"user": "ursula", "messages": "delete"})
    await _erased(box, operate, erasure)
    for row in box.rows(sa.select(channels.c.channel, channels.c.member_count, channels.c.type)):
        there = box.rows(sa.select(members.c.role).where(members.c.channel == row.channel))
        assert row.member_count == len(there)
        assert row.type == "direct" or "owner" in {one.role for one in there}
    assert [row.by for row in box.rows(sa.select(invitations.c.by))] == [erasure["ghost"]]
    mod = await box.client("mod")
    (unread,) = (await mod.call("unread.get", {"channels": [channel]}))["channels"]
    page = await mod.call("message.list", {"channel": channel, "limit": 100})
    said = [one for one in page["messages"] if "deleted" not in one and one["user"] != "mod" and "parent" not in one]
    assert unread.get("unread", 0) == len(said)


async def test_it_goes_on_after_a_crash(box: Sandbox, lived: Lived, traces: Traces, operate: Any) -> None:
    """Wherever the worker is killed, the job goes on with the next one, to the same end."""
    await lived()
    erasure = await operate("user.erase", {"user": "ursula", "messages": "delete"})
    points: list[KillPoint] = ["handled", "committed"] * 6
    for point in points:
        box.worker.kill_at(point)
        await box.advance(11)
        box.worker.kill()
        await box.worker.start()
    done = await _erased(box, operate, erasure)
    assert _named(traces("ursula")) == []
    assert done["rows"] > 10


async def test_again_changes_nothing(box: Sandbox, lived: Lived, operate: Any) -> None:
    """A repeat while it runs gives the same erasure; one behind it finds nothing, and changes nobody's rows."""
    await lived()
    first = await operate("user.erase", {"user": "ursula"})
    assert (await operate("user.erase", {"user": "ursula", "messages": "delete"})) == first
    await _erased(box, operate, first)
    before = box.rows(sa.select(messages)), box.rows(sa.select(members))
    again = await operate("user.erase", {"user": "ursula"})
    done = await _erased(box, operate, again)
    assert (done["id"] != first["id"], done["rows"]) == (True, 1)  # the profile that said that they may not come
    assert (box.rows(sa.select(messages)), box.rows(sa.select(members))) == before
    assert [row.user for row in box.rows(sa.select(erasures.c.user))] == ["", ""]


async def test_who_may_erase(
    box: Sandbox, operate: Any, refused: Callable[..., Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operators may; users themselves where the app says so; nobody else, and only operators follow it."""
    alice, bob = await box.client("alice"), await box.client("bob")
    await refused(alice.call("user.erase", {"user": "bob"}), "forbidden", reason="operators")
    await refused(alice.call("user.erase", {"user": "alice"}), "forbidden", reason="operators")
    await refused(alice.call("erasure.get", {"id": "x"}), "forbidden")
    await refused(operate("erasure.get", {"id": "x"}), "not_found")
    monkeypatch.setattr("backchannel.chat.data.policy._rules", chat.DataRules(erase=True))
    await refused(bob.call("user.erase", {"user": "alice"}), "forbidden", reason="operators")
    assert (await alice.call("user.erase", {"user": "alice"}))["ghost"].startswith("erased-")


async def test_a_legal_hold_keeps_it_waiting(
    box: Sandbox, lived: Lived, traces: Traces, operate: Any, refused: Callable[..., Awaitable[Any]]
) -> None:
    """What is on hold stays until the hold ends; the rest goes, and the erasure says what it waits for."""
    channel = await lived()
    bob = await box.client("bob")
    await refused(bob.call("hold.set", {"channel": channel, "held": True}), "forbidden")
    await refused(operate("hold.set", {"channel": "chat:none", "held": True}), "not_found")
    await operate("hold.set", {"channel": channel, "held": True, "reason": "case 7"})
    assert [one["reason"] for one in (await operate("hold.list"))["holds"]] == ["case 7"]
    erasure = await operate("user.erase", {"user": "ursula", "messages": "delete"})
    await box.advance(30)
    now = await operate("erasure.get", {"id": erasure["id"]})
    assert (now["held"], "finished" in now) == (True, False)
    kept = box.rows(sa.select(messages.c.channel).where(messages.c.user == "ursula").distinct())
    assert [row.channel for row in kept] == [channel]
    await operate("hold.set", {"channel": channel, "held": False})
    await _erased(box, operate, erasure)
    assert _named(traces("ursula")) == []


async def test_a_big_user_goes_in_chunks(box: Sandbox, new_channel: Any, send: Any, operate: Any) -> None:
    """Many messages go some hundred at a time; listeners are told once per chunk, never per message."""
    channel = await new_channel("ursula", "bob")
    for number in range(450):
        await send("ursula", channel, f"message {number}")
    erasure = await operate("user.erase", {"user": "ursula", "messages": "delete"})
    await _erased(box, operate, erasure)
    told = box.events(channel, chat.MessagesExpired)
    assert [len(event.seqs) for event in told] == [200, 200, 50]
