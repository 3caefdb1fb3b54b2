"""A chat client by somebody who has read PROTOCOL.md and nothing else: `websockets`, `json`, and the dialogues.

The numbers in comments are those of the dialogues; the ids, of the rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import secrets
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

__all__ = ["Stranger"]

Frame = dict[str, Any]


class Ended(Exception):
    """The connection is over."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Link:
    """One connection."""

    def __init__(self, socket: ClientConnection, patience: float) -> None:
        self.socket = socket
        self.patience = patience
        """How long it may be silent (PING-2)."""

    async def send(self, frame: Frame) -> None:
        """Send; what is lost with the connection is seen to elsewhere."""
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(json.dumps(frame))

    async def receive(self) -> Frame:
        """The next frame."""
        try:
            async with asyncio.timeout(self.patience):
                found: Frame = json.loads(await self.socket.recv())
                return found
        except TimeoutError:
            self.socket.transport.abort()
            raise Ended(1006) from None
        except ConnectionClosed as exc:
            raise Ended(exc.rcvd.code if exc.rcvd else 1006) from None


class Room:
    """One channel of the chat."""

    def __init__(self) -> None:
        self.epoch = ""
        self.offset = 0
        self.resume: Frame | None = None
        """Where to resume from until a gap is filled (GAP-2); None: from the position."""
        self.link: Link | None = None
        """Whose events count (MOVE-2)."""
        self.loading: list[Frame] | None = None
        """Events that came while a snapshot is loaded, which may include them (JOIN-1)."""
        self.messages: dict[int, str] = {}
        """Texts by their running number."""
        self.heard: list[int] = []
        """The offset of every event that was taken, in order."""
        self.verdicts: list[str] = []

    @property
    def since(self) -> Frame:
        """The position to resume from."""
        return self.resume or {"epoch": self.epoch, "offset": self.offset}


class Stranger:
    """A user in a chat, whatever the network does."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.token = token
        self.rooms: dict[str, Room] = {}
        self.moves = 0
        self.network = asyncio.Event()
        """Whether there is one."""
        self.network.set()
        self._link: Link | None = None
        self._ids = itertools.count(1)
        self._open: dict[int, tuple[Frame, asyncio.Future[Frame]]] = {}
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # For the user

    async def start(self, *channels: str) -> None:
        """Come in, and return when every channel is there."""
        self.rooms = {channel: Room() for channel in channels}
        self._spawn(self._stay())
        await self.until(lambda: all(room.verdicts and room.loading is None for room in self.rooms.values()))

    async def say(self, channel: str, text: str) -> Frame:
        """Send a message; returns when it is committed (6)."""
        return await self._call("message.send", {"channel": channel, "text": text}, key=secrets.token_hex(16))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until this holds."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    def texts(self, channel: str) -> list[str]:
        """The chat, as this user sees it."""
        messages = self.rooms[channel].messages
        return [messages[number] for number in sorted(messages)]

    @property
    def connected(self) -> bool:
        """Whether there is an open session."""
        return self._link is not None

    def pull_the_plug(self) -> None:
        """The network is gone, and with it the connection."""
        self.network.clear()
        if self._link is not None:
            self._link.socket.transport.abort()

    async def close(self) -> None:
        """Go (CLOSE-1)."""
        if self._link is not None:
            await self._link.socket.close(1000)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Connections

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stay(self) -> None:
        """Keep a connection, with backoff (CONN-13); a final code ends it."""
        bound = 0.5
        while True:
            try:
                link = await self._connect()
            except (OSError, InvalidHandshake, TimeoutError, Ended) as exc:
                if isinstance(exc, Ended) and 4500 <= exc.code <= 4999:
                    return
            else:
                bound = 0.5
                code = await self._follow(link)
                if 4500 <= code <= 4999:
                    return
                if self._link is not None:
                    return  # Another one took over, and has a follower of its own.
            await asyncio.sleep(random.uniform(0, bound))
            bound = min(20.0, bound * 2)

    async def _connect(self) -> Link:
        """Open a session and resume (1, 2)."""
        await self.network.wait()
        socket = await connect(self.url, subprotocols=["backchannel.v1.json"], ping_interval=None)  # type: ignore[list-item]
        link = Link(socket, 10.0)
        hello = {"type": "connect", "id": next(self._ids), "token": self.token}
        resume = {name: room.since for name, room in self.rooms.items() if room.epoch}
        await link.send({**hello, "resume": resume} if resume else hello)
        while True:
            frame = await link.receive()
            if frame["type"] == "connected":
                break
        link.patience = frame["ping"] + frame["grace"]
        self._link = link
        for name, room in self.rooms.items():
            if name not in resume:
                await link.send({"type": "subscribe", "id": next(self._ids), "channel": name})
            elif room.loading is not None:
                self._spawn(self._load(name, room))
        for request, _ in list(self._open.values()):
            # Commands with their keys, and queries, may be sent again (CALL-6).
            await link.send(request)
        self._news.set()
        return link

    async def _follow(self, link: Link) -> int:
        """Take frames until the connection ends; returns the code."""
        try:
            while True:
                await self._take(link, await link.receive())
                self._news.set()
        except Ended as exc:
            for room in self.rooms.values():
                if room.link is link:
                    room.link = None
            if self._link is link:
                self._link = None
            self._news.set()
            return exc.code

    async def _move(self, old: Link, after: float) -> None:
        """Go over to another connection while the old one still serves (9)."""
        try:
            await asyncio.sleep(random.uniform(0, after / 2))
            new = await self._connect()
        except (OSError, InvalidHandshake, TimeoutError, Ended):
            return  # Nobody else is there: the old connection serves until it is closed, and then backoff does.
        self._spawn(self._follow_alone(new))
        await self.until(lambda: all(room.link is not old for room in self.rooms.values()) and not self._open)
        await old.socket.close(1000)

    async def _follow_alone(self, link: Link) -> None:
        await self._follow(link)
        if self._link is None:
            await self._stay()

    # Frames

    async def _take(self, link: Link, frame: Frame) -> None:
        room = self.rooms.get(frame.get("channel", ""))
        kind = frame["type"]
        if kind == "ping":
            await link.send({"type": "pong"})
        elif kind == "move":
            self.moves += 1
            self._spawn(self._move(link, frame["after"]))
        elif kind in ("reply", "error"):
            self._answer(frame)
        elif room is None:
            pass  # Of a channel that nobody here listens to (EVENT-6), or unknown (ENC-12).
        elif kind == "subscribed" and link is self._link:
            self._subscribed(link, frame, room)
        elif room.link is not link:
            pass
        elif kind == "event":
            self._event(frame, room)
        elif kind == "gap":
            self._missed(frame, room, frame["to"])

    def _subscribed(self, link: Link, frame: Frame, room: Room) -> None:
        first = not room.epoch
        room.link = link
        room.verdicts.append(frame["verdict"])
        if first:
            room.epoch, room.offset = frame["epoch"], frame["offset"]
            room.loading = []
            self._spawn(self._load(frame["channel"], room))
        elif frame["verdict"] != "recovered":
            self._missed(frame, room, frame["offset"])

    def _event(self, frame: Frame, room: Room) -> None:
        offset = frame.get("offset")
        if offset is None or offset <= room.offset:
            return  # Ephemeral, or known from the other connection (EVENT-1, EVENT-2).
        room.offset = offset
        room.heard.append(offset)
        if room.loading is not None:
            room.loading.append(frame)
        else:
            self._apply(frame, room)

    @staticmethod
    def _apply(frame: Frame, room: Room) -> None:
        if frame["name"] == "message.created":
            room.messages[frame["data"]["seq"]] = frame["data"]["text"]

    def _missed(self, frame: Frame, room: Room, to: int) -> None:
        """A gap: go on behind it, and load what is missing (2, 3, 4)."""
        room.resume = room.since
        room.epoch, room.offset = frame["epoch"], to
        if room.loading is None:
            room.loading = []
            self._spawn(self._load(frame["channel"], room))

    async def _load(self, channel: str, room: Room) -> None:
        """A snapshot that joins the stream without a seam (5)."""
        included = 0
        more = True
        while more:
            after = max(room.messages, default=0)
            answer = await self._call("message.list", {"channel": channel, "after": after, "limit": 5})
            for message in answer["data"]["messages"]:
                room.messages[message["seq"]] = message["text"]
            included = answer["positions"][channel]
            more = answer["data"]["more"]
        for event in room.loading or ():
            if event["offset"] > included:
                self._apply(event, room)
        room.loading = None
        room.resume = None
        self._news.set()

    # Asking

    async def _call(self, name: str, data: Frame, **fields: Any) -> Frame:
        number = next(self._ids)
        request = {"type": "call", "id": number, "name": name, "data": data, **fields}
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._open[number] = request, future
        while True:
            if self._link is not None:
                await self._link.send(request)
            answer = await future
            if answer["type"] == "reply":
                del self._open[number]
                self._news.set()
                return answer
            if not answer["retry"]:
                del self._open[number]
                raise RuntimeError(f"{name} was refused: {answer['code']}: {answer['message']}")
            # As CALL-6 and REQ-4 allow: again, unchanged.
            await asyncio.sleep(answer.get("retry_after", 0.2))
            future = asyncio.get_running_loop().create_future()
            self._open[number] = request, future

    def _answer(self, frame: Frame) -> None:
        found = self._open.get(frame.get("id", 0))
        if found is not None and not found[1].done():
            found[1].set_result(frame)
