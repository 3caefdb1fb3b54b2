"""The settings: one struct declares each with its default, its bounds and its help.

Flags, variables, the file, `--help` and the reference follow from it. Spans are seconds, sizes bytes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct
from msgspec import inspect as types

from backchannel_protocol import Limits

__all__ = ["IN_FILES", "PREFIX", "SECRETS", "SettingInfo", "Settings", "describe", "without_password"]

PREFIX: Final = "BACKCHANNEL_"
"""What the variable of every setting begins with."""

_DAY: Final = 86_400.0
_MASK: Final = "***"
SECRETS: Final = ("secret", "secret_previous")
"""Settings whose values are shown to nobody."""
URLS: Final = ("redis", "postgres")
"""Settings that may hold a password: they are shown without it."""
IN_FILES: Final = (*SECRETS, *URLS)
"""Settings that may be in a file that `<name>_file` names, since everybody sees flags, and many see variables."""

Seconds = Annotated[float, Meta(gt=0, le=_DAY)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Network = Annotated[str, Meta(pattern=r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?$(?!\n)")]
KeySource = Annotated[str, Meta(pattern=r"^[^=\s]+=\S+$(?!\n)")]
RedisUrl = Annotated[str, Meta(pattern=r"^$|^(rediss?|redis\+[a-z]+|rediss\+[a-z]+|unix)://\S+$(?!\n)")]
PostgresUrl = Annotated[str, Meta(pattern=r"^$|^postgres(ql)?://\S+$(?!\n)")]
Origin = Annotated[str, Meta(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/?#\sA-Z]+)$(?!\n)")]

SERVER: Final = "Server"
SECURITY: Final = "Security"
CONNECTIONS: Final = "Connections"
PROCESSES: Final = "Many processes"
LIMITS: Final = "Limits (told to clients in connected.limits)"


def _setting(group: str, metavar: str, text: str, *, expects: str = "", flag: bool = True) -> Meta:
    """What the reference says of a setting. `expects` tells what to write, where its type does not."""
    extra = {"group": group, "metavar": metavar, "expects": expects, "flag": flag}
    return Meta(description=text, extra=extra)


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that an operator can set. `load` reads it; the `repr` shows neither secrets nor passwords."""

    host: Annotated[str, Meta(min_length=1), _setting(SERVER, "ADDRESS", "Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), _setting(SERVER, "NUMBER", "Port to listen on; 0 takes a free one.")] = (
        8000
    )
    data: Annotated[
        str, Meta(min_length=1), _setting(SERVER, "DIR", "Folder for the database and the development secret.")
    ] = ".data"
    files: Annotated[
        str,
        Meta(pattern=r"^$|^(/|~|\.|[A-Za-z0-9]|s3://)[^\x00-\x1f]*$(?!\n)"),
        _setting(
            SERVER,
            "PLACE",
            "Where files are kept that people upload: a folder, or s3://BUCKET/PREFIX with AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_REGION and, for other stores than Amazon's, AWS_ENDPOINT_URL. Empty: `files` "
            "in the data folder. All processes must reach it.",
            expects="a folder, or s3://bucket/prefix",
        ),
    ] = ""
    app: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9_-]{1,64}$(?!\n)"),
        _setting(
            SERVER,
            "NAME",
            "The tenant: what all keys and rows begin with.",
            expects="1 to 64 lower-case letters, digits, - and _",
        ),
    ] = "main"
    dev: Annotated[
        bool, _setting(SERVER, "", "Development: make a signing secret, serve what an app has for development only.")
    ] = False
    docs: Annotated[
        bool, _setting(SERVER, "", "Serve the app's contract at /docs, /openapi.json and /asyncapi.json.")
    ] = True
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _setting(SERVER, "LEVEL", "What is logged: this and worse.")
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        _setting(SERVER, "FORMAT", "How logs look; auto is console on a terminal, else JSON."),
    ] = "auto"
    drain: Annotated[
        Seconds,
        _setting(
            SERVER, "SECONDS", "How long clients may take to move when the server stops; with --dev 1 unless set."
        ),
    ] = 30.0

    secret: Annotated[
        str,
        _setting(
            SECURITY,
            "TEXT",
            "HMAC secret that signs users' tokens, at least 32 bytes. It has no flag: flags are seen by all users of "
            "a machine.",
            flag=False,
        ),
    ] = ""
    secret_file: Annotated[str, _setting(SECURITY, "FILE", "File that holds the secret.")] = ""
    secret_previous: Annotated[
        str,
        _setting(
            SECURITY,
            "TEXT",
            "The secret before this one: while it is set, tokens that it signed are good too. It has no flag either.",
            flag=False,
        ),
    ] = ""
    secret_previous_file: Annotated[str, _setting(SECURITY, "FILE", "File that holds the secret before this one.")] = ""
    jwks: Annotated[
        tuple[KeySource, ...],
        _setting(
            SECURITY,
            "LIST",
            "Issuers that sign tokens with keys of their own, each as ISSUER=FILE or ISSUER=URL of its JSON Web Key "
            "Set; the URL is https.",
            expects="entries like https://id.example.org=https://id.example.org/jwks.json, separated by commas",
        ),
    ] = ()
    issuer: Annotated[
        str, _setting(SECURITY, "TEXT", "What `iss` must name in tokens that the secret signs; empty: anything.")
    ] = ""
    audience: Annotated[
        tuple[str, ...],
        _setting(
            SECURITY,
            "LIST",
            "What `aud` must name, one of these. Empty: `backchannel`, and a token that the secret signs may lack it.",
            expects="names, separated by commas",
        ),
    ] = ()
    token_lifetime: Annotated[
        float,
        Meta(gt=0, le=10 * 366 * _DAY),
        _setting(
            SECURITY,
            "SECONDS",
            "Longest time from a token's issue to its expiry; longer ones are refused. Revocations are kept that long.",
        ),
    ] = 90 * _DAY
    guests: Annotated[
        bool, _setting(SECURITY, "", "Let clients connect without a token, each as a guest of its own.")
    ] = False
    origins: Annotated[
        tuple[Origin, ...],
        _setting(
            SECURITY,
            "LIST",
            "Browser origins that may connect beside the host's own; * means all.",
            expects="origins like https://example.org (lower case, no path), separated by commas, or *",
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[Network, ...],
        _setting(
            SECURITY,
            "LIST",
            "Addresses and networks of proxies whose X-Forwarded-For is believed.",
            expects="addresses or networks like 10.0.0.0/8, separated by commas",
        ),
    ] = ()

    redis: Annotated[
        RedisUrl,
        _setting(
            PROCESSES,
            "URL",
            "Redis, which carries requests, replies and events between gateways and workers: redis://, rediss:// "
            "(TLS), unix://, redis+sentinel:// or redis+cluster://. Empty: one process, in memory.",
            expects="a URL like redis://127.0.0.1:6379",
        ),
    ] = ""
    redis_file: Annotated[
        str, _setting(PROCESSES, "FILE", "File that holds the URL of Redis, where it has a password.")
    ] = ""
    redis_prefix: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$(?!\n)"),
        _setting(
            PROCESSES,
            "NAME",
            "What all keys and topics in Redis begin with, so that installations can share one.",
            expects="1 to 64 letters, digits, - _ and .",
        ),
    ] = "backchannel"
    postgres: Annotated[
        PostgresUrl,
        _setting(
            PROCESSES,
            "URL",
            "PostgreSQL, the store of many processes. Empty: SQLite in the data folder, for one process.",
            expects="a URL like postgresql://user@127.0.0.1:5432/database",
        ),
    ] = ""
    postgres_file: Annotated[
        str, _setting(PROCESSES, "FILE", "File that holds the URL of PostgreSQL, where it has a password.")
    ] = ""
    postgres_pool: Annotated[
        int,
        Meta(ge=3, le=1000),
        _setting(PROCESSES, "N", "Connections to PostgreSQL that one worker, or one gateway, may hold."),
    ] = 8
    routing: Annotated[
        Literal["lane", "random"],
        _setting(
            PROCESSES,
            "WAY",
            "How a gateway chooses a command's worker; nothing may depend on it, and random proves it.",
        ),
    ] = "lane"
    in_flight: Annotated[
        Count, _setting(PROCESSES, "N", "Requests of one gateway that one worker may have open; more are refused.")
    ] = 1000
    health_port: Annotated[
        int,
        Meta(ge=0, le=65535),
        _setting(
            PROCESSES,
            "NUMBER",
            "Port of a worker's /healthz, /readyz and /metrics; 0: none. With `serve --gateways` the first of as many "
            "ports as there are processes: gateways first.",
        ),
    ] = 0

    ping: Annotated[Seconds, _setting(CONNECTIONS, "SECONDS", "How often a client is sent a ping.")] = 25.0
    grace: Annotated[
        Seconds,
        _setting(
            CONNECTIONS,
            "SECONDS",
            "How long silence past a ping is allowed, and how long a lost user still counts as present.",
        ),
    ] = 10.0
    connections_per_user: Annotated[Count, _setting(CONNECTIONS, "N", "Connections that one user may hold.")] = 100
    connections_per_address: Annotated[Count, _setting(CONNECTIONS, "N", "Connections that one address may hold.")] = (
        10_000
    )
    compression: Annotated[
        int,
        Meta(ge=0, le=16 * 1024 * 1024),
        _setting(
            CONNECTIONS,
            "BYTES",
            "Size from which messages are compressed for clients that offer permessage-deflate, such as browsers; 0: "
            "never. It pays for large messages on slow or paid lines, and costs CPU for each event, not for each "
            "listener. The length of a compressed message betrays a secret that stands beside text of an attacker's "
            "choice (CRIME, BREACH).",
        ),
    ] = 0

    frame: Annotated[
        int, Meta(ge=1024, le=16 * 1024 * 1024), _setting(LIMITS, "BYTES", "Largest frame that a client may send.")
    ] = 64 * 1024
    nesting: Annotated[int, Meta(ge=4, le=64), _setting(LIMITS, "LEVELS", "How deep maps and arrays may nest.")] = 32
    token_size: Annotated[int, Meta(ge=256, le=64 * 1024), _setting(LIMITS, "BYTES", "Largest token.")] = 8 * 1024
    channels: Annotated[Count, _setting(LIMITS, "N", "Channels that one connection may listen to.")] = 512
    calls: Annotated[
        float, Meta(gt=0, le=1_000_000), _setting(LIMITS, "RATE", "Requests per second and connection.")
    ] = 50.0
    burst: Annotated[Count, _setting(LIMITS, "N", "Requests that may come at once after a pause.")] = 200
    open_requests: Annotated[
        Count, _setting(LIMITS, "N", "Requests of one connection that may wait for their answers.")
    ] = 256
    queued: Annotated[
        int,
        Meta(ge=64 * 1024, le=1024 * 1024 * 1024),
        _setting(LIMITS, "BYTES", "Bytes that may wait to be sent to one connection."),
    ] = 1024 * 1024
    history: Annotated[Count, _setting(LIMITS, "N", "Events in one page of history.")] = 1000
    recovery: Annotated[Count, _setting(LIMITS, "N", "Missed events per channel that a resume brings.")] = 500
    connect_timeout: Annotated[Seconds, _setting(LIMITS, "SECONDS", "How soon `connect` must come.")] = 10.0
    handler_timeout: Annotated[Seconds, _setting(LIMITS, "SECONDS", "How long a handler may take.")] = 10.0

    def limits(self) -> Limits:
        """The limits that clients are told."""
        return Limits(
            frame=self.frame,
            nesting=self.nesting,
            token=self.token_size,
            channels=self.channels,
            calls=self.calls,
            burst=self.burst,
            open_requests=self.open_requests,
            queued=self.queued,
            history=self.history,
            recovery=self.recovery,
            connect=self.connect_timeout,
            call=self.handler_timeout,
        )

    @property
    def data_folder(self) -> Path:
        """The folder for the database and the development secret; `~` is the home folder."""
        return Path(self.data).expanduser()

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data_folder / "backchannel.db"

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = msgspec.structs.asdict(self)
        return [(name, _shown(name, value)) for name, value in values.items()]


def _shown(name: str, value: Any) -> Any:
    if name in SECRETS and value:
        return _MASK
    return without_password(value) if name in URLS else value


def without_password(url: str) -> str:
    """A URL to show: what may be a password in it is masked, also one that is not escaped as it should be."""
    scheme, mark, rest = url.partition("://")
    account, at, place = rest.rpartition("@")
    if at:
        user, colon, _password = account.partition(":")
        account = f"{user}:{_MASK}" if colon else user
    return re.sub(r"(?i)(password=)[^&]*", rf"\1{_MASK}", f"{scheme}{mark}{account}{at}{place}")


class SettingInfo(Struct, frozen=True):
    """One setting, for flags, `--help` and the reference."""

    name: str
    type: Any
    """The declared type, with its bounds."""
    default: Any
    help: str
    metavar: str
    """What its value is, in capitals: a unit, a kind of path; empty for a switch."""
    group: str
    expects: str
    """What to write, for error messages: `a whole number from 0 to 65535`."""
    flag: str | None
    """`--connections-per-user`; None for what must not be on a command line."""

    @property
    def variable(self) -> str:
        """`BACKCHANNEL_CONNECTIONS_PER_USER`."""
        return PREFIX + self.name.upper()

    @property
    def default_text(self) -> str:
        """The default as one would write it; empty where there is none."""
        match self.default:
            case bool():
                return str(self.default).lower()
            case float():
                return f"{self.default:.10g}"
            case tuple():
                return ",".join(self.default)
            case value:
                return str(value)


def describe() -> list[SettingInfo]:
    """Every setting, in the order of their groups."""
    hints = get_type_hints(Settings, include_extras=True)
    found = []
    for field in msgspec.structs.fields(Settings):
        hint = hints[field.name]
        said = next(meta for meta in hint.__metadata__ if isinstance(meta, Meta) and meta.extra)
        assert said.extra is not None
        found.append(
            SettingInfo(
                name=field.name,
                type=hint,
                default=field.default,
                help=said.description or "",
                metavar=said.extra["metavar"],
                group=said.extra["group"],
                expects=said.extra["expects"] or _expects(hint.__origin__, types.type_info(hint)),
                flag="--" + field.name.replace("_", "-") if said.extra["flag"] else None,
            )
        )
    return found


def _expects(plain: Any, kind: types.Type) -> str:
    match kind:
        case types.Metadata(type=inner):
            return _expects(plain, inner)
        case types.BoolType():
            return "true or false"
        case types.LiteralType():
            # msgspec sorts them.
            *most, last = get_args(plain)
            return f"{', '.join(most)} or {last}"
        case types.IntType(ge=least, le=top):
            return f"a whole number from {least} to {top}"
        case types.FloatType(gt=0, le=top):
            return f"a number above 0, up to {top:.0f}"
        case types.StrType():
            return "a text that is not empty"
        case other:
            raise TypeError(f"no words for {other!r}: give the setting `expects`.")
