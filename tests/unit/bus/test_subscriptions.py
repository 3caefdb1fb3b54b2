"""What is wished and what is heard, against a server whose answers the test holds back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from backchannel.bus.errors import RedisReplyError
from backchannel.bus.hearing import HearingConnection
from backchannel.bus.subscriptions import Subscriptions
from backchannel.bus.target import Address
from backchannel_protocol import Refused

PATIENCE = 5.0


class Server:
    """The far end, and the subscriptions that talk to it."""

    def __init__(self) -> None:
        self.connection: HearingConnection | None = None
        self.told: list[bool] = []
        self.misplaced: list[RedisReplyError] = []
        self.subscriptions = Subscriptions(lambda _: self.connection, self._changed, self.misplaced.append)
        self._far: socket.socket | None = None

    def _changed(self) -> None:
        self.told.append(self.subscriptions.complete)

    async def connect(self) -> None:
        """A new connection, where everything is asked for."""
        near, self._far = socket.socketpair()
        near.setblocking(False)
        self._far.setblocking(False)
        subscriptions = self.subscriptions
        made = HearingConnection(
            Address("h"), "subscriptions", self._lost, subscriptions.receivers, subscriptions.ended, sharded=False
        )
        await asyncio.get_running_loop().create_connection(lambda: made, sock=near)
        made.live()
        self.connection = made
        subscriptions.settle()

    def _lost(self, _reason: str) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            self.subscriptions.disconnected(connection)
            self._changed()

    def disconnect(self) -> None:
        """Lose the connection."""
        if self.connection is not None:
            self.connection.abort("for the test")
        if self._far is not None:
            self._far.close()
            self._far = None

    async def asked(self) -> bytes:
        """What was asked for since the last look."""
        assert self._far is not None
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recv(self._far, 1 << 20)

    async def answer(self, *replies: bytes) -> None:
        """Answer, and return once that was read."""
        assert self._far is not None
        read = asyncio.Event()
        self.subscriptions.receivers[b"marker"] = lambda _: read.set()
        await asyncio.get_running_loop().sock_sendall(self._far, b"".join(replies) + message(b"marker", b""))
        await asyncio.wait_for(read.wait(), PATIENCE)
        await asyncio.sleep(0)


def confirmed(kind: bytes, topic: bytes) -> bytes:
    """The confirmation of `subscribe` or `unsubscribe`."""
    return b"*3\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n:1\r\n" % (len(kind), kind, len(topic), topic)


def message(topic: bytes, payload: bytes) -> bytes:
    """A message."""
    return b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(topic), topic, len(payload), payload)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A connected server."""
    made = Server()
    await made.connect()
    yield made
    made.disconnect()
    await asyncio.sleep(0)


async def test_a_stale_confirmation_confirms_nothing(server: Server) -> None:
    """The answer to a wish that was withdrawn does not stand for the same topic's next wish."""
    got: list[bytes] = []
    first = asyncio.create_task(server.subscriptions.subscribe(b"t", list[bytes]().extend))
    await asyncio.sleep(0)
    server.subscriptions.unsubscribe(b"t")
    second = asyncio.create_task(server.subscriptions.subscribe(b"t", got.extend))
    with pytest.raises(Refused, match="unavailable"):
        await first
    asked = b""
    while asked.count(b"SUBSCRIBE\r\n") < 3:
        asked += await server.asked()
    await server.answer(confirmed(b"subscribe", b"t"), confirmed(b"unsubscribe", b"t"))
    assert not second.done()
    await server.answer(confirmed(b"subscribe", b"t"), message(b"t", b"heard"))
    await asyncio.wait_for(second, PATIENCE)
    assert got == [b"heard"]


async def test_only_what_was_confirmed_before_is_missing(server: Server) -> None:
    """A new wish makes nobody deaf; a confirmed one that is lost does, until it is confirmed again."""
    subscriptions = server.subscriptions
    one = asyncio.create_task(subscriptions.subscribe(b"1", list[bytes]().extend))
    await server.asked()
    await server.answer(confirmed(b"subscribe", b"1"))
    await asyncio.wait_for(one, PATIENCE)
    two = asyncio.create_task(subscriptions.subscribe(b"2", list[bytes]().extend))
    await asyncio.sleep(0)
    assert subscriptions.complete
    server.disconnect()
    assert server.told == [False]
    await server.connect()
    await server.asked()
    await server.answer(confirmed(b"subscribe", b"1"))
    assert not two.done()
    await server.answer(confirmed(b"subscribe", b"2"))
    await asyncio.wait_for(two, PATIENCE)
    assert server.told == [False, True]


async def test_giving_up_one_wait_keeps_the_others(server: Server) -> None:
    """A wish lives as long as one of those who share it waits or was served, and not longer."""
    receive = list[bytes]().extend
    subscriptions = server.subscriptions
    tasks = [asyncio.create_task(subscriptions.subscribe(b"t", receive)) for _ in range(3)]
    await server.asked()
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    assert len(subscriptions) == 1
    await server.answer(confirmed(b"subscribe", b"t"))
    await asyncio.wait_for(asyncio.gather(*tasks[1:]), PATIENCE)
    server.disconnect()
    late = asyncio.create_task(subscriptions.subscribe(b"t", receive))
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait([late])
    assert len(subscriptions) == 1
    subscriptions.unsubscribe(b"t")
    assert len(subscriptions) == 0
    assert subscriptions.complete


async def test_a_refusal_reaches_who_waits_and_ends_the_wish(server: Server) -> None:
    """NOPERM is the caller's; a topic that lies elsewhere stays wished, and the way is to be found anew."""
    subscriptions = server.subscriptions
    denied = asyncio.create_task(subscriptions.subscribe(b"1", list[bytes]().extend))
    moved = asyncio.create_task(subscriptions.subscribe(b"2", list[bytes]().extend))
    await server.asked()
    await server.answer(b"-NOPERM no\r\n", b"-MOVED 5 h:1\r\n")
    with pytest.raises(RedisReplyError, match="NOPERM"):
        await denied
    assert not moved.done()
    assert [error.code for error in server.misplaced] == ["MOVED"]
    assert len(subscriptions) == 1
    subscriptions.settle()
    assert b"SUBSCRIBE" in await server.asked()
    await server.answer(confirmed(b"subscribe", b"2"))
    await asyncio.wait_for(moved, PATIENCE)
