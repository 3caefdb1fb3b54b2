"""Backchannel: clients ask (typed commands and queries) and listen (channels of events) over one connection.

The names below are the public API. The client and the server load on first use: declaring an app needs neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec import Meta, Struct

from backchannel_protocol import BackchannelError, Command, Event, Query, Refused, Request

from .app import App, Namespace
from .context import Context, LoggedEvent, LogPart, Publisher
from .registration import RegistrationError
from .running import Asker, RunningServer

if TYPE_CHECKING:
    from backchannel_client import Bot, Client, ConnectionClosed

    from .gateway.problem import problem_response
    from .server import Server, serve
    from .settings import Settings
    from .telemetry.metrics import measure

__all__ = [
    "App",
    "Asker",
    "BackchannelError",
    "Bot",
    "Client",
    "Command",
    "ConnectionClosed",
    "Context",
    "Event",
    "LogPart",
    "LoggedEvent",
    "Meta",
    "Namespace",
    "Publisher",
    "Query",
    "Refused",
    "RegistrationError",
    "Request",
    "RunningServer",
    "Server",
    "Settings",
    "Struct",
    "measure",
    "problem_response",
    "serve",
]

_LAZY = {
    "Bot": "backchannel_client",
    "Client": "backchannel_client",
    "ConnectionClosed": "backchannel_client",
    "Server": "backchannel.server",
    "Settings": "backchannel.settings",
    "measure": "backchannel.telemetry.metrics",
    "problem_response": "backchannel.gateway.problem",
    "serve": "backchannel.server",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'backchannel' has no attribute {name!r}")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith("backchannel"):
            raise
        raise ImportError(f"backchannel.{name} needs {exc.name!r}: pip install 'backchannel[server]'") from exc
