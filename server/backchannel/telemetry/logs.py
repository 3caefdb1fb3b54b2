"""Logs: one stream of structured lines, without secrets.

JSON where nobody watches, and readable on a terminal (without colours under `NO_COLOR`). uvicorn's own messages go the
same way. There is no access log: metrics count requests, and a log of URLs is where tokens end up.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["REDACTED", "configure", "get_logger", "redact", "redact_text"]

REDACTED: Final = "[redacted]"

_SECRET_NAMES: Final = re.compile(
    r"(?i)authorization|cookie|password|passwd|secret|token$|api_?key|credential|private_?key"
)
_SECRET_TEXT: Final = re.compile(
    r"(?P<scheme>(?i:bearer|basic)\s+)[^\s\"',;]+"
    r"|\bbk_[A-Za-z0-9_-]+"
    r"|\beyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){1,4}"  # a JWT: its header always begins with {"
    r"|(?P<user>://[^\s/:@]*:)[^\s/@]+(?=@)"
    r"|(?P<path>/[^\s?\"'<>]*\?)[^\s\"'<>]+"
)
_DEPTH: Final = 6


def get_logger(name: str) -> BoundLogger:
    """The logger of a module: `log.warning("what happened", key=value)`."""
    return structlog.stdlib.get_logger(name)


def redact_text(text: str) -> str:
    """A text without tokens, API keys, passwords in URLs and query strings."""
    return _SECRET_TEXT.sub(_replace, text)


def _replace(match: re.Match[str]) -> str:
    return (match["scheme"] or match["user"] or match["path"] or "") + REDACTED


def redact(value: Any, depth: int = _DEPTH) -> Any:
    """The same value without secrets, whether told by a field's name or by a text's form."""
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth == 0:
        return redact_text(repr(value))
    if isinstance(value, Mapping):
        return {
            name: REDACTED if isinstance(name, str) and _SECRET_NAMES.search(name) and item else redact(item, depth - 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth - 1) for item in value]
    return redact_text(repr(value))


def _redact_event(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    internal = {name: event_dict.pop(name) for name in ("_record", "_from_structlog") if name in event_dict}
    return {**redact(event_dict), **internal}


def configure(level: str = "info", *, stream: TextIO | None = None, json: bool | None = None) -> None:
    """Set up the logging of this process. May be called again; the last call counts.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        stream: where lines go; standard error by default.
        json: one JSON object per line; None: where the stream is not a terminal.

    Raises:
        ValueError: there is no such level.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"There is no log level {level!r}; use debug, info, warning or error.")
    stream = stream if stream is not None else sys.stderr
    on_terminal = stream.isatty()
    if json is None:
        json = not on_terminal
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # Tracebacks become text before they are redacted, and hold no values of variables.
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
    ]
    renderer: Processor
    if json:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=on_terminal and not os.environ.get("NO_COLOR"))
    formatter = ProcessorFormatter(
        foreign_pre_chain=[_drop_color_message, *shared],
        processors=[_redact_event, ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old.formatter, ProcessorFormatter)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    # They tell of every start and stop what they do; the server tells what it applied, and that it serves.
    for name in ("alembic", "uvicorn.error"):
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.PositionalArgumentsFormatter(), *shared,
                    ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )  # fmt: skip


def _drop_color_message(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """uvicorn repeats its messages with escape codes in them."""
    record = event_dict.get("_record")
    if isinstance(record, logging.LogRecord):
        record.__dict__.pop("color_message", None)
    return event_dict
