"""Options that several commands share, and the spans of time that people write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..settings import Settings, load

__all__ = ["AppTarget", "Config", "Data", "SecretFile", "Span", "Tenant", "settings_of"]

DEMO: Final = "backchannel.demo:app"
"""The app that is meant when none is named."""

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def _span(text: str) -> float:
    match = _SPAN.fullmatch(text)
    if match is None or not float(match[1]):
        raise typer.BadParameter(f"{text!r} is no span of time: write 90s, 15m, 12h or 1d.")
    return float(match[1]) * _UNITS[match[2] or "s"]


Span = typer.Option(parser=_span, metavar="SPAN")
"""An option whose value is `90s`, `15m`, `12h`, `1d` or plain seconds; the parameter gets seconds."""

AppTarget = Annotated[
    str, typer.Argument(metavar="APP", help="The app as module:attribute, found from the current folder.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The settings file; else what BACKCHANNEL_CONFIG names, else ./backchannel.toml.",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="The server's data folder; else its setting.", show_default=False),
]
SecretFile = Annotated[
    str | None,
    typer.Option(
        "--secret-file", metavar="FILE", help="The file with the signing secret; else its setting.", show_default=False
    ),
]
Tenant = Annotated[
    str | None, typer.Option("--app", metavar="NAME", help="The tenant; else its setting.", show_default=False)
]
Descriptor = Annotated[
    int | None,
    typer.Option(
        "--fd",
        min=0,
        metavar="N",
        help="Take connections from this inherited socket, in place of --host and --port.",
        show_default=False,
    ),
]
HealthDescriptors = Annotated[list[int] | None, typer.Option("--health-fd", min=0, hidden=True)]
"""What a supervisor gives its children: sockets that lead to their health alone."""
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]
"""Told to children: say nothing at start, and end when stdin ends, since then the supervisor is gone."""


def settings_of(config: Path | None, **flags: Any) -> Settings:
    """The settings of the server beside which a command works.

    What only warrants a warning is left to the server, which is started with the same settings.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    return load(flags, file=config)[0]
