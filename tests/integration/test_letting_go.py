"""What a closed connection leaves behind."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from backchannel.gateway import hub
from backchannel.gateway.channel import HubChannel
from backchannel.gateway.connection import Connection
from backchannel.gateway.framing import FrameReader
from backchannel.gateway.websocket import WebSocketProtocol
from backchannel.session.session import Session
from backchannel.session.subscription import Subscription

_KINDS = (Connection, Session, Subscription, WebSocketProtocol, FrameReader, HubChannel)
_CONNECTIONS = 50


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without the cyclic collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("door", ["takeover"])
@pytest.mark.usefixtures("uncollected")
def test_a_closed_connection_is_freed_without_the_collector(
    run: Callable[[Coroutine[Any, Any, None]], None],
    start_server: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gateway freezes what there is, so that nobody waits for a look at it: a cycle would then never be freed."""

    async def scenario() -> None:
        async with start_server() as server:
            gateway = server.server._gateway
            wires = await asyncio.gather(*(_visit(server, f"user{number}") for number in range(_CONNECTIONS)))
            assert _left()["Connection"] == _CONNECTIONS
            await asyncio.gather(*(wire.socket.close() for wire in wires))
            await gateway.drain(10)
            monkeypatch.setattr(hub, "_LINGER", -1.0)
            gateway.hub._let_go()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not _left()

    run(scenario())


async def _visit(server: Any, user: str) -> Any:
    """A connection that has used most of what there is, also in vain."""
    wire = await server.wire(user)
    channel = (await wire.call("channel.create", {"name": user}))["channel"]
    assert (await wire.ask("subscribe", channel=channel))["type"] == "subscribed"
    await wire.call("message.list", {"channel": channel})
    await wire.call("message.send", {"channel": channel, "text": "hello"})
    await wire.event("message.created", channel)
    for refused in ("chat:secret", "nothing:here"):
        assert (await wire.ask("subscribe", channel=refused))["type"] == "error"
    assert (await wire.ask("call", name="message.list", data={}))["code"] == "invalid"
    await wire.raw("this is no frame")
    return wire


def _left() -> Counter[str]:
    """What is alive and may be part of a cycle."""
    kinds = (kind for one in gc.get_objects() for kind in _KINDS if issubclass(type(one), kind))
    return Counter(kind.__name__ for kind in kinds)
