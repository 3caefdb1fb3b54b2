"""What every broker tells of who is present."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from backchannel.broker.broker import Envelope

Make = Callable[..., Envelope]

CHANNEL = "chat:lobby"
OTHER = "chat:kitchen"


async def test_a_first_connection_is_told(end: Any) -> None:
    """Who comes is told to who listens, with since when and how many there are then."""
    await end.broker.listen(CHANNEL)
    before = int(time.time() * 1000)

    await end.broker.enter(CHANNEL, "alice", "c1")

    await end.told(CHANNEL, joined={"alice"})
    (change,) = end.changes
    (alice,) = change.joined
    assert change.count == 1
    assert before - 1000 <= alice.since <= int(time.time() * 1000) + 1000
    state = await end.broker.presence(CHANNEL)
    assert (state.members, state.revision, state.settling) == ([alice], change.revision, 0)


async def test_further_connections_of_a_user_are_not_told(end: Any) -> None:
    """A user with many connections is present once, until the last one is gone."""
    await end.broker.listen(CHANNEL)
    await end.broker.enter(CHANNEL, "alice", "c1")
    await end.broker.enter(CHANNEL, "alice", "c2")
    await end.broker.leave(CHANNEL, "alice", "c1")
    await end.broker.enter(CHANNEL, "bob", "c3")
    await end.told(CHANNEL, joined={"alice", "bob"})

    await end.broker.leave(CHANNEL, "alice", "c2")
    await end.told(CHANNEL, joined={"alice", "bob"}, left={"alice"})

    assert [change.count for change in end.changes] == [1, 2, 1]
    assert await end.users(CHANNEL) == ["bob"]


async def test_a_user_leaves_when_the_grace_is_over(end: Any) -> None:
    """Until then the user counts as present; then it is told, with the next revision."""
    await end.broker.listen(CHANNEL)
    await end.broker.enter(CHANNEL, "alice", "c1")

    await end.broker.leave(CHANNEL, "alice", "c1")

    assert await end.users(CHANNEL) == ["alice"]
    await end.told(CHANNEL, joined={"alice"}, left={"alice"})
    joined, left = end.changes
    assert (left.revision, left.count) == (joined.revision + 1, 0)
    assert await end.users(CHANNEL) == []


async def test_who_is_back_within_the_grace_was_never_gone(end: Any) -> None:
    """Nothing is told of a user who comes back in time, and since when stays."""
    await end.broker.listen(CHANNEL)
    await end.broker.enter(CHANNEL, "alice", "c1")
    await end.broker.enter(CHANNEL, "bob", "c2")
    await end.told(CHANNEL, joined={"alice", "bob"})
    before = (await end.broker.presence(CHANNEL)).members

    await asyncio.gather(end.broker.leave(CHANNEL, "alice", "c1"), end.broker.enter(CHANNEL, "alice", "c3"))
    # Whoever left after alice is gone when alice would be.
    await end.broker.leave(CHANNEL, "bob", "c2")
    await end.told(CHANNEL, joined={"alice", "bob"}, left={"bob"})

    assert (await end.broker.presence(CHANNEL)).members == [member for member in before if member.user == "alice"]


async def test_many_who_come_at_once_are_all_told(end: Any) -> None:
    """Counts and revisions are right however many come in one tick, and the list has everybody."""
    await end.broker.listen(CHANNEL)
    users = {f"user-{n}" for n in range(600)}

    await asyncio.gather(*[end.broker.enter(CHANNEL, user, f"c-{user}") for user in users])

    await end.told(CHANNEL, joined=users)
    revisions = [change.revision for change in end.changes]
    assert revisions == list(range(revisions[0], revisions[0] + len(revisions)))
    count = 0
    for change in end.changes:
        count += len(change.joined)
        assert change.count == count
    assert await end.users(CHANNEL) == sorted(users)


async def test_changes_are_told_where_the_channel_is_listened_to(end: Any) -> None:
    """What happens in other channels is not told, and channels do not mix."""
    await end.broker.listen(CHANNEL)

    await end.broker.enter(OTHER, "bob", "c1")
    await end.broker.enter(CHANNEL, "alice", "c1")

    await end.told(CHANNEL, joined={"alice"})
    assert {change.channel for change in end.changes} == {CHANNEL}
    assert await end.users(OTHER) == ["bob"]


async def test_leaving_what_was_not_entered_changes_nothing(end: Any) -> None:
    """A connection that is not there cannot leave, and one that left cannot leave again."""
    await end.broker.listen(CHANNEL)
    await end.broker.leave(CHANNEL, "alice", "c1")
    await end.broker.enter(CHANNEL, "alice", "c2")
    await end.broker.leave(CHANNEL, "alice", "c1")
    await end.broker.leave(CHANNEL, "bob", "c2")
    await end.broker.enter(CHANNEL, "bob", "c4")
    await end.broker.leave(CHANNEL, "bob", "c4")
    await end.broker.leave(CHANNEL, "bob", "c4")
    await end.told(CHANNEL, joined={"alice", "bob"}, left={"bob"})

    assert await end.users(CHANNEL) == ["alice"]


async def test_nobody_is_present_where_nobody_was(end: Any) -> None:
    """An empty channel has revision 0 and no members."""
    state = await end.broker.presence(CHANNEL)

    assert (state.revision, state.members, state.settling) == (0, [], 0)


async def test_presence_and_events_of_a_channel_do_not_disturb_each_other(end: Any, event: Make) -> None:
    """Both travel the same way, in order."""
    await end.broker.listen(CHANNEL)

    end.broker.publish([event(CHANNEL, 1)])
    await end.broker.enter(CHANNEL, "alice", "c1")
    end.broker.publish([event(CHANNEL, 2)])

    assert [e.data for e in await end.events(CHANNEL, 2)] == [b'{"n":1}', b'{"n":2}']
    await end.told(CHANNEL, joined={"alice"})
