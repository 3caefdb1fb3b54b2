"""Workers that die, and requests and replies that are lost: one key, one effect."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest
import sqlalchemy as sa

from backchannel import Refused
from backchannel.testing import KillPoint, Sandbox

NOTES = sa.table("notes", sa.column("id"), sa.column("board"))
POINTS = get_args(KillPoint)


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_dies_and_the_effect_is_one(sandbox: Sandbox, point: KillPoint) -> None:
    """Wherever it dies, the command that is sent again with its key takes effect once, is answered, and is heard."""
    alice = await sandbox.client("alice")
    async with alice.subscribe("board:b") as sub:
        sandbox.worker.kill_at(point)
        asking = asyncio.create_task(
            alice.call("note.write", {"channel": "board:b", "text": "once"}, key="key-of-mine", timeout=60.0)
        )
        await sandbox.advance(0.01)
        assert not sandbox.worker.running
        assert not asking.done()
        committed = point in ("committed", "published")
        assert len(sandbox.rows(sa.select(NOTES))) == len(sandbox.events("board:b")) == committed
        await sandbox.worker.start()
        answer = await asking
        assert [row.id for row in sandbox.rows(sa.select(NOTES))] == [answer["id"]]
        assert (await anext(sub)).data == {"text": "once"}
        assert await alice.call("note.count") == 1
        await sandbox.advance(60)
    assert len(sandbox.events("board:b")) == 1


async def test_without_a_worker_it_is_said_at_once(sandbox: Sandbox) -> None:
    """`unavailable`, and nothing happened: no time-out is waited for. Later it works again."""
    alice = await sandbox.client("alice")
    sandbox.worker.kill()
    began = sandbox.now
    with pytest.raises(Refused) as refused:
        await alice.call("note.count")
    assert (refused.value.code, refused.value.outcome, sandbox.now) == ("unavailable", "none", began)
    with pytest.raises(RuntimeError, match="start"):
        sandbox.worker.kill_at("begun")
    with pytest.raises(RuntimeError, match="start"):
        _ = sandbox.worker.publisher
    await sandbox.worker.start()
    assert await alice.call("note.count") == 0


async def test_code_that_heeds_no_end_has_no_effect(sandbox: Sandbox) -> None:
    """A handler that swallows its cancelling goes on in a dead worker, and reaches nobody: its lane is free."""
    alice = await sandbox.client("alice")
    asking = asyncio.create_task(alice.call("note.think", {"seconds": 5.0}, key=None, timeout=20.0))
    await sandbox.advance(1)
    sandbox.worker.kill()
    await sandbox.worker.start()
    await alice.call("note.write", {"channel": "board:b", "text": "next"})
    with pytest.raises(Refused) as refused:
        await asking
    assert refused.value.outcome == "unknown"
    assert [row.board for row in sandbox.rows(sa.select(NOTES))] == ["board:b"]


async def test_a_graceful_stop_finishes_what_it_has_begun(sandbox: Sandbox) -> None:
    """As a deploy does: the batch in hand is committed and answered, what comes later is refused."""
    alice = await sandbox.client("alice")
    asking = asyncio.create_task(alice.call("note.think", {"seconds": 5.0}))
    await sandbox.advance(1)
    await sandbox.worker.stop()
    assert (await asking)["id"]
    with pytest.raises(Refused):
        await alice.call("note.count")
    await sandbox.worker.stop()
    await sandbox.worker.start()
    await sandbox.worker.start()
    assert await alice.call("note.count") == 1


async def test_jobs_end_with_their_worker(sandbox: Sandbox) -> None:
    """A dead worker's jobs beat no more; the next one's do."""
    await sandbox.advance(35)
    beats = len(sandbox.events("feed:beats"))
    assert beats == 4
    sandbox.worker.kill()
    await sandbox.advance(100)
    assert len(sandbox.events("feed:beats")) == beats
    await sandbox.worker.start()
    await sandbox.advance(35)
    assert len(sandbox.events("feed:beats")) == beats + 4


async def test_a_job_beats_once_per_beat(sandbox: Sandbox) -> None:
    """At whatever instant its worker began, though a float of seconds may fall just short of a beat."""
    for _ in range(100):
        sandbox.worker.kill()
        await sandbox.advance(sandbox.random.random())
        before = len(sandbox.events("feed:beats"))
        await sandbox.worker.start()
        await sandbox.advance(95)
        assert len(sandbox.events("feed:beats")) == before + 10


async def test_a_hub_goes_on_when_a_worker_dies(sandbox: Sandbox) -> None:
    """What a worker caused outside of itself does not die with it, such as the reading of a log."""
    alice = await sandbox.client("alice")
    async with alice.subscribe("board:b") as sub:
        sandbox.broker.drop()
        for number in range(3):
            await alice.call("note.write", {"channel": "board:b", "text": str(number)})
        sandbox.worker.kill()
        assert [(await anext(sub)).offset for _ in range(3)] == [1, 2, 3]


async def test_a_lost_commit_answer_is_an_unknown_outcome(sandbox: Sandbox) -> None:
    """The worker cannot tell; the client asks again with its key and learns that it has happened, once."""
    alice = await sandbox.client("alice")
    sandbox.worker.lose_commit_answer()
    await alice.call("note.write", {"channel": "board:b", "text": "once"})
    assert len(sandbox.events("board:b")) == 1


async def test_a_lost_reply_is_asked_for_again(sandbox: Sandbox) -> None:
    """The effect is one; a fault for one name leaves others alone."""
    alice = await sandbox.client("alice")
    fault = sandbox.relay.drop_reply(name="note.write")
    assert await alice.call("note.count") == 0
    began = sandbox.now
    await alice.call("note.write", {"channel": "board:b", "text": "once"})
    assert sandbox.now - began >= 10_000
    assert [request.name for request in fault.struck] == ["note.write"]
    assert len(sandbox.events("board:b")) == len(sandbox.rows(sa.select(NOTES))) == 1


async def test_a_lost_request_is_sent_again(sandbox: Sandbox) -> None:
    """It never reached the worker, and happens when it does."""
    alice = await sandbox.client("alice")
    sandbox.relay.drop_request(2)
    await alice.call("note.write", {"channel": "board:b", "text": "once"}, timeout=60.0)
    assert len(sandbox.events("board:b")) == 1


async def test_a_late_request_is_overtaken(sandbox: Sandbox) -> None:
    """The order of two lanes is nobody's promise; who gave up meanwhile is not asked for any more."""
    alice, bob = await sandbox.client("alice"), await sandbox.client("bob")
    sandbox.relay.delay(3.0, 2)
    late = asyncio.create_task(alice.call("note.write", {"channel": "board:a", "text": "late"}))
    given_up = asyncio.create_task(alice.call("note.write", {"channel": "board:c", "text": "never"}))
    await sandbox.settle()
    await bob.call("note.write", {"channel": "board:b", "text": "early"})
    given_up.cancel()
    await late
    boards = [row.board for row in sandbox.rows(sa.select(NOTES).order_by(NOTES.c.id))]
    assert boards == ["board:b", "board:a"]


async def test_calm_ends_all_faults(sandbox: Sandbox) -> None:
    """Of the relay and of the broker."""
    alice = await sandbox.client("alice")
    sandbox.relay.drop_request(None)
    sandbox.relay.drop_reply(None)
    sandbox.relay.delay(5.0, None)
    sandbox.broker.drop(None)
    sandbox.relay.calm()
    sandbox.broker.calm()
    began = sandbox.now
    async with alice.subscribe("board:b") as sub:
        await alice.call("note.write", {"channel": "board:b", "text": "sound"})
        assert (await anext(sub)).offset == 1
    assert sandbox.now == began


async def test_tests_can_publish_from_outside(sandbox: Sandbox) -> None:
    """By the publisher that jobs are given: live events, and commands on behalf of a user."""
    await sandbox.worker.publisher.call("note.write", {"channel": "board:b", "text": "job"}, user="robot")
    (event,) = sandbox.events("board:b")
    assert event.user == "robot"
