"""The states of a session, as a table: which frame is taken in which state, and what else happens to it.

    NEW ──connect──▶ CONNECTING ──authenticated──▶ OPEN ──drain──▶ MOVING
     │                   │                           │                │
     └── time-out ───────┴── refused ────────────────┴── close ───────┴──▶ CLOSED

Rules (PROTOCOL.md): CONN-8, CONN-11 `connect` comes first, once; CONN-9 before `connected` every other frame is
answered `unauthenticated`; MOVE-2 a moving session still serves everything.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from backchannel_protocol import frames as f

__all__ = ["TAKEN", "State"]


class State(IntEnum):
    """Where a session stands."""

    NEW = 0
    """The handshake is done; `connect` has not come."""
    CONNECTING = 1
    """`connect` came; its token is being verified."""
    OPEN = 2
    MOVING = 3
    """`move` was sent: everything is served until the connection closes."""
    CLOSED = 4
    """Nothing is taken and nothing is sent."""


_REQUESTS: Final[frozenset[type[f.ClientFrame]]] = frozenset(
    {
        f.Subscribe,
        f.Unsubscribe,
        f.Call,
        f.Cancel,
        f.Publish,
        f.History,
        f.PresenceRequest,
        f.Refresh,
        f.Pong,
    }
)

TAKEN: Final[dict[State, frozenset[type[f.ClientFrame]]]] = {
    State.NEW: frozenset({f.Connect, f.Pong}),
    State.CONNECTING: frozenset({f.Pong}),
    State.OPEN: _REQUESTS,
    State.MOVING: _REQUESTS,
    State.CLOSED: frozenset(),
}
"""The frames that each state takes. The others are answered: `invalid` for a second `connect`, `unauthenticated` for
whatever comes too early."""
