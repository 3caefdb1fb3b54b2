"""`backchannel call`"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any, Final

import msgspec
import typer

from backchannel_client import RANDOM_KEY, Token

from .identity import TokenText, Url, UserName, connected, token_of
from .options import Config, Data, SecretFile
from .output import write_json

__all__ = ["call"]

DEFAULT_URL: Final = "ws://127.0.0.1:8000/ws"


def call(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The command or query, such as message.send.")],
    data: Annotated[str, typer.Argument(metavar="JSON", help="Its data; - reads it from stdin.")] = "{}",
    user: UserName = None,
    token: TokenText = None,
    url: Url = DEFAULT_URL,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="TEXT",
            help="The idempotency key, 8 to 64 characters: a repeat with the same one has no further effect.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="How long to wait.")] = 30.0,
    config: Config = None,
    data_folder: Data = None,
    secret_file: SecretFile = None,
) -> None:
    """Ask a command or a query, and write its answer to stdout as JSON.

    A refusal is told on stderr, with its code and what cures it, and the exit code is 1.

    Examples:

      backchannel call channel.list --user alice
      backchannel call message.send '{"channel": "chat:lobby", "text": "hello"}' --user alice
      echo '{"channel": "chat:lobby"}' | backchannel call message.list - --user alice
      backchannel call message.send "$JSON" --user alice --key order-4711 --timeout 5
    """
    try:
        value = msgspec.json.decode(sys.stdin.buffer.read() if data == "-" else data)
    except msgspec.DecodeError as exc:
        raise typer.BadParameter(f"no JSON: {exc}. Quote it for the shell: '{{…}}'.", param_hint="JSON") from None
    who = token_of("call", user, token, config, data_folder, secret_file)
    write_json(asyncio.run(_call(url, who, name, value, key, timeout)))


async def _call(url: str, token: Token | None, name: str, data: Any, key: str | None, timeout: float) -> Any:
    async with connected(url, token) as client:
        return await client.call(name, data, key=RANDOM_KEY if key is None else key, timeout=timeout)
