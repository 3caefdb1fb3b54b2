"""What went wrong, as a person reads it, and the exit code that a script reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from rich.text import Text

from backchannel_protocol import ERROR_CODES, BackchannelError, Refused

from ..registration import RegistrationError
from ..settings import ConfigurationError
from .output import printable, stderr

__all__ = ["CommandFailed", "exit_codes", "server_extra"]

_FAILED: Final = 1
_WRONG: Final = 2

_SERVER_PACKAGES: Final = frozenset(
    {"alembic", "asyncpg", "cryptography", "hiredis", "httptools", "httpx2", "jwt", "prometheus_client", "psutil"}
    | {"redis", "sqlalchemy", "starlette", "structlog", "uvicorn"}
)
"""What the base install lacks."""


class CommandFailed(BackchannelError):
    """A command cannot do what it was asked; the message tells the cure."""

    def __init__(self, message: str, exit_code: int = _FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def server_extra(command: str) -> Iterator[None]:
    """For imports that need the server's packages: says how to install them.

    Raises:
        CommandFailed: one of them is missing.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in _SERVER_PACKAGES:
            raise
        raise CommandFailed(
            f"`backchannel {command}` needs {exc.name!r}, which the base install lacks: "
            f"pip install 'backchannel[server]'",
            _WRONG,
        ) from None


@contextmanager
def exit_codes() -> Iterator[None]:
    """Tell what goes wrong inside on stderr, and exit with its code."""
    try:
        yield
    except Refused as refused:
        _tell_refused(refused)
        sys.exit(_FAILED)
    except (ConfigurationError, RegistrationError) as exc:
        _tell("Error", str(exc))
        sys.exit(_WRONG)
    except BackchannelError as exc:
        _tell("Error", str(exc))
        sys.exit(exc.exit_code if isinstance(exc, CommandFailed) else _FAILED)


def _tell(what: str, message: str) -> None:
    stderr().print(Text.assemble((f"{what}:", "bold red"), " ", printable(message)))


def _tell_refused(refused: Refused) -> None:
    """The code and message, what cures it, and what else the server told."""
    _tell(f"Refused ({printable(refused.code)})", refused.message)
    lines = []
    if refused.details is not None:
        lines.append(f"Details: {printable(msgspec.json.encode(refused.details).decode())}")
    if refused.outcome == "unknown":
        lines.append("It may have taken effect: repeat a command with the same --key.")
    if refused.retry_after is not None:
        lines.append(f"Try again after {refused.retry_after:g} s.")
    if (info := ERROR_CODES.get(refused.code)) is not None:
        lines.append(info.cure)
    for line in lines:
        stderr().print(Text(line, "dim"))
