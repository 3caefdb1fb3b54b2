"""What a check has found."""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

__all__ = ["Finding", "Status", "failed", "fine", "refused", "warning"]

# Where, in a sentence of ours, the cure begins.
_CURE: Final = re.compile(r"(?<=[^\s:;.]{2})[:;.] ")

Status = Literal["ok", "warning", "failed"]


class Finding(Struct, frozen=True, omit_defaults=True):
    """One line of the doctor's report."""

    status: Status
    text: str
    """What was found."""
    cure: str = ""
    """What to do about it; empty only where nothing is to be done."""


def fine(text: str) -> Finding:
    """All is well."""
    return Finding("ok", text)


def warning(text: str, cure: str) -> Finding:
    """It works, but not safely, or not for long."""
    return Finding("warning", text, cure)


def refused(told: str) -> Finding:
    """What an error of ours tells, which is what is wrong, and behind it the cure."""
    match = _CURE.search(told)
    if match is None:
        return failed(told, "See the documentation of what it names.")
    cure = told[match.end() :]
    # A command to type keeps its letters.
    return failed(told[: match.start()], cure if cure.startswith("pip ") else cure[:1].upper() + cure[1:])


def failed(text: str, cure: str) -> Finding:
    """It does not work."""
    return Finding("failed", text, cure)
