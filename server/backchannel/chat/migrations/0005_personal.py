"""Drafts, scheduled messages, reminders, saved messages, polls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0005"
down_revision = "chat_0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "chat_drafts",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("parent", sa.BigInteger, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", sa.Text),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_drafts_changed", "chat_drafts", ["app", "user", "changed", "channel", "parent"])
    op.create_table(
        "chat_scheduled",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("reason", sa.Text),
    )
    op.create_index("chat_scheduled_list", "chat_scheduled", ["app", "user", "due", "id"])
    op.create_index(
        "chat_scheduled_due",
        "chat_scheduled",
        ["app", "due"],
        sqlite_where=sa.text("code IS NULL"),
        postgresql_where=sa.text("code IS NULL"),
    )
    op.create_table(
        "chat_reminders",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text),
        sa.Column("seq", sa.BigInteger),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("told", sa.BigInteger),
    )
    op.create_index("chat_reminders_list", "chat_reminders", ["app", "user", "due", "id"])
    op.create_index(
        "chat_reminders_due",
        "chat_reminders",
        ["app", "due"],
        sqlite_where=sa.text("told IS NULL"),
        postgresql_where=sa.text("told IS NULL"),
    )
    op.create_table(
        "chat_saved",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("saved", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_saved_list", "chat_saved", ["app", "user", "saved", "channel", "seq"])
    op.create_index("chat_saved_folder", "chat_saved", ["app", "user", "folder", "saved", "channel", "seq"])
    op.create_table(
        "chat_polls",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("closes", sa.BigInteger),
        sa.Column("closed", sa.BigInteger),
    )
    op.create_index(
        "chat_polls_due",
        "chat_polls",
        ["app", "closes"],
        sqlite_where=sa.text("closed IS NULL AND closes IS NOT NULL"),
        postgresql_where=sa.text("closed IS NULL AND closes IS NOT NULL"),
    )
    op.create_table(
        "chat_poll_votes",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("option", sa.BigInteger, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_poll_votes_option", "chat_poll_votes", ["app", "channel", "seq", "option", "user"])
    op.create_index("chat_poll_votes_user", "chat_poll_votes", ["app", "user"])
