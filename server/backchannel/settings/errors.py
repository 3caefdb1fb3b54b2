"""What is wrong with how Backchannel was set up."""

from __future__ import annotations

from backchannel_protocol import BackchannelError

__all__ = ["ConfigurationError"]


class ConfigurationError(BackchannelError):
    """A setting is wrong; the message names it and tells the cure."""
