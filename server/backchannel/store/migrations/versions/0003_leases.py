"""leases, and what older versions can use"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "leases",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "revision_floors",
        sa.Column("app", _NAME, primary_key=True),
        sa.Column("revision", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
