"""Profiles: what users show of themselves, and whether they may come at all."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Command, Context, Publisher, Query, Refused, Struct

from ..access import is_operator
from ..common import UserName, app
from ..limits import merge_data
from ..moderation.audit import record
from .contract import (
    ActivateUser,
    DeactivateUser,
    GetProfiles,
    Profile,
    ProfileChanged,
    Profiles,
    PutProfile,
    UpdateProfile,
)
from .state import read_state
from .tables import devices, presences, profiles

__all__ = ["require_operator", "require_user"]

_EXPEL_EVERY: Final = 5.0
_EXPELLED: Final = 100


def require_operator(ctx: Context) -> None:
    """
    Raises:
        Refused: `forbidden`, for everybody but an API key that acts for itself.
    """
    if not is_operator(ctx):
        raise Refused(
            "forbidden",
            "Only an API key that acts for itself may do this; leave out Backchannel-User.",
            details={"reason": "operators"},
        )


def require_user(ctx: Context) -> str:
    """The asking user.

    Raises:
        Refused: `invalid`, an API key asks that acts for nobody.
    """
    if not ctx.user:
        raise Refused("invalid", "This is about a user: ask as one, with Backchannel-User.", details={"reason": "user"})
    return ctx.user


@app.handle(UpdateProfile)
async def update_profile(ctx: Context, request: UpdateProfile) -> Profile:
    """Keep what is named, and tell it."""
    return await _save(ctx, require_user(ctx), request.name, request.avatar, request.data)


@app.handle(PutProfile)
async def put_profile(ctx: Context, request: PutProfile) -> Profile:
    """Keep what is named, and tell it."""
    require_operator(ctx)
    return await _save(ctx, request.user, request.name, request.avatar, request.data, is_open=request.open)


@app.handle(DeactivateUser)
async def deactivate_user(ctx: Context, request: DeactivateUser) -> Profile:
    """Void the tokens, close the connections, forget the devices."""
    require_operator(ctx)
    row = await ctx.db.get(profiles, user=request.user)
    ctx.revoke(request.user)
    ctx.delete(devices, {"user": request.user})
    if row is not None and row.deactivated is not None:
        return _profile(row)
    # Who watches sees them leave now; the row says so when their connections are gone.
    state = await read_state(ctx, request.user)
    if state.online:
        msgspec.structs.replace(state, online=False, last_seen=ctx.now).tell(ctx)
    await record(ctx, "*", "user.deactivate", request.user)
    return _write(ctx, request.user, row, deactivated=ctx.now)


@app.handle(ActivateUser)
async def activate_user(ctx: Context, request: ActivateUser) -> Profile:
    """Let the user in again."""
    require_operator(ctx)
    row = await ctx.db.get(profiles, user=request.user)
    if row is None or row.deactivated is None:
        return Profile(user=request.user, name=request.user) if row is None else _profile(row)
    (await read_state(ctx, request.user)).tell(ctx)
    await record(ctx, "*", "user.activate", request.user)
    return _write(ctx, request.user, row, deactivated=None)


@app.handle(GetProfiles)
async def get_profiles(ctx: Context, request: GetProfiles) -> Profiles:
    """One statement."""
    rows = await ctx.db.rows(sa.select(profiles).where(profiles.c.app == ctx.app, profiles.c.user.in_(request.users)))
    found = {row.user: _profile(row) for row in rows}
    users = dict.fromkeys(request.users)
    return Profiles([found.get(user) or Profile(user=user, name=user) for user in users])


async def _save(
    ctx: Context,
    user: str,
    name: str | None,
    avatar: str | None,
    data: dict[str, Any] | None,
    *,
    is_open: bool | None = None,
) -> Profile:
    row = await ctx.db.get(profiles, user=user)
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = name.strip()
    if avatar is not None:
        changes["avatar"] = avatar
    if data is not None:
        changes["data"] = merge_data("{}" if row is None else row.data, data, "data")
    if is_open is not None:
        changes["open"] = is_open
    if row is not None:
        changes = {column: value for column, value in changes.items() if getattr(row, column) != value}
        if not changes:
            return _profile(row)
    return _write(ctx, user, row, **changes)


def _write(ctx: Context, user: str, row: Any, **changes: Any) -> Profile:
    """Declare the row and tell all of it, to who watches the user and to the user's own devices."""
    if row is None:
        new = {"name": user, "avatar": "", "data": "{}", "deactivated": None, "open": False, **changes}
        ctx.insert(profiles, user=user, created=ctx.now, changed=ctx.now, **new)
    else:
        new = {**row._mapping, **changes}
        ctx.update(profiles, {"user": user}, changed=ctx.now, **changes)
    profile = _profile_of(user, new)
    event = ProfileChanged(**msgspec.structs.asdict(profile))
    ctx.publish(f"people:{user}", event)
    ctx.publish(f"user:{user}", event)
    return profile


def _profile(row: Any) -> Profile:
    return _profile_of(row.user, row._mapping)


def _profile_of(user: str, columns: Any) -> Profile:
    return Profile(
        user=user,
        name=columns["name"],
        avatar=columns["avatar"],
        data=msgspec.json.decode(columns["data"]),
        deactivated=columns["deactivated"],
        open=bool(columns["open"]),
    )


# Who comes back with newer tokens


class Returned(Struct):
    """Users who are deactivated and there all the same."""

    users: list[str]


@app.query("user.returned", internal=True)
class ListReturned(Query[Returned]):
    """Who is to be sent away once more."""


@app.handle(ListReturned)
async def list_returned(ctx: Context, request: ListReturned) -> Returned:
    """Of those who are there."""
    rows = await ctx.db.rows(
        sa.select(presences.c.user)
        .join(profiles, sa.and_(profiles.c.app == presences.c.app, profiles.c.user == presences.c.user))
        .where(
            presences.c.app == ctx.app,
            sa.literal_column("chat_presences.online"),
            profiles.c.deactivated.is_not(None),
        )
        .limit(_EXPELLED)
    )
    return Returned([row.user for row in rows])


@app.command("user.expel", internal=True, lane_of="user")
class ExpelUser(Command[None]):
    """Void the tokens of a user who is deactivated."""

    user: UserName


@app.handle(ExpelUser)
async def expel_user(ctx: Context, request: ExpelUser) -> None:
    """Unless they are let in by now."""
    row = await ctx.db.get(profiles, user=request.user)
    if row is not None and row.deactivated is not None:
        ctx.revoke(request.user)


@app.every(_EXPEL_EVERY)
async def expel_who_returned(publisher: Publisher) -> None:
    """One who comes back before the grace is over was never gone, so no hook tells."""
    for user in (await publisher.call(ListReturned(), user="")).users:
        await publisher.call(ExpelUser(user), user="")
