"""Counting the statements of queries and commands."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from backchannel.store import sqlite_connection, sqlite_snapshot


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of all snapshots, which are what queries read; ask for it before `box`."""
    seen: list[str] = []

    def connect(path: Path) -> sqlite3.Connection:
        connection = sqlite_connection.connect_reader(path)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(sqlite_snapshot, "connect_reader", connect)
    return seen
