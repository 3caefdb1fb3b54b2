"""Comments on the poll: says when tea takes the lead."""

from __future__ import annotations

import asyncio
import os

from backchannel_client import Client
from examples.poll.app import PollChanged


async def main() -> None:
    """Listen until Ctrl-C."""
    token = os.environ["BACKCHANNEL_TOKEN"]
    async with Client("ws://127.0.0.1:8000/ws", token=token) as client, client.subscribe("poll:drinks") as poll:
        async for event in poll:
            counts = event.decode(PollChanged).counts
            leader = max(counts, key=lambda choice: counts[choice], default="nobody")
            print(f"{leader} leads: {counts}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
