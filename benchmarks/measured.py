"""One run: a server is started, loaded by the generator, and its CPU is read while it measures."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks import native, servers
from benchmarks.native import Mark, Option, Result
from benchmarks.question import BUSY
from benchmarks.servers import Server, ServerOf

__all__ = ["Used", "busy", "load", "milliseconds", "on_server"]


class Used:
    """What each part of a server used while the generator measured."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = server.cpu()
        self._after: dict[str, float] | None = None

    def mark(self, mark: Mark) -> None:
        """The generator begins or ends to measure."""
        if mark.mark == "begin":
            self._before = self._server.cpu()
        else:
            self._after = self._server.cpu()

    def each(self, count: int) -> dict[str, float]:
        """CPU microseconds for each of so many things, by part."""
        after = self._after or self._server.cpu()
        return {part: (after[part] - before) / max(1, count) * 1e6 for part, before in self._before.items()}


async def load(server: Server, mode: str, options: Mapping[str, Option]) -> tuple[Result, Used]:
    """Load a server. Raises `native.Broken` if something was lost, doubled or out of order."""
    used = Used(server)
    given = {**({"tokens": servers.tokens()} if server.dialect == "backchannel" else {}), **options}
    result = await native.run(mode, server.ports, given, dialect=server.dialect, on_mark=used.mark)
    return result, used


async def on_server(start: ServerOf, mode: str, options: Mapping[str, Option]) -> tuple[Result, Used]:
    """Start a server, and load it."""
    async with start() as server:
        return await load(server, mode, options)


def milliseconds(nanoseconds: int) -> float:
    """For tables."""
    return nanoseconds / 1e6


def busy(result: Result) -> dict[str, float]:
    """How busy the generator was, as a figure: where it was the limit, the page says so."""
    return {BUSY: result.generator_busy}
