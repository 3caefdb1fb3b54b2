"""Presence: who is there, over all of their devices, and what they say about it.

A user is there while one of their connections listens to `user:<id>`, which every connection does; the broker merges
them, and forgives gaps up to the grace. So presence costs one small command per coming and going of a user, however
many channels and devices they have, and one event, on `people:<id>`, for those who watch them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import sqlalchemy as sa

from backchannel import Command, Context, Namespace, Publisher, Query, Refused, Struct

from ..access import is_operator
from ..common import UserName, app
from .presence_contract import GetOwnPresence, GetPresences, OwnPresence, Presences, SetPresence, SetStatus
from .profiles import require_user
from .state import State, leave, read_state
from .tables import presences, profiles
from .visibility import may_see

__all__ = ["OwnNamespace", "PeopleNamespace"]

_CHECK_EVERY: Final = 60.0
# What the broker lost it tells nobody; so who is thought to be there is looked for, each about so often (ms).
_CHECK_AFTER: Final = 600_000
_CHECK_MOST: Final = 500
_CHECK_AT_ONCE: Final = 20


@app.namespace("user")
class OwnNamespace(Namespace):
    """`user:alice` is heard by alice alone, on each of her connections: while one of them listens she is there."""

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Only the user whose channel it is."""
        return channel == f"user:{ctx.user}"

    async def joined(self, ctx: Context, channel: str) -> None:
        """The user is there; who is deactivated is sent away, and nobody sees that they came."""
        out = await _is_deactivated(ctx, ctx.user)
        if out:
            ctx.revoke(ctx.user)
        state = await read_state(ctx, ctx.user)
        seen = {} if state.invisible or state.online or out else {"last_seen": ctx.now}
        state.change(ctx, secretly=out, online=True, **seen)

    async def gone(self, ctx: Context, channel: str) -> None:
        """The last of the user's connections is gone, for longer than the grace."""
        leave(ctx, await read_state(ctx, ctx.user), secretly=await _is_deactivated(ctx, ctx.user))


async def _is_deactivated(ctx: Context, user: str) -> bool:
    profile = await ctx.db.get(profiles, user=user)
    return profile is not None and profile.deactivated is not None


@app.namespace("people")
class PeopleNamespace(Namespace):
    """`people:alice` tells alice's profile and presence to those who watch her."""

    history = 100

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Who shares a channel, or anybody where an operator made it so; not where one has blocked the other."""
        watched = sa.literal(channel.partition(":")[2], sa.Text)
        return await ctx.db.value(sa.select(sa.literal(1)).where(may_see(ctx, watched))) is not None


@app.handle(GetPresences)
async def get_presences(ctx: Context, request: GetPresences) -> Presences:
    """One statement, for any number of users."""
    statement = sa.select(presences).where(presences.c.app == ctx.app, presences.c.user.in_(request.users))
    if not is_operator(ctx):
        statement = statement.where(may_see(ctx, presences.c.user))
    found = {row.user: State.of(row).shown(ctx.now) for row in await ctx.db.rows(statement)}
    return Presences([found[user] for user in dict.fromkeys(request.users) if user in found])


@app.handle(GetOwnPresence)
async def get_own_presence(ctx: Context, request: GetOwnPresence) -> OwnPresence:
    """What one says, and what of it is so now."""
    return (await read_state(ctx, require_user(ctx))).own(ctx.now)


@app.handle(SetStatus)
async def set_status(ctx: Context, request: SetStatus) -> OwnPresence:
    """Keep it, and tell those who watch."""
    _refuse_past(ctx, "until", request.until)
    text, emoji = request.text.strip(), request.emoji.strip()
    until = request.until if text or emoji else 0
    before = await read_state(ctx, require_user(ctx))
    after = before.change(ctx, text=text, emoji=emoji, until=until)
    return _told(ctx, before, after)


@app.handle(SetPresence)
async def set_presence(ctx: Context, request: SetPresence) -> OwnPresence:
    """Keep it, and tell those who watch what they are to see."""
    before = await read_state(ctx, require_user(ctx))
    changes: dict[str, Any] = {}
    if request.quiet is not None:
        _refuse_past(ctx, "quiet", request.quiet)
        changes["quiet"] = request.quiet
    if request.invisible is not None and request.invisible != before.invisible:
        changes["invisible"] = request.invisible
        if before.online:
            # From here on they seem to be away; or they seem to come now.
            changes["last_seen"] = ctx.now
    return _told(ctx, before, before.change(ctx, **changes) if changes else before)


def _told(ctx: Context, before: State, after: State) -> OwnPresence:
    own = after.own(ctx.now)
    if own != before.own(ctx.now):
        after.tell_own(ctx)
    return own


def _refuse_past(ctx: Context, what: str, instant: int) -> None:
    if 0 < instant <= ctx.now:
        raise Refused(
            "invalid",
            f"`{what}` is in the past; name a later instant, or 0.",
            details={"reason": "past", "now": ctx.now},
        )


# What the broker lost


class Unchecked(Struct):
    """Users who are thought to be there, and were not looked for in a while."""

    users: list[str]


@app.query("presence.unchecked", internal=True)
class ListUnchecked(Query[Unchecked]):
    """Whose presence is to be looked after."""


@app.handle(ListUnchecked)
async def list_unchecked(ctx: Context, request: ListUnchecked) -> Unchecked:
    """Those whose turn it is first."""
    rows = await ctx.db.rows(
        sa.select(presences.c.user)
        .where(
            presences.c.app == ctx.app,
            sa.literal_column("chat_presences.online"),
            presences.c.checked < ctx.now - _CHECK_AFTER,
        )
        .order_by(presences.c.checked)
        .limit(_CHECK_MOST)
    )
    return Unchecked([row.user for row in rows])


# It waits for the broker, and so runs beside the batches.
@app.command("presence.check", internal=True, lane_of="user", own_transaction=True)
class CheckPresence(Command[None]):
    """See whether a user is there who is thought to be."""

    user: UserName


@app.handle(CheckPresence)
async def check_presence(ctx: Context, request: CheckPresence) -> None:
    """Set right what the broker could not tell."""
    here = any(member.user == request.user for member in await ctx.presence(f"user:{request.user}"))
    state = await read_state(ctx, request.user)
    if here and state.online:
        state.change(ctx, online=True)
    elif not here:
        leave(ctx, state, secretly=await _is_deactivated(ctx, request.user))


@app.every(_CHECK_EVERY)
async def check_presences(publisher: Publisher) -> None:
    """Look for those who are thought to be there."""
    users = (await publisher.call(ListUnchecked(), user="")).users
    for begin in range(0, len(users), _CHECK_AT_ONCE):
        some = users[begin : begin + _CHECK_AT_ONCE]
        await asyncio.gather(*[publisher.call(CheckPresence(user), user="") for user in some])
