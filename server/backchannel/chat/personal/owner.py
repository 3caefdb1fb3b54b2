"""Whose it is: what users keep is told to them alone."""

from __future__ import annotations

from backchannel import Context, Refused

__all__ = ["own_channel"]


def own_channel(ctx: Context) -> str:
    """The asking user's own channel, on which all of their devices hear.

    Raises:
        Refused: `forbidden`: an API key that acts for itself is nobody who keeps anything, or votes.
    """
    if not ctx.user:
        raise Refused(
            "forbidden",
            "An API key keeps nothing of its own and has no vote; ask on behalf of a user.",
            details={"reason": "user"},
        )
    return f"user:{ctx.user}"
