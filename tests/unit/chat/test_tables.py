"""The tables of chat: what the code uses is what the revisions make, in every area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from backchannel.chat import app
from backchannel.chat.tables import metadata
from backchannel.store.sqlite import open_sqlite


async def test_the_revisions_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    """Every `tables.py` and its revision say the same, column by column and index by index."""

    def included(_what: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        # Full-text indexes are no tables that SQLAlchemy could describe.
        return kind != "table" or name in metadata.tables

    store = open_sqlite(tmp_path / "chat.db", migrations=app.migrations)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'chat.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": included})
        difference = compare_metadata(context, metadata)
    engine.dispose()
    await store.close()
    assert difference == []
