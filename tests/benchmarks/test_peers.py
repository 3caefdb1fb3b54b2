"""The peers of the benchmarks: what they serve, and how they are installed, started and stopped.

Those that are not installed yet are installed, save for the two that the tests' own environment has.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import psutil
import pytest
from benchmarks.peers import PEERS, Absent, Peer, PeerFailed, Running, install
from benchmarks.peers.__main__ import main
from benchmarks.peers.starlette import Starlette
from benchmarks.peers.websockets import Websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from backchannel.testing.services import free_port

PAYLOAD = '{"at":1,"fill":"~@ é"}'


class Listener(Protocol):
    """Somebody who listens to a channel."""

    async def next(self) -> str:
        """The payload of the next event."""


class Speaker(Protocol):
    """A client of one dialect."""

    def __init__(self, port: int, stack: AsyncExitStack) -> None: ...

    async def listen(self, channel: int) -> Listener:
        """Return once events arrive."""

    async def publish(self, channel: int, payload: str) -> None:
        """Hand over one event."""

    async def echo(self, payload: str) -> str:
        """Ask once, and return the answer."""


class TextListener:
    """A WebSocket whose messages are payloads."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def next(self) -> str:
        return str(await self._connection.recv(decode=True))


class TextSpeaker:
    """Dialects `text-ws` and `bun`."""

    def __init__(self, port: int, stack: AsyncExitStack) -> None:
        self._port, self._stack = port, stack
        self._publisher: ClientConnection | None = None

    async def open(self, path: str) -> ClientConnection:
        return await self._stack.enter_async_context(connect(f"ws://127.0.0.1:{self._port}{path}", compression=None))

    async def listen(self, channel: int) -> Listener:
        return TextListener(await self.open(f"/sub?channel={channel}"))

    async def publish(self, channel: int, payload: str) -> None:
        if self._publisher is None:
            self._publisher = await self.open("/pub")
        await self._publisher.send(f"{channel} {payload}")

    async def echo(self, payload: str) -> str:
        connection = await self.open("/echo")
        await connection.send(payload)
        return str(await connection.recv())


class NchanSpeaker(TextSpeaker):
    """Dialect `nchan`: the channel is in the path, and publishing is HTTP."""

    async def listen(self, channel: int) -> Listener:
        return TextListener(await self.open(f"/sub/{channel}"))

    async def publish(self, channel: int, payload: str) -> None:
        def post() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            connection.request("POST", f"/pub/{channel}", payload.encode())
            status = connection.getresponse().status
            connection.close()
            return status

        assert await asyncio.to_thread(post) in {201, 202}

    async def echo(self, payload: str) -> str:
        connection = await self.open("/echo/7")
        await connection.send(payload)
        return str(await connection.recv())


class SocketIOListener:
    """A Socket.IO connection in a room."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def next(self) -> str:
        packet = str(await self._connection.recv())
        assert packet.startswith('42["m",')
        return json.dumps(json.loads(packet[2:])[1], separators=(",", ":"), ensure_ascii=False)


class SocketIOSpeaker(TextSpeaker):
    """Dialects `socketio` and `python-socketio`: Engine.IO 4, packets written by hand."""

    async def _greet(self) -> ClientConnection:
        connection = await self.open("/socket.io/?EIO=4&transport=websocket")
        assert str(await connection.recv()).startswith("0{")
        await connection.send("40")
        assert str(await connection.recv()).startswith("40{")
        return connection

    async def listen(self, channel: int) -> Listener:
        connection = await self._greet()
        await connection.send(f'421["sub","{channel}"]')
        assert await connection.recv() == "431[]"
        return SocketIOListener(connection)

    async def publish(self, channel: int, payload: str) -> None:
        if self._publisher is None:
            self._publisher = await self._greet()
        await self._publisher.send(f'42["pub","{channel}",{payload}]')

    async def echo(self, payload: str) -> str:
        connection = await self._greet()
        await connection.send(f'425["echo",{payload}]')
        answer = str(await connection.recv())
        assert answer.startswith("435[")
        return json.dumps(json.loads(answer[3:])[0], separators=(",", ":"), ensure_ascii=False)


class Stream:
    """A byte stream: TCP, or what is inside of WebSocket messages wherever those end."""

    def __init__(self, carrier: ClientConnection | tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._carrier = carrier
        self._arrived = b""

    async def send(self, data: bytes) -> None:
        if isinstance(self._carrier, tuple):
            self._carrier[1].write(data)
            await self._carrier[1].drain()
        else:
            await self._carrier.send(data)

    async def line(self) -> bytes:
        while b"\r\n" not in self._arrived:
            await self._more()
        return await self.exactly(self._arrived.index(b"\r\n") + 2)

    async def exactly(self, size: int) -> bytes:
        while len(self._arrived) < size:
            await self._more()
        taken, self._arrived = self._arrived[:size], self._arrived[size:]
        return taken

    async def _more(self) -> None:
        if isinstance(self._carrier, tuple):
            data = await self._carrier[0].read(65536)
        else:
            data = await self._carrier.recv(decode=False)
        assert data, "closed by the server"
        self._arrived += data


class StreamSpeaker:
    """Protocols of their own: listeners over WebSocket, publishers over TCP on the next port.

    An echo is an event of one's own.
    """

    path: str
    subprotocols: Sequence[Subprotocol] | None = None

    def __init__(self, port: int, stack: AsyncExitStack) -> None:
        self._port, self._stack = port, stack
        self._publisher: Stream | None = None

    async def over_websocket(self) -> Stream:
        url = f"ws://127.0.0.1:{self._port}{self.path}"
        opening = connect(url, subprotocols=self.subprotocols, compression=None)
        return Stream(await self._stack.enter_async_context(opening))

    async def over_tcp(self) -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port + 1)
        self._stack.push_async_callback(writer.wait_closed)
        self._stack.callback(writer.close)
        return Stream((reader, writer))

    async def listen(self, channel: int) -> Listener:
        raise NotImplementedError

    async def publish(self, channel: int, payload: str) -> None:
        raise NotImplementedError

    async def echo(self, payload: str) -> str:
        listener = await self.listen(99)
        await self.publish(99, payload)
        return await listener.next()


class NatsListener:
    """A NATS connection with one subscription."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def next(self) -> str:
        words = (await self._stream.line()).split()
        assert words[0] == b"MSG"
        return (await self._stream.exactly(int(words[-1]) + 2))[:-2].decode()


class NatsSpeaker(StreamSpeaker):
    """Dialect `nats`."""

    path = "/"

    async def _greet(self, stream: Stream, then: str = "") -> Stream:
        assert (await stream.line()).startswith(b"INFO ")
        await stream.send(f'CONNECT {{"verbose":false}}\r\n{then}PING\r\n'.encode())
        assert await stream.line() == b"PONG\r\n"
        return stream

    async def listen(self, channel: int) -> Listener:
        return NatsListener(await self._greet(await self.over_websocket(), f"SUB c.{channel} 1\r\n"))

    async def publish(self, channel: int, payload: str) -> None:
        if self._publisher is None:
            self._publisher = await self._greet(await self.over_tcp())
        data = payload.encode()
        await self._publisher.send(b"PUB c.%d %d\r\n%s\r\n" % (channel, len(data), data))


def mqtt_packet(kind: int, body: bytes) -> bytes:
    """An MQTT packet of less than 128 bytes."""
    return bytes([kind, len(body)]) + body


def mqtt_text(text: str) -> bytes:
    """A length and UTF-8."""
    return struct.pack(">H", len(text.encode())) + text.encode()


class MqttListener:
    """An MQTT connection with one subscription."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def packet(self) -> tuple[int, bytes]:
        kind, size = await self._stream.exactly(2)
        return kind, await self._stream.exactly(size)

    async def next(self) -> str:
        kind, body = await self.packet()
        assert kind == 0x30
        return body[2 + struct.unpack_from(">H", body)[0] :].decode()


class MqttSpeaker(StreamSpeaker):
    """Dialect `mqtt`: MQTT 3.1.1, quality of service 0."""

    path = "/mqtt"
    subprotocols = (Subprotocol("mqtt"),)

    async def _greet(self, stream: Stream) -> Stream:
        await stream.send(mqtt_packet(0x10, mqtt_text("MQTT") + b"\x04\x02\x00\x00" + mqtt_text("")))
        assert await stream.exactly(4) == b"\x20\x02\x00\x00"
        return stream

    async def listen(self, channel: int) -> Listener:
        stream = await self._greet(await self.over_websocket())
        await stream.send(mqtt_packet(0x82, b"\x00\x01" + mqtt_text(f"c/{channel}") + b"\x00"))
        listener = MqttListener(stream)
        assert await listener.packet() == (0x90, b"\x00\x01\x00")
        return listener

    async def publish(self, channel: int, payload: str) -> None:
        if self._publisher is None:
            self._publisher = await self._greet(await self.over_tcp())
        await self._publisher.send(mqtt_packet(0x30, mqtt_text(f"c/{channel}") + payload.encode()))


SPEAKERS: dict[str, type[Speaker]] = {
    "text-ws": TextSpeaker,
    "bun": TextSpeaker,
    "socketio": SocketIOSpeaker,
    "python-socketio": SocketIOSpeaker,
    "nats": NatsSpeaker,
    "mqtt": MqttSpeaker,
    "nchan": NchanSpeaker,
}

HERE: dict[str, Peer] = {
    **PEERS,
    "starlette": Starlette(Path(sys.executable)),
    "websockets": Websockets(Path(sys.executable)),
}
"""Every peer; those that the tests' environment has run in it."""

TEXT = [name for name, peer in HERE.items() if peer.dialect in {"text-ws", "bun"}]


@pytest.fixture(params=list(HERE))
def peer(request: pytest.FixtureRequest) -> Peer:
    """Each peer, installed where it is not yet."""
    found = HERE[request.param]
    try:
        found.version()
    except Absent:
        found.install(print)
    return found


@pytest.fixture
def running(peer: Peer) -> Iterator[Running]:
    """Its server."""
    with peer.start(free_port()) as started:
        yield started


@asynccontextmanager
async def speaking(peer: Peer, running: Running) -> AsyncIterator[Speaker]:
    """A client in the peer's dialect, and at the end of it all its connections closed."""
    async with AsyncExitStack() as stack:
        yield SPEAKERS[peer.dialect](running.port, stack)


async def test_event_reaches_every_listener_of_its_channel_and_no_other(peer: Peer, running: Running) -> None:
    """What is published on a channel arrives, as it was and in order, at all who listen to it, and at nobody else."""
    async with speaking(peer, running) as speaker:
        listeners = [await speaker.listen(1) for _ in range(3)]
        elsewhere = await speaker.listen(2)
        await speaker.publish(1, PAYLOAD)
        assert [await listener.next() for listener in listeners] == [PAYLOAD] * 3
        await speaker.publish(2, '{"at":2}')
        assert await elsewhere.next() == '{"at":2}'
        for number in range(50):
            await speaker.publish(1, f'{{"at":{number}}}')
        for listener in listeners:
            assert [await listener.next() for _ in range(50)] == [f'{{"at":{number}}}' for number in range(50)]


async def test_echo_answers_with_what_was_asked(peer: Peer, running: Running) -> None:
    """One request has one answer: the request."""
    async with speaking(peer, running) as speaker:
        assert await speaker.echo(PAYLOAD) == PAYLOAD


@pytest.mark.parametrize("peer", TEXT, indirect=True)
async def test_listener_that_left_does_not_disturb_the_others(peer: Peer, running: Running) -> None:
    """A channel goes on after one of its listeners closed."""
    async with AsyncExitStack() as stack:
        speaker = TextSpeaker(running.port, stack)
        leaving = await speaker.open("/sub?channel=1")
        staying = await speaker.listen(1)
        await leaving.close()
        await speaker.publish(1, PAYLOAD)
        assert await staying.next() == PAYLOAD


def test_server_is_pinned_and_gone_after_stop(peer: Peer) -> None:
    """A server and what it starts run on the core that was named, with all the files that the hard limit allows, and
    end together; stopping twice is harmless."""
    core = min(os.sched_getaffinity(0))
    with peer.start(free_port(), core) as running:
        top = psutil.Process(running.pid)
        tree = [top, *top.children(recursive=True)]
        assert [process.cpu_affinity() for process in tree] == [[core]] * len(tree)
        soft, hard = top.rlimit(psutil.RLIMIT_NOFILE)
        assert soft == hard
        folder = running.log.parent
        running.stop()
    assert not any(process.is_running() for process in tree)
    assert not folder.exists()


def test_server_ends_with_the_process_that_started_it() -> None:
    """A run that is killed leaves no server behind."""
    script = (
        "import os, sys; sys.path.append(sys.argv[1]); from pathlib import Path; "
        "from benchmarks.peers.websockets import Websockets; "
        "print(Websockets(Path(sys.executable)).start(int(sys.argv[2])).pid, flush=True); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-P", "-c", script, str(root), str(free_port())]
    started = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert started.returncode == -9
    try:
        psutil.Process(int(started.stdout)).wait(10)
    except psutil.NoSuchProcess:
        return


def test_server_that_cannot_listen_is_reported_with_its_log() -> None:
    """On a port that somebody else has, a peer does not count as started."""
    with HERE["websockets"].start(free_port()) as first, pytest.raises(PeerFailed, match=r"port \d+ is taken"):
        HERE["starlette"].start(first.port)


def test_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    """What a server said before it ended is in the error."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no interpreter >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(PeerFailed, match="starlette ended at once:\nno interpreter"):
        Starlette(python).start(free_port())


def test_absent_peer_is_reported_and_the_others_are_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A peer that cannot be had is named with the reason, and is no failure of those after it."""

    class Missing(Websockets):
        def install(self, progress: object) -> None:
            raise Absent("there is no network")

    class Present(Starlette):
        def install(self, progress: object) -> None:
            return

    known = {"websockets": Missing(), "starlette": Present(Path(sys.executable))}
    monkeypatch.setattr("benchmarks.peers.PEERS", known)
    lines: list[str] = []
    assert install(progress=lines.append) == {"websockets": "there is no network"}
    assert lines[0] == "websockets: absent: there is no network"
    assert lines[1].startswith("starlette: ")

    with pytest.raises(Absent, match=r"python -m benchmarks\.peers install starlette"):
        Starlette(tmp_path / "python").version()


def test_peer_that_is_absent_cannot_be_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says how to install what it was to run, and ends with an error."""
    monkeypatch.setitem(PEERS, "starlette", Starlette(tmp_path / "python"))
    assert main(["run", "starlette", "--port", str(free_port())]) == 1
    assert "python -m benchmarks.peers install starlette" in capsys.readouterr().err


def test_every_peer_says_how_it_runs_and_why() -> None:
    """What the page shows of a peer is there for all of them."""
    assert set(PEERS) == {
        *("bun", "nats", "nchan", "mosquitto", "ws", "socketio", "websockets", "starlette", "python_socketio")
    }
    for name, one in PEERS.items():
        assert one.name == name
        assert one.title
        assert one.why.endswith(".")
        assert one.dialect in SPEAKERS
