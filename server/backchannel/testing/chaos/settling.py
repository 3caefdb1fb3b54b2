"""Settling: waiting until every listener has heard what there is, and everybody sees who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from backchannel_client import BackchannelError

from ..report import Finding
from .clients import LoadClient, PythonClient
from .load import Load
from .workload import Workload

__all__ = ["Settling"]

_LOOK: Final = 0.3
_TIMEOUT: Final = 10.0

Execute = Callable[[str], Awaitable[Sequence[tuple[Any, ...]]]]


class Settling:
    """Use it when nobody writes any more."""

    def __init__(self, workload: Workload, load: Load, execute: Execute, clients: Sequence[LoadClient]) -> None:
        """`clients` are those that listen to every channel; `execute` runs a SELECT."""
        self._workload = workload
        self._load = load
        self._execute = execute
        self._clients = clients
        self._missing: list[Finding] = []

    def missing(self) -> list[Finding]:
        """What it still waits for."""
        return self._missing

    async def done(self) -> None:
        """Return once everything is as it should be. Cancelling gives up."""
        while True:
            try:
                self._missing = [*await self._behind(), *await self._behind_live(), *await self._not_there()]
            except (BackchannelError, OSError) as exc:
                self._missing = [Finding(kind="silent", channel="", text=f"Nobody can tell how it stands: {exc}")]
            if not self._missing:
                return
            await asyncio.sleep(_LOOK)

    async def _behind(self) -> list[Finding]:
        """Listeners of durable channels that are not where the log ends."""
        findings = []
        for channel, epoch, head in await self._execute('SELECT channel, epoch, "offset" FROM heads'):
            for listener in self._load.durable.listeners:
                if listener.channel == channel and listener.epoch is not None:
                    findings += _behind(listener.name, channel, (listener.epoch, listener.offset), (epoch, head))
        return findings

    async def _behind_live(self) -> list[Finding]:
        """The same of live channels; tells the checker what their logs hold."""
        findings = []
        asker = self._python()
        for channel in self._workload.live if asker is not None else ():
            assert asker is not None
            page = await asker.client.history(channel, limit=1000, timeout=_TIMEOUT)
            effects = [self._workload.effect(event.name, event.data) for event in page.events]
            for listener in self._load.live.listeners:
                if listener.channel == channel and listener.epoch is not None:
                    at = (listener.epoch, listener.offset)
                    findings += _behind(listener.name, channel, at, (page.epoch, page.head))
            if not findings:
                events = zip((event.offset for event in page.events), effects, strict=True)
                self._load.live.logged(channel, page.epoch, [(at, (page.epoch, effect)) for at, effect in events])
        return findings

    async def _not_there(self) -> list[Finding]:
        """Channels whose list of who is present is not the list of who listens, as each client is told it."""
        if not self._workload.presence:
            return []
        findings = []
        for channel in self._workload.channels:
            listening = {
                self._load.users[name]
                for name, listeners in self._load.listeners.items()
                for listener in listeners
                if listener.channel == channel and listener.epoch is not None
            }
            for client in self._clients:
                if not isinstance(client, PythonClient):
                    continue
                state = await client.client.presence(channel, timeout=_TIMEOUT)
                present = {member.user for member in state.members or ()}
                if present != listening or state.count != len(listening):
                    text = f"Present are {sorted(present)} ({state.count}), and {sorted(listening)} listen."
                    findings.append(Finding(kind="differing", channel=channel, listener=client.name, text=text))
        return findings

    def _python(self) -> PythonClient | None:
        return next((client for client in self._clients if isinstance(client, PythonClient)), None)


def _behind(name: str, channel: str, at: tuple[str, int], end: tuple[str, int]) -> list[Finding]:
    if at == end:
        return []
    text = f"It is at {at[1]} of {at[0]}, and the log ends at {end[1]} of {end[0]}."
    return [Finding(kind="lost", channel=channel, listener=name, text=text)]
