"""Trims logs and lets old replies go, in short transactions, so that no command waits long for one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from .sqlite_errors import sqlite_border

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from sqlite3 import Connection

    from .sqlite import SqliteStore

__all__ = ["OLD_REPLIES", "keep_house"]

PAGE: Final = 500
"""Channels that are looked at, events that are deleted or replies that are let go, in one transaction."""

REPLY_AGE: Final = 30 * 86_400_000
"""Milliseconds that a key's reply is kept."""

# The next page of a namespace's channels: in every row the last one's name, then those with something to trim. A log is
# trimmed from its beginning only, so that what remains is dense; an old event behind a younger one waits for it.
_PAGE = """
WITH page AS (
    SELECT channel, "offset", first FROM heads WHERE app = :app AND channel > :after AND channel < :end
    ORDER BY channel LIMIT :page
)
SELECT (SELECT max(channel) FROM page), channel FROM page
WHERE first <= "offset" AND ("offset" - first >= :size OR (
    SELECT time FROM events AS e WHERE e.app = :app AND e.channel = page.channel AND e."offset" = page.first
) < :oldest)
UNION ALL SELECT max(channel), NULL FROM page
"""
_HEAD = 'SELECT "offset", first FROM heads WHERE app = ? AND channel = ?'
_FIRST_YOUNG = (
    'SELECT "offset" FROM events WHERE app = ? AND channel = ? AND "offset" >= ? AND "offset" < ? AND time >= ? '
    'ORDER BY "offset" LIMIT 1'
)
_TRIM = 'DELETE FROM events WHERE app = ? AND channel = ? AND "offset" < ?'
_MOVE = "UPDATE heads SET first = ? WHERE app = ? AND channel = ?"
OLD_REPLIES = """
UPDATE keys SET reply = NULL FROM (
    SELECT principal, key FROM keys WHERE app = :app AND time < :before AND reply IS NOT NULL LIMIT :page
) AS old WHERE keys.app = :app AND keys.principal = old.principal AND keys.key = old.key
"""


@asynccontextmanager
async def _step(store: SqliteStore) -> AsyncGenerator[Connection]:
    transaction = await store.begin(())
    try:
        with sqlite_border():
            yield store.writer
        await transaction.commit()
    finally:
        await transaction.rollback()


async def keep_house(store: SqliteStore, bounds: Mapping[str, tuple[int, float]], now: int) -> None:
    """Trim the logs of these namespaces to (events, seconds), and let replies older than 30 days go.

    Between two steps whoever waits to write gets a turn. Cancelling stops between two steps.

    Args:
        store: whose app is meant.
        bounds: by namespace; other namespaces are left alone.
        now: Unix milliseconds.
    """
    for namespace, (size, age) in bounds.items():
        oldest = now - int(age * 1000)
        after = f"{namespace}:"
        while after:
            after = await _page(store, after, f"{namespace};", size, oldest)
    limit = now - REPLY_AGE
    changed = PAGE
    while changed == PAGE:
        async with _step(store) as writer:
            changed = writer.execute(OLD_REPLIES, {"app": store.app, "before": limit, "page": PAGE}).rowcount
        await asyncio.sleep(0)


async def _page(store: SqliteStore, after: str, end: str, size: int, oldest: int) -> str:
    """Trim the next page of channels; returns its last one's name, or nothing at the end."""
    with sqlite_border():
        values = {"app": store.app, "after": after, "end": end, "size": size, "oldest": oldest, "page": PAGE}
        rows = store.writer.execute(_PAGE, values).fetchall()
    for _, channel in rows:
        while channel is not None and await _trim(store, channel, size, oldest):
            pass
    await asyncio.sleep(0)
    last: str | None = rows[0][0]
    return last or ""


async def _trim(store: SqliteStore, channel: str, size: int, oldest: int) -> bool:
    """Delete at most `PAGE` events from the beginning of a log; returns whether there may be more to delete."""
    async with _step(store) as writer:
        head = writer.execute(_HEAD, (store.app, channel)).fetchone()
        if head is None:  # The channel's first events were seen before their transaction was undone.
            return False
        offset, first = head
        page_end = min(first + PAGE, offset + 1)
        young = writer.execute(_FIRST_YOUNG, (store.app, channel, first, page_end, oldest)).fetchone()
        keep_from = page_end if young is None else max(young[0], min(offset - size + 1, page_end))
        if keep_from > first:
            writer.execute(_TRIM, (store.app, channel, keep_from))
            writer.execute(_MOVE, (keep_from, store.app, channel))
    await asyncio.sleep(0)
    return bool(keep_from == first + PAGE)
