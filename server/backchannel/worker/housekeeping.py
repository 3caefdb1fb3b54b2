"""Housekeeping: durable logs are trimmed to what their namespaces keep; old replies and revocations go."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from backchannel_protocol import Refused

from ..app import App
from ..auth.claims import TokenRules
from ..store.revocations import forget_revocations
from ..store.store import Store
from ..telemetry.logs import get_logger
from .runtime import milliseconds

__all__ = ["keep_house"]

_log = get_logger(__name__)

# Seconds between two rounds.
_EVERY = 60.0
# Of many workers one does it.
_LEASE = "backchannel:housekeeping"


async def keep_house(
    app: App,
    store: Store,
    clock: Callable[[], int] = milliseconds,
    *,
    tenant: str = "main",
    token_lifetime: float = TokenRules().lifetime,
) -> None:
    """Keep house for as long as the store is open: cancel it before the store closes.

    Args:
        app: whose namespaces say how much of a log is kept.
        store: on whose loop this runs.
        tenant: for whom the store was opened.
        token_lifetime: seconds that a token may be good for: a revocation is kept that long.
        clock: Unix milliseconds.
    """
    bounds = {
        name: (namespace.cls.history, namespace.cls.max_age)
        for name, namespace in app.all_namespaces().items()
        if namespace.cls.kind == "durable"
    }
    holder = secrets.token_hex(8)
    while True:
        await asyncio.sleep(_EVERY)
        try:
            if not await store.lease(_LEASE, holder, _EVERY * 1.5):
                continue
            await store.housekeeping(bounds, clock())
            await forget_revocations(store, tenant, token_lifetime, clock())
        except Refused as exc:
            _log.warning("housekeeping was put off", reason=str(exc))
