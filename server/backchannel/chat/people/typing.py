"""Typing: told to who listens, without a trace in the log."""

from __future__ import annotations

from backchannel import Context

from ..access import access
from ..common import app
from .contract import StartTyping, StopTyping, Typing, TypingStarted, TypingStopped

__all__: list[str] = []


@app.handle(StartTyping)
async def start_typing(ctx: Context, request: StartTyping) -> Typing:
    """Tell the channel, without a trace in its log."""
    await access(ctx, request.channel, "typing.tell")
    ctx.publish(request.channel, TypingStarted(channel=request.channel, user=ctx.user))
    return Typing(request.channel)


@app.handle(StopTyping)
async def stop_typing(ctx: Context, request: StopTyping) -> Typing:
    """Tell the channel, without a trace in its log."""
    await access(ctx, request.channel, "typing.tell")
    ctx.publish(request.channel, TypingStopped(channel=request.channel, user=ctx.user))
    return Typing(request.channel)
