"""Settings: flags over `BACKCHANNEL_*` variables over a TOML file over defaults."""

from .declared import IN_FILES, SettingInfo, Settings, describe, without_password
from .errors import ConfigurationError
from .reference import reference
from .sources import load

__all__ = [
    "IN_FILES",
    "ConfigurationError",
    "SettingInfo",
    "Settings",
    "describe",
    "load",
    "reference",
    "without_password",
]
