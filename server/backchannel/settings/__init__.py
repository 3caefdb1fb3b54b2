"""Settings: flags over `BACKCHANNEL_*` variables over a TOML file over defaults."""

from .declared import SettingInfo, Settings, describe
from .errors import ConfigurationError
from .reference import reference
from .sources import load

__all__ = ["ConfigurationError", "SettingInfo", "Settings", "describe", "load", "reference"]
