"""The opening handshake, from bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.gateway.handshake import (
    MAX_HEAD,
    HandshakeRefused,
    accept_response,
    check_origin,
    choose_codec,
    end_of_head,
    parse_head,
)
from backchannel_protocol import JSON, MSGPACK, Codec

HEADERS = (
    b"Host: localhost:8000",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)


def head(*more: bytes, line: bytes = b"GET /ws HTTP/1.1", without: bytes = b"\0") -> bytes:
    """A handshake, with headers added and one left out."""
    kept = [header for header in HEADERS if not header.startswith(without)]
    return b"\r\n".join((line, *kept, *more)) + b"\r\n\r\n"


def refused(data: bytes) -> HandshakeRefused:
    """The refusal of a head."""
    with pytest.raises(HandshakeRefused) as raised:
        parse_head(data)
    return raised.value


def test_the_sample_of_the_rfc() -> None:
    """The key of RFC 6455 section 1.3 is answered as written there, without subprotocol or extension."""
    answer = accept_response(parse_head(head(b"Sec-WebSocket-Extensions: permessage-deflate")))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    assert b"Extensions" not in answer
    assert b"Protocol:" not in answer


@pytest.mark.parametrize(
    ("offer", "codec", "named"),
    [
        (None, JSON, None),
        (b"backchannel.v1.json", JSON, "backchannel.v1.json"),
        (b"backchannel.v1.msgpack", MSGPACK, "backchannel.v1.msgpack"),
        (b"backchannel.v9.cbor, backchannel.v1.msgpack,backchannel.v1.json", MSGPACK, "backchannel.v1.msgpack"),
    ],
)
def test_subprotocols(offer: bytes | None, codec: Codec, named: str | None) -> None:
    """The client's first known offer counts; none offered means JSON, and no header in the answer."""
    shake = parse_head(head(*([b"Sec-WebSocket-Protocol: " + offer] if offer else [])))
    assert shake.codec is codec
    assert shake.subprotocol == named
    assert (b"Sec-WebSocket-Protocol" in accept_response(shake)) is (named is not None)


def test_subprotocols_in_two_headers() -> None:
    """A list may come in several headers (RFC 9110 section 5.3)."""
    shake = parse_head(head(b"Sec-WebSocket-Protocol: x", b"sec-websocket-protocol: backchannel.v1.msgpack"))
    assert shake.codec is MSGPACK


@pytest.mark.parametrize("offered", [[b"chat"], [b"backchannel.v2.json", b""], []])
def test_unknown_subprotocols(offered: list[bytes]) -> None:
    """An offer without a known one is refused with the list."""
    with pytest.raises(HandshakeRefused) as raised:
        choose_codec(offered)
    assert raised.value.status == 400
    assert raised.value.refused.details == {"subprotocols": ["backchannel.v1.json", "backchannel.v1.msgpack"]}


ACCEPTED: list[tuple[str, bytes]] = [
    ("query", head(line=b"GET /ws?token=secret&x=%20 HTTP/1.1")),
    ("browser's connection header", head(b"Connection: keep-alive, Upgrade", without=b"Connection")),
    ("other case", head(b"UPGRADE: WebSocket", b"connection:upgrade", without=b"Upgrade")),
    ("no space behind the colon", head(b"Host:example.org", without=b"Host")),
    ("empty body told", head(b"Content-Length: 0")),
    ("latin-1 in a value nobody reads", head(b"User-Agent: caf\xe9")),
]


@pytest.mark.parametrize("data", [a[1] for a in ACCEPTED], ids=[a[0] for a in ACCEPTED])
def test_accepted(data: bytes) -> None:
    """What clients really send is accepted; the query is not kept."""
    assert "secret" not in repr(parse_head(data))


REFUSED: list[tuple[str, bytes, int]] = [
    ("other method", head(line=b"POST /ws HTTP/1.1"), 405),
    ("other path", head(line=b"GET /wss HTTP/1.1"), 404),
    ("path with a slash behind", head(line=b"GET /ws/ HTTP/1.1"), 404),
    ("HTTP/1.0", head(line=b"GET /ws HTTP/1.0"), 505),
    ("HTTP/2.0", head(line=b"GET /ws HTTP/2.0"), 505),
    ("no version", head(line=b"GET /ws"), 400),
    ("space in the path", head(line=b"GET /ws x HTTP/1.1"), 400),
    ("two spaces", head(line=b"GET  /ws HTTP/1.1"), 400),
    ("not ASCII in the path", head(line=b"GET /w\xc3\xa9 HTTP/1.1"), 400),
    ("no host", head(without=b"Host"), 400),
    ("empty host", head(b"Host:", without=b"Host"), 400),
    ("two hosts", head(b"Host: evil.example"), 400),
    ("two hosts in one", head(b"Host: a, b", without=b"Host"), 400),
    ("user in the host", head(b"Host: a@b", without=b"Host"), 400),
    ("no upgrade", head(without=b"Upgrade"), 426),
    ("upgrade to something else", head(b"Upgrade: h2c", without=b"Upgrade"), 426),
    ("no connection", head(without=b"Connection"), 426),
    ("connection without upgrade", head(b"Connection: keep-alive", without=b"Connection"), 426),
    ("no version header", head(without=b"Sec-WebSocket-Version"), 426),
    ("old version", head(b"Sec-WebSocket-Version: 8", without=b"Sec-WebSocket-Version"), 426),
    ("two versions", head(b"Sec-WebSocket-Version: 13"), 400),
    ("no key", head(without=b"Sec-WebSocket-Key"), 400),
    ("two keys", head(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
    ("short key", head(b"Sec-WebSocket-Key: c2hvcnQ=", without=b"Sec-WebSocket-Key"), 400),
    ("key that is not base64", head(b"Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==", without=b"Sec-WebSocket-Key"), 400),
    ("key with a tail", head(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==x", without=b"Sec-WebSocket-Key"), 400),
    ("two origins", head(b"Origin: http://a", b"Origin: http://b"), 400),
    ("unknown subprotocol", head(b"Sec-WebSocket-Protocol: chat"), 400),
    ("empty subprotocol", head(b"Sec-WebSocket-Protocol:"), 400),
    ("folded header", head(b"X-A: 1", b" folded"), 400),
    ("folded with a tab", head(b"X-A: 1", b"\tfolded"), 400),
    ("space before the colon", head(b"X-A : 1"), 400),
    ("no colon", head(b"nonsense"), 400),
    ("no name", head(b": value"), 400),
    ("name not ASCII", head(b"X-\xc3\xa9: 1"), 400),
    ("NUL in a value", head(b"X-A: a\x00b"), 400),
    ("DEL in a value", head(b"X-A: a\x7fb"), 400),
    ("bare LF", head(b"X-A: a\nX-B: b"), 400),
    ("bare CR", head(b"X-A: a\rb"), 400),
    ("bare LF in the request line", head(line=b"GET /ws\n HTTP/1.1"), 400),
    ("body", head(b"Content-Length: 5"), 400),
    ("chunked body", head(b"Transfer-Encoding: chunked"), 400),
    ("too many headers", head(*(b"X-%d: 1" % n for n in range(100))), 431),
    ("empty", b"\r\n\r\n", 400),
]  # fmt: skip


@pytest.mark.parametrize(("data", "status"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(data: bytes, status: int) -> None:
    """What is no handshake is refused with its status and the cure."""
    refusal = refused(data)
    assert refusal.status == status
    assert refusal.refused.message.endswith(".")


def test_versions_that_would_do_are_told() -> None:
    """A refused version names the one that is spoken (RFC 6455 section 4.4)."""
    assert refused(head(without=b"Sec-WebSocket-Version")).headers["sec-websocket-version"] == "13"


def test_head_in_pieces_and_too_large() -> None:
    """An incomplete head is waited for up to its limit, wherever the cut is."""
    data = head()
    assert all(end_of_head(data[:size]) == -1 for size in range(len(data)))
    assert end_of_head(data + b"\x81\x80") == len(data)
    assert end_of_head(b"x" * (MAX_HEAD - 1)) == -1
    for large in (b"x" * MAX_HEAD, b"x" * MAX_HEAD + b"\r\n\r\n"):
        with pytest.raises(HandshakeRefused) as raised:
            end_of_head(large)
        assert raised.value.status == 431


def test_origin() -> None:
    """A page from elsewhere is refused; the policy sees the origin and the host as sent."""
    seen: list[tuple[str | None, str | None]] = []

    class Policy:
        def allows_origin(self, origin: str | None, host: str | None) -> bool:
            seen.append((origin, host))
            return origin is None

    shake = parse_head(head(b"Origin: https://evil.example"))
    with pytest.raises(HandshakeRefused) as raised:
        check_origin(Policy(), shake.origin, shake.host)
    assert raised.value.status == 403
    check_origin(Policy(), parse_head(head()).origin, "localhost:8000")
    assert seen == [("https://evil.example", "localhost:8000"), (None, "localhost:8000")]


LINES = st.lists(
    st.one_of(st.sampled_from((*HEADERS, b" x", b"a:b", b"Host: x", b"", b"\0", b"\r", b"\n")), st.binary(max_size=20)),
    max_size=10,
)


@given(line=st.one_of(st.just(b"GET /ws HTTP/1.1"), st.binary(max_size=30)), lines=LINES)
def test_random_heads(line: bytes, lines: list[bytes]) -> None:
    """Any head is a handshake or is refused with a status; nothing else is raised."""
    data = b"\r\n".join((line, *lines)) + b"\r\n\r\n"
    try:
        shake = parse_head(data)
    except HandshakeRefused as exc:
        status = exc.status
    else:
        status = 400
        assert accept_response(shake).startswith(b"HTTP/1.1 101")
    assert 400 <= status <= 505
