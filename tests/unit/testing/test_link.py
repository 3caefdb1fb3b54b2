"""What can go wrong between a client and the gateway."""

from __future__ import annotations

import asyncio

import pytest

from backchannel import Client, ConnectionClosed, Refused
from backchannel.testing import Sandbox
from backchannel_client import Gap
from backchannel_protocol.frames import Position


def how(client: Client) -> str:
    """The client's state, of which the type checker believes that it stays."""
    return client.state


async def write(box: Sandbox, channel: str, *texts: str) -> None:
    """Write notes as somebody else."""
    writer = await box.client("writer")
    for text in texts:
        await writer.call("note.write", {"channel": channel, "text": text})
    await writer.close()


async def test_a_client_that_misses_pings_is_cut(sandbox: Sandbox) -> None:
    """Silence past ping and grace is a dead peer (25 s and 10 s): the gateway closes then."""
    wire = await sandbox.wire("alice", pongs=False)
    began = sandbox.now
    assert await wire.closed() == 4002
    assert 35_000 < sandbox.now - began < 40_000
    assert sum(frame["type"] == "ping" for frame in wire.kept) >= 1


async def test_a_client_that_answers_pings_stays(sandbox: Sandbox) -> None:
    """Nothing but pongs is enough."""
    wire = await sandbox.wire("alice")
    await sandbox.advance(1000)
    assert wire.end is None


async def test_a_cut_connection_is_resumed_with_everything_that_was_missed(sandbox: Sandbox) -> None:
    """Verdict `recovered`: what happened meanwhile follows, in order, before anything new (first it was `new`)."""
    alice = await sandbox.client("alice")
    async with alice.subscribe("board:b") as sub:
        alice.link.sever()
        await sandbox.settle()
        assert how(alice) == "connecting"
        await write(sandbox, "board:b", "1", "2", "3")
        alice.link.mend()
        await sandbox.advance(30)
        await write(sandbox, "board:b", "4")
        heard = [(await anext(sub)).data["text"] for _ in range(4)]
    assert heard == ["1", "2", "3", "4"]
    assert sub.verdict == "recovered"


async def test_what_cannot_be_recovered_is_a_gap(sandbox: Sandbox) -> None:
    """Verdict `gap`: more was missed than a resume brings, and the client is told what."""
    alice = await sandbox.client("alice")
    gaps: list[Gap] = []
    async with alice.subscribe("few:b", on_gap=gaps.append) as sub:
        alice.link.sever()
        await write(sandbox, "few:b", "1", "2", "3")
        alice.link.mend()
        await sandbox.advance(30)
        await write(sandbox, "few:b", "4")
        assert (await anext(sub)).data == {"text": "4"}
    assert sub.verdict == "gap"
    assert [(gap.from_, gap.to) for gap in gaps] == [(0, 3)]


async def test_a_position_of_another_epoch_is_void(sandbox: Sandbox) -> None:
    """Verdict `gap` from the first: nothing is recovered for a position that the log never had."""
    alice = await sandbox.client("alice")
    await write(sandbox, "board:b", "1", "2")
    async with alice.subscribe("board:b", since=Position("elsewhere", 1), on_gap=lambda gap: None) as sub:
        assert sub.verdict == "gap"
        assert sub.tracker.position is not None
        assert sub.tracker.position.offset == 2


async def test_a_held_link_is_noticed_by_its_silence(sandbox: Sandbox) -> None:
    """Nobody is told anything; both sides give up, and afterwards the client is back with nothing lost."""
    alice = await sandbox.client("alice")
    async with alice.subscribe("board:b") as sub:
        alice.link.hold()
        await write(sandbox, "board:b", "1")
        await sandbox.advance(20)
        assert how(alice) == "connected"
        await sandbox.advance(30)
        assert how(alice) == "connecting"
        gateway = sandbox.gateway.current
        assert gateway is not None
        assert not gateway.connections_of("alice")
        alice.link.release()
        await sandbox.advance(30)
        assert how(alice) == "connected"
        assert (await anext(sub)).data == {"text": "1"}


async def test_a_short_silence_is_made_up_for(sandbox: Sandbox) -> None:
    """What was held back arrives in order, on the same connection."""
    alice = await sandbox.client("alice")
    session = alice.session
    async with alice.subscribe("board:b") as sub:
        alice.link.hold()
        asking = asyncio.create_task(alice.call("note.write", {"channel": "board:b", "text": "mine"}))
        await write(sandbox, "board:b", "theirs")
        await sandbox.advance(5)
        assert not asking.done()
        alice.link.release()
        await asking
        assert [(await anext(sub)).data["text"] for _ in range(2)] == ["theirs", "mine"]
    assert alice.session == session


async def test_a_delay_is_that_of_each_way(sandbox: Sandbox) -> None:
    """A call takes two ways, connecting takes two more, and order is kept when the delay shrinks."""
    alice = await sandbox.client("alice")
    alice.link.delay(0.5)
    began = sandbox.now
    assert await alice.call("time.tell") == began + 500
    assert sandbox.now == began + 1000
    slow = asyncio.create_task(alice.call("note.write", {"channel": "board:b", "text": "first"}))
    await sandbox.settle()
    alice.link.delay(0.0)
    await alice.call("note.write", {"channel": "board:b", "text": "second"})
    await slow
    assert [event.data["text"] for event in sandbox.events("board:b")] == ["first", "second"]
    with pytest.raises(ValueError, match="0 or more"):
        alice.link.delay(-1.0)


async def test_a_lost_answer_is_asked_for_again(sandbox: Sandbox) -> None:
    """A connection that is cut between command and reply: the client asks again, and the effect is one."""
    alice = await sandbox.client("alice")
    alice.link.delay(1.0)
    asking = asyncio.create_task(alice.call("note.write", {"channel": "board:b", "text": "once"}))
    await sandbox.advance(1.5)
    assert len(sandbox.events("board:b")) == 1
    alice.link.cut()
    await asking
    assert len(sandbox.events("board:b")) == 1


async def test_who_does_not_read_is_slow(sandbox: Sandbox) -> None:
    """A listener that stops reading is told, once it reads on, what its channel's policy skipped."""
    alice, bob = await sandbox.client("alice"), await sandbox.client("bob")
    gaps: list[Gap] = []
    async with alice.subscribe("wide:w", on_gap=gaps.append) as sub:
        alice.link.stop_reading()
        for number in range(1, 81):
            await bob.publish("wide:w", "tick.told", {"n": number, "filling": "x" * 16_000})
            await sandbox.advance(0.1)
        alice.link.read_on()
        await sandbox.advance(1)
        await bob.publish("wide:w", "tick.told", {"n": 81})
        heard: list[int] = []
        while not heard or heard[-1] != 81:
            heard.append((await anext(sub)).data["n"])
    skipped = [n for gap in gaps for n in range(gap.from_ + 1, gap.to + 1)]
    assert skipped
    assert sorted(heard + skipped) == list(range(1, 82))


async def test_who_does_not_read_at_all_is_cut(sandbox: Sandbox) -> None:
    """On a channel without such a policy the connection goes when too much waits for it, and the client comes back."""
    alice, bob = await sandbox.client("alice"), await sandbox.client("bob")
    async with alice.subscribe("feed:f") as sub:
        alice.link.stop_reading()
        for number in range(1, 81):
            await bob.publish("feed:f", "tick.told", {"n": number, "filling": "x" * 16_000})
            await sandbox.advance(0.1)
        gateway = sandbox.gateway.current
        assert gateway is not None
        assert not gateway.connections_of("alice")
        alice.link.read_on()
        assert [(await anext(sub)).data["n"] for _ in range(80)] == list(range(1, 81))


async def test_nobody_listens(sandbox: Sandbox) -> None:
    """While the gateway is stopped a connection is refused, and a client that gives up says why."""
    await sandbox.gateway.stop()
    with pytest.raises(ConnectionClosed, match="nobody listens"):
        await sandbox.client("alice", open_timeout=5.0)


@pytest.mark.parametrize(
    ("message", "code"), [(b'"\xff"', 1007), (b"[" * (64 * 1024 + 1), 1009)], ids=["not UTF-8", "too big"]
)
async def test_messages_are_checked_as_at_a_real_door(sandbox: Sandbox, message: bytes, code: int) -> None:
    """What a WebSocket door refuses is refused here, with the same close code."""
    wire = await sandbox.wire("alice")
    await wire.raw(message)
    assert await wire.closed() == code
    with pytest.raises(ConnectionClosed):
        await wire.send("unsubscribe", channel="board:b")


async def test_a_wire_speaks_frame_by_frame(sandbox: Sandbox) -> None:
    """Frames go out as given and come back as plain data; what is not asked for is kept in order."""
    wire = await sandbox.wire("alice", header=None, client={"name": "by hand"})
    answer = await wire.ask("subscribe", channel="board:b")
    assert (answer["type"], answer["verdict"]) == ("subscribed", "new")
    assert await wire.call("note.write", {"channel": "board:b", "text": "tea"}, key="key-of-mine")
    assert (await wire.event("note.written"))["key"] == "key-of-mine"
    assert (await wire.ask("call", name="no.such", data={}))["code"] == "not_found"
    assert [frame["type"] for frame in wire.kept] == ["subscribed", "presence"]
    assert (await wire.next())["channel"] == "user:alice"
    assert (await wire.next())["joined"][0]["user"] == "alice"
    await wire.raw(b"{")
    assert (await wire.next())["code"] == "invalid"
    with pytest.raises(TimeoutError):
        await wire.next(1.0)
    await wire.close()
    with pytest.raises(ConnectionClosed):
        await wire.next()


async def test_a_token_in_the_handshake(sandbox: Sandbox) -> None:
    """The header's token counts where `connect` has none."""
    wire = await sandbox.wire(header=sandbox.token("alice"))
    assert (await wire.ask("connect"))["user"] == "alice"


@pytest.mark.sandbox(connections_per_address=1)
async def test_a_link_is_an_address(sandbox: Sandbox) -> None:
    """Limits per address hold per link; a client of one's own can use one."""
    link = sandbox.link()
    async with Client("ws://here/ws", token=sandbox.token("alice"), connector=link.connect):
        with pytest.raises(ConnectionClosed, match="as many connections"):
            await Client("ws://here/ws", token=sandbox.token("bob"), connector=link.connect).connect()
        await sandbox.client("carol")
        assert link.connections == 1
    await sandbox.settle()
    assert link.connections == 0


async def test_a_user_counts_as_present_for_a_grace(sandbox: Sandbox) -> None:
    """Who is lost and back within the grace was never away; who stays away is gone after it."""
    alice, bob = await sandbox.client("alice"), await sandbox.client("bob")
    changes: list[tuple[list[str], list[str]]] = []

    def changed(frame: object) -> None:
        joined = [member.user for member in getattr(frame, "joined", None) or []]
        changes.append((joined, list(getattr(frame, "left", None) or [])))

    async with bob.subscribe("board:b", on_presence=changed):
        alice.subscribe("board:b")
        await sandbox.advance(1)
        assert changes[-1] == (["alice"], [])
        alice.link.sever()
        await sandbox.advance(5)
        alice.link.mend()
        await sandbox.advance(60)
        assert changes[-1] == (["alice"], [])
        alice.link.sever()
        await sandbox.advance(9)
        assert changes[-1] == (["alice"], [])
        await sandbox.advance(2)
        assert changes[-1] == ([], ["alice"])


async def test_requests_without_a_key_are_never_sent_twice(sandbox: Sandbox) -> None:
    """A connection that is lost leaves their outcome unknown, and says so."""
    alice = await sandbox.client("alice")
    alice.link.delay(1.0)
    asking = asyncio.create_task(alice.call("note.write", {"channel": "board:b", "text": "once"}, key=None))
    await sandbox.advance(0.5)
    alice.link.cut()
    with pytest.raises(Refused) as refused:
        await asking
    assert refused.value.outcome == "unknown"
    await sandbox.advance(30)
    assert sandbox.events("board:b") == []
