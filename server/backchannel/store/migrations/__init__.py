"""Alembic revisions of Backchannel's own tables, forward only."""
