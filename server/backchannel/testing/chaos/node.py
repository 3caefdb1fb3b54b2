"""Clients of the TypeScript library, in one process of Node that `driver.mjs` runs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from backchannel_protocol import BackchannelError, Refused

from ..listener import Listener
from ..report import Finding
from .clients import Answered, Effect
from .front import Front
from .workload import Asked

__all__ = ["Node", "NodeClient", "find_package"]

_DRIVER: Final = Path(__file__).with_name("driver.mjs")
# A frame of the largest kind, and then some: asyncio reads no line that is longer.
_LINE: Final = 4 * 1024 * 1024
_READY: Final = 60.0


def find_package(folder: Path | None) -> Path | None:
    """The folder of the built package `@backchannel/client`: this one, or `client_js` beside the server's sources.

    None where there is none, or no Node to run it.
    """
    found = folder or Path(__file__).parents[4] / "client_js"
    return found if (found / "dist" / "index.js").is_file() and shutil.which("node") else None


class Node:
    """The process. Use it on one loop: `start`, then `client` as often as wanted, then `close`."""

    def __init__(self, package: Path, log: Path) -> None:
        """`package` is the folder of `@backchannel/client`; what Node complains of goes to `log`."""
        self._package = package
        self._log = log
        self._clients: dict[str, NodeClient] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.failures: list[Finding] = []

    async def start(self) -> None:
        """Start Node."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                shutil.which("node") or "node",
                str(_DRIVER),
                str(self._package),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LINE,
            )
        self._reading = asyncio.create_task(self._read(self._process))

    def client(self, name: str, user: str, front: Front, token: str, *, binary: bool) -> NodeClient:
        """A client; it connects with `open`."""
        client = NodeClient(name, user, front, token, binary, self.order)
        self._clients[name] = client
        return client

    def order(self, **order: Any) -> None:
        """Tell the driver what to do."""
        process = self._process
        if process is not None and process.returncode is None and process.stdin is not None:
            process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            news = json.loads(line)
            client = self._clients.get(news["client"])
            if client is not None:
                client.receive(news)
            if news["type"] == "failed":
                self._fail(news["message"])
        self._fail("Node ended by itself.")

    def _fail(self, text: str) -> None:
        text = f"The TypeScript clients' driver failed: {text} Its log: {self._log}"
        self.failures.append(Finding(kind="silent", channel="", text=text))

    async def close(self) -> None:
        """End the process."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class NodeClient:
    """`LoadClient` by the TypeScript `Client`."""

    def __init__(
        self, name: str, user: str, front: Front, token: str, binary: bool, order: Callable[..., None]
    ) -> None:
        self.name = name
        self.user = user
        self.front = front
        self.ends: dict[str, BackchannelError] = {}
        self._token = token
        self._binary = binary
        self._order = order
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Answered]] = {}
        self._listening: dict[str, tuple[Listener, Effect, bool, asyncio.Future[None]]] = {}
        self._connected = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether it believes that it is."""
        return self._connected.is_set()

    async def open(self) -> None:
        """Connect. Raises `Refused`."""
        self._order(type="open", client=self.name, url=self.front.url, token=self._token, binary=self._binary)
        await self._in_time(self._connected.wait())

    async def ask(self, asked: Asked, key: str | None, timeout: float) -> Answered:
        """Call."""
        return await self._ask(
            type="call", client=self.name, name=asked.name, data=dict(asked.data), key=key, timeout=timeout
        )

    async def publish(self, channel: str, asked: Asked, key: str, timeout: float) -> None:
        """Publish."""
        await self._ask(
            type="publish",
            client=self.name,
            channel=channel,
            name=asked.name,
            data=dict(asked.data),
            key=key,
            timeout=timeout,
        )

    async def _ask(self, **order: Any) -> Answered:
        id_ = next(self._ids)
        future = self._asked[id_] = asyncio.get_running_loop().create_future()
        self._order(id=id_, **order)
        try:
            answered: Answered = await future
            return answered
        finally:
            del self._asked[id_]

    async def listen(self, listener: Listener, effect: Effect, *, live: bool) -> None:
        """Listen."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening[listener.channel] = (listener, effect, live, ready)
        self._order(type="listen", client=self.name, channel=listener.channel, live=live)
        await self._in_time(ready)

    async def _in_time(self, waiting: Awaitable[object]) -> None:
        try:
            async with asyncio.timeout(_READY):
                await waiting
        except TimeoutError:
            raise Refused("unavailable", f"{self.name}, in TypeScript, got no answer in {_READY:g} s.") from None

    def receive(self, news: dict[str, Any]) -> None:
        """Take what the driver tells of this client."""
        kind = news["type"]
        if kind == "state":
            if news["state"] == "connected":
                self._connected.set()
            else:
                self._connected.clear()
        elif kind in ("answer", "refused"):
            future = self._asked.get(news["id"])
            if future is None or future.done():
                return
            if kind == "answer":
                future.set_result(Answered(news["data"], news["positions"]))
            else:
                future.set_exception(Refused(news["code"], news["message"], outcome=news["outcome"]))
        elif news.get("channel") in self._listening:
            self._hear(news)

    def _hear(self, news: dict[str, Any]) -> None:
        listener, effect, live, ready = self._listening[news["channel"]]
        match news["type"]:
            case "event":
                found = effect(news["name"], news["data"])
                epoch = news["epoch"]
                listener.event(news["offset"], (epoch, found) if live and found is not None else found, epoch)
            case "gap":
                listener.gap(news["epoch"], news["from"], news["to"], news["reason"])
            case "subscribed" if not ready.done():
                # What a later verdict means, the library tells by gaps.
                listener.subscribed(news["epoch"], news["offset"])
                ready.set_result(None)
            case "unsubscribed":
                refused = Refused(news["code"], news["message"])
                self.ends[listener.channel] = refused
                listener.ended()
                if not ready.done():
                    ready.set_exception(refused)
            case _:
                pass

    def findings(self) -> list[Finding]:
        """Nothing: its wires are not watched."""
        return []

    def unanswered(self) -> list[Finding]:
        """Questions that the library has not answered."""
        return [
            Finding(kind="silent", channel="", listener=self.name, text=f"Its question {id_} was never answered.")
            for id_ in self._asked
        ]

    async def close(self) -> None:
        """Close it."""
        self._order(type="close", client=self.name)
