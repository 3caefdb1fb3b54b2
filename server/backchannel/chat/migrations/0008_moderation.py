"""Restraints, word lists, reports, what moderators did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0008"
down_revision = "chat_0007"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "chat_restraints",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_restraints_user", "chat_restraints", ["app", "user"])
    op.create_table(
        "chat_settling",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("due", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_paces",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_paces_time", "chat_paces", ["app", "time"])
    op.create_table(
        "chat_filters",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("entries", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_filter_heads",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("digests", sa.Text, nullable=False),
    )
    op.create_table(
        "chat_cases",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger),
        sa.Column("content", sa.Text),
        sa.Column("reports", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("opened", sa.BigInteger, nullable=False),
        sa.Column("claimed_by", sa.Text),
        sa.Column("claimed", sa.BigInteger),
        sa.Column("resolved_by", sa.Text),
        sa.Column("resolved", sa.BigInteger),
        sa.Column("verdict", sa.Text),
        sa.Column("note", sa.Text),
    )
    op.create_index("chat_cases_subject", "chat_cases", ["app", "channel", "subject"], unique=True)
    op.create_index("chat_cases_queue", "chat_cases", ["app", "channel", "state", "opened", "id"])
    op.create_index("chat_cases_all", "chat_cases", ["app", "state", "opened", "id"])
    op.create_table(
        "chat_reports",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("case", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_acts",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("act", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_acts_actor", "chat_acts", ["app", "actor", "time", "channel", "seq"])
    op.create_index("chat_acts_target", "chat_acts", ["app", "target", "time", "channel", "seq"])
    op.create_index("chat_acts_time", "chat_acts", ["app", "time", "channel", "seq"])
