"""Whether Redis is there, new enough, quick, and set up so that no gateway goes deaf and nothing is evicted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from backchannel_protocol import BackchannelError

from ...settings import Settings
from .finding import Finding, failed, fine, refused, warning

if TYPE_CHECKING:
    from redis import Redis

    from ...bus import RedisTarget

__all__ = ["check_redis"]

_PATIENCE: Final = 3.0
_LEAST_VERSION: Final = (7, 0)
# How often it is asked for nothing, and how long an answer may take: every event and every request waits for one.
_PINGS: Final = 20
_SLOW: Final = 0.01
# Bytes that Redis should keep for a gateway that reads slowly for a moment, before it drops it: its own default.
_LEAST_BUFFER: Final = 32 * 2**20
_START: Final = "Start it, or correct --redis, BACKCHANNEL_REDIS or the file that --redis-file names."


def check_redis(settings: Settings) -> Iterator[Finding]:
    """The Redis of the settings, from where this runs. Nothing is written."""
    if not settings.redis:
        yield fine("not used: one process carries requests and events in memory")
        return
    from redis.exceptions import AuthenticationError, RedisError

    from ...bus import redis_target

    try:
        target = redis_target(settings.redis)
        client, notes = _connected(target)
    except BackchannelError as exc:
        yield refused(str(exc))
        return
    except AuthenticationError as exc:
        yield failed(f"{target.masked} refuses this user: {exc}", "Correct user and password in the URL.")
        return
    except (RedisError, OSError) as exc:
        yield failed(f"{target.masked} cannot be reached: {exc}", _START)
        return
    with closing(client):
        yield from notes
        try:
            yield from _server(client, target)
        except (RedisError, OSError) as exc:
            yield failed(f"{target.masked} does not answer as it should: {exc}", "See its log.")
    if not settings.postgres:
        yield warning("there is Redis, but no PostgreSQL: gateways and workers need both", "Set --postgres.")


def _connected(target: RedisTarget) -> tuple[Redis, list[Finding]]:
    """A client of the server that commands would go to, which has answered, and what was seen on the way."""
    import redis
    from redis.sentinel import Sentinel

    tls: dict[str, Any] = {}
    if target.tls:
        target.tls_context()  # tells which file is wrong
        tls = {
            "ssl": True,
            "ssl_ca_certs": target.ca or None,
            "ssl_certfile": target.cert or None,
            "ssl_keyfile": target.key or None,
        }
    common: dict[str, Any] = {"socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE, **tls}
    login: dict[str, Any] = {
        "username": target.user or None,
        "password": target.password or None,
        "db": target.db,
        **common,
    }
    if target.kind == "sentinel":
        watchers: Any = Sentinel(  # type: ignore[no-untyped-call]
            [(each.host, each.port) for each in target.addresses],
            sentinel_kwargs={
                "username": target.sentinel_user or None,
                "password": target.sentinel_password or None,
                **common,
            },
        )
        host, port = watchers.discover_master(target.service)
        notes = [fine(f"Sentinels name {host}:{port} as the master of {target.service}")]
        return _answering(redis.Redis(host=host, port=port, **login)), notes
    if target.addresses[0].path:
        return _answering(redis.Redis(unix_socket_path=target.addresses[0].path, **login)), []
    return _first_that_answers([redis.Redis(host=each.host, port=each.port, **login) for each in target.addresses]), []


def _first_that_answers(clients: list[Redis]) -> Redis:
    for client in clients[:-1]:
        try:
            return _answering(client)
        except OSError:
            client.close()
    return _answering(clients[-1])


def _answering(client: Redis) -> Redis:
    try:
        client.ping()
    except BaseException:
        client.close()
        raise
    return client


def _server(client: Redis, target: RedisTarget) -> Iterator[Finding]:
    info = _allowed(lambda: client.info("everything"))
    if info is None:
        yield warning("this user may not read INFO: version and role were not looked at", "Allow it +info.")
    else:
        yield _version(target, info)
        yield from _role(target, info)
    yield _latency(client)
    config = _allowed(lambda: client.config_get("client-output-buffer-limit", "maxmemory", "maxmemory-policy"))
    if config is None:
        yield fine(
            "this user may not read its configuration, so output buffers and maxmemory-policy were not looked at"
        )
        return
    yield _buffers(str(config.get("client-output-buffer-limit", "")))
    yield _memory(int(config.get("maxmemory", 0)), str(config.get("maxmemory-policy", "")))


def _allowed(ask: Callable[[], Any]) -> Any:
    """The answer, or None where this user may not ask."""
    from redis.exceptions import NoPermissionError

    try:
        return ask()
    except NoPermissionError:
        return None


def _version(target: RedisTarget, info: Mapping[str, Any]) -> Finding:
    name, version = ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info["redis_version"])
    text = f"{name} {version} answers at {target.masked}"
    if tuple(int(part) for part in re.findall(r"\d+", str(version))[:2]) < _LEAST_VERSION:
        return failed(f"{text}, which is too old", "Use Redis 7.0 or later, or Valkey.")
    return fine(text)


def _role(target: RedisTarget, info: Mapping[str, Any]) -> Iterator[Finding]:
    is_cluster = bool(info.get("cluster_enabled"))
    if is_cluster and target.kind != "cluster":
        yield failed("it is a node of a Redis Cluster", "Name the cluster: redis+cluster://HOST:PORT,HOST:PORT.")
    elif target.kind == "cluster":
        if is_cluster:
            yield fine("it is a node of a Redis Cluster: events travel by sharded pub/sub")
        else:
            yield failed("it is no node of a Redis Cluster", "Name one server: redis://HOST:PORT.")
    elif info.get("role") != "master":
        yield failed("it is a replica, which takes no writes", "Name the master, or the Sentinels: redis+sentinel://….")
    elif info.get("connected_slaves"):
        yield fine(f"it is a master with {info['connected_slaves']} replicas")


def _latency(client: Redis) -> Finding:
    took = []
    for _ in range(_PINGS):
        started = time.perf_counter()
        client.ping()
        took.append(time.perf_counter() - started)
    text = f"an answer takes {median(took) * 1000:.2f} ms, at most {max(took) * 1000:.2f} ms"
    if median(took) > _SLOW:
        return warning(text, "Run Redis near the gateways and workers: each event and each request waits for it.")
    return fine(text)


def _buffers(limits: str) -> Finding:
    match = re.search(r"pubsub (\d+) (\d+) (\d+)", limits)
    if match is None:
        return warning(f"the output buffer limits cannot be read: {limits!r}", "Look at client-output-buffer-limit.")
    hard, soft, seconds = (int(number) for number in match.groups())
    text = f"a gateway may be behind by {hard / 2**20:.0f} MiB, or by {soft / 2**20:.0f} MiB for {seconds} s"
    if hard == 0:
        return warning(
            "a gateway that does not read may fill the memory of Redis: pub/sub has no output buffer limit",
            "Set client-output-buffer-limit pubsub 128mb 64mb 10.",
        )
    if hard < _LEAST_BUFFER:
        return warning(
            f"{text}, before Redis drops it and it has to come back",
            "Set client-output-buffer-limit pubsub 128mb 64mb 10.",
        )
    return fine(text)


def _memory(maxmemory: int, policy: str) -> Finding:
    if policy != "noeviction":
        return (failed if maxmemory else warning)(
            f"with maxmemory-policy {policy} Redis throws presence and live logs away when it is full",
            "Set maxmemory-policy noeviction.",
        )
    limit = f"up to {maxmemory / 2**20:.0f} MiB" if maxmemory else "without a limit (maxmemory)"
    return fine(f"it evicts nothing, and takes memory {limit}")
