"""Settings: flags over `BACKCHANNEL_*` variables over a TOML file over defaults.

One struct declares every setting, its default and its help; flags, environment, file and `--help` follow from it. An unknown
name warns, a wrong value fails at start and names the setting. Spans are seconds, sizes bytes.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
from backchannel_protocol import BackchannelError, Limits
from msgspec import Meta, Struct

__all__ = ["ConfigurationError", "SettingInfo", "Settings", "describe", "load"]

PREFIX = "BACKCHANNEL_"

# Variables of the same prefix that are not the server's.
_OF_CLIENTS = frozenset({"BACKCHANNEL_TOKEN", "BACKCHANNEL_URL"})


class ConfigurationError(BackchannelError):
    """A setting is wrong; the message names it and tells the cure."""


Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


def _setting(help_text: str, *, metavar: str = "") -> Meta:
    return Meta(description=help_text, extra={"metavar": metavar})


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that an operator can set."""

    host: Annotated[str, _setting("Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535), _setting("Port to listen on; 0 takes a free one.")] = 8000
    data: Annotated[str, _setting("Folder for the database and the development secret.", metavar="DIR")] = ".data"
    app: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}$"), _setting("The tenant: what all keys and rows begin with.")] = "main"
    dev: Annotated[bool, _setting("Development: make a signing secret, serve the demo's ready-made users.")] = False
    secret: Annotated[str, _setting("HMAC secret that signs user tokens, at least 32 bytes.")] = ""
    secret_file: Annotated[str, _setting("File that holds the secret.", metavar="FILE")] = ""
    guests: Annotated[bool, _setting("Let clients connect without a token, each as a guest of its own.")] = False
    origins: Annotated[tuple[str, ...], _setting("Browser origins that may connect beside the host's own; * means all.")] = ()
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$"), _setting("debug, info, warning or error.")] = "info"
    log_format: Annotated[str, Meta(pattern="^(auto|json|console)$"), _setting("auto, json or console.")] = "auto"

    ping: Annotated[Positive, _setting("How often a client is sent a ping.")] = 25.0
    grace: Annotated[Positive, _setting("How long past a ping silence is allowed; how long a lost user still counts.")] = 10.0
    drain: Annotated[Positive, _setting("How long clients may take to move when the server stops.")] = 30.0
    connections_per_user: Annotated[Count, _setting("Connections that one user may hold.")] = 100
    connections_per_address: Annotated[Count, _setting("Connections that one address may hold.")] = 10_000

    frame: Annotated[int, Meta(ge=1024, le=16 * 1024 * 1024), _setting("Largest frame that a client may send.")] = 64 * 1024
    nesting: Annotated[int, Meta(ge=4, le=64), _setting("How deep maps and arrays may nest.")] = 32
    token_size: Annotated[int, Meta(ge=256), _setting("Largest token.")] = 8 * 1024
    channels: Annotated[Count, _setting("Channels that one connection may listen to.")] = 512
    calls: Annotated[Positive, _setting("Requests per second and connection.")] = 50.0
    burst: Annotated[Count, _setting("Requests that may come at once after a pause.")] = 200
    open_requests: Annotated[Count, _setting("Requests of one connection that may wait for their answers.")] = 256
    queued: Annotated[int, Meta(ge=64 * 1024), _setting("Bytes that may wait to be sent to one connection.")] = 1024 * 1024
    history: Annotated[Count, _setting("Events in one page of history.")] = 1000
    recovery: Annotated[Count, _setting("Missed events per channel that a resume brings.")] = 500
    connect_timeout: Annotated[Positive, _setting("How soon `connect` must come.")] = 10.0
    handler_timeout: Annotated[Positive, _setting("How long a handler may take.")] = 10.0

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
        """The folder for the database and the development secret."""
        return Path(self.data)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.data_folder / "backchannel.db"


class SettingInfo(Struct, frozen=True):
    """One setting, for `--help` and the reference."""

    name: str
    type: Any
    default: Any
    help: str
    metavar: str

    @property
    def flag(self) -> str:
        """`--connections-per-user`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """`BACKCHANNEL_CONNECTIONS_PER_USER`."""
        return PREFIX + self.name.upper()


def describe() -> list[SettingInfo]:
    """Every setting."""
    hints = get_type_hints(Settings, include_extras=True)
    plain = get_type_hints(Settings)
    found = []
    for field in msgspec.structs.fields(Settings):
        metas = [m for m in getattr(hints[field.name], "__metadata__", ()) if isinstance(m, Meta)]
        described = next(m for m in reversed(metas) if m.description)
        extra = described.extra or {}
        found.append(
            SettingInfo(
                field.name, plain[field.name], field.default, described.description or "", extra.get("metavar", "")
            )
        )
    return found


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> tuple[Settings, list[str]]:
    """The settings in force, and warnings about names that are unknown.

    Args:
        flags: what the command line said; None values are unsaid.
        environ: the environment; the process's by default.
        file: a TOML file; by default `backchannel.toml` in the current folder, where there is one.

    Raises:
        ConfigurationError: a value is wrong, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    known = {field.name for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    warnings: list[str] = []

    def take(name: str, value: Any, source: str) -> None:
        values[name] = value
        sources[name] = source

    for name, value in _from_file(file).items():
        if name in known:
            take(name, value, f"{name} in the settings file")
        else:
            warnings.append(f"The settings file names {name!r}, which is not a setting.")
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in _OF_CLIENTS:
            continue
        name = variable[len(PREFIX) :].lower()
        if name in known:
            take(name, text, variable)
        else:
            warnings.append(f"{variable} is set, but there is no setting {name!r}.")
    for name, value in (flags or {}).items():
        if value is not None and value != ():
            take(name, value, "--" + name.replace("_", "-"))
    try:
        settings = msgspec.convert(_spread(values), Settings, strict=False)
    except msgspec.ValidationError as exc:
        message = str(exc)
        culprit = message.rpartition("`$.")[2].rstrip("`") if "`$." in message else ""
        raise ConfigurationError(f"{sources.get(culprit, 'A setting')}: {message.partition(' - at')[0]}.") from None
    if settings.secret_file:
        settings = msgspec.structs.replace(settings, secret=_read_secret(Path(settings.secret_file)))
    return settings, warnings


def _spread(values: dict[str, Any]) -> dict[str, Any]:
    """Lists may be given as text, separated by commas."""
    origins = values.get("origins")
    if isinstance(origins, str):
        return {**values, "origins": [part.strip() for part in origins.split(",") if part.strip()]}
    return values


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        file = Path("backchannel.toml")
        if not file.exists():
            return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigurationError(f"The settings file {file} cannot be read: {exc}") from exc


def _read_secret(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"The secret file {file} cannot be read: {exc}") from exc
