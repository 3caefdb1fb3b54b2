"""Where Redis is: the forms of URL that Backchannel takes, in one value.

| URL | what it means |
|---|---|
| `redis://[user:password@]host[:port][/db]` | one server |
| `rediss://…?ca=FILE&cert=FILE&key=FILE` | the same over TLS, each file where needed |
| `unix://[user:password@]/path/to/socket[?db=0]` | one server's Unix socket |
| `redis+sentinel://[user:password@]host:port,host:port/service[/db]` | the master that these Sentinels name |
| `redis+cluster://[user:password@]host:port,host:port` | the Redis Cluster that these nodes belong to |

`rediss+sentinel` and `rediss+cluster` are the last two over TLS. User and password are Redis's; Sentinels that want a
login get `?sentinel_user=…&sentinel_password=…`.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from msgspec import Struct
from redis.asyncio.connection import parse_url

from ..settings import ConfigurationError

__all__ = ["Address", "RedisTarget", "redis_target"]

MASK: Final = "***"

_KINDS: Final[Mapping[str, tuple[Literal["single", "sentinel", "cluster"], bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("single", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_TLS_OPTIONS: Final = ("ca", "cert", "key")
_SENTINEL_OPTIONS: Final = ("sentinel_user", "sentinel_password")
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


class Address(Struct, frozen=True):
    """One server: a host and a port, or a socket's path."""

    host: str = ""
    port: int = _PORT
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class RedisTarget(Struct, frozen=True, kw_only=True):
    """Where Redis is and how to log in there. Its text is `masked`: no password shows in a log or a traceback."""

    kind: Literal["single", "sentinel", "cluster"]
    addresses: tuple[Address, ...]
    """The server, the Sentinels, or some nodes of the cluster."""
    user: str = ""
    password: str = ""
    db: int = 0
    service: str = ""
    """The name that the Sentinels know the master by."""
    sentinel_user: str = ""
    sentinel_password: str = ""
    tls: bool = False
    ca: str = ""
    """A file with the certificates that are trusted; the system's where empty."""
    cert: str = ""
    """A file with this client's certificate."""
    key: str = ""
    """A file with that certificate's private key."""

    def __repr__(self) -> str:
        return f"RedisTarget({self.masked!r})"

    def __str__(self) -> str:
        return self.masked

    @property
    def masked(self) -> str:
        """The URL without passwords."""
        if self.addresses[0].path:
            scheme = "unix"
        else:
            scheme = ("rediss" if self.tls else "redis") + ("" if self.kind == "single" else f"+{self.kind}")
        login = f"{quote(self.user, safe='')}:{MASK}@" if self.password else (f"{self.user}@" if self.user else "")
        where = ",".join(str(address) for address in self.addresses)
        options = [f"{name}={getattr(self, name)}" for name in _TLS_OPTIONS if getattr(self, name)]
        if self.sentinel_user:
            options.append(f"sentinel_user={self.sentinel_user}")
        if self.sentinel_password:
            options.append(f"sentinel_password={MASK}")
        path = f"/{self.service}" if self.service else ""
        if self.addresses[0].path:
            options += [f"db={self.db}"] if self.db else []
        elif self.db:
            path += f"/{self.db}"
        return f"{scheme}://{login}{where}{path}" + ("?" + "&".join(options) if options else "")

    def tls_context(self) -> ssl.SSLContext | None:
        """What TLS needs, read from the files; None without TLS.

        Raises:
            ConfigurationError: a file cannot be read or is not what its name says.
        """
        if not self.tls:
            return None
        reading = self.ca
        try:
            context = ssl.create_default_context(cafile=self.ca or None)
            if self.cert:
                reading = f"{self.cert}, {self.key}" if self.key else self.cert
                context.load_cert_chain(self.cert, self.key or None)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigurationError(
                f"{reading} cannot serve TLS with Redis ({exc.strerror or exc}): the URL's ca, cert and key name PEM "
                f"files that this user may read."
            ) from exc
        return context


def redis_target(url: str) -> RedisTarget:
    """What a Redis URL means; nothing is opened or looked up.

    Raises:
        ConfigurationError: it is not a URL of a known form. The message tells the forms and shows no password.
    """
    scheme, separator, rest = url.strip().partition("://")
    kind, tls = _KINDS.get(scheme.lower(), ("single", False))
    if not separator or scheme.lower() not in _KINDS:
        raise ConfigurationError(
            f"A Redis URL begins with one of {', '.join(f'{name}://' for name in _KINDS)}, such as "
            f"redis://127.0.0.1:6379; this one begins with {scheme[:32] + '://' if separator else 'none of them'}."
        )
    options = _options(rest, (*(_TLS_OPTIONS if tls else ()), *(_SENTINEL_OPTIONS if kind == "sentinel" else ()), "db"))
    main, _, _ = rest.partition("?")
    login, at, hosts = main.rpartition("@")
    if kind == "single":
        found = _parsed(scheme.lower(), main)
        addresses: tuple[Address, ...] = (_address(found, _PORT),)
        service = ""
        db = found.get("db")
    else:
        hosts, _, path = hosts.partition("/")
        service, db = _service(path) if kind == "sentinel" else ("", _number(path) if path else None)
        parsed = [_parsed("redis", f"{login}{at}{host}") for host in hosts.split(",") if host]
        if not parsed:
            raise ConfigurationError(f"{scheme}:// needs at least one host: {scheme}://host:port,host:port/…")
        found = parsed[0]
        addresses = tuple(_address(one, _SENTINEL_PORT if kind == "sentinel" else _PORT) for one in parsed)
    if "db" in options:
        db = _number(options["db"])
    if kind == "cluster" and db:
        raise ConfigurationError("Redis Cluster has one database: leave the number out of the URL.")
    if options.get("key") and not options.get("cert"):
        raise ConfigurationError("A Redis URL with ?key= needs ?cert= too: the certificate that the key belongs to.")
    return RedisTarget(
        kind=kind,
        addresses=addresses,
        user=found.get("username") or "",
        password=found.get("password") or "",
        db=db or 0,
        service=service,
        sentinel_user=options.get("sentinel_user", ""),
        sentinel_password=options.get("sentinel_password", ""),
        tls=tls,
        ca=options.get("ca", ""),
        cert=options.get("cert", ""),
        key=options.get("key", ""),
    )


def _parsed(scheme: str, rest: str) -> dict[str, Any]:
    """redis-py's reading of one server's URL."""
    try:
        # Its errors quote the URL, and so perhaps the password: they are not passed on.
        found: dict[str, Any] = dict(parse_url(f"{scheme}://{rest}"))
        if scheme != "unix" and urlsplit(f"{scheme}://{rest}").path.strip("/") and "db" not in found:
            raise ValueError("the path is no number")
    except ValueError:
        raise ConfigurationError(
            "A part of the Redis URL cannot be read: a port and a database are numbers, an IPv6 address stands in [ ], "
            "and special characters in user and password are percent-encoded."
        ) from None
    return found


def _address(found: Mapping[str, Any], port: int) -> Address:
    if "path" in found:
        return Address(path=found["path"])
    if not found.get("host"):
        raise ConfigurationError("The Redis URL names no host: write redis://host:port, or unix:///path/to/socket.")
    return Address(found["host"], found.get("port") or port)


def _service(path: str) -> tuple[str, int | None]:
    service, _, db = path.partition("/")
    if not service:
        raise ConfigurationError(
            "A Sentinel URL ends with the name of the master that the Sentinels watch: redis+sentinel://host:port/mymaster."
        )
    return unquote(service), _number(db) if db else None


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ConfigurationError("The database in a Redis URL is a number.")
    return int(text)


def _options(rest: str, known: tuple[str, ...]) -> dict[str, str]:
    """The options after the question mark."""
    _, _, query = rest.partition("?")
    options = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise ConfigurationError(
            f"A Redis URL of this kind has no option {unknown[0][:32]!r}; it takes {', '.join(known)}."
        )
    return options
