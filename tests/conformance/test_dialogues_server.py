"""The server in every dialogue: real gateways with their sessions, on virtual time, played against by the vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from backchannel_protocol import JSON, MSGPACK, Codec

if TYPE_CHECKING:
    from tests.conformance.installation import Door, Installation

Plain = dict[str, Any]

CODECS = {"json": JSON, "msgpack": MSGPACK}


class Play:
    """One dialogue, with the client's part played by the vector."""

    def __init__(self, dialogue: Plain, codec: Codec, names: Any, installation: Installation) -> None:
        self.dialogue = dialogue
        self.given: Plain = dialogue["given"]
        self.codec = codec
        self.names = names
        self.installation = installation
        self.doors: dict[str, Door] = {}
        self.newest = ""

    async def run(self) -> None:
        """Play all steps; what the server sends beyond the script fails."""
        steps = in_the_servers_order(self.dialogue["steps"])
        try:
            at = 0
            while at < len(steps):
                kind = kind_of_step(steps[at])
                end = at + 1
                while kind == "server" and end < len(steps) and kind_of_step(steps[end]) == "server":
                    end += 1
                try:
                    await self._step(kind, steps[at:end])
                except AssertionError as exc:
                    raise AssertionError(f"{self.dialogue['name']}, step {at}: {steps[at]}\n{exc}") from None
                at = end
            await self._quiet()
            for name, door in self.doors.items():
                self._nothing_else(name)
                assert door.told or not door.over, f"the server has closed {name}: {door.closed}"
        finally:
            await self.installation.close()

    async def _step(self, kind: str, steps: list[Plain]) -> None:
        step = steps[0]
        if kind == "server":
            await self._server(steps)
            return
        # Whatever the server had to say up to here was in the script.
        await self._quiet()
        for name in self.doors:
            self._nothing_else(name)
        await getattr(self, f"_{kind}")(step)

    async def _quiet(self) -> None:
        # Returns when nobody has anything left to do: a timer is due only then.
        await asyncio.sleep(1e-6)

    def _door(self, step: Plain) -> Door:
        return self.doors[step.get("on", self.newest)]

    async def _open(self, step: Plain) -> None:
        if step.get("fails"):
            return
        self.newest = step["open"]
        self.doors[self.newest] = self.installation.open(self.codec, step.get("gateway", 1), step.get("token"))

    async def _client(self, step: Plain) -> None:
        door = self._door(step)
        assert not door.over, f"the server has closed: {door.closed}"
        frame = self.names.frame(step["client"])
        for _ in range(step.get("times", 1)):
            if not door.over:
                door.receive(self.codec.encode(frame))

    async def _bytes(self, step: Plain) -> None:
        raw = step["bytes"][self.codec.name]
        self._door(step).receive(bytes.fromhex(raw) if self.codec.binary else raw.encode())

    async def _server(self, steps: list[Plain]) -> None:
        await self._quiet()
        for name, door in self.doors.items():
            expected = [step["server"] for step in steps if step.get("on", self.newest) == name]
            problem = self.names.take(expected, door.came)
            assert not problem, problem

    def _nothing_else(self, name: str) -> None:
        door = self.doors[name]
        own = tuple(f"user:{user['user']}" for user in self.given["users"].values() if "user" in user)
        left = [
            frame
            for frame in door.came
            if frame["type"] != "ping" and not (frame["type"] == "subscribed" and frame["channel"] in own)
        ]
        door.came.clear()
        assert not left, f"the server sent, too: {left}"

    async def _clock(self, step: Plain) -> None:
        for door in self.doors.values():
            door.silent = step.get("silent", False)
        await asyncio.sleep(step["clock"])
        await self._quiet()
        for door in self.doors.values():
            door.silent = False

    async def _drop(self, step: Plain) -> None:
        self.doors[step["drop"]].lose()

    async def _close(self, step: Plain) -> None:
        door = self._door(step)
        if step["by"] == "client":
            door.lose()
            return
        assert door.over, "the server has not closed the connection"
        assert step["close"] is None or door.closed == step["close"], f"closed with {door.closed}"
        door.told = True

    async def _given(self, step: Plain) -> None:
        installation = self.installation
        for fact, told in step["given"].items():
            value = self.names.fill(told)
            match fact:
                case "event":
                    await installation.publish(**value)
                case "answer":
                    installation.worker.answer(**value)
                case "grants":
                    installation.worker.grants.update(value)
                case "hold":
                    installation.worker.hold(value)
                case "log":
                    for channel, log in value.items():
                        installation.begin(channel, **log)
                case "unread":
                    self._door(step).read(value, installation.limits.queued)
                case "revoke":
                    installation.revoke(value)
                case "drain":
                    installation.drain(value)
                case "worker":
                    installation.relays[1].detach()
                case "enter":
                    for broker in installation.brokers.values():
                        await broker.enter(value["channel"], value["user"], f"of-{value['user']}")
                case "leave":
                    for broker in installation.brokers.values():
                        await broker.leave(value["channel"], value["user"], f"of-{value['user']}")
                case _:
                    raise AssertionError(f"no such fact: {fact}")
        await self._quiet()


def kind_of_step(step: Plain) -> str:
    """The word that says what a step is."""
    kinds = ("open", "client", "bytes", "server", "clock", "do", "outcome", "state", "drop", "close", "given")
    return next(kind for kind in kinds if kind in step)


def in_the_servers_order(steps: list[Plain]) -> list[Plain]:
    """The steps that the server has part in. Frames that cross it had sent before it read what the client sent."""
    ordered: list[Plain] = []
    for step in steps:
        if kind_of_step(step) in ("do", "outcome", "state"):
            continue
        if not step.get("crosses"):
            ordered.append(step)
            continue
        at = max(index for index, before in enumerate(ordered) if "client" in before)
        ordered.insert(at, step)
    return ordered


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each encoding."""
    return CODECS[request.param]


def test_the_server_plays_its_part(
    server_dialogue: Plain,
    codec: Codec,
    names_of: Callable[[Plain], Any],
    on_virtual_time: Callable[[Coroutine[Any, Any, None]], None],
    calendar: Callable[[], float],
    beside: Callable[[str], ModuleType],
) -> None:
    """The server sends what the dialogue says, in an order that the rules allow, and nothing else."""

    async def play() -> None:
        installation = beside("installation").Installation(server_dialogue["given"], calendar)
        await Play(server_dialogue, codec, names_of(server_dialogue), installation).run()

    on_virtual_time(play())
