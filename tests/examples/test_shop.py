"""The shop, tested: what it answers, what it tells, and what is left of it when things go wrong."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from backchannel import Refused
from backchannel.testing import Checker, Sandbox, ask, sandboxed, watch
from examples.shop import Place, Placed, app, orders


@sandboxed(app)
async def test_an_order_is_answered_stored_and_told(box: Sandbox) -> None:
    """Whoever orders gets the order back, the shop's screen shows it, and there is one row."""
    alice, screen = await box.client("alice"), await box.client("screen")
    async with screen.subscribe("orders:corner") as shown:
        placed = await alice.call(Place("corner", "tea", 2))
        assert (await anext(shown)).decode(Placed) == placed
    assert box.events("orders:corner", Placed) == [placed]
    assert [row.quantity for row in box.rows(select(orders))] == [2]


@sandboxed(app)
async def test_nobody_gets_what_is_sold_out(box: Sandbox) -> None:
    """There are 100 of everything; whoever asks for more is told, and nothing happens."""
    alice = await box.client("alice")
    await alice.call(Place("corner", "tea", 99))
    with pytest.raises(Refused, match="Only 1 left"):
        await alice.call(Place("corner", "tea", 2))
    assert len(box.events("orders:corner")) == 1


@sandboxed(app)
async def test_a_screen_that_was_off_for_the_night_shows_everything(box: Sandbox) -> None:
    """What was ordered meanwhile follows when the network is back: eight hours of virtual time."""
    alice, screen = await box.client("alice"), await box.client("screen")
    async with screen.subscribe("orders:corner") as shown:
        screen.link.sever()
        for item in ("tea", "milk", "bread"):
            await alice.call(Place("corner", item, 1))
            await box.advance(2.5 * 3600)
        screen.link.mend()
        assert [(await anext(shown)).decode(Placed).item for _ in range(3)] == ["tea", "milk", "bread"]
    assert shown.verdict == "recovered"


@sandboxed(app)
async def test_a_crash_between_commit_and_reply_orders_nothing_twice(box: Sandbox) -> None:
    """The client asks again with the same key, and gets the answer of the order that there is."""
    alice = await box.client("alice")
    box.worker.kill_at("committed")
    ordering = asyncio.create_task(alice.call(Place("corner", "tea", 2), timeout=60))
    await box.advance(5)
    assert not ordering.done()
    await box.worker.start()
    placed = await ordering
    assert [row.id for row in box.rows(select(orders))] == [placed.id]


@sandboxed(app, seed=7)
async def test_a_bad_day(box: Sandbox) -> None:
    """Events and replies are lost and doubled, connections break, the gateway restarts; the checker keeps count."""
    checker = Checker()
    customers = [await box.client(f"customer-{number}", timeout=120) for number in range(3)]
    screen = await box.client("screen")
    await watch(checker, screen, "orders:corner", lambda event: event.data["item"])

    box.broker.drop(None, rate=0.2)
    box.broker.duplicate(None, rate=0.2)
    box.relay.drop_reply(None, rate=0.1, name="order.place")
    for number in range(50):
        item = f"item {number}"
        await ask(checker, box.random.choice(customers), Place("corner", item, 1), item, "orders:corner")
        if box.random.random() < 0.2:
            screen.link.cut()
        if box.random.random() < 0.1:
            await box.gateway.restart()

    box.broker.calm()
    box.relay.calm()
    await box.advance(60)
    log = box.events("orders:corner")
    checker.logged("orders:corner", log[0].epoch or "", [(event.offset or 0, event.data["item"]) for event in log])
    report = checker.report()
    report.verify()
    assert report.acknowledged == report.delivered == 50
    assert box.rows(select(func.count()).select_from(orders))[0][0] == 50
