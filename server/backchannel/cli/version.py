"""`backchannel version`"""

from __future__ import annotations

import platform
from importlib.metadata import version as installed

from backchannel_protocol import PROTOCOL_VERSION

__all__ = ["version"]


def version() -> None:
    """Print the version of Backchannel, of its protocol, and of Python."""
    print(f"backchannel {installed('backchannel')} (protocol {PROTOCOL_VERSION}, Python {platform.python_version()})")
