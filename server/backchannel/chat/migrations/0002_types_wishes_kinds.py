"""Types and rules of channels, members' wishes and receipts, kinds of messages, bans."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0002"
down_revision = "chat_0001"


def upgrade() -> None:
    """Add the columns and indexes."""
    for column in (
        sa.Column("type", sa.Text, nullable=False, server_default="group"),
        sa.Column("topic", sa.Text, nullable=False, server_default=""),
        sa.Column("cover", sa.Text, nullable=False, server_default=""),
        sa.Column("data", sa.Text, nullable=False, server_default="{}"),
        sa.Column("frozen", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("deleted", sa.BigInteger),
        sa.Column("member_count", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("type_rules", sa.Text, nullable=False, server_default="{}"),
        sa.Column("rules", sa.Text, nullable=False, server_default="{}"),
        sa.Column("filters", sa.Text, nullable=False, server_default=""),
    ):
        op.add_column("chat_channels", column)
    op.create_index("chat_channels_type", "chat_channels", ["app", "type"])
    for column in (
        sa.Column("data", sa.Text, nullable=False, server_default="{}"),
        sa.Column("history_from", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("read_seq", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("read_time", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("delivered_seq", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("pinned", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("muted", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("silenced", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("shadowed", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("banned", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("last_sent", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("chat_members", column)
    op.create_index("chat_members_read", "chat_members", ["app", "channel", "read_seq"])
    op.create_index("chat_members_delivered", "chat_members", ["app", "channel", "delivered_seq"])
    op.execute(
        "UPDATE chat_channels SET member_count = (SELECT count(*) FROM chat_members "
        "WHERE chat_members.app = chat_channels.app AND chat_members.channel = chat_channels.channel)"
    )
    for column in (
        sa.Column("type", sa.Text, nullable=False, server_default="text"),
        sa.Column("data", sa.Text),
        sa.Column("parent", sa.BigInteger),
        sa.Column("shown", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("counted", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("silent", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("shadow", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("quote", sa.BigInteger),
        sa.Column("forwarded", sa.Text),
        sa.Column("mentions", sa.Text),
        sa.Column("files", sa.Text),
        sa.Column("links", sa.Text),
        sa.Column("edited", sa.BigInteger),
        sa.Column("edits", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("deleted", sa.BigInteger),
        sa.Column("deleted_by", sa.Text),
        sa.Column("expires", sa.BigInteger),
    ):
        op.add_column("chat_messages", column)
    op.create_index("chat_messages_user", "chat_messages", ["app", "user", "channel", "seq", "counted"])
    _partial_index("chat_messages_uncounted", ["app", "channel", "seq"], "NOT counted")
    _partial_index("chat_messages_replies", ["app", "channel", "parent", "seq"], "parent IS NOT NULL")
    _partial_index("chat_messages_expiring", ["app", "expires"], "expires IS NOT NULL")
    op.create_table(
        "chat_bans",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_bans_user", "chat_bans", ["app", "user"])


def _partial_index(name: str, columns: list[str], where: str) -> None:
    op.create_index(name, "chat_messages", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
