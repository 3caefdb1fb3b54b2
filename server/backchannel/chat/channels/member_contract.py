"""What is understood about members: commands, queries, events; with invitations and join links."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChatChannel, Cursor, Data, PageLimit, Role, UserName, app
from .contract import ChannelInfo, Left

__all__ = [
    "AcceptInvitation",
    "AddMembers",
    "ChangeWishes",
    "ChannelWishes",
    "CreateLink",
    "DeclineInvitation",
    "InvitationAnswered",
    "InvitationCreated",
    "InvitationEnded",
    "InvitationInfo",
    "InvitationList",
    "InviteMembers",
    "Invited",
    "JoinChannel",
    "LeaveChannel",
    "JoinLinkInfo",
    "JoinLinkList",
    "JoinLinkPreview",
    "ListInvitations",
    "ListLinks",
    "ListMembers",
    "LookAtLink",
    "MemberInfo",
    "MemberJoined",
    "MemberLeft",
    "MemberList",
    "MemberUpdated",
    "MembersAdded",
    "MembersRemoved",
    "RemoveMembers",
    "RevokeLink",
    "SetRole",
    "TransferChannel",
    "UpdateMember",
    "WishesChanged",
    "WithdrawInvitation",
]

_Users = Annotated[list[UserName], Meta(min_length=1, max_length=100)]
LinkCode = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")]
_Instant = Annotated[int, Meta(ge=1, le=2**53 - 1, description="Unix milliseconds.")]


class MemberInfo(Struct, omit_defaults=True):
    """One member of a channel."""

    user: str
    role: Role
    joined: int
    data: Data = {}


# Members


@app.event("member.joined")
class MemberJoined(Event):
    """A user became a member."""

    channel: str
    user: str
    role: str = "member"
    members: int = 0
    """How many there are now."""
    by: str = ""
    """Who added them; empty if they came by themselves."""


@app.event("member.left")
class MemberLeft(Event):
    """A user is no member any more; that user's subscriptions end with this event."""

    channel: str
    user: str
    members: int = 0
    """How many there are now."""
    by: str = ""
    """Who removed them; empty if they left."""


@app.event("member.updated")
class MemberUpdated(Event):
    """A member's role or data, as they are now."""

    channel: str
    user: str
    role: str
    data: Data = {}


@app.command("channel.join", lane="channel")
class JoinChannel(Command[ChannelInfo]):
    """Become a member of a public channel, or of any by a link's code."""

    channel: ChatChannel
    link: LinkCode | None = None
    """`link.look` tells which channel a code is for."""


@app.command("channel.leave", lane="channel")
class LeaveChannel(Command[Left]):
    """Stop being a member. An only owner leaves the channel to whoever is there longest: a moderator, else a member."""

    channel: ChatChannel


class MembersAdded(Struct):
    """How many members there are now, and who of those asked for is new."""

    channel: str
    members: int
    added: list[MemberInfo]


@app.command("member.add", lane="channel")
class AddMembers(Command[MembersAdded]):
    """Make users members at once; who is one stays as they are."""

    channel: ChatChannel
    users: _Users
    role: Role | None = None
    """By default `member`, or the first role of the channel's type."""


class MembersRemoved(Struct):
    """How many members there are now, and who of those named was one."""

    channel: str
    members: int
    removed: list[str]


@app.command("member.remove", lane="channel")
class RemoveMembers(Command[MembersRemoved]):
    """Take users out of a channel: none who may do so themselves, unless one owns it. They may join again."""

    channel: ChatChannel
    users: _Users


@app.command("member.set_role", lane="channel")
class SetRole(Command[MemberInfo]):
    """Give a member another role. A channel that has an owner keeps one."""

    channel: ChatChannel
    user: UserName
    role: Role


@app.command("channel.transfer", lane="channel")
class TransferChannel(Command[MemberInfo]):
    """Make a member the owner, and oneself a moderator (or a member, where there are none)."""

    channel: ChatChannel
    user: UserName


@app.command("member.update", lane="channel")
class UpdateMember(Command[MemberInfo]):
    """Change what is kept with a member, one's own or another's; all members see it."""

    channel: ChatChannel
    data: Data
    """Its keys replace those there are; a key whose value is null goes."""
    user: UserName | None = None
    """By default oneself."""


class MemberList(Struct, omit_defaults=True):
    """A page of members, by name; `next` and `previous` are the cursors of the pages beside it."""

    members: list[MemberInfo]
    next: str | None = None
    previous: str | None = None
    total: int | None = None
    """How many there are on all pages, if that was asked."""


@app.query("channel.members")
class ListMembers(Query[MemberList]):
    """Who is a member of a channel."""

    channel: ChatChannel
    cursor: Cursor | None = None
    limit: PageLimit = 100
    total: bool = False
    roles: Annotated[list[Role], Meta(max_length=20)] = []
    """Only members with one of these roles."""
    prefix: Annotated[str, Meta(max_length=128)] = ""
    """Only users whose id begins with this."""


# One's own wishes


class ChannelWishes(Struct):
    """What a member wishes for themselves; nobody else is told."""

    channel: str
    hidden: bool
    archived: bool
    pinned: int
    """Since when, Unix milliseconds; 0: not."""
    muted: int
    """Until when, Unix milliseconds; 0: not."""


@app.event("wish.changed")
class WishesChanged(Event):
    """On `user:<id>`: what that user wishes of a channel, as it is now."""

    channel: str
    hidden: bool
    archived: bool
    pinned: int
    muted: int


@app.command("channel.wish", lane="channel")
class ChangeWishes(Command[ChannelWishes]):
    """Hide, archive, pin or mute a channel for oneself; what is not given stays."""

    channel: ChatChannel
    hidden: bool | None = None
    """Leave it out of one's list, until there is a new message."""
    keep_hidden: bool = False
    """With `hidden`: also then."""
    archived: bool | None = None
    pinned: bool | None = None
    muted: bool | None = None
    muted_until: _Instant | None = None
    """With `muted`: until when; by default until one changes it."""


# Invitations


class InvitationInfo(Struct):
    """Somebody is asked to become a member."""

    channel: str
    name: str
    type: str
    user: str
    by: str
    """Who asks."""
    role: str
    time: int


@app.event("invitation.created")
class InvitationCreated(Event):
    """On `user:<id>`: that user is invited."""

    channel: str
    name: str
    type: str
    user: str
    by: str
    role: str
    time: int


@app.event("invitation.ended")
class InvitationEnded(Event):
    """On `user:<id>`: that user's invitation is answered, or withdrawn."""

    channel: str


@app.event("invitation.answered")
class InvitationAnswered(Event):
    """On `user:<id>` of who invited: what the invited user answered."""

    channel: str
    user: str
    accepted: bool


class Invited(Struct):
    """Who of those named is invited now and was not before; members and those who are banned are left out."""

    channel: str
    invited: list[str]


@app.command("member.invite", lane="channel")
class InviteMembers(Command[Invited]):
    """Ask users to become members."""

    channel: ChatChannel
    users: _Users


@app.command("invitation.accept", lane="channel")
class AcceptInvitation(Command[ChannelInfo]):
    """Become a member, as one was invited to; accepting again changes nothing."""

    channel: ChatChannel


@app.command("invitation.decline", lane="channel")
class DeclineInvitation(Command[Left]):
    """Say no."""

    channel: ChatChannel


@app.command("invitation.withdraw", lane="channel")
class WithdrawInvitation(Command[Left]):
    """Take an invitation back: one's own, or any as one who may add members."""

    channel: ChatChannel
    user: UserName


class InvitationList(Struct, omit_defaults=True):
    """A page of invitations, the newest first; `next` and `previous` are the cursors of the pages beside it."""

    invitations: list[InvitationInfo]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("invitation.list")
class ListInvitations(Query[InvitationList]):
    """The invitations that wait for oneself, or, with a channel, those that wait for others there."""

    channel: ChatChannel | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 100
    total: bool = False


# Join links


class JoinLinkInfo(Struct):
    """A link by whose code one may join."""

    channel: str
    code: str
    by: str
    role: str
    created: int
    expires: int
    """When it ends, Unix milliseconds; 0: never."""
    uses: int
    """How many may join by it; 0: any number."""
    used: int


@app.command("link.create", lane="channel")
class CreateLink(Command[JoinLinkInfo]):
    """Make a link by which whoever has its code may join."""

    channel: ChatChannel
    uses: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    expires: _Instant | None = None
    role: Role | None = None
    """What those become who join; by default `member`."""


@app.command("link.revoke", lane="channel")
class RevokeLink(Command[Left]):
    """End a link. Who has joined by it stays."""

    channel: ChatChannel
    code: LinkCode


class JoinLinkList(Struct):
    """All links of a channel, the newest first."""

    links: list[JoinLinkInfo]


@app.query("link.list")
class ListLinks(Query[JoinLinkList]):
    """The links of a channel, with their codes."""

    channel: ChatChannel


class JoinLinkPreview(Struct, omit_defaults=True):
    """What a link leads to."""

    channel: str
    name: str
    type: str
    members: int
    joined: bool
    """Whether the asking user is a member."""
    topic: str = ""
    cover: str = ""


@app.query("link.look")
class LookAtLink(Query[JoinLinkPreview]):
    """Which channel a link's code is for."""

    code: LinkCode
