"""Servers to test against: real Redis, Valkey, PostgreSQL, PgBouncer, nginx and S3, each in a process on loopback.

Each keeps to a temporary folder and a free port, ends with `stop` or its `with` block, and dies with the process that
started it. They are synchronous: start them in a fixture, or in a thread that lives as long as they shall
(`asyncio.to_thread`): it is that thread whose end ends them.
"""

from __future__ import annotations

from .nginx import Nginx
from .pgbouncer import PgBouncer
from .postgres import PostgresServer
from .process import NotInstalled, ServiceFailed, free_port
from .redis import RedisServer
from .redis_cluster import RedisCluster
from .redis_sentinel import RedisSentinel
from .s3 import S3Server

__all__ = [
    "Nginx",
    "NotInstalled",
    "PgBouncer",
    "PostgresServer",
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "S3Server",
    "ServiceFailed",
    "free_port",
]
