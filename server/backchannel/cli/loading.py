"""Finding an app by the name that the command line was given."""

from __future__ import annotations

import importlib
import sys
import traceback
from functools import reduce
from pathlib import Path
from typing import Any

from backchannel_protocol import BackchannelError

from ..app import App
from ..settings import ConfigurationError
from .failures import server_extra

__all__ = ["load_app", "make_current_folder_importable", "module_name"]


def make_current_folder_importable() -> None:
    """What a person's `python` does, and an installed script does not."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def module_name(target: str) -> str:
    """The module of `module:attribute`.

    Raises:
        ConfigurationError: it is written otherwise.
    """
    module, colon, attribute = target.partition(":")
    if not all(part.isidentifier() for part in f"{module}.{attribute}".split(".")):
        guess = module.removesuffix(".py").strip("./").replace("/", ".") or "shop"
        raise ConfigurationError(
            f"{target!r} names no app: write module:attribute, such as {guess}:{attribute if colon else ''}"
            f"{'' if attribute else 'app'}."
        )
    return module


def load_app(target: str) -> App:
    """Import the app `module:attribute`, also from the current folder.

    Raises:
        ConfigurationError: there is no such module or attribute, it is no app, or its module fails; the message tells
            which, and what to write.
        RegistrationError: something is declared wrongly in it.
        CommandFailed: it needs the server's packages, and they are not installed.
    """
    name = module_name(target)
    attribute = target.partition(":")[2]
    make_current_folder_importable()
    try:
        with server_extra(f"serve {target}"):
            module = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise ConfigurationError(_broken(name, exc)) from exc
        raise ConfigurationError(
            f"There is no module {exc.name!r} in {Path.cwd()} or among what is installed. Run this in the folder that "
            f"holds it, or install it."
        ) from exc
    except BackchannelError:
        raise
    except Exception as exc:
        raise ConfigurationError(_broken(name, exc)) from exc
    try:
        found: Any = reduce(getattr, attribute.split("."), module)
    except AttributeError as exc:
        apps = [key for key, value in vars(module).items() if isinstance(value, App)]
        cure = f"it has {', '.join(f'{name}:{key}' for key in apps)}" if apps else "write `app = App('shop')` there"
        raise ConfigurationError(f"Module {name!r} has no {attribute!r}; {cure}.") from exc
    if not isinstance(found, App):
        raise ConfigurationError(
            f"{target} is of type {type(found).__qualname__}, not App; write `{attribute} = App('shop')`, with "
            f"`from backchannel import App`."
        )
    return found


def _broken(name: str, exc: Exception) -> str:
    """The traceback of a module that cannot be imported, without the machinery of importing it."""
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    lines = [*traceback.format_list(own), *traceback.format_exception_only(exc)]
    return f"Module {name!r} cannot be imported:\n{''.join(lines).rstrip()}"
