"""What the HTTP door and the documents that describe it share: the body of a refusal, and the names of headers."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from backchannel_protocol import Outcome

__all__ = ["APP_STATUS", "KEY_HEADER", "POSITIONS_HEADER", "PROBLEM_TYPE", "USER_HEADER", "Problem"]

PROBLEM_TYPE: Final = "application/problem+json"

APP_STATUS: Final = 409
"""The status of an app's own error codes."""

KEY_HEADER: Final = "Idempotency-Key"
USER_HEADER: Final = "Backchannel-User"
POSITIONS_HEADER: Final = "Backchannel-Positions"


class Problem(Struct, kw_only=True):
    """Problem details (RFC 9457): the body of every HTTP answer that is not a success."""

    type: str
    """`urn:backchannel:error:<code>`: the same for the same code."""
    title: str
    """What the code means."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong here and what cures it, for a developer."""
    code: str
    """Why, as a word of the protocol's table of error codes or of the app."""
    retry: bool
    """Whether the same request can succeed later, unchanged."""
    outcome: Outcome
    """`none`: nothing happened. `unknown`: the request may have taken effect."""
    details: Any = UNSET
    """What the code's declaration adds."""
    retry_after: float | UnsetType = UNSET
    """How long to wait before trying again, in seconds."""
