"""The checker on the real thing: promises hold under faults, and one that is broken on purpose is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from backchannel import App, Command
from backchannel.broker.broker import Envelope
from backchannel.gateway.hub import Hub
from backchannel.store.sqlite_transaction import SqliteTransaction
from backchannel.testing import Checker, Report, Sandbox, ask, run, watch
from backchannel.worker.batch import Batch
from backchannel_client import Received

CHANNEL = "board:b"


def text_of(event: Received) -> str:
    text: str = event.data["text"]
    return text


async def under_load(box: Sandbox, checker: Checker, *, messages: bool = True, parts: bool = True) -> Report:
    """Two write, two listen, and chance rules; returns what the checker has to say when all is quiet again.

    `messages`: events, requests and replies are lost, doubled and reordered. `parts`: links, gateways and workers fail.
    """
    Write: type[Command[Any]] = box.app.requests["note.write"].cls  # type: ignore[assignment]  # noqa: N806
    writers = [await box.client(f"writer-{number}", timeout=300.0) for number in range(2)]
    listeners = [await box.client(f"listener-{number}") for number in range(2)]
    watches = [await watch(checker, listener, CHANNEL, text_of) for listener in listeners]
    if messages:
        box.broker.drop(None, rate=0.1)
        box.broker.duplicate(None, rate=0.1)
        box.broker.reorder(None, rate=0.1)
        box.relay.drop_reply(None, rate=0.05, name="note.write")
        box.relay.drop_request(None, rate=0.05, name="note.write")

    async def write(number: int) -> None:
        for count in range(25):
            effect = f"{number}-{count}"
            await ask(checker, writers[number], Write(channel=CHANNEL, text=effect), effect, CHANNEL)
            await asyncio.sleep(box.random.random())

    async def trouble() -> None:
        while True:
            await asyncio.sleep(box.random.uniform(0.5, 3.0))
            link = box.random.choice([*writers, *listeners]).link
            match box.random.randrange(8):
                case 0:
                    link.cut()
                case 1:
                    link.hold()
                    await asyncio.sleep(box.random.uniform(0.0, 50.0))
                    link.release()
                case 2:
                    link.delay(box.random.uniform(0.0, 0.5))
                case 3:
                    await box.gateway.restart()
                case 4:
                    await box.gateway.drain(3.0)
                case 5:
                    box.broker.lose(box.random.uniform(0.0, 5.0))
                case _:
                    box.worker.kill_at(box.random.choice(("begun", "handled", "committed", "published")))
                    await asyncio.sleep(2.0)
                    box.worker.kill()
                    await box.worker.start()

    troubling = asyncio.create_task(trouble()) if parts else None
    await asyncio.gather(write(0), write(1))
    if troubling is not None:
        troubling.cancel()
        await asyncio.wait([troubling])
    for client in (*writers, *listeners):
        client.link.release()
    box.relay.calm()
    box.broker.calm()
    await box.worker.start()
    await box.advance(60)
    events = box.events(CHANNEL)
    checker.logged(CHANNEL, events[0].epoch or "", [(event.offset or 0, text_of(event)) for event in events])
    for each in watches:
        assert each.failure is None
    report = checker.report()
    for each in watches:
        await each.stop()
    return report


@pytest.mark.parametrize("seed", range(5))
def test_the_promises_hold_under_faults(boards: App, seed: int) -> None:
    """P1 to P3 with workers killed in every place, gateways restarted, links cut, events and replies lost.

    The chat of a minute: nothing acknowledged is lost, nothing happens twice, everybody hears everything in order.
    """

    async def main() -> Report:
        async with Sandbox(boards, seed=seed) as box:
            return await under_load(box, Checker())

    report = run(main)
    report.verify()
    assert report.acknowledged >= 40
    assert report.delivered >= 2 * report.acknowledged
    assert report.longest_stall > 1


def test_a_sound_run_is_all_acknowledged(boards: App) -> None:
    """Without faults everything is acknowledged at once, and nothing is unverified."""

    async def main() -> Report:
        async with Sandbox(boards) as box:
            return await under_load(box, Checker(), messages=False, parts=False)

    report = run(main)
    report.verify()
    assert (report.acknowledged, report.delivered, report.unverified, report.longest_stall) == (50, 100, 0, 0.0)


def broken(boards: App, *, parts: bool = True, seeds: Sequence[int] = range(3)) -> list[Report]:
    """Runs of an installation in which something was broken on purpose."""

    async def main(seed: int) -> Report:
        async with Sandbox(boards, seed=seed) as box:
            return await under_load(box, Checker(), parts=parts)

    return [run(lambda seed=seed: main(seed)) for seed in seeds]  # type: ignore[misc]


def test_a_key_that_is_not_looked_up_is_seen(boards: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the check of keys: a command whose reply was lost has two effects."""

    async def forgetful(self: SqliteTransaction, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Any]:
        return {}

    async def no_keys(self: SqliteTransaction, rows: Sequence[Any]) -> None:
        pass

    monkeypatch.setattr(SqliteTransaction, "keys", forgetful)
    monkeypatch.setattr(SqliteTransaction, "save_keys", no_keys)
    assert any(report.doubled for report in broken(boards))


def test_a_reply_before_the_commit_is_seen(boards: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer although the transaction was rolled back: what was acknowledged is not there."""
    commit = SqliteTransaction.commit
    count = 0

    async def careless(self: SqliteTransaction) -> None:
        nonlocal count
        count += 1
        await (self.rollback() if count % 10 == 0 else commit(self))

    monkeypatch.setattr(SqliteTransaction, "commit", careless)
    assert any(report.lost for report in broken(boards))


def test_an_offset_that_is_ignored_is_seen(boards: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliver whatever comes as it comes: events are lost and out of order."""

    def hasty(self: Hub, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            channel = self.channels.get(envelope.channel)
            if channel is not None and channel.ready:
                self._advance(channel, envelope)

    monkeypatch.setattr(Hub, "receive", hasty)
    assert any(report.lost for report in broken(boards))


def test_an_event_that_leaves_before_the_commit_is_seen(boards: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish, then lose the transaction: somebody hears what never happened, or what happens otherwise."""
    write = Batch._write
    published: list[Batch] = []

    async def eager(self: Batch, transaction: Any) -> list[Envelope]:
        envelopes = await write(self, transaction)
        self.runtime.broker.publish([envelope for envelope in envelopes if envelope.offset])
        published.append(self)
        return envelopes

    monkeypatch.setattr(Batch, "_write", eager)
    reports = broken(boards, seeds=range(4))
    assert published
    assert any(report.findings for report in reports)


def test_a_gap_for_everything_does_not_pass(boards: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip instead of reading the log: every loss is told, and still counted."""

    def lazy(self: Hub, channel: Any, envelope: Envelope) -> None:
        self._skip(channel, envelope.offset - 1, "trimmed")
        self._advance(channel, envelope)

    monkeypatch.setattr(Hub, "_wait_for_others", lazy)
    # A client that comes back gets what a gap has told, so nobody does.
    reports = broken(boards, parts=False)
    assert any(report.gaps for report in reports)
    with pytest.raises(AssertionError, match=r"gaps [1-9]"):
        max(reports, key=lambda report: len(report.gaps)).verify()
