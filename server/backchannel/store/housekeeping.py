"""Trims logs and lets old replies go, in short transactions, so that no command waits long for one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

__all__ = ["OLD_REPLIES", "PAGE", "House", "Step", "keep_house"]

PAGE: Final = 500
"""Channels that are looked at, events that are deleted or replies that are let go, in one transaction."""

REPLY_AGE: Final = 30 * 86_400_000
"""Milliseconds that a key's reply is kept."""

# The next page of a namespace's channels: in every row the last one's name, then those with something to trim. A log is
# trimmed from its beginning only, so that what remains is dense; an old event behind a younger one waits for it.
_PAGE = """
WITH page AS (
    SELECT channel, "offset", first FROM heads WHERE app = $1 AND channel > $2 AND channel < $3
    ORDER BY channel LIMIT $6
)
SELECT (SELECT max(channel) FROM page), channel FROM page
WHERE first <= "offset" AND ("offset" - first >= $4 OR (
    SELECT time FROM events AS e WHERE e.app = $1 AND e.channel = page.channel AND e."offset" = page.first
) < $5)
UNION ALL SELECT max(channel), NULL FROM page
"""
_HEAD = 'SELECT "offset", first FROM heads WHERE app = $1 AND channel = $2'
_FIRST_YOUNG = (
    'SELECT "offset" FROM events WHERE app = $1 AND channel = $2 AND "offset" >= $3 AND "offset" < $4 AND time >= $5 '
    'ORDER BY "offset" LIMIT 1'
)
_TRIM = 'DELETE FROM events WHERE app = $1 AND channel = $2 AND "offset" < $3'
_MOVE = "UPDATE heads SET first = $3 WHERE app = $1 AND channel = $2"
# The limit is a number that PostgreSQL can plan with: not knowing it, it would read the whole table for each page.
OLD_REPLIES = f"""
UPDATE keys SET reply = NULL FROM (
    SELECT principal, key FROM keys WHERE app = $1 AND time < $2 AND reply IS NOT NULL LIMIT {PAGE}
) AS old WHERE keys.app = $1 AND keys.principal = old.principal AND keys.key = old.key RETURNING 1
"""  # noqa: S608 - made of a number


class Step(Protocol):
    """One transaction."""

    async def fetch(self, text: str, *values: Any) -> Sequence[Any]:
        """The rows that a statement returns; parameters are written `$1` and so on."""


class House(Protocol):
    """A store, as its housekeeping needs it."""

    app: str
    lock: str
    """What a select ends with that keeps its row for the transaction."""

    async def look(self, text: str, *values: Any) -> Sequence[Any]:
        """The rows that a statement that only reads returns, in no transaction of its own."""

    def step(self) -> AbstractAsyncContextManager[Step, Any]:
        """A transaction, committed at the end; whoever waits to write has had a turn before it."""


async def keep_house(house: House, bounds: Mapping[str, tuple[int, float]], now: int) -> None:
    """Trim the logs of these namespaces to (events, seconds), and let replies older than 30 days go.

    Between two steps whoever waits to write gets a turn. Cancelling stops between two steps.

    Args:
        house: whose app is meant.
        bounds: by namespace; other namespaces are left alone.
        now: Unix milliseconds.
    """
    for namespace, (size, age) in bounds.items():
        oldest = now - int(age * 1000)
        after = f"{namespace}:"
        while after:
            after = await _page(house, after, f"{namespace};", size, oldest)
    limit = now - REPLY_AGE
    changed = PAGE
    while changed == PAGE:
        async with house.step() as step:
            changed = len(await step.fetch(OLD_REPLIES, house.app, limit))
        await asyncio.sleep(0)


async def _page(house: House, after: str, end: str, size: int, oldest: int) -> str:
    """Trim the next page of channels; returns its last one's name, or nothing at the end."""
    rows = await house.look(_PAGE, house.app, after, end, size, oldest, PAGE)
    for _, channel in rows:
        while channel is not None and await _trim(house, channel, size, oldest):
            pass
    await asyncio.sleep(0)
    last: str | None = rows[0][0]
    return last or ""


async def _trim(house: House, channel: str, size: int, oldest: int) -> bool:
    """Delete at most `PAGE` events from the beginning of a log; returns whether there may be more to delete."""
    app = house.app
    async with house.step() as step:
        heads = await step.fetch(_HEAD + house.lock, app, channel)
        if not heads:  # The channel's first events were seen before their transaction was undone.
            return False
        offset, first = heads[0]
        page_end = min(first + PAGE, offset + 1)
        young = await step.fetch(_FIRST_YOUNG, app, channel, first, page_end, oldest)
        keep_from = max(young[0][0], min(offset - size + 1, page_end)) if young else page_end
        if keep_from > first:
            await step.fetch(_TRIM, app, channel, keep_from)
            await step.fetch(_MOVE, app, channel, keep_from)
    await asyncio.sleep(0)
    return bool(keep_from == first + PAGE)
