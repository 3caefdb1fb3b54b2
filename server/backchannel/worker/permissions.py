"""Permissions: the internal query `may`, by which a gateway asks what a principal may hear and where it may publish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from ..app import Namespace
from ..auth.principal import Principal
from ..context import Context
from ..relay.relay import Grant, May, MayReply
from .namespaces import Namespaces

__all__ = ["answer_may"]

log = structlog.get_logger(__name__)

_FAILED: Final = Grant(False, code="internal", message="The rule of this channel failed; the server's log has it.")


def answer_may(namespaces: Namespaces) -> Callable[[Context, Any], Awaitable[MayReply]]:
    """The handler of `may`: all channels in one snapshot, each with its own answer.

    An entry of `publish` is a channel and an event's name, with a space between.
    """

    async def may(ctx: Context, asked: May) -> MayReply:
        principal: Principal = ctx.principal  # type: ignore[attr-defined]
        reply = MayReply({}, {})
        seen: dict[Namespace, bool] = {}
        for channel in asked.listen:
            grant = reply.listen[channel] = await _may_listen(namespaces, ctx, principal, channel)
            if grant.allowed:
                grant.unseen = not await _is_seen(namespaces, ctx, channel, seen)
        for entry in asked.publish:
            channel, _, name = entry.partition(" ")
            reply.publish[entry] = await _may_publish(namespaces, ctx, principal, channel, name)
        return reply

    return may


async def _may_listen(namespaces: Namespaces, ctx: Context, principal: Principal, channel: str) -> Grant:
    rule = namespaces.rule(channel)
    if rule is None:
        return _not_found(channel)
    if not principal.may("listen", channel):
        return Grant(False, code="forbidden", message=f"This token is not for listening to {channel}.")
    try:
        # What a rule says it answers and what it answers may differ, and here is where rights are given.
        answer: object = await rule.may_listen(ctx, channel)
    except Exception as exc:
        return _failed("may_listen", channel, exc)
    if answer is True:
        return Grant(True)
    if answer is False:
        return Grant(False, code="forbidden", message=f"{ctx.user} may not listen to {channel}.")
    if isinstance(answer, int) and answer >= 0:
        return Grant(True, answer)
    return _failed("may_listen", channel, TypeError(f"answer True, False or an offset, not {answer!r}"))


async def _is_seen(namespaces: Namespaces, ctx: Context, channel: str, known: dict[Namespace, bool]) -> bool:
    """Whether the user is present for others; each namespace is asked once."""
    rule = namespaces.rule(channel)
    if rule is None or not rule.presence or type(rule).seen is Namespace.seen:
        return True
    if rule not in known:
        try:
            known[rule] = await rule.seen(ctx)
        except Exception as exc:
            _failed("seen", channel, exc)
            known[rule] = False
    return known[rule]


async def _may_publish(namespaces: Namespaces, ctx: Context, principal: Principal, channel: str, name: str) -> Grant:
    rule = namespaces.rule(channel)
    if rule is None:
        return _not_found(channel)
    if not principal.may("publish", channel):
        return Grant(False, code="forbidden", message=f"This token is not for publishing on {channel}.")
    if not rule.clients_may_publish:
        return Grant(False, code="forbidden", message=f"Clients do not publish on {channel}: call a command.")
    try:
        allowed: object = await rule.may_publish(ctx, channel, name)
    except Exception as exc:
        return _failed("may_publish", channel, exc)
    if allowed is True:
        return Grant(True)
    if allowed is not False:
        return _failed("may_publish", channel, TypeError(f"answer True or False, not {allowed!r}"))
    return Grant(False, code="forbidden", message=f"{ctx.user} may not publish {name} on {channel}.")


def _not_found(channel: str) -> Grant:
    return Grant(False, code="not_found", message=f"There is no channel {channel}.")


def _failed(rule: str, channel: str, exc: Exception) -> Grant:
    """Deny, and say why in the log; one broken rule must not cost the other channels their answers."""
    if asyncio.current_task() is None:
        # It ran without a task of its own, which it may have needed: the caller runs the query again in one.
        raise exc
    log.error("a namespace's rule failed", rule=rule, channel=channel, exc_info=exc)
    return _FAILED
