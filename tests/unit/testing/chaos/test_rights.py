"""Rights that come and go: measured on open connections alone, and given back; on virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backchannel.testing import run
from backchannel.testing.chaos.app import workload
from backchannel.testing.chaos.clients import Answered
from backchannel.testing.chaos.load import Load
from backchannel.testing.chaos.obstructions import Obstructions
from backchannel.testing.chaos.rights import BOUND, Rights
from backchannel.testing.chaos.workload import Asked
from backchannel_client import ConnectionClosed
from backchannel_protocol import BackchannelError, Refused

ENDED = Refused("forbidden", "Your right has ended.")


class Place:
    """An operator, one guest, and a server that ends rights after so many seconds."""

    def __init__(self, fake_client: Any, delay: float) -> None:
        self.delay = delay
        self.asked: list[str] = []
        self.refuse: list[BackchannelError] = []
        self.load = Load(workload, seed=1, rate=1.0)
        self.obstructions = Obstructions()
        self._fake_client = fake_client
        self.rights = Rights(
            workload, self.load, fake_client("operator", self._answer, "operator"), self.obstructions, self._make
        )

    async def _make(self, user: str) -> Any:
        return self._fake_client(user, lambda _asked, _key: Answered({}, {}), user)

    @property
    def guest(self) -> Any:
        """The guest that is there now."""
        return self.rights.guests["guest"]

    def _answer(self, asked: Asked, _key: str | None) -> Answered | BackchannelError:
        self.asked.append(asked.name)
        if self.refuse:
            return self.refuse.pop(0)
        guest = self.guest
        loop = asyncio.get_running_loop()
        if asked.name == "right.revoke":
            loop.call_later(self.delay, guest.ends.__setitem__, asked.data["channel"], ENDED)
        elif asked.name == "user.banish":
            for channel in workload.channels:
                gone = ConnectionClosed(4501, "No.", final=True)
                loop.call_later(self.delay, guest.ends.__setitem__, channel, gone)
        return Answered({}, {})


def at(fake_client: Any, delay: float, work: Callable[[Place], Any]) -> Place:
    """What comes of it, where rights end after so many seconds."""

    async def main() -> Place:
        place = Place(fake_client, delay)
        await place.rights.admit("guest")
        await work(place)
        await place.load.end(1.0)
        return place

    return run(main)


def test_a_right_that_ends_in_time_is_no_finding(fake_client: Any) -> None:
    """It is taken, seen to end, given back, and listened to anew."""
    place = at(fake_client, 1.0, lambda place: place.rights.revoke(0.5, 2.0))
    assert place.asked == ["right.revoke", "right.grant"]
    assert place.rights.findings == []
    assert 0.8 < place.rights.slowest < 1.2
    assert place.guest.ends == {}
    assert len(place.guest.listeners) == len(workload.channels) + 1


@pytest.mark.parametrize("delay", [BOUND + 2.0, 1000.0])
def test_a_right_that_outlives_its_bound_is_told(fake_client: Any, delay: float) -> None:
    """Also where it never ends: the run goes on."""
    place = at(fake_client, delay, lambda place: place.rights.revoke(0.5, 2.0))
    assert "late" in {finding.kind for finding in place.rights.findings}


def test_time_in_which_something_stood_in_the_way_does_not_count(fake_client: Any) -> None:
    """A gateway that the run itself has stopped ends nothing meanwhile."""

    async def work(place: Place) -> None:
        with place.obstructions.obstructed():
            await place.rights.revoke(0.5, 2.0)

    place = at(fake_client, BOUND + 10.0, work)
    assert (place.rights.findings, place.rights.slowest) == ([], 0.0)


def test_who_is_banished_comes_back_with_a_fresh_token(fake_client: Any) -> None:
    """As another client, which listens to everything."""
    before: list[Any] = []

    async def work(place: Place) -> None:
        before.append(place.guest)
        await place.rights.banish(0.5)

    place = at(fake_client, 1.0, work)
    assert place.asked == ["user.banish"]
    assert place.rights.findings == []
    assert place.guest is not before[0]
    assert not before[0].connected
    assert {listener.channel for listener in place.guest.listeners} == set(workload.channels)


def test_an_order_that_may_have_been_carried_out_is_repeated(fake_client: Any) -> None:
    """Who does not know whether a right was taken cannot say what may be heard."""

    async def work(place: Place) -> None:
        place.refuse = [
            Refused("unavailable", "Lost.", outcome="unknown"),
            Refused("unavailable", "Busy.", outcome="none"),
        ]
        await place.rights.revoke(0.5, 2.0)

    place = at(fake_client, 1.0, work)
    assert place.asked == ["right.revoke"] * 3 + ["right.grant"]
    assert place.rights.findings == []


def test_an_order_that_was_not_carried_out_changes_nothing(fake_client: Any) -> None:
    """Nothing was taken, so nothing is given back."""

    async def work(place: Place) -> None:
        place.refuse = [Refused("unavailable", "Busy.", outcome="none")]
        assert not await place.rights.revoke(0.5, 2.0)

    assert at(fake_client, 1.0, work).asked == ["right.revoke"]


def test_obstructions_overlap() -> None:
    """A moment is obstructed while any of them lasts, and while the parts find each other again."""

    async def main() -> None:
        obstructions = Obstructions()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with obstructions.obstructed():
            await asyncio.sleep(1)
            with obstructions.obstructed():
                assert obstructions.between(loop.time(), loop.time())
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert not obstructions.between(loop.time() - 0.5, loop.time())
        assert obstructions.between(began + 1.9, began + 2.1)
        assert not obstructions.between(began - 2, began - 1)
        with obstructions.obstructed(recovery=3.0):
            await asyncio.sleep(1)
        await asyncio.sleep(2)
        assert obstructions.between(loop.time(), loop.time())
        await asyncio.sleep(2)
        assert not obstructions.between(loop.time(), loop.time())

    run(main)
