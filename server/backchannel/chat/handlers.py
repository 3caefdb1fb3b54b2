"""The whole chat app: its contract with its handlers, namespace and tables."""

from __future__ import annotations

from pathlib import Path

from backchannel import Context, Namespace, Refused

from .access import access
from .channels import handlers as channels
from .common import app
from .messages import handlers as messages
from .people import typing
from .tables import metadata

__all__ = ["app", "channels", "messages", "typing"]

app.tables(metadata, Path(__file__).parent / "migrations")


@app.namespace("chat")
class ChatNamespace(Namespace):
    """One channel per conversation; who may read it listens, and is told who else does."""

    kind = "durable"
    presence = True

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Who may read."""
        try:
            await access(ctx, channel, "channel.read")
        except Refused:
            return False
        return True
