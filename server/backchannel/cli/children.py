"""What a command's children are told of its settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..settings import IN_FILES, describe
from ..settings.sources import FILE_VARIABLE

__all__ = ["children_environment"]


def children_environment(flags: Mapping[str, Any], config: Path | None) -> dict[str, str]:
    """The environment of processes with the settings of this command: its own, and in it what its flags say.

    So children get no flag, which everybody on the machine could read.
    """
    environ = dict(os.environ)
    variables = {info.name: info.variable for info in describe()}
    for name in IN_FILES:
        # A flag wins over both variables, and children could not tell which of the two was meant.
        for said, other in ((name, f"{name}_file"), (f"{name}_file", name)):
            if flags.get(said) is not None:
                environ.pop(variables[other], None)
    for name, value in flags.items():
        if value is not None:
            environ[variables[name]] = str(value).lower() if isinstance(value, bool) else str(value)
    if config is not None:
        environ[FILE_VARIABLE] = str(config)
    # They write into our pipes, and what we write to decides.
    if sys.stderr.isatty() and environ.get(variables["log_format"], "auto") == "auto":
        environ[variables["log_format"]] = "console"
    environ.setdefault("PYTHONUNBUFFERED", "1")
    return environ
