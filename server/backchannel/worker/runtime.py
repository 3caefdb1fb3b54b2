"""Runtime: what all requests of one worker share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from ..app import App, RequestDeclaration
from ..broker.broker import Broker
from ..context import Publisher
from ..relay.relay import May, MayReply
from ..settings import Settings
from ..store.store import Store
from .ids import new_id
from .namespaces import Namespaces
from .output import Output
from .permissions import answer_may
from .stats import Stats

__all__ = ["Runtime", "WorkerLimits", "milliseconds"]


def milliseconds() -> int:
    """The system's clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class WorkerLimits(Struct, frozen=True, kw_only=True):
    """What one worker may take on. Spans are seconds, sizes bytes."""

    batch: int = 50
    """Commands in one transaction."""
    batch_seconds: float = 0.005
    """How long the handlers of one batch may take before it is closed."""
    slow: float = 0.05
    """A handler that holds a batch for so long is named in the log, and runs alone while it is as slow on average."""
    alone: int = 32
    """Commands that run beside the batches at once, each in a task of its own."""
    alone_per_user: int = 4
    """How many of them may be of one user."""
    held: float = 1.0
    """How long such a command may wait, in total, while it holds its transaction; for a database that answers over a
    network, too."""
    handler: float = 10.0
    """How long a handler may take, where its declaration does not say."""
    frame: int = 1024 * 1024
    """The largest frame to a client: a larger reply or event is `too_large`."""
    stop: float = 10.0
    """How long `stop` waits for queries, publications and `after_commit` callbacks."""


class Runtime:
    """An app with what its handlers need, for one tenant."""

    __slots__ = (
        "app",
        "broker",
        "clock",
        "internal",
        "limits",
        "monotonic",
        "namespaces",
        "new_id",
        "output",
        "publisher",
        "requests",
        "settings",
        "stats",
        "store",
        "tenant",
    )

    def __init__(
        self,
        app: App,
        store: Store,
        broker: Broker,
        *,
        tenant: str,
        clock: Callable[[], int],
        limits: WorkerLimits,
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[int], str] = new_id,
        settings: Settings | None = None,
    ) -> None:
        self.app: Final = app
        self.tenant: Final = tenant
        self.store: Final = store
        self.broker: Final = broker
        self.clock: Final = clock
        self.monotonic: Final = monotonic
        self.new_id: Final = new_id
        self.settings: Final = settings or Settings()
        self.limits: Final = limits
        self.stats: Final = Stats()
        self.output: Final = Output()
        self.publisher: Publisher | None = None
        """The worker's, once it has one."""
        # An event's frame is its data and about as much again for long names.
        self.namespaces: Final = Namespaces(app, limits.frame - 1024)
        self.requests: Final[dict[str, RequestDeclaration]] = app.requests
        self.internal: Final[dict[str, RequestDeclaration]] = {
            "may": RequestDeclaration("may", "query", _as_any(May), MayReply, handler=answer_may(self.namespaces))
        }


def _as_any(cls: type[msgspec.Struct]) -> Any:
    """Internal queries are plain structs: they have no place on the wire."""
    return cls
