"""Link: one client's way to the gateway, and what can go wrong on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from backchannel_client import ConnectionClosed
from backchannel_client.transport import ABNORMAL
from backchannel_protocol import Codec, Refused

from ..gateway.gateway import Gateway
from .pipe import ClientEnd, Pipe

__all__ = ["Link"]


class Link:
    """A client's network. All faults hold for the connections that are open and for those that will be.

    Args:
        gateway: who takes connections now; None while nobody does.
        address: what the gateway takes for the client's address.
    """

    def __init__(self, gateway: Callable[[], Gateway | None], address: str) -> None:
        self._gateway = gateway
        self.address = address
        self.latency = 0.0
        """Seconds that each message takes, either way."""
        self._pipes: list[Pipe] = []
        self._held = False
        self._reading = True
        self._severed = False
        self._free = asyncio.Event()
        self._free.set()

    @property
    def connections(self) -> int:
        """How many connections are open on it, or not yet gone at both ends."""
        return len(self._pipes)

    # Faults

    def cut(self) -> None:
        """Lose every open connection without a close: both ends notice at once, and what is on the way is lost.

        The client may connect again.
        """
        for pipe in list(self._pipes):
            pipe.cut()

    def sever(self) -> None:
        """Cut, and let no connection through until `mend`."""
        self._severed = True
        self.cut()

    def mend(self) -> None:
        """Let connections through again."""
        self._severed = False

    def hold(self) -> None:
        """Hold back everything, in both directions, until `release`: nobody notices but by the silence.

        A client that is asleep, a cable that is out, a network that is parted.
        """
        self._held = True
        self._free.clear()
        self._apply()

    def release(self) -> None:
        """Let what was held back arrive, in order."""
        self._held = False
        self._free.set()
        self._apply()

    def stop_reading(self) -> None:
        """Let the client read nothing until `read_on`, while what it sends arrives: a listener that does not keep up.

        The gateway's buffer for it grows.
        """
        self._reading = False
        self._apply()

    def read_on(self) -> None:
        """Let the client read again, beginning with what waits."""
        self._reading = True
        self._apply()

    def delay(self, seconds: float) -> None:
        """Let each message take so long from now on, either way; 0 ends it.

        Raises:
            ValueError: it would arrive before it was sent.
        """
        if seconds < 0:
            raise ValueError(f"delay: {seconds} s: give 0 or more.")
        self.latency = seconds

    def _apply(self) -> None:
        for pipe in list(self._pipes):
            self._apply_to(pipe)

    def _apply_to(self, pipe: Pipe) -> None:
        pipe.hold(to_client=self._held or not self._reading, to_server=self._held)

    # The client's connector

    async def connect(self, url: str, codec: Codec, token: str | None = None) -> ClientEnd:
        """Open a connection: a `backchannel_client.Connector`. `token` is what an `Authorization` header would carry.

        Raises:
            ConnectionClosed: nobody is there, or the gateway refused.
        """
        await self._travel()
        gateway = None if self._severed else self._gateway()
        if gateway is None:
            raise ConnectionClosed(ABNORMAL, f"Cannot connect to {url}: nobody listens there.")
        pipe = Pipe(lambda: self.latency, self._forget)
        self._apply_to(pipe)
        try:
            pipe.server.open(gateway, codec, self.address, token)
        except Refused as exc:
            raise ConnectionClosed(ABNORMAL, f"{url} refused the connection: {exc}", final=not exc.retry) from exc
        self._pipes.append(pipe)
        try:
            await self._travel()
        except asyncio.CancelledError:
            pipe.client.abort()
            raise
        if pipe.client.end is not None:
            raise pipe.client.end
        return pipe.client

    async def _travel(self) -> None:
        """Wait as long as a message is on its way."""
        if self.latency:
            await asyncio.sleep(self.latency)
        await self._free.wait()

    def _forget(self, pipe: Pipe) -> None:
        if pipe in self._pipes:
            self._pipes.remove(pipe)
