"""Servers that tests of any kind share: Redis and PostgreSQL, started once per test process, and ones to break."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from backchannel.testing.services import PostgresServer, RedisServer


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis that tests share: keep to your own `redis_prefix`, and never empty, pause or kill it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_prefix() -> str:
    """What this test's keys and topics begin with."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test, to pause, kill and start again (empty)."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that tests share: make databases in it, and never stop it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for one test, to pause, kill and start again."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def database_url(postgres_server: PostgresServer) -> str:
    """A new, empty PostgreSQL database."""
    return postgres_server.create_database()
