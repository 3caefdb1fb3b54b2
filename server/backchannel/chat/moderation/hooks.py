"""Hooks: the app's own functions look at a message before it is stored (`extensions.before_send`)."""

from __future__ import annotations

import asyncio

from backchannel import Context, Refused

from ..access import Access
from ..extensions import Hook, Outgoing, hooks, payload_of
from ..limits import check_data
from ..messages.pipeline import Draft, before_message

__all__: list[str] = []

_OWN_DATA = ("text", "file", "system", "poll")
"""Types of messages whose data no app declares."""


@before_message("hook")
async def run_hooks(ctx: Context, found: Access, draft: Draft) -> Draft:
    """Ask one hook after the other; each sees what those before it made of the message."""
    for hook in hooks():
        message = Outgoing(
            channel=found.channel.channel,
            channel_type=found.channel.type,
            user=ctx.user,
            role=found.role,
            purpose=draft.purpose,
            type=draft.type,
            text=draft.text,
            data=draft.data,
            parent=draft.parent,
            silent=draft.silent,
            shadow=draft.shadow,
        )
        try:
            async with asyncio.timeout(hook.timeout):
                rewritten = await hook.function(ctx, message)
            if rewritten is not None and rewritten is not message:
                _check(found, message, rewritten)
                draft.text, draft.data = rewritten.text, rewritten.data
                draft.silent, draft.shadow = rewritten.silent, rewritten.shadow
        except Refused:
            raise
        except Exception as exc:
            _failed(ctx, hook, exc)
    return draft


def _check(found: Access, message: Outgoing, rewritten: Outgoing) -> None:
    """Raise `ValueError` for what no sender could have sent."""
    most = found.rules.features.max_length
    if len(rewritten.text) > most:
        raise ValueError(f"a hook made a text of more than {most} characters")
    if message.text.strip() and not rewritten.text.strip():
        raise ValueError("a hook left nothing of the text; refuse the message instead")
    if rewritten.data == message.data:
        return
    try:
        if message.type in _OWN_DATA:
            check_data(rewritten.data or {}, "data")
        else:
            payload_of(message.type, rewritten.data)
    except Refused as refused:
        raise ValueError(f"a hook made data that cannot be sent: {refused.message}") from refused


def _failed(ctx: Context, hook: Hook, exc: Exception) -> None:
    name = getattr(hook.function, "__qualname__", repr(hook.function))
    ctx.log.error("a hook before a send failed", hook=name, on_error=hook.on_error, exc_info=exc)
    if hook.on_error == "refuse":
        raise Refused(
            "unavailable",
            "The message could not be checked before it is sent; send it again in a moment.",
            details={"reason": "hook"},
            outcome="none",
            retry_after=1.0,
        ) from exc
