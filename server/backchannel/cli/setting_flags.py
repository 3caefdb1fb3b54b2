"""A command's flags made from the settings' declaration."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..settings import SettingInfo, describe

__all__ = ["with_setting_flags"]


def with_setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag per setting; it gets them in its parameter `flags`, those unsaid as None.

    Values are checked when settings are loaded, together with those from elsewhere.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "flags"]
    flags = {f"setting_{info.name}": info for info in describe() if info.flag}

    @functools.wraps(command)
    def run(**values: Any) -> None:
        said = {info.name: values.pop(name) for name, info in flags.items()}
        command(**values, flags=said)

    generated = [_parameter(name, info) for name, info in flags.items()]
    del run.__wrapped__
    run.__annotations__ = {}
    run.__signature__ = signature.replace(parameters=[*own, *generated])  # type: ignore[attr-defined]
    return run


def _parameter(name: str, info: SettingInfo) -> inspect.Parameter:
    is_switch = isinstance(info.default, bool)
    assert info.flag is not None
    default = f"; default {info.default_text}" if info.default_text else ""
    option = typer.Option(
        f"{info.flag}/--no-{info.flag[2:]}" if is_switch else info.flag,
        help=escape(f"{info.help} [{info.variable}{default}]"),
        metavar=info.metavar or None,
        show_default=False,
        rich_help_panel=f"Settings: {info.group}",
    )
    kind = bool | None if is_switch else str | None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option])
