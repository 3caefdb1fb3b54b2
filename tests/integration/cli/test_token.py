"""`backchannel token` prints one token that the server of the same settings takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jwt
import pytest

from backchannel.auth.tokens import TokenVerifier

if TYPE_CHECKING:
    from .conftest import Folder, Served

SECRET = "a secret of an operator, long enough"


def test_it_prints_one_token_and_nothing_else(folder: Folder) -> None:
    """Run in a fresh folder it makes the development secret, silently; run again it uses the same one."""
    for _ in range(2):
        done = folder.run("token", "--user", "alice")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        assert done.stdout.endswith("\n")
        principal = TokenVerifier((folder.path / ".data" / "secret").read_bytes()).verify(done.stdout[:-1], time.time())
        assert (principal.user, principal.caps, principal.channels) == ("alice", None, ())
        assert principal.expires is not None
        assert 86_300 < principal.expires - time.time() <= 86_400


def test_lifetime_channels_and_caps_are_in_the_token(folder: Folder) -> None:
    """Options may be repeated."""
    words = ["--lifetime", "15m", "--channel", "chat:a", "--channel", "chat:b", "--cap", "call:*", "--cap", "listen:*"]
    claims = jwt.decode(
        folder.run("token", "--user", "alice", *words).stdout.strip(), options={"verify_signature": False}
    )
    assert (claims["channels"], claims["caps"]) == (["chat:a", "chat:b"], ["call:*", "listen:*"])
    assert 890 < claims["exp"] - time.time() <= 900


@pytest.mark.parametrize("source", ["variable", "file", "flag"])
def test_a_configured_secret_signs(folder: Folder, source: str) -> None:
    """From wherever the server has it; no development secret is made then."""
    (folder.path / "key").write_text(SECRET)
    (folder.path / "my.toml").write_text('secret_file = "key"')
    words, variables = {
        "variable": ([], {"BACKCHANNEL_SECRET": SECRET}),
        "file": (["--config", "my.toml"], {}),
        "flag": (["--secret-file", "key"], {}),
    }[source]
    done = folder.run("token", "--user", "alice", *words, **variables)
    assert TokenVerifier(SECRET.encode()).verify(done.stdout.strip(), time.time()).user == "alice"
    assert not (folder.path / ".data").exists()


@pytest.mark.parametrize(
    "words", [["--user", "a b"], ["--user", "a", "--channel", "lobby"], ["--user", "a", "--cap", "lobby"]]
)
def test_what_would_not_be_verified_is_not_issued(folder: Folder, words: list[str]) -> None:
    """Exit code 2, and nothing on stdout that a script could take for a token."""
    done = folder.run("token", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_the_token_is_good_for_the_running_server(served: Served) -> None:
    """Beside `serve --dev`, without any flag."""
    token = served.folder.run("token", "--user", "carol").stdout.strip()
    done = served.ask("call", "gone.name", BACKCHANNEL_TOKEN=token)
    assert "Refused (not_found)" in done.stderr
