"""LateReader: what a gateway reads of its database, before and after that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backchannel_protocol import Refused

from ..auth.revocation import Revocation
from ..broker.broker import Envelope, LogHead
from ..store.postgres import PostgresReader
from ..store.store import LogReader

__all__ = ["LateReader"]


class LateReader:
    """`LogReader`, and the reads that sign-in needs. Refuses as `unavailable` until a reader was opened.

    Use it on the gateway's loop.
    """

    def __init__(self) -> None:
        self._reader: PostgresReader | None = None
        self._logs: LogReader | None = None

    def opened(self, reader: PostgresReader) -> None:
        """From now on this one is asked. It is the caller's to close."""
        self._reader = reader
        self._logs = reader.log_reader()

    async def head(self, channel: str) -> LogHead:
        """Where a durable channel's log stands."""
        return await self._log_reader().head(channel)

    async def heads(self, channels: Sequence[str]) -> Mapping[str, LogHead]:
        """As `head` of each of these channels, by name."""
        return await self._log_reader().heads(channels)

    async def read(self, channel: str, after: int, limit: int) -> tuple[LogHead, list[Envelope]]:
        """The events of a durable log after an offset, in order, at most `limit`."""
        return await self._log_reader().read(channel, after, limit)

    async def changed(self, since: int) -> dict[str, LogHead]:
        """Heads that changed at or after this instant (Unix milliseconds)."""
        return await self._log_reader().changed(since)

    async def close(self) -> None:
        """Let go of the logs' reader."""
        logs, self._logs = self._logs, None
        if logs is not None:
            await logs.close()

    async def revoked_since(self, moment: int) -> list[Revocation]:
        """What was revoked at or after this instant (Unix milliseconds)."""
        return await self._there().revocations.since(moment)

    async def find_key(self, shown: str) -> str | None:
        """The id of the API key that holds and belongs to what was shown."""
        return await self._there().api_keys.holder(shown)

    def _there(self) -> PostgresReader:
        if self._reader is None:
            raise _absent()
        return self._reader

    def _log_reader(self) -> LogReader:
        if self._logs is None:
            raise _absent()
        return self._logs


def _absent() -> Refused:
    return Refused("unavailable", "This gateway waits for its database.", outcome="none", retry_after=1.0)
