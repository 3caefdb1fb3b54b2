"""Errors of the store that are not a refusal of one request."""

from __future__ import annotations

from backchannel_protocol import BackchannelError

__all__ = ["StoreError", "StoreLocked"]


class StoreError(BackchannelError):
    """The database cannot be used as it is; the message tells the cure."""


class StoreLocked(StoreError):
    """Another process has this SQLite database open."""
