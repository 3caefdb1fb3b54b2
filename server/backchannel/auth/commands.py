"""Commands that every server has beside its app's own: `auth.revoke`, for the servers that issue tokens."""

from __future__ import annotations

from msgspec import Struct

from backchannel_protocol import Command, Refused

from ..app import App
from ..broker.hooks import hooks
from ..context import Context

__all__ = ["Revoke", "Revoked", "auth", "serving"]

auth = App("auth")


class Revoked(Struct):
    """Tokens are void; the connections that they opened close within 5 seconds."""

    time: int
    """When it was decided, Unix milliseconds."""


@auth.command("auth.revoke")
class Revoke(Command[Revoked]):
    """What is to be void: a user's tokens, or one token. See `Context.revoke`; instants are Unix milliseconds."""

    user: str | None = None
    token_id: str | None = None
    issued_before: int | None = None
    expires: int | None = None


@auth.handle(Revoke)
async def revoke(ctx: Context, wanted: Revoke) -> Revoked:
    """Make a user's tokens void, or one token, and close the connections that they opened. For API keys alone."""
    if ctx.api_key is None or ctx.user:
        raise Refused("forbidden", "Only an API key that acts for itself may revoke; leave out Backchannel-User.")
    try:
        ctx.revoke(
            wanted.user,
            token_id=wanted.token_id,
            issued_before=wanted.issued_before,
            expires=wanted.expires,
        )
    except ValueError as exc:
        raise Refused("invalid", str(exc)) from None
    return Revoked(ctx.now)


def serving(app: App) -> App:
    """What a server of this app answers: the app's requests and those that every server has.

    Raises:
        RegistrationError: the app declares one of these itself.
    """
    served = App(app.name)
    served.include(app)
    served.include(auth)
    served.include(hooks)
    return served
