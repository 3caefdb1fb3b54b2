"""As whom a command connects."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from backchannel_client import Client, ConnectionClosed, Token, Transport, open_websocket
from backchannel_client.transport import ABNORMAL
from backchannel_protocol import CloseCode, Codec

from .failures import CommandFailed, server_extra
from .options import settings_of

__all__ = ["TokenText", "Url", "UserName", "connected", "token_of"]

_TOKEN_VARIABLE: Final = "BACKCHANNEL_TOKEN"  # noqa: S105  # a name, not a secret
# A token that the client makes itself is made anew before it expires.
_LIFETIME: Final = 3600.0

Url = Annotated[
    str, typer.Option("--url", metavar="URL", envvar="BACKCHANNEL_URL", help="The server's WebSocket address.")
]
UserName = Annotated[
    str | None,
    typer.Option(
        "--user",
        metavar="NAME",
        help="Connect as this user, with a token made from this machine's signing secret.",
        show_default=False,
    ),
]
TokenText = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TEXT",
        help=f"Connect with this token; else that in {_TOKEN_VARIABLE}, which others cannot see.",
        show_default=False,
    ),
]


def token_of(
    command: str, user: str | None, token: str | None, config: Path | None, data: str | None, secret_file: str | None
) -> Token | None:
    """The token to connect with, or a function that makes one; None connects as a guest.

    Raises:
        typer.BadParameter: both a user and a token are named, or the user's name is none.
        ConfigurationError: the settings or the secret are wrong.
        CommandFailed: the packages to make one are missing.
    """
    if user is None:
        return token or os.environ.get(_TOKEN_VARIABLE) or None
    if token is not None:
        raise typer.BadParameter("a token names its user itself; use one of both.", param_hint="--user and --token")
    with server_extra(f"{command} --user"):
        from ..auth.claims import TokenRules
        from ..auth.secret import local_secret
        from ..auth.tokens import issue_token
    settings = settings_of(config, data=data, secret_file=secret_file)
    secret, rules = local_secret(settings), TokenRules.of(settings)

    def issue() -> str:
        return issue_token(secret, user, lifetime=min(_LIFETIME, rules.lifetime), rules=rules)

    try:
        issue()
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="--user") from None
    return issue


@asynccontextmanager
async def connected(url: str, token: Token | None) -> AsyncIterator[Client]:
    """A client that is connected to a server.

    The first attempt counts: whoever waits at a terminal wants to know at once that there is no server. Connections
    that are lost later come back.

    Raises:
        ConnectionClosed: the server turned us down; what happens inside passes through.
        CommandFailed: there is no server, or it wants to know who we are.
    """
    tried = False

    async def connect(url: str, codec: Codec) -> Transport:
        nonlocal tried
        is_first, tried = not tried, True
        try:
            return await open_websocket(url, codec)
        except ConnectionClosed as exc:
            if is_first:
                raise ConnectionClosed(exc.code, exc.reason, final=True) from exc
            raise

    client = Client(url, token=token, name="backchannel-cli", connector=connect)
    try:
        await client.connect()
    except ConnectionClosed as exc:
        if exc.code == CloseCode.UNAUTHENTICATED and token is None:
            raise CommandFailed(
                f"{exc.reason or 'A token is needed.'} Say who you are: --user alice beside the server, or --token, or "
                f"the variable {_TOKEN_VARIABLE}."
            ) from exc
        if exc.code == ABNORMAL:  # it never opened, so there is no close code to tell
            raise CommandFailed(exc.reason) from exc
        raise
    try:
        yield client
    finally:
        await client.close()
