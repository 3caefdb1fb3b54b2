"""Backchannel's own tables. Every key begins with `app`, so that tenants in one database never meet.

Instants are Unix milliseconds. The revisions in `migrations/versions` make these tables; a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "api_keys",
    "counters",
    "events",
    "heads",
    "installation",
    "keys",
    "leases",
    "metadata",
    "revision_floors",
    "revocations",
]

metadata = sa.MetaData()

# Names sort by their code points in every database: so housekeeping finds a namespace's channels in one stretch of the
# index, and all processes lock rows in the order in which they have sorted them.
_Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

installation = sa.Table(
    "installation",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("epoch", sa.Text, nullable=False),
)
"""One row per app: the store's epoch, random, which `new_epoch` changes after a restore."""

heads = sa.Table(
    "heads",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("channel", _Name, primary_key=True),
    sa.Column("epoch", sa.Text, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Index("heads_changed", "app", "changed"),
    sqlite_with_rowid=False,
)
"""Where each durable channel's log stands. A row is made with the first event and never deleted: a channel that began
again at offset 1 in the same epoch would betray every client that remembers a position."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("channel", _Name, primary_key=True),
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
"""The durable logs. `data` is canonical JSON, `ends` a JSON array of users or NULL."""

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("principal", _Name, primary_key=True),
    sa.Column("key", _Name, primary_key=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("reply", sa.LargeBinary),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index(
        "keys_time",
        "app",
        "time",
        sqlite_where=sa.text("reply IS NOT NULL"),
        postgresql_where=sa.text("reply IS NOT NULL"),
    ),
)
"""Idempotency keys that were used; they stay for ever, their replies for 30 days.

With a row id in SQLite, unlike the others: keys are random, so rows in their order would each change a page, or several
where it is full, and here only the small entry in the index does. (Measured, 50 messages in one commit: 165 pages
become 101, and a message takes a quarter less CPU.)"""

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("name", _Name, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Named dense counters (`ctx.next`)."""

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("id", _Name, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("revoked", sa.BigInteger),
    sqlite_with_rowid=False,
)
"""API keys: SHA-256 of what the holder shows, which is too random to be guessed back."""

revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("id", _Name, primary_key=True),
    sa.Column("user", sa.Text),
    sa.Column("token_id", sa.Text),
    sa.Column("issued_before", sa.BigInteger),
    sa.Column("expires", sa.BigInteger),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Index("revocations_time", "app", "time"),
    sqlite_with_rowid=False,
)
"""Access that was taken away: of a token (`token_id`); of a user's tokens that are older (`issued_before`); or only the
connections that a user had (neither). Rows are added, never changed, and go when the tokens concerned have expired."""

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("name", _Name, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Who alone runs what only one of many workers may run, and until when by the database's clock. SQLite, which one
process has for itself, needs no rows."""

revision_floors = sa.Table(
    "revision_floors",
    metadata,
    sa.Column("app", _Name, primary_key=True),
    sa.Column("revision", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Per app whose revisions they are (no tenant): the last revision that took something away. Code that does not know it
cannot use the database any more."""
