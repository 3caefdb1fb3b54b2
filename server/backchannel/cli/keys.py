"""`backchannel keys`: API keys of servers, bots and jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from .failures import CommandFailed, server_extra
from .options import Config, Data, Tenant, settings_of
from .output import printable, stderr, stdout, write_json

if TYPE_CHECKING:
    from ..store.api_keys import ApiKeys

__all__ = ["app"]

T = TypeVar("T")

app = typer.Typer(
    help="""Make, list and revoke API keys, with which servers, bots and jobs use the HTTP door.

The database of the settings is used, also beside a running server.""",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for, in your words.")],
    as_json: AsJson = False,
    config: Config = None,
    data: Data = None,
    tenant: Tenant = None,
) -> None:
    """Make a key and print it, which happens once: only its hash is kept.

    The key goes into the Authorization header; Backchannel-User says for whom it acts.

    Examples:

      KEY=$(backchannel keys create billing)
      curl -H "Authorization: Bearer $KEY" -H "Backchannel-User: alice" \\
           -d '{"channel": "chat:lobby", "text": "hello"}' http://127.0.0.1:8000/v1/message.send
    """
    if not 0 < len(name) <= 128 or not name.isprintable():
        raise typer.BadParameter("use 1 to 128 printable characters.", param_hint="NAME")
    key, shown = _with_keys(lambda keys: keys.create(name), config, data, tenant)
    if as_json:
        write_json({"id": key.id, "name": key.name, "key": shown})
    else:
        print(shown)
        stderr().print(f"Keep it safe: it is not shown again. To end it: backchannel keys revoke {key.id}", style="dim")


@app.command("list")
def list_(as_json: AsJson = False, config: Config = None, data: Data = None, tenant: Tenant = None) -> None:
    """List all keys, also revoked ones, without what their holders show.

    Examples:

      backchannel keys list
      backchannel keys list --json
    """
    found = _with_keys(lambda keys: keys.list(), config, data, tenant)
    if as_json:
        write_json([msgspec.to_builtins(key) for key in found])
        return
    table = Table("id", "name", "created", "revoked", box=None, pad_edge=False, header_style="bold")
    for key in found:
        table.add_row(key.id, Text(printable(key.name)), _moment(key.created), _moment(key.revoked))
    console = stdout()
    # A terminal's width does not count: a line that is cut off is no use in a pipe.
    console.print(table, no_wrap=True, width=max(console.width, 220), crop=False)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `keys list` shows it.")],
    config: Config = None,
    data: Data = None,
    tenant: Tenant = None,
) -> None:
    """End a key at once, also for a running server.

    Example:

      backchannel keys revoke 3f9a0c55d2e1
    """
    if not _with_keys(lambda keys: keys.revoke(key_id), config, data, tenant):
        raise CommandFailed(f"There is no key {key_id!r} that could be revoked; see `backchannel keys list`.")
    stderr().print(f"Revoked {key_id}.", style="dim")


def _with_keys(ask: Callable[[ApiKeys], Awaitable[T]], config: Path | None, data: str | None, tenant: str | None) -> T:
    with server_extra("keys"):
        from ..store.opening import open_api_keys

    async def run() -> T:
        keys = await open_api_keys(settings_of(config, data=data, app=tenant))
        try:
            return await ask(keys)
        finally:
            await keys.close()

    return asyncio.run(run())


def _moment(milliseconds: int | None) -> str:
    """A moment in local time, to the minute; a dash for never."""
    if milliseconds is None:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
