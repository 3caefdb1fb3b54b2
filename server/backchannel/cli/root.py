"""All commands under one name, and what holds for each of them."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from . import call, chaos, chat, doctor, gateway, keys, listen, migrate, revoke, schema, serve, token, version, worker
from .failures import exit_codes

__all__ = ["app", "main"]

_NO_COLOR = "--no-color"

app = typer.Typer(
    name="backchannel",
    help="""Clients ask and listen over one WebSocket: run the server, and use it from a terminal.

A first try, with two terminals in one folder:

  backchannel serve --dev
  backchannel listen chat:lobby --user alice

Exit codes: 0 done; 1 refused or failed; 2 wrong usage or settings; 130 ended by Ctrl-C.""",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("serve")(serve.serve)
app.command("gateway")(gateway.gateway)
app.command("worker")(worker.worker)
app.command("token")(token.token)
app.command("revoke")(revoke.revoke)
app.add_typer(keys.app, name="keys")
app.command("call")(call.call)
app.command("listen")(listen.listen)
app.command("migrate")(migrate.migrate)
app.add_typer(chat.app, name="chat")
app.command("schema")(schema.schema)
app.command("doctor")(doctor.doctor)
app.command("chaos")(chaos.chaos)
app.command("version")(version.version)


@app.callback()
def options(
    no_color: Annotated[
        bool, typer.Option(_NO_COLOR, help="No colours; may stand anywhere. So does the variable NO_COLOR.")
    ] = False,
) -> None:
    """Hold for every command."""


def main() -> None:
    """Run the command line and exit with its code."""
    # Help and errors are coloured before any option is looked at, so this one is found first, and everywhere.
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    if _NO_COLOR in sys.argv[:end]:
        os.environ["NO_COLOR"] = "1"
        sys.argv = [word for word in sys.argv[:end] if word != _NO_COLOR] + sys.argv[end:]
    with exit_codes():
        app(prog_name="backchannel")
