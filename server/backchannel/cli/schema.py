"""`backchannel schema`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from ..schema import json_schema, markdown
from .failures import CommandFailed
from .loading import load_app
from .options import DEMO, AppTarget
from .output import stderr

__all__ = ["schema"]


def schema(
    form: Annotated[
        Literal["json", "markdown"], typer.Argument(metavar="FORM", help="json (JSON Schema 2020-12) or markdown.")
    ] = "json",
    app: AppTarget = DEMO,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file.", show_default=False)
    ] = None,
) -> None:
    """Write the contract of an app, from its declarations: commands, queries, events, channels.

    Examples:

      backchannel schema json shop:app --output shop.schema.json
      backchannel schema markdown shop:app > docs/contract.md
    """
    found = load_app(app)
    if form == "json":
        text = msgspec.json.format(msgspec.json.encode(json_schema(found)), indent=2).decode() + "\n"
    else:
        text = markdown(found)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise CommandFailed(f"Cannot write {output}: {exc.strerror}.") from exc
    stderr().print(f"Wrote {output}.", style="dim", markup=False)
