"""The relay on Valkey, and on a cluster, where every topic lives on the server of its slot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backchannel.testing.services import RedisCluster, RedisServer

if TYPE_CHECKING:
    from tests.integration.relay.conftest import StartSite


@pytest.mark.parametrize("kind", ["valkey", "cluster"])
async def test_relay_on(start_site: StartSite, kind: str) -> None:
    """Workers are found, commands and queries are answered, a worker that leaves and one that dies are noticed."""
    with RedisServer(program="valkey") if kind == "valkey" else RedisCluster() as server:
        site = start_site(server)
        gates = [await site.gateway(), await site.gateway()]
        hands = [await site.worker() for _ in range(3)]
        shops = [f"shop-{number}" for number in range(12)]
        replies = await asyncio.gather(*(gates[i % 2].ask(site.place(str(i), shops[i % 12])) for i in range(120)))
        site.let_go.set()
        replies += await asyncio.gather(*(gates[i % 2].ask(site.wait(i)) for i in range(30)))
        assert [reply.failure for reply in replies if reply.failure is not None] == []
        assert sum([len(await site.items(shop)) for shop in shops]) == 120
        await hands[0].stop()
        waiting = [asyncio.create_task(gates[0].ask(site.place("more", shop))) for shop in shops]
        await asyncio.sleep(0)
        await hands[1].kill()
        replies = await asyncio.gather(*waiting)
        assert [reply.failure for reply in replies if reply.failure is not None] == []
        await site.until(lambda: all(len(gate._registry) == 1 for gate in gates), 6.0)
        await site.close()
