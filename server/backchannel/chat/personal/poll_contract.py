"""What is understood of polls."""

from __future__ import annotations

from typing import Annotated

from backchannel import Command, Event, Meta, Query, Struct

from ..common import ChatChannel, Cursor, MessageText, PageLimit, Seq, app

__all__ = [
    "AddPollOption",
    "ClosePoll",
    "CreatePoll",
    "GetPolls",
    "ListVoters",
    "Poll",
    "PollChanged",
    "PollList",
    "PollOption",
    "PollState",
    "PollVoted",
    "Vote",
    "Voter",
    "VoterList",
]

OptionText = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]


class PollOption(Struct):
    """What can be voted for."""

    id: int
    text: str
    votes: int = 0


class PollState(Struct, omit_defaults=True):
    """A poll, as everybody is told of it; the `data` of its message."""

    options: list[PollOption]
    choices: int = 1
    """How many options one may vote for."""
    voters: int = 0
    anonymous: bool = False
    """Nobody is told who voted for what."""
    open: bool = False
    """Whether others may add options."""
    closes: int | None = None
    """When it closes by itself, Unix milliseconds."""
    closed: int | None = None
    """When it was closed; None: one can vote."""


class Poll(PollState, omit_defaults=True, kw_only=True):
    """A poll, as the asking user sees it."""

    channel: str
    seq: int
    """The message that it hangs on, whose text is the question."""
    own: list[int] = []
    """The options that one has voted for."""


@app.event("poll.changed")
class PollChanged(PollState, Event, omit_defaults=True, kw_only=True):
    """A poll is this now: all the numbers, whatever the change was."""

    channel: str
    seq: int


@app.event("poll.voted")
class PollVoted(Event):
    """On `user:<id>`: that user's own votes are these now."""

    channel: str
    seq: int
    own: list[int]


@app.command("poll.create", lane="channel")
class CreatePoll(Command[Poll]):
    """Ask a channel: a message of the type `poll`, whose text is the question."""

    channel: ChatChannel
    question: Annotated[MessageText, Meta(min_length=1, pattern=r"\S")]
    options: Annotated[list[OptionText], Meta(min_length=2, max_length=50)]
    choices: Annotated[int, Meta(ge=1, le=50)] = 1
    anonymous: bool = False
    open: bool = False
    closes: Annotated[int, Meta(ge=0, le=2**42)] | None = None
    parent: Seq | None = None
    """Ask in the thread of this message."""


@app.command("poll.vote", lane="channel")
class Vote(Command[Poll]):
    """Vote for these options and no others; for none to take one's votes back."""

    channel: ChatChannel
    seq: Seq
    options: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=50)]


@app.command("poll.add_option", lane="channel")
class AddPollOption(Command[Poll]):
    """Add an option: to one's own poll, or to one that is open. A second one with the same text is none."""

    channel: ChatChannel
    seq: Seq
    text: OptionText


@app.command("poll.close", lane="channel")
class ClosePoll(Command[Poll]):
    """End the voting: of one's own poll, or as a moderator. Twice is as good as once."""

    channel: ChatChannel
    seq: Seq


class PollList(Struct):
    """Polls, in rising `seq`; those that are not there are left out."""

    polls: list[Poll]


@app.query("poll.get")
class GetPolls(Query[PollList]):
    """Polls of a channel, with one's own votes: what a page of messages has no room for."""

    channel: ChatChannel
    seqs: Annotated[list[Seq], Meta(min_length=1, max_length=100)]


class Voter(Struct):
    """Who voted for an option."""

    user: str
    time: int


class VoterList(Struct, omit_defaults=True):
    """A page of voters, by name."""

    voters: list[Voter]
    next: str | None = None
    previous: str | None = None
    total: int | None = None


@app.query("poll.voters")
class ListVoters(Query[VoterList]):
    """Who voted for an option; of an anonymous poll nobody is told."""

    channel: ChatChannel
    seq: Seq
    option: Annotated[int, Meta(ge=1)]
    cursor: Cursor | None = None
    limit: PageLimit = 50
    total: bool = False
