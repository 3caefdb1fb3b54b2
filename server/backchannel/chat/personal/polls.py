"""Polls: votes that change, tallies that are told as they are now.

All that touches a poll runs in its channel's lane, so the numbers and the votes that they count change together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from backchannel import Command, Context, Refused

from ..access import Access, access
from ..common import ChatChannel, Seq, app
from ..messages.finding import find_message
from ..messages.pipeline import AfterMessage, Draft, run_checks
from ..messages.rows import messages_of
from ..messages.sending import encoded, require_open, send
from ..messages.visible import readable, visible_in
from ..paging import paged
from ..tables import messages
from .owner import own_channel
from .poll_contract import (
    AddPollOption,
    ClosePoll,
    CreatePoll,
    GetPolls,
    ListVoters,
    Poll,
    PollChanged,
    PollList,
    PollOption,
    PollState,
    PollVoted,
    Vote,
    Voter,
    VoterList,
)
from .tables import poll_votes, polls

__all__ = ["EndPoll"]

_OPTIONS: Final = 50

_state = msgspec.json.Decoder(PollState)


@app.command("poll.end", lane="channel", internal=True)
class EndPoll(Command[bool]):
    """Close a poll whose time is over; whether it was closed."""

    channel: ChatChannel
    seq: Seq


@app.handle(CreatePoll)
async def create_poll(ctx: Context, request: CreatePoll) -> Poll:
    """Send the message that the poll hangs on."""
    found = await access(ctx, request.channel, "poll.create")
    found.require("message.send" if request.parent is None else "thread.reply")
    _require_polls(found)
    if request.closes is not None and request.closes <= ctx.now:
        raise Refused("invalid", "`closes` is over already.", details={"reason": "closes"})
    texts, after = await _checked(ctx, found, request.options, None)
    if len({text.casefold() for text in texts}) < len(texts):
        raise Refused("invalid", "Two of the options are the same.", details={"reason": "options"})
    state = PollState(
        options=[PollOption(number, text) for number, text in enumerate(texts, 1)],
        choices=min(request.choices, len(texts)),
        anonymous=request.anonymous,
        open=request.open,
        closes=request.closes,
    )
    draft = Draft(
        purpose="send",
        type="poll",
        text=request.question,
        data=msgspec.to_builtins(state),
        parent=request.parent,
        shown=request.parent is None,
        after=after,
    )
    message = await send(ctx, found, draft)
    ctx.insert(polls, channel=request.channel, seq=message.seq, user=ctx.user, closes=request.closes)
    return _poll(request.channel, message.seq, state, ())


@app.handle(Vote)
async def vote(ctx: Context, request: Vote) -> Poll:
    """Put these votes in the place of those that the user had; the same again changes nothing."""
    found = await access(ctx, request.channel, "poll.vote")
    row, state = await _open_poll(ctx, found, request.seq)
    wanted = sorted(set(request.options))
    known = {option.id: option for option in state.options}
    if unknown := [one for one in wanted if one not in known]:
        raise Refused("invalid", f"The poll has no option {unknown[0]}.", details={"reason": "option"})
    if len(wanted) > state.choices:
        raise Refused(
            "invalid",
            f"One may vote for {state.choices} at most.",
            details={"reason": "choices", "most": state.choices},
        )
    place = {"channel": request.channel, "seq": request.seq}
    had = await _own(ctx, request.channel, [request.seq])
    before = had.get(request.seq, [])
    if before == wanted:
        return _poll(request.channel, request.seq, state, wanted)
    for option in set(before) - set(wanted):
        ctx.delete(poll_votes, {**place, "user": ctx.user, "option": option})
        known[option].votes -= 1
    for option in wanted:
        if option not in before:
            ctx.insert(poll_votes, **place, user=ctx.user, option=option, time=ctx.now)
            known[option].votes += 1
    state.voters += bool(wanted) - bool(before)
    _store(ctx, row, state)
    ctx.publish(own_channel(ctx), PollVoted(request.channel, request.seq, wanted))
    return _poll(request.channel, request.seq, state, wanted)


@app.handle(AddPollOption)
async def add_option(ctx: Context, request: AddPollOption) -> Poll:
    """Add it behind the others, with no votes."""
    found = await access(ctx, request.channel, "poll.vote")
    row, state = await _open_poll(ctx, found, request.seq)
    if not state.open and not _own_poll(ctx, row):
        found.require("message.edit_any")
    own = (await _own(ctx, request.channel, [request.seq])).get(request.seq, [])
    [text], after = await _checked(ctx, found, [request.text], row)
    if text.casefold() not in {option.text.casefold() for option in state.options}:
        if len(state.options) >= _OPTIONS:
            raise Refused("too_large", f"A poll has {_OPTIONS} options at most.", details={"reason": "options"})
        state.options.append(PollOption(len(state.options) + 1, text))
        _store(ctx, row, state)
        if after:
            [message] = await messages_of(ctx, [row])
            for act in after:
                await act(ctx, found, message)
    return _poll(request.channel, request.seq, state, own)


@app.handle(ClosePoll)
async def close_poll(ctx: Context, request: ClosePoll) -> Poll:
    """End the voting."""
    found = await access(ctx, request.channel, "channel.read")
    row = await _find(ctx, found, request.seq)
    if not _own_poll(ctx, row):
        found.require("message.edit_any")
    state = _state.decode(row.data)
    if state.closed is None:
        _close(ctx, row, state, ctx.now)
    own = (await _own(ctx, request.channel, [request.seq])).get(request.seq, [])
    return _poll(request.channel, request.seq, state, own)


@app.handle(EndPoll)
async def end_poll(ctx: Context, request: EndPoll) -> bool:
    """End the voting, once, where its time is over; of a message that is gone, there is nothing to tell."""
    poll = await ctx.db.get(polls, channel=request.channel, seq=request.seq)
    if poll is None or poll.closed is not None or poll.closes is None or poll.closes > ctx.now:
        return False
    row = await ctx.db.get(messages, channel=request.channel, seq=request.seq)
    if row is None or row.data is None or row.deleted is not None:
        ctx.update(polls, {"channel": request.channel, "seq": request.seq}, closed=poll.closes)
        return True
    _close(ctx, row, _state.decode(row.data), poll.closes)
    return True


@app.handle(GetPolls)
async def get_polls(ctx: Context, request: GetPolls) -> PollList:
    """The polls, with one's own votes."""
    found = await access(ctx, request.channel, "channel.read")
    rows = await ctx.db.rows(
        sa.select(messages)
        .where(visible_in(ctx, found), readable(ctx.now), messages.c.type == "poll", messages.c.seq.in_(request.seqs))
        .order_by(messages.c.seq)
    )
    own = await _own(ctx, request.channel, [row.seq for row in rows])
    return PollList([_poll(row.channel, row.seq, _state.decode(row.data), own.get(row.seq, ())) for row in rows])


@app.handle(ListVoters)
async def list_voters(ctx: Context, request: ListVoters) -> VoterList:
    """A page of them."""
    found = await access(ctx, request.channel, "channel.read")
    row = await _find(ctx, found, request.seq)
    if _state.decode(row.data).anonymous:
        raise Refused("forbidden", "The poll is anonymous.", details={"reason": "anonymous"})
    statement = sa.select(poll_votes).where(
        poll_votes.c.app == ctx.app,
        poll_votes.c.channel == request.channel,
        poll_votes.c.seq == request.seq,
        poll_votes.c.option == request.option,
    )
    page = await paged(ctx, statement, (poll_votes.c.user,), request)
    return VoterList([Voter(one.user, one.time) for one in page.rows], page.next, page.previous, page.total)


def _require_polls(found: Access) -> None:
    require_open(found)
    if not found.rules.features.polls:
        raise Refused("forbidden", f"There are no polls in {found.channel.channel}.", details={"reason": "feature"})


async def _find(ctx: Context, found: Access, seq: int) -> sa.Row[Any]:
    row = await find_message(ctx, found, seq)
    if row.type != "poll" or row.data is None:
        raise Refused("not_found", f"Message {seq} of {found.channel.channel} is no poll.")
    return row


async def _open_poll(ctx: Context, found: Access, seq: int) -> tuple[sa.Row[Any], PollState]:
    """The message and its poll, which one can still vote in.

    Raises:
        Refused: `not_found`; `conflict`, it is closed.
    """
    _require_polls(found)
    row = await _find(ctx, found, seq)
    state = _state.decode(row.data)
    if state.closed is not None or (state.closes is not None and state.closes <= ctx.now):
        raise Refused("conflict", "The poll is closed.", details={"reason": "closed"})
    return row, state


def _own_poll(ctx: Context, row: sa.Row[Any]) -> bool:
    return bool(ctx.user) and row.user == ctx.user


async def _own(ctx: Context, channel: str, seqs: Sequence[int]) -> dict[int, list[int]]:
    """What the asking user has voted for, by message."""
    rows = await ctx.db.rows(
        sa.select(poll_votes.c.seq, poll_votes.c.option)
        .where(
            poll_votes.c.app == ctx.app,
            poll_votes.c.channel == channel,
            poll_votes.c.seq.in_(seqs),
            poll_votes.c.user == ctx.user,
        )
        .order_by(poll_votes.c.seq, poll_votes.c.option)
    )
    own: dict[int, list[int]] = {}
    for row in rows:
        own.setdefault(row.seq, []).append(row.option)
    return own


async def _checked(
    ctx: Context, found: Access, options: Sequence[str], row: sa.Row[Any] | None
) -> tuple[list[str], list[AfterMessage]]:
    """Options as the checks of messages leave them, and what these want done afterwards."""
    # As an edit, since nothing is sent by it: it takes no turn in slow mode.
    texts = [" ".join(option.split()) for option in options]
    draft = Draft(
        purpose="edit",
        type="poll",
        text="\n".join(texts),
        seq=None if row is None else row.seq,
        author=ctx.user if row is None else row.user,
        shadow=found.shadowed,
    )
    draft = await run_checks(ctx, found, draft)
    checked = draft.text.split("\n")
    if len(checked) != len(texts):
        raise Refused("invalid", "The options may not be called so.", details={"reason": "options"})
    return checked, draft.after


def _close(ctx: Context, row: sa.Row[Any], state: PollState, moment: int) -> None:
    state.closed = moment
    ctx.update(polls, {"channel": row.channel, "seq": row.seq}, closed=moment)
    _store(ctx, row, state)


def _store(ctx: Context, row: sa.Row[Any], state: PollState) -> None:
    """Keep what the poll is now, and tell everybody; of who did it, nothing."""
    ctx.update(messages, {"channel": row.channel, "seq": row.seq}, data=encoded(state))
    event = PollChanged(channel=row.channel, seq=row.seq, **msgspec.structs.asdict(state))
    ctx.publish(f"user:{row.user}" if row.shadow else row.channel, event, user="")


def _poll(channel: str, seq: int, state: PollState, own: Sequence[int]) -> Poll:
    return Poll(channel=channel, seq=seq, own=list(own), **msgspec.structs.asdict(state))
