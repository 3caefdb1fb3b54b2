"""revocations"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table of what was revoked."""
    op.create_table(
        "revocations",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("id", _NAME, primary_key=True),
        sa.Column("user", sa.Text),
        sa.Column("token_id", sa.Text),
        sa.Column("issued_before", sa.BigInteger),
        sa.Column("expires", sa.BigInteger),
        sa.Column("time", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("revocations_time", "revocations", ["app", "time"])
