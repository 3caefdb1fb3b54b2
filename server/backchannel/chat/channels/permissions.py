"""Who may do what: read the table, change it for one channel or for a type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from backchannel import Context, Refused

from ..access import Access, access, is_operator
from ..common import app
from ..extensions import type_of
from ..moderation.audit import record
from ..rules import OUTSIDER, Action, ChannelType, Override, Rules, rules_of
from ..tables import channels
from .permission_contract import (
    ChangePermissions,
    ChangeTypePermissions,
    GetPermissions,
    GetTypePermissions,
    PermissionsChanged,
    PermissionTable,
)
from .tables import types

__all__ = ["shared_type_rules"]

_OVERRIDE = msgspec.json.Decoder(Override)


async def shared_type_rules(ctx: Context, type_: str) -> str:
    """What operators changed of a type's rules, for a channel that this command makes.

    Whoever changes them meanwhile waits until the command's transaction has ended, and then finds the channel.
    """
    row = await _locked(ctx, type_, alone=False)
    if row is None:
        # A row that is not there cannot be shared; the first command of the type makes it.
        await ctx.next(f"chat.type:{type_}")
        row = await _locked(ctx, type_, alone=False)
        if row is None:
            ctx.insert(types, type=type_, rules="{}")
            return "{}"
    return str(row.rules)


async def _locked(ctx: Context, type_: str, *, alone: bool) -> sa.Row[Any] | None:
    """The type's row, locked until the transaction ends, where a database has several writers."""
    return await ctx.db.row(
        sa.select(types).where(types.c.app == ctx.app, types.c.type == type_).with_for_update(read=not alone)
    )


# Read


@app.handle(GetPermissions)
async def get_permissions(ctx: Context, request: GetPermissions) -> PermissionTable:
    """For whoever may read the channel: rules are no secret of those who made them."""
    found = await access(ctx, request.channel, "channel.read")
    below = rules_of(found.rules.type, found.channel.type_rules, "{}")
    return _table(found.rules, below)


@app.handle(GetTypePermissions)
async def get_type_permissions(ctx: Context, request: GetTypePermissions) -> PermissionTable:
    """For everybody: it is what channels begin with."""
    type_ = type_of(request.type)
    row = await ctx.db.get(types, type=request.type)
    return _table(rules_of(type_, "{}" if row is None else row.rules, "{}"), rules_of(type_, "{}", "{}"))


def _table(rules: Rules, below: Rules) -> PermissionTable:
    names = msgspec.structs.fields(rules.features)
    roles = sorted({*rules.permissions, *below.permissions})
    changed = {
        role: sorted(difference)
        for role in roles
        if (difference := rules.permissions.get(role, frozenset()) ^ below.permissions.get(role, frozenset()))
    }
    return PermissionTable(
        type=rules.type.name,
        features=rules.features,
        permissions={role: sorted(actions) for role, actions in sorted(rules.permissions.items())},
        changed_features=[
            field.name for field in names if getattr(rules.features, field.name) != getattr(below.features, field.name)
        ],
        changed_permissions=changed,
    )


# Change


@app.handle(ChangePermissions)
async def change_permissions(ctx: Context, request: ChangePermissions) -> PermissionTable:
    """Change one channel's rules. Who owns nothing may give away only what they may do themselves."""
    found = await access(ctx, request.channel, "channel.permissions")
    _refuse_greater(found, request.permissions)
    row = found.channel
    before = found.rules
    text = _merged("{}" if request.reset else row.rules, request.permissions, request.features)
    after = _checked(before.type, row.type_rules, text)
    below = rules_of(before.type, row.type_rules, "{}")
    if text != row.rules:
        ctx.update(channels, {"channel": row.channel}, rules=text)
        await _record(ctx, row.channel, "permission.change", "channel", row.rules, text)
        table = _table(after, below)
        ctx.publish(
            row.channel,
            PermissionsChanged(channel=row.channel, features=table.features, permissions=table.permissions),
            ends=["*"] if _reads_less(before, after) else None,
        )
    return _table(after, below)


@app.handle(ChangeTypePermissions)
async def change_type_permissions(ctx: Context, request: ChangeTypePermissions) -> PermissionTable:
    """Change a type's rules, in its own row and, by one statement, in those of all its channels."""
    if not is_operator(ctx):
        raise Refused("forbidden", "Only an API key that acts for itself changes what holds for a whole type.")
    type_ = type_of(request.type)
    row = await _locked(ctx, request.type, alone=True)
    if row is None:
        await ctx.next(f"chat.type:{request.type}")
        row = await _locked(ctx, request.type, alone=True)
    old = "{}" if row is None else str(row.rules)
    text = _merged("{}" if request.reset else old, request.permissions, request.features)
    after = _checked(type_, text, "{}")
    if row is None:
        ctx.insert(types, type=request.type, rules=text)
    elif text != old:
        ctx.update(types, {"type": request.type}, rules=text)
    if text != old:
        ctx.update(channels, {"type": request.type}, type_rules=text)
        await _record(ctx, "*", "permission.change_type", f"type:{request.type}", old, text)
    return _table(after, rules_of(type_, "{}", "{}"))


async def _record(ctx: Context, channel: str, act: str, target: str, before: str, after: str) -> None:
    await record(ctx, channel, act, target, before=msgspec.json.decode(before), after=msgspec.json.decode(after))


def _refuse_greater(found: Access, changes: Mapping[str, Mapping[Action, bool]]) -> None:
    if found.role == "owner":
        return
    for actions in changes.values():
        for action, allowed in actions.items():
            if allowed:
                found.require(action)


def _merged(text: str, permissions: Mapping[str, Mapping[Action, bool]], features: Mapping[str, Any]) -> str:
    """What a column holds with these changes, always in the same spelling."""
    override = _OVERRIDE.decode(text)
    if "owner" in permissions:
        raise Refused("invalid", "An owner may everything; leave `owner` out of `permissions`.")
    roles = {role: {**override.permissions.get(role, {}), **changed} for role, changed in permissions.items()}
    merged = Override(
        features=dict(sorted({**override.features, **features}.items())),
        permissions={
            role: dict(sorted(actions.items())) for role, actions in sorted({**override.permissions, **roles}.items())
        },
    )
    return msgspec.json.encode(merged).decode()


def _checked(type_: ChannelType, for_type: str, for_channel: str) -> Rules:
    override = _OVERRIDE.decode(for_type if for_channel == "{}" else for_channel)
    known = type_.features.__struct_fields__
    if unknown := sorted(override.features.keys() - set(known)):
        raise Refused("invalid", f"There is no feature {unknown[0]!r}; there are: {', '.join(known)}.")
    try:
        rules = rules_of(type_, for_type, for_channel)
    except msgspec.ValidationError as exc:
        raise Refused("invalid", f"`features`: {exc}.") from None
    if len(rules.permissions) > _MAX_ROLES:
        raise Refused("too_large", f"There would be {len(rules.permissions)} roles; {_MAX_ROLES} are the most.")
    return rules


_MAX_ROLES = 50


def _reads_less(before: Rules, after: Rules) -> bool:
    """Whether somebody may not read any more; an outsider is one of those."""
    return any(
        before.allow(role, "channel.read") and not after.allow(role, "channel.read")
        for role in {*before.permissions, OUTSIDER}
    )
