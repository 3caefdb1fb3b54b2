"""Whether this machine's clock can be relied on: tokens expire by it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from .finding import Finding, failed, fine, warning

__all__ = ["Watch", "check_clock", "check_server_clock"]

# When this was written, Unix seconds: 2026-01-01. No clock that is right shows less.
_EARLIEST: Final = 1_767_225_600.0

# A clock that is slewed goes at most 500 parts per million wrong; a jump is more.
_JUMP: Final = 0.05

# What a token's times may be off by, and from where on people should know.
_LEEWAY: Final = 5.0
_NOTICEABLE: Final = 0.5

_CURE: Final = "Let one service set the clock, slowly: chrony, ntpd or systemd-timesyncd (`timedatectl status`)."


class Watch:
    """The wall clock against the monotonic one, from when it is made."""

    def __init__(self) -> None:
        self._wall, self._steady = time.time(), time.monotonic()

    def drift(self) -> float:
        """By how many seconds the wall clock has gone forward too far (or too little) since."""
        return (time.time() - self._wall) - (time.monotonic() - self._steady)


def check_clock(now: float, drift: float) -> Iterator[Finding]:
    """This machine's: `now` is Unix seconds, `drift` what a `Watch` saw meanwhile."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _EARLIEST:
        yield failed(f"the clock shows {shown}, which is long ago: no token will be accepted", _CURE)
    elif abs(drift) > _JUMP:
        yield warning(f"the clock jumped by {drift * 1000:+.0f} ms meanwhile", _CURE)
    else:
        yield fine(f"the clock shows {shown}, and goes steadily")


def check_server_clock(ahead: float) -> Finding:
    """A running server's, which is `ahead` of this machine's by so many seconds."""
    if abs(ahead) > _LEEWAY:
        return failed(f"the server's clock is {ahead:+.1f} s from this one's: tokens made here may be refused", _CURE)
    if abs(ahead) > _NOTICEABLE:
        return warning(f"the server's clock is {ahead:+.1f} s from this one's", _CURE)
    return fine("the server's clock agrees with this one")
