"""Errors that callers may catch.

    BackchannelError
    └── Refused              a request was refused; carries a code, on either side of the wire
        └── Malformed        bytes that break the contract (`invalid` or `too_large`)

The Python client adds `ConnectionClosed`, the server `ConfigurationError`, both below
`BackchannelError`.
"""

from __future__ import annotations

from typing import Any

from .codes import ERROR_CODES, Outcome

__all__ = ["BackchannelError", "Malformed", "Refused"]


class BackchannelError(Exception):
    """The root of everything that Backchannel raises on purpose."""


class Refused(BackchannelError):
    """A request was refused.

    A handler raises it to refuse; a client's `call` raises it when the answer was an `error`.
    `retry`, `outcome` default to what the table of codes says; an app's own code means *do not
    retry, nothing happened*.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        details: Any = None,
        retry: bool | None = None,
        outcome: Outcome | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message)
        info = ERROR_CODES.get(code)
        self.code = code
        self.message = message
        self.details = details
        self.retry: bool = retry if retry is not None else (info.retry if info else False)
        self.outcome: Outcome = outcome or (info.outcome if info else "none")
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Malformed(Refused):
    """Bytes that are not a frame, or data that is not what its name declares.

    `request_id` is the request's `id` where one could still be read.
    """

    def __init__(self, message: str, *, code: str = "invalid", request_id: int | None = None) -> None:
        super().__init__(code, message)
        self.request_id = request_id
