"""Caps narrow what a user may do, and grant nothing."""

from __future__ import annotations

import pytest

from backchannel.auth.principal import Principal


@pytest.mark.parametrize(
    ("caps", "verb", "what", "expected"),
    [
        (None, "call", "message.send", True),
        ((), "call", "message.send", False),
        (("call:message.send",), "call", "message.send", True),
        (("call:message.send",), "call", "message.send_all", False),
        (("call:message.send",), "call", "message.sen", False),
        (("call:message.*",), "call", "message.list", True),
        (("call:message.*",), "call", "message", False),
        (("call:message.*",), "call", "messages.list", False),
        (("call:*",), "call", "channel.join", True),
        (("call:*",), "listen", "chat:lobby", False),
        (("listen:chat:*",), "listen", "chat:lobby", True),
        (("listen:chat:*",), "listen", "chats:lobby", False),
        (("listen:chat:lobby",), "publish", "chat:lobby", False),
        (("publish:metrics:host-1",), "publish", "metrics:host-1", True),
        (("call:a.b", "listen:c:d"), "listen", "c:d", True),
        (("call:*.send",), "call", "message.send", False),
        (("*",), "publish", "chat:lobby", True),
        (("",), "call", "message.send", False),
        (("CALL:*",), "call", "message.send", False),
    ],
)
def test_a_cap_matches_exactly_or_by_its_beginning(
    caps: tuple[str, ...] | None, verb: str, what: str, expected: bool
) -> None:
    """Only a trailing * is a pattern; case and verb count; no caps at all leave everything open."""
    assert Principal(user="alice", id="user:alice", caps=caps).may(verb, what) is expected


@pytest.mark.parametrize(
    ("scope", "key"), [("user:alice", None), ("key:3f:alice", "3f"), ("key:3f:", "3f"), ("user:key:x", None)]
)
def test_a_principal_knows_its_api_key(scope: str, key: str | None) -> None:
    """By the scope of its idempotency keys."""
    assert Principal(user="alice", id=scope).api_key == key
