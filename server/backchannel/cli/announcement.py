"""What a command tells when it serves, and before."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from rich.text import Text

from ..settings import Settings, without_password
from .output import stderr, stdout

__all__ = ["announce", "secret_row", "services", "warn", "where"]


def announce(title: str, rows: Mapping[str, str]) -> None:
    """Write a title, and those rows that have a value."""
    out = stdout()
    out.print(Text(title, "bold"))
    shown = {name: value for name, value in rows.items() if value}
    width = max(9, *map(len, shown)) + 1
    for name, value in shown.items():
        out.print(Text.assemble("  ", (name.ljust(width), "dim"), value))
    sys.stdout.flush()


def warn(warnings: Iterable[str]) -> None:
    """Write what loading the settings warned of."""
    for warning in warnings:
        stderr().print(Text.assemble(("Warning:", "bold yellow"), " ", warning))


def where(url: str) -> dict[str, str]:
    """Where clients find a server whose pages are at this URL."""
    return {"Pages": f"{url}/", "WebSocket": f"{url.replace('http', 'ws', 1)}/ws"}


def services(settings: Settings) -> dict[str, str]:
    """What is outside of these processes, without passwords."""
    return {"Redis": without_password(settings.redis), "PostgreSQL": without_password(settings.postgres)}


def secret_row(settings: Settings) -> str:
    """Which secret signs tokens, where that is the development one; it is made now if need be.

    Raises:
        ConfigurationError: there is none although it is needed.
    """
    from ..auth.secret import development_secret_file, signing_secret

    file = development_secret_file(settings)
    was_there = file.exists()
    signing_secret(settings)
    if settings.secret or not settings.dev:
        return ""
    return f"{'the development secret' if was_there else 'made for development'}, in {file}"
