"""What we use of uvicorn beyond its documentation, so that a new version that changes it fails here by name."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server, ServerState

from backchannel.gateway.upgrade import BoundedHttpProtocol, http_protocol
from backchannel.gateway.websocket import Door, websocket_protocol


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application."""


def test_protocols_are_made_with_these_arguments() -> None:
    """The server makes HTTP protocols, and these make WebSocket protocols, with these keywords."""
    made: list[set[str]] = []
    for source in (Server.startup, HttpToolsProtocol.handle_websocket_upgrade):
        text = inspect.getsource(source)
        made.append({name for name in ("config=", "server_state=", "app_state=", "_loop=") if name in text})
    assert made == [
        {"config=", "server_state=", "app_state=", "_loop="},
        {"config=", "server_state=", "app_state="},
    ]
    door: Any = Door(SimpleNamespace(frame_limit=1000, max_queued=1000))
    for protocol in (http_protocol(door), websocket_protocol(door)):
        assert list(inspect.signature(protocol).parameters) == ["config", "server_state", "app_state", "_loop"]


async def test_attributes_of_the_http_protocol() -> None:
    """The attributes and methods that our HTTP protocol uses or overrides exist."""
    config = uvicorn.Config(app, http="httptools", lifespan="off", log_config=None)
    state = ServerState()
    assert state.connections == set()
    door: Any = Door(SimpleNamespace(frame_limit=1000, max_queued=1000))
    protocol = BoundedHttpProtocol(door, config, state, {})
    for name in ("transport", "connections", "parser", "scope", "headers", "cycle"):
        assert name in vars(protocol), name
    assert protocol.connections is state.connections
    assert callable(protocol.parser.get_http_version)
    protocol.on_message_begin()
    protocol.on_url(b"/ws")
    assert protocol.url == b"/ws"
    assert protocol.headers == []
    for name in (
        "_unset_keepalive_if_required", "on_message_begin", "on_headers_complete", "send_400_response",
        "handle_websocket_upgrade", "data_received", "connection_lost", "shutdown",
    ):  # fmt: skip
        assert callable(getattr(HttpToolsProtocol, name)), name


def test_what_the_server_calls_on_connections() -> None:
    """A server that stops calls `shutdown` on what is in `server_state.connections` and waits until it is empty."""
    source = inspect.getsource(Server.shutdown)
    assert "self.server_state.connections" in source
    assert "connection.shutdown()" in source
