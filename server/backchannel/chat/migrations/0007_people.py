"""Profiles, presence and status, devices, preferences, blocks, typing in large rooms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0007"
down_revision = "chat_0006"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "chat_profiles",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("avatar", sa.Text, nullable=False, server_default=""),
        sa.Column("data", sa.Text, nullable=False, server_default="{}"),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("deactivated", sa.BigInteger),
        sa.Column("open", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index("chat_profiles_name", "chat_profiles", ["app", "name", "user"])
    op.create_table(
        "chat_presences",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("online", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("last_seen", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("text", sa.Text, nullable=False, server_default=""),
        sa.Column("emoji", sa.Text, nullable=False, server_default=""),
        sa.Column("until", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("quiet", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("invisible", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("checked", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_index(
        "chat_presences_online",
        "chat_presences",
        ["app", "checked"],
        sqlite_where=sa.text("online"),
        postgresql_where=sa.text("online"),
    )
    op.create_table(
        "chat_devices",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("device", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, server_default=""),
        sa.Column("platform", sa.Text, nullable=False, server_default=""),
        sa.Column("push_kind", sa.Text, nullable=False, server_default=""),
        sa.Column("push_token", sa.Text, nullable=False, server_default=""),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_devices_push", "chat_devices", ["app", "push_kind", "push_token"])
    op.create_table(
        "chat_preferences",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_blocks",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("blocked", sa.Text, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_blocks_blocked", "chat_blocks", ["app", "blocked", "user"])
    op.create_table(
        "chat_typing",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_typing_expires", "chat_typing", ["app", "channel", "expires"])
    op.create_table(
        "chat_typing_rooms",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("second", sa.BigInteger, nullable=False),
        sa.Column("told", sa.BigInteger, nullable=False),
    )
