"""A shop: one typed command, a table of its own, and a durable channel per shop that shows its orders."""

from __future__ import annotations

from typing import Annotated

from sqlalchemy import Column, Integer, MetaData, String, Table, func, select

from backchannel import App, Command, Context, Event, Meta, Namespace, Refused

app = App("shop")
tables = MetaData()
orders = Table(
    "shop_orders",
    tables,
    Column("app", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("shop", String),
    Column("item", String),
    Column("quantity", Integer),
)
app.tables(tables)


@app.namespace("orders")
class Orders(Namespace):
    """The channels `orders:<shop>`; whoever is logged in may watch."""

    async def may_listen(self, ctx: Context, channel: str) -> bool:
        return True


@app.event("order.placed")
class Placed(Event):
    id: str
    item: str


@app.command("order.place", lane="shop", errors=["sold_out"])
class Place(Command[Placed]):
    shop: str
    item: str
    quantity: Annotated[int, Meta(ge=1, le=100)]


@app.handle(Place)
async def place(ctx: Context, order: Place) -> Placed:
    """Place an order and tell the shop's screen; there are 100 of everything."""
    same = (orders.c.app == ctx.app, orders.c.shop == order.shop, orders.c.item == order.item)
    sold = await ctx.db.value(select(func.sum(orders.c.quantity)).where(*same)) or 0
    if sold + order.quantity > 100:
        raise Refused("sold_out", f"Only {100 - sold} left; order fewer or ask again tomorrow.")
    number = ctx.insert(orders, shop=order.shop, item=order.item, quantity=order.quantity)
    placed = Placed(number, order.item)
    ctx.publish(f"orders:{order.shop}", placed)
    return placed
