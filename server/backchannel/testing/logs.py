"""The server's log within a sandbox: kept for the test, and stamped by the sandbox's clock."""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import structlog
from structlog.typing import EventDict, WrappedLogger

from .loop import VirtualLoop

__all__ = ["LogEntry", "Recording"]

LogEntry = dict[str, Any]
"""One line of the log: `event` says what happened, `level` how bad it is, `time` when (ISO 8601)."""


class Recording:
    """While entered, what is logged is kept in `entries` and handed on to the standard library's logging, where test
    runners show it. The configuration of before comes back at the end. One at a time in a process counts."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._before: dict[str, Any] = {}
        self.entries: list[LogEntry] = []

    def __enter__(self) -> Self:
        self._before = structlog.get_config()
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, self._keep],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=False,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        structlog.configure(**self._before)

    def _keep(self, _logger: WrappedLogger, method: str, entry: EventDict) -> EventDict:
        time = datetime.fromtimestamp(self._loop.wall(), UTC).isoformat(timespec="milliseconds")
        level = "error" if method == "exception" else method
        self.entries.append({**entry, "level": level, "time": time})
        failure = entry.pop("exc_info", None)
        told = " ".join(f"{name}={value!r}" for name, value in entry.items() if name != "event")
        return {"msg": f"{time} {entry.get('event')} {told}".rstrip(), "exc_info": failure}
