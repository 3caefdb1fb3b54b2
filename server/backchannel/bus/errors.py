"""What Redis and the way to it can answer instead of a reply, and what callers are told of it.

Foreign errors become Backchannel's here, once: whoever calls the bus meets `Refused` (`unavailable`: try again),
`RedisReplyError` (Redis understood and said no: a defect or a missing right) or `ConfigurationError` (no retry cures
it).
"""

from __future__ import annotations

import ssl
from typing import Any, Final

from backchannel_protocol import BackchannelError, Outcome, Refused

from ..settings import ConfigurationError

__all__ = [
    "LOST",
    "NOT_WRITTEN",
    "RedisReplyError",
    "Undelivered",
    "Unreachable",
    "connect_failure",
    "greeting_failure",
    "reply_failure",
    "unavailable",
]

RETRY_AFTER: Final = 1.0
"""Seconds after which asking again is worth it: a reconnect mostly takes less."""

# Redis is there and cannot serve now. Nothing of the command took effect: each is answered before it runs, or by the
# first write of a script.
_UNAVAILABLE: Final = frozenset(
    {
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
    }
)  # fmt: skip

# This server is not, or no longer, the one to talk to: the connections to it are given up and the way is resolved anew.
_ELSEWHERE: Final = frozenset({"LOADING", "MASTERDOWN", "READONLY"})

_NO_RETRY_CURES: Final = frozenset({"DENIED", "NOAUTH", "NOPERM", "WRONGPASS"})


class RedisReplyError(BackchannelError):
    """Redis answered with an error that asking again does not cure, such as `NOPERM` or `WRONGTYPE`."""

    @property
    def code(self) -> str:
        """Its first word, such as `MOVED`; `ERR` where Redis has no better one."""
        text: str = self.args[0] if self.args else ""
        return text.partition(" ")[0]

    @property
    def elsewhere(self) -> bool:
        """Whether another server is the one to talk to, or this one when it has its data again."""
        return self.code in _ELSEWHERE


class Unreachable(Exception):
    """There is no connection now; another attempt may find one."""


class Undelivered:
    """What comes in place of a reply when the connection is gone."""

    __slots__ = ("outcome",)

    def __init__(self, outcome: Outcome) -> None:
        self.outcome: Outcome = outcome


NOT_WRITTEN: Final = Undelivered("none")
"""Not a byte of the command has left."""

LOST: Final = Undelivered("unknown")
"""The command has left, wholly or in part, and its reply will not come."""


def unavailable(outcome: Outcome) -> Refused:
    """Redis cannot be asked now, in words that may reach a client."""
    return Refused(
        "unavailable", "The server's message bus cannot be reached now.", outcome=outcome, retry_after=RETRY_AFTER
    )


def reply_failure(error: RedisReplyError) -> BackchannelError:
    """What a caller gets for an error reply."""
    if error.code in _UNAVAILABLE:
        refused = unavailable("none")
        refused.__cause__ = error
        return refused
    return error


def connect_failure(exc: BaseException) -> Unreachable | ConfigurationError:
    """Why there is no connection, by what opening one raised.

    Args:
        exc: an OSError (with TLS's below it), a TimeoutError, or what `connection_lost` got.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"Redis's certificate is not trusted ({exc.verify_message}): name its CA with ?ca=FILE in the URL, "
            f"and the server as its certificate does."
        )
    if isinstance(exc, ssl.SSLError):
        return ConfigurationError(
            f"TLS with Redis fails ({exc.reason or exc}): rediss:// needs a port that speaks TLS, and "
            f"?cert=FILE&key=FILE where Redis asks clients for a certificate."
        )
    if isinstance(exc, PermissionError):
        return ConfigurationError(f"Redis's socket may not be opened ({exc.strerror}): let this user write to it.")
    if isinstance(exc, TimeoutError) and not exc.args:
        return Unreachable("no answer in time")
    if isinstance(exc, OSError):
        return Unreachable(exc.strerror or str(exc) or type(exc).__name__)
    return Unreachable(str(exc) or type(exc).__name__)


def greeting_failure(reply: Any) -> Unreachable | ConfigurationError | None:
    """What a reply of the greeting says against using the connection; None: nothing."""
    if isinstance(reply, Undelivered):
        return Unreachable("it was closed during the greeting: a port for TLS needs rediss://, and it must be Redis's")
    if not isinstance(reply, RedisReplyError):
        return None
    text = str(reply)
    if reply.code in _NO_RETRY_CURES:
        return ConfigurationError(
            f"Redis refuses this process ({text}): check user and password in the URL, and the user's ACL rules."
        )
    if "unknown command" in text.lower():
        return ConfigurationError("This Redis is too old: Redis 7.0 or Valkey 7.2 is the least.")
    if reply.code == "ERR" and "db" in text.lower():
        return ConfigurationError(f"Redis has no such database ({text}): check the number at the end of the URL.")
    return Unreachable(text)
