"""The signing secret: given by the operator, or made once for development."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

import jwt
import msgspec

from ..settings import ConfigurationError, Settings

__all__ = ["MIN_SECRET", "development_secret_file", "local_secret", "previous_secret", "signing_secret"]

MIN_SECRET: Final = 32
"""Bytes: RFC 7518 section 3.2 wants a key as long as the hash."""

# A public key in the place of the HMAC secret is what turns a public key into a forger's pen (RFC 8725 section 2.1).
_KEY_FILES: Final = (b"-----BEGIN", b"ssh-", b"ecdsa-")
_HMAC: Final = jwt.get_algorithm_by_name("HS256")


def signing_secret(settings: Settings) -> bytes:
    """The HMAC secret in force; empty where there is none because all tokens come from issuers' key sets (`jwks`).

    Under `dev`, where none is configured, a random one is made once, in the data folder, readable by its owner alone.

    Raises:
        ConfigurationError: there is none outside development although it is needed, or it cannot serve.
    """
    if settings.secret:
        return _checked(settings.secret.encode(), "The signing secret")
    if settings.dev:
        file = development_secret_file(settings)
        return _checked(_made_once(file), f"The development secret in {file}")
    if settings.jwks and not settings.guests:
        return b""
    if settings.jwks:
        raise ConfigurationError("Guests are let in, and each needs a token: set BACKCHANNEL_SECRET or --secret-file.")
    raise ConfigurationError(
        "There is no signing secret: set BACKCHANNEL_SECRET or --secret-file, or use --dev for development."
    )


def previous_secret(settings: Settings) -> bytes:
    """The secret before a rotation, whose tokens are still good; empty where there is none.

    Raises:
        ConfigurationError: it cannot serve, or there is no secret that it could be the previous one of.
    """
    if not settings.secret_previous:
        return b""
    if not settings.secret:
        raise ConfigurationError("There is a previous secret, but no secret: set BACKCHANNEL_SECRET or --secret-file.")
    return _checked(settings.secret_previous.encode(), "The previous signing secret")


def local_secret(settings: Settings) -> bytes:
    """The secret with which a server of these settings on this machine verifies tokens.

    That is what is configured, else the data folder's development secret, made as `serve --dev` would.

    Raises:
        ConfigurationError: as `signing_secret`.
    """
    return signing_secret(settings if settings.secret else msgspec.structs.replace(settings, dev=True))


def development_secret_file(settings: Settings) -> Path:
    """Where the development secret is, or will be."""
    return settings.data_folder / "secret"


def _checked(secret: bytes, what: str) -> bytes:
    if len(secret) < MIN_SECRET:
        raise ConfigurationError(
            f"{what} has {len(secret)} bytes; use at least {MIN_SECRET}, such as from `openssl rand -hex 32`."
        )
    if secret.lstrip().startswith(_KEY_FILES) or _is_key(secret):
        raise ConfigurationError(
            f"{what} is a key file, and may be known to others; use a secret such as from `openssl rand -hex 32`."
        )
    return secret


def _is_key(secret: bytes) -> bool:
    """Whether PyJWT knows it as a key of another kind: DER, or a JSON Web Key."""
    try:
        _HMAC.prepare_key(secret)
    except jwt.InvalidKeyError:
        return True
    return False


def _made_once(file: Path) -> bytes:
    try:
        if file.exists():
            return file.read_bytes()
        file.parent.mkdir(parents=True, exist_ok=True)
        # Written elsewhere and linked into place, so that another process finds it whole or not at all.
        draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(secrets.token_hex(32).encode())
            os.link(draft, file)
        except FileExistsError:
            pass  # another process was quicker
        finally:
            draft.unlink()
        return file.read_bytes()
    except OSError as exc:
        raise ConfigurationError(
            f"The development secret {file} cannot be read or made: {exc.strerror}. Name a data folder that this user "
            f"may write, or set BACKCHANNEL_SECRET."
        ) from exc
