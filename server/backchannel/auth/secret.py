"""The signing secret: given by the operator, or made once for development."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..settings import ConfigurationError, Settings

__all__ = ["MIN_SECRET", "signing_secret"]

MIN_SECRET = 32
"""Bytes: RFC 7518 section 3.2 wants a key as long as the hash."""

_FILE = "secret"


def signing_secret(settings: Settings) -> bytes:
    """The HMAC secret in force.

    Under `dev` a random one is made once, in the data folder, readable by its owner alone.

    Raises:
        ConfigurationError: there is none outside development, or it is too short.
    """
    if settings.secret:
        secret = settings.secret.encode()
        if len(secret) < MIN_SECRET:
            raise ConfigurationError(
                f"The signing secret has {len(secret)} bytes; use at least {MIN_SECRET}, "
                f"such as from `openssl rand -hex 32`."
            )
        return secret
    file = settings.data_folder / _FILE
    if settings.dev:
        return _made_once(file)
    raise ConfigurationError(
        "There is no signing secret: set BACKCHANNEL_SECRET or --secret-file, or use --dev for development."
    )


def _made_once(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True)
    made = secrets.token_hex(32).encode()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was quicker
        return file.read_bytes()
    with os.fdopen(descriptor, "wb") as out:
        out.write(made)
    return made
