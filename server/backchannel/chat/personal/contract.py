"""What is understood of what users keep: drafts, scheduled messages, reminders, saved messages.

All of it is heard by its user alone, on `user:<id>`, on all devices.
"""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChatChannel, Cursor, Data, MessageText, PageLimit, Seq, app
from ..messages.contract import Message, SendMessage

__all__ = [
    "AddReminder",
    "Draft",
    "DraftChanged",
    "DraftList",
    "ListDrafts",
    "ListReminders",
    "ListSaved",
    "ListScheduled",
    "Reminder",
    "ReminderChanged",
    "ReminderDue",
    "ReminderList",
    "ReminderRemoved",
    "RemoveReminder",
    "RemoveSaved",
    "RemoveScheduled",
    "SaveDraft",
    "SaveMessage",
    "SavedChanged",
    "SavedFolder",
    "SavedList",
    "SavedMessage",
    "ScheduleMessage",
    "ScheduledChanged",
    "ScheduledList",
    "ScheduledMessage",
    "UpdateReminder",
    "UpdateScheduled",
]

Due = Annotated[int, Meta(ge=0, le=2**42, description="Unix milliseconds.")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")]
Note = Annotated[str, Meta(max_length=500)]
Folder = Annotated[str, Meta(max_length=50)]


# Drafts


class Draft(Struct, omit_defaults=True):
    """What a user has begun to write; one per channel and thread."""

    channel: str
    text: str
    changed: int
    """When, Unix milliseconds."""
    parent: int | None = None
    """The message in whose thread it is to stand."""
    data: Data | None = None
    """What the app keeps with it: what is quoted, uploads."""


@app.event("draft.changed")
class DraftChanged(Draft, Event):
    """On `user:<id>`: a draft is this now; one without text and data is none any more."""


@app.command("draft.save")
class SaveDraft(Command[Draft]):
    """Keep what was begun to write, on all devices; without text and data the draft goes. The last one to save wins."""

    channel: ChatChannel
    text: MessageText = ""
    parent: Seq | None = None
    data: Data | None = None


class DraftList(Struct, omit_defaults=True):
    """A page of drafts, the latest first."""

    drafts: list[Draft]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("draft.list")
class ListDrafts(Query[DraftList]):
    """One's drafts, in all channels or in one."""

    channel: ChatChannel | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False


# Scheduled messages


class ScheduledMessage(Struct, omit_defaults=True):
    """A message that is to be sent, or was refused when it was due."""

    id: str
    due: int
    message: SendMessage
    created: int
    code: str | None = None
    """What it was refused with; give it another time, another text, or remove it."""
    reason: str | None = None
    """The same, in words."""


@app.event("scheduled.changed")
class ScheduledChanged(Event):
    """On `user:<id>`: a scheduled message is this now; `scheduled` is None once it was sent, or removed."""

    id: str
    channel: str
    scheduled: ScheduledMessage | None = None
    seq: int | None = None
    """Where it stands now, if it was sent."""


@app.command("message.schedule", lane="channel")
class ScheduleMessage(Command[ScheduledMessage]):
    """Have a message sent later, once, as if one had sent it then."""

    channel: ChatChannel
    message: SendMessage
    """As for `message.send`; to the same channel."""
    due: Due
    """Up to a year ahead. It is sent within ten seconds after that."""


@app.command("scheduled.update", lane="channel")
class UpdateScheduled(Command[ScheduledMessage]):
    """Change what is sent, or when; one that was refused is tried again."""

    channel: ChatChannel
    id: Id
    message: SendMessage | None = None
    due: Due | None = None


@app.command("scheduled.remove", lane="channel")
class RemoveScheduled(Command[ScheduledChanged]):
    """Do not send it. One that was sent meanwhile is refused with `not_found`."""

    channel: ChatChannel
    id: Id


class ScheduledList(Struct, omit_defaults=True):
    """A page of scheduled messages, the next due first."""

    scheduled: list[ScheduledMessage]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("scheduled.list")
class ListScheduled(Query[ScheduledList]):
    """One's scheduled messages, in all channels or in one; those that were refused are among them."""

    channel: ChatChannel | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False


# Reminders


class Reminder(Struct, omit_defaults=True):
    """What a user wants to be reminded of."""

    id: str
    due: int
    created: int
    text: str = ""
    channel: str | None = None
    seq: int | None = None
    """The message that it is about, if it is about one."""
    told: int | None = None
    """When the user was reminded."""


@app.event("reminder.changed")
class ReminderChanged(Event):
    """On `user:<id>`: a reminder is this now; `reminder` is None once it was removed."""

    id: str
    reminder: Reminder | None = None


@app.event("reminder.due")
class ReminderDue(Reminder, Event):
    """On `user:<id>`: it is time."""


@app.command("reminder.add")
class AddReminder(Command[Reminder]):
    """Be reminded of a message, or of anything else, at a time."""

    due: Due
    """Up to five years ahead. It is told within ten seconds after that."""
    text: Note = ""
    channel: ChatChannel | None = None
    seq: Seq | None = None
    """The message; both or none."""


@app.command("reminder.update")
class UpdateReminder(Command[Reminder]):
    """Change a reminder; with another time it comes again (snooze)."""

    id: Id
    due: Due | None = None
    text: Note | None = None


class ReminderRemoved(Struct):
    """The reminder that is no more."""

    id: str


@app.command("reminder.remove")
class RemoveReminder(Command[ReminderRemoved]):
    """Do without a reminder. Twice is as good as once."""

    id: Id


class ReminderList(Struct, omit_defaults=True):
    """A page of reminders, the next due first."""

    reminders: list[Reminder]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("reminder.list")
class ListReminders(Query[ReminderList]):
    """One's reminders: all, those to come (`told` false), or those that were told."""

    told: bool | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False


# Saved messages


class SavedMessage(Struct, omit_defaults=True):
    """A message that a user keeps."""

    channel: str
    seq: int
    saved: int
    """When, Unix milliseconds."""
    folder: str = ""
    note: str = ""
    message: Message | None = None
    """As it is now; None where the user may not see it any more."""


class SavedFolder(Struct):
    """A folder, and how many messages are in it."""

    folder: str
    count: int


@app.event("saved.changed")
class SavedChanged(Event):
    """On `user:<id>`: a message is kept in this folder with this note now, or, where `saved` is None, is not."""

    channel: str
    seq: int
    saved: int | None = None
    folder: str = ""
    note: str = ""


@app.command("saved.add")
class SaveMessage(Command[SavedChanged]):
    """Keep a message, or put one that is kept into another folder or under another note."""

    channel: ChatChannel
    seq: Seq
    folder: Folder = ""
    note: Note = ""


@app.command("saved.remove")
class RemoveSaved(Command[SavedChanged]):
    """Do not keep a message any more. Twice is as good as once."""

    channel: ChatChannel
    seq: Seq


class SavedList(Struct, omit_defaults=True):
    """A page of saved messages, the latest first, and one's folders."""

    saved: list[SavedMessage]
    folders: list[SavedFolder]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("saved.list")
class ListSaved(Query[SavedList]):
    """The messages that one keeps, in all folders or in one."""

    folder: Folder | None = None
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False
