"""Where settings come from: flags over variables over a TOML file over defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from .declared import IN_FILES, PREFIX, SettingInfo, Settings, describe
from .errors import ConfigurationError

__all__ = ["FILE", "FILE_VARIABLE", "load"]

FILE: Final = Path("backchannel.toml")
"""The file that is read, where it exists and none is named."""

FILE_VARIABLE: Final = PREFIX + "CONFIG"
"""The variable that names another file."""

# Variables of the same prefix that are no settings of the server.
_OTHERS: Final = frozenset({PREFIX + "TOKEN", PREFIX + "URL", FILE_VARIABLE})

# Who develops stops the server often, and has nowhere to move clients to.
_DEV_DRAIN: Final = 1.0


class _Given(NamedTuple):
    """A value and who said it. Of two that contradict each other, the higher rank wins."""

    value: Any
    source: str
    rank: int


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> tuple[Settings, list[str]]:
    """The settings in force, and warnings: names that are unknown, values that are dangerous.

    Args:
        flags: what the command line said, by the settings' names; None is unsaid.
        environ: the environment; the process's by default. An empty variable counts as unset.
        file: a TOML file; by default what `BACKCHANNEL_CONFIG` names, else `backchannel.toml` in the current folder,
            where there is one.

    Raises:
        ConfigurationError: values are wrong (it names each), or a file cannot be read.
    """
    environ = os.environ if environ is None else environ
    known = {info.name: info for info in describe()}
    given: dict[str, _Given] = {}
    warnings: list[str] = []
    path = file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    for name, value in _from_file(path).items():
        if name in known:
            given[name] = _Given(value, f"{name} in {path or FILE}", 0)
        else:
            warnings.append(f"{path or FILE} names {name!r}, which is no setting{_perhaps(name, known)}.")
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in _OTHERS or not text:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in known:
            given[name] = _Given(text, variable, 1)
        else:
            variables = [info.variable for info in known.values()]
            warnings.append(f"{variable} is set, but there is no such setting{_perhaps(variable, variables)}.")
    for name, value in (flags or {}).items():
        if value is not None:
            given[name] = _Given(value, known[name].flag or name, 2)
    settings = _checked(given, known)
    for name in IN_FILES:
        settings = _with_file(settings, given, known[name])
    if settings.dev and "drain" not in given:
        settings = msgspec.structs.replace(settings, drain=_DEV_DRAIN)
    if settings.dev and not _is_loopback(settings.host):
        warnings.append(
            f"Development on {settings.host}: whoever reaches it may act as any of the app's ready-made users. Use "
            f"--host 127.0.0.1, or no --dev and a secret of your own."
        )
    return settings, warnings


def _checked(given: Mapping[str, _Given], known: Mapping[str, SettingInfo]) -> Settings:
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, (value, source, _rank) in given.items():
        info = known[name]
        if isinstance(info.default, tuple) and isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        try:
            values[name] = msgspec.convert(value, info.type, strict=False)
        except msgspec.ValidationError:
            is_value = f" is {value!r}" if name not in IN_FILES else ""
            wrong.append(f"{source}{is_value}: write {info.expects}.")
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return Settings(**values)


def _with_file(settings: Settings, given: Mapping[str, _Given], info: SettingInfo) -> Settings:
    """The value itself, where a file holds it."""
    name = info.name
    named: str = getattr(settings, f"{name}_file")
    if not named:
        return settings
    by_file = given[f"{name}_file"]
    if (by_value := given.get(name)) is not None and getattr(settings, name):
        if by_value.rank > by_file.rank:
            return settings
        if by_value.rank == by_file.rank:
            raise ConfigurationError(f"{by_value.source} and {by_file.source} are both set: choose one of them.")
    path = Path(named).expanduser()
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{by_file.source}: {path} cannot be read: {exc}.") from exc
    if not value:
        raise ConfigurationError(f"{by_file.source}: {path} is empty; write {info.expects} into it.")
    try:
        return msgspec.structs.replace(settings, **{name: msgspec.convert(value, info.type)})
    except msgspec.ValidationError:
        raise ConfigurationError(f"{by_file.source}: what {path} holds is none: write {info.expects}.") from None


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None and not FILE.exists():
        return {}
    path = path or FILE
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigurationError(f"The settings file {path} cannot be read: {exc}.") from exc


def _perhaps(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name.replace("-", "_"), known, 1)
    return f" (perhaps {close[0]})" if close else ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
