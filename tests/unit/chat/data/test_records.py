"""Records: whatever a row holds comes out of an export as it went in."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

import backchannel.chat.handlers  # noqa: F401  # all areas' tables
from backchannel.chat.data.ledger import LEDGER, Entry, name_of
from backchannel.chat.data.records import check_row, completed, row_of

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def _values(column: sa.Column[Any]) -> st.SearchStrategy[Any]:
    if isinstance(column.type, sa.Boolean):
        some: st.SearchStrategy[Any] = st.booleans()
    elif isinstance(column.type, sa.Integer):
        some = st.integers(-(2**63), 2**63 - 1)
    else:
        some = _TEXT
    return st.none() | some if column.nullable else some


@st.composite
def _rows(draw: st.DrawFn) -> tuple[Entry, dict[str, Any]]:
    entry = draw(st.sampled_from([entry for entry in LEDGER if entry.space]))
    return entry, {column.key: draw(_values(column)) for column in entry.table.c}


class _Row:
    def __init__(self, values: dict[str, Any]) -> None:
        self._mapping = values


@given(_rows())
def test_a_row_comes_back(drawn: tuple[Entry, dict[str, Any]]) -> None:
    """Of every table, any row becomes a record, JSON, and the same row again, but for what is local."""
    entry, values = drawn
    record = msgspec.json.decode(msgspec.json.encode(row_of(entry, _Row(values))))  # type: ignore[arg-type]
    assert check_row(name_of(entry), record) == (entry, "")
    wanted = {name: 0 if name in entry.local else value for name, value in values.items() if name != "app"}
    assert completed(entry, record) == wanted
