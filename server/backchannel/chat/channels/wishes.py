"""What members wish for themselves: hide, archive, pin, mute a channel. Nobody else is told."""

from __future__ import annotations

from typing import Any

from backchannel import Context, Refused

from ..access import FOREVER, access
from ..common import app
from ..tables import members
from .describe import hidden_now, newest_seq
from .member_contract import ChangeWishes, ChannelWishes, WishesChanged

__all__: list[str] = []


@app.handle(ChangeWishes)
async def change_wishes(ctx: Context, request: ChangeWishes) -> ChannelWishes:
    """Change what is given. A hidden channel comes back by its rows: sending writes nothing for it."""
    if request.muted_until is not None and request.muted is not True:
        raise Refused("invalid", "`muted_until` goes with `muted: true`.")
    found = await access(ctx, request.channel)
    member = found.member
    if member is None:
        raise Refused(
            "forbidden",
            f"You are not a member of {request.channel}; join it first.",
            details={"reason": "not_member"},
        )
    newest = await newest_seq(ctx, request.channel)
    values: dict[str, Any] = {}
    if request.hidden is not None:
        values["hidden"] = request.hidden
        values["hidden_seq"] = 0 if not request.hidden else FOREVER if request.keep_hidden else newest
    if request.archived is not None:
        values["archived"] = request.archived
    if request.pinned is not None:
        # Pinning again keeps its place.
        values["pinned"] = (member.pinned or ctx.now) if request.pinned else 0
    if request.muted is not None:
        values["muted"] = (request.muted_until or FOREVER) if request.muted else 0
    changed = {name: value for name, value in values.items() if getattr(member, name) != value}
    wishes = ChannelWishes(
        channel=request.channel,
        hidden=hidden_now(member, newest) if request.hidden is None else request.hidden,
        archived=bool(values.get("archived", member.archived)),
        pinned=values.get("pinned", member.pinned),
        muted=values.get("muted", member.muted),
    )
    if changed:
        ctx.update(members, {"channel": request.channel, "user": ctx.user}, **changed)
        ctx.publish(
            f"user:{ctx.user}",
            WishesChanged(**{name: getattr(wishes, name) for name in WishesChanged.__struct_fields__}),
        )
    return wishes
