"""`backchannel revoke`"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from .failures import server_extra
from .options import Config, Data, Tenant, settings_of
from .output import stderr

__all__ = ["revoke"]

_MOMENT: Final = "write Unix seconds, or a moment like 2026-05-01T12:00:00Z or 2026-05-01 14:00+02:00"


def _moment(text: str) -> int:
    """A moment as people write it, in Unix milliseconds. Without a zone it is this machine's time."""
    try:
        return round(float(text) * 1000)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no moment: {_MOMENT}.") from None
    return round(moment.astimezone(UTC).timestamp() * 1000)


def revoke(
    user: Annotated[
        str | None, typer.Option("--user", metavar="NAME", help="Whose tokens to end.", show_default=False)
    ] = None,
    token_id: Annotated[
        str | None,
        typer.Option("--token-id", metavar="TEXT", help="The `jti` of the one token to end.", show_default=False),
    ] = None,
    issued_before: Annotated[
        int | None,
        typer.Option(
            "--issued-before",
            metavar="MOMENT",
            help="With --user: end only tokens issued before; else all until now.",
            parser=_moment,
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    data: Data = None,
    tenant: Tenant = None,
) -> None:
    """End tokens before they expire, also those that hold a connection open.

    The database of the settings is used, also beside a running server, which closes the
    connections within 5 seconds. Tokens that are issued later are good: who is to stay out
    must get none. API keys are ended by `backchannel keys revoke`.

      backchannel revoke --user alice
      backchannel revoke --user alice --issued-before 2026-05-01T12:00:00Z
      backchannel revoke --token-id wall-1
    """
    with server_extra("revoke"):
        from ..store.opening import open_revocations

    async def add() -> None:
        revocations = await open_revocations(settings_of(config, data=data, app=tenant))
        try:
            await revocations.add(user=user, token_id=token_id, issued_before=issued_before)
        finally:
            await revocations.close()

    try:
        asyncio.run(add())
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None
    stderr().print("Revoked.", style="dim")
