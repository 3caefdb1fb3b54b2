"""What commands write: consoles that know about colours, and JSON."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Final, Literal

import msgspec
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

__all__ = ["printable", "stderr", "stdout", "write_json"]

# What a terminal could take for an order: C0 (but for newline and tab) and C1 controls, and the marks that turn text
# around.
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def stdout() -> Console:
    """The console for results. Lines are never broken; colours only on a terminal and without NO_COLOR."""
    return _console(on_stderr=False)


def stderr() -> Console:
    """The console for notes and errors."""
    return _console(on_stderr=True)


def _console(*, on_stderr: bool) -> Console:
    # rich itself leaves bold and dim under NO_COLOR; who copies what a terminal shows wants plain text.
    system: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(stderr=on_stderr, highlight=False, soft_wrap=True, color_system=system)


def printable(text: str) -> str:
    """A text from elsewhere with its control characters escaped, as JSON escapes them."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def write_json(value: Any) -> None:
    """Write a value to stdout as JSON for people and programs: indented, coloured on a terminal."""
    text = Text(printable(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))
    if sys.stdout.isatty():
        JSONHighlighter().highlight(text)
    stdout().print(text)
