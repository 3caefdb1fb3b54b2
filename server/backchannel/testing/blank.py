"""Blank databases: an app's tables, made once per process, since its revisions take longer than most tests."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..app import Migrations
from ..store.sqlite import migrate_sqlite

__all__ = ["write_blank"]

_BLANKS: Final[dict[tuple[tuple[str, Path | None, int], ...], tuple[bytes, list[Any]]]] = {}
"""By the migrations, the file; and what must live as long, so that no other metadata gets its place in memory."""


def write_blank(path: Path, migrations: Sequence[Migrations]) -> None:
    """Write a SQLite database that nobody has used. Whoever opens it makes what tables are still missing.

    Raises:
        StoreError, RegistrationError: the tables cannot be made.
    """
    which = tuple((each.app, each.directory, id(each.metadata)) for each in migrations)
    if which not in _BLANKS:
        with tempfile.TemporaryDirectory(prefix="backchannel-") as folder:
            made = Path(folder) / "blank.db"
            migrate_sqlite(made, migrations)
            _BLANKS[which] = made.read_bytes(), [each.metadata for each in migrations]
    path.write_bytes(_BLANKS[which][0])
