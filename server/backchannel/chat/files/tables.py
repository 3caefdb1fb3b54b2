"""Tables of files: uploads that are under way, files, where they are attached, what is to be removed, previews."""

from __future__ import annotations

import sqlalchemy as sa

from ..tables import metadata

__all__ = ["files", "garbage", "link_wishes", "parts", "uploads", "uses"]

uploads = sa.Table(
    "chat_uploads",
    metadata,
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
    sa.Index("chat_uploads_user", "app", "user", "size"),
    sa.Index("chat_uploads_expiring", "app", "expires"),
)
"""Uploads that are not files yet; `offset` bytes of `size` are there, in so many `pieces`. Written in their user's
lane."""

parts = sa.Table(
    "chat_upload_parts",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("upload", sa.Text, primary_key=True),
    sa.Column("offset", sa.BigInteger, primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("place", sa.Text, nullable=False),
)
"""The pieces in which an upload came; `place` is where the storage has one."""

files = sa.Table(
    "chat_files",
    metadata,
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
    sa.Index("chat_files_user", "app", "user", "created", "id", "size"),
    sa.Index("chat_files_checked", "app", "checked"),
)
"""Files. `size` is what is kept, `uploaded` what came; `secret` signs its links. `checked` is when it is looked at next
for whether a message still has it; from `doomed` on no message can get it any more, and it goes some time later."""

uses = sa.Table(
    "chat_file_uses",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("file", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Index("chat_file_uses_channel", "app", "channel", "seq"),
)
"""Which messages have a file."""

garbage = sa.Table(
    "chat_file_garbage",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Index("chat_file_garbage_due", "app", "due"),
)
"""Uploads and files whose bytes the storage may drop from `due` on."""

link_wishes = sa.Table(
    "chat_link_wishes",
    metadata,
    sa.Column("app", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("urls", sa.Text, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("claimed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index("chat_link_wishes_claimed", "app", "claimed"),
)
"""Messages whose links have no previews yet (`urls`, JSON), and until when somebody fetches them."""
