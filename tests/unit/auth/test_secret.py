"""The signing secret: configured, or made once for development."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from backchannel.auth.secret import (
    MIN_SECRET,
    development_secret_file,
    local_secret,
    previous_secret,
    signing_secret,
)
from backchannel.settings import ConfigurationError, Settings


def settings(folder: Path, *, dev: bool = False, secret: str = "") -> Settings:
    """Settings with this data folder."""
    return Settings(data=str(folder / "data"), dev=dev, secret=secret)


def test_a_configured_secret_is_used(tmp_path: Path) -> None:
    """Also under --dev, and then none is made."""
    for dev in (False, True):
        assert signing_secret(settings(tmp_path, dev=dev, secret="s" * 32)) == b"s" * 32
    assert not (tmp_path / "data").exists()


def test_there_is_no_default_secret(tmp_path: Path) -> None:
    """Outside development a server without a secret does not start, and says what to set."""
    with pytest.raises(ConfigurationError, match="BACKCHANNEL_SECRET"):
        signing_secret(settings(tmp_path))


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    """RFC 7518 section 3.2; the length counts in bytes, and the secret is not repeated."""
    with pytest.raises(ConfigurationError, match="31 bytes") as raised:
        signing_secret(settings(tmp_path, secret="q" * 31))
    assert "q" * 31 not in str(raised.value)
    assert signing_secret(settings(tmp_path, secret="é" * 16)) == "é".encode() * 16


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN PUBLIC KEY-----\n" + "A" * 100,
        "ssh-rsa " + "A" * 100,
        "\n-----BEGIN CERTIFICATE-----" + "A" * 100,
        '{"kty":"oct","k":"eHh4eHh4eHh4eHh4eHh4eHh4"}',
    ],
)
def test_a_public_key_is_refused_as_secret(tmp_path: Path, secret: str) -> None:
    """RFC 8725 section 2.1: what everybody may know signs nothing; a JSON Web Key's text is no secret either."""
    with pytest.raises(ConfigurationError, match="key file"):
        signing_secret(settings(tmp_path, secret=secret))


def test_development_makes_one_once_for_its_owner_alone(tmp_path: Path) -> None:
    """Random, 0600, and the same at the next start."""
    configured = settings(tmp_path, dev=True)
    made = signing_secret(configured)
    file = development_secret_file(configured)
    assert len(made) >= MIN_SECRET
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert signing_secret(configured) == made
    assert signing_secret(settings(tmp_path / "other", dev=True)) != made
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    """Whoever is later takes what is there, whole."""
    start = threading.Barrier(8)
    found: list[bytes] = []

    def run() -> None:
        start.wait()
        found.append(signing_secret(settings(tmp_path, dev=True)))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_beside_a_development_server_its_secret_is_found(tmp_path: Path) -> None:
    """Whoever issues tokens on this machine needs no --dev, before or after the server's first start."""
    before = local_secret(settings(tmp_path))
    assert before == signing_secret(settings(tmp_path, dev=True)) == local_secret(settings(tmp_path))


def test_a_broken_development_secret_is_an_error(tmp_path: Path) -> None:
    """An emptied file is told, not signed with."""
    configured = settings(tmp_path, dev=True)
    file = development_secret_file(configured)
    file.parent.mkdir()
    file.touch()
    with pytest.raises(ConfigurationError, match="0 bytes"):
        signing_secret(configured)


def test_a_folder_that_cannot_be_made_is_an_error_with_a_cure(tmp_path: Path) -> None:
    """The message names the file and what to do."""
    (tmp_path / "data").touch()
    with pytest.raises(ConfigurationError, match="data folder"):
        signing_secret(settings(tmp_path, dev=True))


def test_the_previous_secret_needs_one_that_came_after(tmp_path: Path) -> None:
    """A rotation has two sides; both secrets must be able to serve."""
    both = Settings(data=str(tmp_path), secret="n" * 32, secret_previous="o" * 32)
    assert previous_secret(both) == b"o" * 32
    assert previous_secret(Settings(secret="n" * 32)) == b""
    with pytest.raises(ConfigurationError, match="BACKCHANNEL_SECRET"):
        previous_secret(Settings(secret_previous="o" * 32))
    with pytest.raises(ConfigurationError, match="previous signing secret has 5 bytes"):
        previous_secret(Settings(secret="n" * 32, secret_previous="short"))


def test_issuers_with_keys_of_their_own_need_no_secret(tmp_path: Path) -> None:
    """Unless guests are let in, whose tokens somebody must sign."""
    jwks = ("https://id.example.org=keys.json",)
    assert signing_secret(Settings(data=str(tmp_path), jwks=jwks)) == b""
    with pytest.raises(ConfigurationError, match="Guests"):
        signing_secret(Settings(data=str(tmp_path), jwks=jwks, guests=True))
