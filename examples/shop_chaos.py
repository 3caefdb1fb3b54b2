"""What a chaos run asks of the shop: orders, each for an item of its own name."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from backchannel.testing.chaos import Asked, Execute, LoggedEvent, Workload


class Orders(Workload):
    app = "examples.shop:app"
    channels = ("orders:corner", "orders:station")
    exact = True  # one order is one event, so that a reply's position is the event's own

    def ask(self, user: str, channel: str, effect: str, size: int) -> Asked:
        shop = channel.removeprefix("orders:")
        return Asked("order.place", {"shop": shop, "item": effect, "quantity": 1})

    def effect(self, name: str, data: Any) -> Hashable:
        return str(data["item"])

    def disagreements(self, execute: Execute, log: Mapping[str, Sequence[LoggedEvent]]) -> Iterable[str]:
        rows = execute("SELECT count(*) FROM shop_orders")[0][0]
        events = sum(map(len, log.values()))
        if rows != events:
            yield f"There are {rows} orders and {events} events."


workload = Orders()
