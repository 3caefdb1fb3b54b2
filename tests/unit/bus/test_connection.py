"""One RESP connection over a socket pair: replies in any pieces, one write per tick, and what a loss means for whom."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import hiredis
import pytest

from backchannel.bus.connection import MAX_QUEUED, Connection
from backchannel.bus.errors import LOST, NOT_WRITTEN, RedisReplyError
from backchannel.bus.hearing import HearingConnection
from backchannel.bus.target import Address

PATIENCE = 5.0
HERE = Address("h")


class Far:
    """The other end of a connection, where a Redis would be."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        """What one read brings."""
        async with asyncio.timeout(PATIENCE):
            return await self.loop.sock_recv(self.end, 1 << 20)

    async def write(self, data: bytes) -> None:
        """Send these bytes."""
        await self.loop.sock_sendall(self.end, data)

    async def drip(self, data: bytes) -> None:
        """Send byte by byte, each in a read of its own."""
        for index in range(len(data)):
            await self.write(data[index : index + 1])
            await asyncio.sleep(0)

    def reset(self) -> None:
        """Close it hard."""
        self.end.close()


class Lost(list[str]):
    """The reasons with which a loss was told."""


@pytest.fixture
async def ends() -> AsyncIterator[tuple[socket.socket, Far]]:
    """A socket and the far end of it."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    yield near, Far(far)
    far.close()


@pytest.fixture
async def connection(ends: tuple[socket.socket, Far], lost: Lost) -> AsyncIterator[Connection]:
    """A live connection."""
    made = Connection(HERE, "commands", lost.append)
    await asyncio.get_running_loop().create_connection(lambda: made, sock=ends[0])
    made.live()
    yield made
    made.abort("the test is over")
    await asyncio.sleep(0)


@pytest.fixture
def lost() -> Lost:
    """What was told of losses."""
    return Lost()


@pytest.fixture
def far(ends: tuple[socket.socket, Far]) -> Far:
    """The far end."""
    return ends[1]


async def reply(answer: asyncio.Future[Any]) -> Any:
    """The reply, within the test's patience."""
    return await asyncio.wait_for(answer, PATIENCE)


async def test_what_one_tick_sends_leaves_in_one_write(connection: Connection, far: Far) -> None:
    """Commands of one loop tick are one piece of data, in order."""
    for number in range(100):
        assert connection.send(("ECHO", number))
    assert await far.read() == b"".join(hiredis.pack_command(("ECHO", number)) for number in range(100))  # type: ignore[arg-type]


async def test_replies_fed_byte_by_byte_are_matched_in_order(connection: Connection, far: Far) -> None:
    """However a reply is cut, it belongs to the oldest command that waits: nil, nested, error and empty ones too."""
    answers = [connection.ask(("X", number)) for number in range(6)]
    await far.read()
    await far.drip(b"+OK\r\n$-1\r\n*2\r\n:7\r\n*1\r\n$3\r\na\r\n\r\n-WRONGTYPE no\r\n$0\r\n\r\n*-1\r\n")
    found = [await reply(answer) for answer in answers]
    assert found[:3] == [b"OK", None, [7, [b"a\r\n"]]]
    assert isinstance(found[3], RedisReplyError)
    assert found[3].code == "WRONGTYPE"
    assert found[4:] == [b"", None]


async def test_a_reset_in_the_middle_of_a_reply_is_told_to_whoever_waits(
    connection: Connection, far: Far, lost: Lost
) -> None:
    """A half reply is no reply: it and all that wait behind it end as lost, once, and the loss is told."""
    answers = [connection.ask(("X",)) for _ in range(3)]
    await far.read()
    await far.write(b"+first\r\n$100\r\nhalf")
    assert await reply(answers[0]) == b"first"
    far.reset()
    assert [await reply(answer) for answer in answers[1:]] == [LOST, LOST]
    assert len(lost) == 1
    assert not connection.send(("X",))


async def test_commands_that_never_left_are_told_apart(connection: Connection, far: Far) -> None:
    """When the connection goes, what was written is unknown, and what was not did not happen."""
    written = connection.ask(("X",))
    await far.read()
    kept = connection.ask(("X",))
    connection.abort("for the test")
    assert (await reply(written)).outcome == "unknown"
    assert (await reply(kept)).outcome == "none"
    assert await reply(connection.ask(("X",))) is NOT_WRITTEN


async def test_a_cancelled_wait_does_not_shift_replies(connection: Connection, far: Far) -> None:
    """The reply of a command that nobody waits for any more is not the next one's."""
    first, second = connection.ask(("X", 1)), connection.ask(("X", 2))
    await far.read()
    first.cancel()
    await far.write(b"+one\r\n+two\r\n")
    assert await reply(second) == b"two"


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+not asked for\r\n", b"*abc\r\n"])
async def test_what_cannot_be_read_ends_the_connection(
    connection: Connection, far: Far, lost: Lost, nonsense: bytes
) -> None:
    """Bytes that are no RESP, or a reply that nobody asked for, end the connection instead of shifting replies."""
    await far.write(nonsense)
    assert await far.read() == b""
    assert len(lost) == 1


async def test_no_more_than_the_limit_waits_unsent(connection: Connection, far: Far) -> None:
    """A peer that reads nothing costs bounded memory: past 64 MiB a command is refused, and taken again once sent."""
    mebibyte = b"x" * (1 << 20)
    sent = 0
    while connection.send(("X", mebibyte)):
        sent += 1
        await asyncio.sleep(0)
        assert sent <= MAX_QUEUED >> 20
    assert sent >= (MAX_QUEUED >> 20) - 2
    assert not connection.closed
    got = 0
    while got < 8 << 20:
        got += len(await far.read())
    assert connection.send(("X", mebibyte))


async def test_silence_is_a_loss(connection: Connection, far: Far, lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that takes everything and answers nothing is given up after three beats; one that answers is kept."""
    monkeypatch.setattr("backchannel.bus.connection.BEAT", 0.02)
    connection._stop_beat()
    connection.live()
    pings = 0
    while pings < 5:
        pings += (await far.read()).count(b"PING")
        await far.write(b"+PONG\r\n")
    assert not lost
    while await far.read():
        pass
    assert len(lost) == 1
    assert "no sign of life" in lost[0]


async def test_an_error_answer_to_a_ping_is_a_loss(
    connection: Connection, far: Far, lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says it loads its data cannot serve, and is left."""
    monkeypatch.setattr("backchannel.bus.connection.BEAT", 0.02)
    connection._stop_beat()
    connection.live()
    await far.read()
    await far.write(b"-LOADING Redis is loading the dataset in memory\r\n")
    while await far.read():
        pass
    assert len(lost) == 1
    assert "LOADING" in lost[0]


@pytest.fixture
async def hearing(ends: tuple[socket.socket, Far], lost: Lost) -> AsyncIterator[tuple[HearingConnection, list[Any]]]:
    """A connection that hears topics a and b with one receiver and c with another, and what they got."""
    got: list[Any] = []

    def first(payloads: list[bytes]) -> None:
        got.append(("first", payloads))

    def second(payloads: list[bytes]) -> None:
        got.append(("second", payloads))
        if b"bad" in payloads:
            raise ValueError("for the test")

    made = HearingConnection(
        HERE,
        "subscriptions",
        lost.append,
        {b"a": first, b"b": first, b"c": second},
        lambda _connection, topic: got.append(("ended", topic)),
        sharded=True,
    )
    await asyncio.get_running_loop().create_connection(lambda: made, sock=ends[0])
    made.live()
    yield made, got
    made.abort("the test is over")
    await asyncio.sleep(0)


def message(topic: bytes, payload: bytes) -> bytes:
    """A message as Redis pushes it."""
    return b"*3\r\n$8\r\nsmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(topic), topic, len(payload), payload)


async def test_messages_are_handed_over_in_runs_of_one_receiver(
    hearing: tuple[HearingConnection, list[Any]], far: Far
) -> None:
    """One read is one list per run of a receiver, in order; unknown topics are dropped; a fault costs nobody else."""
    connection, got = hearing
    answer = connection.ask(("PING",))
    await far.read()
    sent = [(b"a", b"1"), (b"b", b"2"), (b"x", b"3"), (b"c", b"bad"), (b"a", b"4")]
    await far.write(b"".join(message(*one) for one in sent) + b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")
    await reply(answer)
    assert got == [("first", [b"1", b"2"]), ("second", [b"bad"]), ("first", [b"4"])]


async def test_messages_byte_by_byte(hearing: tuple[HearingConnection, list[Any]], far: Far) -> None:
    """A message that comes in pieces is one message."""
    connection, got = hearing
    answer = connection.ask(("PING",))
    await far.read()
    await far.drip(message(b"a", b"one") + message(b"c", b"two") + b"+PONG\r\n")
    await reply(answer)
    assert got == [("first", [b"one"]), ("second", [b"two"])]


async def test_an_end_that_nobody_asked_for_is_told(hearing: tuple[HearingConnection, list[Any]], far: Far) -> None:
    """A subscription that the server ends is told; one that was ended from here is an answer, and shifts nothing."""
    connection, got = hearing
    connection.unsubscribe(b"a")
    answer = connection.ask(("PING",))
    await far.read()
    end = b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\n%b\r\n:0\r\n"
    await far.write(end % b"c" + end % b"a" + b"+PONG\r\n" + end % b"a")
    assert await reply(answer) == b"PONG"
    assert got == [("ended", b"c"), ("ended", b"a")]
