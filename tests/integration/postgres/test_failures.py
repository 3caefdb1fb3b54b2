"""What the store makes of a database that fails: nothing is taken for done that is not, and it heals by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from msgspec import Struct

from backchannel import App, Command, Context, Event, Namespace, Refused
from backchannel.app import Migrations
from backchannel.broker.broker import Envelope
from backchannel.store.errors import StoreError
from backchannel.store.postgres import PostgresStore, open_postgres, open_postgres_reader
from backchannel.store.postgres_limits import PostgresLimits
from backchannel.store.postgres_target import PostgresTarget
from backchannel.store.store import KeyRow
from backchannel.testing.services import PostgresServer

OpenStore = Callable[..., Awaitable[PostgresStore]]

app = App("failing")


@app.namespace("lane")
class Lane(Namespace):
    """Durable channels."""


@app.event("row.added")
class Added(Event):
    """A row."""

    number: int


class Sum(Struct):
    """A number."""

    number: int


@app.command("row.add", lane="lane")
class Add(Command[Sum]):
    """Count."""

    lane: str


@app.handle(Add)
async def add(ctx: Context, request: Add) -> Sum:
    """Count."""
    number = await ctx.next("rows")
    ctx.publish(f"lane:{request.lane}", Added(number))
    return Sum(number)


def event(channel: str = "c:a") -> Envelope:
    """An event as a handler declared it."""
    return Envelope(channel=channel, name="x.y", data=b"1")


@pytest.mark.parametrize("deliver", [True, False])
async def test_a_commit_whose_answer_is_lost_is_of_unknown_outcome(
    open_store: OpenStore, way: Any, deliver: bool
) -> None:
    """Whether the server got it or not: the store cannot tell. Afterwards either all of it is there or nothing."""
    store = await open_store(way.url)
    transaction = await store.begin(["lane"])
    await transaction.append([event()])
    await transaction.save_keys([KeyRow("p", "k", b"d", b"r", 1)])
    way.cut_at, way.deliver = b"COMMIT\0", deliver
    with pytest.raises(Refused) as refused:
        await transaction.commit()
    assert (refused.value.code, refused.value.outcome) == ("unavailable", "unknown")
    assert way.was_cut.is_set()
    await transaction.rollback()
    way.cut_at = b""
    again = await store.begin(["lane"])
    assert bool(await again.keys([("p", "k")])) is deliver
    assert await again.positions(["c:a"]) == {"c:a": int(deliver)}
    await again.rollback()


@pytest.mark.parametrize("deliver", [True, False])
async def test_a_command_whose_commit_is_unknown_is_asked_again_with_its_key(
    start_worker: Any, way: Any, deliver: bool
) -> None:
    """It is told as unknown, and has one effect however often it is asked again."""
    bench = await start_worker(app, way.url)
    way.cut_at, way.deliver = b"COMMIT\0", deliver
    key = "key-12345678"
    failure = (await bench.ask("row.add", {"lane": "a"}, key=key)).failure
    assert (failure.code, failure.outcome, failure.retry) == ("unavailable", "unknown", True)
    way.cut_at = b""
    for _ in range(2):
        assert await bench.call("row.add", {"lane": "a"}, key=key, attempt=2) == {"number": 1}
    assert await bench.call("row.add", {"lane": "a"}) == {"number": 2}


async def test_a_connection_that_is_lost_before_the_commit_has_no_effect(open_store: OpenStore, way: Any) -> None:
    """Nothing that could count was sent, so the outcome is none."""
    store = await open_store(way.url)
    transaction = await store.begin(["lane"])
    way.cut_at, way.deliver = b"INSERT INTO events", True
    with pytest.raises(Refused) as refused:
        await transaction.append([event()])
    assert (refused.value.code, refused.value.outcome) == ("unavailable", "none")
    with pytest.raises(Refused) as refused:
        await transaction.commit()
    assert refused.value.outcome == "none"
    way.cut_at = b""
    again = await store.begin(["lane"])
    assert [e.offset for e in await again.append([event()])] == [1]
    await again.commit()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_of_the_server_is_survived(
    own_postgres: PostgresServer, mode: Literal["fast", "immediate"]
) -> None:
    """What is open is refused as `unavailable` and had no effect; what was committed stays; all goes on by itself."""
    url = own_postgres.create_database()
    store = await open_postgres(url)
    reader = store.log_reader()
    transaction = await store.begin(["lane"])
    (first,) = await transaction.append([event()])
    await transaction.commit()
    assert (await reader.head("c:a")).offset == 1
    transaction = await store.begin(["lane"])
    await transaction.append([event()])
    snapshot = await store.snapshot()
    await asyncio.to_thread(own_postgres.restart, mode)
    with pytest.raises(Refused) as refused:
        await transaction.append([event()])
    assert (refused.value.code, refused.value.outcome) == ("unavailable", "none")
    await transaction.rollback()
    with pytest.raises(Refused, match="unavailable"):
        await snapshot.positions(["c:a"])
    await snapshot.close()
    assert (await reader.head("c:a")).offset == 1
    transaction = await store.begin(["lane"])
    (second,) = await transaction.append([event()])
    await transaction.commit()
    assert (second.epoch, second.offset) == (first.epoch, 2)
    await reader.close()
    await store.close()


async def test_while_the_server_is_away_it_is_refused_at_once(own_postgres: PostgresServer) -> None:
    """`unavailable` with a time to come back, for all that a server asks; and all is well as soon as it is back."""
    url = own_postgres.create_database()
    store = await open_postgres(url)
    reader = store.log_reader()
    gateway = await open_postgres_reader(url)
    await asyncio.to_thread(own_postgres.end)
    asks: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.begin(["lane"]),
        store.snapshot,
        lambda: reader.head("c:a"),
        lambda: reader.read("c:a", 0, 1),
        lambda: gateway.api_keys.list(),
        lambda: gateway.revocations.since(0),
        lambda: store.lease("job", "worker", 5),
    ]
    async with asyncio.timeout(5):
        for ask in asks * 3:
            with pytest.raises(Refused) as refused:
                await ask()
            assert (refused.value.code, refused.value.outcome) == ("unavailable", "none")
            assert refused.value.retry_after
    await asyncio.to_thread(own_postgres.start)

    async def until_it_works() -> None:
        while True:
            try:
                await (await store.begin(["lane"])).rollback()
                await reader.head("c:a")
                return
            except Refused as exc:
                await asyncio.sleep(exc.retry_after or 0)

    async with asyncio.timeout(10):
        await until_it_works()
    await gateway.close()
    await reader.close()
    await store.close()


async def test_a_server_that_does_not_answer_is_not_waited_for(own_postgres: PostgresServer, frozen: Any) -> None:
    """A machine that froze: each wait ends on this side too, an open transaction and a commit in flight included."""
    url = own_postgres.create_database()
    store = await open_postgres(url, limits=PostgresLimits(statement=0.1))
    reader = store.log_reader()
    await reader.head("c:a")
    transaction = await store.begin(["lane"])
    await transaction.append([event()])
    committing = await store.begin(["other"])
    with frozen(own_postgres):
        async with asyncio.timeout(20):
            with pytest.raises(Refused) as refused:
                await transaction.append([event()])
            assert refused.value.outcome == "none"
            await transaction.rollback()
            with pytest.raises(Refused) as refused:
                await committing.commit()
            assert refused.value.outcome == "unknown"
            with pytest.raises(Refused):
                await reader.head("c:a")
    async with asyncio.timeout(10):
        while True:
            try:
                await (await store.begin(["lane"])).rollback()
                break
            except Refused as exc:
                await asyncio.sleep(exc.retry_after or 0)
    await reader.close()
    await store.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:topsecret@127.0.0.1:x5/d", "cannot be read"),
        ("postgresql://u:topsecret@[::1/d", "cannot be read"),
        ("mysql://u:topsecret@127.0.0.1/d", "mysql is no PostgreSQL"),
        ("postgresql://u:topsecret@127.0.0.1/d?pgbouncer=maybe", "pgbouncer"),
        ("postgresql://u:topsecret@127.0.0.1/d?sslmode=nonsense", "cannot be used"),
        ("postgresql://u:topsecret@127.0.0.1:1/d", "unavailable"),
    ],
)
async def test_passwords_are_never_told(url: str, words: str) -> None:
    """Whatever is wrong with a URL, what is said of it, and what that was caused by, does not quote the password."""
    with pytest.raises((StoreError, Refused)) as raised:
        await open_postgres(url)
    exc: BaseException | None = raised.value
    assert words in str(exc)
    while exc is not None:
        assert "topsecret" not in f"{exc!r} {exc}"
        exc = exc.__cause__
    if "127.0.0.1:1" in url:
        assert "topsecret" not in repr(PostgresTarget(url))


async def test_what_no_retry_cures_says_so(postgres_server: PostgresServer) -> None:
    """A database that does not exist is an error with a cure, not a wait."""
    with pytest.raises(StoreError, match=r"there is no such database.*Check the URL"):
        await open_postgres(postgres_server.url_of("nowhere"))


async def test_values_that_the_database_cannot_hold(open_store: OpenStore) -> None:
    """NUL in a text, and a number that is too large, are the asker's mistake: nothing happened, no retry."""
    table = sa.Table(
        "things",
        sa.MetaData(),
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("small", sa.Integer),
        sa.Column("short", sa.String(3)),
    )
    store = await open_store(migrations=[Migrations("things", table.metadata, None)])
    for row in ({"id": "a\x00"}, {"id": "a", "small": 2**40}, {"id": "a", "short": "long"}, {"id": "\ud800"}):
        transaction = await store.begin([])
        await transaction.insert(table, [row])
        with pytest.raises(Refused) as refused:
            await transaction.commit()
        assert (refused.value.code, refused.value.outcome, refused.value.retry) == ("invalid", "none", False), row
    transaction = await store.begin([])
    await transaction.insert(table, [{"id": 5}])
    with pytest.raises(Refused) as refused:
        await transaction.commit()
    assert (refused.value.code, refused.value.outcome) == ("internal", "none")


async def test_every_commit_waits_for_the_disk(own_postgres: PostgresServer) -> None:
    """Also where the server's settings say that a commit need not."""
    url = own_postgres.create_database()
    await asyncio.to_thread(own_postgres.execute, "ALTER ROLE backchannel SET synchronous_commit = off")
    store = await open_postgres(url)
    transaction = await store.begin([])
    (row,) = await transaction.rows(sa.select(sa.func.current_setting("synchronous_commit")))
    await transaction.commit()
    await store.close()
    assert row[0] == "on"
