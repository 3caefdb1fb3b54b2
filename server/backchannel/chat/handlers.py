"""The whole chat app: its contract with its handlers, namespace and tables."""

from __future__ import annotations

from pathlib import Path

from backchannel import Context, Namespace

from . import channels, messages
from .contract import app
from .tables import members, metadata

__all__ = ["app", "channels", "messages"]

app.tables(metadata, Path(__file__).parent / "migrations")


@app.namespace("chat")
class ChatNamespace(Namespace):
    """One channel per conversation; its members listen, and are told who else does."""

    kind = "durable"
    presence = True

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Members."""
        return await ctx.db.get(members, channel=channel, user=ctx.user) is not None
