"""Where people have read in threads, and which channels' receipts are still to be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0006"
down_revision = "chat_0005"


def upgrade() -> None:
    """Make the tables; what is counted, and who has read a message, comes from indexes alone."""
    op.create_table(
        "chat_thread_reads",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("read_seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_receipts_told",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("told", sa.BigInteger, nullable=False),
        sa.Column("due", sa.BigInteger),
    )
    op.create_index(
        "chat_receipts_due",
        "chat_receipts_told",
        ["app", "due"],
        sqlite_where=sa.text("due IS NOT NULL"),
        postgresql_where=sa.text("due IS NOT NULL"),
    )
    for kind in ("read", "delivered"):
        name = f"chat_members_{kind}"
        op.drop_index(name, "chat_members")
        op.create_index(name, "chat_members", ["app", "channel", f"{kind}_seq", "user"])
    op.drop_index("chat_messages_uncounted", "chat_messages")
    op.create_index(
        "chat_messages_uncounted",
        "chat_messages",
        ["app", "channel", "seq", "counted"],
        sqlite_where=sa.text("NOT counted"),
        postgresql_where=sa.text("NOT counted"),
    )
