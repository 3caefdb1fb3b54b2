"""What is understood about people: profiles, devices, preferences, blocks. Presence and typing have their own files."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import Cursor, Data, PageLimit, Title, UserName, app

__all__ = [
    "ActivateUser",
    "BlockChanged",
    "BlockUser",
    "Blocked",
    "BlockedUser",
    "BlockedUsers",
    "DeactivateUser",
    "Device",
    "DeviceList",
    "DeviceRemoved",
    "GetPreferences",
    "GetProfiles",
    "ListBlocked",
    "ListDevices",
    "Preferences",
    "PreferencesChanged",
    "Profile",
    "ProfileChanged",
    "Profiles",
    "PutProfile",
    "RegisterDevice",
    "RemoveDevice",
    "UnblockUser",
    "UpdatePreferences",
    "UpdateProfile",
]

Avatar = Annotated[
    str,
    Meta(max_length=2048, pattern=r"^((https://|http://|/)\S+)?$(?!\n)", description="A URL; empty: none."),
]
DeviceId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.@:-]{1,128}$(?!\n)", description="The app's own, for good.")]
PushToken = Annotated[str, Meta(max_length=4096)]
ShortName = Annotated[str, Meta(max_length=100)]
Word = Annotated[str, Meta(pattern=r"^[a-z0-9_-]{0,32}$(?!\n)")]

# Profiles


class Profile(Struct, omit_defaults=True):
    """What a user shows of themselves, to every user of the app."""

    user: str
    name: str
    """The user's id, for who has set none."""
    avatar: str = ""
    data: Data = {}
    deactivated: int | None = None
    """Since when the user may do nothing any more."""
    open: bool = False
    """Whether everybody may see if they are there."""


@app.event("profile.changed")
class ProfileChanged(Event):
    """On `people:<id>`, and on `user:<id>` for the user's own devices: the whole profile, as it is now."""

    user: str
    name: str
    avatar: str = ""
    data: Data = {}
    deactivated: int | None = None
    open: bool = False


@app.command("profile.update")
class UpdateProfile(Command[Profile]):
    """Change one's own profile. What is not named stays; of `data`, keys that are named change, and go with null."""

    name: Title | None = None
    avatar: Avatar | None = None
    data: Data | None = None


@app.command("profile.put", lane_of="user")
class PutProfile(Command[Profile]):
    """Change anybody's profile, or make it: for API keys that act for themselves. Otherwise as `profile.update`."""

    user: UserName
    name: Title | None = None
    avatar: Avatar | None = None
    data: Data | None = None
    open: bool | None = None


class Profiles(Struct):
    """Profiles, in the order asked for; users that never were are there by their id alone."""

    profiles: list[Profile]


@app.query("profile.get")
class GetProfiles(Query[Profiles]):
    """The profiles of some users."""

    users: Annotated[list[UserName], Meta(min_length=1, max_length=200)]


@app.command("user.deactivate", lane_of="user")
class DeactivateUser(Command[Profile]):
    """Take away all of a user's access, and their devices; for API keys that act for themselves.

    The user's tokens are void at once. Whoever comes with a newer one is sent away, too, until `user.activate`.
    """

    user: UserName


@app.command("user.activate", lane_of="user")
class ActivateUser(Command[Profile]):
    """Let a user in again, with new tokens; for API keys that act for themselves."""

    user: UserName


# Devices


class Device(Struct, omit_defaults=True):
    """One of a user's devices. `push_token` is told to API keys that act for themselves alone."""

    device: str
    name: str = ""
    platform: str = ""
    push_kind: str = ""
    """By which service it gets pushes; empty: it gets none."""
    push_token: str = ""
    created: int = 0
    changed: int = 0


class DeviceList(Struct):
    """A user's devices, by their ids."""

    devices: list[Device]


class DeviceRemoved(Struct):
    """It is there no more."""

    device: str


@app.command("device.register")
class RegisterDevice(Command[Device]):
    """Tell of the device that one uses, or how it is reached now.

    A push token has one owner: whoever registered it last.
    """

    device: DeviceId
    name: ShortName = ""
    platform: Word = ""
    push_kind: Word = ""
    push_token: PushToken = ""


@app.command("device.remove")
class RemoveDevice(Command[DeviceRemoved]):
    """Forget a device of one's own; removing it again changes nothing."""

    device: DeviceId


@app.query("device.list")
class ListDevices(Query[DeviceList]):
    """One's own devices; or a user's, for API keys that act for themselves."""

    user: UserName | None = None


# Preferences


class Preferences(Struct):
    """A user's settings, which are the same on each of their devices."""

    data: Data


@app.event("preferences.changed")
class PreferencesChanged(Event):
    """On `user:<id>`: all of one's settings, as they are now."""

    data: Data


@app.command("preferences.update")
class UpdatePreferences(Command[Preferences]):
    """Change settings of one's own: keys that are named change, and go with null; others stay."""

    data: Data


@app.query("preferences.get")
class GetPreferences(Query[Preferences]):
    """One's own settings."""


# Blocks


class Blocked(Struct):
    """Whether a user is blocked now."""

    user: str
    blocked: bool


@app.event("block.changed")
class BlockChanged(Event):
    """On one's own `user:<id>`: whether one has blocked a user. The other one is never told."""

    user: str
    blocked: bool


@app.command("user.block")
class BlockUser(Command[Blocked]):
    """Block a user: no direct conversation, no mention, no presence between the two. Again changes nothing."""

    user: UserName


@app.command("user.unblock")
class UnblockUser(Command[Blocked]):
    """Block a user no longer. Again changes nothing."""

    user: UserName


class BlockedUser(Struct):
    """One whom one has blocked, and since when."""

    user: str
    time: int


class BlockedUsers(Struct, omit_defaults=True):
    """A page of the block list, by name."""

    users: list[BlockedUser]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("block.list")
class ListBlocked(Query[BlockedUsers]):
    """Whom one has blocked."""

    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False
