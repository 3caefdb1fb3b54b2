"""Uploads and files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "chat_0009"
down_revision = "chat_0008"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "chat_uploads",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("offset", sa.BigInteger, nullable=False),
        sa.Column("pieces", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_uploads_user", "chat_uploads", ["app", "user", "size"])
    op.create_index("chat_uploads_expiring", "chat_uploads", ["app", "expires"])
    op.create_table(
        "chat_upload_parts",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("upload", sa.Text, primary_key=True),
        sa.Column("offset", sa.BigInteger, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
    )
    op.create_table(
        "chat_files",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("uploaded", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("width", sa.BigInteger),
        sa.Column("height", sa.BigInteger),
        sa.Column("thumbnails", sa.Text, nullable=False, server_default="[]"),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("checked", sa.BigInteger, nullable=False),
        sa.Column("doomed", sa.BigInteger),
    )
    op.create_index("chat_files_user", "chat_files", ["app", "user", "created", "id", "size"])
    op.create_index("chat_files_checked", "chat_files", ["app", "checked"])
    op.create_table(
        "chat_file_uses",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("file", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
    )
    op.create_index("chat_file_uses_channel", "chat_file_uses", ["app", "channel", "seq"])
    op.create_table(
        "chat_file_garbage",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("due", sa.BigInteger, nullable=False),
    )
    op.create_index("chat_file_garbage_due", "chat_file_garbage", ["app", "due"])
    op.create_table(
        "chat_link_wishes",
        sa.Column("app", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("urls", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("claimed", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_index("chat_link_wishes_claimed", "chat_link_wishes", ["app", "claimed"])
