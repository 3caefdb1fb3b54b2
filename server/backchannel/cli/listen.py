"""`backchannel listen`"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from backchannel_client import Position, Token, tail
from backchannel_protocol.limits import MAX_INTEGER

from .call import DEFAULT_URL
from .identity import TokenText, Url, UserName, connected, token_of
from .options import Config, Data, SecretFile

__all__ = ["listen"]


def _position(text: str) -> Position:
    epoch, colon, offset = text.rpartition(":")
    if not colon or not 0 < len(epoch) <= 64 or not offset.isdecimal() or int(offset) > MAX_INTEGER:
        raise typer.BadParameter(f"{text!r} is no position: write epoch:offset, as `listen --json` shows them.")
    return Position(epoch, int(offset))


def listen(
    channels: Annotated[list[str], typer.Argument(metavar="CHANNEL", help="Channels, such as chat:lobby.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line, for programs.")] = False,
    since: Annotated[
        Position | None,
        typer.Option(
            "--since",
            parser=_position,
            metavar="EPOCH:OFFSET",
            help="Begin behind this position, with what was missed; for one channel.",
            show_default=False,
        ),
    ] = None,
    user: UserName = None,
    token: TokenText = None,
    url: Url = DEFAULT_URL,
    config: Config = None,
    data: Data = None,
    secret_file: SecretFile = None,
) -> None:
    """Show what happens on channels, as it happens, until Ctrl-C.

    Each event has its time, channel, name, user, data and offset; what is missing, and the state
    of the connection, have lines of their own. A lost connection comes back, and nothing is
    missing then.

      backchannel listen chat:lobby metrics:host --user alice
      backchannel listen chat:lobby --user alice --json | jq 'select(.type == "event")'
      backchannel listen chat:lobby --user alice --since 5f2c7a90d1b34e68:120
    """
    if since is not None and len(channels) > 1:
        raise typer.BadParameter("a position belongs to one channel; name only that one.", param_hint="--since")
    who = token_of("listen", user, token, config, data, secret_file)
    asyncio.run(_listen(url, who, channels, since, as_json))


async def _listen(
    url: str, token: Token | None, channels: Sequence[str], since: Position | None, as_json: bool
) -> None:
    async with connected(url, token) as client:
        await tail.listen(client, channels, as_json=as_json, out=sys.stdout, since=since)
