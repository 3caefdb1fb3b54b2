"""Whether Python, SQLite and the packages are of versions that Backchannel knows."""

from __future__ import annotations

import platform
import re
import sqlite3
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from itertools import zip_longest
from typing import Final

from .finding import Finding, failed, fine

__all__ = ["check_versions", "satisfies"]

# `name[extra]<2,>=1.2; marker`, as the metadata of a wheel writes it (PEP 508).
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?")
_BOUND: Final = re.compile(r"\s*(===|==|!=|<=|>=|~=|<|>)\s*([0-9A-Za-z.+!*-]+)\s*")

_MIN_SQLITE: Final = (3, 38)


def check_versions(distribution: str = "backchannel", extra: str = "server") -> Iterator[Finding]:
    """The installed ones, against the bounds that the distribution declares."""
    try:
        declared = requires(distribution) or []
        python = metadata(distribution)["Requires-Python"]
    except PackageNotFoundError:
        yield failed(f"{distribution} is not installed", f"pip install '{distribution}[{extra}]'")
        return
    yield fine(f"{distribution} {version(distribution)}")
    running = platform.python_version()
    if satisfies(running, python or ""):
        yield fine(f"Python {running}")
    else:
        yield failed(f"Python {running} is not one of {python}", "Use Python 3.11, 3.12 or 3.13.")
    if sqlite3.sqlite_version_info >= _MIN_SQLITE:
        yield fine(f"SQLite {sqlite3.sqlite_version}")
    else:
        yield failed(f"SQLite {sqlite3.sqlite_version} is too old", "Use a Python with SQLite 3.38 or later.")
    yield from _packages(declared, extra)


def _packages(declared: list[str], extra: str) -> Iterator[Finding]:
    count = 0
    cure = f"pip install --upgrade 'backchannel[{extra}]'"
    for line in declared:
        match = _REQUIREMENT.fullmatch(line)
        if match is None or not _is_meant(match[3] or "", extra):
            continue
        name, bounds = match[1], match[2].strip()
        count += 1
        try:
            found = version(name)
        except PackageNotFoundError:
            yield failed(f"{name} is not installed", cure)
            continue
        if not satisfies(found, bounds):
            yield failed(f"{name} {found} is not within {bounds}", cure)
    yield fine(f"{count} packages were looked at")


def _is_meant(marker: str, extra: str) -> bool:
    """Whether a requirement is of the base or of this extra, and of this system."""
    if "extra" in marker and not re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker):
        return False
    return not ("platform_system != 'Windows'" in marker.replace('"', "'") and platform.system() == "Windows")


def satisfies(found: str, bounds: str) -> bool:
    """Whether a version is within bounds such as `<2,>=1.2`; its numbers are compared, not what follows them."""
    return all(_is_within(found, match[1], match[2]) for match in _BOUND.finditer(bounds))


def _is_within(found: str, comparison: str, bound: str) -> bool:
    order = _compare(_release(found), _release(bound))
    prefix = _release(bound.removesuffix(".*"))
    starts_with = _release(found)[: len(prefix)] == prefix
    match comparison:
        case "<":
            return order < 0
        case "<=":
            return order <= 0
        case ">":
            return order > 0
        case ">=":
            return order >= 0
        case "!=":
            return not starts_with if bound.endswith(".*") else order != 0
        case "~=":
            return order >= 0 and _release(found)[: len(prefix) - 1] == prefix[:-1]
        case _:
            return starts_with if bound.endswith(".*") else order == 0


def _release(text: str) -> tuple[int, ...]:
    """`2.1.0b3` as (2, 1, 0)."""
    match = re.match(r"v?\d+(?:\.\d+)*", text)
    return tuple(map(int, match[0].lstrip("v").split("."))) if match else ()


def _compare(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    for left, right in zip_longest(one, other, fillvalue=0):
        if left != right:
            return -1 if left < right else 1
    return 0
