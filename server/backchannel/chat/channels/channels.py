"""Channels themselves: create, open a direct one, update, freeze, archive, delete."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access, access, is_operator
from ..common import app
from ..extensions import type_of
from ..limits import check_data, merge_data
from ..moderation.audit import record
from ..moderation.filters import filters_of_new
from ..people.tables import blocks
from ..rules import OUTSIDER, Rules, rules_of
from ..tables import channels, members
from .contract import (
    ArchiveChannel,
    ChannelDeleted,
    ChannelInfo,
    CreateChannel,
    DeleteChannel,
    FreezeChannel,
    Left,
    Membership,
    OpenDirect,
    UpdateChannel,
)
from .describe import DIRECT, added, describe, info_of, newest_seq, updated
from .entering import banned_users, default_role, make_members, members_among, refuse_direct, restraints_of
from .permissions import shared_type_rules

__all__ = ["direct_channel"]


@app.handle(CreateChannel)
async def create_channel(ctx: Context, request: CreateChannel) -> ChannelInfo:
    """Create a channel and make its first members; all of it or nothing."""
    if request.type == DIRECT:
        raise Refused("invalid", "Ask channel.direct for a direct channel; nobody else creates one.")
    if request.owner is not None and not is_operator(ctx):
        raise Refused("forbidden", "Who creates a channel owns it; only an API key that acts for itself names another.")
    if request.id is not None and request.id.startswith("dm-"):
        raise Refused("invalid", "Ids that begin with `dm-` are for direct channels; choose another.")
    owner = request.owner or ctx.user
    channel = f"chat:{request.id or ctx.new_id()}"
    if await ctx.db.get(channels, channel=channel) is not None:
        raise Refused("conflict", f"{channel} exists already; choose another id, or join it.")
    type_ = type_of(request.type)
    type_rules = await shared_type_rules(ctx, request.type)
    rules = rules_of(type_, type_rules, "{}")
    roles = {owner: "owner"} if owner else {}
    for user in request.members:
        roles.setdefault(user, default_role(rules))
    return await _make(
        ctx,
        rules,
        roles,
        channel=channel,
        name=request.name,
        public=request.public,
        creator=owner,
        type=request.type,
        topic=request.topic,
        cover=request.cover,
        data=check_data(request.data, "data"),
        type_rules=type_rules,
    )


async def _make(ctx: Context, rules: Rules, roles: Mapping[str, str], **values: Any) -> ChannelInfo:
    about = await restraints_of(ctx, values["channel"], roles)
    if banned := banned_users(about):
        raise Refused(
            "conflict", f"Banned: {', '.join(banned)}; leave them out.", details={"reason": "banned", "users": banned}
        )
    values |= {"created": ctx.now, "member_count": len(roles), "filters": await filters_of_new(ctx, values["type"])}
    row = SimpleNamespace(**{"topic": "", "cover": "", "data": "{}", **values}, frozen=False, archived=False)
    ctx.insert(channels, **values)
    made = make_members(ctx, row, rules, roles, about, by=ctx.user)
    return made.get(ctx.user) or info_of(row, 0, None)


@app.handle(OpenDirect)
async def open_direct(ctx: Context, request: OpenDirect) -> ChannelInfo:
    """The channel is named by its members, so that whoever asks first makes it, and whoever asks later gets it."""
    users = sorted({*request.members, ctx.user} - {""})
    if not users:
        raise Refused("invalid", "`members`: name at least one user.")
    channel = direct_channel(users)
    row = await ctx.db.get(channels, channel=channel)
    if row is None or row.deleted is not None:
        # Two who ask at once are of two lanes; one waits here until the other has committed.
        await ctx.next(f"chat.direct:{channel}")
        row = await ctx.db.get(channels, channel=channel)
    if row is None:
        return await _make_direct(ctx, channel, users)
    if row.deleted is not None:
        return await _bring_back(ctx, row, users)
    return await describe(ctx, await access(ctx, channel))


def direct_channel(users: Collection[str]) -> str:
    """The direct channel of these users: it is named by who they are."""
    digest = hashlib.sha256(msgspec.json.encode(sorted(users))).digest()[:20]
    return f"chat:dm-{base64.b32encode(digest).decode().lower()}"


async def _make_direct(ctx: Context, channel: str, users: list[str]) -> ChannelInfo:
    await _refuse_blocked(ctx, users)
    type_rules = await shared_type_rules(ctx, DIRECT)
    rules = rules_of(type_of(DIRECT), type_rules, "{}")
    return await _make(
        ctx,
        rules,
        dict.fromkeys(users, "member"),
        channel=channel,
        name=", ".join(users),
        public=False,
        creator=ctx.user,
        type=DIRECT,
        type_rules=type_rules,
    )


async def _refuse_blocked(ctx: Context, users: Collection[str]) -> None:
    if not ctx.user:
        return
    others = sorted(set(users) - {ctx.user})
    blocked = sa.or_(
        sa.and_(blocks.c.user == ctx.user, blocks.c.blocked.in_(others)),
        sa.and_(blocks.c.blocked == ctx.user, blocks.c.user.in_(others)),
    )
    if others and await ctx.db.row(sa.select(blocks.c.user).where(blocks.c.app == ctx.app, blocked).limit(1)):
        # Nobody can tell who has blocked whom.
        raise Refused("forbidden", "You cannot open a conversation between these users.", details={"reason": "blocked"})


async def _bring_back(ctx: Context, row: Any, users: list[str]) -> ChannelInfo:
    """An operator deleted it: it begins anew, and what was said stays away. Nobody else writes a deleted channel."""
    await _refuse_blocked(ctx, users)
    there = await members_among(ctx, row.channel, users)
    newest, offset = await newest_seq(ctx, row.channel), await ctx.position(row.channel)
    values = {"joined": ctx.now, "read_seq": newest, "delivered_seq": newest, "history_from": newest}
    values |= {"events_from": offset, "hidden": False}
    ctx.update(channels, {"channel": row.channel}, deleted=None, frozen=False, archived=False, member_count=len(users))
    mine = Membership(role="member", joined=ctx.now, read_seq=newest, history_from=newest)
    info = info_of(row, newest, mine)
    info.frozen = info.archived = False
    info.members = len(users)
    for user in users:
        if user in there:
            ctx.update(members, {"channel": row.channel, "user": user}, **values)
        else:
            ctx.insert(members, channel=row.channel, user=user, role="member", **values)
        ctx.publish(f"user:{user}", added(info))
    if not ctx.user:
        info.joined, info.mine = False, None
    return info


@app.handle(UpdateChannel)
async def update_channel(ctx: Context, request: UpdateChannel) -> ChannelInfo:
    """Change what is given; what stays as it is is told to nobody."""
    found = await access(ctx, request.channel, "channel.update")
    row = found.channel
    values: dict[str, Any] = {
        name: value for name in ("name", "topic", "cover", "public") if (value := getattr(request, name)) is not None
    }
    if {"name", "public"} & values.keys():
        refuse_direct(found)
    if request.data is not None:
        values["data"] = merge_data(row.data, request.data, "data")
    return await _change(ctx, found, values)


@app.handle(FreezeChannel)
async def freeze_channel(ctx: Context, request: FreezeChannel) -> ChannelInfo:
    """Let only moderators send, or everybody again."""
    found = await access(ctx, request.channel, "channel.freeze")
    await _record(ctx, found, "channel.freeze", frozen=request.frozen)
    return await _change(ctx, found, {"frozen": request.frozen})


@app.handle(ArchiveChannel)
async def archive_channel(ctx: Context, request: ArchiveChannel) -> ChannelInfo:
    """Close a channel for all, or open it again."""
    found = await access(ctx, request.channel, "channel.archive")
    await _record(ctx, found, "channel.archive", archived=request.archived)
    return await _change(ctx, found, {"archived": request.archived})


async def _record(ctx: Context, found: Access, act: str, **values: bool) -> None:
    before = {name: bool(getattr(found.channel, name)) for name in values}
    if before != values:
        await record(ctx, found.channel.channel, act, "channel", before=before, after=values)


async def _change(ctx: Context, found: Access, values: Mapping[str, Any]) -> ChannelInfo:
    row = found.channel
    info = await describe(ctx, found)
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return info
    for name, value in changed.items():
        setattr(info, name, msgspec.json.decode(value) if name == "data" else value)
    ctx.update(channels, {"channel": row.channel}, **changed)
    # Who listens without being a member may not do so in a private channel.
    outsiders = changed.get("public") is False and found.rules.allow(OUTSIDER, "channel.read")
    ctx.publish(row.channel, updated(info), ends=["*"] if outsiders else None)
    return info


@app.handle(DeleteChannel)
async def delete_channel(ctx: Context, request: DeleteChannel) -> Left:
    """Delete a channel for all. Its rows stay until retention takes them; nobody can tell that it was there."""
    found = await access(ctx, request.channel, "channel.delete")
    await record(ctx, request.channel, "channel.delete", "channel", before={"name": found.channel.name})
    ctx.update(channels, {"channel": request.channel}, deleted=ctx.now)
    ctx.publish(request.channel, ChannelDeleted(channel=request.channel), ends=["*"])
    return Left(request.channel)
