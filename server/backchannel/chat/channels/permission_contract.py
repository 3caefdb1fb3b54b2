"""What is understood about permissions: who may do what, per channel and per type, to read and to change."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChatChannel, Role, app
from ..rules import Action, Features
from .contract import TypeName

__all__ = [
    "ChangePermissions",
    "ChangeTypePermissions",
    "GetPermissions",
    "GetTypePermissions",
    "PermissionTable",
    "PermissionsChanged",
]

_Changes = Annotated[dict[Role, dict[Action, bool]], Meta(max_length=20)]
_Features = dict[str, bool | int | str]


class PermissionTable(Struct):
    """What channels can do, and what each role may. An owner, who is in no table, may everything."""

    type: str
    features: Features
    permissions: dict[str, list[str]]
    """By role; `outsider` is who is no member."""
    changed_features: list[str]
    """Which features are not what they are one layer below: the channel's type, or the code."""
    changed_permissions: dict[str, list[str]]
    """Likewise, by role."""


@app.event("permission.changed")
class PermissionsChanged(Event):
    """What roles may in a channel, as it is now. Where roles lost the right to read, every subscription ends with it:
    listen again, and who may is let in."""

    channel: str
    features: Features
    permissions: dict[str, list[str]]


@app.query("permission.get")
class GetPermissions(Query[PermissionTable]):
    """Who may do what in a channel."""

    channel: ChatChannel


@app.query("permission.get_type")
class GetTypePermissions(Query[PermissionTable]):
    """Who may do what in channels of a type, where the channel says nothing else."""

    type: TypeName


@app.command("permission.change", lane="channel")
class ChangePermissions(Command[PermissionTable]):
    """Change what is given, for one channel."""

    channel: ChatChannel
    permissions: _Changes = {}
    """By role the actions that it may from now on (true), or may not. A new name makes a new role."""
    features: _Features = {}
    reset: bool = False
    """Forget what was changed for this channel before."""


@app.command("permission.change_type", lane="type")
class ChangeTypePermissions(Command[PermissionTable]):
    """Change what is given, for all channels of a type. For API keys that act for themselves."""

    type: TypeName
    permissions: _Changes = {}
    features: _Features = {}
    reset: bool = False
    """Forget what was changed for this type before."""
