"""How long messages are kept, what is held, who is being erased."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0011"
down_revision = "chat_0010"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "chat_retention",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("days", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_retained",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_retained_due", "chat_retained", ["app", "due"])
    op.create_table(
        "chat_holds",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chat_erasures",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("ghost", sa.Text, nullable=False),
        sa.Column("messages", sa.Text, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.BigInteger),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index("chat_erasures_user", "chat_erasures", ["app", "user"])
    op.create_index(
        "chat_erasures_open",
        "chat_erasures",
        ["app", "started"],
        sqlite_where=sa.text("finished IS NULL"),
        postgresql_where=sa.text("finished IS NULL"),
    )
