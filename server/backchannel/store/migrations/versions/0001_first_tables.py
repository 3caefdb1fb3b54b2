"""first tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "installation",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("epoch", sa.Text, nullable=False),
    )
    op.create_table(
        "heads",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("channel", _NAME, primary_key=True),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("heads_changed", "heads", ["app", "changed"])
    op.create_table(
        "events",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("channel", _NAME, primary_key=True),
        sa.Column("offset", sa.BigInteger, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("user", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("ends", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "keys",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("principal", _NAME, primary_key=True),
        sa.Column("key", _NAME, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("reply", sa.LargeBinary),
        sa.Column("time", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "keys_time",
        "keys",
        ["app", "time"],
        sqlite_where=sa.text("reply IS NOT NULL"),
        postgresql_where=sa.text("reply IS NOT NULL"),
    )
    op.create_table(
        "counters",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "api_keys",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("id", _NAME, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
        sqlite_with_rowid=False,
    )
