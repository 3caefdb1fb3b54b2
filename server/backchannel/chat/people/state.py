"""A user's presence as the row of `tables.presences` has it, and what is shown of it."""

from __future__ import annotations

from typing import Any

import msgspec

from backchannel import Context, Struct

from .presence_contract import OwnPresence, OwnPresenceChanged, Presence, PresenceChanged
from .tables import presences

__all__ = ["State", "leave", "read_state"]


class State(Struct, frozen=True, kw_only=True):
    """One row, without its key's `app`."""

    user: str
    online: bool = False
    last_seen: int = 0
    text: str = ""
    emoji: str = ""
    until: int = 0
    quiet: int = 0
    invisible: bool = False
    known: bool = False
    """Whether there is a row."""

    @classmethod
    def of(cls, row: Any) -> State:
        """The state that a row holds."""
        return cls(
            user=row.user,
            online=bool(row.online),
            last_seen=row.last_seen,
            text=row.text,
            emoji=row.emoji,
            until=row.until,
            quiet=row.quiet,
            invisible=bool(row.invisible),
            known=True,
        )

    def shown(self, now: int) -> Presence:
        """What others see at this moment."""
        over = 0 < self.until <= now
        return Presence(
            user=self.user,
            online=self.online and not self.invisible,
            last_seen=self.last_seen,
            text="" if over else self.text,
            emoji="" if over else self.emoji,
            until=0 if over else self.until,
            quiet=self.quiet if self.quiet > now else 0,
        )

    def own(self, now: int) -> OwnPresence:
        """What the user sees."""
        shown = msgspec.structs.asdict(self.shown(now))
        return OwnPresence(**{**shown, "online": self.online}, invisible=self.invisible)

    def change(self, ctx: Context, *, secretly: bool = False, **changes: Any) -> State:
        """Declare that the row has these values now, and tell whoever watches the user, if they see a difference.

        Only under the lane of the user whose row it is. `secretly`: nobody is told.
        """
        changed = msgspec.structs.replace(self, **changes)
        columns = {name: value for name, value in changes.items() if getattr(self, name) != value}
        if not self.known:
            ctx.insert(presences, user=self.user, checked=ctx.now, **changes)
        elif columns or changes.get("online"):
            ctx.update(presences, {"user": self.user}, checked=ctx.now, **columns)
        if not secretly and changed.shown(ctx.now) != self.shown(ctx.now):
            changed.tell(ctx)
        return msgspec.structs.replace(changed, known=True)

    def tell(self, ctx: Context, *, ends: list[str] | None = None) -> None:
        """Tell all of it to whoever watches the user; `ends` as in `Context.publish`."""
        shown = msgspec.structs.asdict(self.shown(ctx.now))
        ctx.publish(f"people:{self.user}", PresenceChanged(**shown), ends=ends)

    def tell_own(self, ctx: Context) -> None:
        """Tell the user's own devices what the user says about it."""
        ctx.publish(
            f"user:{self.user}",
            OwnPresenceChanged(
                user=self.user,
                text=self.text,
                emoji=self.emoji,
                until=self.until,
                quiet=self.quiet,
                invisible=self.invisible,
            ),
        )


async def read_state(ctx: Context, user: str) -> State:
    """The state of a user, who may have no row yet."""
    row = await ctx.db.get(presences, user=user)
    return State(user=user) if row is None else State.of(row)


def leave(ctx: Context, state: State, *, secretly: bool = False) -> State:
    """The user is there no more; who is invisible was last seen when they became so."""
    if not state.online:
        return state
    return state.change(ctx, secretly=secretly, online=False, **({} if state.invisible else {"last_seen": ctx.now}))
