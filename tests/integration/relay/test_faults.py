"""Lost messages, dead and stopped workers, Redis that pauses: what is sent again has one effect."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from backchannel.relay.relay import Reply
from backchannel.testing.services import RedisServer

if TYPE_CHECKING:
    from tests.integration.relay.conftest import Gate, Site, StartSite


def failures(replies: list[Reply]) -> list[Any]:
    return [reply.failure for reply in replies if reply.failure is not None]


def some(seed: int, share: float) -> Callable[[bytes], bool]:
    """Loses this share of all messages but signs of life."""
    chance = random.Random(seed)
    return lambda topic: b":beats" not in topic and chance.random() < share


async def test_two_gateways_and_two_workers(site: Site) -> None:
    """Requests of two gateways to two workers are all answered, each effect is there once, and both workers work."""
    gates = [await site.gateway(), await site.gateway()]
    hands = [await site.worker(), await site.worker()]
    shops = [f"shop-{number}" for number in range(8)]
    asked = [site.place(str(number), shops[number % 8]) for number in range(200)]
    replies = await asyncio.gather(*(gates[number % 2].ask(one) for number, one in enumerate(asked)))
    assert failures(replies) == []
    assert [sorted(await site.items(shop), key=int) for shop in shops] == [
        [str(number) for number in range(200) if number % 8 == k] for k in range(8)
    ]
    assert all(hand.worker.stats.commands > 0 for hand in hands)
    assert sum(hand.worker.stats.commands for hand in hands) == 200


async def test_lost_requests_and_lost_replies(site: Site) -> None:
    """A quarter of the messages either way gets lost: all is answered in the end, and each key has one effect."""
    gate, hand = await site.gateway(), await site.worker()
    gate.bus.loses = hand.bus.loses = some(11, 0.25)
    waiting = []
    for number in range(8):
        waiting.append(asyncio.create_task(gate.ask(site.place(str(number), timeout=40.0))))
        await asyncio.sleep(0)
    replies = await asyncio.gather(*waiting)
    assert failures(replies) == []
    assert sorted(await site.items(), key=int) == [str(number) for number in range(8)]
    assert gate.counters.resends > 0


async def test_lost_reply_is_the_stored_one(site: Site) -> None:
    """When a reply is lost the command is asked again, and its key brings the very same reply."""
    gate, hand = await site.gateway(), await site.worker()
    lost: list[bytes] = []

    def loses(topic: bytes) -> bool:
        if b":gateway:" in topic and hand.worker.stats.commands == 1 and not lost:
            lost.append(topic)
            return True
        return False

    hand.bus.loses = loses
    asked = site.place("tea")
    reply = await gate.ask(asked)
    assert reply.failure is None
    assert lost
    assert await site.items() == ["tea"]
    again = await gate.ask(site.place("tea", key=asked.key))
    assert again.data == reply.data
    assert await site.items() == ["tea"]


async def test_slow_handler_is_not_run_again(site: Site) -> None:
    """A handler that outlasts lost receipts is asked after and only acknowledged; it runs once."""
    gate, hand = await site.gateway(), await site.worker()
    hand.bus.loses = lambda topic: b":gateway:" in topic and site.slow_runs == 0
    reply = await gate.ask(site.slow(key="key-of-the-slow"))
    assert reply.data == b"1"
    assert site.slow_runs == 1


async def test_killed_worker(site: Site) -> None:
    """What a killed worker had is answered by another within 3 s, with one effect; a query too."""
    gate, first = await site.gateway(), await site.worker()
    first.bus.stand()
    shops = [f"shop-{number}" for number in range(10)]
    waiting = [asyncio.create_task(gate.ask(site.place("tea", shop))) for shop in shops]
    await asyncio.sleep(0)
    second = await site.worker()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await first.kill()
    replies = await asyncio.gather(*waiting)
    assert failures(replies) == []
    assert loop.time() - began < 4.0
    assert [await site.items(shop) for shop in shops] == [["tea"]] * 10
    assert second.worker.stats.commands == 10


async def test_stopped_worker_wakes(site: Site) -> None:
    """A worker that is stopped past its death and wakes finds the keys of what another did meanwhile: one effect each;
    and it is one of the workers again."""
    gate, first = await site.gateway(), await site.worker()
    first.bus.stand()
    asked = [site.place(str(number), f"shop-{number}") for number in range(10)]
    waiting = [asyncio.create_task(gate.ask(one)) for one in asked]
    await asyncio.sleep(0)
    second = await site.worker()
    assert failures(await asyncio.gather(*waiting)) == []
    assert second.worker.stats.commands == 10
    first.bus.go()
    await site.until(lambda: first.worker.stats.commands == 10)
    await site.until(lambda: site.knows(gate, first.relay._worker))
    assert [await site.items(f"shop-{number}") for number in range(10)] == [[str(number)] for number in range(10)]
    await second.stop()
    assert (await gate.ask(site.place("more"))).failure is None
    assert first.worker.stats.commands == 11


async def test_order_of_one_connection(site: Site) -> None:
    """Commands of one connection to one lane take effect in the order sent, while workers come and go."""
    gate = await site.gateway()
    hands = [await site.worker()]
    waiting = []
    for number in range(300):
        waiting.append(asyncio.create_task(gate.ask(site.place(str(number)))))
        if number == 50:
            hands.append(await site.worker())
        if number == 150:
            leaving = asyncio.create_task(hands[0].stop())
        if number % 7 == 0:
            await asyncio.sleep(0)
    assert failures(await asyncio.gather(*waiting)) == []
    await leaving
    assert await site.items() == [str(number) for number in range(300)]


async def test_rolling_workers_refuse_nothing(site: Site) -> None:
    """All workers are replaced one after another under load: no command with a key is refused, each has one effect."""
    gates = [await site.gateway(), await site.gateway()]
    old = [await site.worker(), await site.worker()]
    done = asyncio.Event()
    placed: dict[str, list[str]] = {f"shop-{number}": [] for number in range(6)}
    replies: list[Reply] = []

    async def load(gate: Gate, shop: str) -> None:
        number = 0
        while not done.is_set():
            item = f"{gate._gateway}-{number}"
            replies.append(await gate.ask(site.place(item, shop)))
            placed[shop].append(item)
            number += 1

    tasks = [asyncio.create_task(load(gate, shop)) for gate in gates for shop in placed]
    for hand in old:
        await site.worker()
        before = len(replies)
        await hand.stop()
        await site.until(lambda before=before: len(replies) > before + 50)  # type: ignore[misc]
    done.set()
    await asyncio.gather(*tasks)
    assert failures(replies) == []
    for shop, items in placed.items():
        assert sorted(await site.items(shop)) == sorted(items)


async def test_redis_paused_and_back(start_site: StartSite, own_redis: RedisServer) -> None:
    """Redis stands still for longer than anybody waits: what was under way is answered when it is back, with one
    effect, and no worker is taken for dead; meanwhile what is new is refused in words of its own."""
    site = start_site(own_redis)
    gate = await site.gateway()
    hands = [await site.worker(), await site.worker()]
    assert (await gate.ask(site.place("first"))).failure is None
    own_redis.pause()
    waiting = [asyncio.create_task(gate.ask(site.place(str(number), timeout=30.0))) for number in range(10)]
    await site.until(lambda: not gate.ready())
    refused = (await gate.ask(site.place("never"))).failure
    assert refused is not None
    assert (refused.code, refused.outcome) == ("unavailable", "none")
    assert "Redis" in refused.message
    own_redis.resume()
    assert failures(await asyncio.gather(*waiting)) == []
    await site.until(gate.ready)
    assert sorted(await site.items()) == sorted(["first", *(str(number) for number in range(10))])
    await site.until(lambda: all(site.knows(gate, hand.relay._worker) for hand in hands))


async def test_redis_killed_and_empty(start_site: StartSite, own_redis: RedisServer) -> None:
    """Redis dies with all it has and starts again empty: gateways and workers find each other again, and what was under
    way has one effect."""
    site = start_site(own_redis)
    gate, hand = await site.gateway(), await site.worker()
    hand.bus.loses = lambda topic: b":gateway:" in topic
    waiting = [asyncio.create_task(gate.ask(site.place(str(number), timeout=30.0))) for number in range(10)]
    await site.until(lambda: hand.worker.stats.commands == 10)
    own_redis.kill()
    await site.until(lambda: not gate.ready())
    own_redis.start()
    hand.bus.loses = lambda topic: False
    assert failures(await asyncio.gather(*waiting)) == []
    assert sorted(await site.items(), key=int) == [str(number) for number in range(10)]
    assert (await gate.ask(site.place("more"))).failure is None
