"""What a batch of messages asks of the database.

| a batch of                                                      | SQLite, statements | PostgreSQL, round trips |
|-----------------------------------------------------------------|--------------------|-------------------------|
| one `message.send` with a key                                   | `SQLITE`           | 7                       |
| 10, 30 or 50 of them, by as many members, to as many channels   | `SQLITE`           | 8                       |

Three of them read: the keys, the members, the channels. What keeps the words of messages for the search is done within
the statement that inserts them, by a trigger.

SQLite is counted here by its own trace, with BEGIN and COMMIT; PostgreSQL, for which only waiting counts, by what goes
over its connections, in `tests/integration/postgres/test_statements.py`. Neither grows with the batch.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import Final

from backchannel.testing import Sandbox

SQLITE: Final = 12


async def test_statements_of_a_batch_do_not_grow_with_it(chat_box: Sandbox) -> None:
    """However many messages a batch has, of however many members, to however many channels."""
    clients = [await chat_box.client(f"user{number}") for number in range(50)]
    channels = [(await client.call("channel.create", {"name": "Tea"}))["channel"] for client in clients]
    statements: list[str] = []
    chat_box.store.writer.set_trace_callback(statements.append)

    async def send(count: int, run: int) -> int:
        """Statements for so many messages at once."""
        statements.clear()
        await asyncio.gather(
            *(
                client.call("message.send", {"channel": channel, "text": "hello"}, key=f"key-number-{run}")
                for client, channel in zip(clients[:count], channels, strict=False)
            )
        )
        # A trigger's own statements are traced as comments, or as another time the one that fired it.
        return len(list(groupby(one for one in statements if not one.startswith("--"))))

    await send(50, 1)
    sent = [await send(count, 100 + count) for count in (1, 10, 30, 50)]
    assert max(sent) <= SQLITE, statements
