"""Logs: structured, and without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from backchannel.telemetry.logs import REDACTED, configure, get_logger, redact, redact_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where this test's log goes; the process's logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    target = io.StringIO()
    yield target
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """The log, read back."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (f"token {JWT} refused", f"token {REDACTED} refused"),
        ("Authorization: Bearer abc.def-1", f"Authorization: Bearer {REDACTED}"),
        ("key bk_live_1234-x is revoked", f"key {REDACTED} is revoked"),
        ('a:5 - "WebSocket /ws?token=abc&x=1" [accepted]', f'a:5 - "WebSocket /ws?{REDACTED}" [accepted]'),
        ("https://example.org/a?b=c", f"https://example.org/a?{REDACTED}"),
        ("redis://app:hunter2@localhost:6379/0", f"redis://app:{REDACTED}@localhost:6379/0"),
        ("what? nothing", "what? nothing"),
    ],
)  # fmt: skip
def test_texts(text: str, safe: str) -> None:
    """Tokens, keys, passwords and query strings are cut out of texts, and nothing else."""
    assert redact_text(text) == safe


def test_fields() -> None:
    """Secrets are found by the name of their field too, at any depth; an idempotency key is none."""
    value = {"token": "abc", "key": "order-17", "nested": [{"api_key": "x", "password": None}], "count": 3}
    assert redact(value) == {
        "token": REDACTED,
        "key": "order-17",
        "nested": [{"api_key": REDACTED, "password": None}],
        "count": 3,
    }


def test_json_lines(stream: io.StringIO) -> None:
    """Where nobody watches, each line is one JSON object, of our loggers and of uvicorn's alike; its starts are not
    told beside ours."""
    configure("info", stream=stream)
    get_logger("backchannel.test").warning("it happened", channel="chat:lobby", token="abc")
    get_logger("backchannel.test").debug("not this")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning('%s - "WebSocket %s" [accepted]', "a:1", "/ws?token=abc")
    logging.getLogger("uvicorn.access").info("GET /?token=abc")
    ours, theirs = lines(stream)
    assert ours["event"] == "it happened"
    assert ours["channel"] == "chat:lobby"
    assert ours["token"] == REDACTED
    assert ours["level"] == "warning"
    assert ours["logger"] == "backchannel.test"
    assert theirs["event"] == f'a:1 - "WebSocket /ws?{REDACTED}" [accepted]'


def test_tracebacks(stream: io.StringIO) -> None:
    """A traceback is told, without secrets and without the values of variables."""
    configure("info", stream=stream, json=False)
    secret = "bk_very_secret"
    try:
        raise ValueError(f"{secret} at /x?token=abc")
    except ValueError:
        get_logger("backchannel.test").exception("it failed")
    text = stream.getvalue()
    assert "ValueError" in text
    assert "it failed" in text
    assert "very_secret at" not in text
    assert "token=abc at" not in text


def test_no_colour(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal lines are coloured, unless NO_COLOR is set."""
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    configure("info", stream=stream)
    get_logger("a").info("coloured")
    assert "\x1b[" in stream.getvalue()
    stream.truncate(0)
    monkeypatch.setenv("NO_COLOR", "1")
    configure("info", stream=stream)
    get_logger("a").info("plain")
    assert "plain" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()


def test_unknown_level() -> None:
    """A mistake in the settings is told with the levels that there are."""
    with pytest.raises(ValueError, match="warning"):
        configure("loud")
