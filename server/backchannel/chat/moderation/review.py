"""The channels of reviewers: `review:<id>` tells of cases and acts in `chat:<id>`, to who may review there."""

from __future__ import annotations

from backchannel import Context, Namespace, Refused

from ..access import access
from ..common import app

__all__ = ["ReviewNamespace"]


@app.namespace("review")
class ReviewNamespace(Namespace):
    """One channel per chat channel; who may review it listens."""

    kind = "durable"

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Who may review the chat channel of the same id, and whose token names this channel."""
        if channel in ctx.channels:
            return True
        try:
            await access(ctx, "chat:" + channel.removeprefix("review:"), "moderate.review")
        except Refused:
            return False
        return True
