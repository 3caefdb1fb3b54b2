"""Keeps connections open and owns no business rule: doors, sessions, hub, fan-out, limits, drain."""
