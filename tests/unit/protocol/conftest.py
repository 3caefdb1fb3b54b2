"""Settings of the protocol's tests."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure: time is bounded by pytest's own timeout.
settings.register_profile("protocol", deadline=None)
settings.load_profile("protocol")
