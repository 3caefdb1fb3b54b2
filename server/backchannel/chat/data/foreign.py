"""Files of JSON that other chats' exports are made of, and the values in them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from .records import BadExport

__all__ = ["items", "moment", "text_of"]

_SECONDS: Final = 100_000_000_000
"""A number below it counts seconds: as milliseconds it would be before 1974."""


def items(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file, each with what it is, such as `users`.

    The file is one object of lists (`{"users": […], …}`) or one list, which are read whole; or JSON Lines, which are
    read line by line. In the two latter each one says what it is (`{"type": "user", "item": {…}}`). A folder stands for
    its files.

    Raises:
        BadExport: it cannot be read, or is something else.
    """
    try:
        paths = sorted([*path.glob("*.json"), *path.glob("*.jsonl")]) if path.is_dir() else [path]
        if not paths:
            raise BadExport(f"{path} has no .json and no .jsonl files.")
        for one in paths:
            yield from _items(one)
    except OSError as exc:
        raise BadExport(f"{path} cannot be read: {exc}.") from None


def _items(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        try:
            first = msgspec.json.decode(file.readline())
        except (msgspec.DecodeError, UnicodeDecodeError):
            first = None
        if isinstance(first, dict) and {"type", "item"} <= first.keys():
            file.seek(0)
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _typed(_decoded(line, f"{path.name}, line {number}"), f"{path.name}, line {number}")
            return
        file.seek(0)
        whole = _decoded(file.read(), path.name)
    if isinstance(whole, list):
        for number, one in enumerate(whole, 1):
            yield _typed(one, f"{path.name}, item {number}")
    elif isinstance(whole, dict):
        for kind, listed in whole.items():
            for one in listed if isinstance(listed, list) else [listed]:
                yield kind, one if isinstance(one, dict) else {}
    else:
        raise BadExport(f"{path.name} is neither an object nor a list.")


def _decoded(data: bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadExport(f"{where} is no JSON: {exc}.") from None


def _typed(value: Any, where: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str) or not isinstance(value.get("item"), dict):
        raise BadExport(f'{where} is not {{"type": …, "item": {{…}}}}.')
    kind: str = value["type"]
    return kind if kind.endswith("s") else f"{kind}s", value["item"]


def moment(value: Any) -> int:
    """A moment, whether as seconds, as milliseconds or in words (RFC 3339), in Unix milliseconds; 0 for none.

    Raises:
        BadExport: it is no moment.
    """
    if value in (None, "", 0, False):
        return 0
    if isinstance(value, int | float):
        return int(value * 1000) if value < _SECONDS else int(value)
    try:
        parsed = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise BadExport(f"{value!r} is no moment.") from None
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def text_of(value: Any) -> str:
    """A text; none is an empty one."""
    return "" if value is None else str(value)
