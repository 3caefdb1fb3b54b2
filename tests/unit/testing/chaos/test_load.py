"""The load: what it asks, asks again, and tells the checker; on virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from backchannel.testing import Report, run
from backchannel.testing.chaos.app import workload
from backchannel.testing.chaos.clients import Answered
from backchannel.testing.chaos.load import Counted, Load
from backchannel.testing.chaos.workload import Asked
from backchannel_client import ConnectionClosed
from backchannel_protocol import BackchannelError, Refused

UNKNOWN = Refused("unavailable", "Lost.", outcome="unknown")
REFUSED = Refused("forbidden", "No.", outcome="none")

Script = Callable[[Asked, str | None], Answered | BackchannelError]


def under(script: Script, fake_client: Any, seconds: float = 30.0, **options: Any) -> tuple[Load, Any, Report]:
    """So many seconds of load by one client whose server answers by this script."""

    async def main() -> tuple[Load, Any, Report]:
        load = Load(workload, seed=1, rate=10.0, **options)
        client = fake_client("a", script)
        load.begin([client])
        await asyncio.sleep(seconds)
        await load.end(60.0)
        return load, client, load.durable.report()

    return run(main)


def stored(asked: Asked, key: str | None) -> Answered:
    """A server that does what it is asked, and knows keys."""
    if asked.name == "note.count":
        return Answered({"count": 3}, {asked.data["channel"]: 7})
    return Answered({"id": key}, {asked.data["channel"]: 1} if "channel" in asked.data else {})


def test_it_writes_publishes_counts_and_repeats(fake_client: Any) -> None:
    """At the rate that was asked for; every command has a key of its own, repeats have the same one."""
    load, client, report = under(stored, fake_client, 60.0)
    names = Counter(asked.name for asked, _ in client.asked)
    assert set(names) == {"note.write", "pulse.felt", "note.count"}
    assert 400 < names.total() < 800
    assert report.sent == report.acknowledged == load.acknowledged == load.asked
    keys = Counter(key for asked, key in client.asked if asked.name == "note.write")
    assert set(keys.values()) == {1, 2}
    assert len(keys) == report.sent
    assert load.findings == []
    assert load.counted
    assert {(said.count, said.offset) for said in load.counted} == {(3, 7)}
    assert isinstance(load.counted[0], Counted)


def test_what_may_have_happened_is_asked_again_with_its_key(fake_client: Any) -> None:
    """Until it is answered, or often enough; then its outcome is unknown, whatever the last refusal says."""
    tries: Counter[str | None] = Counter()

    def script(asked: Asked, key: str | None) -> Answered | BackchannelError:
        tries[key] += 1
        if key is None or int(key.rpartition("-")[2]) % 3 == 0:
            return stored(asked, key)
        if int(key.rpartition("-")[2]) % 3 == 1:
            return UNKNOWN if tries[key] == 1 else stored(asked, key)
        return UNKNOWN if tries[key] == 1 else REFUSED

    load, client, report = under(script, fake_client)
    written = {key for asked, key in client.asked if asked.name == "note.write"}
    third = sum(int(str(key).rpartition("-")[2]) % 3 == 2 for key in written)
    assert (report.unknown, report.refused) == (third, 0)
    assert report.acknowledged == len(written) - third
    assert load.refusals["forbidden"] >= third > 10


def test_a_refusal_is_counted_by_its_code(fake_client: Any) -> None:
    """And the command that was refused for certain is not asked again."""
    load, client, report = under(lambda _asked, _key: REFUSED, fake_client)
    assert report.refused == report.sent > 50
    assert load.refusals == {"forbidden": len(client.asked)}


def test_a_repeat_that_is_answered_otherwise_is_told(fake_client: Any) -> None:
    """P2: with its key, the answer is the one of before; a conflict is none."""
    tries: Counter[str | None] = Counter()

    def forgetful(asked: Asked, key: str | None) -> Answered | BackchannelError:
        tries[key] += 1
        if asked.name != "note.write" or tries[key] == 1:
            return stored(asked, key)
        return Refused("conflict", "Done.") if tries.total() % 2 else Answered({"id": "another"}, {})

    load, _, _ = under(forgetful, fake_client, 120.0)
    assert {finding.kind for finding in load.findings} == {"differing"}
    assert len(load.findings) == sum(count > 1 for key, count in tries.items() if key is not None) > 5


def test_a_client_whose_token_is_void_asks_no_more(fake_client: Any) -> None:
    """It is closed for good; what it had asked is over with it."""
    load, client, report = under(lambda _asked, _key: ConnectionClosed(4501, "No.", final=True), fake_client)
    assert len(client.asked) < 10
    assert report.acknowledged == 0
    assert load.findings == []


def test_what_is_never_answered_holds_up_no_end(fake_client: Any) -> None:
    """Only so many questions are open at once, and the end comes in time; their outcome is unknown."""

    async def main() -> tuple[float, int, Report]:
        load = Load(workload, seed=1, rate=100.0)
        client = fake_client("a", stored)
        never: Callable[..., Awaitable[Any]] = lambda *_: asyncio.Event().wait()  # noqa: E731
        client.ask = never
        load.begin([client])
        await asyncio.sleep(30)
        began = asyncio.get_running_loop().time()
        await load.end(5.0)
        return asyncio.get_running_loop().time() - began, load.asked, load.durable.report()

    took, asked, report = run(main)
    assert took < 6
    assert report.unknown == asked <= 12


def test_large_events_come_while_readers_are_slow(fake_client: Any) -> None:
    """On the channel that is there for them, for as long as asked."""

    async def main() -> Any:
        load = Load(workload, seed=1, rate=1.0)
        client = fake_client("a", stored)
        await load.flood(client, 2.0)
        await load.end(5.0)
        return client

    client = run(main)
    assert {asked.data["channel"] for asked, _ in client.asked} == {workload.bulk}
    assert 40 <= len(client.asked) <= 60
    assert min(len(asked.data["filling"]) for asked, _ in client.asked) > 30_000
