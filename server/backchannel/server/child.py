"""A child: one gateway or worker that a supervisor has started, its output, and whether it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Final, Self

__all__ = ["Child"]

# How often a child is asked whether it is ready, at first and at least, and how long an answer may take, in seconds.
_ASK_SOON: Final = 0.05
_ASK_LATER: Final = 1.0
_ANSWER: Final = 2.0
# Bytes of one line of output; a longer one is cut into several.
_LINE: Final = 256 * 1024
# Lines of its errors that are kept, to tell why it ended.
_KEPT: Final = 20


class Child:
    """One process. Make it by `start`.

    Attributes:
        ready: set once `/readyz` has told that it is.
        ended: set once it has ended and its output is written.
    """

    def __init__(self, name: str, process: Process, health: int, became_ready: Callable[[], None]) -> None:
        self.name = name
        self.pid = process.pid
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.last_errors: deque[str] = deque(maxlen=_KEPT)
        self.started_at = time.monotonic()
        self._process = process
        self._health = health
        self._became_ready = became_ready
        self._task = asyncio.create_task(self._live(), name=name)

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        sockets: Mapping[str, Sequence[socket.socket]],
        became_ready: Callable[[], None],
    ) -> Self:
        """Start a process.

        Args:
            name: what its output is marked with: `gateway-1`.
            command: its words.
            environ: its environment.
            sockets: listening sockets that it inherits, by the flag that names their descriptors.
            became_ready: called when `ready` is set.

        Raises:
            OSError: it cannot be started.
        """
        # Its own, also where others share what it serves: the answer is this process's, and nobody else's.
        with socket.create_server(("127.0.0.1", 0)) as private:
            flags = [(flag, each.fileno()) for flag, several in sockets.items() for each in several]
            flags.append(("--health-fd", private.fileno()))
            process = await asyncio.create_subprocess_exec(
                *command,
                *(word for flag, descriptor in flags for word in (flag, str(descriptor))),
                env=environ,
                pass_fds=[descriptor for _, descriptor in flags],
                # Its end tells the child that the supervisor is gone.
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                # In a session of its own: the terminal's Ctrl-C reaches it once, through the supervisor.
                start_new_session=True,
            )
            return cls(name, process, private.getsockname()[1], became_ready)

    @property
    def exit_code(self) -> int | None:
        """How it ended: negative is the signal that killed it; None while it runs."""
        return self._process.returncode

    @property
    def seconds(self) -> float:
        """For how long it has been there."""
        return time.monotonic() - self.started_at

    async def end(self, patience: float) -> None:
        """Let it end in order, and return once it has; killed where that takes more than `patience` seconds."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                await self.ended.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _live(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        asking = asyncio.create_task(self._until_ready())
        try:
            await asyncio.gather(
                self._pass_on(self._process.stdout, sys.stdout.buffer),
                self._pass_on(self._process.stderr, sys.stderr.buffer, self.last_errors),
                self._process.wait(),
            )
        finally:
            asking.cancel()
            self.ended.set()

    async def _pass_on(self, source: asyncio.StreamReader, target: BinaryIO, kept: deque[str] | None = None) -> None:
        """Write what the process writes, line by line, marked with its name."""
        rest = b""
        while data := await source.read(_LINE):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _LINE:
                lines, rest = [*lines, rest], b""
            self._write(lines, target, kept)
        if rest:
            self._write([rest], target, kept)

    def _write(self, lines: Sequence[bytes], target: BinaryIO, kept: deque[str] | None) -> None:
        if kept is not None:
            kept.extend(line.decode("utf-8", "replace") for line in lines)
        # Whoever reads our own output may be gone; that ends no child.
        with contextlib.suppress(OSError):
            target.write(b"".join(_marked(self.name.encode(), line) for line in lines))
            target.flush()

    async def _until_ready(self) -> None:
        pause = _ASK_SOON
        while not await self._answers_ready():
            await asyncio.sleep(pause)
            pause = min(_ASK_LATER, pause * 1.2)
        self.ready.set()
        self._became_ready()

    async def _answers_ready(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._health)
                try:
                    writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return status.split()[1:2] == [b"200"]


def _marked(name: bytes, line: bytes) -> bytes:
    """A line of output that tells whose it is; one of JSON stays JSON."""
    if line.startswith(b'{"') and line.endswith(b"}"):
        return b'{"process": "' + name + b'", ' + line[1:] + b"\n"
    return name + b" | " + line + b"\n"
