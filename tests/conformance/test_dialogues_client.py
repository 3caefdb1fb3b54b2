"""The Python client in every dialogue in which something is done, on virtual time, played against by the vectors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgpack  # type: ignore[import-untyped]
import msgspec
import pytest

from backchannel_client import Client, ConnectionClosed, Subscription
from backchannel_protocol import JSON, MSGPACK, Codec, Refused
from backchannel_protocol.frames import Gap, Position

Plain = dict[str, Any]

CODECS = {"json": JSON, "msgpack": MSGPACK}
# A played server gives a sign of life at least this often, in seconds.
SIGN_OF_LIFE = 20.0


class GivenRandom(random.Random):
    """Chance that always comes out as the dialogue says; keys count upwards."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self._value = value
        self._bits = 0

    def random(self) -> float:
        return self._value

    def getrandbits(self, k: int, /) -> int:
        self._bits += 1
        return self._bits


class Wire:
    """One connection: the client's transport, and the server's end of it."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.came: list[Plain] = []
        """What the client sent and nobody asked for yet."""
        self.open = False
        """Whether the session is open."""
        self.code: int | None = None
        """The code with which the client closed; None for none."""
        self.over = False
        """Whether the client has ended it."""
        self.told = False
        """Whether the dialogue has said that it ended."""
        self._end: ConnectionClosed | None = None
        self._to_client: asyncio.Queue[bytes | ConnectionClosed] = asyncio.Queue()

    # Transport

    async def send(self, message: bytes) -> None:
        if self._end is not None:
            raise self._end
        self.codec.decode_client(message)
        self.came.append(msgpack.unpackb(message) if self.codec.binary else json.loads(message))

    async def receive(self) -> bytes:
        if self._end is not None and self._to_client.empty():
            raise self._end
        item = await self._to_client.get()
        if isinstance(item, ConnectionClosed):
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._finish(code)

    def abort(self) -> None:
        self._finish(None)

    def _finish(self, code: int | None) -> None:
        if self._end is None:
            self.over, self.code = True, code
            self.end(1006)

    # The server's end

    def say(self, frame: Plain) -> None:
        """Send a frame."""
        self.open = self.open or frame["type"] == "connected"
        self._to_client.put_nowait(self.codec.encode(frame))

    def end(self, code: int) -> None:
        """The connection ends."""
        self._end = ConnectionClosed(code)
        self._to_client.put_nowait(self._end)

    @property
    def alive(self) -> bool:
        """Whether neither side has ended it."""
        return self._end is None


class Listener:
    """What an app hears of one channel."""

    def __init__(self, client: Client, channel: str, since: Position | None) -> None:
        self.events: list[int | None] = []
        self.gaps: list[Plain] = []
        self.error = ""
        self.subscription: Subscription = client.subscribe(channel, since=since, on_gap=self._missed)
        self.task = asyncio.create_task(self._listen())

    def _missed(self, gap: Gap) -> None:
        self.gaps.append({"from": gap.from_, "to": gap.to, "epoch": gap.epoch, "reason": gap.reason})

    async def _listen(self) -> None:
        try:
            async for event in self.subscription:
                self.events.append(event.offset)
        except Refused as exc:
            self.error = exc.code
        except ConnectionClosed as exc:
            self.error = str(exc.code)

    def state(self) -> Plain:
        """It, as dialogues tell it."""
        sub = self.subscription
        found = {
            "state": sub.state,
            "verdict": sub.verdict,
            "events": self.events,
            "gaps": self.gaps,
            "error": self.error,
        }
        if sub.tracker.position is not None:
            found["position"] = msgspec.to_builtins(sub.tracker.position)
        return found


class Play:
    """One dialogue, with the server's part played by the vector."""

    def __init__(self, dialogue: Plain, codec: Codec, names: Any, equal: Callable[[Any, Any], bool]) -> None:
        given = dialogue["given"]
        self.dialogue = dialogue
        self.codec = codec
        self.names = names
        self.equal = equal
        self.wires: dict[str, Wire] = {}
        self.newest = ""
        self.listeners: dict[str, Listener] = {}
        self.done: dict[str, asyncio.Task[Any]] = {}
        self.tokens: list[str] = list(given["tokens"])
        self._attempts: asyncio.Queue[asyncio.Future[Wire]] = asyncio.Queue()
        self.client = Client(
            "ws://server/ws",
            token=self._token if len(self.tokens) > 1 else self.tokens[0],
            codec=codec,
            open_timeout=None,
            connector=self._connect,
            random=GivenRandom(given["random"]),
        )

    def _token(self) -> str:
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]

    async def _connect(self, url: str, codec: Codec) -> Wire:
        attempt: asyncio.Future[Wire] = asyncio.get_running_loop().create_future()
        self._attempts.put_nowait(attempt)
        return await attempt

    async def run(self) -> None:
        """Play all steps; what the client sends beyond the script fails."""
        steps = self.dialogue["steps"]
        try:
            at = 0
            while at < len(steps):
                end = at + 1
                while "client" in steps[at] and end < len(steps) and "client" in steps[end]:
                    end += 1
                try:
                    await self._step(steps[at:end])
                except AssertionError as exc:
                    raise AssertionError(f"{self.dialogue['name']}, step {at}: {steps[at]}\n{exc}") from None
                at = end
            await self._quiet()
            self._nothing_else()
            assert self._attempts.empty(), "the client opens another connection"
        finally:
            await self.client.close()
            for listener in self.listeners.values():
                await listener.task
            for task in self.done.values():
                with contextlib.suppress(Refused, ConnectionClosed, asyncio.CancelledError):
                    await task

    async def _quiet(self) -> None:
        # Returns when nobody has anything left to do: a timer is due only then.
        await asyncio.sleep(1e-6)

    async def _step(self, steps: list[Plain]) -> None:
        step = steps[0]
        if "given" in step:
            return  # What happens at the server shows in what it sends.
        await self._quiet()
        if "client" in step:
            self._client(steps)
            return
        if not step.get("crosses"):
            self._nothing_else()
        match step:
            case {"do": action}:
                self._do(action, step)
            case {"server": frame}:
                self._wire(step).say(self.names.frame(frame))
            case {"open": _}:
                self._open(step)
            case {"clock": seconds}:
                await self._clock(seconds, silent=step.get("silent", False))
            case {"drop": name}:
                self.wires[name].told = True
                self.wires[name].end(1006)
            case {"close": code}:
                self._close(step, code)
            case {"outcome": name}:
                self._outcome(name, step)
            case {"state": told}:
                self._state(told)
            case _:
                raise AssertionError(f"no such step: {step}")

    def _wire(self, step: Plain) -> Wire:
        return self.wires[step.get("on", self.newest)]

    def _open(self, step: Plain) -> None:
        assert not self._attempts.empty(), "the client opens no connection"
        attempt = self._attempts.get_nowait()
        if step.get("fails"):
            attempt.set_exception(ConnectionClosed(1006, "Nobody is there."))
            return
        self.newest = step["open"]
        self.wires[self.newest] = Wire(self.codec)
        attempt.set_result(self.wires[self.newest])

    def _client(self, steps: list[Plain]) -> None:
        for name, wire in self.wires.items():
            expected = [step["client"] for step in steps if step.get("on", self.newest) == name]
            problem = self.names.take(expected, wire.came)
            assert not problem, problem

    def _nothing_else(self) -> None:
        for name, wire in self.wires.items():
            left = [frame for frame in wire.came if frame["type"] != "pong"]
            assert not left, f"the client sent on {name}, too: {left}"
            wire.came.clear()

    async def _clock(self, seconds: float, *, silent: bool) -> None:
        while seconds > 0:
            step = min(seconds, SIGN_OF_LIFE)
            await asyncio.sleep(step)
            seconds -= step
            for wire in self.wires.values():
                if wire.open and wire.alive and not silent:
                    wire.say({"type": "ping"})

    def _close(self, step: Plain, code: int | None) -> None:
        wire = self._wire(step)
        wire.told = True
        if step["by"] == "server":
            wire.end(1006 if code is None else code)
            return
        assert wire.over, "the client has not closed the connection"
        assert code in (None, wire.code), f"closed with {wire.code}"

    # What the app does

    def _do(self, action: str, step: Plain) -> None:
        client = self.client
        told = {field: self.names.fill(value) for field, value in step.items() if field in _ARGUMENTS}
        for field in ("since", "before"):
            if field in told:
                told[field] = Position(**told[field])
        match action:
            case "connect":
                self._begin(step, client.connect())
            case "disconnect":
                self._begin(step, client.close())
            case "subscribe":
                self.listeners[step["channel"]] = Listener(client, step["channel"], told.get("since"))
            case "unsubscribe":
                self.listeners[step["channel"]].subscription.close()
            case "dismiss_gap":
                self.listeners[step["channel"]].subscription.dismiss_gap()
            case "call":
                name, data = told.pop("name"), told.pop("data")
                self._begin(step, client.request(name, data, **told))
            case "publish":
                self._begin(step, client.publish(told["channel"], told["name"], told["data"]))
            case "history":
                self._begin(step, client.history(**told))
            case "presence":
                self._begin(step, client.presence(**told))
            case "cancel":
                self.done[step["of"]].cancel()
            case _:
                raise AssertionError(f"no such action: {action}")

    def _begin(self, step: Plain, work: Coroutine[Any, Any, Any]) -> None:
        self.done[str(step.get("as", step["do"]))] = asyncio.create_task(work)

    def _outcome(self, name: str, step: Plain) -> None:
        task = self.done[name]
        if step.get("pending"):
            assert not task.done(), "it is settled already"
            return
        assert task.done(), "it is not settled"
        if step.get("cancelled"):
            assert task.cancelled(), "it was not cancelled"
            return
        exc = task.exception()
        if "error" in step:
            assert exc is not None, f"it succeeded: {task.result()}"
            told = {"code": getattr(exc, "code", None)}
            if isinstance(exc, Refused):
                told |= {"retry": exc.retry, "outcome": exc.outcome, "details": exc.details}
            for field, value in step["error"].items():
                assert self.equal(told.get(field), value), f"{field} is {told.get(field)!r}"
            return
        assert exc is None, f"it failed: {exc!r}"
        result = task.result()
        data = result.data if step_is_call(result) else msgspec.to_builtins(result)
        if isinstance(data, dict) and data.get("type") == "presence":
            data = {field: data[field] for field in ("revision", "members", "count")}
        assert self.names.agrees(step["data"], data), f"it is {data}"
        if "positions" in step:
            assert self.equal(result.positions, step["positions"]), f"positions are {result.positions}"

    def _state(self, told: Plain) -> None:
        if "client" in told:
            assert self.client.state == told["client"], f"the client is {self.client.state}"
        for channel, expected in told.get("subscriptions", {}).items():
            found = self.listeners[channel].state()
            for field, value in expected.items():
                if field == "gaps":
                    assert len(value) == len(found["gaps"]), f"{channel}: gaps are {found['gaps']}"
                    for gap, came in zip(value, found["gaps"], strict=True):
                        assert self.equal(gap, {key: came[key] for key in gap}), f"{channel}: gaps are {found['gaps']}"
                else:
                    assert self.equal(found.get(field), value), f"{channel}: {field} is {found.get(field)!r}"


_ARGUMENTS = frozenset({"channel", "name", "data", "key", "timeout", "since", "before", "limit"})


def step_is_call(result: Any) -> bool:
    """Whether this is what a call came to, with the positions that it includes."""
    return hasattr(result, "positions")


@pytest.fixture(params=["json", "msgpack"])
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each encoding."""
    return CODECS[request.param]


def test_the_client_plays_its_part(
    client_dialogue: Plain,
    codec: Codec,
    names_of: Callable[[Plain], Any],
    equal: Callable[[Any, Any], bool],
    on_virtual_time: Callable[[Coroutine[Any, Any, None]], None],
) -> None:
    """The client sends what the dialogue says, and nothing else, and its app hears what it says."""

    async def play() -> None:
        await Play(client_dialogue, codec, names_of(client_dialogue), equal).run()

    on_virtual_time(play())
