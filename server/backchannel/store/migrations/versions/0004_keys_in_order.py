"""keys in the order in which they came"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make SQLite's table anew, with a row id; PostgreSQL keeps rows so already. Only the disk sees a difference."""
    if op.get_context().dialect.name != "sqlite":
        return
    op.execute(
        "CREATE TABLE keys_in_order (app TEXT NOT NULL, principal TEXT NOT NULL, key TEXT NOT NULL, "
        "digest BLOB NOT NULL, reply BLOB, time BIGINT NOT NULL, PRIMARY KEY (app, principal, key))"
    )
    op.execute(
        "INSERT INTO keys_in_order (app, principal, key, digest, reply, time) "
        "SELECT app, principal, key, digest, reply, time FROM keys ORDER BY time"
    )
    op.drop_table("keys")
    op.rename_table("keys_in_order", "keys")
    op.create_index("keys_time", "keys", ["app", "time"], sqlite_where=sa.text("reply IS NOT NULL"))
