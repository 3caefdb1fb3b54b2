"""What a write transaction promises, whatever the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import pytest
import sqlalchemy as sa

from backchannel.broker.broker import Envelope
from backchannel.store.store import KeyRow, Store, StoredKey, Transaction
from backchannel_protocol import BackchannelError, Refused

Opener = Callable[..., AbstractAsyncContextManager[Store]]


async def ids(store: Store, items: sa.Table) -> list[str]:
    """The committed items' ids, sorted."""
    reader = await store.snapshot()
    try:
        return [row.id for row in await reader.rows(sa.select(items.c.id).order_by(items.c.id))]
    finally:
        await reader.close()


async def test_a_row_comes_back_with_its_types(store: Store, items: sa.Table) -> None:
    """`get` converts values as the columns' types say, both ways, and fills in `app`, as a select does."""
    values = {
        "id": "a",
        "shelf": "s",
        "amount": 3,
        "open": True,
        "tags": {"colour": ["red", 1, None]},
        "since": datetime(2026, 1, 2, 3, 4, 5, 678),  # noqa: DTZ001 - a naive column
        "raw": b"\x00\xff",
        "code": "ünï",
    }
    transaction = await store.begin(["lane"])
    await transaction.insert(items, [values])
    got = await transaction.get(items, {"id": "a"})
    selected = (await transaction.rows(sa.select(items)))[0]
    await transaction.commit()
    assert got is not None
    assert isinstance(got, sa.Row)
    assert got._asdict() == {"app": "main", **values}
    assert got == selected
    assert got.tags == {"colour": ["red", 1, None]}


async def test_columns_that_are_left_out_get_their_default(store: Store, items: sa.Table) -> None:
    """A Python default and the database's own both hold; a column without either is NULL."""
    transaction = await store.begin([])
    await transaction.insert(items, [{"id": "a"}, {"id": "b"}])
    row = await transaction.get(items, {"id": "b"})
    await transaction.rollback()
    assert row is not None
    assert (row.shelf, row.amount, row.open) == ("none", 0, None)


async def test_get_without_a_row(store: Store, items: sa.Table) -> None:
    """`get` answers None where there is no such row."""
    transaction = await store.begin([])
    assert await transaction.get(items, {"id": "nobody"}) is None
    await transaction.rollback()


async def test_get_many_is_get_of_each(store: Store, items: sa.Table) -> None:
    """In the order of the keys, with their types; None where there is no row; the same key twice; more than one
    statement of SQLite takes."""
    transaction = await store.begin([])
    rows = [{"id": f"id {n}", "open": n % 2 == 0, "tags": [n], "raw": b"\x00"} for n in range(0, 250, 2)]
    await transaction.insert(items, rows)
    keys = [{"id": f"id {n}"} for n in (*reversed(range(250)), 0, 1, 0)]
    got = await transaction.get_many(items, keys)
    assert got == [await transaction.get(items, key) for key in keys]
    assert [row is None for row in got[-3:]] == [False, True, False]
    assert await transaction.get_many(items, []) == []
    await transaction.rollback()


async def test_get_many_wants_whole_keys_and_sees_only_its_own_app(open_store: Opener, items: sa.Table) -> None:
    """As `get`."""
    async with open_store() as store:
        transaction = await store.begin([])
        await transaction.insert(items, [{"id": "a"}])
        await transaction.commit()
    async with open_store("other") as other:
        transaction = await other.begin([])
        assert await transaction.get_many(items, [{"id": "a"}, {"id": "b"}]) == [None, None]
        with pytest.raises(ValueError, match="primary key"):
            await transaction.get_many(items, [{"id": "a"}, {"shelf": "none"}])
        await transaction.rollback()


async def test_get_wants_the_whole_key(store: Store, items: sa.Table) -> None:
    """A key that is not the primary key is a mistake, not a slow query; the message names the key."""
    transaction = await store.begin([])
    with pytest.raises(ValueError, match=r"primary key of table 'items' is \(id\)"):
        await transaction.get(items, {"shelf": "a"})
    with pytest.raises(ValueError, match="None"):
        await transaction.get(items, {"id": None})
    await transaction.rollback()


async def test_what_was_written_is_read_in_the_same_transaction_only(store: Store, items: sa.Table) -> None:
    """A transaction sees its own rows, a snapshot sees them after the commit."""
    transaction = await store.begin([])
    await transaction.insert(items, [{"id": "a"}])
    assert len(await transaction.rows(sa.select(items))) == 1
    assert await ids(store, items) == []
    await transaction.commit()
    assert await ids(store, items) == ["a"]


async def test_many_rows_in_one_call(store: Store, items: sa.Table) -> None:
    """Set-wise writes have no limit on the number of rows."""
    transaction = await store.begin([])
    names = [f"{i:04}" for i in range(1234)]
    await transaction.insert(items, [{"id": name, "amount": 1} for name in names])
    await transaction.update(items, [({"id": name}, {"amount": int(name)}) for name in names])
    assert [r.amount for r in await transaction.rows(sa.select(items).order_by(items.c.id))] == list(range(1234))
    await transaction.delete(items, [{"id": name} for name in names[:1000]])
    await transaction.commit()
    assert await ids(store, items) == names[1000:]


async def test_updates_take_effect_in_order(store: Store, items: sa.Table) -> None:
    """Of two changes of one row the later one counts, also where the changed column says which rows are meant."""
    transaction = await store.begin([])
    await transaction.insert(items, [{"id": name, "shelf": shelf} for name, shelf in ("ax", "bx", "cy")])
    await transaction.update(
        items, [({"id": "a"}, {"amount": 1}), ({"id": "b"}, {"amount": 5}), ({"id": "a"}, {"amount": 2})]
    )
    await transaction.update(items, [({"shelf": "x"}, {"shelf": "y"}), ({"shelf": "y"}, {"shelf": "z"})])
    rows = await transaction.rows(sa.select(items.c.id, items.c.shelf, items.c.amount).order_by(items.c.id))
    await transaction.commit()
    assert [tuple(row) for row in rows] == [("a", "z", 2), ("b", "z", 5), ("c", "z", 0)]


async def test_update_and_delete_by_several_columns(store: Store, items: sa.Table) -> None:
    """A key may be any columns, and converted types match; only rows that match all of them are meant."""
    transaction = await store.begin([])
    kinds = [("x", True), ("x", False), ("y", True), ("y", False)]
    await transaction.insert(items, [{"id": f"{shelf}{yes}", "shelf": shelf, "open": yes} for shelf, yes in kinds])
    await transaction.update(
        items,
        [({"shelf": "x", "open": True}, {"amount": 1}), ({"open": False, "shelf": "y"}, {"amount": 2})],
    )
    await transaction.delete(
        items, [{"shelf": "x", "open": False}, {"shelf": "y", "open": True}, {"open": True, "shelf": "q"}]
    )
    rows = await transaction.rows(sa.select(items.c.id, items.c.amount).order_by(items.c.id))
    await transaction.commit()
    assert [tuple(row) for row in rows] == [("xTrue", 1), ("yFalse", 2)]


async def test_mistakes_are_named(store: Store, items: sa.Table) -> None:
    """A wrong column, mixed columns, a key of None and an empty key are ValueErrors that tell the cure."""
    transaction = await store.begin([])
    with pytest.raises(ValueError, match="'items' has no column 'nope'; it has: app, id"):
        await transaction.insert(items, [{"id": "a", "nope": 1}])
    with pytest.raises(ValueError, match="leave out `app`"):
        await transaction.insert(items, [{"id": "a", "app": "other"}])
    with pytest.raises(ValueError, match="same columns"):
        await transaction.insert(items, [{"id": "a", "amount": 1}, {"id": "b"}])
    with pytest.raises(ValueError, match="same columns"):
        await transaction.insert(items, [{"id": "a", "amount": 1}, {"id": "b", "code": "c"}])
    with pytest.raises(ValueError, match="same columns"):
        await transaction.update(items, [({"id": "a"}, {"amount": 1}), ({"id": "a"}, {"amount": 1, "open": True})])
    with pytest.raises(ValueError, match="same columns"):
        await transaction.delete(items, [{"id": "a"}, {"id": "a", "amount": 1}])
    with pytest.raises(ValueError, match="at least one column"):
        await transaction.delete(items, [{}])
    with pytest.raises(ValueError, match="at least one new value"):
        await transaction.update(items, [({"id": "a"}, {})])
    with pytest.raises(ValueError, match="None"):
        await transaction.update(items, [({"code": None}, {"amount": 1})])
    assert await transaction.rows(sa.select(items)) == []
    await transaction.rollback()


async def test_nothing_to_write(store: Store, items: sa.Table) -> None:
    """Empty sets are written by doing nothing."""
    transaction = await store.begin([])
    await transaction.insert(items, [])
    await transaction.update(items, [])
    await transaction.delete(items, [])
    await transaction.set_counters({})
    await transaction.save_keys([])
    assert await transaction.append([]) == []
    assert await transaction.keys([]) == {}
    assert await transaction.counters([]) == {}
    assert await transaction.positions([]) == {}
    await transaction.commit()


async def test_rollback_leaves_nothing(store: Store, items: sa.Table) -> None:
    """Rows, events, counters and keys of a transaction that was undone are gone, and offsets are given again."""
    transaction = await store.begin([])
    await transaction.insert(items, [{"id": "a"}])
    await transaction.append([Envelope(channel="c:a", name="x.y", data=b"1")])
    await transaction.set_counters({"n": 5})
    await transaction.save_keys([KeyRow("p", "k", b"d", b"r", 1)])
    await transaction.rollback()
    await transaction.rollback()
    again = await store.begin([])
    assert await again.rows(sa.select(items)) == []
    assert await again.counters(["n"]) == {"n": 0}
    assert await again.keys([("p", "k")]) == {}
    assert [e.offset for e in await again.append([Envelope(channel="c:a", name="x.y", data=b"1")])] == [1]
    await again.rollback()


async def test_nothing_may_follow_the_end(store: Store, items: sa.Table) -> None:
    """A transaction that is over refuses everything but `rollback`, and tells what to do."""
    transaction = await store.begin([])
    await transaction.commit()
    with pytest.raises(BackchannelError, match="begin another"):
        await transaction.insert(items, [{"id": "a"}])
    with pytest.raises(BackchannelError, match="begin another"):
        await transaction.commit()
    await transaction.rollback()


async def test_transactions_take_turns_in_order(store: Store, items: sa.Table) -> None:
    """Who asks for a lane that is held waits, and gets it in the order of asking; one who gives up is passed over."""
    first = await store.begin(["lane"])
    order: list[int] = []

    async def take(number: int) -> None:
        transaction = await store.begin(["lane"])
        order.append(number)
        await transaction.insert(items, [{"id": f"{number}", "amount": len(order)}])
        await transaction.commit()

    tasks = [asyncio.create_task(take(number)) for number in range(4)]
    await asyncio.sleep(0)  # one turn of the loop, in which each task runs until it must wait
    assert order == []
    tasks[1].cancel()
    await first.commit()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 3]
    assert await ids(store, items) == ["0", "2", "3"]


async def test_a_taken_key_is_a_conflict(store: Store, items: sa.Table) -> None:
    """A row, a unique column or an idempotency key that is there already is `conflict`: nothing happened, no retry.

    The commit tells it at the latest.
    """
    transaction = await store.begin([])
    await transaction.insert(items, [{"id": "a", "code": "one"}])
    await transaction.save_keys([KeyRow("p", "k", b"d", b"r", 1)])
    await transaction.commit()
    attempts: dict[str, Callable[[Transaction], Awaitable[object]]] = {
        "row": lambda t: t.insert(items, [{"id": "b"}, {"id": "a"}]),
        "unique": lambda t: t.insert(items, [{"id": "b", "code": "one"}]),
        "update": lambda t: t.update(items, [({"id": "z"}, {"code": "one"})]),
        "key": lambda t: t.save_keys([KeyRow("p", "k", b"other", b"r", 1)]),
        "sql": lambda t: t.execute(sa.insert(items).values(app="main", id="a")),
        "check": lambda t: t.insert(items, [{"id": "b", "amount": -1}]),
    }
    for name, attempt in attempts.items():
        transaction = await store.begin([])
        await transaction.insert(items, [{"id": "z"}])
        with pytest.raises(Refused) as refused:  # noqa: PT012
            await attempt(transaction)
            await transaction.commit()
        await transaction.rollback()
        assert (refused.value.code, refused.value.outcome, refused.value.retry) == ("conflict", "none", False), name
        assert "items" not in refused.value.message, "internals never cross the wire"
    assert await ids(store, items) == ["a"]


async def test_wrong_sql_is_not_a_refusal(store: Store) -> None:
    """A statement that can never work is a defect: it passes as it is, and its message never reaches a client."""
    transaction = await store.begin([])
    with pytest.raises(sa.exc.DatabaseError, match="nowhere"):
        await transaction.rows(sa.select(sa.text("x")).select_from(sa.text("nowhere")))
    await transaction.rollback()


async def test_keys_are_found_with_digest_and_reply(store: Store) -> None:
    """A used key comes back with what was kept, by principal and key together."""
    transaction = await store.begin([])
    await transaction.save_keys([KeyRow(f"p{i % 2}", f"k{i}", bytes([i]), b"reply%d" % i, i) for i in range(4)])
    wanted = [("p0", "k0"), ("p1", "k0"), ("p1", "k3"), ("p0", "unused")] + [("p9", f"k{i}") for i in range(150)]
    found = await transaction.keys(wanted)
    await transaction.commit()
    assert found == {("p0", "k0"): StoredKey(b"\x00", b"reply0"), ("p1", "k3"): StoredKey(b"\x03", b"reply3")}


async def test_counters_keep_their_values(store: Store) -> None:
    """A counter begins at 0 and keeps what was last stored."""
    transaction = await store.begin([])
    assert await transaction.counters(["a", "b"]) == {"a": 0, "b": 0}
    await transaction.set_counters({"a": 1, "b": 7})
    await transaction.set_counters({"a": 2})
    await transaction.commit()
    transaction = await store.begin([])
    assert await transaction.counters(["b", "a", "c"]) == {"a": 2, "b": 7, "c": 0}
    await transaction.rollback()


async def test_free_sql_in_a_transaction_of_its_own(store: Store, items: sa.Table) -> None:
    """`execute` writes with the transaction, and its result can be read after other statements and after the end."""
    transaction = await store.begin([])
    await transaction.insert(items, [{"id": name, "shelf": "x"} for name in "abc"])
    changed = await transaction.execute(
        sa.update(items).where(items.c.shelf == "x").values(amount=9).returning(items.c.id)
    )
    await transaction.delete(items, [{"shelf": "x"}])
    assert sorted(changed.scalars()) == ["a", "b", "c"]
    await transaction.commit()
    assert await ids(store, items) == []
    transaction = await store.begin([])
    await transaction.insert(items, [{"id": name} for name in "abc"])
    selected = await transaction.execute(sa.select(items.c.id))
    await transaction.rollback()
    assert sorted(selected.scalars()) == ["a", "b", "c"]


async def test_committed_data_outlives_the_store(open_store: Opener, items: sa.Table) -> None:
    """What was committed is there when the database is opened again; what was open is not."""
    async with open_store() as store:
        transaction = await store.begin([])
        await transaction.insert(items, [{"id": "a"}])
        await transaction.commit()
    async with open_store() as store:
        assert await ids(store, items) == ["a"]


async def test_two_apps_in_one_database_never_meet(open_store: Opener, items: sa.Table) -> None:
    """Rows, keys, counters, logs and epochs are each app's own, though the names are the same."""
    epochs = {}
    for app in ("one", "two"):
        async with open_store(app) as store:
            transaction = await store.begin([])
            assert await transaction.get(items, {"id": "a"}) is None
            assert await transaction.keys([("p", "k")]) == {}
            assert await transaction.counters(["n"]) == {"n": 0}
            assert await transaction.positions(["c:a"]) == {"c:a": 0}
            await transaction.insert(items, [{"id": "a", "shelf": app}])
            await transaction.save_keys([KeyRow("p", "k", app.encode(), b"r", 1)])
            await transaction.set_counters({"n": len(app)})
            (event,) = await transaction.append([Envelope(channel="c:a", name="x.y", data=f'"{app}"'.encode())])
            await transaction.commit()
            epochs[app] = event.epoch
    async with open_store("one") as store:
        transaction = await store.begin([])
        await transaction.update(items, [({"id": "a"}, {"amount": 5})])
        await transaction.delete(items, [{"shelf": "two"}])
        rows = await transaction.rows(sa.select(items).order_by(items.c.app))
        assert [(row.app, row.shelf, row.amount) for row in rows] == [("one", "one", 5), ("two", "two", 0)]
        assert (await transaction.keys([("p", "k")]))["p", "k"].digest == b"one"
        await transaction.commit()
        reader = store.log_reader()
        assert [e.data for e in (await reader.read("c:a", 0, 10))[1]] == [b'"one"']
        assert set(await reader.changed(0)) == {"c:a"}
        await store.housekeeping({"c": (0, 0.0)}, 2**60)
        await reader.close()
    async with open_store("two") as store:
        reader = store.log_reader()
        assert [e.data for e in (await reader.read("c:a", 0, 10))[1]] == [b'"two"']
        await reader.close()
    assert epochs["one"] != epochs["two"]


async def test_a_closed_store_says_so(open_store: Opener) -> None:
    """After `close` a store refuses to begin anything; closing twice is harmless."""
    async with open_store() as store:
        await store.close()
        with pytest.raises(BackchannelError, match="closed"):
            await store.begin([])
        with pytest.raises(BackchannelError, match="closed"):
            await store.snapshot()


async def test_close_waits_for_the_transaction_that_is_open(open_store: Opener, items: sa.Table) -> None:
    """A store that is closed during a transaction lets it commit."""
    async with open_store() as store:
        transaction = await store.begin([])
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        await transaction.insert(items, [{"id": "a"}])
        await transaction.commit()
        await closing
    async with open_store() as store:
        assert await ids(store, items) == ["a"]
