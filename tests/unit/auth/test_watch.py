"""What a gateway knows of revocations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from backchannel.auth import watch
from backchannel.auth.principal import Principal
from backchannel.auth.revocation import Revocation
from backchannel.auth.watch import RevocationWatch
from backchannel_protocol import Refused

NOW = 1_700_000_000


class Table:
    """The store's revocations."""

    def __init__(self) -> None:
        self.rows: list[Revocation] = []
        self.asked: list[int] = []
        self.failure: Exception | None = None
        self.read = asyncio.Event()

    async def since(self, moment: int) -> list[Revocation]:
        self.asked.append(moment)
        self.read.set()
        if self.failure is not None:
            raise self.failure
        return [row for row in self.rows if row.time >= moment]

    def add(self, **what: Any) -> Revocation:
        """A row of now."""
        row = Revocation(**{"id": str(len(self.rows)), "time": NOW * 1000, **what})
        self.rows.append(row)
        return row


@pytest.fixture
def table() -> Table:
    """An empty one."""
    return Table()


@pytest.fixture
async def seen(table: Table) -> AsyncIterator[tuple[RevocationWatch, asyncio.Queue[Sequence[Revocation]]]]:
    """A watch that asks only when it is rung, and what it tells."""
    told: asyncio.Queue[Sequence[Revocation]] = asyncio.Queue()
    watch = RevocationWatch(table.since, lifetime=3600, wall=lambda: float(NOW), every=600)
    watch.attach(told.put_nowait)
    yield watch, told
    await watch.close()


Seen = tuple[RevocationWatch, asyncio.Queue[Sequence[Revocation]]]


def holder(token_id: str | None = None, issued_at: float = NOW - 10.0) -> Principal:
    """Who showed a token."""
    return Principal(user="alice", id="user:alice", token_id=token_id, issued_at=issued_at)


async def test_what_is_old_is_known_from_the_start_and_told_to_nobody(seen: Seen, table: Table) -> None:
    """A gateway that starts has no connections to close, and lets nobody in who was revoked long ago."""
    watch, told = seen
    table.add(user="alice", issued_before=NOW * 1000, time=1)
    table.rows[0] = table.add(user="alice", issued_before=NOW * 1000, expires=NOW * 1000 + 5000, time=1)
    await watch.start()
    assert table.asked == [0]
    with pytest.raises(Refused, match="revoked"):
        watch.check(holder())
    watch.check(holder(issued_at=NOW + 1.0))
    assert told.empty()


async def test_news_is_told_once(seen: Seen, table: Table) -> None:
    """Each look goes back a while, for clocks that differ and commits that came late."""
    watch, told = seen
    await watch.start()
    row = table.add(token_id="t1")
    watch.look_soon()
    assert await told.get() == [row]
    other = table.add(token_id="t2")
    watch.look_soon()
    assert await told.get() == [other]
    assert table.asked[1:] == [(NOW - 120) * 1000] * 2
    for token_id in ("t1", "t2"):
        with pytest.raises(Refused) as raised:
            watch.check(holder(token_id))
        assert raised.value.code == "unauthenticated"
    watch.check(holder("t3"))
    watch.check(holder())


async def test_the_latest_line_counts(seen: Seen, table: Table) -> None:
    """Two revocations of one user: the later `issued_before`, in whatever order they come."""
    watch, _ = seen
    table.add(user="alice", issued_before=(NOW - 5) * 1000)
    table.add(user="alice", issued_before=(NOW - 50) * 1000)
    await watch.start()
    with pytest.raises(Refused):
        watch.check(holder(issued_at=NOW - 10.0))
    watch.check(holder(issued_at=NOW - 4.0))


async def test_a_store_that_does_not_answer_fails_closed(
    seen: Seen, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while what is known serves; then nobody can be vouched for, and a client is told to come back."""
    rows, told = seen
    await rows.start()
    table.failure = Refused("unavailable", "down")
    table.read.clear()
    rows.look_soon()
    await table.read.wait()
    rows.check(holder())
    monkeypatch.setattr(watch, "_BLIND_AFTER", -1.0)
    with pytest.raises(Refused) as raised:
        rows.check(holder())
    assert (raised.value.code, raised.value.retry) == ("unavailable", True)
    monkeypatch.undo()
    table.failure = None
    row = table.add(token_id="t1")
    rows.look_soon()
    assert await told.get() == [row]


async def test_who_fails_to_act_does_not_stop_the_watch(seen: Seen, table: Table) -> None:
    """The next revocation is told all the same."""
    watch, told = seen
    failed = asyncio.Event()

    def fail(_news: Sequence[Revocation]) -> None:
        failed.set()
        raise RuntimeError

    await watch.start()
    watch.attach(fail)
    table.add(token_id="t1")
    watch.look_soon()
    await failed.wait()
    watch.attach(told.put_nowait)
    row = table.add(token_id="t2")
    watch.look_soon()
    assert await told.get() == [row]


async def test_it_looks_by_itself(table: Table) -> None:
    """Also where no event gets through."""
    told: asyncio.Queue[Sequence[Revocation]] = asyncio.Queue()
    watch = RevocationWatch(table.since, lifetime=3600, wall=lambda: float(NOW), every=0.01)
    watch.attach(told.put_nowait)
    await watch.start()
    row = table.add(token_id="t1")
    async with asyncio.timeout(5):
        assert await told.get() == [row]
    await watch.close()


async def test_what_is_over_is_let_go(seen: Seen, table: Table) -> None:
    """Memory holds no more than what can still matter."""
    watch, _ = seen
    table.add(token_id="old", time=(NOW - 7200) * 1000)
    table.add(token_id="known", expires=NOW * 1000 + 1)
    await watch.start()
    assert set(watch._tokens) == {"known"}
    watch._wall = lambda: NOW + 1.0
    watch._forget()
    assert watch._known == {}
    watch.check(holder("known"))
