"""Rules of a channel: what its type can do, and what each role may. Pure: no database, no request.

They come in three layers, each over the one before: what the type declares in code, what operators changed for the
type, what was changed for the one channel. A channel's row holds the two latter, so that one read tells all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec

from backchannel import Meta, Struct

__all__ = [
    "ACTIONS",
    "BUILT_IN_TYPES",
    "OUTSIDER",
    "ROLES",
    "Action",
    "ChannelType",
    "Features",
    "Override",
    "Rules",
    "rules_of",
]

Action = Literal[
    "channel.read",
    "channel.update",
    "channel.freeze",
    "channel.archive",
    "channel.delete",
    "channel.permissions",
    "channel.counters",
    "member.list",
    "member.add",
    "member.invite",
    "member.link",
    "member.remove",
    "member.role",
    "member.update",
    "message.send",
    "message.send_frozen",
    "message.edit",
    "message.edit_any",
    "message.delete",
    "message.delete_any",
    "message.restore",
    "message.pin",
    "message.forward",
    "message.no_slow_mode",
    "message.system",
    "mention.everyone",
    "mention.role",
    "thread.reply",
    "reaction.add",
    "file.attach",
    "poll.create",
    "poll.vote",
    "typing.tell",
    "receipt.mark",
    "report.make",
    "moderate.mute",
    "moderate.ban",
    "moderate.shadow",
    "moderate.review",
    "moderate.filters",
    "data.export",
]
"""What a role may be allowed to do."""

ACTIONS: Final[frozenset[str]] = frozenset(Action.__args__)  # type: ignore[attr-defined]

ROLES: Final = ("owner", "moderator", "member", "guest")
"""The roles that every type has; a type or a channel may name others."""

OUTSIDER: Final = "outsider"
"""The role of who is no member of a public channel or an open room; nobody is given it."""

_READ: Final[frozenset[Action]] = frozenset({"channel.read", "member.list", "receipt.mark", "report.make"})
_GUEST: Final[frozenset[Action]] = _READ | {
    "message.send",
    "message.edit",
    "message.delete",
    "thread.reply",
    "reaction.add",
    "typing.tell",
    "poll.vote",
}
_MEMBER: Final[frozenset[Action]] = _GUEST | {
    "message.forward",
    "message.pin",
    "mention.everyone",
    "mention.role",
    "file.attach",
    "poll.create",
    "member.invite",
}
_MODERATOR: Final[frozenset[Action]] = _MEMBER | {
    "channel.update",
    "channel.freeze",
    "channel.counters",
    "member.add",
    "member.link",
    "member.remove",
    "member.update",
    "message.send_frozen",
    "message.edit_any",
    "message.delete_any",
    "message.restore",
    "message.no_slow_mode",
    "message.system",
    "moderate.mute",
    "moderate.ban",
    "moderate.shadow",
    "moderate.review",
    "moderate.filters",
}
_QUIET: Final[frozenset[Action]] = _READ | {"reaction.add", "poll.vote"}


class Features(Struct, frozen=True, kw_only=True):
    """What channels of a type can do at all, whoever asks."""

    threads: bool = True
    reactions: bool = True
    typing: bool = True
    receipts: bool = True
    files: bool = True
    links: bool = True
    """Whether previews of links are fetched."""
    polls: bool = True
    mentions: bool = True
    search: bool = True
    history: Literal["all", "joined"] = "all"
    """Whether who joins sees what was said before."""
    max_length: Annotated[int, Meta(ge=1, le=20_000)] = 4000
    """Characters of a message."""
    max_files: Annotated[int, Meta(ge=0, le=50)] = 10
    """Files of a message."""
    slow_mode: Annotated[int, Meta(ge=0, le=21_600)] = 0
    """Seconds between two messages of one user; 0: none."""
    expiry: Annotated[int, Meta(ge=0)] = 0
    """Seconds after which messages go by themselves; 0: never."""
    members: Annotated[int, Meta(ge=1)] = 100_000
    """How many members there may be."""
    members_told: Annotated[int, Meta(ge=0)] = 100
    """Up to so many members, each one's receipts are told as they change; beyond, how many have read is."""


class ChannelType(Struct, frozen=True, kw_only=True, eq=False):
    """A kind of channel: `direct`, `group`, `broadcast`, `open`, or one of the app's own."""

    name: str
    membership: bool = True
    """Whether there are members; without, whoever is let in by the permissions of `outsider` reads and speaks."""
    features: Features = Features()
    permissions: Mapping[str, frozenset[Action]] = {}
    """What each role may; an owner and the API key of an operator may everything."""


class Override(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is changed of a type's rules: the features that are named, and per role the actions that are named."""

    features: dict[str, bool | int | str] = {}
    permissions: dict[str, dict[Action, bool]] = {}


class Rules(Struct, frozen=True):
    """The rules that hold in one channel."""

    type: ChannelType
    features: Features
    permissions: Mapping[str, frozenset[str]]

    def allow(self, role: str, action: Action) -> bool:
        """Whether a role may do this."""
        return role == "owner" or action in self.permissions.get(role, ())


_GROUP: Final[dict[str, frozenset[Action]]] = {
    "moderator": _MODERATOR,
    "member": _MEMBER,
    "guest": _GUEST,
    OUTSIDER: frozenset(),
}

BUILT_IN_TYPES: Final = (
    ChannelType(name="group", permissions=_GROUP),
    ChannelType(
        name="direct",
        # Nobody is more than the others in a conversation of a few: all are members, and none owns it.
        features=Features(members=20),
        permissions={"member": _MEMBER - {"member.invite"}},
    ),
    ChannelType(
        name="broadcast",
        permissions={
            **_GROUP,
            "member": _QUIET,
            "guest": _QUIET,
        },
    ),
    ChannelType(
        name="open",
        membership=False,
        permissions={
            "moderator": _MODERATOR,
            OUTSIDER: _GUEST,
        },
    ),
)

_OVERRIDE: Final = msgspec.json.Decoder(Override)


@lru_cache(maxsize=4096)
def rules_of(type_: ChannelType, for_type: str, for_channel: str) -> Rules:
    """The rules of a type with what was changed, as the columns `type_rules` and `rules` of a channel hold it (JSON).

    Raises:
        msgspec.ValidationError: a feature has a value that it cannot have.
    """
    features = msgspec.to_builtins(type_.features)
    permissions = {role: set(actions) for role, actions in type_.permissions.items()}
    for text in (for_type, for_channel):
        if text == "{}":
            continue
        override = _OVERRIDE.decode(text)
        features.update(override.features)
        for role, changed in override.permissions.items():
            for action, allowed in changed.items():
                actions = permissions.setdefault(role, set())
                (actions.add if allowed else actions.discard)(action)
    return Rules(
        type_, msgspec.convert(features, Features), {role: frozenset(actions) for role, actions in permissions.items()}
    )
