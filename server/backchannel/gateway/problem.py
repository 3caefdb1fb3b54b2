"""Refusals as HTTP: RFC 9457 problem details with the codes of the protocol."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from backchannel_protocol import ERROR_CODES, Outcome, Refused

__all__ = ["APP_STATUS", "PROBLEM_TYPE", "Problem", "problem_of", "response_bytes"]

PROBLEM_TYPE: Final = "application/problem+json"

APP_STATUS: Final = 409
"""The status of an app's own error codes."""

_encode: Final = msgspec.json.Encoder().encode


class Problem(Struct, kw_only=True):
    """The body of every HTTP answer that is not a success."""

    type: str
    """`urn:backchannel:error:<code>`: the same for the same code."""
    title: str
    """What the code means."""
    status: int
    detail: str
    """What is wrong here and what cures it, for a developer."""
    code: str
    retry: bool
    outcome: Outcome
    details: Any = UNSET
    retry_after: float | UnsetType = UNSET

    def body(self) -> bytes:
        """The problem in JSON."""
        return _encode(self)

    def headers(self) -> dict[str, str]:
        """The headers that say what the body says: its type, and when to try again (whole seconds, rounded up)."""
        found = {"content-type": PROBLEM_TYPE, "cache-control": "no-store"}
        if self.retry_after is not UNSET:
            found["retry-after"] = str(math.ceil(self.retry_after))
        if self.status == HTTPStatus.UNAUTHORIZED:
            found["www-authenticate"] = "Bearer"
        return found


def problem_of(refused: Refused, status: int | None = None) -> Problem:
    """The problem that carries a refusal.

    Args:
        refused: what was refused and why.
        status: what HTTP calls it, where that is more exact than the code's own status.
    """
    info = ERROR_CODES.get(refused.code)
    return Problem(
        type=f"urn:backchannel:error:{refused.code}",
        title=info.meaning if info else refused.code.replace("_", " ").capitalize(),
        status=status or (info.status if info else APP_STATUS),
        detail=refused.message,
        code=refused.code,
        retry=refused.retry,
        outcome=refused.outcome,
        details=UNSET if refused.details is None else refused.details,
        retry_after=UNSET if refused.retry_after is None else refused.retry_after,
    )


def response_bytes(problem: Problem, headers: dict[str, str] | None = None) -> bytes:
    """A whole HTTP/1.1 answer that ends its connection."""
    body = problem.body()
    try:
        phrase = HTTPStatus(problem.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {problem.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in {**problem.headers(), **(headers or {})}.items()]
    lines += [f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
