"""The ledger knows every table and every text: nobody adds a place for a name without deciding what becomes of it."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa

import backchannel.chat.handlers  # noqa: F401  # all areas' tables
from backchannel.chat.data.ledger import LEDGER, OWN, Entry
from backchannel.chat.tables import metadata


def test_every_table_has_one_entry() -> None:
    """A table of chat that the ledger does not know is an error: it would be neither erased nor exported."""
    assert sorted(entry.table.name for entry in LEDGER) == sorted(metadata.tables)


@pytest.mark.parametrize("entry", LEDGER, ids=lambda entry: entry.table.name)
def test_every_text_has_a_rule(entry: Entry) -> None:
    """Each column of text, but `app`, is named once: as a user's name, as JSON with names, or as other text."""
    named = Counter([*entry.users, *entry.nested, *entry.text])
    texts = {column.key for column in entry.table.c if isinstance(column.type, sa.Text)} - {"app"}
    assert set(named) == texts
    assert set(named.values()) <= {1}


@pytest.mark.parametrize("entry", LEDGER, ids=lambda entry: entry.table.name)
def test_entries_name_columns_that_are_there(entry: Entry) -> None:
    """What else an entry names is there, and what is one's own is found by columns that hold a name."""
    assert {*entry.mine, *entry.secret, *entry.local} <= set(entry.table.c.keys())
    assert set(entry.mine) <= set(entry.users)
    assert entry.table.name in OWN or "channel" in entry.table.c


def test_columns_called_after_users_are_ruled_as_such() -> None:
    """A column that is called `user`, `by`, `actor` or `creator` holds a name, whatever its entry says."""
    for entry in LEDGER:
        for name in {"user", "by", "actor", "creator", "blocked", "deleted_by"} & set(entry.table.c.keys()):
            assert name in entry.users, f"{entry.table.name}.{name}"
