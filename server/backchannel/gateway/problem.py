"""Refusals as HTTP: RFC 9457 problem details with the codes of the protocol."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from backchannel_protocol import ERROR_CODES, Refused

from ..schema.problem import APP_STATUS, PROBLEM_TYPE, Problem

__all__ = ["Problem", "problem_of", "problem_response", "response_bytes"]

_encode: Final = msgspec.json.Encoder().encode


def problem_headers(problem: Problem) -> dict[str, str]:
    """The headers that say what the body says: its type, and when to try again (whole seconds, rounded up)."""
    found = {"content-type": PROBLEM_TYPE, "cache-control": "no-store"}
    if problem.retry_after is not UNSET:
        found["retry-after"] = str(math.ceil(problem.retry_after))
    if problem.status == HTTPStatus.UNAUTHORIZED:
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


def problem_response(refused: Refused, status: int | None = None, headers: dict[str, str] | None = None) -> Response:
    """The response that carries a refusal."""
    problem = problem_of(refused, status)
    return Response(_encode(problem), problem.status, {**problem_headers(problem), **(headers or {})})


def response_bytes(problem: Problem, headers: dict[str, str] | None = None) -> bytes:
    """A whole HTTP/1.1 answer that ends its connection."""
    body = _encode(problem)
    try:
        phrase = HTTPStatus(problem.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {problem.status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in {**problem_headers(problem), **(headers or {})}.items()]
    lines += [f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
