"""The forms in which an app's contract is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..app import App
from .asyncapi import asyncapi
from .json_schema import json_schema
from .markdown import markdown
from .openapi import openapi
from .typescript import typescript

__all__ = ["FORMS"]


def _written(document: Callable[[App], dict[str, Any]]) -> Callable[[App], str]:
    return lambda app: msgspec.json.format(msgspec.json.encode(document(app)), indent=2).decode() + "\n"


FORMS: Final[dict[str, Callable[[App], str]]] = {
    "json": _written(json_schema),
    "openapi": _written(openapi),
    "asyncapi": _written(asyncapi),
    "typescript": typescript,
    "markdown": markdown,
}
"""By name, what writes the contract of an app as text."""
