"""`backchannel schema`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..schema import FORMS
from .failures import CommandFailed
from .loading import load_app
from .options import DEMO, AppTarget
from .output import stderr

__all__ = ["schema"]


def schema(
    form: Annotated[
        Literal["json", "openapi", "asyncapi", "typescript", "markdown"],
        typer.Argument(
            metavar="FORM", help="json (JSON Schema 2020-12), openapi (3.1), asyncapi (3.0), typescript or markdown."
        ),
    ] = "json",
    app: AppTarget = DEMO,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file.", show_default=False)
    ] = None,
) -> None:
    """Write the contract of an app, from its declarations: commands, queries, events, channels, errors.

    Examples:

      backchannel schema openapi shop:app --output openapi.json
      backchannel schema typescript shop:app --output src/contract.gen.ts
      backchannel schema markdown shop:app > docs/contract.md
    """
    text = FORMS[form](load_app(app))
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8", newline="\n")
    except OSError as exc:
        raise CommandFailed(f"Cannot write {output}: {exc.strerror}.") from exc
    stderr().print(f"Wrote {output}.", style="dim", markup=False)
